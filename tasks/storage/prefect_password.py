"""The password of a workspace's own Prefect server: a random file that only its owner can read.

A server at a known address may be anybody's: another user can listen there first. So our server proves that
it has the password before anybody sends it the password.
"""

import hashlib
import hmac
import os
import secrets
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from prefect.settings import get_current_settings

from data_specs.errors import InputError
from tasks.storage.atomic_files import aside_path, publish_if_absent, sweep_asides, sync_file

PROOF_PATH = "/cleanplate-proof"
"""Asked with ``?nonce=…``, a server of ours answers ``proof(password, port, nonce)``."""
_PATIENCE_SECONDS = 5


def password_file(home: Path) -> Path:
    """Where the password of the server with this Prefect home lies."""
    return home / "password"


def make_password(home: Path) -> str:
    """The password of this home, ``cleanplate:…``; drawn at random where there is none yet.

    Two that draw at the same time get the same one, and a killed one leaves none or a whole one.

    Raises:
        InputError: If others can read the file.
    """
    home.mkdir(parents=True, exist_ok=True)
    file = password_file(home)
    if not file.exists():
        sweep_asides(home)
        aside = aside_path(file)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as output:
                output.write(f"cleanplate:{secrets.token_urlsafe(32)}\n")
                output.flush()
                sync_file(output.fileno())
            publish_if_absent(aside, file)
        finally:
            aside.unlink(missing_ok=True)
    password = read_password(home)
    assert password is not None, "it was there or was made"
    return password


def read_password(home: Path) -> str | None:
    """The password of this home; None where none was drawn.

    Raises:
        InputError: If others can read the file, or nothing is in it.
    """
    file = password_file(home)
    try:
        with file.open() as opened:
            mode, password = os.fstat(opened.fileno()).st_mode, opened.read().strip()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise InputError(file, "others can read it; delete it and a new password is made")
    if not password:
        raise InputError(file, "is empty; delete it and a new password is made")
    return password


def stated_password() -> str | None:
    """The password that Prefect's own settings state; it goes before a workspace's."""
    settings = get_current_settings()
    stated = settings.api.auth_string or settings.server.api.auth_string
    return stated.get_secret_value() if stated else None


def proof(password: str, port: int, nonce: str) -> str:
    """What only who has the password can answer; the port keeps one server from answering for another."""
    return hmac.new(password.encode(), f"{port}:{nonce}".encode(), hashlib.sha256).hexdigest()


def proves(api: str, password: str) -> bool:
    """Whether the server at this API (which ends in /api) has the password; it is not sent."""
    place = urlsplit(api)
    nonce = secrets.token_hex(16)
    asked = f"{place.scheme}://{place.netloc}{PROOF_PATH}?nonce={nonce}"
    try:
        with urllib.request.urlopen(asked, timeout=_PATIENCE_SECONDS) as answer:
            told = answer.read(100).decode(errors="replace").strip()
        return hmac.compare_digest(told, proof(password, place.port or 0, nonce))
    except (OSError, ValueError, TypeError):
        return False


def password_for(api: str, home: Path) -> str | None:
    """What to show the server at this API: what Prefect's settings say, else the password of ``home``.

    None where neither is for that server.

    Raises:
        InputError: If others can read the password of ``home``.
    """
    stated = stated_password()
    if stated:
        return stated
    own = read_password(home)
    return own if own and proves(api, own) else None
