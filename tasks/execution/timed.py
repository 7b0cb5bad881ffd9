"""A function's result with the seconds it took, measured in the process that did it."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from data_specs.spending import Seconds
from tasks.execution.protocol import Done


def timed(function: Callable[..., Any], arguments: Sequence[Any]) -> Done:
    """Calls the function; whatever it raises is raised."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    spent = time.perf_counter() - wall
    gpu = spent if _holds_gpu() else 0.0
    return Done(result, Seconds(wall=spent, cpu=time.process_time() - cpu, gpu=gpu))


def _holds_gpu() -> bool:
    # A process that never imported torch holds none, and must not import it to say so.
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized() and torch.cuda.memory_allocated() > 0
