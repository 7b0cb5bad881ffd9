"""Sessions: a token opens one, a cookie carries it, and every change proves that it comes from the page."""

import hmac
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from data_specs.person import Person
from tasks.review.errors import Refusal
from tasks.review.limits import RateLimits
from tasks.review.tokens import csrf_of, hash_secret, new_secret
from tasks.storage.ledger import Ledger

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
