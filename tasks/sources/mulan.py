"""Read MULAN: images taken apart into layers, published as annotations of COCO's and LAION's images.

An annotation ``NAME.p.zl`` is a zlib-compressed pickle of dictionaries: a ``background`` and ``instances``,
from the lowest to the highest. Each holds ``original_image_mask`` (what the image itself shows of it) and
``inpainted_delta`` (what is added where the image shows something else). An instance has its
``instance_alpha``, too. The image of the annotation is the one with the same stem.

A triplet is made for each instance. The source is all layers, the ground truth all layers but this one. The
mask is what can be seen of the instance.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_specs.arrays import RgbImage
from data_specs.errors import InputError
from data_specs.keys import derive_key
from data_specs.reject import Reject, RejectReason, printable
from data_specs.triplet import Triplet
from tasks.sources.found_files import Listing
from tasks.sources.image_files import (
    IMAGE_SUFFIXES,
    RejectedImage,
    check_same_size,
    opened_file,
    path_inside,
    read_image,
)
from tasks.sources.plain_pickle import ForeignPickleError, read_plain_pickle
from tasks.sources.samples import SampleLimits, WholeTriplet, cut_triplet, triplets_of
from tasks.sources.scenes import SceneChoice, by_pixels

KIND = "mulan"
_ENDING = ".p.zl"


class MulanConfig(SampleLimits):
    """How to read MULAN."""

    path: Path = Field(description="The folder with the annotations *.p.zl, in it or below.")
    images: Path | None = Field(
        default=None,
        description="The folder with the annotated images of COCO or LAION, in it or below. Default: the "
        "folder of the annotations.",
    )


@dataclass(frozen=True, slots=True)
class MulanLayer:
    """One instance of an annotated image."""

    name: str
    annotation: str
    """Path below the folder."""
    image: str
    """The image's whole path."""
    number: int
    """Its place among the instances, from the lowest."""


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One layer of an image."""

    rgb: NDArray[np.float32]
    """H×W×3, 0..255."""
    alpha: NDArray[np.float32]
    """H×W, 0..1."""


def list_mulan(config: MulanConfig) -> Listing[MulanLayer]:
    """The instances of all annotations. Each annotation is opened once, for the number of its instances.

    Raises:
        InputError: If there is no annotation, or no folder of images.
    """
    root = config.path
    annotations = sorted(name for name in _names_below(root) if name.endswith(_ENDING))
    if not annotations:
        raise InputError(root, f"holds no *{_ENDING}; unpack MULAN's RAR archives, and name their folder")
    images_root = root if config.images is None else config.images.expanduser().resolve()
    if not images_root.is_dir():
        raise InputError(images_root, "is not a folder; name the folder with the annotated images")
    images = _images_by_stem(images_root)
    records: list[MulanLayer | Reject] = []
    used: set[Path] = set()
    for name in annotations:
        own = images.get(Path(name).name.removesuffix(_ENDING), [])
        used.update(own)
        records += _records(root, name, own)
    inside = {str(path.relative_to(root)) for path in used if path.is_relative_to(root)}
    beside = tuple(sorted(path for path in used if not path.is_relative_to(root)))
    return Listing(records, {*annotations, *inside}, beside)


def mulan_triplets(
    config: MulanConfig,
    records: Iterable[MulanLayer | Reject] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each instance. An annotation that cannot be read is one reject.

    Args:
        config: What to read.
        records: Some of ``list_mulan``. None: all.
        scenes: Chooses the scene of each annotated image.

    Raises:
        InputError: As ``list_mulan``.
    """
    layers = list_mulan(config).records if records is None else records
    return triplets_of(layers, KIND, lambda layer: _triplet(layer, config, scenes))


def _names_below(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root)


def _images_by_stem(root: Path) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = {}
    for name in sorted(_names_below(root)):
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            images.setdefault(Path(name).stem, []).append(root / name)
    return images


def _records(root: Path, name: str, images: list[Path]) -> list[MulanLayer | Reject]:
    plain = printable(name)
    if len(images) != 1:
        detail = f"{len(images)} images have its stem, and it needs one; name their folder with --images"
        return [Reject(source=KIND, name=plain, reason=RejectReason.MISSING_FILE, detail=detail)]
    try:
        path = path_inside(root, name)
        facts = path.stat()
        count = _instance_count(path, facts.st_mtime_ns, facts.st_size)
    except OSError:
        return [Reject(source=KIND, name=plain, reason=RejectReason.MISSING_FILE)]
    except RejectedImage as error:
        return [error.as_reject(KIND, plain)]
    if not count:
        detail = "it has no instance"
        return [Reject(source=KIND, name=plain, reason=RejectReason.BAD_RECORD, detail=detail)]
    return [
        MulanLayer(name=f"{plain}#{number}", annotation=name, image=str(images[0]), number=number)
        for number in range(count)
    ]


