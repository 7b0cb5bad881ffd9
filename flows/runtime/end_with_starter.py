"""Ends a process with whoever started it, so that no server is left behind over a workspace's database.

Its standard input is a pipe that the starter holds open. The kernel closes a pipe even when its holder is
killed.
"""

import os
import signal
import time

_GRACE_SECONDS = 20


def end_with_starter() -> None:
    """Wait for the end of standard input, then end this process; kill it where it will not."""
    # Not sys.stdin: a thread that waits in its buffer when Python ends makes a fatal error of that end.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
