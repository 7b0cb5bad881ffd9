"""A Prefect command that ends with its starter: `python -m deploy.kept_process worker start --pool cpu`."""

import runpy
import sys
import threading

from flows.prefect_server import end_with_starter


def main() -> None:
    """Run ``prefect`` with these arguments until standard input ends."""
    threading.Thread(target=end_with_starter, daemon=True).start()
    sys.argv = ["prefect", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
