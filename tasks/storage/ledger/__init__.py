"""The ledger: what every shard holds, who judged what, which model leads, which version is current."""

from tasks.storage.ledger.ledger import Ledger, is_new_ledger, open_ledger

__all__ = ["Ledger", "is_new_ledger", "open_ledger"]
