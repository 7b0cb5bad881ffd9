"""Read RORD: frames of fixed cameras by scene, whose last frame is the ground truth (papers.md, fact 1).

Three forms exist, and all may lie in one folder::

    …/jpg/SCENE/*.jpg   …/M/SCENE/NAME_M.json         as AIHub publishes it
    …/img/SCENE/*.jpg   …/label/SCENE/NAME.json       reduced to 960×540
    …/img/NAME.png      …/gt/NAME.png  …/mask/NAME.png    as the authors' program prepares it

The masks are polygons of the annotated objects. Only the third form has images as masks, and these are
inverted: black where the object is.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from data_specs.arrays import Mask, RgbImage
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
    read_mask,
)
from tasks.sources.instance_masks import BadAnnotationError, polygon_mask
from tasks.sources.mask_polarity import changed_pixels, check_polarity, is_inverted
from tasks.sources.samples import SampleLimits, WholeTriplet, cut_triplet, triplets_of
from tasks.sources.scenes import SceneChoice, by_pixels

KIND = "rord"
RORD_PARTS = ("jpg", "M", "img", "label", "gt", "mask")
"""The folders directly in the data set that may be links to elsewhere."""
_ANNOTATIONS = {"jpg": ("M", "_M.json"), "img": ("label", ".json")}
"""By the folder of the frames: the folder of their annotations, and the end of an annotation's name."""
_OBJECT = "F"
"""The first letter of the classes of objects. BO… are classes of what stands in the ground truth, too."""
_TAKE = re.compile(r"(?P<take>.*?)[ _.-]*[A-Za-z]?\d+")
"""A prepared frame's name is its take's name and its number."""
_MIN_CHANGED = 0.01
"""Minimum fraction of a mask in which the frame differs from the ground truth."""


class RordConfig(SampleLimits):
    """How to read RORD."""

    path: Path = Field(description="The folder with RORD, in one of its three forms.")
    turn_masks: bool = Field(
        default=False,
        description="Whether to turn a mask that the two images show to be inverted. Otherwise it is "
        "refused.",
    )


@dataclass(frozen=True, slots=True)
class RordFrame:
    """One frame with an object. The names are paths below the folder."""

    name: str
    image: str
    annotation: str
    """A JSON of polygons, or an image of the mask."""
    ground_truth: str
    scene: str


def list_rord(config: RordConfig) -> Listing[RordFrame]:
    """The frames with an object, in the order of their paths.

    Raises:
        InputError: If no folder of frames is there, or one has no folder of masks or ground truths beside it.
    """
    named: set[str] = set()
    records: list[RordFrame | Reject] = []
    for place in _places(config.path):
        for record in _in_place(config.path, place, named):
            records.append(record)
            if isinstance(record, RordFrame):
                named |= {record.image, record.annotation, record.ground_truth}
    if not records:
        fault = "holds no frames of RORD; name the folder with jpg/SCENE/ and M/SCENE/, or with img/"
        raise InputError(config.path, fault)
    return Listing(records, named)


def rord_triplets(
    config: RordConfig,
    records: Iterable[RordFrame | Reject] | None = None,
    scenes: SceneChoice = by_pixels,
) -> Iterator[Triplet | Reject]:
    """One triplet or reject for each frame with an object.

    Args:
        config: What to read.
        records: Some of ``list_rord``. None: all.
        scenes: Chooses the scene of each ground truth.

    Raises:
        InputError: As ``list_rord``.
    """
    frames = list_rord(config).records if records is None else records
    return triplets_of(frames, KIND, lambda frame: _triplet(frame, config, scenes))


def _places(root: Path) -> Iterable[Path]:
    """The folders of frames: every jpg/ and img/ below the root. Links are followed in the root only."""
    for folder, folders, _ in os.walk(root):
        folders.sort()
        for name in _ANNOTATIONS:
            place = Path(folder) / name
            if place.is_dir() and (place.parent == root or not place.is_symlink()):
                yield place


def _in_place(root: Path, place: Path, named: set[str]) -> Iterator[RordFrame | Reject]:
    scenes = sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())
    if scenes:
        folder, ending = _ANNOTATIONS[place.name]
        _check_beside(place, folder)
        for scene in scenes:
            yield from _in_scene(root, scene, place.parent / folder / scene.name, ending, named)
        return
    frames = _images(place)
    if frames:
        for part in ("gt", "mask"):
            _check_beside(place, part)
    for frame in frames:
        yield _prepared(root, frame)


