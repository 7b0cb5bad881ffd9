"""OBER in miniature, written by Hugging Face `datasets` as the published parquet files are."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow

IMAGES = ("input", "gt", "object_mask", "object_effect_mask")
FEATURES = Features(
    {**{name: Image() for name in IMAGES}, **{name: Value("string") for name in ("subset", "split")}}
)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ober_row(number: int, name: str, size: int = 96, split: str = "train", subset: str = "Real") -> dict:
    """A box on a smooth scene. Its M_fg is wider than what differs, so no difference can give it."""
    small = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    truth = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    mask, effect = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    top, left = size // 3, size // 3 + number % 5
    mask[top : top + size // 4, left : left + size // 4] = 255
    effect[top - 5 : top + size // 3, left - 3 : left + size // 2] = 255
    source = truth.copy()
    source[mask > 0] = 255 - source[mask > 0]
    pixels = zip(IMAGES, (source, truth, mask, effect), strict=True)
    images = {column: {"bytes": png(image), "path": f"{name}.png"} for column, image in pixels}
    return {**images, "subset": subset, "split": split}


def write_ober(folder: Path, file: str, rows: list[dict[str, Any]], group: int = 2) -> Path:
    """Write ``data/FILE`` with this number of rows in a row group."""
    path = folder / "data" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in FEATURES}
    Dataset.from_dict(columns, features=FEATURES).to_parquet(path, batch_size=group)
    return path
