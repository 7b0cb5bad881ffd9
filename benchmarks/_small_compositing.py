"""Run a small compositing run as a process: `kill_resume --flow compositing` kills it.

Run: python -m benchmarks._small_compositing FOLDER
"""

import sys
from pathlib import Path

from benchmarks._small_cycle import AT_WORK
from flows.objectclear.compositing import CompositingConfig, objectclear_compositing
from flows.runtime.prefect_server import local_prefect
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig

_SYNTHETIC = SyntheticConfig(size_px=128, seed=6)


def small_compositing(folder: Path) -> CompositingConfig:
    """Every stage has several shards, and every stage refuses something."""
    return CompositingConfig(
        workspace=folder,
        pairs=(SyntheticPairs(renderer=_SYNTHETIC, count=240, use_rendered_truth=True),),
        backgrounds=(SyntheticBackgrounds(renderer=_SYNTHETIC, scenes=120, use_rendered_truth=True),),
        attempts=900,
        shard_pairs=40,
        shard_backgrounds=20,
        shard_attempts=150,
        add_to_pool=True,
    )


def run_small(config: CompositingConfig) -> None:
    """Run the flow in its workspace, or continue it."""
    with local_prefect(config.workspace / "prefect"):
        print(AT_WORK, flush=True)
        objectclear_compositing(config)


if __name__ == "__main__":
    run_small(small_compositing(Path(sys.argv[1])))
