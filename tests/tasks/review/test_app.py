"""The review server over its API: the work done on it, and everything it refuses."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from tasks.review.app import create_app
from tasks.review.auth import RateLimits, invite
from tasks.review.middleware import HEADERS, MAX_BODY_BYTES, PublicUrl
from tasks.storage.shards import encode_candidate, write_shard
from tasks.storage.workspace import Workspace

HOME = "http://127.0.0.1"
CSRF = "X-Cleanplate-CSRF"


class Page:
    """A browser's part: a client, its cookie, and the proof that the page adds."""

    def __init__(self, app: Any, token: str) -> None:
        self.client = TestClient(app, base_url=HOME, raise_server_exceptions=False)
        self.headers = {CSRF: ""}
        self.signed_in = self.post("session", token=token)
        self.headers = {CSRF: self.state().get("csrf", "")}

    def state(self) -> dict[str, Any]:
        return self.client.get("/api/state").json()

    def post(self, name: str, **body: Any) -> Any:
        return self.client.post(f"/api/{name}", json=body, headers=self.headers)

    def lease(self, count: int = 5) -> list[dict[str, Any]]:
        return self.post("lease", count=count).json()["items"]

    def answer(self, lease: str, decision: str = "yes", **more: Any) -> Any:
        body = {"reason": "", "seconds": 1.5, "page_version": "p", **more}
        return self.post("answer", lease=lease, decision=decision, **body)


def refused(response: Any, status: int, word: str) -> None:
    """One sentence with the right status, and every header all the same."""
    assert response.status_code == status, response.text
    assert word in response.json()["error"]
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS


@pytest.fixture
def app(asked: SimpleNamespace) -> Any:
    return create_app(asked.workspace)


@pytest.fixture
def ana(app: Any, asked: SimpleNamespace) -> Page:
    return Page(app, asked.ana)


@pytest.fixture
def ben(app: Any, asked: SimpleNamespace) -> Page:
    return Page(app, asked.ben)


def test_a_day_on_the_review_page(ana: Page, asked: SimpleNamespace) -> None:
    state = ana.state()
    assert state["person"] == "ana"
    assert state["batch"] == {"name": "b1", "left": 12, "answers": 0, "wanted": 12}
    items = ana.lease(3)
    assert ana.lease(3) == items, "a reload loses nothing"
    first, second, _ = items
    told = ana.answer(first["lease"]).json()
    assert (told["left"], told["mine"]["answers"]) == (11, 1)
    assert ana.answer(first["lease"]).json() == told, "a repeated answer has the same reply"
    event = ana.answer(second["lease"], "no", reason="seam").json()["event"]
    again = ana.post("undo", event=event).json()["item"]
    assert again["candidate"] == second["candidate"]
    assert again["lease"] != second["lease"]
    assert ana.answer(again["lease"], "skip").json()["left"] == 10
    decided = asked.ledger.reviews.decisions([first["candidate"], second["candidate"]])
    assert decided == {first["candidate"]: "yes", second["candidate"]: "skip"}
    assert ana.client.delete("/api/session", headers=ana.headers).status_code == 200
    refused(ana.client.get("/api/state"), 401, "sign in")


def test_an_item_says_what_its_images_show(ana: Page, asked: SimpleNamespace) -> None:
    for item in ana.lease(12):
        known = asked.candidates[item["candidate"]]
        assert (item["class_name"], item["width"], item["height"]) == ("sphere", 24, 16)
        x0, y0, x1, y1 = item["mask_box"]
        assert known.mask[y0:y1, x0:x1].all()
        assert known.mask.sum() == (y1 - y0) * (x1 - x0)
        for name, expected in (("source", known.source), ("removal", known.removal)):
            shown = ana.client.get(item["images"][name])
            assert shown.headers["content-type"] == "image/png"
            decoded = cv2.imdecode(np.frombuffer(shown.content, np.uint8), cv2.IMREAD_COLOR_RGB)
            np.testing.assert_array_equal(decoded, expected)
        mask = cv2.imdecode(
            np.frombuffer(ana.client.get(item["images"]["mask"]).content, np.uint8), cv2.IMREAD_GRAYSCALE
        )
        np.testing.assert_array_equal(mask == 255, known.mask)


