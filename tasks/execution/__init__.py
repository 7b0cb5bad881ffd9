"""Workers: where a shard's work is done; here, in processes of this machine, or in Ray's actors on many.

A worker is given a function and its arguments by name and place; it reads and writes the shards itself, so
no image travels. It loads weights when it first needs them and keeps them.
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
