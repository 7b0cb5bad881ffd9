"""A training in processes of its own: what it reports, and how its end reaches the one that asked."""

import os
import signal
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
import torch
import torch.distributed

from data_specs.errors import InputError, ModelError
from models.training.distributed import is_first_process, training_device
from models.training.loop import Progress
from tasks.training.processes import forwarded, launch, launches


def add_up(folder: Path, progress: Progress) -> None:
    """Each process adds its rank; the sum proves that they are connected."""
    training_device()
    value = torch.tensor([float(os.environ["RANK"]) + 1])
    torch.distributed.all_reduce(value)
    progress(1, 1, float(value))
    if is_first_process():
        (folder / "sum").write_text(f"{value.item()} of {os.environ['WORLD_SIZE']}")


def refuse(_: Progress) -> None:
    raise ModelError("the weights are of another network; choose another folder")


def refuse_in_parts(_: Progress) -> None:
    raise InputError("a.json", "is not JSON")


def fail(_: Progress) -> None:
    raise ZeroDivisionError("by nought")


def die(_: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_two_processes_work_together_and_one_reports(tmp_path: Path) -> None:
    reports: list[tuple[int, int, float]] = []
    launch(2, partial(add_up, tmp_path), lambda *report: reports.append(report))
    assert (tmp_path / "sum").read_text() == "3.0 of 2"
    assert reports == [(1, 1, 3.0)]


def test_a_report_that_fails_does_not_fill_the_queue_which_would_stop_the_training() -> None:
    def refused(*_: float) -> None:
        raise ZeroDivisionError

    context = forwarded(refused)  # Left only if all is well: its end too waits for a full queue.
    reports = context.__enter__()
    training = Thread(target=lambda: [reports.put((1, 2, 0.5)) for _ in range(20_000)], daemon=True)
    training.start()
    training.join(30)
    assert not training.is_alive(), "a pipe holds 64 kB, and these are ten times as many"
    context.__exit__(None, None, None)


def test_an_error_reaches_the_one_that_asked() -> None:
    with pytest.raises(ModelError, match=r"^the weights are of another network; choose another folder$"):
        launch(2, refuse, None)


def test_an_error_of_several_parts_keeps_its_sentence() -> None:
    with pytest.raises(ModelError, match=r"^a\.json: is not JSON$"):
        launch(2, refuse_in_parts, None)


@pytest.mark.parametrize(("work", "words"), [(fail, "ZeroDivisionError: by nought"), (die, "Signal 9")])
def test_what_nobody_expected_is_named(work, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        launch(2, work, None)


def test_a_process_of_a_launcher_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launches(2)
    assert not launches(1)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not launches(2)
