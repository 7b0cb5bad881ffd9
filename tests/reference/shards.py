"""docs/reference/shard-format.md: stages, members, JSON fields, index and codec, from encoded samples."""

import json
from typing import Any, get_args

import numpy as np
from safetensors.numpy import load

from data_specs.candidate import Candidate
from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout
from data_specs.keys import Split
from data_specs.plate import Plate, Tone
from data_specs.pool_item import PoolItem
from data_specs.reject import RefusedSample, Reject, RejectReason
from data_specs.shard import EncodedSample, ImageFormat, ShardRef, Stage
from data_specs.triplet import Triplet
from tasks.storage.shards import (
    encode_candidate,
    encode_composite,
    encode_cutout,
    encode_plate,
    encode_pool_item,
    encode_refused,
    encode_triplet,
)
from tasks.storage.shards.tar import SCHEMA
from tests.reference.markdown import code, field_docs, page, table

INTRO = """
A shard is two files in the workspace's folder `shards/`: a tar with the samples and a Parquet file that
says where each member lies. Any tar program reads the first; webdataset reads it as samples.
`tasks/storage/shards/` writes and reads both.
"""
NAMES = """
A shard's name is `ROUND-STAGE-INDEX-DIGEST`, for example `001-candidates-00002-3f9a…`. It ends with
the key digest, of the ordered keys of the samples. The files are `NAME.tar` and `NAME.parquet`.
"""
TAR = """
The tar is plain ustar. Every member has mode 0644, and time, owner and group 0. Members of a sample lie
together, sorted by name. A member is called `KEY.MEMBER`. A key has at most 80 letters, digits, `-` and
`_`. The same samples therefore give the same bytes.

The candidates of a pool item have the same source and mask. The first one holds them. The others have hard
links, which `tar xf` makes into whole files. webdataset passes over links: it shows the removal and `json`
of those candidates only. In the index every candidate has all of its members.
"""
INDEX = """
The index has a row for each member, in the tar's order. The member's bytes are
`tar[offset : offset + length]`. `height` and `width` are those of the sample's mask in pixels, 0 without a
mask. Indexes of earlier versions lack these two columns; they are read all the same. The file is compressed
with zstd.
"""
CODECS = """
A source, its ground truth and its removal always share one codec: a remover would learn the difference.
Nothing is trained on refused samples, so they are always JPEG.
"""
LEDGER = """
The ledger has a row for each shard (table `shards`) and for each sample (table `samples`). A shard
without a row is an orphan; `cleanplate dataset verify` lists it.
"""

STAGES: dict[Stage, tuple[str, str]] = {
    "triplets": (
        "triplet",
        "Pairs with ground truth that came in from a source. OBER's also have the member `foreground`.",
    ),
    "pool": ("pool item", "Images without ground truth, from which phases draw."),
    "truth": ("triplet", "Ground truth of pool items where the source knows it. Only the oracle reads it."),
    "candidates": ("candidate", "What a remover made of pool items."),
    "grown": ("triplet", "Accepted candidates. Their ground truth is the removal."),
    "cutouts": ("cut-out", "Objects with their effects, as layers."),
    "plates": ("plate", "Backgrounds with flat ground."),
    "composites": ("composite", "Cut-outs on plates; a sample for each object that can be removed."),
    "refused": ("refused sample", "A few rejects of each reason, with their images."),
}
"""The record that each stage holds, and what for."""
MEANINGS: dict[str, str] = {
    "source": "The image with the object.",
    "mask": "True on the object, not on its effect.",
    "ground_truth": "The same image without the object and its effect.",
    "removal": "The remover's result.",
    "picture": "The image (cut-out: the object's own colours). The member keeps an older name.",
    "matte": "The object's soft mask; 255 is opaque.",
    "darkening": "The fraction of the plate's light that is taken away; 255 is all.",
    "brightening": "Levels that are added: reflections and bounced light.",
    "ground": "True on flat ground.",
    "depth": "Depth along the view axis. Infinite where there is sky.",
    "foreground": "True where the object or its effect touches the image.",
    "json": "Everything that is no image. Keys are sorted.",
    "image": "An image that the reject is about; also `source`, `ground_truth`, `cutout_0`, `cutout_1`.",
}
JSON_MEANINGS: dict[str, str] = {
    "key": "The sample's name. It follows from what the sample was made of.",
    "scene": "The scene. All samples of a scene are in one split.",
    "split": "`train`, `validation` or `test`.",
    "origin": "Where the sample comes from, for people.",
    "class_name": "The object's class, as the source names it.",
    "item": "The pool item's key.",
    "variant": "The mask variant that the remover got.",
    "model_hash": "The remover's hash.",
    "source_hash": "The hash of the source's pixels.",
    "foot": "Row and column where the object stands, in the layer.",
    "foot_depth": "The ground's depth at the foot.",
    "focal_px": "The camera's focal length in pixels.",
    "depression": "Radians below the horizon at which the camera saw the foot.",
    "bearing": "Radians to the right of the camera's axis at which it saw the foot.",
    "shadow_class": "The direction of the shadow on the ground: one of 8 classes, or `none`.",
    "tone": "Mean colour and grain of the whole image: `mean_rgb` (3 numbers) and `grain`.",
    "horizon": "The row where the ground would end; null where the depth does not tell.",
    "scenes": "The scenes of the plate and of every cut-out.",
    "plate": "The plate's key.",
    "objects": "All objects, far to near: `cutout`, `class_name`, `shadow_class`, `foot`, `scale`.",
    "removed": "Which of `objects` is removed.",
    "reject": "The reject: `source`, `name`, `reason`, `detail`.",
}
INDEX_MEANINGS: dict[str, str] = {
    "key": "The sample's key.",
    "member": "The member's name without the key.",
    "offset": "Where its first byte lies in the tar.",
    "length": "Its bytes.",
    "sha256": "The hash of its bytes, hexadecimal.",
    "scene": "The sample's scene.",
    "split": "The sample's split.",
    "height": "The height of the sample's mask in pixels; 0 without a mask.",
    "width": "The width of the sample's mask in pixels; 0 without a mask.",
}


