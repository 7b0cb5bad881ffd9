"""Secrets: drawn at random, shown once, kept as hashes only."""

import hashlib
import hmac
import secrets


def new_secret() -> str:
    """256 random bits, in letters that a URL or a cookie can hold."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """SHA-256, 64 hexadecimal digits; enough for a secret that nobody can guess, unlike a password."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_of(session: str) -> str:
    """The form's proof of a session: only who may read the session's state knows it."""
    return hmac.new(session.encode(), b"cleanplate csrf", hashlib.sha256).hexdigest()[:40]
