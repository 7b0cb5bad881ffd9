"""What training images are asked for: every object that a phrase fits is meant by it, and no other."""

from collections import Counter

import numpy as np

from data_specs.detection import Box
from tasks.sources.synthetic.samples import HUES
from tasks.training.perception.grounding_dino import SYNONYMS, VOCABULARY, WITHHELD, asked_of
from tasks.training.perception.samples import CLASSES, SeenObject

SHAPE_OF = {word: shape for shape in CLASSES for word in SYNONYMS.get(shape, (shape,))}


def seen(name: str, color: str | None) -> SeenObject:
    return SeenObject(name, color, np.ones((2, 2), bool), Box(0, 0, 2, 2))


def fits(phrase: str, thing: SeenObject) -> bool:
    """Read word by word, as a person would."""
    return all(
        SHAPE_OF[word] == thing.class_name if word in SHAPE_OF else word == thing.color
        for word in phrase.split()
    )


def test_phrases_and_answers_agree_and_withheld_pairs_are_never_said() -> None:
    images = [
        [seen("box", "red"), seen("cone", "red"), seen("box", "blue")],
        [seen("box", "green"), seen("sphere", "green")],  # green box is withheld
        [seen("person", None), seen("person", None)],
        [seen("cone", "red")],  # nothing but what is withheld
        [],
    ]
    kinds: Counter[str] = Counter()
    meant: Counter[bool] = Counter()
    for draw in range(1500):
        image = images[draw % len(images)]
        phrases, answers = asked_of(image, np.random.default_rng(draw))
        assert phrases
        assert len(set(phrases)) == len(phrases)
        assert set(" ".join(phrases).split()) <= set(VOCABULARY)
        for thing, answer in zip(image, answers, strict=True):
            fitting = [number for number, phrase in enumerate(phrases) if fits(phrase, thing)]
            assert fitting == ([] if answer is None else [answer])
            meant[answer is not None] += 1
        for phrase in phrases:
            words = phrase.split()
            if len(words) == 2:
                assert (words[0], SHAPE_OF[words[1]]) not in WITHHELD
        kinds[
            "both" if any(" " in each for each in phrases) else phrases[0] in HUES and "color" or "shape"
        ] += 1
    assert min(kinds["both"], kinds["color"], kinds["shape"]) > 150
    assert min(meant.values()) > 500


def test_the_same_draws_give_the_same_prompt() -> None:
    image = [seen("box", "red"), seen("cone", "blue")]
    for seed in range(20):
        first, second = (asked_of(image, np.random.default_rng(seed)) for _ in range(2))
        assert first == second
