"""Make and check the password of a workspace's Prefect server: a random file that only its owner reads.

A server at a known address may belong to another user who listened there first. Our server therefore proves
that it has the password before anybody sends it the password.
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
"""A server of ours answers a request with ``?nonce=…`` with ``proof(password, port, nonce)``."""
_PATIENCE_SECONDS = 5


def password_file(home: Path) -> Path:
    """The path of the password of the server with this Prefect home."""
    return home / "password"


def make_password(home: Path) -> str:
    """The password of this home, ``cleanplate:…``. A random one is made if there is none yet.

    Two processes at the same time get the same password. A killed one leaves no password or a complete one.

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
    """The password of this home. None if there is none yet.

    Raises:
        InputError: If others can read the file, or if it is empty.
    """
    file = password_file(home)
    try:
        with file.open() as opened:
            mode, password = os.fstat(opened.fileno()).st_mode, opened.read().strip()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise InputError(file, "other users can read it; delete it, and a new password is made")
    if not password:
        raise InputError(file, "is empty; delete it, and a new password is made")
    return password


def stated_password() -> str | None:
    """The password in Prefect's own settings. It takes precedence over a workspace's."""
    settings = get_current_settings()
    stated = settings.api.auth_string or settings.server.api.auth_string
    return stated.get_secret_value() if stated else None


def proof(password: str, port: int, nonce: str) -> str:
    """An answer that needs the password. With the port, one server cannot answer for another."""
    return hmac.new(password.encode(), f"{port}:{nonce}".encode(), hashlib.sha256).hexdigest()


def proves(api: str, password: str) -> bool:
    """Whether the server at this API (which ends in /api) has the password. The password is not sent."""
    place = urlsplit(api)
    nonce = secrets.token_hex(16)
    asked = f"{place.scheme}://{place.netloc}{PROOF_PATH}?nonce={nonce}"
    try:
        with urllib.request.urlopen(asked, timeout=_PATIENCE_SECONDS) as answer:
            answer_text = answer.read(100).decode(errors="replace").strip()
        return hmac.compare_digest(answer_text, proof(password, place.port or 0, nonce))
    except (OSError, ValueError, TypeError):
        return False


def password_for(api: str, home: Path) -> str | None:
    """The password for the server at this API: that of Prefect's settings, or else that of ``home``.

    None if neither belongs to that server.

    Raises:
        InputError: If others can read the password of ``home``.
    """
    stated = stated_password()
    if stated:
        return stated
    own = read_password(home)
    return own if own and proves(api, own) else None
