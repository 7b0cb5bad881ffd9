"""Find objects of trained classes with YOLO (papers.md, fact 11). Only this file uses ultralytics (AGPL-3.0).

Importing ultralytics would write a settings file into the home folder and access the network.
``_detection_model`` turns both off before it imports any of it.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import cv2
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torchvision.ops import box_convert, nms

from data_specs.arrays import RgbImage
from data_specs.detection import Detection
from data_specs.errors import ModelError
from data_specs.keys import derive_key
from data_specs.tested_versions import require_tested
from models.device import network_device
from models.images.backbones import folder_fingerprint
from models.images.tensors import levels_to_tensor
from models.perception.geometry import letterbox
from models.perception.weights import SHIPPED, load_weights, read_notes

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

YoloSize = Literal["tiny", "n", "s", "m", "l", "x"]

NO_YOLO = "ultralytics is not installed; `pip install 'cleanplate[yolo]'` brings it (AGPL-3.0)"

FILL = (114, 114, 114)
"""YOLO's grey around a letterboxed image."""
STRIDE_PX = 32
"""The side of a network's square is a multiple of this."""
_TINY_SCALE = (0.5, 0.125, 1024)
"""Depth, width and maximum channels: half as wide as YOLO11n."""
_CONVERT = "a published YOLO11 must be converted: `python -m models.perception.convert yolo FILE.pt FOLDER`"
_REPLACED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (Image, ("open",)),
    (cv2, ("imread", "imwrite", "imshow")),
    (torch, ("save",)),
)
"""Functions that an import of ultralytics replaces for the whole process."""


class YoloConfig(BaseModel):
    """Which YOLO11 model to use, and the thresholds of a detection."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["yolo"] = "yolo"
    size: YoloSize = Field(
        default="tiny",
        description="Size of the network. tiny is shipped. The others are the published sizes.",
    )
    weights: Path = Field(
        default=SHIPPED / "yolo", description="Folder with model.safetensors. Convert a published YOLO first."
    )
    image_px: int = Field(
        default=128,
        ge=STRIDE_PX,
        le=4096,
        multiple_of=STRIDE_PX,
        description="Side of the square to which an image is scaled, in pixels. Published models use 640.",
    )
    min_score: float = Field(default=0.25, ge=0, le=1, description="Minimum score of a detection.")
    max_overlap: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Maximum IoU of two boxes. Above it, the box with the lower score is dropped, "
        "whatever the classes.",
    )


class YoloDetector:
    """A Detector, for images of any size."""

    def __init__(self, config: YoloConfig) -> None:
        """Build and load the model. The metadata of the weights names the classes.

        Raises:
            ModelError: If ultralytics is not installed, or the folder has no weights of this size.
        """
        self._config = config
        self.class_names = _class_names(config.weights)
        self._network = build_yolo(config.size, len(self.class_names))
        load_weights(self._network, config.weights, _CONVERT)
        settings = config.model_dump_json(exclude={"weights"})
        self._hash = derive_key("yolo", settings, folder_fingerprint(config.weights))

    @property
    def model_hash(self) -> str:
        """Names settings and weights."""
        return self._hash

    @torch.inference_mode()
    def detect(self, source: RgbImage) -> list[Detection]:
        """See ``Detector.detect``."""
        shown = letterbox(source, self._config.image_px, FILL)
        square = levels_to_tensor([shown.square]).to(network_device())
        predictions = self._network(square / 255)[0][0].T.cpu()
        boxes = box_convert(predictions[:, :4], "cxcywh", "xyxy")
        scores, classes = predictions[:, 4:].max(dim=1)
        sure = scores >= self._config.min_score
        boxes, scores, classes = boxes[sure], scores[sure], classes[sure]
        detections: list[Detection] = []
        for place in nms(boxes, scores, self._config.max_overlap).tolist():
            box = shown.box_in_image(*boxes[place].tolist())
            if box is not None:
                name = self.class_names[int(classes[place])]
                detections.append(Detection(box, name, float(scores[place])))
        return detections


def yolo_is_installed() -> bool:
    """Whether ultralytics (the extra `yolo`) is installed. It is not imported."""
    return find_spec("ultralytics") is not None


def build_yolo(size: YoloSize, classes: int) -> "DetectionModel":
    """Build a YOLO11 of this size, untrained, ready for its own loss.

    Raises:
        ModelError: If ultralytics is not installed.
    """
    kind, layout = _detection_model()
    layout["scales"]["tiny"] = list(_TINY_SCALE)
    network = kind(cast(Any, {**layout, "scale": size}), nc=classes, verbose=False)
    from ultralytics.cfg import get_cfg

    cast(Any, network).args = get_cfg()
    return network


def class_notes(class_names: tuple[str, ...]) -> dict[str, str]:
    """The metadata of the weights that names the classes."""
    return {"classes": json.dumps(class_names)}


def _class_names(folder: Path) -> tuple[str, ...]:
    notes = read_notes(folder, _CONVERT)
    if "classes" not in notes:
        raise ModelError(f"{folder}: the weights have no class names; {_CONVERT}")
    return tuple(json.loads(notes["classes"]))


def _detection_model() -> tuple[type["DetectionModel"], dict[str, Any]]:
    """ultralytics' class and YOLO11's layout, imported without a settings file and without network."""
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="cleanplate-yolo-"))
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    try:
        require_tested("ultralytics", "YOLO")  # Another version may replace other functions.
        with _others_functions_kept():
            from ultralytics.nn.tasks import DetectionModel
            from ultralytics.utils import ROOT, YAML
    except ImportError as error:
        raise ModelError(NO_YOLO) from error
    return DetectionModel, YAML.load(str(ROOT / "cfg/models/11/yolo11.yaml"))


@contextmanager
def _others_functions_kept() -> Iterator[None]:
    """Inside, an import may replace functions of PIL, OpenCV and torch. Afterwards they are restored.

    ultralytics does this. With its ``Image.open`` a damaged image would start pip to install another decoder.
    """
    kept = [(owner, name, getattr(owner, name)) for owner, names in _REPLACED for name in names]
    try:
        yield
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
