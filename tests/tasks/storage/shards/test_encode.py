"""Encoding and decoding, checked against Pillow, which shares no code with what is tested."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, JpegImagePlugin

from data_specs.candidate import Candidate
from data_specs.errors import ShardError
from data_specs.pool_item import PoolItem
from data_specs.shard import EncodedSample
from data_specs.triplet import Triplet
from tasks.storage.shards import (
    decode_candidate,
    decode_pool_item,
    decode_triplet,
    encode_candidate,
    encode_pool_item,
    encode_triplet,
)

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def triplets(draw: st.DrawFn) -> Triplet:
    height, width = draw(SIZES)
    images = hnp.arrays(np.uint8, (height, width, 3))
    return Triplet(
        key="k",
        scene=draw(st.text(max_size=8)),
        split=draw(st.sampled_from(["train", "validation", "test"])),
        origin=draw(st.text(max_size=8)),
        source=draw(images),
        mask=draw(hnp.arrays(np.bool_, (height, width))),
        ground_truth=draw(images),
    )


@given(triplets())
@settings(max_examples=60, deadline=None)
def test_png_gives_back_every_bit(triplet: Triplet) -> None:
    encoded = encode_triplet(triplet, "png")
    back = decode_triplet(encoded)
    for name in ("source", "mask", "ground_truth"):
        before, after = getattr(triplet, name), getattr(back, name)
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)
    assert (back.key, back.scene, back.split, back.origin) == (
        "k",
        triplet.scene,
        triplet.split,
        triplet.origin,
    )
    assert (encoded.scene, encoded.split) == (triplet.scene, triplet.split)
    assert encode_triplet(back, "png").members == encoded.members


@given(triplets())
@settings(max_examples=30, deadline=None)
def test_jpeg_keeps_mask_and_words_exactly(triplet: Triplet) -> None:
    back = decode_triplet(encode_triplet(triplet, "jpeg"))
    assert np.array_equal(triplet.mask, back.mask)
    assert back.origin == triplet.origin
    assert back.source.shape == triplet.source.shape


def smooth(height: int = 64, width: int = 96) -> np.ndarray:
    down, across = np.mgrid[0:height, 0:width]
    return np.stack([across * 2, down * 3, (across + down) % 256], axis=-1).clip(0, 255).astype(np.uint8)


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def a_candidate() -> Candidate:
    mask = np.zeros((64, 96), bool)
    mask[10:20, 30:50] = True
    texts = {name: name for name in ("key", "item", "scene", "class_name", "variant")}
    return Candidate(
        **texts,
        split="train",
        model_hash="m",
        source_hash="s",
        source=smooth(),
        mask=mask,
        removal=smooth()[::-1],
    )


def test_pillow_sees_the_same_colours_and_mask() -> None:
    candidate = a_candidate()
    members = encode_candidate(candidate, "png").members
    assert np.array_equal(pillow(members["source.png"]), candidate.source)
    assert np.array_equal(pillow(members["removal.png"]), candidate.removal)
    assert np.array_equal(pillow(members["mask.png"]), candidate.mask)
    assert Image.open(io.BytesIO(members["mask.png"])).mode == "1"


def test_source_and_removal_share_codec_and_quality() -> None:
    members = encode_candidate(a_candidate(), "jpeg").members
    assert sorted(members) == ["json", "mask.png", "removal.jpg", "source.jpg"]
    source, removal = (Image.open(io.BytesIO(members[name])) for name in ("source.jpg", "removal.jpg"))
    assert isinstance(source, JpegImagePlugin.JpegImageFile)
    assert isinstance(removal, JpegImagePlugin.JpegImageFile)
    assert source.quantization == removal.quantization
    assert JpegImagePlugin.get_sampling(source) == JpegImagePlugin.get_sampling(removal) == 0  # 4:4:4
    assert np.abs(np.asarray(source).astype(int) - smooth()).mean() < 1.0


def test_candidates_and_pool_items_come_back() -> None:
    candidate = a_candidate()
    back = decode_candidate(encode_candidate(candidate, "png"))
    for name in Candidate.__dataclass_fields__:
        assert np.array_equal(getattr(candidate, name), getattr(back, name)), name
    item = PoolItem(
        key="k",
        scene="s",
        split="test",
        origin="o",
        class_name="Dog",
        source=candidate.source,
        mask=candidate.mask,
    )
    same = decode_pool_item(encode_pool_item(item, "png"))
    for name in PoolItem.__dataclass_fields__:
        assert np.array_equal(getattr(item, name), getattr(same, name)), name


@pytest.mark.parametrize(
    ("member", "data"),
    [("source.png", b"no image"), ("mask.png", b""), ("json", b"{"), ("source.png", None)],
)
def test_members_that_do_not_fit_are_named(member: str, data: bytes | None) -> None:
    encoded = encode_candidate(a_candidate(), "png")
    members = {name: value for name, value in {**encoded.members, member: data}.items() if value is not None}
    with pytest.raises(ShardError, match="sample key cannot be decoded"):
        decode_candidate(EncodedSample("key", members, "scene", "train"))
