"""Use Label Studio: write its labelling config and its tasks, and read its annotations.

The images of a task are files beside it, named relative to the folder that Label Studio serves
(``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``). Nothing in an annotation is used as a path.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_specs.errors import InputError, first_fault
from data_specs.keys import derive_key
from data_specs.plain_text import plain_text
from data_specs.reject import Reject, RejectReason
from data_specs.review import REASONS, PlainText, Review
from tasks.review.answer_table import Moment

QUESTION = "Are the object and its shadow gone, with nothing new painted in and no visible seam?"
_SOURCE = "label-studio"
_HOTKEYS = {"yes": "y", "no": "n", "skip": "s"}


class _Value(BaseModel):
    """The choice. Label Studio writes a single choice as a list too."""

    choices: tuple[Annotated[PlainText, Field(max_length=80)], ...] = Field(min_length=1, max_length=1)


class _Choice(BaseModel):
    """The answer of one control. Unknown controls are ignored."""

    from_name: str
    value: Any


class _Annotation(BaseModel):
    """One person's answer to one task, as Label Studio exports it."""

    model_config = ConfigDict(frozen=True)

    id: int | Annotated[PlainText, Field(min_length=1, max_length=80)]
    result: tuple[_Choice, ...]
    was_cancelled: bool = False
    completed_by: Any = None
    created_at: Moment
    lead_time: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class _Data(BaseModel):
    candidate: PlainText = Field(min_length=1, max_length=80)


class _Task(BaseModel):
    data: _Data
    annotations: tuple[Any, ...]


def label_config() -> str:
    """The labelling config of a project, as XML: three images side by side, YES, NO or skip, and a reason."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value=QUESTION)
    images = ElementTree.SubElement(view, "View", style="display: flex; gap: 1em")
    for name in ("source", "mask", "removal"):
        ElementTree.SubElement(images, "Image", name=name, value=f"${name}")
    decision = ElementTree.SubElement(
        view,
        "Choices",
        name="decision",
        toName="removal",
        choice="single",
        required="true",
        showInline="true",
    )
    for value, key in _HOTKEYS.items():
        ElementTree.SubElement(decision, "Choice", value=value, hotkey=key)
    reason = ElementTree.SubElement(
        view, "Choices", name="reason", toName="removal", choice="single", showInline="true",
        visibleWhen="choice-selected", whenTagName="decision", whenChoiceValue="no",
    )  # fmt: skip
    for number, value in enumerate(REASONS, start=1):
        ElementTree.SubElement(reason, "Choice", value=value, hotkey=str(number))
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def tasks_json(rows: Sequence[Mapping[str, str]]) -> str:
    """Tasks to import into a project, one for each candidate.

    Args:
        rows: ``candidate``, ``class_name``, ``variant`` and the images ``source``, ``mask``, ``removal``.
    """
    images = ("source", "mask", "removal")
    tasks = [
        {"data": {**row, **{name: f"/data/local-files/?d={row[name]}" for name in images}}} for row in rows
    ]
    return json.dumps(tasks, indent=1) + "\n"


def read_annotations(path: Path) -> Iterator[Review | Reject]:
    """The answers of an export (JSON, not JSON-MIN). A record that cannot be read becomes a reject.

    The annotation's id names the event, so importing it again changes nothing. A skipped annotation is a
    skip.

    Raises:
        InputError: If the file is missing, is not JSON, or is not a list of tasks.
    """
    for number, content in enumerate(_load(path)):
        name = f"{path.name}[{number}]"
        try:
            task = _Task.model_validate(content)
        except ValidationError as error:
            yield _refused(name, first_fault(error))
            continue
        for place, annotation in enumerate(task.annotations):
            try:
                yield _review(task.data.candidate, _Annotation.model_validate(annotation))
            except ValueError as error:
                yield _refused(f"{name}.annotations[{place}]", first_fault(error))


def _review(candidate: str, annotation: _Annotation) -> Review:
    """The annotation as a review. Raises ValueError if it has no decision, or an unknown one."""
    reviewer = _reviewer(annotation.completed_by)
    chosen = {
        region.from_name: _Value.model_validate(region.value).choices[0]
        for region in annotation.result
        if region.from_name in ("decision", "reason")
    }
    if "decision" not in chosen and not annotation.was_cancelled:
        raise ValueError("it has no decision; make the project with our config.xml")
    decision = "skip" if annotation.was_cancelled else chosen["decision"]
    return Review.model_validate(
        {
            "event": derive_key(_SOURCE, candidate, reviewer, str(annotation.id)),
            "candidate": candidate,
            "decision": decision,
            "reviewer": reviewer,
            "kind": "person",
            "reason": chosen.get("reason", "") if decision == "no" else "",
            "answered_at": annotation.created_at,
            "seconds": annotation.lead_time,
        }
    )


def _reviewer(completed_by: object) -> str:
    """The name of the annotator. Label Studio gives a number, or a record with an e-mail address."""
    name = completed_by
    if isinstance(name, Mapping):
        name = name.get("email") or name.get("id")
    if not isinstance(name, (str, int)) or len(str(name)) > 100:
        raise ValueError("completed_by is empty")
    return f"{_SOURCE}:{plain_text(str(name))}"


def _refused(name: str, fault: str) -> Reject:
    return Reject(source=_SOURCE, name=name, reason=RejectReason.BAD_RECORD, detail=fault)


def _load(path: Path) -> list[object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            path, f"cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(path, "is not JSON in UTF-8; export the project as JSON") from error
    if not isinstance(content, list):
        raise InputError(
            path, f"holds a {type(content).__name__} in place of a list of tasks; export the project as JSON"
        )
    return content
