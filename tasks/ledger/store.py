"""The ledger as one object: each part in a file of its own, one database under all."""

from sqlalchemy.exc import SQLAlchemyError

from tasks.ledger.batches import BatchLedger
from tasks.ledger.counts import CountLedger
from tasks.ledger.draws import DrawLedger
from tasks.ledger.leases import LeaseLedger
from tasks.ledger.migrate import migrate
from tasks.ledger.models import ModelLedger
from tasks.ledger.people import PeopleLedger
from tasks.ledger.phases import PhaseLedger
from tasks.ledger.refusals import refusal
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
        try:
            migrate(self._engine)
        except SQLAlchemyError as error:
            where = self._engine.url.render_as_string(hide_password=True)
            raise refusal(error, where, "cannot be opened") from error


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
