"""Out to Label Studio, CSV and Parquet; answers in, each once, what is refused with its reason."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_specs.errors import InputError
from data_specs.reject import Reject
from data_specs.review import Review
from data_specs.review_batch import QueuePolicy
from tasks.review.answer_table import read_answer_table
from tasks.review.batches import make_batch
from tasks.review.exchange import export_candidates, import_answers, to_be_answered
from tasks.review.oracle import OracleConfig, oracle_reviews, read_candidates
from tasks.rorem.propose import ProposeWork, propose


@pytest.fixture
def shown(studio):
    """A workspace of one's own with twelve candidates of six items."""
    items = tuple(row.key for row in studio.workspace.ledger().shards.samples_of(studio.pool.name)[:6])
    studio.candidates = propose(
        studio.workspace,
        ProposeWork(
            round=1, index=0, phase="human 1", purpose="human", pool=(studio.pool,), items=items,
            variants=("tight", "dilated"), remover=studio.remover,
        ),
    )  # fmt: skip
    return studio


def every(studio) -> set[str]:
    """The keys of the shard."""
    return {candidate.key for candidate in read_candidates(studio.workspace, studio.candidates)}


def more(studio, purpose, items: int, variant):
    """Another shard of candidates."""
    keys = tuple(
        row.key for row in studio.workspace.ledger().shards.samples_of(studio.pool.name)[6 : 6 + items]
    )
    return propose(
        studio.workspace,
        ProposeWork(
            round=1, index=9, phase=f"{purpose} 1", purpose=purpose, pool=(studio.pool,), items=keys,
            variants=(variant,), remover=studio.remover,
        ),
    )  # fmt: skip


def test_what_is_to_be_answered_is_what_batches_ask_and_what_no_batch_knows(shown) -> None:
    space, keys = shown.workspace, [c.key for c in read_candidates(shown.workspace, shown.candidates)]
    night, pairs = more(shown, "night", 3, "left"), more(shown, "pairs", 4, "right")
    refs = [shown.candidates, night, pairs]
    of_night = {c.key for c in read_candidates(space, night)}
    assert to_be_answered(space, refs) == {*keys, *of_night}, "no batch asks anything: all but pairs"
    make_batch(space, "b", [shown.candidates], QueuePolicy(overlap_fraction=0), frozenset(keys[:5]))
    assert to_be_answered(space, refs) == {*keys[:5], *of_night}


def test_nobody_is_asked_about_a_training_pairs_candidates(shown) -> None:
    space, pairs = shown.workspace, more(shown, "pairs", 4, "right")
    make_batch(space, "b", [shown.candidates, pairs], QueuePolicy(overlap_fraction=0))
    asked = {item.candidate for item in space.ledger().batches.items("b")}
    assert asked == every(shown)
    with pytest.raises(InputError, match="no training candidates to review"):
        make_batch(space, "pairs", [pairs], QueuePolicy())


def annotation(number: int, decision: str | None, reason: str = "", **changes: Any) -> dict[str, Any]:
    """As Label Studio's documentation of its JSON export shows it."""
    chosen = {"decision": decision, "reason": reason or None}
    return {
        "id": number,
        "completed_by": {"id": 3, "email": "ada@example.org", "first_name": "Ada"},
        "result": [
            {"id": f"r{number}", "type": "choices", "origin": "manual", "from_name": name,
             "to_name": "removal", "value": {"choices": [value]}}
            for name, value in chosen.items() if value
        ],
        "was_cancelled": False, "ground_truth": False, "lead_time": 3.5,
        "created_at": "2026-11-20T10:00:00.123456Z", "updated_at": "2026-11-20T10:00:01Z",
        **changes,
    }  # fmt: skip


def answered(folder: Path, answers: dict[str, list[dict[str, Any]]]) -> Path:
    """The tasks we wrote, as Label Studio gives them back."""
    tasks = json.loads((folder / "tasks.json").read_text())
    for number, task in enumerate(tasks):
        task |= {
            "id": number + 100,
            "annotations": answers.get(task["data"]["candidate"], []),
            "predictions": [],
        }
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def decisions(workspace) -> dict[str, tuple[str, str, str]]:
    return {r.candidate: (r.decision, r.reason, r.reviewer) for r in workspace.ledger().reviews.all()}


