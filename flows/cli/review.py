"""`cleanplate review`: open, serve, status, quality, and people."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from data_specs.errors import InputError, first_fault
from data_specs.review import ExchangeFormat
from data_specs.review_batch import Ending, QueueOrder, QueuePolicy
from flows.cli.options import (
    DEFAULT_WORKSPACE,
    LARGEST,
    JsonOption,
    ReasonOption,
    WorkspaceOption,
    clear_errors,
    existing_workspace,
    no_pipe,
    print_json,
    shown,
)

# `cleanplate review resume`: wakes the run that waits for a batch, should nothing else have done so.

resume_app = typer.Typer()


@resume_app.command("resume")
@clear_errors
def resume_command(
    batch: Annotated[str, typer.Argument(help="Name of the batch, as `cleanplate review status` shows it.")],
    decision: Annotated[
        Ending | None,
        typer.Option(help="What to do about the missing answers, in place of waiting for them."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Resume the round that waits for a batch. If a waiting run cannot be resumed, the exit code is 1.

    The review server does the same after the last answer. A second call changes nothing.

    Example: cleanplate review resume human-1-3f2a9c1b --decision continue
    """
    from tasks.review.suspended_runs import resume

    woken = resume(existing_workspace(workspace), batch, decision)
    if as_json:
        print_json({"batch": batch, "runs": [run.model_dump(mode="json") for run in woken]})
    else:
        console = Console()
        for run in woken:
            why = f" ({run.detail})" if run.detail else ""
            console.print(shown(f"run {run.flow_run}: {run.state}{why}"))
        if not woken:
            console.print("no suspended run waits for it; run the round again, and it continues")
    if any(run.state in ("refused", "unreachable") for run in woken):
        raise typer.Exit(1)


# `cleanplate review reviewers`: add, list, disable, enable.

reviewers_app = typer.Typer(
    name="reviewers", help="Who may answer: add, list, disable, enable.", no_args_is_help=True
)

NameArgument = Annotated[str, typer.Argument(help="The person's name.")]


