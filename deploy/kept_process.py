"""A worker's command that ends with its starter: `python -m deploy.kept_process worker start --pool cpu`."""

import sys
import threading

from deploy.process_worker import run_prefect
from flows.runtime.end_with_starter import end_with_starter


def main() -> None:
    """Run ``prefect`` with these arguments until standard input ends."""
    threading.Thread(target=end_with_starter, daemon=True).start()
    run_prefect(sys.argv[1:])


if __name__ == "__main__":
    main()