def samples() -> dict[str, EncodedSample]:
    """A sample of each record, 8×8 pixels, as the product encodes it."""
    image, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    split: Split = "train"
    scene: dict[str, Any] = {"scene": "s", "split": split}
    named: dict[str, Any] = {**scene, "key": "k", "origin": "o"}
    pair: dict[str, Any] = {"source": image, "mask": mask}
    tone = Tone(mean_rgb=(0.0, 0.0, 0.0), grain=0.0)
    candidate = Candidate(
        **scene, **pair, removal=image, key="k", item="i", class_name="c", variant="tight", model_hash="m",
        source_hash="h",
    )  # fmt: skip
    cutout = Cutout(
        **named, image=image, matte=image[..., 0], darkening=image, brightening=image, class_name="c",
        foot=(3, 2), foot_depth=1.0, focal_px=8.0, depression=0.1, bearing=0.1, shadow_class="left",
        tone=tone,
    )  # fmt: skip
    depth = np.ones((8, 8), np.float32)
    plate = Plate(**named, image=image, ground=mask, depth=depth, focal_px=8.0, horizon=1.5, tone=tone)
    placed = PlacedObject(cutout="c", class_name="c", shadow_class="left", foot=(3, 2), scale=0.5)
    composite = Composite(
        **named, **pair, ground_truth=image, foreground=mask, scenes=("s",), plate="p", objects=(placed,),
        removed=0,
    )  # fmt: skip
    reject = Reject(source="compose", name="n", reason=RejectReason.OVERLAP)
    refused = RefusedSample(scene="s", split=split, reject=reject, images={"image": image})
    return {
        "triplet": encode_triplet(Triplet(**named, **pair, ground_truth=image), "png"),
        "pool item": encode_pool_item(PoolItem(**named, **pair, class_name="c"), "png"),
        "candidate": encode_candidate(candidate, "png"),
        "cut-out": encode_cutout(cutout),
        "plate": encode_plate(plate, "png"),
        "composite": encode_composite(composite, "png"),
        "refused sample": encode_refused(refused, "w"),
    }


def render() -> str:
    """The page."""
    records = [_section(record, sample) for record, sample in samples().items()]
    stages = [(code(stage), STAGES[stage][0], STAGES[stage][1]) for stage in get_args(Stage)]
    return page(
        "Shard format",
        INTRO,
        "## Names",
        NAMES,
        table(("Field of a shard's reference", "Type", "Meaning"), _reference()),
        "## Stages",
        table(("Stage", "Record", "What it holds"), stages),
        "## Tar",
        TAR,
        "## Index",
        INDEX,
        table(("Column", "Type", "Meaning"), [_column(name) for name in SCHEMA.names]),
        "## Codecs",
        CODECS,
        table(("Format", "Images are"), _formats()),
        "## Records",
        *records,
        "## In the ledger",
        LEDGER,
    )


def _reference() -> list[tuple[str, str, str]]:
    docs = field_docs(ShardRef)
    return [
        (code(name), "integer" if field.annotation is int else "text", docs.get(name, ""))
        for name, field in ShardRef.model_fields.items()
    ]


def _column(name: str) -> tuple[str, str, str]:
    return code(name), str(SCHEMA.field(name).type), INDEX_MEANINGS[name]


def _formats() -> list[tuple[str, str]]:
    words: dict[str, str] = {
        "png": "PNG, lossless; members end in `.png`",
        "jpeg": "JPEG, quality 95, no chroma subsampling; members end in `.jpg`",
    }
    return [(code(name), words[name]) for name in get_args(ImageFormat)]


def _section(record: str, sample: EncodedSample) -> str:
    stages = ", ".join(code(stage) for stage, (kind, _) in STAGES.items() if kind == record)
    members = [
        (code(member), codec_of(data), MEANINGS[member.partition(".")[0]])
        for member, data in sorted(sample.members.items())
    ]
    values: dict[str, Any] = json.loads(sample.members["json"])
    rows = [(code(name), _json_type(name, value), JSON_MEANINGS[name]) for name, value in values.items()]
    return "\n\n".join(
        [
            f"### {record.capitalize()}",
            f"Stages: {stages}.",
            table(("Member", "Codec and type", "Meaning"), members),
            table(("JSON field", "Type", "Meaning"), rows),
        ]
    )


_PNG_COLOURS = {0: "one channel", 2: "RGB"}


def codec_of(data: bytes) -> str:
    """A member's codec and type, read from its own bytes."""
    if data.startswith(b"\x89PNG"):
        bits, colour = data[24], data[25]
        shape, dtype = ("H×W×3", "uint8") if colour == 2 else ("H×W", "bool" if bits == 1 else "uint8")
        each = f"{bits} bit{'s' if bits > 1 else ''}"
        return f"PNG, {_PNG_COLOURS[colour]}, {each}: {shape} {dtype}"
    if data.startswith(b"\xff\xd8"):
        return "JPEG: H×W×3 uint8"
    if data.startswith(b"{"):
        return "JSON, UTF-8"
    arrays = load(data)
    return "safetensors: " + ", ".join(f"`{name}` H×W {array.dtype}" for name, array in arrays.items())


def _json_type(name: str, value: object) -> str:
    if name == "horizon":
        return "number or null"
    kinds = {str: "text", int: "integer", float: "number", list: "list", dict: "object"}
    return kinds[type(value)]
