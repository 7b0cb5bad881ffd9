"""The daily report as one page of Markdown, the same for Prefect and the terminal."""

from collections.abc import Mapping, Sequence

from data_specs.daily_report import DailyReport, Drift
from flows.report.tables import Row


def daily_page(report: DailyReport) -> str:
    """What ran, what was kept and refused, how long, at what cost, how the dataset grew; alarms first."""
    parts = [
        f"# {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC",
        "\n".join(f"- {sentence}" for sentence in sentences(report)),
        *_section("What ran", work_rows(report)),
        *_section("Phases", phase_rows(report)),
        *_section("Made", [_made_row(shard.stage, shard.shards, shard.samples) for shard in report.shards]),
        *_section("Refused", [_count_row("reason", why, n) for why, n in report.rejects.items()]),
        *_section("Answers", [_count_row("answer", who, n) for who, n in report.reviews.items()]),
        *_section("Drift", [drift_row(drift) for drift in report.drifts]),
    ]
    return "\n\n".join(parts) + "\n"


def sentences(report: DailyReport) -> list[str]:
    """The few that matter most; alarms before all."""
    said = [f"**Alarm**: {drift_sentence(drift)}" for drift in report.drifts if drift.alarm]
    if not (report.work or report.shards or report.phases):
        return [*said, "Nothing ran."]
    said.append(f"{report.accepted:,} accepted, {_cost_words(report)}.")
    said += [
        f"Dataset version {version.number} has {version.samples:,} samples, {version.grown_by:+,}: "
        f"{version.note}."
        for version in report.versions
    ]
    return said if report.versions else [*said, "The dataset did not grow."]


def _cost_words(report: DailyReport) -> str:
    if not report.cost and any(work.seconds.cpu or work.seconds.gpu for work in report.work):
        return "at no cost, because no price is set"
    price = report.cost_per_accepted
    unit_price = "" if price is None else f", {price:.4g} {report.currency} each"
    return f"for {report.cost:.2f} {report.currency}{unit_price}"


def drift_sentence(drift: Drift) -> str:
    """What is how far from what."""
    return (
        f"the {drift.what} of {drift.phase} is {drift.found:.1%}, of {drift.against} {drift.expected:.1%}: "
        f"{100 * drift.gap:.1f} points apart, {100 * drift.limit:.1f} allowed"
    )


def work_rows(report: DailyReport) -> list[Row]:
    """A row a kind of work, dearest first."""
    return [
        {
            "work": work.what,
            "pieces": f"{work.pieces:,}",
            "hours": _hours(work.seconds.wall),
            "CPU hours": _hours(work.seconds.cpu),
            "GPU hours": _hours(work.seconds.gpu),
            report.currency: f"{work.cost:.2f}",
        }
        for work in sorted(report.work, key=lambda costs: (-costs.cost, -costs.seconds.wall))
    ]


def phase_rows(report: DailyReport) -> list[Row]:
    """A row a phase."""
    return [
        {
            "phase": phase.name,
            "tested": f"{phase.tested:,}",
            "kept": f"{phase.kept:,}",
            "keep rate": f"{phase.kept / phase.tested:.1%}" if phase.tested else "–",
            "success": f"{phase.success_rate:.1%}",
            "remover kept?": "yes" if phase.promoted else "no",
            "minutes": f"{phase.seconds / 60:.1f}",
        }
        for phase in report.phases
    ]


def drift_row(drift: Drift) -> Row:
    """One comparison."""
    return {
        "phase": drift.phase,
        "what": drift.what,
        "is": f"{drift.found:.1%}",
        "against": drift.against,
        "was": f"{drift.expected:.1%}",
        "allowed gap": f"{drift.limit:.1%}",
        "alarm": "yes" if drift.alarm else "no",
    }


def _made_row(stage: str, shards: int, samples: int) -> Row:
    return {"stage": stage, "shards": f"{shards:,}", "samples": f"{samples:,}"}


def _count_row(heading: str, value: str, count: int) -> Row:
    return {heading: value, "count": f"{count:,}"}


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3f}"


def _section(heading: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Heading and table; nothing where there is nothing to say."""
    if not rows:
        return []
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return [f"## {heading}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]


def _cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", "\\|")
