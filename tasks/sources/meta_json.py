"""meta.json source: RORem's published layout, its ``GT`` named ground_truth from here on.

The file is a list of records with ``source``, ``mask`` and ``GT``, paths relative to its own folder
(what RORem's loader reads). A record may name its ``scene``; other keys are left alone.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_specs.errors import InputError
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.scene_choice import SceneChoice, by_pixels
from tasks.sources.triplet_files import SampleLimits, TripletFiles, read_triplets

META_PARTS = ("source", "mask", "GT")
"""The folders of RORem's layout."""


class MetaJsonConfig(SampleLimits):
    """How a dataset in RORem's layout is read."""

    path: Path = Field(description="The meta.json; the pictures lie in its folder or below.")


class MetaRecord(BaseModel):
    """One record of a ``meta.json``, as it is written there."""

    model_config = ConfigDict(frozen=True, strict=True)

    source: str = Field(min_length=1)
    mask: str = Field(min_length=1)
    ground_truth: str = Field(min_length=1, alias="GT")
    scene: str | None = Field(default=None, max_length=4096)


def meta_json_triplets(
    config: MetaJsonConfig, start: int = 0, scenes: SceneChoice = by_pixels
) -> Iterator[Triplet | Reject]:
    """Triplets in the order of the file; one triplet or reject a record.

    Args:
        config: What to read.
        start: Records to pass over, unopened.
        scenes: Chooses each ground truth's scene.

    Raises:
        InputError: When the file is missing, is not JSON, or is not a list.
    """
    records = islice(_records(config.path.name, load_records(config.path)), start, None)
    root = config.path.parent
    return read_triplets(records, root=root, kind="meta.json", limits=config, parts=META_PARTS, scenes=scenes)


def load_records(path: Path) -> list[object]:
    """What the file lists; nothing of it has been looked at.

    Raises:
        InputError: As ``meta_json_triplets``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_int=_number)
    except OSError as error:
        raise InputError(path, f"it cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, "it is not JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(path, f"it is not JSON: {error.msg} in line {error.lineno}") from error
    if not isinstance(content, list):
        raise InputError(path, f"a list of records is wanted, and it holds a {type(content).__name__}")
    return content


def names_in(records: Iterable[object]) -> Iterable[str]:
    """The words that a meta.json's records have where a path belongs."""
    for record in records:
        if isinstance(record, dict):
            words = (record.get(part) for part in META_PARTS)
            yield from (name for name in words if isinstance(name, str))


def _number(digits: str) -> int | float:
    """Python reads no integer of more than 4300 digits; such a number is no word that a record wants."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _records(file_name: str, records: list[object]) -> Iterator[TripletFiles | Reject]:
    for number, content in enumerate(records):
        name = f"{file_name}[{number}]"
        try:
            record = MetaRecord.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            detail = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
            yield Reject(source="meta.json", name=name, reason=RejectReason.BAD_RECORD, detail=detail)
            continue
        yield TripletFiles(
            name=name,
            source=record.source,
            mask=record.mask,
            ground_truth=record.ground_truth,
            scene=record.scene,
        )
