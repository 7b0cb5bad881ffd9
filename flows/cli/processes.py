"""A command in several processes of this machine, which train together."""

import logging
import os
import sys
import uuid
from collections.abc import Sequence
from typing import Annotated

import typer

ProcessesOption = Annotated[int, typer.Option(min=1, max=64, help="On this machine, one a GPU.")]


def in_processes(count: int, words: Sequence[str]) -> bool:
    """Run ``cleanplate WORDS`` in so many processes, unless this is one of them or one is enough.

    Torch's own launcher: gloo on CPUs, NCCL on GPUs. Several machines are had by
    `accelerate launch -m flows.cli.main WORDS`.

    Returns:
        False where the caller must do the work itself.

    Raises:
        typer.Exit: With 1 if a process failed; it has said why, and the others are ended.
    """
    if count == 1 or "LOCAL_RANK" in os.environ:
        return False
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "flows.cli.main", *words)
    except ChildFailedError as error:
        raise typer.Exit(1) from error
    return True
