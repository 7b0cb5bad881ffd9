"""Does a detector read? One phrase alone, such as "red box", asked of scenes that hold other things too."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from models.perception.grounding_dino import GroundingDinoConfig, GroundingDinoDetector
from models.protocols import Detector
from tasks.objectclear.train_image_encoder import HUES
from tasks.sources.synthetic.scene import SHAPES
from tasks.training.perception.asked_words import WITHHELD
from tasks.training.perception.boxes import matched
from tasks.training.perception.samples import SeenPicture


@dataclass(slots=True)
class _Tally:
    asked: int = 0
    surest_right: int = 0
    by_chance: float = 0
    answers: int = 0
    right: int = 0
    meant: int = 0

    def figures(self, of: str) -> dict[str, float]:
        asked = max(1, self.asked)
        return {
            f"{of} asked": self.asked,
            f"{of} surest right": self.surest_right / asked,
            f"{of} surest right unread": self.by_chance / asked,
            f"{of} precision": self.right / max(1, self.answers),
            f"{of} recall": self.right / max(1, self.meant),
        }


def open_score(folder: Path, pictures: Sequence[SeenPicture]) -> dict[str, float]:
    """Ask for each colour of a shape alone, in every picture of several objects that do not all answer to it.

    ``surest right`` is the share of such questions whose surest answer is, at IoU 0.5, an object of that
    colour and shape; ``unread`` what a perfect detector would reach that cannot read and picks any object.
    ``withheld`` are the colours of shapes that no training prompt put together, ``phrase`` the others.
    ``absent answered`` is the share of questions for what is not there, one a picture, that were answered all
    the same.
    """
    tallies = {"phrase": _Tally(), "withheld": _Tally()}
    absent = answered = 0
    names = list(product(HUES, SHAPES))
    for place, (color, shape) in enumerate(names):
        detector = GroundingDinoDetector(GroundingDinoConfig(weights=folder, words=(f"{color} {shape}",)))
        tally = tallies["withheld" if (color, shape) in WITHHELD else "phrase"]
        for number, picture in enumerate(pictures):
            meant = sum((each.color, each.class_name) == (color, shape) for each in picture.objects)
            if 0 < meant < len(picture.objects):
                _ask(detector, picture, (color, shape), tally)
            elif meant == 0 and number % len(names) == place:
                absent, answered = absent + 1, answered + bool(detector.detect(picture.source))
    of_all = {name: value for of, tally in tallies.items() for name, value in tally.figures(of).items()}
    return {**of_all, "absent asked": absent, "absent answered": answered / max(1, absent)}


def _ask(detector: Detector, picture: SeenPicture, name: tuple[str, str], tally: _Tally) -> None:
    found = detector.detect(picture.source)
    meant = [each for each in picture.objects if (each.color, each.class_name) == name]
    tally.asked += 1
    tally.surest_right += len(matched(found[:1], meant))
    tally.by_chance += len(meant) / len(picture.objects)
    tally.answers += len(found)
    tally.right += len(matched(found, meant))
    tally.meant += len(meant)
