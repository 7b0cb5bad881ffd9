"""ObjectClear's comparison: sloppy masks against plain statements, and trainings on equal data."""

import json

import numpy as np
import pytest

from benchmarks.object_clear import WAYS, compared, mask_only_network, small_config
from flows.objectclear.train_model import ObjectClearConfig, made_network, render_pairs
from models.images.sloppy_masks import SLOPPY_MASKS
from models.objectclear.network import build_tiny_image_encoder
from tasks.storage.shards import ShardReader
from tasks.storage.workspace import Workspace

SIDE = 64


def tiny(pairs: int, steps: int) -> ObjectClearConfig:
    plain = small_config()
    training = plain.training.model_copy(update={"steps": steps, "batch_size": 2})
    return plain.model_copy(update={"pairs": pairs, "tested": 2, "training": training})


def blobs() -> list[np.ndarray]:
    """A block, a block at the right border, an L, a line, a pixel, and scattered pixels."""
    masks = [np.zeros((SIDE, SIDE), bool) for _ in range(6)]
    masks[0][20:33, 10:24] = True
    masks[1][40:60, 50:64] = True
    masks[2][10:30, 10:18] = True
    masks[2][22:30, 10:40] = True
    masks[3][31, 5:40] = True
    masks[4][63, 63] = True
    masks[5][:] = np.random.default_rng(3).random((SIDE, SIDE)) < 0.01
    return masks


def within(mask: np.ndarray, reach: int) -> np.ndarray:
    """Every pixel with a pixel of the mask at most ``reach`` away, one shift after the other."""
    wide = np.zeros_like(mask)
    for row, column in np.ndindex(mask.shape):
        if mask[row, column]:
            rows, columns = np.indices(mask.shape)
            wide |= (rows - row) ** 2 + (columns - column) ** 2 <= reach**2
    return wide


@pytest.mark.parametrize("number", range(6))
def test_each_sloppy_mask_is_what_its_name_says(number: int) -> None:
    mask = blobs()[number]
    masks = {name: draw(mask) for name, draw in SLOPPY_MASKS.items()}
    rows, columns = np.nonzero(mask)
    grid_rows, grid_columns = np.indices(mask.shape)
    assert np.array_equal(masks["exact"], mask)
    assert np.array_equal(masks["dilated 3 px"], within(mask, 3))
    in_rows = (grid_rows >= rows.min()) & (grid_rows <= rows.max())
    in_columns = (grid_columns >= columns.min()) & (grid_columns <= columns.max())
    assert np.array_equal(masks["bounding box"], in_rows & in_columns)
    right = mask & (2 * grid_columns >= columns.min() + columns.max())
    assert np.array_equal(masks["right half"], right)
    moved = {(r, c + 2) for r, c in zip(rows, columns, strict=True) if c + 2 < SIDE}
    expected = moved or set(zip(rows, columns, strict=True))
    assert set(zip(*np.nonzero(masks["shifted 2 px"]), strict=True)) == expected
    inner = mask & ~within(~mask, 2)
    if inner.any():
        assert np.array_equal(masks["eroded 2 px"], inner)
    assert all(made.any() for made in masks.values())
    assert all(made.dtype == bool and made.shape == mask.shape for made in masks.values())


def test_a_mask_too_thin_to_erode_keeps_its_deepest_pixels() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[30:33, 10:20] = True
    middle = np.zeros_like(mask)
    middle[31, 11:19] = True
    assert np.array_equal(SLOPPY_MASKS["eroded 2 px"](mask), middle)


def test_both_removers_are_trained_on_the_same_samples_in_the_same_order(tmp_path, monkeypatch) -> None:
    workspace, config = Workspace.open(tmp_path), tiny(pairs=5, steps=3)
    shards = render_pairs(workspace, config.pairs)
    read: list[str] = []
    plainly = ShardReader.__getitem__

    def noted(reader: ShardReader, position: int):
        sample = plainly(reader, position)
        read.append(sample.key)
        return sample

    monkeypatch.setattr(ShardReader, "__getitem__", noted)
    made_network(config, workspace, shards, build_tiny_image_encoder(0))
    ours = list(read)
    read.clear()
    first = mask_only_network(config, workspace, shards)
    assert read == ours
    assert len(ours) == 3 * 2, "steps × batch"
    read.clear()
    assert mask_only_network(config, workspace, shards).fingerprint() == first.fingerprint()
    assert not read, "trained once a workspace"


def test_the_comparison_has_every_figure_and_its_ratio(tmp_path) -> None:
    figures = json.loads(json.dumps(compared([11, 12], tiny(pairs=4, steps=1), Workspace.open(tmp_path))))
    leads = []
    for row in figures["seeds"]:
        assert set(row["masks"]) == set(SLOPPY_MASKS)
        for by_way in row["masks"].values():
            for way in WAYS:
                for fusion in ("plain", "fused"):
                    cell = by_way[way][fusion]
                    assert len(cell["each"]) == 2
                    assert cell["psnr_effect"] == pytest.approx(np.mean(cell["each"]))
                    assert 0 <= cell["success"] <= 1
            ours, others = (np.mean(by_way[way]["plain"]["each"]) for way in WAYS)
            assert by_way["lead"] == pytest.approx(ours - others)
        leads.append((row["masks"]["shifted 2 px"]["lead"] + row["masks"]["eroded 2 px"]["lead"]) / 2)
    assert figures["ratio"] == pytest.approx(np.median(leads))
    assert (
        figures["seeds"][0]["masks"]["exact"]["mask_only"]["plain"]["each"]
        != (figures["seeds"][1]["masks"]["exact"]["mask_only"]["plain"]["each"])
    ), "seeds train other networks"
