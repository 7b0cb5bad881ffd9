"""Time a network's step layer by layer, for machines on which the time of whole steps is too noisy.

A shared host takes its processor away at any time, for milliseconds or seconds. A step of a third of a second
therefore differs by a tenth from the next. Each of its hundreds of pieces often runs undisturbed. The pieces
cover the step without gaps. The sum of their 10 % quantiles over some hundred rounds is a step without
disturbance. The sum leaves out any cost that occurs in fewer than nine of ten rounds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class Pieces:
    """Marks the begin and end of each layer of a network, forward and backward.

    An attention counts as one layer, because its content differs from way to way.
    """

    def __init__(self, network: nn.Module) -> None:
        self._seconds: list[float] = []
        self._last = 0.0
        for layer in _layers(network):
            layer.register_forward_pre_hook(lambda *_: self._mark())
            layer.register_forward_hook(lambda *call: self._leave(call[-1]))

    @contextmanager
    def step(self) -> Iterator[list[float]]:
        """Run one step inside. Afterwards the list holds the seconds of its pieces in order."""
        seconds = self._seconds = []
        self._last = time.process_time()
        yield seconds
        self._mark()
        self._seconds = []  # passes outside of a step are not counted

    def _leave(self, output: Any) -> None:
        self._mark()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda _: self._mark())

    def _mark(self) -> None:
        now = time.process_time()
        self._seconds.append(now - self._last)
        self._last = now


def undisturbed(seconds: np.ndarray) -> float:
    """Steps × pieces → seconds of a step: the sum of the 10 % quantiles of its pieces."""
    return float(np.quantile(seconds, 0.1, axis=0).sum())


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    children = list(module.children())
    if isinstance(module, Attention) or (not children and next(module.parameters(), None) is not None):
        yield module
        return
    for child in children:
        yield from _layers(child)
