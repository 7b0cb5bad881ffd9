"""Every error cleanplate raises on purpose; each message is one sentence that says what to do.

CleanplateError
├── InputError           a file or setting from outside is wrong (names the file and the fault)
├── ShardError           a shard or its index is missing, altered or half-written
├── DiskFullError        no space where something was to be written; what is done is kept
├── LedgerError          the ledger refused: a broken rule, an unknown version
│   ├── StoreLostError       its database cannot be reached for now; the same work may succeed later
│   ├── UnknownKeyError      no such batch, lease, answer or candidate
│   ├── NotYoursError        another person's lease or answer
│   ├── LeaseFinishedError   the lease was answered otherwise, or undone
│   └── LeaseExpiredError    the lease has run out; the item is back in the queue
├── StoreError           the object store refuses, or holds other bytes than it was given
│   └── StoreSilentError     it does not answer for now; the same work may succeed later
├── ModelError           weights, a checkpoint or a registry name cannot be used
├── WorkerError          no worker can be had, or a piece of work ends whoever takes it
└── FlowError            a round or cycle cannot go on (nothing to train on, no pool left)
"""


def first_fault(error: Exception) -> str:
    """In one line, what is wrong; of pydantic's many lines where and what, of the first thing."""
    # Imported here: --help, which knows these errors too, need not wait for it.
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "record"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


class CleanplateError(Exception):
    """Base of all; the command line prints it as one sentence and exits with 1."""


class InputError(CleanplateError):
    """Something given from outside is wrong.

    Args:
        where: The file, folder or setting at fault.
        fault: What is wrong and, where it helps, what to do.
    """

    def __init__(self, where: object, fault: str) -> None:
        super().__init__(f"{where}: {fault}")
        self.where = str(where)
        self.fault = fault

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Lets it travel from one process to another, which an exception of two arguments does not."""
        return type(self), (self.where, self.fault)


class ShardError(CleanplateError):
    """A shard or its index is missing, altered or half-written."""


class DiskFullError(CleanplateError):
    """No space is left where something was to be written.

    Args:
        where: The folder or database.
        cause: What the system said.
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
    """The ledger's database cannot be reached for now."""


class UnknownKeyError(LedgerError):
    """Nothing in the ledger has this key."""


class NotYoursError(LedgerError):
    """It belongs to another person."""


class LeaseFinishedError(LedgerError):
    """The lease was answered otherwise, or its answer undone."""


class LeaseExpiredError(LedgerError):
    """The lease has run out."""


class StoreError(CleanplateError):
    """The object store does not answer, refuses, or holds other bytes than it was given."""


class StoreSilentError(StoreError):
    """The object store does not answer for now."""


class ModelError(CleanplateError):
    """Weights, a checkpoint or a registry name cannot be used."""


class WorkerError(CleanplateError):
    """No worker can be had, or a piece of work ends whoever takes it."""


class FlowError(CleanplateError):
    """A round or cycle cannot go on."""
