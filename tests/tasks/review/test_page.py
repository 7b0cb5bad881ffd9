"""The page in a real Chromium against the real server: an annotator's whole day in small."""

from collections import Counter

REASONS = ("left-over", "hallucination", "blur", "seam", "effect left")

FIFTY = [("y",), ("n", "1"), ("2",), ("s",), ("n", "5"), ("y",), ("3",), ("y",), ("n", "4"), ("y",)] * 5
"""Keys of fifty answers: NO with its question, and NO by the reason's number alone."""


def expected(keys: tuple[str, ...]) -> tuple[str, str]:
    """Decision and reason that keys stand for."""
    last = keys[-1]
    return ("no", REASONS[int(last) - 1]) if last.isdigit() else ({"y": "yes", "s": "skip"}[last], "")


def test_sign_in_refuses_a_wrong_token_and_takes_the_right_one(page_server, open_desk) -> None:
    desk = open_desk(page_server.url)
    desk.page.wait_for_selector("#guide:visible")
    desk.page.fill("#token", "wrong")
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_selector("#trouble:visible")
    assert desk.page.is_hidden("#review")
    desk.sign_in(page_server.token("first"))
    assert desk.page.is_hidden("#trouble")
    assert desk.page.inner_text("#person") == "first"
    assert desk.candidate in page_server.candidates
    cookies = desk.page.context.cookies()
    assert cookies
    assert all(cookie.get("httpOnly") for cookie in cookies)
    desk.page.click("#sign-out")
    desk.page.wait_for_selector("#token:visible")
    assert desk.complaints == []


def test_fifty_answers_by_key_alone_an_undo_and_a_reload(page_server, open_desk) -> None:
    desk = open_desk(page_server.url, page_server.token("quick"))
    answered: dict[str, tuple[str, str]] = {}
    for number, keys in enumerate(FIFTY):
        answered[desk.press(*keys)] = expected(keys)
        if number == 24:
            desk.settled()
            candidate = desk.candidate
            desk.page.reload()
            desk.ready()
            assert desk.candidate == candidate, "a reload goes on with the same candidate"
            assert desk.figure("answers") == 25
    desk.settled()
    assert desk.figure("answers") == 50
    assert page_server.answers("quick") == answered

    last, waiting = list(answered)[-1], desk.candidate
    desk.page.reload()
    desk.ready()
    desk.page.keyboard.press("u")
    desk.said("Undone")
    desk.ready()  # its images may have to be fetched again first
    assert desk.candidate == last
    desk.press("2")
    desk.settled()
    assert desk.candidate == waiting, "what was on screen comes after the undone one"
    assert page_server.answers("quick") == {**answered, last: ("no", "hallucination")}
    assert desk.complaints == []


def test_two_people_at_once_never_get_the_same_candidate(page_server, open_desk) -> None:
    desks = [open_desk(page_server.url, page_server.token(name)) for name in ("ada", "ben")]
    seen = Counter(desk.press("y") for _ in range(8) for desk in desks)
    assert len(seen) == 16
    for desk in desks:
        desk.settled()
    assert not set(page_server.answers("ada")) & set(page_server.answers("ben"))


def test_a_key_held_down_is_one_answer(page_server, open_desk) -> None:
    desk = open_desk(page_server.url, page_server.token("heavy-handed"))
    before = desk.candidate
    for _ in range(5):
        desk.page.keyboard.down("y")
    desk.page.keyboard.up("y")
    desk.settled()
    assert page_server.answers("heavy-handed") == {before: ("yes", "")}


def test_a_lost_network_loses_nothing_even_over_a_reload(page_server, open_desk) -> None:
    desk = open_desk(page_server.url, page_server.token("far-away"))
    desk.page.context.set_offline(True)
    answered = {desk.press("y"): ("yes", ""), desk.press("3"): ("no", "blur")}
    desk.page.wait_for_selector("#trouble:visible")
    assert "2 answers are not sent yet" in desk.page.inner_text("#trouble")
    assert desk.figure("unsent-count") == 2
    desk.page.keyboard.press("u")
    desk.said("not sent yet")
    # The network is back, but no answer comes through yet.
    desk.page.route("**/api/answer", lambda route: route.abort())
    desk.page.context.set_offline(False)
    desk.page.reload()
    desk.ready()
    assert desk.figure("unsent-count") == 2
    assert desk.candidate not in answered
    assert page_server.answers("far-away") == {}
    desk.page.unroute("**/api/answer")
    desk.settled()
    assert desk.page.is_hidden("#trouble")
    assert page_server.answers("far-away") == answered


def test_a_server_that_was_away_gets_what_it_missed_without_a_reload(page_server, open_desk) -> None:
    desk = open_desk(page_server.url, page_server.token("patient"))
    desk.page.route("**/api/answer", lambda route: route.abort())
    answered = {desk.press("1"): ("no", "left-over")}
    desk.page.wait_for_selector("#trouble:visible")
    desk.page.unroute("**/api/answer")
    desk.settled()
    assert page_server.answers("patient") == answered


def test_an_answer_whose_acknowledgement_was_lost_is_one_answer(page_server, open_desk) -> None:
    desk = open_desk(page_server.url, page_server.token("unlucky"))

    def swallow(route) -> None:
        route.fetch()
        route.abort()

    desk.page.route("**/api/answer", swallow, times=1)
    answered = {desk.press("y"): ("yes", "")}
    desk.settled()
    assert page_server.answers("unlucky") == answered
    assert desk.figure("answers") == 1


def test_a_lease_that_ran_out_costs_no_answer(short_lease_server, open_desk) -> None:
    desk = open_desk(short_lease_server.url, short_lease_server.token("slow"))
    context = desk.page.context
    context.set_offline(True)
    candidate = desk.press("4")
    desk.page.wait_for_timeout(10_500)
    context.set_offline(False)
    desk.settled()
    assert short_lease_server.answers("slow") == {candidate: ("no", "seam")}


def test_gold_items_look_like_any_other(page_server, open_desk) -> None:
    desk = open_desk(page_server.url)
    given: dict[str, set[str]] = {}
    desk.page.on("response", lambda response: note(response) if "/api/lease" in response.url else None)

    def note(response) -> None:
        given.update({item["candidate"]: set(item) for item in response.json()["items"]})

    desk.sign_in(page_server.token("golden"))
    ledger = page_server.workspace.ledger()
    gold = {item.candidate for item in ledger.batches.items(page_server.batch) if item.gold}
    before = ledger.batches.counts(page_server.batch).gold_answers
    while not gold & set(page_server.answers("golden")):
        desk.press("y")
        desk.settled()
    assert ledger.batches.counts(page_server.batch).gold_answers == before + 1
    assert len({frozenset(keys) for keys in given.values()}) == 1
    assert desk.figure("answers") == len(page_server.answers("golden"))
