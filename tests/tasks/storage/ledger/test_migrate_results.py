"""A ledger at revision 0005 with rows of every kind: they are found as typed results, costs and purposes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from data_specs.losses import TrainingLosses
from data_specs.result import ResultKind
from data_specs.round import EndedPhase
from data_specs.seconds import Seconds
from tasks.storage.ledger import Ledger, open_ledger
from tests.facts import Facts

START = datetime(2026, 11, 1, tzinfo=UTC)
RUN, OTHER = "0123456789abcdef0123", "fedcba9876543210fedc"


def outcome(name: str, remover: str, rate: float) -> dict[str, Any]:
    kind = {"version": "automation"}.get(name.split()[0], name.split()[0])
    figures = {"success_low": 0, "success_high": 1, "psnr_effect": 20, "psnr_background": 30, "seconds": 1}
    result = {"name": name, "kind": kind, "tested": 8, "kept": 2, "total": 9, "success_rate": rate}
    result |= {**figures, "promoted": True, "reason": "better"}
    return {"result": result, "standing": {"remover": {"hash": remover}, "version": 1}, "losses": [0.5]}


def spent(what: str, wall: float) -> dict[str, Any]:
    return {"what": what, "seconds": {"wall": wall, "cpu": 2 * wall, "gpu": 0.0}}


def thin(*losses: float) -> dict[str, Any]:
    return {"stretch": 1, "means": list(losses)}


OLD_PHASES: list[tuple[str, str, dict[str, Any]]] = [
    (RUN, "initialisation: start", {"version": 1}),
    (RUN, "initialisation", outcome("initialisation", "r1", 0.25)),
    ("shard work", "harvest", {"shard": None, "rejects": {"no": 3}}),
    ("shard work", "spending", spent("cut out", 1.5)),
    ("files", "intake", {"finished": True}),
    (RUN, "human 1: start", {"version": 1}),
    (RUN, "human 1", outcome("human 1", "r2", 0.5)),
    (RUN, "discriminator 1", {"trained": {}, "measured": None}),
    (OTHER, "judge 1", {"trained": {"judge": {}}}),
    (RUN, "automation 12", outcome("automation 12", "r2", 0.75)),
    ("trainings", "training d1", {"remover": {"hash": "r2"}, "losses": [1.0]}),
    ("trainings", "training d2", {"discriminator": {"hash": "j"}, "reviewed": 9, "losses": []}),
    ("evaluations of r2", "images", {"tested": 4}),
    ("image encoders", "e1", {"shape": 0.5}),
    ("nightly candidates", "night 2026-11-02: start", {"version": 2}),
    ("nightly candidates", "night 2026-11-02: judge", {"discriminator": None}),
    ("nightly candidates", "night 2026-11-02: parent", {"version": 3}),
    ("nightly candidates", "2026-11-02", {"items": 5}),
    ("nightly compositing", "2026-11-02", {"shards": 7}),
    ("retrain", "version 4: start", {"version": 4}),
    ("retrain", "version 4", outcome("version 4", "r2", 0.5)),
    ("waiting for human-1-0123", "run a", {"flow_run": "a"}),
    ("waiting for human-1-0123", "run b", {"flow_run": "b"}),
    ("review.batch-complete", "human-1-0123 at http://here/api", {"left": 0}),
    ("by hand", "a note", {"said": "hello"}),
    ("another work", "spending", spent("cut out", 2.0)),
    ("training", "spending", spent("train remover", 8.0)),
]
"""Run, name and payload, recorded an hour apart."""

WANTED: list[tuple[ResultKind, str, list[tuple[str, dict[str, Any]]]]] = [
    ("phase_start", RUN, [("initialisation", {"version": 1}), ("human 1", {"version": 1})]),
    ("phase_start", "nightly candidates", [("night 2026-11-02", {"version": 2})]),
    ("phase_start", "retrain", [("version 4", {"version": 4})]),
    ("shard", "", [("shard work", {"shard": None, "rejects": {"no": 3}})]),
    ("ingest", "", [("files", {"finished": True})]),
    ("discriminator", RUN, [("discriminator 1", {"trained": {}, "measured": None})]),
    ("remover_training", "", [("d1", {"remover": {"hash": "r2"}, "losses": thin(1.0)})]),
    (
        "discriminator_training",
        "",
        [("d2", {"discriminator": {"hash": "j"}, "reviewed": 9, "losses": thin()})],
    ),
    ("evaluation", "r2", [("images", {"tested": 4})]),
    ("weights_training", "", [("e1", {"folder": "models/e1", "score": {"shape": 0.5}})]),
    ("night", "nightly candidates", [("2026-11-02", {"items": 5})]),
    ("night", "nightly compositing", [("2026-11-02", {"shards": 7})]),
    ("night_discriminator", "nightly candidates", [("night 2026-11-02", {"discriminator": None})]),
    ("night_parent", "nightly candidates", [("night 2026-11-02", {"version": 3})]),
    ("suspended_run", "human-1-0123", [("run a", {"flow_run": "a"}), ("run b", {"flow_run": "b"})]),
    (
        "event",
        "human-1-0123",
        [("http://here/api", {"event": "review.batch-complete", "payload": {"left": 0}})],
    ),
]

OLD_SHARDS = [
    ("candidates", 0, "human", 0),
    ("candidates", 1, "human", 1),
    ("candidates", 1000, "automation", 0),
    ("candidates", 1012, "automation", 12),
    ("candidates", 2003, "calibration", 3),
    ("candidates", 3000, "fresh", 0),
    ("candidates", 4001, "night", 1),
    ("candidates", 7500, "night", 3500),
    ("grown", 1000, "automation", 0),
    ("triplets", 201, None, 201),
    ("pool", 500, None, 500),
]
"""Stage and index before, then purpose and index after."""

OLD_DRAWS = [
    (f"{RUN} human 1", "human"),
    (f"{RUN} human 1 more 0", "human"),
    (f"{RUN} automation 1", "automation"),
    (f"{RUN} calibration 2", "calibration"),
    (f"{RUN} calibration 2 more 1", "calibration"),
    (f"{RUN} fresh 2", "fresh"),
    ("nightly candidates 2026-11-02", "night"),
]

OLD_MODELS: list[tuple[str, str, dict[str, Any], int | None]] = [
    ("r1", "remover", {"training": {}}, None),
    ("r2", "remover", {"training": {}}, 2),
    ("r3", "remover", {"lora": {"rank": 4}}, 3),
    ("j", "discriminator", {"discriminator": {"lora": 1}}, None),
]
"""Hash, kind, settings and dataset version, an hour apart."""

OLD_MEASUREMENTS = [
    ("r1", "test split, clip:", {"success_rate": 0.25, "psnr": 21.0}),
    ("r2", "validation split, clip:", {"success_rate": 0.5, "psnr": 90.0}),
    ("r2", "test split, other:", {"success_rate": 0.125, "psnr": 91.0}),
    ("r2", "test split, clip:", {"success_rate": 0.5, "psnr": 23.0}),
    ("r2", "test split, clip:", {"success_rate": 0.75}),
]


def go_to(url: str, revision: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "data_specs:migrations")
        config.attributes["connection"] = connection
        present = MigrationContext.configure(connection).get_current_revision() or ""
        go = command.downgrade if present > revision else command.upgrade
        go(config, revision)
    engine.dispose()


def has_table(connection: sa.Connection, name: str) -> bool:
    return sa.inspect(connection).has_table(name)


def old_rows() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    hours = [START + timedelta(hours=hour) for hour in range(50)]
    yield (
        "phases",
        [
            {"run": run, "name": name, "payload": payload, "recorded_at": hours[place]}
            for place, (run, name, payload) in enumerate(OLD_PHASES)
        ],
    )
    ref = {"round": 1, "samples": 1, "size_bytes": 1, "sha256": "a", "index_sha256": "b", "created_at": START}
    yield (
        "shards",
        [
            {
                "name": f"{stage} {index}",
                "input_digest": f"{stage} {index}",
                "stage": stage,
                "index": index,
                **ref,
            }
            for stage, index, _, _ in OLD_SHARDS
        ],
    )
    yield (
        "samples",
        [
            {
                "shard": f"pool {500}",
                "position": place,
                "key": f"item {place}",
                "scene": f"s{place}",
                "split": "train",
            }
            for place in range(len(OLD_DRAWS) + 1)
        ],
    )
    yield (
        "pool_draws",
        [
            {"item": f"item {place}", "phase": phase, "drawn_at": START}
            for place, (phase, _) in enumerate(OLD_DRAWS)
        ],
    )
    yield "models", [
        {"hash": hash, "kind": kind, "path": hash, "metrics": {}, "created_at": hours[place],
         "settings": settings, "dataset_version": version}
        for place, (hash, kind, settings, version) in enumerate(OLD_MODELS)
    ]  # fmt: skip
    yield (
        "model_measurements",
        [
            {"event": f"m{place}", "hash": hash, "measured_on": where, "values": values, "measured_at": START}
            for place, (hash, where, values) in enumerate(OLD_MEASUREMENTS)
        ],
    )


@pytest.fixture
def old_url(ledger_url: str) -> str:
    """A ledger at revision 0005 with rows of every kind."""
    go_to(ledger_url, "0005")
    engine = sa.create_engine(ledger_url)
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for name, rows in old_rows():
            for row in rows:
                connection.execute(sa.insert(tables.tables[name]), row)
    engine.dispose()
    return ledger_url


def rows_of(ledger: Ledger, query: str) -> list[tuple[Any, ...]]:
    with ledger._database.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def answers(ledger: Ledger) -> None:
    """Asserts that every accessor answers from the old rows."""
    for kind, run, expected in WANTED:
        assert [each.root for each in ledger.results.all(kind, Facts, run=run)] == [
            facts for _, facts in expected
        ]
        for name, facts in expected:
            found = ledger.results.get(kind, name, Facts, run=run)
            assert found is not None, (kind, run, name)
            assert found.root == facts
    phases = [each.result for each in ledger.results.all("phase", EndedPhase)]
    assert [(each.name, each.round, each.psnr, each.measured_on) for each in phases] == [
        ("initialisation", None, 21.0, "test split, clip:"),
        ("human 1", 1, 23.0, "test split, clip:"),
        ("automation 12", 12, None, ""),
    ]
    assert [each.result.name for each in ledger.results.all("retraining", EndedPhase)] == ["version 4"]
    last = START + timedelta(hours=9)
    assert [each.result.name for each in ledger.results.all("phase", EndedPhase, since=last)] == [
        "automation 12"
    ]
    assert ledger.costs.by_kind() == {
        "cut out": (2, Seconds(wall=3.5, cpu=7, gpu=0)),
        "train remover": (1, Seconds(wall=8, cpu=16, gpu=0)),
    }
    assert ledger.costs.by_kind(until=START + timedelta(hours=4)) == {
        "cut out": (1, Seconds(wall=1.5, cpu=3, gpu=0))
    }
    assert ledger.costs.finished_works(["shard work", "training", "files"]) == {"shard work", "training"}
    assert [(ref.stage, ref.purpose, ref.index) for ref in ledger.shards.all("candidates")] == [
        (stage, purpose, index) for stage, _, purpose, index in OLD_SHARDS if stage == "candidates"
    ]
    others = {
        ref.name: (ref.purpose, ref.index)
        for stage in ("grown", "triplets", "pool")
        for ref in ledger.shards.all(stage)
    }
    assert others == {"grown 1000": ("automation", 0), "triplets 201": (None, 201), "pool 500": (None, 500)}
    draws = rows_of(ledger, "SELECT phase, purpose FROM pool_draws ORDER BY sequence")
    assert draws == OLD_DRAWS
    assert ledger.draws.undrawn_items() == [f"item {len(OLD_DRAWS)}"]
    assert [each.hash for each in ledger.models.all() if each.distilled] == ["r3"]
    assert ledger.models.last_trained_version() == 2


def test_every_accessor_answers_from_the_rows_of_before(old_url: str) -> None:
    answers(open_ledger(old_url))
    ledger = open_ledger(old_url)
    answers(ledger)
    assert rows_of(ledger, "SELECT run, name FROM results WHERE kind = 'other'") == [("by hand", "a note")]
    assert not has_table_named(ledger, "phases")


def has_table_named(ledger: Ledger, name: str) -> bool:
    with ledger._database.reading() as connection:
        return has_table(connection, name)


def test_draws_cannot_be_without_a_purpose(old_url: str) -> None:
    ledger = open_ledger(old_url)
    with pytest.raises(IntegrityError), ledger._database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO pool_draws (item, phase, drawn_at) VALUES ('x', 'p', '2026-11-01')"
        )


def test_the_migration_goes_back_and_forth(old_url: str) -> None:
    open_ledger(old_url)
    go_to(old_url, "0005")
    engine = sa.create_engine(old_url)
    with engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT run, name FROM phases").all()
        numbers = connection.exec_driver_sql('SELECT stage, "index" FROM shards').all()
    engine.dispose()
    assert {tuple(row) for row in found} == {(run, name) for run, name, _ in OLD_PHASES}
    assert {tuple(row) for row in numbers} == {(stage, index) for stage, index, _, _ in OLD_SHARDS}
    answers(open_ledger(old_url))


def test_long_losses_are_thinned_wherever_a_result_has_them(ledger_url: str) -> None:
    go_to(ledger_url, "0007")
    losses = [float(n % 10) for n in range(5_000)]
    rows: list[tuple[str, dict[str, Any]]] = [
        ("phase", {"losses": losses, "result": 1}),
        ("discriminator", {"trained": {"losses": losses}, "measured": None}),
        ("night", {"losses": losses}),
    ]
    engine = sa.create_engine(ledger_url)
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for kind, payload in rows:
            row = {"kind": kind, "run": "", "name": "x", "payload": payload, "recorded_at": START}
            connection.execute(sa.insert(tables.tables["results"]), row)
    engine.dispose()
    results = open_ledger(ledger_url).results
    phase, discriminator, night = (
        results.get(kind, "x", Facts) for kind in ("phase", "discriminator", "night")
    )
    assert phase is not None
    assert discriminator is not None
    assert night is not None
    kept = TrainingLosses.model_validate(phase.root["losses"])
    assert kept == TrainingLosses.of(losses)
    assert TrainingLosses.model_validate(discriminator.root["trained"]["losses"]) == kept
    assert night.root == {"losses": losses}, "no kind with losses: it stays"
    go_to(ledger_url, "0007")
    again = open_ledger(ledger_url).results.get("phase", "x", Facts)
    assert again is not None
    assert again.root["losses"] == {"stretch": 1, "means": list(kept.means)}, "what was kept, as a list"
