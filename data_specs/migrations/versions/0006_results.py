"""Results get a kind, costs a table, shards and draws a purpose. Models say whether they are distilled."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PURPOSES = ("human", "automation", "calibration", "fresh", "night")
"""Shards of each had indexes of their own, 1000 apart."""
WITH_PURPOSE = ("candidates", "grown")
CHUNK = 1_000
"""Rows in memory at a time: a training's losses are long."""

phases = sa.table(
    "phases",
    sa.column("sequence", sa.Integer),
    sa.column("run", sa.String),
    sa.column("name", sa.String),
    sa.column("payload", sa.JSON),
    sa.column("recorded_at", sa.DateTime(timezone=True)),
)
results = sa.table("results", sa.column("kind", sa.String), *(sa.column(c.name, c.type) for c in phases.c))
costs = sa.table(
    "costs",
    sa.column("work", sa.String),
    sa.column("what", sa.String),
    *(sa.column(clock, sa.Double) for clock in ("wall", "cpu", "gpu")),
    sa.column("recorded_at", sa.DateTime(timezone=True)),
)
shards = sa.table(
    "shards",
    sa.column("stage", sa.String),
    sa.column("purpose", sa.String),
    sa.column("index", sa.Integer),
)
draws = sa.table("pool_draws", sa.column("phase", sa.String), sa.column("purpose", sa.String))
models = sa.table(
    "models",
    sa.column("hash", sa.String),
    sa.column("kind", sa.String),
    sa.column("settings", sa.JSON),
    sa.column("distilled", sa.Boolean),
)
measurements = sa.table(
    "model_measurements",
    sa.column("sequence", sa.Integer),
    sa.column("hash", sa.String),
    sa.column("measured_on", sa.String),
    sa.column("values", sa.JSON),
)


def upgrade() -> None:
    _create_results()
    _create_costs()
    _move_phases()
    op.drop_table("phases")
    op.add_column("shards", sa.Column("purpose", sa.String(16), nullable=True))
    _number_shards()
    op.add_column("pool_draws", sa.Column("purpose", sa.String(16), nullable=True))
    _say_purpose_of_draws()
    with op.batch_alter_table("pool_draws") as table:
        table.alter_column("purpose", existing_type=sa.String(16), nullable=False)
    op.add_column("models", sa.Column("distilled", sa.Boolean, nullable=False, server_default=sa.false()))
    _mark_distilled()


def downgrade() -> None:
    with op.batch_alter_table("models") as table:
        table.drop_column("distilled")
    with op.batch_alter_table("pool_draws") as table:
        table.drop_column("purpose")
    first = {purpose: 1000 * place for place, purpose in enumerate(PURPOSES)}
    numbered = shards.c.index + sa.case(first, value=shards.c.purpose, else_=0)
    op.execute(sa.update(shards).values(index=numbered))
    with op.batch_alter_table("shards") as table:
        table.drop_column("purpose")
    _create_phases()
    _move_results_back()
    op.drop_table("costs")
    op.drop_table("results")


