"""Run the work of shards: in this process, in several processes of this machine, or in Ray actors.

A worker gets a function and its arguments by name and location. It reads and writes the shards itself, so no
image is sent. It loads weights on first use and keeps them.
"""

from tasks.execution.executor import INLINE, InlineConfig, ProcessesConfig, RayConfig, WorkersConfig
from tasks.execution.local_executors import workers_of
from tasks.execution.shard_task import run_shard

__all__ = [
    "INLINE",
    "InlineConfig",
    "ProcessesConfig",
    "RayConfig",
    "WorkersConfig",
    "run_shard",
    "workers_of",
]
