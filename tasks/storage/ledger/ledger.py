"""Use the ledger as one object. Each part has its own file; all share one database."""

from tasks.storage.ledger.batches import BatchLedger
from tasks.storage.ledger.counts import CountLedger
from tasks.storage.ledger.database import Database, migrate, revision
from tasks.storage.ledger.draws import DrawLedger
from tasks.storage.ledger.leases import LeaseLedger
from tasks.storage.ledger.models import ModelLedger
from tasks.storage.ledger.people import PeopleLedger
from tasks.storage.ledger.rejects import RejectLedger
from tasks.storage.ledger.results import CostLedger, ResultLedger
from tasks.storage.ledger.reviews import ReviewLedger, ScoreLedger
from tasks.storage.ledger.scenes import SceneLedger
from tasks.storage.ledger.shards import ShardLedger
from tasks.storage.ledger.versions import VersionLedger


class Ledger:
    """Everything that is known, by subject. Repeating any event is harmless."""

    def __init__(self, url: str, keep_connections: bool = False) -> None:
        database = Database(url, keep_connections)
        self._database = database
        self.shards = ShardLedger(database)
        self.rejects = RejectLedger(database)
        self.draws = DrawLedger(database)
        self.scenes = SceneLedger(database)
        self.reviews = ReviewLedger(database)
        self.scores = ScoreLedger(database)
        self.people = PeopleLedger(database)
        self.batches = BatchLedger(database)
        self.leases = LeaseLedger(database)
        self.models = ModelLedger(database)
        self.versions = VersionLedger(database)
        self.results = ResultLedger(database)
        self.costs = CostLedger(database)
        self.counts = CountLedger(database)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.url,)

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database."""
        return self._database.url

    def migrate(self) -> None:
        """Upgrade the schema to the newest one.

        Raises:
            LedgerError: If the database cannot be reached or is newer than this cleanplate.
        """
        with self._database.refusals("cannot be opened"):
            migrate(self._database.engine)

    @property
    def is_new(self) -> bool:
        """Whether the database does not even have a schema."""
        with self._database.refusals("cannot be opened"):
            return revision(self._database.engine) is None


def open_ledger(url: str, keep_connections: bool = False) -> Ledger:
    """Open a ledger and upgrade its schema. Each process opens its own.

    Args:
        url: ``sqlite:///…`` or ``postgresql+psycopg://…``.
        keep_connections: For a server. Such a ledger must not be used in a forked child.

    Raises:
        LedgerError: If the database cannot be reached or is newer than this cleanplate.
    """
    ledger = Ledger(url, keep_connections)
    ledger.migrate()
    return ledger


def is_new_ledger(url: str) -> bool:
    """Whether there is no ledger at this address yet. A database that does not answer counts as no ledger.

    Raises:
        LedgerError: If the database is damaged.
    """
    return Ledger(url).is_new
