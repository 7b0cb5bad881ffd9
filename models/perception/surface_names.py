"""Which surface a class name means: ADE20K's 150 classes, and the tiny model's own four (fact 14)."""

import re
from collections.abc import Mapping

from data_specs.detection import SurfaceClass
from data_specs.errors import ModelError

_NAMES: dict[SurfaceClass, tuple[str, ...]] = {
    SurfaceClass.GROUND: (
        *("ground", "road", "floor", "grass", "sidewalk", "earth", "field", "sand", "path", "runway"),
        *("dirt track", "land", "rug"),
    ),
    SurfaceClass.WALL: (
        *("wall", "building", "ceiling", "mountain", "house", "skyscraper", "hill", "tower", "hovel"),
        *("door", "windowpane", "window", "curtain", "fence", "railing", "tree", "bridge", "column"),
    ),
    SurfaceClass.SKY: ("sky",),
}
_SURFACES = {name: surface for surface, names in _NAMES.items() for name in names}


def surfaces_of(labels: Mapping[int, str]) -> list[SurfaceClass]:
    """The surface of each of a model's classes, in the order of their numbers; what is not listed is OBJECT.

    Water, stairs and furniture are objects here: nothing can stand on them as it stands on flat ground.

    Args:
        labels: ``id2label`` of transformers' config; of synonyms ("road, route") the first one counts.

    Raises:
        ModelError: If no class is ground: these are not the labels of a segmenter of scenes.
    """
    first = [re.split("[,;]", labels[number])[0].strip().lower() for number in sorted(labels)]
    surfaces = [_SURFACES.get(name, SurfaceClass.OBJECT) for name in first]
    if SurfaceClass.GROUND not in surfaces:
        raise ModelError(
            f"none of the model's {len(first)} classes is ground ({', '.join(first[:4])} …); "
            "take a checkpoint for semantic segmentation trained on ADE20K"
        )
    return surfaces
