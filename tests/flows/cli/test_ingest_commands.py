"""`cleanplate ingest`, as people and machines use it."""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli.ingest import ingest_app
from flows.cli.main import app
from flows.ingest_config import IngestConfig
from tasks.execution import INLINE
from tasks.sources.clip.clip import ClipConfig
from tasks.sources.coco import CocoConfig
from tasks.sources.mulan import MulanConfig
from tasks.sources.openimages_pool import PoolConfig
from tasks.sources.pasted_pairs import HighResolutionConfig
from tasks.sources.rord import RordConfig
from tasks.sources.sa1b import Sa1bConfig
from tasks.sources.triplet_files import FolderConfig, MetaJsonConfig

run = CliRunner().invoke


@pytest.mark.usefixtures("prefect_server")
def test_a_folder_is_ingested_and_its_counts_printed(tmp_path: Path, write_pair) -> None:
    for number in range(3):
        write_pair(tmp_path / "pairs", f"p{number}", number)
    (tmp_path / "pairs/mask/p1.png").unlink()
    words = ["ingest", "folder", str(tmp_path / "pairs"), "--size-px", "32", "--shard-samples", "1"]
    place = ["--workspace", str(tmp_path / "workspace")]
    first = run(app, [*words, *place, "--json"])
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert (told["samples"], told["added"], told["version"]) == (2, 2, 1)
    assert told["rejects"] == {"file is missing": 1}
    again = run(app, [*words, *place])
    assert again.exit_code == 0, again.output
    assert "Nothing new for the dataset." in again.stdout
    assert "file is missing" in again.stdout
    assert "See the runs at" in again.stdout


@pytest.mark.usefixtures("prefect_server")
def test_a_folder_without_its_parts_exits_with_1(tmp_path: Path) -> None:
    result = run(app, ["ingest", "folder", str(tmp_path), "--workspace", str(tmp_path / "workspace")])
    assert result.exit_code == 1
    assert "holds no folder source/" in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    "words",
    [
        ["folder", "/nonexistent"],
        ["folder", "/tmp", "--image-format", "gif"],
        ["folder", "/tmp", "--size-px", "3"],
        ["folder", "/tmp", "--mask-area-min", "0.9"],
        ["synthetic", "--split", "holiday"],
        ["clip", "--crop-min-px", "32"],
    ],
)
def test_wrong_settings_exit_with_2(words: list[str]) -> None:
    assert run(app, ["ingest", *words]).exit_code == 2


@pytest.mark.parametrize(
    "kind",
    [
        "clip",
        "folder",
        "meta-json",
        "pool",
        "high-resolution",
        "synthetic",
        "rord",
        "mulan",
        "coco",
        "sa1b",
    ],
)
def test_each_kind_teaches_with_an_example(kind: str) -> None:
    assert f"Example: cleanplate ingest {kind}" in run(app, ["ingest", kind, "--help"]).output


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("clip", ClipConfig),
        ("folder", FolderConfig),
        ("meta-json", MetaJsonConfig),
        ("pool", PoolConfig),
        ("high-resolution", HighResolutionConfig),
        ("rord", RordConfig),
        ("mulan", MulanConfig),
        ("coco", CocoConfig),
        ("sa1b", Sa1bConfig),
    ],
)
def test_the_defaults_are_those_of_the_settings(command: str, settings: type[BaseModel]) -> None:
    group = get_command(ingest_app)
    assert isinstance(group, TyperGroup)
    fields = {**IngestConfig.model_fields, **settings.model_fields}
    stated = {each.name: each.default for each in group.commands[command].params if each.default is not None}
    shared = {name: default for name, default in stated.items() if name in fields}
    assert "image_format" in shared
    assert (shared.pop("workers"), fields["workers"].default) == (1, INLINE), "one is the flow itself"
    assert shared == {name: fields[name].default for name in shared}
