"""Whoever asks for nothing else gets composites that the perception models made."""

from pathlib import Path

import pytest

from flows.nightly.composites import NightlyCompositingConfig
from flows.objectclear.compositing import CompositingConfig, cut_out_works, plate_works
from flows.rorem.cycle import demo_config
from flows.rorem.initial_data import compositing_config


def of_the_demo() -> CompositingConfig:
    """The compositing run inside `cleanplate demo`."""
    demo = demo_config(Path("workspace"), 2, 10)
    assert demo.composites is not None
    return compositing_config(Path("workspace"), demo.composites, demo.preparation, demo.seed)


@pytest.mark.parametrize("config", [of_the_demo(), CompositingConfig(), NightlyCompositingConfig()])
def test_perception_looks_at_each_pair_and_background(config: CompositingConfig) -> None:
    works = [*cut_out_works(config), *plate_works(config)]
    assert len(works) > 1
    assert [work for work in works if not work.sees] == []
