"""Keep a workspace's files permanently, in a local folder or in a bucket behind a cache."""

from tasks.storage.object_store.address import store_of, stored_at, working_folder
from tasks.storage.object_store.store import Held, Store

__all__ = ["Held", "Store", "store_of", "stored_at", "working_folder"]
