"""Cut-outs, plates and composites as members, checked against Pillow where images are concerned."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin
from safetensors.numpy import load

from data_specs.composite import Composite, PlacedObject
from data_specs.cutout import Cutout
from data_specs.errors import ShardError
from data_specs.plate import Plate, Tone
from data_specs.shard import EncodedSample, Stage
from tasks.storage.shards import (
    ShardReader,
    decode_composite,
    decode_cutout,
    decode_plate,
    encode_composite,
    encode_cutout,
    encode_plate,
    write_shard,
)
from tasks.storage.workspace import Workspace

RNG = np.random.default_rng(5)
LINEAGE = {"key": "k", "scene": "s", "origin": "where"}
TONE = Tone(mean_rgb=(1.5, 2.25, 3.125), grain=0.7)


def bytes_of(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def a_cutout() -> Cutout:
    return Cutout(
        **LINEAGE,
        split="test",
        class_name="cone",
        image=bytes_of(20, 30, 3),
        matte=bytes_of(20, 30),
        darkening=bytes_of(20, 30, 3),
        brightening=bytes_of(20, 30, 3),
        foot=(18, 14),
        foot_depth=4.1,
        focal_px=500.5,
        depression=0.31,
        bearing=-0.12,
        shadow_class="towards-left",
        tone=TONE,
    )


def a_plate(horizon: float | None = 12.5) -> Plate:
    depth = RNG.uniform(1, 50, (24, 32)).astype(np.float32)
    depth[:5] = np.inf
    return Plate(
        **LINEAGE,
        split="train",
        image=bytes_of(24, 32, 3),
        ground=bytes_of(24, 32) > 128,
        depth=depth,
        focal_px=300.0,
        horizon=horizon,
        tone=TONE,
    )


def a_composite() -> Composite:
    placed = PlacedObject(cutout="c", class_name="box", shadow_class="none", foot=(3, 4), scale=0.75)
    foreground = bytes_of(24, 32) > 128
    return Composite(
        **LINEAGE,
        scenes=("s", "t"),
        split="validation",
        plate="p",
        objects=(placed, placed),
        removed=1,
        source=bytes_of(24, 32, 3),
        mask=foreground & (bytes_of(24, 32) > 128),
        foreground=foreground,
        ground_truth=bytes_of(24, 32, 3),
    )


def assert_same(one: object, other: object) -> None:
    for name in type(one).__dataclass_fields__:  # pyright: ignore[reportAttributeAccessIssue]
        before, after = getattr(one, name), getattr(other, name)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype, name
            assert np.array_equal(before, after), name
        else:
            assert before == after, name


def test_every_record_comes_back_whole() -> None:
    cutout, composite = a_cutout(), a_composite()
    assert_same(cutout, decode_cutout(encode_cutout(cutout)))
    assert_same(composite, decode_composite(encode_composite(composite, "png")))
    for horizon in (12.5, None):
        plate = a_plate(horizon)
        assert_same(plate, decode_plate(encode_plate(plate, "png")))


def test_cut_outs_are_lossless_and_pillow_sees_them_alike() -> None:
    cutout = a_cutout()
    members = encode_cutout(cutout).members
    fields = {"picture": "image", "matte": "matte", "darkening": "darkening", "brightening": "brightening"}
    for member, field in fields.items():
        seen = np.asarray(Image.open(io.BytesIO(members[f"{member}.png"])))
        assert np.array_equal(seen, getattr(cutout, field)), member


def test_source_and_ground_truth_share_one_codec_whatever_the_format() -> None:
    composite = a_composite()
    members = encode_composite(composite, "jpeg").members
    assert sorted(members) == ["foreground.png", "ground_truth.jpg", "json", "mask.png", "source.jpg"]
    source, truth = (Image.open(io.BytesIO(members[name])) for name in ("source.jpg", "ground_truth.jpg"))
    assert isinstance(source, JpegImagePlugin.JpegImageFile)
    assert isinstance(truth, JpegImagePlugin.JpegImageFile)
    assert source.quantization == truth.quantization
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(members["foreground.png"]))), composite.foreground)


def test_depth_is_safetensors_and_keeps_the_sky() -> None:
    plate = a_plate()
    depth = load(encode_plate(plate, "jpeg").members["depth.safetensors"])["depth"]
    assert np.array_equal(depth, plate.depth)
    assert np.isinf(depth[:5]).all()


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("depth.safetensors", b"short"),
        ("ground.png", b""),
        ("json", b"{}"),
        ("json", b"["),
        ("picture.png", None),
    ],
)
def test_damage_is_named(member: str, data: bytes | None) -> None:
    members = encode_plate(a_plate(), "png").members
    damaged = {name: value for name, value in {**members, member: data}.items() if value is not None}
    with pytest.raises(ShardError, match="sample k cannot be decoded"):
        decode_plate(EncodedSample("k", damaged, "s", "train"))


def test_the_stages_pass_through_shards(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace")
    stages: dict[Stage, EncodedSample] = {
        "cutouts": encode_cutout(a_cutout()),
        "plates": encode_plate(a_plate(), "jpeg"),
        "composites": encode_composite(a_composite(), "jpeg"),
    }
    for stage, sample in stages.items():
        ref = write_shard(workspace, stage=stage, round=0, index=0, input_digest=stage, samples=[sample])
        with ShardReader(workspace, [ref], check=True) as reader:
            assert reader[0] == sample
        assert workspace.ledger().shards.all(stage=stage) == [ref]
