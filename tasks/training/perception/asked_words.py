"""What a training picture is asked for: phrases, some of which nothing in it answers, and what answers."""

from collections.abc import Sequence

import numpy as np

from tasks.objectclear.train_image_encoder import HUES
from tasks.training.perception.samples import CLASSES, PERSON, SeenObject

SYNONYMS = {"box": ("box", "cube"), "sphere": ("sphere", "ball")}
"""Two words for the same shape."""
VOCABULARY = tuple(sorted({*HUES, *CLASSES, *(word for words in SYNONYMS.values() for word in words)}))
"""All words there are."""
WITHHELD = frozenset({("red", "cone"), ("green", "box"), ("blue", "sphere"), ("yellow", "cylinder")})
"""Colours of shapes that no training prompt puts together: what is asked for them was never said before."""
_BY_SHAPE, _BY_COLOR = 0.4, 0.55
"""Shares of prompts, added up; the rest are by colour and shape."""
_MOST_FOREIGN = 3

Name = tuple[str | None, str | None]
"""Colour and shape; either may be left open."""


def asked_of(seen: Sequence[SeenObject], rng: np.random.Generator) -> tuple[list[str], list[int | None]]:
    """Draw a prompt for a picture.

    Args:
        seen: The picture's objects.
        rng: Decides all of it.

    Returns:
        At least one phrase, and for each object the number of the phrase it answers; None: not asked for.
    """
    kind = float(rng.random())
    names: list[Name]
    asked: set[Name]
    if kind < _BY_SHAPE:
        asked = {(None, shape) for shape in CLASSES}
        names = [(None, each.class_name) for each in seen]
    elif kind < _BY_COLOR:
        asked = {
            (str(color), None) for color in rng.choice(HUES, int(rng.integers(1, len(HUES))), replace=False)
        }
        names = [(each.color, None) for each in seen]
    else:
        names = [(each.color, each.class_name) for each in seen]
        asked = _some_of(names, rng)
    order = sorted(asked, key=str)
    rng.shuffle(order)
    phrases = [_said(color, shape, rng) for color, shape in order]
    return phrases, [order.index(name) if name in asked else None for name in names]


def _some_of(names: Sequence[Name], rng: np.random.Generator) -> set[Name]:
    """Some of the picture's own names, and a few like them that are not in it."""
    own = sorted({name for name in names if name not in WITHHELD}, key=str)
    kept = {name for name in own if rng.random() < 0.6}
    foreign: set[Name] = set()
    for _ in range(int(rng.integers(0 if kept else 1, _MOST_FOREIGN + 1))):
        color, shape = str(rng.choice(HUES)), str(rng.choice(CLASSES[:-1]))
        if own and rng.random() < 0.7:  # half right: the colour or the shape of something that is there
            near_color, near_shape = own[int(rng.integers(len(own)))]
            if near_shape != PERSON:
                color, shape = (near_color, shape) if rng.random() < 0.5 else (color, near_shape)
        if (color, shape) not in {*names, *WITHHELD}:
            foreign.add((color, shape))
    return kept | foreign or {(None, PERSON)}


def _said(color: str | None, shape: str | None, rng: np.random.Generator) -> str:
    words = SYNONYMS.get(shape or "", (shape,))
    return " ".join(word for word in (color, words[int(rng.integers(len(words)))]) if word)
