"""Inviting people: a token is made, shown to whoever invites, and kept as a hash."""

import re
from datetime import UTC, datetime

from data_specs.errors import InputError
from tasks.review.tokens import hash_secret, new_secret
from tasks.storage.ledger import Ledger

_NAME = re.compile(r"[^\W_][\w.@-]{0,79}")


def invite(ledger: Ledger, name: str, *, replace: bool = False) -> str:
    """Adds a person, or gives one who is there another token.

    Args:
        ledger: Where people are known.
        name: Letters, digits and ``. _ @ -``, at most 80.
        replace: Whether the person is there already.

    Returns:
        The token; it cannot be had again.

    Raises:
        InputError: For a name that is none.
        LedgerError: When the person is there already, or is to be and is not.
    """
    if not _NAME.fullmatch(name):
        raise InputError(name, "a person's name has letters, digits and . _ @ -, 80 at most")
    token = new_secret()
    enter = ledger.replace_token if replace else ledger.add_person
    enter(name, hash_secret(token), datetime.now(UTC))
    return token