@lru_cache(maxsize=1_000_000)
def _instance_count(path: Path, changed_ns: int, size: int) -> int:
    """The number of instances. The other arguments make a changed file another one."""
    return len(_content(path)["instances"])


@lru_cache(maxsize=1)
def _content_at(path: Path, changed_ns: int, size: int) -> dict[str, Any]:
    """The same file is read for several instances in turn."""
    return _content(path)


def _content(path: Path) -> dict[str, Any]:
    """The annotation.

    Raises:
        RejectedImage: MISSING_FILE, FOREIGN_PICKLE, TRUNCATED or BAD_RECORD.
    """
    with opened_file(path) as file:
        compressed = file.read()
    try:
        content = read_plain_pickle(compressed)
    except ForeignPickleError as error:
        raise RejectedImage(path, RejectReason.FOREIGN_PICKLE, str(error)) from error
    except ValueError as error:
        raise RejectedImage(path, RejectReason.TRUNCATED, str(error)) from error
    parts = content if isinstance(content, dict) else {}
    if not isinstance(parts.get("background"), dict) or not isinstance(parts.get("instances"), dict):
        raise RejectedImage(path, RejectReason.BAD_RECORD, "it holds no background and instances")
    return parts


def _triplet(record: MulanLayer, config: MulanConfig, scenes: SceneChoice) -> Triplet:
    path = path_inside(config.path, record.annotation)
    facts = path.stat()
    content = _content_at(path, facts.st_mtime_ns, facts.st_size)
    annotated = Path(record.image)
    inside = config.path if annotated.is_relative_to(config.path) else annotated.parent
    image_path = path_inside(inside, str(annotated.relative_to(inside)))
    image = read_image(image_path, max_pixels=config.max_pixels)
    try:
        entries = [content["background"], *content["instances"].values()]
        layers = [_layer(path, image, entry, number == 0) for number, entry in enumerate(entries)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        detail = "a layer lacks its mask, its delta or its alpha"
        raise RejectedImage(path, RejectReason.BAD_RECORD, detail) from error
    own = record.number + 1
    whole = WholeTriplet(
        source=_composed(layers),
        mask=_visible(layers, own) > 0.5,
        ground_truth=_composed(layers[:own] + layers[own + 1 :]),
        source_path=image_path,
        mask_path=path,
        truth_path=path,
        origin=f"{KIND}:{config.path.name}/{record.name}",
        lineage=derive_key("scene", KIND, config.path.name, record.annotation),
    )
    return cut_triplet(whole, KIND, config, scenes)


def _layer(path: Path, image: RgbImage, entry: dict[str, Any], is_background: bool) -> _Layer:
    shown = _channel(entry["original_image_mask"])
    check_same_size(path, (len(shown), shown[0].size), image.shape[:2])
    delta = np.asarray(entry["inpainted_delta"], np.float32)
    if delta.shape != image.shape:
        raise ValueError("the delta is of another shape than the image")
    rgb = np.clip(image * (shown > 0.5)[..., None] + delta, 0, 255).astype(np.float32)
    alpha = np.ones(shown.shape, np.float32) if is_background else _channel(entry["instance_alpha"])
    check_same_size(path, (len(alpha), alpha[0].size), image.shape[:2])
    return _Layer(rgb, alpha)


def _channel(values: Any) -> NDArray[np.float32]:
    """A mask or an alpha of any type as H×W, 0..1."""
    array = np.asarray(values)
    plane = array if array.ndim == 2 else array[..., 0]
    scale = 255 if array.dtype != np.bool_ and plane.size and plane.max() > 1 else 1
    return np.clip(plane.astype(np.float32) / scale, 0, 1).astype(np.float32)


def _composed(layers: list[_Layer]) -> RgbImage:
    """The layers over each other, lowest first, H×W×3 uint8."""
    image = layers[0].rgb
    for layer in layers[1:]:
        image = image + layer.alpha[..., None] * (layer.rgb - image)
    return np.round(image).clip(0, 255).astype(np.uint8)


def _visible(layers: list[_Layer], number: int) -> NDArray[np.float32]:
    """The alpha of a layer, less what higher layers hide, H×W, 0..1."""
    alpha = layers[number].alpha
    for layer in layers[number + 1 :]:
        alpha = alpha * (1 - layer.alpha)
    return alpha
