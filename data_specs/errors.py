"""Every error that cleanplate raises on purpose. Each message is one sentence that says what to do.

CleanplateError
├── InputError           an external file or setting is wrong (names the file and the fault)
├── ShardError           a shard or its index is missing, altered or incomplete
├── DiskFullError        there is no space left to write; finished work is kept
├── LedgerError          the ledger refused: a broken rule, an unknown version
│   ├── StoreLostError       its database is unreachable for now; the same work may succeed later
│   ├── UnknownKeyError      there is no such batch, lease, answer or candidate
│   ├── NotYoursError        another person's lease or answer
│   ├── LeaseFinishedError   the lease has another answer, or was undone
│   └── LeaseExpiredError    the lease has expired; the item is back in the queue
├── StoreError           the object store refuses, or holds other bytes than it was given
│   └── StoreSilentError     it does not answer for now; the same work may succeed later
├── ModelError           weights, a checkpoint or a registry name cannot be used
├── WorkerError          no worker is available, or a job ends every worker that takes it
└── FlowError            a round or cycle cannot continue (nothing to train on, no pool left)
"""


def first_fault(error: Exception) -> str:
    """The fault in one line. Of pydantic's many lines it gives location and message of the first error."""
    # Imported here, because --help also imports this module and must not wait for pydantic.
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "record"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


class CleanplateError(Exception):
    """Base of all errors. The command line prints it as one sentence and exits with 1."""


class InputError(CleanplateError):
    """Something from outside is wrong.

    Args:
        where: The faulty file, folder or setting.
        fault: What is wrong and, where it helps, what to do.
    """

    def __init__(self, where: object, fault: str) -> None:
        super().__init__(f"{where}: {fault}")
        self.where = str(where)
        self.fault = fault

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Make the error picklable between processes. An exception with two arguments is not, by default."""
        return type(self), (self.where, self.fault)


class ShardError(CleanplateError):
    """A shard or its index is missing, altered or incomplete."""


def first_line(error: BaseException) -> str:
    """The first line of a library's error: the rest is for its developers. Its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class DiskFullError(CleanplateError):
    """There is no space left to write.

    Args:
        where: The folder or database.
        cause: The system's message.
    """

    def __init__(self, where: object, cause: str) -> None:
        super().__init__(f"{where}: {cause}; free some space and start again, finished shards are not redone")
        self.where = str(where)
        self.cause = cause

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """See ``InputError``."""
        return type(self), (self.where, self.cause)


class LedgerError(CleanplateError):
    """The ledger refused."""


class StoreLostError(LedgerError):
    """The ledger's database is unreachable for now."""


class UnknownKeyError(LedgerError):
    """Nothing in the ledger has this key."""


class NotYoursError(LedgerError):
    """It belongs to another person."""


class LeaseFinishedError(LedgerError):
    """The lease has another answer, or its answer was undone."""


class LeaseExpiredError(LedgerError):
    """The lease has expired."""


class StoreError(CleanplateError):
    """The object store does not answer, refuses, or holds other bytes than it was given."""


class StoreSilentError(StoreError):
    """The object store does not answer for now."""


class ModelError(CleanplateError):
    """Weights, a checkpoint or a registry name cannot be used."""


class VersionError(CleanplateError):
    """A library is installed in a version whose private parts we have not tested."""


class WorkerError(CleanplateError):
    """No worker is available, or a job ends every worker that takes it."""


class FlowError(CleanplateError):
    """A round or cycle cannot continue."""
