"""Several processes train as one does: the same curve, and no sample twice or never, kills and all."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, BATCH, EVERY = 12, 4, 2
TRAINING = {
    "steps": 8,
    "batch_size": BATCH,
    "warmup_steps": 1,
    "checkpoint_every": EVERY,
    "learning_rate": 1e-3,
}


def trained(filmed, folder: Path, *runs: dict[str, Any]) -> None:
    """Do runs in a process of their own, which forks."""
    common = {
        "kind": "remover",
        "training": TRAINING,
        "workspace": str(filmed.workspace.root),
        "network": str(filmed.workspace.root / filmed.remover.folder),
    }
    (folder / "runs.json").write_text(json.dumps([{**common, **run} for run in runs]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", str(ROOT / "tests/tasks/train_in_processes.py"), str(folder)]
    result = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-3000:]


def losses(folder: Path, name: str) -> list[float]:
    return json.loads((folder / f"{name}.0.json").read_text())["losses"]


def weights(folder: Path, name: str) -> np.ndarray:
    return np.frombuffer((folder / f"{name}.weights").read_bytes())


def read_by_step(folder: Path, name: str, processes: int, first_step: int) -> dict[int, list[str]]:
    """What all processes together read for each step."""
    steps: dict[int, list[str]] = {}
    own = BATCH // processes
    for rank in range(processes):
        read = json.loads((folder / f"{name}.{rank}.json").read_text())["read"]
        assert len(read) % own == 0
        for place, key in enumerate(read):
            steps.setdefault(first_step + place // own, []).append(key)
    return steps


def assert_same_curve(folder: Path, one: str, other: str) -> None:
    np.testing.assert_allclose(losses(folder, other), losses(folder, one), rtol=2e-5)
    # Adam makes a whole step of a gradient that is all rounding: not every weight is near.
    apart = np.abs(weights(folder, other) - weights(folder, one))
    assert np.quantile(apart, 0.999) < 1e-4
    assert apart.max() < TRAINING["steps"] * TRAINING["learning_rate"]


@pytest.fixture(scope="module")
def folder(filmed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process and two, of all three kinds; and two that are killed, and taken up by one and by two."""
    folder = tmp_path_factory.mktemp("processes")
    runs = [
        {"name": f"{kind} {count}", "kind": kind, "processes": count}
        for kind in ("remover", "object_clear", "discriminator")
        for count in (1, 2)
    ]
    runs += [
        {"name": "passes", "kind": "discriminator", "processes": 2, "distributed": {"micro_batch_size": 1}},
        {"name": "killed", "processes": 2, "checkpoint": "c", "kill_at": 5},
        {"name": "resumed 1", "processes": 1, "checkpoint": "d", "copy_of": "c"},
        {"name": "resumed 2", "processes": 2, "checkpoint": "c"},
    ]
    trained(filmed, folder, *runs)
    return folder


SHARDED = {"processes": 2, "distributed": {"sharding": "fsdp"}}


@pytest.fixture(scope="module")
def sharded(filmed, folder: Path) -> Path:
    """Two processes with the network in pieces, unbroken; and killed, then taken up by one."""
    runs = [
        {"name": "in pieces", **SHARDED, "checkpoint": "whole"},
        {"name": "killed in pieces", **SHARDED, "checkpoint": "e", "kill_at": 5},
        {"name": "pieces to one", "processes": 1, "checkpoint": "f", "copy_of": "e"},
    ]
    trained(filmed, folder, *runs)
    return folder


def test_a_network_in_pieces_learns_what_a_whole_one_learns(sharded: Path) -> None:
    assert_same_curve(sharded, "remover 1", "in pieces")
    both = [json.loads((sharded / f"in pieces.{rank}.json").read_text()) for rank in (0, 1)]
    assert both[0]["losses"] == both[1]["losses"]


def test_one_process_takes_up_what_lay_in_pieces(sharded: Path) -> None:
    assert_same_curve(sharded, "remover 1", "pieces to one")
    assert_every_sample_once_an_epoch(sharded, "remover 1", "pieces to one", 1)


