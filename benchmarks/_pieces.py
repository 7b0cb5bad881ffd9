"""Times a network's step piece by piece, for machines on which whole steps tell little.

A shared host takes its processor away at will, for milliseconds or for seconds. A step of a third of a second
so differs by a tenth from the next; of each of its hundreds of pieces many come undisturbed. They tile the
step, so their lower tenths over some hundred rounds sum up to a step that nothing disturbs.
What a step pays in fewer than nine of ten rounds is not in it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class Pieces:
    """Marks where each layer of a network begins and ends, forwards and backwards.

    An attention is one layer: what lies in it differs from way to way.
    """

    def __init__(self, network: nn.Module) -> None:
        self._seconds: list[float] = []
        self._last = 0.0
        for layer in _layers(network):
            layer.register_forward_pre_hook(lambda *_: self._mark())
            layer.register_forward_hook(lambda *call: self._leave(call[-1]))

    @contextmanager
    def step(self) -> Iterator[list[float]]:
        """One step runs inside; when it is over, the list has the seconds of its pieces in order."""
        seconds = self._seconds = []
        self._last = time.process_time()
        yield seconds
        self._mark()
        self._seconds = []  # passes outside of a step are none of its pieces

    def _leave(self, output: Any) -> None:
        self._mark()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda _: self._mark())

    def _mark(self) -> None:
        now = time.process_time()
        self._seconds.append(now - self._last)
        self._last = now


def undisturbed(seconds: np.ndarray) -> float:
    """Steps × pieces → seconds of a step: the sum of its pieces' lower tenths."""
    return float(np.quantile(seconds, 0.1, axis=0).sum())


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    children = list(module.children())
    if isinstance(module, Attention) or (not children and next(module.parameters(), None) is not None):
        yield module
        return
    for child in children:
        yield from _layers(child)
