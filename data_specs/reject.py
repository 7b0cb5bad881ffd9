"""A reject: a refused sample, kept with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, field_validator

from data_specs.arrays import RgbImage
from data_specs.keys import Split


class RejectReason(StrEnum):
    """Why a sample was refused at ingest. The value is the text that people read."""

    UNREADABLE = "unreadable image"
    TRUNCATED = "truncated image"
    DAMAGED = "damaged image"
    NOT_8_BIT = "not 8 bits a channel"
    NOT_RGB = "not RGB or grey"
    ROTATED_BY_EXIF = "EXIF orientation differs from the mask's"
    TOO_MANY_PIXELS = "more pixels than the limit"
    TOO_SMALL = "smaller than the sample size"
    SIZE_MISMATCH = "sizes of source, mask and ground truth differ"
    MASK_EMPTY = "mask is empty"
    MASK_FULL = "mask covers the whole image"
    MASK_AREA = "mask area outside the limits"
    MASK_INVERTED = "mask is inverted"
    MISSING_FILE = "file is missing"
    OUTSIDE_FOLDER = "path leads outside its folder"
    CLASS_EXCLUDED = "class is excluded"
    CLASS_FULL = "class has reached its cap"
    BAD_RECORD = "record cannot be parsed"
    FOREIGN_PICKLE = "pickle holds more than arrays and text"
    CROWD = "mask of a crowd"
    CAMERA_MOVED = "camera moved"
    NO_CHANGE = "nothing moved"
    DUPLICATE = "already in the dataset"
    TWO_SPLITS = "near scenes of two splits"
    CUT_BY_BORDER = "object or effect is cut by the image's border"
    LIGHT_UNTOLD = "shadow's direction cannot be told"
    NO_GROUND = "no flat ground"
    NOT_FLAT = "ground is not flat"
    UNFAMILIAR = "unlike what the models know"
    NO_SCALE = "depth gives no scale"
    LARGER_THAN_PLATE = "cut-out is larger than the plate"
    ENLARGED = "cut-out would be enlarged"
    TOO_FAR = "object would be too small"
    OFF_GROUND = "foot is not on the ground"
    OVER_BORDER = "too near the border"
    HIDDEN = "something of the plate stands before it"
    EFFECT_OFF_GROUND = "effect leaves the ground"
    OTHER_VIEW = "captured at another angle"
    OVERLAP = "objects overlap too much"
    IN_SHADOW = "stands in the other's shadow"
    NO_PARTNER = "no other cut-out has this light"
    NO_OBJECT = "no object fits"
    UNEXPLAINED = "no detected object explains the change"
    MANY_CHANGES = "too many things changed"
    UNKNOWN_CANDIDATE = "no such candidate"
    ANSWERED_OTHERWISE = "answered otherwise before"

    @classmethod
    def _missing_(cls, value: object) -> "RejectReason | None":
        """Shards of earlier versions say ``picture`` where the reason says ``image`` now."""
        words = str(value).replace("picture", "image")
        return next((reason for reason in cls if reason.value == words), None)


class IgnoredReason(StrEnum):
    """Why a source's file or line is neither a sample nor part of one.

    The value is the text that people read.
    """

    OTHER_FORMAT = "not named as JPEG or PNG"
    NO_VIDEO = "not named as a video"
    ELSEWHERE = "not in a folder that is read"
    LINKED_FOLDER = "link to a folder, not followed"
    NO_FILE = "pipe, socket or device"
    UNNAMED = "no record names it"
    OTHER_PART = "not of the part that is read"
    OBJECT = "object to paste, no sample of its own"
    LONELY_OBJECT = "object without its image or its mask"
    EMPTY_LINE = "empty line"


def printable(words: str) -> str:
    """The text in a form that every file, terminal and database accepts.

    Invalid characters become escapes.
    """
    plain = words.encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in plain)


class Reject(BaseModel):
    """One refused sample."""

    model_config = ConfigDict(frozen=True)

    source: str
    """The source that refused it: ``clip``, ``folder``, ``pool`` …"""
    name: str
    """Name of the file, record or frame."""
    reason: RejectReason
    detail: str = ""
    """Numbers, or the decoder's message, in one sentence."""

    @field_validator("name", "detail", mode="before")
    @classmethod
    def _can_be_written(cls, words: object) -> object:
        return printable(words) if isinstance(words, str) else words


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RefusedSample:
    """A reject with its images, so that people can see what is lost."""

    scene: str
    split: Split
    reject: Reject
    images: Mapping[str, RgbImage]
    """By name (``source``, ``ground_truth``, ``image`` …), each H×W×3 uint8."""
