"""Encode samples, write them to tars exactly once, and read any sample by its offset."""

from data_specs.shard import ImageFormat
from tasks.storage.shards.candidates import (
    as_grown,
    decode_candidate,
    decode_candidates,
    encode_candidate,
    source_members,
)
from tasks.storage.shards.codecs import (
    decode_composite,
    decode_cutout,
    decode_plate,
    decode_pool_item,
    decode_triplet,
    encode_composite,
    encode_cutout,
    encode_plate,
    encode_pool_item,
    encode_triplet,
    origin_in,
    shadow_class_in,
)
from tasks.storage.shards.reader import ShardReader, candidate_items
from tasks.storage.shards.refused import decode_refused, encode_refused
from tasks.storage.shards.writer import finished_shard, write_shard

__all__ = [
    "ImageFormat",
    "ShardReader",
    "as_grown",
    "candidate_items",
    "decode_candidate",
    "decode_candidates",
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
    "origin_in",
    "shadow_class_in",
    "source_members",
    "write_shard",
]
