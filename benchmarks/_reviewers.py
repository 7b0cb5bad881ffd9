"""Simulate people who answer over HTTP like the page.

They count an answer only after the server's acknowledgement.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field

import httpx

_LEASED = 5
_AGAIN_SECONDS = 0.1


@dataclass
class Told:
    """What the server acknowledged, and how long it took."""

    answers: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Event → (candidate, person, decision)."""
    milliseconds: list[float] = field(default_factory=list)
    """Of each answer that was acknowledged at the first request."""
    acknowledged_at: list[float] = field(default_factory=list)
    """When, by the monotonic clock that all processes share."""
    asked_again: int = 0
    """Requests repeated because the server was down or busy."""
    refused: list[str] = field(default_factory=list)
    """Refused answers with the server's message: their lease had passed to somebody else."""


class SimulatedPerson:
    """One browser: signs in, leases, thinks, answers, and repeats requests until the server answers."""

    def __init__(self, address: str, name: str, token: str, number: int, think_s: float, told: Told) -> None:
        """``number``: Decides its address; sign-ins are limited by address. ``think_s``: Mean, in seconds."""
        self._name, self._token, self._think_s, self._told = name, token, think_s, told
        origin = httpx.AsyncHTTPTransport(local_address=f"127.0.1.{number + 1}")
        self._client = httpx.AsyncClient(base_url=address, timeout=30, transport=origin)
        self._random = random.Random(name)
        self._csrf = "none yet"
        self._repeated = 0

    async def work(self) -> None:
        """Answer until nothing is left."""
        async with self._client:
            await self._sign_in()
            while True:
                items = (await self._post("/api/lease", {"count": _LEASED})).json()["items"]
                for item in items:
                    await self._answer(item)
                if not items:
                    state = (await self._ask("GET", "/api/state")).json()
                    if state["batch"]["left"] == 0:
                        return
                    await asyncio.sleep(self._think_s + _AGAIN_SECONDS)

    async def _answer(self, item: dict[str, str]) -> None:
        thought = self._random.expovariate(1 / self._think_s) if self._think_s else 0.0
        await asyncio.sleep(thought)
        decision = self._random.choices(("yes", "no", "skip"), (60, 36, 4))[0]
        reason = "seam" if decision == "no" else ""
        answer = {
            "lease": item["lease"],
            "decision": decision,
            "reason": reason,
            "seconds": thought,
            "page_version": "load",
        }
        repeated, began = self._repeated, time.perf_counter()
        heard = await self._post("/api/answer", answer)
        if heard.status_code != 200:
            self._told.refused.append(f"{heard.status_code}: {heard.text[:200]}")
            return
        if self._repeated == repeated:
            self._told.milliseconds.append(1000 * (time.perf_counter() - began))
            self._told.acknowledged_at.append(time.monotonic())
        self._told.answers[heard.json()["event"]] = (item["candidate"], self._name, decision)

    async def _sign_in(self) -> None:
        await self._ask("POST", "/api/session", {"token": self._token})
        self._csrf = (await self._ask("GET", "/api/state")).json()["csrf"]

    async def _post(self, path: str, body: dict[str, object]) -> httpx.Response:
        heard = await self._ask("POST", path, body)
        if heard.status_code in (401, 403):
            # A restarted server may have forgotten the session. The page signs in again too.
            await self._sign_in()
            heard = await self._ask("POST", path, body)
        return heard

    async def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """The server's answer, after as many requests as it takes."""
        while True:
            headers = {"X-Cleanplate-CSRF": self._csrf, "Origin": str(self._client.base_url).rstrip("/")}
            try:
                heard = await self._client.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                heard = None
            if heard is not None and heard.status_code not in (429, 502, 503):
                return heard
            self._repeated += 1
            self._told.asked_again += 1
            await asyncio.sleep(_AGAIN_SECONDS)