def test_images_are_kept_by_the_browser(ana: Page) -> None:
    url = ana.lease(1)[0]["images"]["source"]
    first = ana.client.get(url)
    assert first.headers["cache-control"] == "private, max-age=31536000, immutable"
    again = ana.client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_two_people_never_have_the_same_item(ana: Page, ben: Page) -> None:
    mine, theirs = ({item["candidate"] for item in page.lease(8)} for page in (ana, ben))
    assert (len(mine), len(theirs), mine & theirs) == (8, 4, set())


def test_the_last_answer_tells_whoever_waits(asked: SimpleNamespace) -> None:
    told: list[str] = []
    page = Page(create_app(asked.workspace, when_complete=told.append), asked.ana)
    for item in page.lease(12):
        assert told == []
        page.answer(item["lease"])
    assert told == ["b1"]
    assert page.state()["batch"] == {"name": "", "left": 0, "answers": 0, "wanted": 0}
    assert page.lease() == []


def test_without_or_with_a_wrong_token(app: Any, asked: SimpleNamespace) -> None:
    client = TestClient(app, base_url=HOME)
    refused(client.get("/api/state"), 401, "sign in")
    refused(client.post("/api/lease", json={"count": 1}, headers={CSRF: "x"}), 401, "sign in")
    refused(client.get(f"/images/{next(iter(asked.candidates))}/source.png"), 401, "sign in")
    refused(client.post("/api/session", json={"token": "wrong"}, headers={CSRF: ""}), 401, "token is unknown")
    client.cookies.set("cleanplate_review", asked.ana)
    refused(client.get("/api/state"), 401, "sign in")


def test_secrets_are_hashed_at_rest(ana: Page, asked: SimpleNamespace) -> None:
    session = ana.client.cookies["cleanplate_review"]
    held = b"".join(path.read_bytes() for path in asked.workspace.root.glob("ledger.sqlite*"))
    assert b"ana" in held
    assert asked.ana.encode() not in held
    assert session.encode() not in held
    cookie = ana.signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    secure = TestClient(create_app(asked.workspace, secure=True), base_url="https://127.0.0.1")
    told = secure.post("/api/session", json={"token": asked.ana}, headers={CSRF: ""})
    assert "Secure" in told.headers["set-cookie"]


def test_a_replaced_token_and_an_exclusion_end_the_session(
    ana: Page, ben: Page, asked: SimpleNamespace
) -> None:
    invite(asked.ledger, "ana", replace=True)
    refused(ana.client.get("/api/state"), 401, "sign in")
    asked.ledger.people.disable("ben", "", datetime.now(UTC))
    refused(ben.client.get("/api/state"), 403, "not accepted")


def test_another_persons_lease_and_answer(ana: Page, ben: Page) -> None:
    (item,) = ana.lease(1)
    refused(ben.answer(item["lease"]), 403, "another person")
    event = ana.answer(item["lease"]).json()["event"]
    refused(ben.post("undo", event=event), 403, "another person")


def test_a_finished_lease(ana: Page, asked: SimpleNamespace) -> None:
    (item,) = ana.lease(1)
    event = ana.answer(item["lease"]).json()["event"]
    refused(ana.answer(item["lease"], "no"), 409, "has an answer already")
    ana.post("undo", event=event)
    refused(ana.answer(item["lease"]), 409, "has an answer already")
    assert asked.ledger.reviews.decisions([item["candidate"]]) == {}


