"""Empty scenes: the studio with nothing on its ground."""

from dataclasses import replace

from data_specs.keys import derive_key
from tasks.sources.synthetic.samples import StudioConfig
from tasks.sources.synthetic.scene import Scene, draw_scene


def empty_scene(config: StudioConfig, number: int) -> Scene:
    """Empty scene ``number`` of a config: the same config and number, the same scene."""
    seed = int(derive_key("studio plate", config.split, config.seed, number)[:15], 16)
    return replace(draw_scene(seed, config.world), solids=())
