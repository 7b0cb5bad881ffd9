"""What the page shows: the right pixels, the mask's outline, zoom, views, both themes, phone size, weight."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

PAGE = Path(__file__).parents[3] / "tasks" / "review" / "static"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def luminance(color: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = color.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.fixture
def review_page(page_server, open_page, request):
    return open_page(page_server.url, page_server.token(request.node.name))


def test_the_canvases_show_the_candidates_pixels(review_page, page_server) -> None:
    review_page.page.keyboard.press("o")
    candidate = page_server.candidates[review_page.candidate]
    for which, image in (("source", candidate.source), ("removal", candidate.removal)):
        shown = review_page.pixels(which).astype(np.float32)
        size = (shown.shape[1], shown.shape[0])
        enlarged = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        assert np.abs(shown - enlarged).mean() < 3, "cv2's cubic and the browser's differ a little"


def test_zoom_shows_the_masks_surroundings(review_page, page_server) -> None:
    review_page.page.keyboard.press("o")
    review_page.page.keyboard.press("ArrowUp")
    candidate = page_server.candidates[review_page.candidate]
    side = candidate.mask.shape[0]
    rows, columns = np.nonzero(candidate.mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
    share = min(1.0, max(0.4, 2.4 * max(box[2] - box[0], box[3] - box[1]) / side))
    corner = np.clip((box[:2] + box[2:] - share * side) / 2, 0, side - share * side)
    shown = review_page.pixels("source").astype(np.float32)
    scale = shown.shape[1] / (share * side)
    move = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]], np.float32)
    move[:, 2] += scale / 2 - 0.5
    size = (shown.shape[1], shown.shape[0])
    expected = cv2.warpAffine(
        candidate.source, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    assert np.abs(shown - expected.astype(np.float32)).mean() < 3
    stated = float(re.findall(r"shown at ([\d.]+)×", review_page.page.inner_text("#scale"))[0])
    assert stated == pytest.approx(scale, abs=0.06)


def test_the_outline_runs_along_the_masks_border(review_page, page_server) -> None:
    outlined = review_page.pixels("source").astype(np.int16)
    review_page.page.keyboard.press("o")
    plain = review_page.pixels("source").astype(np.int16)
    drawn = np.abs(outlined - plain).max(axis=2) > 30
    mask = page_server.candidates[review_page.candidate].mask
    side = drawn.shape[0]
    enlarged = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR) >= 0.5
    pixel = side / mask.shape[0]
    # Where the object leaves the image, the image's edge is its border.
    framed = cv2.copyMakeBorder(enlarged.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    border = cv2.morphologyEx(framed, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    off_border = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, 5)
    off_drawn = cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, 5)
    assert off_border[drawn].max() < 0.25 * pixel + 2
    assert off_drawn[border].max() < 0.25 * pixel + 2


def test_arrows_space_and_v_change_the_view(review_page) -> None:
    stage = review_page.page.locator("#stage")
    assert stage.get_attribute("data-view") == "pair"
    review_page.page.keyboard.press("ArrowLeft")
    assert (stage.get_attribute("data-view"), stage.get_attribute("data-showing")) == ("flicker", "source")
    assert not review_page.page.is_visible(".removal canvas")
    review_page.page.keyboard.press("ArrowRight")
    assert review_page.page.is_visible(".removal canvas")
    assert not review_page.page.is_visible(".source canvas")
    review_page.page.keyboard.press("Space")
    review_page.page.wait_for_selector("#stage[data-showing=source]")
    review_page.page.wait_for_selector("#stage[data-showing=removal]")
    review_page.page.keyboard.press("v")
    review_page.page.keyboard.press("v")
    assert stage.get_attribute("data-view") == "slider"
    review_page.page.keyboard.press("ArrowLeft")
    assert review_page.page.evaluate(
        "document.querySelector('.slider input').valueAsNumber"
    ) == pytest.approx(60)
    review_page.page.keyboard.press("?")
    assert review_page.page.is_visible("#guide-dialog")
    before = review_page.candidate
    review_page.page.keyboard.press("y")
    assert review_page.candidate == before, "keys rest while the guide is open"
    review_page.page.keyboard.press("Escape")
    assert review_page.page.is_hidden("#guide-dialog")
    assert review_page.complaints == []


def test_nothing_flickers_where_motion_is_unwelcome(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("still"), reduced_motion="reduce")
    review_page.page.click("button[value=flicker]")
    review_page.page.wait_for_timeout(750)
    assert review_page.page.get_attribute("#stage", "data-showing") == "removal"
    review_page.page.keyboard.press("v")
    review_page.page.keyboard.press("v")


def test_a_phone_reviews_by_touch(page_server, open_page) -> None:
    review_page = open_page(page_server.url, page_server.token("thumb"), **PHONE)
    page = review_page.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.get_attribute("#stage", "data-view") == "slider"
    canvas = page.locator(".removal canvas").bounding_box()
    assert canvas is not None
    assert canvas["width"] >= 360
    page.touchscreen.tap(canvas["x"] + 0.25 * canvas["width"], canvas["y"] + 0.5 * canvas["height"])
    assert page.evaluate("document.querySelector('.slider input').valueAsNumber") == pytest.approx(25, abs=4)
    for name in ("yes", "no", "skip", "undo"):
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None
        assert box["width"] >= 44, name
        assert box["height"] >= 36, name
        assert 0 <= box["x"] <= 390 - box["width"], name
        assert box["y"] + box["height"] <= 844, name
    first = review_page.candidate
    page.tap("#no")
    page.tap("#reasons button:nth-child(5)")
    page.wait_for_function("one => document.querySelector('#stage').dataset.candidate !== one", arg=first)
    second = review_page.ready().candidate
    page.tap("#yes")
    review_page.settled()
    assert page_server.answers("thumb") == {first: ("no", "effect left"), second: ("yes", "")}
    assert review_page.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_in_both_themes(theme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", (PAGE / "theme.css").read_text(), re.DOTALL)
    color = dict(re.findall(r"--([\w-]+): (#\w+)", light if theme == "light" else light + dark))
    pairs = [("ink", "ground"), ("ink", "paper"), ("soft", "ground"), ("soft", "paper"), ("no", "paper")]
    pairs += [
        ("no", "ground"),
        ("yes", "ground"),
        ("accent", "paper"),
        ("on-strong", "yes"),
        ("warn-ink", "warn"),
    ]
    for words, ground in pairs:
        assert contrast(color[words], color[ground]) >= 4.5, (words, ground)


def test_every_control_has_a_name_and_the_examples_a_description(review_page) -> None:
    nameless = review_page.page.evaluate(
        """[...document.querySelectorAll('button, a, input, canvas, img')].filter(one =>
            !(one.innerText || one.textContent || one.ariaLabel || one.alt || one.labels?.length)
        ).map(one => one.outerHTML)"""
    )
    assert nameless == []


def test_the_page_is_light_and_asks_no_other_place(page_server, open_page) -> None:
    review_page = open_page(page_server.url)
    sizes: dict[str, int] = {}
    places: set[str] = set()

    def note(response) -> None:
        places.add(response.url.split("/")[2])
        if "/images/" not in response.url and "/examples/" not in response.url:
            sizes[response.url] = len(response.body())

    review_page.page.on("response", note)
    review_page.page.reload()
    review_page.sign_in(page_server.token("thrifty"))
    assert places == {page_server.url.split("/")[2]}
    assert len(sizes) > 10
    assert sum(sizes.values()) <= 150_000
    assert sum(path.stat().st_size for path in (PAGE / "examples").iterdir()) <= 60_000
