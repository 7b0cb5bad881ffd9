"""A benchmark's end; and what the kernel knows of processes: their commands, processor time, memory."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from flows.runtime.timely_end import descendants, end_in_time, kill

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def ends_in_time(main: Callable[[], object]) -> Callable[[], None]:
    """A benchmark's ``main`` that SIGTERM and SIGINT end within 30 s, and with it all that it has started.

    Its blocks are left as by an error; whatever is still below it then is killed.
    """

    @functools.wraps(main)
    def run() -> None:
        end_in_time()
        try:
            main()
        finally:
            for pid in descendants(os.getpid()):
                kill(pid)

    return run


def command_of(pid: int) -> str:
    """Its command line; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """Processor time of all its threads so far, the kernel's for it too."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS_PER_SECOND


def resident_mib(pid: int) -> float:
    """Memory it has in RAM, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
