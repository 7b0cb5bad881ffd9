"""A signal ends a program in time: first by leaving its blocks, then by force, with all that is below it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

GRACE_SECONDS = 25
"""From the first signal to the end of everything; who stops a service waits for 30 s as a rule."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_told = threading.Event()
_when_told: list[Callable[[], object]] = []


def end_in_time(last_words: str = "") -> None:
    """From now on SIGTERM leaves all blocks as an error does, and after it or SIGINT nothing lives for long.

    Without this, Prefect's client asks a server that the same signal has ended for more than a minute.
    To be called once, by the main thread of a program.

    Args:
        last_words: Said on standard error when SIGTERM comes.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    # The numbers of signals arrive here whoever has put a handler of theirs in the place of ours.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    stopping = False

    def leave(number: int, _frame: object) -> None:
        nonlocal stopping
        if not stopping:  # A second one would break off what the first has begun to clear away.
            stopping = True
            os.write(2, last_words.encode())
            sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    os.register_at_fork(after_in_child=_forget)


def told_to_end() -> bool:
    """Whether SIGTERM or SIGINT has come to this program."""
    return _told.is_set()


def when_told(action: Callable[[], object]) -> None:
    """Call this in a thread of its own as soon as the program is told to end. The same action is called once.

    Leaving a block may wait for threads, and these for work that takes longer than the grace.
    """
    if action not in _when_told:
        _when_told.append(action)


def _forget() -> None:
    """A forked child's signals are its own."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _watch(reading: int) -> NoReturn:
    while (number := os.read(reading, 1)[0]) not in _SIGNALS:
        pass
    _told.set()
    for action in list(_when_told):
        threading.Thread(target=action, daemon=True).start()
    time.sleep(GRACE_SECONDS)
    for pid in descendants(os.getpid()):
        kill(pid)
    os._exit(128 + number)


def descendants(root: int) -> list[int]:
    """All processes below one, parents first; none where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    below, edge = list[int](), [root]
    while edge:
        edge = [child for pid in edge for child in parents.get(pid, [])]
        below += edge
    return below


def kill(pid: int) -> None:
    """SIGKILL to whoever is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# A process also ends with whoever started it, so that no server is left behind over a workspace's database.
# Its standard input is a pipe that the starter holds open. The kernel closes a pipe even when its holder is
# killed.

_ORPHAN_SECONDS = 20
"""From the end of standard input to the end by force."""


def end_with_starter() -> None:
    """Wait for the end of standard input, then end this process; kill it where it will not."""
    # Not sys.stdin: a thread that waits in its buffer when Python ends makes a fatal error of that end.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_SECONDS)
    os._exit(1)
