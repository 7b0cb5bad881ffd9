"""Run a small compositing run with tiny perception models: `kill_resume --flow seeing` kills it.

Run: python -m benchmarks._small_seeing FOLDER
"""

import sys
from pathlib import Path

from benchmarks._small_compositing import run_small, small_compositing
from flows.objectclear.compositing import CompositingConfig
from tasks.sources.backgrounds import SyntheticBackgrounds
from tasks.sources.pairs import SyntheticPairs
from tasks.sources.synthetic.samples import SyntheticConfig

_SYNTHETIC = SyntheticConfig(size_px=128, seed=6)


def small_seeing(folder: Path) -> CompositingConfig:
    """Like ``small_compositing`` with less of everything. Perception finds everything; no truth is given."""
    sources = {
        "pairs": (SyntheticPairs(renderer=_SYNTHETIC, count=60),),
        "backgrounds": (SyntheticBackgrounds(renderer=_SYNTHETIC, scenes=30),),
    }
    parts = {"attempts": 120, "shard_pairs": 10, "shard_backgrounds": 10, "shard_attempts": 30}
    return small_compositing(folder).model_copy(update={**sources, **parts})


if __name__ == "__main__":
    run_small(small_seeing(Path(sys.argv[1])))
