"""Shards: encoding samples, writing tars exactly once, reading any sample by its offset."""

from tasks.storage.shards.codecs import PictureFormat
from tasks.storage.shards.encode import (
    decode_candidate,
    decode_pool_item,
    decode_triplet,
    encode_candidate,
    encode_pool_item,
    encode_triplet,
)
from tasks.storage.shards.encode_compose import (
    decode_composite,
    decode_cutout,
    decode_plate,
    encode_composite,
    encode_cutout,
    encode_plate,
    shadow_class_in,
)
from tasks.storage.shards.encode_refused import decode_refused, encode_refused
from tasks.storage.shards.reader import ShardReader
from tasks.storage.shards.writer import finished_shard, write_shard

__all__ = [
    "PictureFormat",
    "ShardReader",
    "decode_candidate",
    "decode_composite",
    "decode_cutout",
    "decode_plate",
    "decode_pool_item",
    "decode_refused",
    "decode_triplet",
    "encode_candidate",
    "encode_composite",
    "encode_cutout",
    "encode_plate",
    "encode_pool_item",
    "encode_refused",
    "encode_triplet",
    "finished_shard",
    "shadow_class_in",
    "write_shard",
]
