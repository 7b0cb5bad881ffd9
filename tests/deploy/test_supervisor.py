"""The supervisor with real processes: who dies is started again, and all end with their starter."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from deploy.supervisor import KeptProcess

ROOT = Path(__file__).parents[2]


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kept(tmp_path: Path, script: str) -> KeptProcess:
    return KeptProcess("child", [sys.executable, "-c", script], dict(os.environ), tmp_path / "log")


def test_the_dead_is_started_again(tmp_path: Path) -> None:
    child = kept(tmp_path, "import time; time.sleep(600)")
    child.look_after()
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: child.look_after() or (child.process is not None and child.process.pid != first))
    child.stop(10)
    assert child.process is None


def test_who_dies_at_once_waits_longer_each_time(tmp_path: Path) -> None:
    child = kept(tmp_path, "print('born', flush=True)")
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        child.look_after()
        time.sleep(0.02)
    child.stop(10)
    # It may be born at 0, 1 and, were the waits not to grow, at 2 s.
    assert (tmp_path / "log").read_text().count("born") == 2


def test_who_is_asked_and_then_stopped_is_asked_once_and_no_terminal_asks_it(tmp_path: Path) -> None:
    script = (
        "import signal as s, time, sys; s.signal(15, lambda *_: print('asked', flush=True)); "
        "print('up', flush=True); [time.sleep(0.3) for _ in range(3)]"
    )
    child, log = kept(tmp_path, script), tmp_path / "log"
    child.start()
    process = child.process
    assert process is not None
    assert os.getpgid(process.pid) != os.getpgid(0)
    until(lambda: "up" in log.read_text())
    child.ask_to_end()
    until(lambda: "asked" in log.read_text())
    child.stop(30)
    assert process.returncode == 0
    assert log.read_text().count("asked") == 1


def test_who_does_not_want_to_end_is_ended(tmp_path: Path) -> None:
    script = "import signal as s, time; s.signal(15, s.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    child = kept(tmp_path, script)
    child.start()
    process = child.process
    assert process is not None
    until(lambda: "deaf" in (tmp_path / "log").read_text())
    child.stop(0.2)
    assert process.returncode == -signal.SIGKILL


def test_a_kept_prefect_command_ends_when_its_starter_is_gone(tmp_path: Path) -> None:
    """Its standard input ends; the kernel sees to that even when the starter is killed."""
    script = (
        "import threading, time; from flows.runtime.timely_end import end_with_starter; "
        "threading.Thread(target=end_with_starter, daemon=True).start(); print('up', flush=True); "
        "time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "up\n"
    process.stdin.close()
    assert process.wait(30) == -signal.SIGTERM
    process.stdout.close()


def test_a_kept_command_that_ends_by_itself_ends_well() -> None:
    script = (
        "import threading; from flows.runtime.timely_end import end_with_starter; "
        "threading.Thread(target=end_with_starter, daemon=True).start(); import time; time.sleep(0.3)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 0