def _create_results() -> None:
    op.create_table(
        "results",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("run", sa.String(160), nullable=False),
        sa.Column("name", sa.String(160), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_results"),
        sa.UniqueConstraint("kind", "run", "name", name="uq_results_kind"),
    )


def _create_costs() -> None:
    op.create_table(
        "costs",
        sa.Column("work", sa.String(160), nullable=False),
        sa.Column("what", sa.String(80), nullable=False),
        sa.Column("wall", sa.Double, nullable=False),
        sa.Column("cpu", sa.Double, nullable=False),
        sa.Column("gpu", sa.Double, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("work", name="pk_costs"),
    )


def _create_phases() -> None:
    op.create_table(
        "phases",
        sa.Column("sequence", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("run", sa.String(160), nullable=False),
        sa.Column("name", sa.String(160), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_phases"),
        sa.UniqueConstraint("run", "name", name="uq_phases_run"),
    )


# Results and costs were rows of one table. A run's or a row's name told what it was.


class Place(NamedTuple):
    """Where a result is found."""

    kind: str
    run: str
    name: str


def _move_phases() -> None:
    connection = op.get_bind()
    for rows in _chunks(phases):
        spent = [_cost(row) for row in rows if row.name == "spending"]
        kept = [_result(row) for row in rows if row.name != "spending"]
        if spent:
            connection.execute(sa.insert(costs), spent)
        if kept:
            connection.execute(sa.insert(results), kept)


def _chunks(table: sa.TableClause) -> Iterator[list[Any]]:
    """The rows of a table by sequence."""
    last = 0
    while True:
        query = sa.select(table).where(table.c.sequence > last).order_by(table.c.sequence).limit(CHUNK)
        rows = list(op.get_bind().execute(query))
        if not rows:
            return
        yield rows
        last = rows[-1].sequence


def _cost(row: Any) -> dict[str, Any]:
    facts = row.payload
    return {"work": row.run, "what": facts["what"], **facts["seconds"], "recorded_at": row.recorded_at}


def _result(row: Any) -> dict[str, Any]:
    place = _place(row.run, row.name, row.payload)
    payload = row.payload
    if place.kind in ("phase", "retraining"):
        payload = _with_figures(payload)
    if place.kind == "weights_training":
        payload = {"folder": f"models/{row.name}", "score": payload}
    if place.kind == "event":
        payload = {"event": row.run, "payload": payload}
    return {**place._asdict(), "payload": payload, "recorded_at": row.recorded_at}


OF_WORKS = {"harvest": "shard", "intake": "ingest"}
"""By the row's name. Its run is the work's digest."""
BEGINNINGS = {
    "image encoders": "weights_training",
    "evaluations of ": "evaluation",
    "waiting for ": "suspended_run",
}
"""By how the row's run begins. What stands behind is what owns the result."""
ENDINGS = {": start": "phase_start", ": judge": "night_discriminator", ": parent": "night_parent"}
"""By how the row's name ends. What stands before is the phase or the night."""
PHASE = re.compile("base model|initialisation|(human|automation) [0-9]+")
DISCRIMINATOR = re.compile("(discriminator|judge) [0-9]+")


def _place(run: str, name: str, payload: dict[str, Any]) -> Place:
    if name in OF_WORKS:
        return Place(OF_WORKS[name], "", run)
    if run == "trainings":
        kind = "discriminator_training" if "discriminator" in payload else "remover_training"
        return Place(kind, "", name.removeprefix("training "))
    if run == "review.batch-complete":
        batch, _, api = name.partition(" at ")
        return Place("event", batch, api)
    for beginning, kind in BEGINNINGS.items():
        if run.startswith(beginning):
            return Place(kind, run.removeprefix(beginning), name)
    return _place_in_run(run, name)


def _place_in_run(run: str, name: str) -> Place:
    for ending, kind in ENDINGS.items():
        if name.endswith(ending):
            return Place(kind, run, name.removesuffix(ending))
    if run in ("nightly candidates", "nightly compositing"):
        return Place("night", run, name)
    if run == "retrain":
        return Place("retraining", run, name)
    if DISCRIMINATOR.fullmatch(name):
        return Place("discriminator", run, name)
    # Nothing reads a row of kind "other". It stays for people to look at.
    return Place("phase" if PHASE.fullmatch(name) else "other", run, name)


def _with_figures(outcome: dict[str, Any]) -> dict[str, Any]:
    """A phase's outcome with its round, and with the PSNR of the measurement that has its success rate."""
    if "result" not in outcome:
        return outcome
    result = dict(outcome["result"])
    words = result["name"].split()
    if words[0] in ("human", "automation"):
        result["round"] = int(words[1])
    query = (
        sa.select(measurements.c.measured_on, measurements.c["values"])
        .where(
            measurements.c.hash == _remover_of(outcome),
            measurements.c.measured_on.startswith("test split"),
        )
        .order_by(measurements.c.sequence)
    )
    for measured_on, values in op.get_bind().execute(query):
        if values.get("success_rate") == result.get("success_rate") and "psnr" in values:
            result |= {"psnr": values["psnr"], "measured_on": measured_on}
    return {**outcome, "result": result}


def _remover_of(outcome: dict[str, Any]) -> str:
    return outcome.get("standing", {}).get("remover", {}).get("hash", "")


def _move_results_back() -> None:
    connection = op.get_bind()
    for rows in _chunks(results):
        connection.execute(sa.insert(phases), [_phase(row) for row in rows])
    spent = [
        {
            "run": row.work,
            "name": "spending",
            "payload": {"what": row.what, "seconds": {"wall": row.wall, "cpu": row.cpu, "gpu": row.gpu}},
            "recorded_at": row.recorded_at,
        }
        for row in connection.execute(sa.select(costs).order_by(costs.c.recorded_at, costs.c.work))
    ]
    if spent:
        connection.execute(sa.insert(phases), spent)


IN_PAYLOAD = {"event": "payload", "weights_training": "score"}
"""Kinds of whose payload the old table had only this field."""


def _phase(row: Any) -> dict[str, Any]:
    """A result as a row of the old table. The figures that a phase's outcome has more do no harm there."""
    run, name = {
        **{kind: (row.name, old) for old, kind in OF_WORKS.items()},
        **{kind: (row.run, row.name + ending) for ending, kind in ENDINGS.items()},
        "remover_training": ("trainings", f"training {row.name}"),
        "discriminator_training": ("trainings", f"training {row.name}"),
        "weights_training": ("image encoders", row.name),
        "evaluation": (f"evaluations of {row.run}", row.name),
        "suspended_run": (f"waiting for {row.run}", row.name),
        "event": ("review.batch-complete", f"{row.run} at {row.name}"),
    }.get(row.kind, (row.run, row.name))
    payload = row.payload
    if row.kind in IN_PAYLOAD:
        payload = payload.get(IN_PAYLOAD[row.kind], payload)
    return {"run": run, "name": name, "payload": payload, "recorded_at": row.recorded_at}


# Purposes: of shards by their index, of draws by the name of their phase.


def _number_shards() -> None:
    """Say the purpose of candidates and grown samples, and count their indexes from 0."""
    of_purpose = shards.c.stage.in_(WITH_PURPOSE)
    bounds = [
        (shards.c.index >= 1000 * place, purpose) for place, purpose in reversed(list(enumerate(PURPOSES)))
    ]
    op.execute(sa.update(shards).where(of_purpose).values(purpose=sa.case(*bounds)))
    first = {purpose: 1000 * place for place, purpose in enumerate(PURPOSES)}
    numbered = shards.c.index - sa.case(first, value=shards.c.purpose, else_=0)
    op.execute(sa.update(shards).where(of_purpose).values(index=numbered))


def _say_purpose_of_draws() -> None:
    """Phases were called ``RUN human 1 more 0``, ``RUN fresh 2``, ``nightly candidates 2026-11-02``."""
    said = [
        (draws.c.phase.like(f"% {purpose} %"), purpose) for purpose in ("fresh", "calibration", "automation")
    ]
    night = draws.c.phase.like("nightly candidates %")
    op.execute(sa.update(draws).values(purpose=sa.case(*said, (night, "night"), else_="human")))


def _mark_distilled() -> None:
    """Distilled removers were those with settings of a LoRA."""
    connection = op.get_bind()
    query = sa.select(models.c.hash, models.c.settings).where(models.c.kind == "remover")
    distilled = [hash for hash, settings in connection.execute(query) if "lora" in settings]
    for hash in distilled:
        connection.execute(sa.update(models).where(models.c.hash == hash).values(distilled=True))