@reviewers_app.command("add")
@clear_errors
def add_command(
    name: NameArgument,
    new_token: Annotated[
        bool,
        typer.Option(
            "--new-token", help="Make a new token for a known person. The old token becomes invalid."
        ),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Add a person and print their token once. Only its hash is stored.

    Example: cleanplate review reviewers add ana
    """
    from tasks.review.auth import invite

    token = invite(existing_workspace(workspace).ledger(), name, replace=new_token)
    if as_json:
        print_json({"person": name, "token": token})
        return
    typer.echo(f"{name}'s token, shown this once: {token}")


@reviewers_app.command("list")
@clear_errors
def list_command(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List the people and the last decision about each.

    Example: cleanplate review reviewers list
    """
    ledger = existing_workspace(workspace).ledger()
    people = ledger.people.all()
    last = {person.name: ledger.people.events(person.name)[-1] for person in people}
    if as_json:
        rows = [
            {**person.model_dump(), "last": last[person.name].model_dump(mode="json")} for person in people
        ]
        print_json({"reviewers": rows})
        return
    table = Table("person", "counts", "last", "on", "why", box=None)
    for person in people:
        event = last[person.name]
        counts = "no" if person.excluded else "yes"
        when = f"{event.recorded_at:%Y-%m-%d %H:%M}"
        table.add_row(shown(person.name), counts, event.kind, when, shown(event.reason))
    Console().print(table)


@reviewers_app.command("disable")
@clear_errors
def disable_command(
    name: NameArgument, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Leave a person's answers out of every decision. No answer is deleted.

    Example: cleanplate review reviewers disable ana --reason "answers without looking"
    """
    existing_workspace(workspace).ledger().people.disable(name, reason, datetime.now(UTC))
    Console().print(shown(f"{name}'s answers no longer count; other people get their items again"))


@reviewers_app.command("enable")
@clear_errors
def enable_command(
    name: NameArgument, reason: ReasonOption, workspace: WorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Let a person's answers count again.

    Example: cleanplate review reviewers enable ana --reason "a misunderstanding"
    """
    existing_workspace(workspace).ledger().people.enable(name, reason, datetime.now(UTC))
    Console().print(shown(f"{name}'s answers count again"))


# `cleanplate review export` and `import`: for teams that answer in a tool of their own.

exchange_app = typer.Typer()


@exchange_app.command("export")
@clear_errors
def export_command(
    out: Annotated[Path, typer.Argument(help="The folder to write. Its images are in `images`.")],
    kind: Annotated[ExchangeFormat, typer.Option("--format", help="Format of the files.")] = "label-studio",
    batch: Annotated[
        str | None,
        typer.Option(
            help="Export the candidates of this review batch. Default: what all batches ask about, and all "
            "candidates that belong to no batch."
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write candidates and their images for another tool. A second run writes the same files.

    Label Studio: start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=OUT. Make a project with config.xml, import tasks.json, and export
    as JSON. CSV and Parquet: fill in the columns decision (yes, no, skip) and reviewer.

    Example: cleanplate review export --format csv answers --batch human-1-3f2a9c1b
    """
    from tasks.review.exchange import export_candidates, to_be_answered

    place = existing_workspace(workspace)
    ledger = place.ledger()
    shards = ledger.shards.all(stage="candidates")
    keys = (
        to_be_answered(place, shards)
        if batch is None
        else {item.candidate for item in ledger.batches.items(ledger.batches.named(batch).name)}
    )
    report = export_candidates(place, shards, keys, kind, out)
    if as_json:
        print_json(report.model_dump())
        return
    files = ", ".join(str(out / name) for name in report.files)
    summary = f"{report.candidates} candidates, {report.answers} answers so far: {files}"
    Console().print(shown(summary), soft_wrap=True)


@exchange_app.command("import")
@clear_errors
def import_command(
    path: Annotated[
        Path,
        typer.Argument(
            callback=no_pipe,
            help="Label Studio's export as .json, or the filled-in table as .csv or .parquet.",
        ),
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Bring in answers from another tool. The same file twice adds nothing. Refused answers are recorded.

    `cleanplate review resume BATCH` then resumes the round that waits for them.

    Example: cleanplate review import answers/answers.csv
    """
    from tasks.review.exchange import import_answers

    report = import_answers(existing_workspace(workspace), path)
    if as_json:
        print_json(report.model_dump())
        return
    console = Console()
    console.print(
        f"{report.added} answers added; {report.known} were known, {report.unanswered} rows are unanswered"
    )
    for reason, number in report.refused.items():
        console.print(f"[yellow]{number} refused[/]: {reason}")


review_app = typer.Typer(
    name="review",
    help="Let people answer YES or NO: open a batch, add people, serve the page, follow the progress.",
    no_args_is_help=True,
)
review_app.add_typer(reviewers_app)
review_app.add_typer(exchange_app)
review_app.add_typer(resume_app)

_POLICY = QueuePolicy()


@review_app.command("open")
@clear_errors
def open_command(
    name: Annotated[str, typer.Argument(help="Name of the batch: letters, digits and . _ -")],
    round: Annotated[
        int, typer.Option("--round", min=0, max=LARGEST, help="The round whose candidates people review.")
    ],
    overlap_people: Annotated[
        int, typer.Option(max=LARGEST, help="Number of people who answer a shared item or a gold item.")
    ] = (_POLICY.overlap_people),
    overlap_fraction: Annotated[
        float, typer.Option(help="Fraction of the items that several people answer.")
    ] = (_POLICY.overlap_fraction),
    gold_fraction: Annotated[
        float, typer.Option(help="Number of gold items, as a fraction of the other items.")
    ] = _POLICY.gold_fraction,
    order: Annotated[
        QueueOrder,
        typer.Option(help="Order of the items: random, uncertain (scores nearest to 0.5 first) or mixed."),
    ] = _POLICY.order,
    mixed_fraction: Annotated[
        float, typer.Option(help="With mixed: fraction of the items that are taken by nearness to 0.5.")
    ] = (_POLICY.mixed_fraction),
    lease_seconds: Annotated[
        int,
        typer.Option(
            max=LARGEST, help="Time for which a shown item is reserved for its reviewer, in seconds."
        ),
    ] = (_POLICY.lease_seconds),
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Seed of the random order.")] = _POLICY.seed,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Open a batch of a round's candidates for people to answer.

    Example: cleanplate review open round-1 --round 1 --overlap-fraction 0.1
    """
    from tasks.review.batches import make_batch

    place = existing_workspace(workspace)
    policy = _checked(
        {
            "overlap_people": overlap_people,
            "overlap_fraction": overlap_fraction,
            "gold_fraction": gold_fraction,
            "order": order,
            "mixed_fraction": mixed_fraction,
            "lease_seconds": lease_seconds,
            "seed": seed,
        }
    )
    make_batch(place, name, place.ledger().shards.all(stage="candidates", round=round), policy)
    counts = place.ledger().batches.counts(name)
    if as_json:
        print_json({"batch": name, **counts.model_dump()})
        return
    Console().print(f"batch {name} is open: {counts.items} items, {counts.wanted} answers wanted")


@review_app.command("serve")
@clear_errors
def serve_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on. Default: this machine only.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on. 0 chooses a free one.")
    ] = 0,
    batch: Annotated[
        str | None, typer.Option(help="Name of the batch. Default: all batches, oldest first.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate, a PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of the certificate, a PEM file.")] = None,
    allow_plain_http: Annotated[
        bool,
        typer.Option(
            "--allow-plain-http",
            help="Allow a network address without TLS. Use it only if nothing but a proxy reaches the port.",
        ),
    ] = False,
    public_url: Annotated[
        str | None,
        typer.Option(
            envvar="REVIEW_PUBLIC_URL",
            metavar="https://NAME[:PORT][/PREFIX]",
            help="The address that people open, if a proxy with TLS is in front of the server.",
        ),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            envvar="REVIEW_TRUSTED_PROXY",
            metavar="ADDRESS",
            help="Address or network of the proxy. Its X-Forwarded-For names the client. Repeat it for "
            "more proxies. Without it all people share one limit of sign-ins.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Serve the review page until Ctrl-C.

    For people on other machines, put a proxy with TLS in front of it, or give --tls-cert.
    docs/operations/review-proxy.md describes nginx and Caddy.

    Example: cleanplate review serve --port 8080

    Example: cleanplate review serve --port 8000 --public-url https://review.example --trusted-proxy 127.0.0.1
    """
    from tasks.review.app import create_app
    from tasks.review.middleware import PublicUrl, proxy_addresses
    from tasks.review.resumer import Resumer
    from tasks.review.serve import Address, serve

    address = Address(
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        allow_plain_http=allow_plain_http,
        public_url=PublicUrl.parse(public_url) if public_url else None,
        trusted_proxies=tuple(one for text in trusted_proxy or [] for one in proxy_addresses(text)),
    )
    address.check()
    place = existing_workspace(workspace)
    if batch is not None:
        place.ledger().batches.named(batch)
    with Resumer(place) as resumer:
        app = create_app(
            place,
            batch=batch,
            hosts=address.names,
            secure=address.secure,
            public_url=address.public_url,
            when_complete=resumer.notice,
        )
        serve(app, address, lambda url: typer.echo(f"review page: {url}"))


@review_app.command("status")
@clear_errors
def status_command(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show every batch and its progress.

    Example: cleanplate review status --json
    """
    ledger = existing_workspace(workspace).ledger()
    counts = {batch.name: ledger.batches.counts(batch.name) for batch in ledger.batches.all()}
    state = {name: ledger.batches.events(name)[-1].kind for name in counts}
    if as_json:
        rows = [
            {"batch": name, "state": state[name], **progress.model_dump()}
            for name, progress in counts.items()
        ]
        print_json({"batches": rows})
        return
    table = Table("batch", "state", "complete", "answers", "left", "yes / no / skip", "gold right", box=None)
    for name, progress in counts.items():
        table.add_row(
            shown(name),
            state[name],
            f"{progress.complete} of {progress.items}",
            f"{progress.answers} of {progress.wanted}",
            str(progress.left),
            f"{progress.yes} / {progress.no} / {progress.skipped}",
            f"{progress.gold_right} of {progress.gold_answers}",
        )
    Console().print(table)


@review_app.command("quality")
@clear_errors
def quality_command(
    batch: Annotated[str, typer.Argument(help="Name of the batch, as `status` shows it.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show how far people agree, how they answer gold items, and who may be answering without looking.

    Example: cleanplate review quality round-1 --json
    """
    from tasks.review.quality import batch_quality

    quality = batch_quality(existing_workspace(workspace).ledger(), batch)
    if as_json:
        print_json(quality.model_dump(mode="json"))
        return
    table = Table("person", "answers", "yes / no / skip", "median s", "gold right", "to look at", box=None)
    for person in quality.people:
        seconds = "–" if person.median_seconds is None else f"{person.median_seconds:.1f}"
        table.add_row(
            shown(person.person),
            str(person.answers),
            f"{person.yes} / {person.no} / {person.skipped}",
            seconds,
            f"{person.gold_right} of {person.gold_answers}",
            ", ".join([*(["excluded"] if person.excluded else []), *person.flags]),
        )
    console = Console(highlight=False)
    console.print(table)
    for pair in quality.pairs:
        kappa = "–" if pair.kappa is None else f"{pair.kappa:.2f}"
        agreed = f"agree on {pair.agreed} of {pair.items}"
        console.print(shown(f"{pair.first} and {pair.second} {agreed}, Cohen's kappa {kappa}"))
    alpha = "–" if quality.alpha is None else f"{quality.alpha:.2f}"
    console.print(f"Krippendorff's alpha {alpha} over {quality.shared} shared items")


def _checked(settings: dict[str, object]) -> QueuePolicy:
    """The policy; its own bounds decide, so that they stand in one place."""
    try:
        return QueuePolicy.model_validate(settings)
    except ValueError as error:
        setting, _, fault = first_fault(error).partition(": ")
        raise InputError(f"--{setting.replace('_', '-')}", fault) from error
