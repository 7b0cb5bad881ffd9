"""A Prefect server that ends with whoever started it: `python -P flows/prefect_server.py PORT`.

Its standard input is a pipe that the starter holds open. The kernel closes a pipe even when its holder is
killed, so no server is left behind over a workspace's database.
"""

import os
import runpy
import signal
import sys
import threading
import time

_GRACE_SECONDS = 20


def main() -> None:
    """Serve on 127.0.0.1 at the port given, until standard input ends."""
    threading.Thread(target=end_with_starter, daemon=True).start()
    sys.argv = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", sys.argv[1]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def end_with_starter() -> None:
    """Wait for the end of standard input, then end this process; kill it where it will not."""
    # Not sys.stdin: a thread that waits in its buffer when Python ends makes a fatal error of that end.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