def _check_beside(place: Path, part: str) -> None:
    if not (place.parent / part).is_dir():
        raise InputError(
            place.parent, f"holds {place.name}/ and no folder {part}/; download it, or name another folder"
        )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _in_scene(
    root: Path, scene: Path, annotations: Path, ending: str, named: set[str]
) -> Iterator[RordFrame | Reject]:
    """The frames of one scene. The last one is the ground truth."""
    frames, name = _images(scene), str(scene.relative_to(root))
    if len(frames) == 1:
        named.add(str(frames[0].relative_to(root)))
        detail = "a scene of one frame has no ground truth"
        yield Reject(source=KIND, name=name, reason=RejectReason.MISSING_FILE, detail=detail)
        return
    for frame in frames[:-1]:
        yield RordFrame(
            name=printable(f"{name}/{frame.stem}"),
            image=str(frame.relative_to(root)),
            annotation=str((annotations / f"{frame.stem}{ending}").relative_to(root)),
            ground_truth=str(frames[-1].relative_to(root)),
            scene=name,
        )


def _prepared(root: Path, frame: Path) -> RordFrame:
    """A frame of the prepared form. Its truth and mask have its name, the mask as PNG."""
    base = frame.parent.parent
    take = _TAKE.fullmatch(frame.stem)
    return RordFrame(
        name=printable(str(frame.relative_to(root))),
        image=str(frame.relative_to(root)),
        annotation=str((base / "mask" / f"{frame.stem}.png").relative_to(root)),
        ground_truth=str((base / "gt" / frame.name).relative_to(root)),
        scene=str((base / (take["take"] if take else frame.stem)).relative_to(root)),
    )


def _triplet(frame: RordFrame, config: RordConfig, scenes: SceneChoice) -> Triplet:
    image_path, mask_path, truth_path = (
        path_inside(config.path, name, RORD_PARTS)
        for name in (frame.image, frame.annotation, frame.ground_truth)
    )
    source = read_image(image_path, max_pixels=config.max_pixels)
    ground_truth = read_image(truth_path, max_pixels=config.max_pixels)
    check_same_size(truth_path, ground_truth.shape[:2], source.shape[:2])
    mask = _mask(mask_path, source.shape[:2], config)
    if config.turn_masks and is_inverted(source, mask, ground_truth):
        mask = ~mask
    check_polarity(mask_path, source, mask, ground_truth)
    _check_changed(mask_path, source, mask, ground_truth)
    whole = WholeTriplet(
        source=source,
        mask=mask,
        ground_truth=ground_truth,
        source_path=image_path,
        mask_path=mask_path,
        truth_path=truth_path,
        origin=f"{KIND}:{config.path.name}/{frame.name}",
        lineage=derive_key("scene", KIND, config.path.name, frame.scene),
    )
    return cut_triplet(whole, KIND, config, scenes)


def _mask(path: Path, size: tuple[int, int], config: RordConfig) -> Mask:
    if path.suffix != ".json":
        mask = read_mask(path, max_pixels=config.max_pixels)
        check_same_size(path, mask.shape, size)
        return mask
    try:
        with opened_file(path) as file:
            content: Any = json.load(file)
        polygons = _polygons(content)
        mask = polygon_mask(polygons, size, _scale(content, size))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        detail = str(error) if isinstance(error, BadAnnotationError) else "it is no annotation of RORD"
        raise RejectedImage(path, RejectReason.BAD_RECORD, detail) from error
    if not mask.any():
        raise RejectedImage(path, RejectReason.MASK_EMPTY, "it annotates no object")
    return mask


def _polygons(content: Any) -> list[list[float]]:
    """The polygons of objects. An annotation without a class counts as an object's."""
    annotations = content["Learning_Data_Info."]["Annotation"]
    return [
        annotation["segmentation"]
        for annotation in annotations
        if str(annotation.get("Class_ID", _OBJECT)).startswith(_OBJECT)
    ]


def _scale(content: Any, size: tuple[int, int]) -> float:
    """How much smaller the image is than the one that was annotated."""
    stated = content.get("Raw_Data_Info.", {}).get("Resolution")
    if stated is None:
        return 1
    width, height = (int(side) for side in str(stated).split(","))
    scale = size[1] / width
    if abs(height * scale - size[0]) > 1:
        raise BadAnnotationError(f"it was drawn on {width}×{height}, which is of another shape")
    return scale


def _check_changed(path: Path, source: RgbImage, mask: Mask, ground_truth: RgbImage) -> None:
    """Refuse a frame that equals the ground truth where the object should be."""
    if float(np.mean(changed_pixels(source, ground_truth)[mask])) < _MIN_CHANGED:
        detail = "the frame does not differ from the ground truth inside the mask"
        raise RejectedImage(path, RejectReason.NO_CHANGE, detail)
