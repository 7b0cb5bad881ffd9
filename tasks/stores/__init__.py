"""Stores: where a workspace's files are kept for good, a local folder or a bucket behind a cache."""

from tasks.stores.address import store_of, stored_at, working_folder
from tasks.stores.protocol import Held, Store

__all__ = ["Held", "Store", "store_of", "stored_at", "working_folder"]