@pytest.mark.slow
def test_every_network_and_every_change_of_hands(filmed, folder: Path) -> None:
    """Judge and ObjectClear in pieces; checkpoints go between two and four processes, whole and in pieces."""
    again = {"sharding": "fsdp", "gradient_checkpointing": True}
    four = {"processes": 4, "distributed": {"sharding": "fsdp"}}
    runs = [
        {"name": "object_clear in pieces", "kind": "object_clear", "processes": 2, "distributed": again},
        {"name": "discriminator in pieces", "kind": "discriminator", **SHARDED},
        {
            "name": "passes in pieces",
            "kind": "discriminator",
            "processes": 2,
            "distributed": {"sharding": "fsdp", "micro_batch_size": 1},
        },
        {"name": "killed two", **SHARDED, "checkpoint": "k2", "kill_at": 5},
        {"name": "pieces to two", "processes": 2, "checkpoint": "g", "copy_of": "k2"},
        {"name": "pieces to pieces", **four, "checkpoint": "k2"},
        {"name": "killed whole", "processes": 2, "checkpoint": "h", "kill_at": 5},
        {"name": "two to pieces", **SHARDED, "checkpoint": "h"},
        {"name": "four in pieces", **four},
    ]
    trained(filmed, folder, *runs)
    for kind in ("object_clear", "discriminator"):
        assert_same_curve(folder, f"{kind} 1", f"{kind} in pieces")
    assert_same_curve(folder, "discriminator 1", "passes in pieces")
    assert_same_curve(folder, "remover 1", "four in pieces")
    for name, count in (("pieces to two", 2), ("pieces to pieces", 4), ("two to pieces", 2)):
        assert_same_curve(folder, "remover 1", name)
        assert_every_sample_once_an_epoch(folder, "remover 1", name, count)


@pytest.mark.slow
def test_a_student_in_pieces_beside_its_whole_teacher(filmed, tmp_path: Path) -> None:
    """Distilled by one process, by two, and by two in pieces."""
    runs = [
        {"name": "one", "processes": 1},
        {"name": "two", "processes": 2},
        {"name": "in pieces", **SHARDED, "checkpoint": "whole"},
    ]
    trained(filmed, tmp_path, *({**run, "kind": "lcm"} for run in runs))
    assert_same_curve(tmp_path, "one", "two")
    assert_same_curve(tmp_path, "one", "in pieces")


def test_what_was_in_pieces_is_whole_afterwards(sharded: Path) -> None:
    """The checkpoint's average is the weights that the module held at the end, in the names it always had."""
    with safe_open(sharded / "whole", framework="np") as file:
        names = [name.removeprefix("ema/") for name in list(file.keys()) if name.startswith("ema/")]
        kept = {name: file.get_tensor(f"ema/{name}") for name in names}
    order = json.loads((sharded / "in pieces.0.json").read_text())["names"]
    assert sorted(order) == sorted(names)
    np.testing.assert_array_equal(
        np.concatenate([kept[name].ravel() for name in order]).astype(np.float64),
        weights(sharded, "in pieces"),
    )


@pytest.mark.parametrize("kind", ["remover", "object_clear", "discriminator"])
def test_two_processes_learn_what_one_learns(folder: Path, kind: str) -> None:
    assert_same_curve(folder, f"{kind} 1", f"{kind} 2")
    both = [json.loads((folder / f"{kind} 2.{rank}.json").read_text()) for rank in (0, 1)]
    assert both[0]["losses"] == both[1]["losses"], "every process knows the loss over all"
    assert len(both[0]["read"]) == len(both[1]["read"]) == TRAINING["steps"] * BATCH // 2


def test_gradients_of_several_passes_add_up(folder: Path) -> None:
    assert_same_curve(folder, "discriminator 1", "passes")


@pytest.mark.slow
def test_four_processes_learn_what_one_learns_and_take_up_what_two_left(filmed, tmp_path: Path) -> None:
    """Killed in step 5 by two, it goes on from step 4 with four."""
    runs = [
        {"name": "one", "processes": 1},
        {"name": "four", "processes": 4},
        {"name": "killed", "processes": 2, "checkpoint": "c", "kill_at": 5},
        {"name": "resumed", "processes": 4, "checkpoint": "c"},
    ]
    trained(filmed, tmp_path, *runs)
    assert_same_curve(tmp_path, "one", "four")
    assert_same_curve(tmp_path, "one", "resumed")
    assert_every_sample_once_an_epoch(tmp_path, "one", "resumed", 4)


@pytest.mark.parametrize("count", [1, 2])
def test_killed_and_taken_up_it_ends_as_unbroken(folder: Path, count: int) -> None:
    """Killed in step 5, it goes on from step 4, within the second epoch."""
    assert_same_curve(folder, "remover 1", f"resumed {count}")
    assert_every_sample_once_an_epoch(folder, "remover 1", f"resumed {count}", count)


def assert_every_sample_once_an_epoch(folder: Path, whole: str, resumed: str, count: int) -> None:
    """The first four steps of an unbroken run, then those of a resumed one."""
    steps = {step: keys for step, keys in read_by_step(folder, whole, 1, 0).items() if step < 4}
    steps |= read_by_step(folder, resumed, count, 4)
    assert sorted(steps) == list(range(TRAINING["steps"]))
    seen = [key for step in sorted(steps) for key in steps[step]]
    for epoch in range(TRAINING["steps"] * BATCH // SAMPLES):
        counts = Counter(seen[epoch * SAMPLES : (epoch + 1) * SAMPLES])
        assert (len(counts), set(counts.values())) == (SAMPLES, {1})
