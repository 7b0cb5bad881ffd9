"""Rate limits: how often one address may try to sign in, and one person may ask."""

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from tasks.review.errors import Refusal

SIGN_INS = "10 per minute"
"""By one address; right tokens count too."""
REQUESTS = "1200 per minute"
"""By one person: 20 a second, pictures not counted."""


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
