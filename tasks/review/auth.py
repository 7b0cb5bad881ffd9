"""Sign reviewers in: a token opens a session, a cookie carries it, and every change needs a CSRF proof."""

import hashlib
import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request
from starlette.responses import Response

from data_specs.errors import CleanplateError, InputError
from data_specs.review import Person
from tasks.storage.ledger import Ledger


class Refusal(CleanplateError):
    """The server refuses this request.

    Args:
        status: The HTTP status.
        sentence: The reason, and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


# Secrets: random, shown once, and stored as hashes only.


def new_secret() -> str:
    """256 random bits, as text that is safe in a URL and a cookie."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """SHA-256, 64 hexadecimal digits. Unlike for a password, this is enough: nobody can guess the secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_of(session: str) -> str:
    """The CSRF proof of a session. Only a page that can read the session's state knows it."""
    return hmac.new(session.encode(), b"cleanplate csrf", hashlib.sha256).hexdigest()[:40]


# Rate limits: how often one address may try to sign in, and how often one person may send requests.

SIGN_INS = "10 per minute"
"""For each address. Right tokens count too."""
REQUESTS = "1200 per minute"
"""For each person: 20 a second, without images."""


class RateLimits:
    """The counters of one server process. They are lost when it ends."""

    def __init__(self, sign_ins: str = SIGN_INS, requests: str = REQUESTS) -> None:
        self._sign_ins, self._requests = parse(sign_ins), parse(requests)
        self._counts = MovingWindowRateLimiter(MemoryStorage())

    def sign_in(self, address: str) -> None:
        """Count an attempt to sign in. Raises Refusal (429) after too many."""
        self._hit(self._sign_ins, "sign-in", address, "too many attempts to sign in; wait a minute")

    def request(self, person: str) -> None:
        """Count a person's request. Raises Refusal (429) after too many."""
        self._hit(self._requests, "request", person, "too many requests; wait a moment")

    def _hit(self, limit: RateLimitItem, kind: str, who: str, sentence: str) -> None:
        if not self._counts.hit(limit, kind, who):
            raise Refusal(429, sentence)


_COOKIE = "cleanplate_review"
CSRF_HEADER = "X-Cleanplate-CSRF"
LASTS = timedelta(hours=24)


class Sessions:
    """Knows who asks. The ledger holds hashes of tokens and cookies, never the tokens and cookies."""

    def __init__(self, ledger: Ledger, limits: RateLimits, secure: bool, prefix: str = "") -> None:
        """Make a session store.

        Args:
            ledger: The ledger of people and sessions.
            limits: The rate limits.
            secure: Whether the cookie is sent over TLS only.
            prefix: The path of the page and of its cookie, such as ``/review``. Empty for the root.
        """
        self._ledger = ledger
        self._limits = limits
        self._secure = secure
        self._path = prefix or "/"
        # Browsers accept a cookie with this prefix over TLS only. __Host- excludes the domain's other hosts.
        protected = "__Secure-" if prefix else "__Host-"
        self.cookie = f"{protected}{_COOKIE}" if secure else _COOKIE

    def sign_in(self, request: Request, response: Response, token: str) -> Person:
        """Open a session and set its cookie.

        Raises:
            Refusal: 401 for a wrong token, 403 for a disabled person or a forged form, 429 after too many
            attempts.
        """
        self._limits.sign_in(request.client.host if request.client else "")
        # A form on another site cannot set its own header.
        if CSRF_HEADER not in request.headers:
            raise Refusal(403, f"the request lacks the header {CSRF_HEADER}; use the review page itself")
        token_hash = hash_secret(token)
        person = _admitted(
            self._ledger.people.of_token(token_hash), "this token is unknown; check it for typing errors"
        )
        session, now = new_secret(), datetime.now(UTC)
        self._ledger.people.open_session(hash_secret(session), token_hash, now, now + LASTS)
        response.set_cookie(
            self.cookie,
            session,
            max_age=int(LASTS.total_seconds()),
            path=self._path,
            httponly=True,
            samesite="strict",
            secure=self._secure,
        )
        return person

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session, in the ledger and in the browser."""
        self._ledger.people.close_session(hash_secret(request.cookies.get(self.cookie, "")))
        response.delete_cookie(
            self.cookie, path=self._path, httponly=True, samesite="strict", secure=self._secure
        )

    def person(self, request: Request) -> Person:
        """The person who asks. A change needs the session's CSRF proof.

        Raises:
            Refusal: 401 without a session, 403 for a disabled person or a forged form.
        """
        session = request.cookies.get(self.cookie, "")
        session_person = (
            self._ledger.people.of_session(hash_secret(session), datetime.now(UTC)) if session else None
        )
        person = _admitted(session_person, "sign in with your token first")
        if request.method not in ("GET", "HEAD"):
            given = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(given.encode(), csrf_of(session).encode()):
                raise Refusal(403, "the request does not come from your open page; load the page again")
        return person

    def asking(self, request: Request) -> Person:
        """Like `person`, and count the request. Raises Refusal (429) after too many."""
        person = self.person(request)
        self._limits.request(person.name)
        return person


def _admitted(person: Person | None, otherwise: str) -> Person:
    if person is None:
        raise Refusal(401, otherwise)
    if person.excluded:
        raise Refusal(403, "your answers are not accepted at present; ask the person who gave you your token")
    return person


# Invitations: a token is made, shown to the person who invites, and stored as a hash.

_NAME = re.compile(r"[^\W_][\w.@-]{0,79}")


def invite(ledger: Ledger, name: str, *, replace: bool = False) -> str:
    """Add a person, or give an existing person a new token.

    Args:
        ledger: The ledger of people.
        name: Letters, digits and ``. _ @ -``, at most 80 characters.
        replace: Whether the person exists already.

    Returns:
        The token. It is shown only this once.

    Raises:
        InputError: If the name is invalid.
        LedgerError: If the person exists and ``replace`` is false, or does not exist and it is true.
    """
    if not _NAME.fullmatch(name):
        raise InputError(name, "a person's name has at most 80 letters, digits and . _ @ -")
    token = new_secret()
    enter = ledger.people.replace_token if replace else ledger.people.add
    enter(name, hash_secret(token), datetime.now(UTC))
    return token