def test_label_studio_gets_every_image_as_it_is(shown, tmp_path: Path) -> None:
    report = export_candidates(
        shown.workspace, [shown.candidates], every(shown), "label-studio", tmp_path / "out"
    )
    assert (report.candidates, report.files) == (12, ["config.xml", "tasks.json"])
    tasks = [task["data"] for task in json.loads((tmp_path / "out" / "tasks.json").read_text())]
    known = {c.key: c for c in read_candidates(shown.workspace, shown.candidates)}
    assert [task["candidate"] for task in tasks] == list(known)
    for task in tasks:
        for name in ("source", "mask", "removal"):
            prefix, place = task[name].split("?d=")
            assert (prefix, Path(place).is_absolute(), ".." in place) == ("/data/local-files/", False, False)
            shown = cv2.imread(str(tmp_path / "out" / place), cv2.IMREAD_COLOR_RGB)
            assert shown is not None
            wanted = getattr(known[task["candidate"]], name)
            if name == "mask":
                wanted = np.repeat(wanted[..., None], 3, axis=2) * np.uint8(255)
            assert np.array_equal(shown, wanted)
    view = ElementTree.parse(tmp_path / "out" / "config.xml").getroot()
    shown_values = {image.get("value") for image in view.iter("Image")}
    assert (
        shown_values == {f"${name}" for name in ("source", "mask", "removal")} <= {f"${n}" for n in tasks[0]}
    )
    tags = {tag.get("name") for tag in view.iter() if tag.get("name")}
    assert {tag.get("toName") for tag in view.iter("Choices")} <= tags
    choices = {c.get("name"): [each.get("value") for each in c] for c in view.iter("Choices")}
    assert choices["decision"] == ["yes", "no", "skip"]


def test_done_again_the_export_is_the_same(shown, tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        export_candidates(shown.workspace, [shown.candidates], every(shown), "csv", tmp_path / "out")
        files = (p for p in (tmp_path / "out").rglob("*") if p.is_file())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]
    assert len(written[0]) == 3 * 12 + 1
    one = next(row.key for row in shown.workspace.ledger().shards.samples_of(shown.candidates.name))
    report = export_candidates(shown.workspace, [shown.candidates], {one}, "parquet", tmp_path / "one")
    assert report.candidates == len(pq.read_table(tmp_path / "one" / "answers.parquet")) == 1


def test_annotations_come_in_once(shown, tmp_path: Path) -> None:
    export_candidates(shown.workspace, [shown.candidates], every(shown), "label-studio", tmp_path)
    keys = [row.key for row in shown.workspace.ledger().shards.samples_of(shown.candidates.name)]
    path = answered(
        tmp_path,
        {
            keys[0]: [annotation(1, "yes")],
            keys[1]: [annotation(2, "no", "seam"), annotation(3, "yes", completed_by=7)],
            keys[2]: [annotation(4, None, was_cancelled=True)],
        },
    )
    report = import_answers(shown.workspace, path)
    assert (report.added, report.known, report.refused) == (4, 0, {})
    ada = "label-studio:ada@example.org"
    found = {(r.candidate, r.decision, r.reason, r.reviewer) for r in shown.workspace.ledger().reviews.all()}
    assert found == {
        (keys[0], "yes", "", ada), (keys[1], "no", "seam", ada),
        (keys[1], "yes", "", "label-studio:7"), (keys[2], "skip", "", ada),
    }  # fmt: skip
    again = import_answers(shown.workspace, path)
    assert (again.added, again.known, again.refused) == (0, 4, {})
    assert len(shown.workspace.ledger().reviews.all()) == 4


