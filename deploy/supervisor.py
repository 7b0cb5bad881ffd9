"""Keep processes alive: restart a process that dies, at once at first, then after increasing waits."""

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.process_worker import run_prefect
from flows.runtime.shards import say
from flows.runtime.timely_end import end_with_starter

_LONGEST_WAIT_SECONDS = 30.0
_WELL_AFTER_SECONDS = 60.0
"""A process that lived this long is restarted at once when it dies."""


@dataclass
class KeptProcess:
    """One process that should always run. Its standard input is a pipe that closes when this process ends."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    _deaths: int = 0
    _started: float = field(default=0.0, repr=False)
    _due: float = field(default=0.0, repr=False)
    _asked: bool = field(default=False, repr=False)

    def start(self) -> None:
        """Start the process. Its output is appended to its log.

        It has its own process group. Ctrl-C in a terminal therefore reaches only this process, which ends all
        others in order.
        """
        self._started, self._asked = time.monotonic(), False
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    def look_after(self) -> None:
        """Restart the process if it died and its wait is over."""
        if self.process is None:
            if time.monotonic() >= self._due:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        self._let_go()
        lived = time.monotonic() - self._started
        self._deaths = 0 if lived > _WELL_AFTER_SECONDS else self._deaths + 1
        wait = min(_LONGEST_WAIT_SECONDS, float(2 ** (self._deaths - 1))) if self._deaths else 0.0
        self._due = time.monotonic() + wait
        say(f"the {self.name} ended with code {code}; it is started again in {wait:.0f} s ({self.log})")

    def ask_to_end(self) -> None:
        """Ask once. If asked twice, Prefect's worker kills itself and leaves its runs' processes behind."""
        if self.process is not None and not self._asked:
            self._asked = True
            self.process.terminate()

    def stop(self, patience_seconds: float) -> None:
        """Ask the process to end, and kill it if it does not."""
        if self.process is None:
            return
        self.ask_to_end()
        try:
            self.process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._let_go()

    def _let_go(self) -> None:
        assert self.process is not None, "it was started"
        assert self.process.stdin is not None, "its input is a pipe"
        self.process.stdin.close()
        self.process = None


# The command of a worker that ends with its parent: `python -m deploy.supervisor worker start --pool cpu`.


def main() -> None:
    """Run ``prefect`` with these arguments until standard input closes."""
    threading.Thread(target=end_with_starter, daemon=True).start()
    run_prefect(sys.argv[1:])


if __name__ == "__main__":
    main()
