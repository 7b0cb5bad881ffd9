"""Save and load a training's checkpoint in one safetensors file: weights, EMA, optimizer, RNG, position."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from data_specs.errors import ModelError
from models.training.distributed import spread, whole

Settings = Mapping[str, Any]
"""Settings that a resume may not change, in JSON's types."""
_ANEW = "delete it to start from the beginning"


@dataclass(slots=True)
class TrainingState:
    """Everything that a training needs to continue as if it had never stopped."""

    parameters: dict[str, nn.Parameter]
    """The trained parameters, by name."""
    ema: list[Tensor]
    """Their running averages, in the same order."""
    optimizer: torch.optim.Optimizer
    """Over the same parameters, in the same order."""
    step: int
    """Number of finished steps. The data position follows from it."""
    losses: list[float]


def save_checkpoint(
    path: Path, state: TrainingState, settings: Settings, keep: int = 1, writes: bool = True
) -> None:
    """Write a temporary file, sync, rename. After a kill either the old checkpoint or the new one exists.

    If the network is sharded, every process must take part. The file holds the whole network without shards.

    Args:
        path: The file. The previous ``keep`` − 1 files lie next to it, with ``.step`` and their step as
            suffix.
        state: What to save.
        settings: Settings of the training. A resume with others is refused.
        keep: Number of checkpoints to keep.
        writes: Whether this process writes the file.

    Raises:
        ModelError: If the file cannot be written. The previous one still exists.
    """
    tensors: dict[str, Tensor] = {"rng": torch.get_rng_state()}
    for name, tensor in _in_order(state):
        gathered = whole(tensor)
        if writes:
            tensors[name] = gathered.contiguous() if gathered is tensor else gathered.cpu().contiguous()
    if not writes:
        return
    facts = {
        "step": str(state.step),
        "settings": json.dumps(settings),
        "losses": json.dumps(state.losses),
        "numbers": json.dumps(_plain_numbers(state.optimizer)),
    }
    aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(_apart(tensors), aside, metadata=facts)
        _sync(aside)
        _keep_older(path, keep - 1)
        aside.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise ModelError(
            f"{path}: the checkpoint of step {state.step} cannot be written ({error}); free some space "
            "and start again from the one before"
        ) from error


def _in_order(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    """Weights, averages and moments by their names in the file, in the same order in all processes."""
    for number, (name, parameter) in enumerate(state.parameters.items()):
        yield f"weight/{name}", parameter.detach()
        yield f"ema/{name}", state.ema[number]
        # state_dict is not used, because that of the 8-bit AdamW is nested.
        for key, value in sorted(state.optimizer.state.get(parameter, {}).items()):
            yield f"optimizer/{key}/{name}", torch.as_tensor(value)


def _plain_numbers(optimizer: torch.optim.Optimizer) -> list[str]:
    """Values that the optimizer keeps as Python numbers and not as tensors.

    8-bit AdamW does so with its step.
    """
    kept = (item for moments in optimizer.state.values() for item in moments.items())
    return sorted({key for key, value in kept if not isinstance(value, Tensor)})


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor its own memory. 8-bit AdamW's tables share theirs."""
    seen: set[int] = set()
    copies = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        copies[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return copies


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_older(path: Path, count: int) -> None:
    """Give the present checkpoint a second name, and delete all of these except the newest ``count``."""
    if count and path.exists():
        with safe_open(path, framework="pt") as file:
            step = int((file.metadata() or {})["step"])
        older = path.with_name(f"{path.name}.step{step:08d}")
        older.unlink(missing_ok=True)
        os.link(path, older)
    for older in sorted(path.parent.glob(f"{path.name}.step*"), reverse=True)[count:]:
        older.unlink()


def load_checkpoint(path: Path, state: TrainingState, settings: Settings) -> None:
    """Fill ``state`` and torch's RNG from ``path``. Changes nothing if the file does not exist.

    Raises:
        ModelError: If the file is damaged, of another network, or of a training with other settings.
    """
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            names = set(file.keys())
            _check_fits(
                path, facts, {n: tuple(file.get_slice(n).get_shape()) for n in names}, state, settings
            )
            _fill(path, file, names, state, json.loads(facts.get("numbers", "[]")))
            torch.set_rng_state(file.get_tensor("rng"))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: the checkpoint is damaged ({error}); {_instead(path)}") from error
    state.step = int(facts["step"])
    state.losses[:] = json.loads(facts["losses"])


def _check_fits(
    path: Path,
    facts: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    state: TrainingState,
    settings: Settings,
) -> None:
    was, now = json.loads(facts.get("settings", "{}")), json.loads(json.dumps(settings))
    changed = [
        f"{n} was {was.get(n)} and is now {now.get(n)}"
        for n in sorted({*was, *now})
        if was.get(n) != now.get(n)
    ]
    if changed:
        raise ModelError(
            f"{path}: the checkpoint is of a training with other settings ({'; '.join(changed)}); "
            f"restore them, or {_ANEW}"
        )
    wanted = {f"weight/{name}": tuple(parameter.shape) for name, parameter in state.parameters.items()}
    if {name: shape for name, shape in shapes.items() if name.startswith("weight/")} != wanted:
        raise ModelError(f"{path}: the checkpoint is of another network; {_ANEW}")


@torch.no_grad()
def _fill(path: Path, file: Any, names: set[str], state: TrainingState, numbers: list[str]) -> None:
    """Fill weights, averages and moments, one parameter at a time.

    Those in ``numbers`` become Python numbers.
    """
    moments: dict[int, dict[str, Any]] = {}
    keys = sorted({name.split("/")[1] for name in names if name.startswith("optimizer/")})

    def read(name: str, like: Tensor) -> Tensor:
        tensor = file.get_tensor(name)
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: {name} holds infinite or undefined numbers; {_instead(path)}")
        return spread(tensor, like)

    for number, (name, parameter) in enumerate(state.parameters.items()):
        parameter.copy_(read(f"weight/{name}", parameter))
        state.ema[number].copy_(read(f"ema/{name}", parameter))
        places = {key: f"optimizer/{key}/{name}" for key in keys}
        values: dict[str, Any] = {
            key: read(place, parameter) for key, place in places.items() if place in names
        }
        values |= {key: values[key].item() for key in numbers if key in values}
        if values:  # a parameter without a gradient so far has no state
            moments[number] = values
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _instead(path: Path) -> str:
    """What to do about an unusable checkpoint: use the previous one, if it exists."""
    older = max(path.parent.glob(f"{path.name}.step*"), default=None)
    return _ANEW if older is None else f"rename {older.name} to {path.name}, or {_ANEW}"
