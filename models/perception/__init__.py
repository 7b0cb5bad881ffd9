"""Perception: what finds objects and cuts their masks, one back end a file, each behind its Protocol."""

from importlib.util import find_spec

from data_specs.errors import ModelError

for _package in ("torchvision", "segment_anything"):
    if find_spec(_package) is None:
        raise ModelError(f"{_package} is not installed; `pip install 'cleanplate[perception]'` brings it")
