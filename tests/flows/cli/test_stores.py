"""Flows and commands on a real S3 server and a real PostgreSQL."""

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks._bad_network import bad_network
from benchmarks._s3_server import S3Server
from benchmarks.stores import compare_stores
from data_specs.errors import StoreSilentError
from flows.cli.main import app
from flows.evaluate import EvaluateConfig, results_folder, share_results
from flows.ingest import ingest
from flows.ingest_config import IngestConfig, SyntheticSource
from flows.maintenance.doctor import check_ledger, check_store
from tasks.evaluation.test_set import VersionSet
from tasks.sources.synthetic.samples import SyntheticConfig
from tasks.storage.dataset import verify_dataset
from tasks.storage.object_store import address as addresses
from tasks.storage.object_store import working_folder
from tasks.storage.object_store.s3 import Bucket
from tasks.storage.workspace import Workspace
from tests.tasks.storage.ledger.conftest import postgres_server, postgres_url
from tests.tasks.storage.object_store.conftest import Machine, address, machine, running_server, server

__all__ = ["address", "machine", "postgres_server", "postgres_url", "running_server", "server"]


def test_doctor_asks_the_store(
    machine: Machine, address: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine("one").root
    (found,) = check_store(folder)
    assert (found.state, found.found) == ("ok", f"{address} answers")
    (other,) = check_store(working_folder(f"{address}-other"))
    assert (other.state, other.found) == ("ok", f"{address}-other answers, no workspace in it yet")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    (refused,) = check_store(folder)
    assert (refused.state, "refuses these credentials" in refused.found) == ("missing", True)


def test_doctor_asks_the_ledgers_server(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_ledger(tmp_path) == []
    monkeypatch.setenv("CLEANPLATE_LEDGER", postgres_url)
    assert [check.state for check in check_ledger(tmp_path)] == ["ok"]
    monkeypatch.setenv("CLEANPLATE_LEDGER", "postgresql+psycopg://ada:secret@127.0.0.1:9/plates")
    (found,) = check_ledger(tmp_path)
    assert (found.state, "secret" in found.model_dump_json()) == ("missing", False)


@pytest.mark.usefixtures("server", "prefect_server")
def test_the_command_line_takes_a_buckets_address(
    address: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANPLATE_LEDGER", postgres_url)

    def told(machine: str, *words: str) -> dict:
        monkeypatch.setenv("CLEANPLATE_CACHE", str(tmp_path / machine))
        result = CliRunner().invoke(app, [*words, "--workspace", address, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    told("one", "ingest", "synthetic", "--count", "6", "--shard-samples", "3")
    verified = told("other", "dataset", "verify")
    assert (verified["shards"], verified["samples"], verified["faults"]) == (2, 6, [])
    assert told("a third", "dataset", "show")["samples"] == 6
    assert [each["number"] for each in told("a fourth", "dataset", "list")["versions"]] == [1]


@pytest.mark.usefixtures("prefect_server")
def test_an_ingest_outlives_a_store_that_was_silent_for_too_long(
    address: str, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network goes in the middle, and is back once a request has given up: the task asks again."""
    monkeypatch.setenv("CLEANPLATE_LEDGER", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    monkeypatch.setenv("CLEANPLATE_CACHE", str(tmp_path / "one"))
    gave_up: list[str] = []
    with bad_network(server.port) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")

        class FarBucket(Bucket):
            def put(self, name: str, file: Path) -> None:
                network.down = not gave_up and "-00001-" in name
                try:
                    super().put(name, file)
                except StoreSilentError:
                    gave_up.append(name)
                    network.down = False
                    raise

        monkeypatch.setattr(addresses, "Bucket", partial(FarBucket, patience_s=0.5))
        source = SyntheticSource(renderer=SyntheticConfig(), count=6)
        result = ingest(IngestConfig(workspace=Path(address), source=source, shard_samples=2))
        assert (len(gave_up), result.shards, result.samples, result.version) == (1, 3, 6, 1)
        assert verify_dataset(Workspace.existing(address)).faults == []


def test_an_evaluation_asked_for_elsewhere_is_written_into_this_machines_cache(
    machine: Machine, address: str, server: S3Server, tmp_path: Path
) -> None:
    """A retraining asks for it on one machine by the bucket's address; another one does it."""
    machine("one")
    asked = {"kind": "version", "workspace": address}
    config = EvaluateConfig.model_validate({"images": asked, "out": f"{address}/reports/evaluation"})
    other = machine("other")
    assert results_folder(config) == other.reports_dir / "evaluation"
    folder = EvaluateConfig.model_validate({"images": asked, "out": str(tmp_path / "here")})
    assert results_folder(folder) == tmp_path / "here"


def test_an_evaluation_in_a_workspace_is_kept_with_it(
    machine: Machine, server: S3Server, tmp_path: Path
) -> None:
    one, other = machine("one"), machine("other")
    images = VersionSet(workspace=one.root, version=1)
    for out in (one.reports_dir / "evaluation-version-1", tmp_path / "elsewhere"):
        (out / "measured").mkdir(parents=True)
        (out / "measured/telea.parquet").write_bytes(b"rows")
        (out / "report.html").write_bytes(b"page")
        share_results(out, images)
    kept = ["measured/telea.parquet", "report.html"]
    assert other.store.names("reports") == [f"reports/evaluation-version-1/{name}" for name in kept]
    assert other.store.bring("reports/evaluation-version-1/report.html")
    assert (other.reports_dir / "evaluation-version-1/report.html").read_bytes() == b"page"


@pytest.mark.slow
def test_a_cycle_in_a_bucket_ends_with_the_folders_bytes(tmp_path: Path) -> None:
    outcome = compare_stores(tmp_path, bad=True)
    assert (outcome.faults, outcome.failing_commands) == ([], [])
    assert (outcome.equal, outcome.verify_clean) == (True, True)
    assert outcome.shards >= 15
    assert outcome.prefect_runs > outcome.shards
    assert outcome.cuts > 5
