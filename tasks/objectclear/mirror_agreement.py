"""Mirror agreement: does a model see the same surfaces in a picture and in its mirror image?"""

import numpy as np

from data_specs.arrays import RgbImage
from data_specs.detection import ClassMap
from models.protocols import GroundSegmenter


def mirror_agreement(segmenter: GroundSegmenter, picture: RgbImage, classes: ClassMap) -> float:
    """The share of pixels whose class stays when left and right are exchanged, 0..1.

    No surface turns into another in a mirror. A model that learnt on pictures like this one hardly wavers;
    shown what it does not know, it guesses, and guesses otherwise.

    Args:
        segmenter: The model.
        picture: H×W×3 uint8.
        classes: H×W uint8, what the model said of the picture as it is.
    """
    mirrored = segmenter.classify(np.ascontiguousarray(picture[:, ::-1]))
    return float((mirrored[:, ::-1] == classes).mean())
