"""Times the spans of a training step in which two ways of doing it differ, each span by itself.

A step takes a third of a second and differs by a tenth from the next on a shared machine; its spans take
milliseconds, and the lower quartile of some dozen of them stays where it is.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class Spans:
    """Seconds of each span, forwards and backwards, of every step while this watches."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        """Watch these modules' passes; what they are called with first is what they step back to."""
        self.seconds = defaultdict[str, list[float]](list)
        for name, module in modules.items():
            self._watch(name, module)

    def more_than(self, plain: "Spans") -> float:
        """Seconds a step beyond the other's: of each span, lower quartile less lower quartile."""
        return sum(
            lower_quartile(s) - lower_quartile(plain.seconds[name]) for name, s in self.seconds.items()
        )

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """What runs inside."""
        start = time.process_time()
        yield
        self.seconds[name].append(time.process_time() - start)

    def until_gradient(self, name: str, tensor: Tensor) -> None:
        """From now until the backward pass reaches ``tensor``."""
        start = time.process_time()
        tensor.register_hook(lambda _: self.seconds[name].append(time.process_time() - start))

    def _watch(self, name: str, module: nn.Module) -> None:
        began = dict[str, float]()

        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if inputs[0].requires_grad:
                found = self.seconds[f"{name}, backwards"]
                inputs[0].register_hook(lambda _: found.append(time.process_time() - began["back"]))
            began["forth"] = time.process_time()

        def after(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.seconds[f"{name}, forwards"].append(time.process_time() - began["forth"])
            if output.requires_grad:
                output.register_hook(lambda _: began.update(back=time.process_time()))

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)


def lower_quartile(seconds: list[float]) -> float:
    """Of any number of seconds but none."""
    return sorted(seconds)[len(seconds) // 4]
