"""Shards: encoding samples, writing tars exactly once, reading any sample by its offset."""

from tasks.shards.encode import (
    PictureFormat,
    decode_candidate,
    decode_pool_item,
    decode_triplet,
    encode_candidate,
    encode_pool_item,
    encode_triplet,
)
from tasks.shards.read import ShardReader
from tasks.shards.write import finished_shard, write_shard

__all__ = [
    "PictureFormat",
    "ShardReader",
    "decode_candidate",
    "decode_pool_item",
    "decode_triplet",
    "encode_candidate",
    "encode_pool_item",
    "encode_triplet",
    "finished_shard",
    "write_shard",
]