def test_an_expired_lease(ana: Page, asked: SimpleNamespace) -> None:
    (item,) = ana.lease(1)
    # The lease's clock is the server's: a lease taken an hour ago, as the ledger would hold it.
    (old,) = asked.ledger.leases.lease("b1", "ben", 1, datetime.now(UTC) - timedelta(hours=1))
    ben = Page(create_app(asked.workspace), asked.ben)
    refused(ben.answer(old.lease), 410, "your time for this item is over")
    assert ana.answer(item["lease"]).status_code == 200


@pytest.mark.parametrize("proof", [None, "", "0" * 40])
def test_a_forged_form(ana: Page, asked: SimpleNamespace, proof: str | None) -> None:
    (item,) = ana.lease(1)
    body = {"lease": item["lease"], "decision": "yes", "seconds": 1}
    headers = {} if proof is None else {CSRF: proof}
    for path in ("answer", "lease", "undo"):
        assert ana.client.post(f"/api/{path}", json=body, headers=headers).status_code == 403
    assert ana.client.delete("/api/session", headers=headers).status_code == 403
    assert asked.ledger.reviews.all() == []


def test_a_form_on_another_site(ana: Page, app: Any, asked: SimpleNamespace) -> None:
    (item,) = ana.lease(1)
    body = {"lease": item["lease"], "decision": "yes", "seconds": 1}
    for origin in ("http://evil.example", "http://127.0.0.1:9", "null"):
        given = {**ana.headers, "Origin": origin}
        refused(ana.client.post("/api/answer", json=body, headers=given), 403, "another site")
    plain = TestClient(app, base_url=HOME).post("/api/session", json={"token": asked.ana})
    refused(plain, 403, CSRF)
    own = ana.client.post("/api/answer", json=body, headers={**ana.headers, "Origin": HOME})
    assert own.status_code == 200


def test_another_hosts_name(ana: Page) -> None:
    refused(ana.client.get("/", headers={"Host": "evil.example"}), 400, "does not have that name")
    refused(ana.client.get("/api/state", headers={"Host": "127.0.0.1.evil.example:80"}), 400, "name")
    assert ana.client.get("/", headers={"Host": "localhost:8080"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/images/../../ledger.sqlite/source.png",
        "/images/..%2f..%2fledger/source.png",
        "/images/%2e%2e/source.png",
        "/images/{known}/..%2f..%2fsource.png",
        "/images/{known}/ground_truth.png",
        "/images/00000000000000000000/source.png",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/static//etc/passwd",
    ],
)
def test_a_path_that_leads_elsewhere_or_nowhere(ana: Page, asked: SimpleNamespace, path: str) -> None:
    response = ana.client.get(path.format(known=next(iter(asked.candidates))))
    assert response.status_code in (400, 404)
    assert list(response.json()) == ["error"]


def test_a_candidate_nobody_is_asked_about(ana: Page, asked: SimpleNamespace) -> None:
    hidden = replace(next(iter(asked.candidates.values())), key="f" * 20)
    samples = [encode_candidate(hidden, "png")]
    write_shard(asked.workspace, stage="candidates", round=2, index=0, input_digest="hidden", samples=samples)
    refused(ana.client.get(f"/images/{hidden.key}/source.png"), 404, "no review batch asks")


def test_an_oversize_body(ana: Page) -> None:
    large = "x" * MAX_BODY_BYTES
    refused(ana.post("answer", lease="0" * 20, decision="yes", seconds=1, reason=large), 413, "larger")

    def stream():
        for _ in range(MAX_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    chunked = ana.client.post("/api/answer", content=stream(), headers=ana.headers)
    refused(chunked, 413, "larger")


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "maybe"},
        {"seconds": -1},
        {"seconds": "nan"},
        {"lease": "../../x"},
        {"reason": "because"},
        {"page_version": "v" * 33},
    ],
)
def test_a_malformed_answer(ana: Page, wrong: dict[str, Any]) -> None:
    (item,) = ana.lease(1)
    response = ana.post("answer", **{"lease": item["lease"], "decision": "no", "seconds": 1, **wrong})
    refused(response, 400, next(iter(wrong)))
    assert ana.state()["mine"]["answers"] == 0


