"""A workspace in a bucket, as several machines see it, against the same work in a folder."""

import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from benchmarks._bad_network import bad_network
from benchmarks._s3_server import S3Server, s3_program, s3_server, s3_variables
from data_specs.errors import InputError, ShardError, StoreError
from data_specs.keys import derive_key
from data_specs.losses import TrainingLosses
from data_specs.shard import EncodedSample, ShardRef
from models.rorem.remover import SamplingConfig
from tasks.execution.shard_task import in_workspace
from tasks.registry.removers import RemoverRef
from tasks.registry.store import keep_model
from tasks.rorem.train_discriminator import DiscriminatorRef, TrainedDiscriminator, newest_discriminator
from tasks.storage.dataset import create_version, load_samples, verify_dataset
from tasks.storage.ledger.shards import ShardLedger
from tasks.storage.object_store import address as addresses
from tasks.storage.object_store.s3 import Bucket
from tasks.storage.shards import ShardReader, write_shard
from tasks.storage.workspace import Workspace
from tests.tasks.storage.object_store.conftest import Machine
from tests.tasks.storage.object_store.small_shards import SHARDS, samples, shard

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.usefixtures("server")


def files(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.shards_dir.glob("*.[tp]a*")}


def contents(workspace: Workspace, refs: list[ShardRef]) -> list[EncodedSample]:
    with ShardReader(workspace, refs, check=True) as reader:
        return [reader[position] for position in range(len(reader))]


def tampered(address: str) -> S3Store:
    return S3Store.from_url(address, client_options={"allow_http": True})


def test_another_machine_reads_what_one_wrote(machine: Machine, tmp_path: Path) -> None:
    one = machine("one")
    refs = [shard(one, index) for index in range(3)]
    version = create_version(one, [(ref, None) for ref in refs], None, "first")
    other = machine("other")
    assert (other.root != one.root, files(other), other.address) == (True, {}, one.address)
    assert contents(other, refs) == [sample for index in range(3) for sample in samples(index)]
    assert files(other) == files(one)
    assert len(files(one)) == 6
    assert load_samples(other, 1) == load_samples(one, 1)
    report = verify_dataset(machine("a third"))
    assert (report.faults, report.shards, report.versions) == ([], 3, 1)
    assert create_version(other, [(ref, None) for ref in refs], None, "again") == version


def test_few_samples_are_read_by_ranges_and_no_tar_is_fetched(machine: Machine) -> None:
    one = machine("one")
    refs = [shard(one, index) for index in range(3)]
    other = machine("other")
    written = [sample for index in range(3) for sample in samples(index)]
    with ShardReader(other, refs, few=True) as reader:
        for position in (9, 0, 5):
            assert reader[position] == written[position]
        assert reader.member_by_key("sample-1-2", "json") == b"{}"
        assert pickle.loads(pickle.dumps(reader))[7] == written[7]
    assert {path.suffix for path in other.shards_dir.glob("[!.]*")} == {".parquet"}
    with ShardReader(other, refs[:1]) as reader:
        assert reader[0] == written[0]
    with ShardReader(other, refs, few=True) as reader:
        assert [reader[position] for position in (1, 6)] == [written[1], written[6]]
    assert len(list(other.shards_dir.glob("*.tar"))) == 1, "what is here is used"


def test_a_range_with_other_bytes_is_refused(machine: Machine) -> None:
    one = machine("one")
    ref = shard(one, 0)
    other = machine("other")
    bucket = tampered(one.address)
    name = one.store.name(f"shards/{ref.name}.tar", ref.sha256)
    data = bytearray(obstore.get(bucket, name).bytes())
    with ShardReader(other, [ref], few=True) as reader:
        data[reader._index.offset[-1] + 7] ^= 1
        obstore.put(bucket, name, bytes(data))
        with pytest.raises(ShardError, match=f"shard {ref.name} is altered in a source.png"):
            reader[len(reader) - 1]
        obstore.delete(bucket, name)
        with pytest.raises(ShardError, match=f"shard {ref.name} is missing"):
            reader[0]