def test_what_is_refused_is_kept_with_its_reason(shown, tmp_path: Path) -> None:
    export_candidates(shown.workspace, [shown.candidates], every(shown), "label-studio", tmp_path)
    key = shown.workspace.ledger().shards.samples_of(shown.candidates.name)[0].key
    path = answered(tmp_path, {key: [annotation(1, "yes")]})
    import_answers(shown.workspace, path)
    tasks = json.loads(path.read_text())
    bad = [
        "no task",
        {"data": {"candidate": "../../etc/passwd", "source": "/etc/shadow"},
         "annotations": [annotation(5, "yes")]},
        {"data": {"candidate": key}, "annotations": [
            annotation(6, "maybe"), annotation(7, None), annotation(8, "yes", completed_by=None),
            annotation(9, "yes", created_at="2026-11-20T10:00:00"), annotation(1, "no", "blur"),
        ]},
    ]  # fmt: skip
    path.write_text(json.dumps(tasks + bad))
    report = import_answers(shown.workspace, path)
    assert (report.added, report.known) == (0, 1)
    assert report.refused == {
        "record cannot be parsed": 5, "no such candidate": 1, "answered otherwise before": 1
    }  # fmt: skip
    assert import_answers(shown.workspace, path) == report, "told again, refused again, kept once"
    kept = {(r.name, r.reason.value): r.detail for r in shown.workspace.ledger().rejects.all()}
    assert kept["../../etc/passwd", "no such candidate"] == "yes by label-studio:ada@example.org"
    assert kept["export.json[14].annotations[1]", "record cannot be parsed"].startswith("it has no decision")
    assert decisions(shown.workspace) == {key: ("yes", "", "label-studio:ada@example.org")}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_is_filled_in_and_read(kind, shown, tmp_path: Path) -> None:
    export_candidates(shown.workspace, [shown.candidates], every(shown), kind, tmp_path)
    path = tmp_path / f"answers.{kind}"
    rows = read_rows(path)
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    rows[0] |= {"decision": "Yes ", "reviewer": "ada"}
    rows[1] |= {
        "decision": "no",
        "reviewer": "ada",
        "reason": "blur",
        "answered_at": "2026-11-20T10:00:00+01:00",
    }
    rows[2] |= {"decision": "perhaps", "reviewer": "ada"}
    rows[3] |= {"decision": "yes"}
    rows[4] |= {"decision": "yes", "reviewer": "ada", "candidate": "0" * 20}
    write_rows(path, rows)
    report = import_answers(shown.workspace, path)
    assert (report.added, report.unanswered) == (2, 7)
    assert report.refused == {"record cannot be parsed": 2, "no such candidate": 1}
    assert decisions(shown.workspace) == {
        rows[0]["candidate"]: ("yes", "", "ada"), rows[1]["candidate"]: ("no", "blur", "ada")
    }  # fmt: skip
    assert import_answers(shown.workspace, path).known == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_ones_own_answers_come_back_as_known(kind, shown, tmp_path: Path) -> None:
    oracle_reviews.fn(shown.workspace, shown.candidates, OracleConfig())
    before = shown.workspace.ledger().reviews.all()
    export_candidates(shown.workspace, [shown.candidates], every(shown), kind, tmp_path)
    report = import_answers(shown.workspace, tmp_path / f"answers.{kind}")
    assert (report.added, report.known, report.unanswered, report.refused) == (0, 12, 0, {})
    assert shown.workspace.ledger().reviews.all() == before
    other = tmp_path / f"again.{kind}"
    write_rows(other, [{**row, "event": ""} for row in read_rows(tmp_path / f"answers.{kind}")])
    assert import_answers(shown.workspace, other).added == 12
    assert {
        (r.candidate, r.decision, r.kind, r.answered_at) for r in shown.workspace.ledger().reviews.all()
    } == {(r.candidate, r.decision, "oracle", r.answered_at) for r in before}


FORMULAS = ("=HYPERLINK(1)", "+1", "-1", "@A1", "'=1", "''+1", "'s Gravenhage", "a=b", "2", "'")


def test_a_spreadsheet_finds_no_formula_and_the_words_come_back(shown, tmp_path: Path) -> None:
    keys = [row.key for row in shown.workspace.ledger().shards.samples_of(shown.candidates.name)]
    told = [
        Review(
            event=f"-{number}", candidate=keys[number], decision="no", reviewer=words, reason=words,
            kind="person", answered_at=datetime(2026, 11, 20, tzinfo=UTC),
        )
        for number, words in enumerate(FORMULAS)
    ]  # fmt: skip
    told[0] = told[0].model_copy(update={"event": "\t=1"})
    shown.workspace.ledger().reviews.record(told)
    export_candidates(shown.workspace, [shown.candidates], every(shown), "csv", tmp_path)
    path = tmp_path / "answers.csv"
    cells = {cell for row in read_rows(path) for cell in row.values()}
    assert not {cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))}
    assert {"'=HYPERLINK(1)", "''=1", "'s Gravenhage", "2"} <= cells
    back = [each for each in read_answer_table(path) if isinstance(each, Review)]
    assert sorted(back, key=lambda each: each.reviewer) == sorted(told[1:], key=lambda each: each.reviewer)
    (bad,) = [each for each in read_answer_table(path) if isinstance(each, Reject)]
    assert bad.detail.startswith(r"event: it has the control character \t")


