"""End a benchmark with all its children, and read the commands, processor time and memory of processes."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

from flows.runtime.timely_end import descendants, end_in_time, kill

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def ends_in_time(main: Callable[[], object]) -> Callable[[], None]:
    """Wrap a benchmark's ``main`` so that SIGTERM and SIGINT end it and all its children within 30 s.

    Its blocks are left as after an error. Children that still run then are killed.
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
    """The command line of a process. Empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """Processor time of all its threads so far, including the kernel's for it."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS_PER_SECOND


def resident_mib(pid: int) -> float:
    """Its memory in RAM, MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
