"""Which surface a class name means."""

import pytest

from data_specs.detection import SurfaceClass
from data_specs.errors import ModelError
from models.perception.mask2former import surfaces_of


def test_names_as_checkpoints_write_them() -> None:
    labels = {
        0: "wall",
        1: "road, route",
        2: "Floor;flooring",
        3: "earth, ground",
        4: "sidewalk, pavement",
        5: "window ",
        6: "sky",
        7: "car, auto",
        8: "water",
        9: "dirt track",
    }
    ground, wall, sky, thing = SurfaceClass
    assert surfaces_of(labels) == [wall, ground, ground, ground, ground, wall, sky, thing, thing, ground]


def test_the_classes_own_names_mean_themselves() -> None:
    assert surfaces_of({each.value: each.name.lower() for each in SurfaceClass}) == list(SurfaceClass)


def test_labels_without_ground_are_refused() -> None:
    with pytest.raises(ModelError, match="none of the model's 2 classes is ground"):
        surfaces_of({0: "LABEL_0", 1: "LABEL_1"})
