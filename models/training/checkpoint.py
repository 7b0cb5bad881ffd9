"""A training's checkpoint: weights, EMA, optimizer, RNG and position, in one safetensors file."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from data_specs.errors import ModelError

_ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class TrainingState:
    """Everything a training needs to go on as if it had never stopped."""

    parameters: dict[str, nn.Parameter]
    """The trained ones, by name."""
    ema: list[Tensor]
    """Their running averages, in the same order."""
    optimizer: torch.optim.Optimizer
    step: int
    """Steps done; the data position follows from it."""
    losses: list[float]


def save_checkpoint(path: Path, state: TrainingState, config_digest: str) -> None:
    """Write aside, sync, rename: a kill leaves the old checkpoint or the new one.

    Args:
        path: The file.
        state: What to keep.
        config_digest: Of the training's settings; a resume under others is refused.
    """
    tensors: dict[str, Tensor] = {"rng": torch.get_rng_state()}
    for (name, parameter), average in zip(state.parameters.items(), state.ema, strict=True):
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        tensors[f"ema/{name}"] = average.contiguous()
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value).contiguous()
    facts = {"step": str(state.step), "config": config_digest, "losses": json.dumps(state.losses)}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
    save_file(tensors, aside, metadata=facts)
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def load_checkpoint(path: Path, state: TrainingState, config_digest: str) -> None:
    """Fill ``state`` and torch's RNG from ``path``.

    Raises:
        ModelError: If the file is damaged, of another network, or of a training with other settings.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: damaged checkpoint ({error}); delete it to start anew") from error
    if facts.get("config") != config_digest:
        raise ModelError(f"{path}: checkpoint of a training with other settings; delete it to start anew")
    if {n for n in tensors if n.startswith("weight/")} != {f"weight/{n}" for n in state.parameters}:
        raise ModelError(f"{path}: checkpoint of another network; delete it to start anew")
    for number, (name, parameter) in enumerate(state.parameters.items()):
        parameter.data.copy_(tensors[f"weight/{name}"])
        state.ema[number].copy_(tensors[f"ema/{name}"])
        places = {key: f"optimizer/{key}/{name}" for key in _ADAMW_STATE}
        moments = {key: tensors[place] for key, place in places.items() if place in tensors}
        if moments:  # a parameter that no gradient has reached yet has none
            state.optimizer.state[parameter] = moments
    torch.set_rng_state(tensors["rng"])
    state.step = int(facts["step"])
    state.losses[:] = json.loads(facts["losses"])
