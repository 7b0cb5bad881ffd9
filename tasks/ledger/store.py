"""The ledger as one object: each part in a file of its own, one database under all."""

from tasks.ledger.batches import BatchLedger
from tasks.ledger.counts import CountLedger
from tasks.ledger.draws import DrawLedger
from tasks.ledger.leases import LeaseLedger
from tasks.ledger.migrate import migrate, revision
from tasks.ledger.models import ModelLedger
from tasks.ledger.people import PeopleLedger
from tasks.ledger.phases import PhaseLedger
from tasks.ledger.rejects import RejectLedger
from tasks.ledger.reviews import ReviewLedger
from tasks.ledger.scenes import SceneLedger
from tasks.ledger.scores import ScoreLedger
from tasks.ledger.shards import ShardLedger
from tasks.ledger.spending import SpendingLedger
from tasks.ledger.versions import VersionLedger


class Ledger(
    ShardLedger,
    SceneLedger,
    RejectLedger,
    DrawLedger,
    ReviewLedger,
    PeopleLedger,
    BatchLedger,
    LeaseLedger,
    ScoreLedger,
    ModelLedger,
    PhaseLedger,
    SpendingLedger,
    CountLedger,
    VersionLedger,
):
    """Everything that is known. Every method may be repeated without harm."""

    def migrate(self) -> None:
        """Brings the schema up to date.

        Raises:
            LedgerError: When the database cannot be reached or is newer than this cleanplate.
        """
        with self._refusals("cannot be opened"):
            migrate(self._engine)

    @property
    def is_new(self) -> bool:
        """Whether not even a schema is in it."""
        with self._refusals("cannot be opened"):
            return revision(self._engine) is None


def open_ledger(url: str, keep_connections: bool = False) -> Ledger:
    """Opens a ledger, bringing its schema up to date; each process opens its own.

    Args:
        url: ``sqlite:///…`` or ``postgresql+psycopg://…``.
        keep_connections: For a server; such a ledger must not be taken into a forked child.

    Raises:
        LedgerError: When the database cannot be reached or is newer than this cleanplate.
    """
    ledger = Ledger(url, keep_connections)
    ledger.migrate()
    return ledger


def is_new_ledger(url: str) -> bool:
    """Whether there is no ledger at this address yet; a database that does not answer counts as none.

    Raises:
        LedgerError: When the database is damaged.
    """
    return Ledger(url).is_new
