"""The page in a real Chromium against the real server: an annotator's whole day in small."""

from collections import Counter

REASONS = ("left-over", "hallucination", "blur", "seam", "effect left")

FIFTY = [("y",), ("n", "1"), ("2",), ("s",), ("n", "5"), ("y",), ("3",), ("y",), ("n", "4"), ("y",)] * 5
"""Keys of fifty answers: NO with its question, and NO by the reason's number alone."""


def expected(keys: tuple[str, ...]) -> tuple[str, str]:
    """Decision and reason that keys stand for."""
    last = keys[-1]
    return ("no", REASONS[int(last) - 1]) if last.isdigit() else ({"y": "yes", "s": "skip"}[last], "")


def test_sign_in_refuses_a_wrong_token_and_takes_the_right_one(page_server, open_page) -> None:
    review_page = open_page(page_server.url)
    review_page.page.wait_for_selector("#guide:visible")
    review_page.page.fill("#token", "wrong")
    review_page.page.keyboard.press("Enter")
    review_page.page.wait_for_selector("#trouble:visible")
    assert review_page.page.is_hidden("#review")
    review_page.sign_in(page_server.token("first"))
    assert review_page.page.is_hidden("#trouble")
    assert review_page.page.inner_text("#person") == "first"
    assert review_page.candidate in page_server.candidates
    cookies = review_page.page.context.cookies()
    assert cookies
    assert all(cookie.get("httpOnly") for cookie in cookies)
    review_page.page.click("#sign-out")
    review_page.page.wait_for_selector("#token:visible")
    assert review_page.complaints == []


def test_fifty_answers_by_key_alone_an_undo_and_a_reload(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("quick"))
    answered: dict[str, tuple[str, str]] = {}
    for number, keys in enumerate(FIFTY):
        answered[review_page.press(*keys)] = expected(keys)
        if number == 24:
            review_page.settled()
            candidate = review_page.candidate
            review_page.page.reload()
            review_page.ready()
            assert review_page.candidate == candidate, "a reload goes on with the same candidate"
            assert review_page.figure("answers") == 25
    review_page.settled()
    assert review_page.figure("answers") == 50
    assert page_server.answers("quick") == answered

    last, waiting = list(answered)[-1], review_page.candidate
    review_page.page.reload()
    review_page.ready()
    review_page.page.keyboard.press("u")
    review_page.said("Undone")
    review_page.ready()  # its images may have to be fetched again first
    assert review_page.candidate == last
    review_page.press("2")
    review_page.settled()
    assert review_page.candidate == waiting, "what was on screen comes after the undone one"
    assert page_server.answers("quick") == {**answered, last: ("no", "hallucination")}
    assert review_page.complaints == []


def test_two_people_at_once_never_get_the_same_candidate(page_server, open_page) -> None:
    review_pages = [open_page(page_server.url, page_server.token(name)) for name in ("ada", "ben")]
    seen = Counter(review_page.press("y") for _ in range(8) for review_page in review_pages)
    assert len(seen) == 16
    for review_page in review_pages:
        review_page.settled()
    assert not set(page_server.answers("ada")) & set(page_server.answers("ben"))


def test_a_key_held_down_is_one_answer(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("heavy-handed"))
    before = review_page.candidate
    for _ in range(5):
        review_page.page.keyboard.down("y")
    review_page.page.keyboard.up("y")
    review_page.settled()
    assert page_server.answers("heavy-handed") == {before: ("yes", "")}


def test_a_lost_network_loses_nothing_even_over_a_reload(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("far-away"))
    review_page.page.context.set_offline(True)
    answered = {review_page.press("y"): ("yes", ""), review_page.press("3"): ("no", "blur")}
    review_page.page.wait_for_selector("#trouble:visible")
    assert "2 answers are not sent yet" in review_page.page.inner_text("#trouble")
    assert review_page.figure("unsent-count") == 2
    review_page.page.keyboard.press("u")
    review_page.said("not sent yet")
    # The network is back, but no answer comes through yet.
    review_page.page.route("**/api/answer", lambda route: route.abort())
    review_page.page.context.set_offline(False)
    review_page.page.reload()
    review_page.ready()
    assert review_page.figure("unsent-count") == 2
    assert review_page.candidate not in answered
    assert page_server.answers("far-away") == {}
    review_page.page.unroute("**/api/answer")
    review_page.settled()
    assert review_page.page.is_hidden("#trouble")
    assert page_server.answers("far-away") == answered


def test_a_server_that_was_away_gets_what_it_missed_without_a_reload(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("patient"))
    review_page.page.route("**/api/answer", lambda route: route.abort())
    answered = {review_page.press("1"): ("no", "left-over")}
    review_page.page.wait_for_selector("#trouble:visible")
    review_page.page.unroute("**/api/answer")
    review_page.settled()
    assert page_server.answers("patient") == answered


def test_an_answer_whose_acknowledgement_was_lost_is_one_answer(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("unlucky"))

    def swallow(route) -> None:
        route.fetch()
        route.abort()

    review_page.page.route("**/api/answer", swallow, times=1)
    answered = {review_page.press("y"): ("yes", "")}
    review_page.settled()
    assert page_server.answers("unlucky") == answered
    assert review_page.figure("answers") == 1


def test_a_lease_that_ran_out_costs_no_answer(short_lease_server, open_page) -> None:
    review_page = open_page(short_lease_server.url, short_lease_server.token("slow"))
    context = review_page.page.context
    context.set_offline(True)
    candidate = review_page.press("4")
    review_page.page.wait_for_timeout(10_500)
    context.set_offline(False)
    review_page.settled()
    assert short_lease_server.answers("slow") == {candidate: ("no", "seam")}


def test_gold_items_look_like_any_other(page_server, open_page) -> None:
    review_page = open_page(page_server.url)
    given: dict[str, set[str]] = {}
    review_page.page.on("response", lambda response: note(response) if "/api/lease" in response.url else None)

    def note(response) -> None:
        given.update({item["candidate"]: set(item) for item in response.json()["items"]})

    review_page.sign_in(page_server.token("golden"))
    ledger = page_server.workspace.ledger()
    gold = {item.candidate for item in ledger.batches.items(page_server.batch) if item.gold}
    before = ledger.batches.counts(page_server.batch).gold_answers
    while not gold & set(page_server.answers("golden")):
        review_page.press("y")
        review_page.settled()
    assert ledger.batches.counts(page_server.batch).gold_answers == before + 1
    assert len({frozenset(keys) for keys in given.values()}) == 1
    assert review_page.figure("answers") == len(page_server.answers("golden"))