def test_another_machine_finds_the_newest_discriminator(machine: Machine) -> None:
    """A night on a machine that never trained would else leave its candidates to people."""
    one, other = machine("one"), machine("other")

    def save(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "head.safetensors").write_bytes(b"weights")

    backbone = RemoverRef(hash="base", folder="base", sampling=SamplingConfig())
    kept, lost = (
        DiscriminatorRef(hash=name, folder=f"models/{name}", backbone=backbone) for name in ("kept", "lost")
    )
    keep_model(one, kept.hash, save)
    for discriminator in (kept, lost):
        trained = TrainedDiscriminator(discriminator=discriminator, reviewed=0, losses=TrainingLosses())
        one.ledger().results.record("discriminator_training", discriminator.hash, trained)
    assert newest_discriminator(other) == newest_discriminator(one) == kept


def test_the_same_work_gives_the_folders_bytes(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = machine("one")
    ref = shard(remote, 0)
    monkeypatch.delenv("CLEANPLATE_LEDGER")
    local = Workspace.open(tmp_path / "local")
    assert shard(local, 0) == ref
    assert files(local) == files(remote)


def test_a_shard_is_made_once_on_whichever_machine(machine: Machine) -> None:
    ref = shard(machine("one"), 0)
    assert shard(machine("other"), 0, seed=1) == ref
    assert contents(machine("other"), [ref]) == list(samples(0))


def test_of_two_machines_with_other_bytes_the_ledgers_row_counts(machine: Machine) -> None:
    one, other = machine("one"), machine("other")

    def overtaken() -> Iterator[EncodedSample]:
        yield from samples(0, seed=1)
        shard(one, 0)

    ref = write_shard(other, stage="triplets", round=0, index=0, input_digest="work 0", samples=overtaken())
    assert contents(other, [ref]) == contents(one, [ref]) == list(samples(0))
    # The loser's bytes stay in the store, named by no row.
    kinds = [(fault.kind, fault.what.split(".")[-1]) for fault in verify_dataset(one).faults]
    assert sorted(kinds) == [("orphaned", "parquet"), ("orphaned", "tar")]


def test_a_row_committed_at_the_last_moment_counts_too(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machine("one"), machine("other")
    commit = ShardLedger.commit

    def overtaken(ledger: ShardLedger, *row: Any) -> ShardRef:
        monkeypatch.setattr(ShardLedger, "commit", commit)
        shard(one, 0)
        return commit(ledger, *row)

    monkeypatch.setattr(ShardLedger, "commit", overtaken)
    ref = shard(other, 0, seed=1)
    assert contents(other, [ref]) == contents(one, [ref]) == list(samples(0))


def test_who_is_killed_before_the_row_hides_no_other_machines_bytes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machine("one"), machine("other")

    def killed(_ledger: ShardLedger, *_row: Any) -> ShardRef:
        raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr(ShardLedger, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            shard(other, 0, seed=1)
    ref = shard(one, 0)
    assert shard(other, 0, seed=1) == ref
    assert contents(other, [ref]) == list(samples(0))


def test_racing_machines_number_each_version_once(machine: Machine) -> None:
    machines = [machine(f"machine {number}") for number in range(4)]
    refs = [shard(machines[0], index) for index in range(4)]

    def grow(number: int) -> list[int]:
        workspace = machines[number]
        turned = refs[number:] + refs[:number]
        return [create_version(workspace, [(ref, None)], None, f"of {ref.index}").number for ref in turned]

    with ThreadPoolExecutor(4) as threads:
        numbers = list(threads.map(grow, range(4)))
    assert [sorted(each) for each in numbers] == [[1, 2, 3, 4]] * 4
    versions = machines[0].ledger().versions.all()
    assert [version.number for version in versions] == [1, 2, 3, 4]
    assert len({version.sha256 for version in versions}) == 4
    assert verify_dataset(machines[3]).faults == []


def test_models_are_whole_or_not_there(machine: Machine, address: str) -> None:
    def save(folder: Path) -> None:
        (folder / "unet").mkdir()
        (folder / "unet/weights.safetensors").write_bytes(b"weights")
        (folder / "config.json").write_bytes(b"{}")

    def fail(folder: Path) -> None:
        save(folder)
        raise RuntimeError("killed")

    one, other = machine("one"), machine("other")
    with pytest.raises(RuntimeError, match="killed"):
        keep_model(one, "digest", fail)
    assert not other.fetched("models/digest").exists()
    keep_model(one, "digest", save)
    (one.models_dir / "digest/model-card.json").write_bytes(b"card")
    one.store.share("models/digest/model-card.json")
    folder = other.fetched("models/digest")
    assert folder == other.models_dir / "digest"
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    kept = {"unet/weights.safetensors": b"weights", "config.json": b"{}"}
    assert found == {**kept, "model-card.json": b"card"}
    # Without its list a model is nothing, whichever files were uploaded.
    obstore.delete(tampered(address), "models/digest.json")
    assert not machine("a third").fetched("models/digest").exists()


def test_the_newest_discriminator_is_known_where_its_weights_never_were(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    backbone = RemoverRef(hash="base", folder="models/base", sampling=SamplingConfig())
    for number in range(2):
        keep_model(one, f"judge-{number}", lambda folder: (folder / "judge.json").touch())
        discriminator = DiscriminatorRef(
            hash=f"hash {number}", folder=f"models/judge-{number}", backbone=backbone
        )
        trained = TrainedDiscriminator(discriminator=discriminator, reviewed=40, losses=TrainingLosses())
        one.ledger().results.record("discriminator_training", f"work {number}", trained)
    found = newest_discriminator(other)
    assert found is not None
    assert found.hash == "hash 1"
    assert (other.models_dir / "judge-1/judge.json").is_file()


def test_a_worker_on_another_machine_has_a_cache_of_its_own(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = machine("one")
    monkeypatch.setenv("CLEANPLATE_CACHE", str(tmp_path / "worker"))
    ref = in_workspace(one.address, derive_key(one.ledger_url), shard, 0)
    assert files(one) == {}
    assert contents(one, [ref]) == list(samples(0))


def test_reports_are_those_shared_last(machine: Machine) -> None:
    one, other = machine("one"), machine("other")
    assert not other.store.bring("reports/page.html")
    for page in ("first", "second"):
        (one.reports_dir / "page.html").write_text(page)
        one.store.share("reports/page.html")
        assert other.store.bring("reports/page.html")
        assert (other.reports_dir / "page.html").read_text() == page
    (one.reports_dir / "page.html").unlink()
    one.store.share("reports/page.html")
    assert not other.store.bring("reports/page.html")


def test_altered_and_lost_objects_are_told(machine: Machine, address: str) -> None:
    one = machine("one")
    altered, lost = shard(one, 0), shard(one, 1)
    create_version(one, [(altered, None), (lost, None)], None, "first")
    bucket = tampered(address)
    tars = sorted(name for name in Bucket(address).names("shards") if name.endswith(".tar"))
    obstore.put(bucket, tars[0], bytes(altered.size_bytes))
    obstore.delete(bucket, tars[1])
    other = machine("other")
    with pytest.raises(StoreError, match=rf"{tars[0]} is altered; `cleanplate dataset verify`"):
        ShardReader(other, [altered])
    with pytest.raises(ShardError, match=f"shard {lost.name} is missing"):
        ShardReader(other, [lost])
    assert list((other.root / "held").iterdir()) == []
    faults = [(fault.kind, fault.what) for fault in verify_dataset(other).faults]
    assert faults == [("altered", tars[0]), ("missing", tars[1]), ("missing", lost.name)]
    # The machine that still has the bytes reads on, and the same work done again mends the bucket.
    assert len(contents(one, [altered, lost])) == 8
    obstore.delete(bucket, tars[0])
    assert [shard(one, 0), shard(other, 1)] == [altered, lost]
    assert verify_dataset(machine("a third")).faults == []


def test_the_cache_keeps_to_its_limit(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANPLATE_CACHE_GB", "0.0002")
    one = machine("one")
    refs = [shard(one, index) for index in range(5)]  # Each is of 92 kB with its index: two fit.
    assert 0 < sum(map(len, files(one).values())) < 200_000
    for index, ref in enumerate(refs):
        assert contents(one, [ref]) == list(samples(index))
        assert sum(map(len, files(one).values())) < 200_000
    reader = ShardReader(one, refs)
    shard(one, 5)
    assert [reader[position].key for position in range(20)] == [
        sample.key for index in range(5) for sample in samples(index)
    ]
    assert sum(map(len, files(one).values())) > 400_000
    reader.close()
    shard(one, 6)
    assert sum(map(len, files(one).values())) < 200_000


def test_a_bad_network_loses_nothing(
    machine: Machine, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bad_network(server.port) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
        network.cut_chance, network.delay_s = 0.02, 0.001
        one, other = machine("one"), machine("other")
        refs = [shard(one, index, size_bytes=50_000) for index in range(6)]
        for ref in refs:
            create_version(one, [(ref, None)], None, f"of {ref.index}")
        read = contents(other, refs)
        assert network.cuts > 5
    assert read == [sample for index in range(6) for sample in samples(index, size_bytes=50_000)]
    for name, value in s3_variables(server.port).items():
        monkeypatch.setenv(name, value)
    report = verify_dataset(machine("direct"))
    assert (report.faults, report.shards, report.versions) == ([], 6, 6)


def lose_the_store(
    machine: Machine, address: str, lose: Callable[[], None], find: Callable[[], None]
) -> None:
    """In the middle of a shard; then the same work is done again."""
    one = machine("one")
    done = [shard(one, index) for index in range(2)]

    def cut_off() -> Iterator[EncodedSample]:
        yield from samples(2)
        lose()

    work = partial(write_shard, one, stage="triplets", round=0, index=2, input_digest="work 2")
    with pytest.raises(StoreError, match=f"{address}: the store has not answered .* nothing is lost"):
        work(samples=cut_off())
    assert [ref.name for ref in one.ledger().shards.all()] == [ref.name for ref in done]
    assert list(one.shards_dir.glob("*.aside")) == []
    with pytest.raises(StoreError, match="the store has not answered"):
        machine("other")
    find()
    done.append(work(samples=samples(2)))
    assert contents(machine("other"), done) == [sample for i in range(3) for sample in samples(i)]
    assert verify_dataset(one).faults == []


def test_a_lost_network_stops_the_work_which_is_then_taken_up_again(
    machine: Machine, address: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "Bucket", partial(Bucket, patience_s=1))
    with bad_network(server.port) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
        lose_the_store(
            machine, address, lambda: setattr(network, "down", True), lambda: setattr(network, "down", False)
        )


@pytest.mark.slow
def test_a_killed_server_stops_the_work_which_is_then_taken_up_again(
    machine: Machine, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaweedFS takes 20 s to come up again."""
    program = s3_program()
    assert program is not None
    monkeypatch.setattr(addresses, "Bucket", partial(Bucket, patience_s=1))
    with s3_server(program) as server:
        for name, value in s3_variables(server.port).items():
            monkeypatch.setenv(name, value)
        lose_the_store(machine, address, server.kill, server.start)


@pytest.mark.slow
def test_a_killed_writers_work_is_taken_up_again(
    machine: Machine, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("one")
    chance, landed = random.Random(0), 0
    for started in range(40):
        command = [sys.executable, "-m", "tests.tasks.storage.object_store.small_shards", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"open\n"
            if started < 8:
                time.sleep(chance.uniform(0.0, 0.4))
                writer.kill()
        landed += writer.returncode == -9
        if writer.returncode == 0 and started >= 8:
            break
    assert landed >= 3
    other = machine("other")
    refs = other.ledger().shards.all()
    assert contents(other, refs) == [sample for index in range(SHARDS) for sample in samples(index)]
    assert verify_dataset(other).faults == []
    monkeypatch.delenv("CLEANPLATE_LEDGER")
    local = Workspace.open(tmp_path / "local")
    assert [shard(local, index) for index in range(SHARDS)] == refs


@pytest.mark.parametrize("place", ["s3://", "s3://UPPER/x", "s3://bucket/a b", "s3:bucket"])
def test_an_address_that_names_no_bucket_is_refused(place: str) -> None:
    with pytest.raises(InputError, match=r"is not the address of a store; write s3://bucket/prefix"):
        Workspace.open(place)


def test_a_workspace_in_a_bucket_wants_its_ledger_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEANPLATE_CACHE", str(tmp_path))
    monkeypatch.delenv("CLEANPLATE_LEDGER", raising=False)
    with pytest.raises(InputError, match=f"{address}: its ledger is not in the store; set CLEANPLATE_LEDGER"):
        Workspace.open(address)


def test_only_what_was_opened_exists(machine: Machine, address: str) -> None:
    machine("one")
    assert Workspace.existing(Path(address)).address == address  # As a flow's form gives it: slashes folded.
    with pytest.raises(InputError, match="there is no workspace here"):
        Workspace.existing(f"{address}-other")