@pytest.mark.parametrize("column", ["reviewer", "reason", "candidate", "event"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_control_character_in_a_table_refuses_its_row_alone(kind, column, shown, tmp_path: Path) -> None:
    export_candidates(shown.workspace, [shown.candidates], every(shown), kind, tmp_path)
    path = tmp_path / f"answers.{kind}"
    rows = [{**row, "decision": "no", "reviewer": "ada"} for row in read_rows(path)]
    for number, malice in enumerate(("\x1b[2J", "\x00", "\n", "\u202e")):
        rows[number][column] += f"a{malice}b"
    write_rows(path, rows)
    report = import_answers(shown.workspace, path)
    assert (report.added, report.refused) == (8, {"record cannot be parsed": 4})
    kept = {each.name: each.detail for each in shown.workspace.ledger().rejects.all()}
    assert kept[f"answers.{kind}[0]"].startswith(rf"{column}: it has the control character \x1b")


FIRST_YEAR = "0001-01-01T00:00:00+14:00"
"""In UTC it would be in the year 0, which no calendar of Python has."""


def test_a_date_before_all_dates_refuses_its_record_alone(shown, tmp_path: Path) -> None:
    export_candidates(shown.workspace, [shown.candidates], every(shown), "label-studio", tmp_path)
    keys = [row.key for row in shown.workspace.ledger().shards.samples_of(shown.candidates.name)]
    told = [annotation(1, "yes"), annotation(2, "yes", created_at=FIRST_YEAR)]
    told.append(annotation(3, "yes", completed_by="a\x1bb"))
    told.append(annotation(4, "no", "bl\x00ur"))
    report = import_answers(shown.workspace, answered(tmp_path, {keys[0]: told}))
    assert (report.added, report.refused) == (1, {"record cannot be parsed": 3})
    kept = {each.name: each.detail for each in shown.workspace.ledger().rejects.all()}
    bad = "it has the control character {}; write one line of letters"
    assert kept == {
        "export.json[0].annotations[1]": "created_at: it is not a valid date in UTC",
        "export.json[0].annotations[2]": bad.format(r"\x1b"),
        "export.json[0].annotations[3]": "choices.0: " + bad.format(r"\x00"),
    }
    export_candidates(shown.workspace, [shown.candidates], {keys[1]}, "csv", tmp_path)
    rows = read_rows(tmp_path / "answers.csv")
    rows[0] |= {"decision": "yes", "reviewer": "ada", "answered_at": FIRST_YEAR}
    write_rows(tmp_path / "answers.csv", rows)
    assert import_answers(shown.workspace, tmp_path / "answers.csv").refused == {"record cannot be parsed": 1}


def read_rows(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"{}", "holds a dict in place of a list of tasks"),
        ("a.csv", b"candidate,decision\r\n", "the column reviewer is missing"),
        ("a.csv", b"\xff\xfe\x00", "it is not CSV in UTF-8"),
        ("a.parquet", b"PAR1", "it is not Parquet"),
        ("a.txt", b"", "has an unknown format"),
    ],
)
def test_a_file_of_another_kind_is_a_sentence(name, content, fault, studio, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=fault):
        import_answers(studio.workspace, tmp_path / name)
    (tmp_path / name).unlink()
    if name != "a.txt":
        with pytest.raises(InputError, match="cannot be read"):
            import_answers(studio.workspace, tmp_path / name)


def test_answers_count_for_the_batch_that_asks(shown, tmp_path: Path) -> None:
    make_batch(shown.workspace, "b1", [shown.candidates], QueuePolicy(overlap_fraction=0))
    export_candidates(shown.workspace, [shown.candidates], every(shown), "csv", tmp_path)
    rows = read_rows(tmp_path / "answers.csv")
    answers = [{**row, "decision": "yes", "reviewer": "ada"} for row in rows[:5]]
    write_rows(tmp_path / "answers.csv", answers)
    for _ in range(2):
        import_answers(shown.workspace, tmp_path / "answers.csv")
        counts = shown.workspace.ledger().batches.counts("b1")
        assert (counts.left, counts.yes, counts.items) == (12 - 5, 5, 12)
    decided = shown.workspace.ledger().reviews.decisions([row["candidate"] for row in rows])
    assert decided == {row["candidate"]: "yes" for row in rows[:5]}
