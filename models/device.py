"""Decide on which device the networks of this process run. Everything that runs a network asks here."""

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def launched_processes() -> PartialState:
    """The processes of the launcher. On CPUs accelerate must be told to connect them."""
    return PartialState(cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"))


def network_device() -> torch.device:
    """The device of this process's networks: its own GPU if there is one, else the CPU.

    ``ACCELERATE_USE_CPU=1`` keeps everything on the CPU.
    """
    return launched_processes().device or torch.device("cpu")
