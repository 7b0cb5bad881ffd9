"""Sessions: a token opens one, a cookie carries it, and every change proves that it comes from the page."""

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

from data_specs.errors import InputError
from data_specs.review import Person
from tasks.review.errors import Refusal
from tasks.storage.ledger import Ledger

# Secrets: drawn at random, shown once, kept as hashes only.


def new_secret() -> str:
    """256 random bits, in letters that a URL or a cookie can hold."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """SHA-256, 64 hexadecimal digits; enough for a secret that nobody can guess, unlike a password."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_of(session: str) -> str:
    """The form's proof of a session: only who may read the session's state knows it."""
    return hmac.new(session.encode(), b"cleanplate csrf", hashlib.sha256).hexdigest()[:40]


# Rate limits: how often one address may try to sign in, and one person may ask.

SIGN_INS = "10 per minute"
"""By one address; right tokens count too."""
REQUESTS = "1200 per minute"
"""By one person: 20 a second, images not counted."""


class RateLimits:
    """Counts of one server process, forgotten when it ends."""

    def __init__(self, sign_ins: str = SIGN_INS, requests: str = REQUESTS) -> None:
        self._sign_ins, self._requests = parse(sign_ins), parse(requests)
        self._counts = MovingWindowRateLimiter(MemoryStorage())

    def sign_in(self, address: str) -> None:
        """Counts an attempt to sign in; raises Refusal (429) when there were too many."""
        self._hit(self._sign_ins, "sign-in", address, "too many attempts to sign in; wait a minute")

    def request(self, person: str) -> None:
        """Counts a person's request; raises Refusal (429) when there were too many."""
        self._hit(self._requests, "request", person, "too many requests; wait a moment")

    def _hit(self, limit: RateLimitItem, kind: str, who: str, sentence: str) -> None:
        if not self._counts.hit(limit, kind, who):
            raise Refusal(429, sentence)


_COOKIE = "cleanplate_review"
CSRF_HEADER = "X-Cleanplate-CSRF"
LASTS = timedelta(hours=24)


class Sessions:
    """Who is asking. The ledger holds hashes of tokens and cookies, never these themselves."""

    def __init__(self, ledger: Ledger, limits: RateLimits, secure: bool, prefix: str = "") -> None:
        """Takes what is its own.

        Args:
            ledger: Where people and sessions are known.
            limits: How often somebody may try.
            secure: Whether the cookie is for TLS only.
            prefix: The path under which the page lies, and its cookie with it: ``/review``; empty for all.
        """
        self._ledger = ledger
        self._limits = limits
        self._secure = secure
        self._path = prefix or "/"
        # Browsers take a cookie of such a name by TLS alone, and __Host- from no other host of the domain.
        protected = "__Secure-" if prefix else "__Host-"
        self.cookie = f"{protected}{_COOKIE}" if secure else _COOKIE

    def sign_in(self, request: Request, response: Response, token: str) -> Person:
        """Opens a session and sets its cookie.

        Raises:
            Refusal: 401 for a wrong token, 403 for an excluded person or a forged form, 429 when
                tried too often.
        """
        self._limits.sign_in(request.client.host if request.client else "")
        # Another site's form cannot set a header of its own.
        if CSRF_HEADER not in request.headers:
            raise Refusal(403, f"the request lacks the header {CSRF_HEADER}; use the review page itself")
        token_hash = hash_secret(token)
        person = _admitted(
            self._ledger.person_of_token(token_hash), "this token is not known; look for a slip"
        )
        session, now = new_secret(), datetime.now(UTC)
        self._ledger.open_session(hash_secret(session), token_hash, now, now + LASTS)
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
        """Ends the session, here and in the browser."""
        self._ledger.close_session(hash_secret(request.cookies.get(self.cookie, "")))
        response.delete_cookie(
            self.cookie, path=self._path, httponly=True, samesite="strict", secure=self._secure
        )

    def person(self, request: Request) -> Person:
        """Who is asking; for a change, only with the session's proof.

        Raises:
            Refusal: 401 without a session, 403 for an excluded person or a forged form.
        """
        session = request.cookies.get(self.cookie, "")
        known = self._ledger.person_of_session(hash_secret(session), datetime.now(UTC)) if session else None
        person = _admitted(known, "sign in with your token first")
        if request.method not in ("GET", "HEAD"):
            given = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(given.encode(), csrf_of(session).encode()):
                raise Refusal(403, "the request does not come from your open page; load the page again")
        return person

    def asking(self, request: Request) -> Person:
        """As `person`, and counts the request; raises Refusal (429) when there were too many."""
        person = self.person(request)
        self._limits.request(person.name)
        return person


def _admitted(person: Person | None, otherwise: str) -> Person:
    if person is None:
        raise Refusal(401, otherwise)
    if person.excluded:
        raise Refusal(403, "your answers are not taken at present; ask whoever gave you your token")
    return person


# Inviting people: a token is made, shown to whoever invites, and kept as a hash.

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
