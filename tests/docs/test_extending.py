"""docs/development/extending.md: each Python block runs, and what it defines does what the page says."""

import csv
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_specs.metric import RemovedImage
from data_specs.reject import Reject, RejectReason
from data_specs.triplet import Triplet
from tasks.sources.triplet_files import FolderConfig, folder_triplets
from tests.reference.code import ROOT
from tests.tasks.registry.test_remover_contract import check_remover

PAGE = (ROOT / "docs/development/extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def defined() -> dict[str, Any]:
    """What the page's blocks define, one after the other."""
    names: dict[str, Any] = {"__name__": "extending"}
    for language, block in BLOCKS:
        assert language == "python", "a block that no test runs"
        exec(compile(block, "extending.md", "exec", dont_inherit=True), names)
    return names


def test_there_is_an_example_of_each_kind(defined: dict[str, Any]) -> None:
    assert len(BLOCKS) == 3
    assert {"MeanFill", "MaskedError", "CsvConfig", "csv_triplets"} <= defined.keys()


def test_the_remover_keeps_the_contract(defined: dict[str, Any]) -> None:
    check_remover(defined["MeanFill"]())


def test_the_remover_paints_the_mean_of_the_rest(defined: dict[str, Any]) -> None:
    source, mask = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool)
    source[2:], mask[0, 0] = 30, True
    (removal,) = defined["MeanFill"]().remove([source], [mask], [0])
    assert removal[0, 0].tolist() == [16, 16, 16], "8 of the other 15 pixels are 30"


def test_the_metric_counts_levels_inside_the_mask(defined: dict[str, Any]) -> None:
    truth, mask = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4), bool)
    mask[0, :2] = True
    removal = truth.copy()
    removal[0, 0], removal[3] = 90, 255  # the last row lies outside
    image = RemovedImage(source=truth, mask=mask, effect_region=mask, ground_truth=truth, removal=removal)
    metric = defined["MaskedError"]()
    assert metric.measure([image]) == [5.0]
    assert math.isnan(metric.measure([replace(image, mask=~mask & mask)])[0])
    assert metric.spec.heading == "MAE-M levels ↓"


def test_the_source_reads_what_the_rows_name(
    defined: dict[str, Any], tmp_path: Path, write_pair: Callable[..., None]
) -> None:
    parts = ("source", "mask", "ground_truth")
    for number in range(3):
        write_pair(tmp_path, f"p{number}", number)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(parts)
        rows.writerows([f"{part}/p{number}.png" for part in parts] for number in range(3))
    (tmp_path / "mask/p1.png").unlink()
    config = defined["CsvConfig"](path=tmp_path / "pairs.csv", size_px=32)
    first, missing, last = defined["csv_triplets"](config)
    assert isinstance(missing, Reject)
    assert (missing.reason, missing.name) == (RejectReason.MISSING_FILE, "pairs.csv[1]")
    folder = folder_triplets(FolderConfig(path=tmp_path, size_px=32))
    for read, expected in zip((first, last), (x for x in folder if isinstance(x, Triplet)), strict=True):
        np.testing.assert_array_equal(read.source, expected.source)
        np.testing.assert_array_equal(read.mask, expected.mask)
        np.testing.assert_array_equal(read.ground_truth, expected.ground_truth)
    assert [each.origin for each in defined["csv_triplets"](config, [*defined["list_csv"](config)][2:])] == [
        last.origin
    ]