def test_a_malformed_request(ana: Page) -> None:
    for body in (b"", b"{", b"[]"):
        assert ana.client.post("/api/answer", content=body, headers=ana.headers).status_code == 400
    refused(ana.post("lease", count=21), 400, "count")
    refused(ana.post("answer", lease="0" * 20, decision="yes", seconds=1), 404, "this lease does not exist")
    refused(ana.post("undo", event="0" * 20), 404, "this answer does not exist")
    refused(ana.client.get("/api/answer"), 405, "Method")


def test_too_many_tries(asked: SimpleNamespace) -> None:
    app = create_app(asked.workspace, limits=RateLimits(sign_ins="3 per minute", requests="5 per minute"))
    page = Page(app, asked.ana)
    for _ in range(2):
        assert page.post("session", token="wrong").status_code == 401
    refused(page.post("session", token=asked.ana), 429, "sign in")
    for _ in range(4):
        assert page.client.get("/api/state").status_code == 200
    refused(page.client.get("/api/state"), 429, "wait")


def test_the_page_is_served_under_its_version(ana: Page) -> None:
    index = ana.client.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: index.headers[name] for name in HEADERS} == HEADERS
    version = ana.state()["page_version"]
    kept = ana.client.get(f"/static/{version}/index.html")
    assert kept.headers["cache-control"].endswith("immutable")
    assert ana.client.get("/static/index.html").headers["cache-control"] == "no-cache"
    refused(ana.client.get("/static/000000000000/index.html"), 404, "no such image or file")


def test_quality_as_json_and_as_a_page(ana: Page, ben: Page, asked: SimpleNamespace) -> None:
    for item in ana.lease(6):
        ana.answer(item["lease"], "no", reason="blur")
    told = ana.client.get("/api/quality").json()
    assert told["batch"] == "b1"
    assert [(each["person"], each["no"]) for each in told["people"]] == [("ana", 6)]
    page = ana.client.get("/quality")
    assert page.text.startswith("<!doctype html>")
    assert "6 of 12 items have all their answers" in page.text
    assert "style=" not in page.text
    assert "<script" not in page.text
    (sheet,) = re.findall(r'href="(static/[^"]+css)"', page.text)
    assert ana.client.get(f"/{sheet}").headers["content-type"].startswith("text/css")
    refused(TestClient(create_app(asked.workspace), base_url=HOME).get("/quality"), 401, "sign in")


def test_there_is_nothing_to_review(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    page = Page(create_app(workspace), invite(workspace.ledger(), "ana"))
    assert page.state()["batch"]["name"] == ""
    assert page.lease() == []
    assert "no review batch yet" in page.client.get("/quality").text
    refused(page.client.get("/api/quality"), 404, "no review batch is open")


def test_a_proxy_may_leave_the_prefix_or_take_it_out(asked: SimpleNamespace) -> None:
    public = PublicUrl.parse("https://tools.example/review")
    app = create_app(
        asked.workspace, hosts=frozenset({"tools.example"}), secure=True, public_url=public
    )  # fmt: skip
    client = TestClient(app, base_url="https://tools.example", headers={"Origin": public.origin, CSRF: ""})
    told = client.post("/api/session", json={"token": asked.ana})
    assert "Path=/review;" in told.headers["set-cookie"]
    assert client.get("/review/api/state").json()["person"] == "ana"
    for prefix in ("", "/review"):
        page = client.get(f"{prefix}/").text
        for name in re.findall(r'(?:src|href)="([^"]+)"', page):
            assert not name.startswith("/"), "it would leave the prefix"
            assert client.get(f"{prefix}/{name}").status_code in (200, 401), name
    refused(client.get("/reviewers/"), 404, "Not Found")
    assert client.get("/review/api/state/", follow_redirects=False).status_code == 404, "no redirect to http"
