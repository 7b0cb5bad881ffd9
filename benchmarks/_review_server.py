"""The review server as a process of its own, on a free port of this machine."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.workspace import Workspace

_COMMAND = [sys.executable, "-c", "from flows.command_line import app; app()", "review", "serve"]


@contextmanager
def review_server(workspace: Workspace, batch: str) -> Iterator[str]:
    """Runs `cleanplate review serve` on a batch; gives its URL, which ends with a slash."""
    options = ["--workspace", str(workspace.root), "--batch", batch]
    with subprocess.Popen([*_COMMAND, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("review page: "):
                raise RuntimeError(f"the review server did not start; it said: {line!r}")
            yield line.removeprefix("review page: ").strip()
        finally:
            process.terminate()
