"""Run a small cycle of one round as a process: `kill_resume` starts and kills it.

Run: python -m benchmarks._small_cycle FOLDER_OR_URL
"""

import sys
from pathlib import Path

from flows.rorem.cycle import CycleConfig, rorem_cycle
from flows.rorem.initial_data import CycleComposites, PreparationSettings
from flows.runtime.prefect_server import local_prefect
from models.training.loop import TrainingConfig
from tasks.storage.object_store import working_folder

AT_WORK = "at work"
"""Printed when start-up is over and the flow begins."""


def small_cycle(folder: Path) -> CycleConfig:
    """Every stage has several shards, every training several checkpoints. Both phases keep something."""
    return CycleConfig(
        workspace=folder,
        rounds=1,
        human_items=40,
        automation_items=40,
        calibration_items=40,
        discriminator_test_items=40,
        shard_items=20,
        score_threshold=0.1,
        preparation=PreparationSettings(initial_pairs=60, validation_pairs=30, test_pairs=30),
        initialisation=TrainingConfig(steps=12, batch_size=8, learning_rate=6e-4, checkpoint_every=2),
        retraining=TrainingConfig(steps=8, batch_size=8, learning_rate=4e-4, checkpoint_every=2),
        discriminator_training=TrainingConfig(steps=8, batch_size=16, checkpoint_every=2),
        composites=CycleComposites(pairs=16, backgrounds=8, attempts=20),
    )


def main() -> None:
    """Run the cycle in the given workspace, or continue it."""
    folder = working_folder(sys.argv[1])
    config = small_cycle(folder)
    with local_prefect(folder / "prefect"):
        print(AT_WORK, flush=True)
        rorem_cycle(config)


if __name__ == "__main__":
    main()
