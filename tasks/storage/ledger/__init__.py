"""Record what every shard holds, all decisions, each champion and the current version, in one database."""

from tasks.storage.ledger.ledger import Ledger, is_new_ledger, open_ledger

__all__ = ["Ledger", "is_new_ledger", "open_ledger"]
