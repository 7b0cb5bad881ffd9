"""The image encoder: names read off the studio, and learnt."""

import numpy as np

from models.training.loop import TrainingConfig
from tasks.objectclear.train_model import NamedObject, named_object, train_image_encoder
from tasks.sources.synthetic.samples import HUES, SyntheticConfig, make_sample
from tasks.sources.synthetic.scene import SHAPES


def test_an_objects_names_are_its_shape_and_its_hue() -> None:
    shots = [make_sample(SyntheticConfig(seed=6), number) for number in range(12)]
    assert [SHAPES[named_object(shot).shape] for shot in shots] == [shot.class_name for shot in shots]
    painted = shots[0]
    for color, name in (((200, 20, 20), "red"), ((10, 180, 15), "green"), ((200, 30, 190), "magenta")):
        painted.source[painted.mask] = color
        assert HUES[named_object(painted).color] == name


def test_colours_are_learnt_from_inside_the_mask() -> None:
    """Squares of two colours on grounds of the other: only what is inside the mask tells them apart."""
    rng = np.random.default_rng(0)
    colors = np.array([(220, 30, 30), (30, 30, 220)], np.uint8)

    def square(color: int) -> NamedObject:
        source = np.broadcast_to(colors[1 - color], (64, 64, 3)).copy()
        mask = np.zeros((64, 64), bool)
        top, left = rng.integers(4, 40, 2)
        mask[top : top + 20, left : left + 20] = True
        source[mask] = colors[color]
        return NamedObject(source, mask, 0, color * 4)

    objects = [square(number % 2) for number in range(40)]
    config = TrainingConfig(steps=40, batch_size=16, learning_rate=3e-3, warmup_steps=5, ema_decay=0.9)
    encoder, score = train_image_encoder(objects[:24], objects[24:], config)
    assert score.color == 1.0
    assert score.color_by_chance == 0.5
    assert score.shape == score.shape_by_chance == 1.0
    assert encoder.config.projection_dim == 32
