"""Start a Ray cluster on this machine for a benchmark or test, and stop it afterwards.

`python -P benchmarks/_ray_cluster.py FOLDER CPUS` is its head. It prints its address and ends with its input.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MIN_STORE_BYTES = 80_000_000
_STOP_SECONDS = 30


@contextmanager
def ray_cluster(cpus: int) -> Iterator[str]:
    """A cluster without dashboard and usage reports. It accepts only clients with its token.

    Ray accepts no loopback address and looks up the machine's own. Therefore it needs the token. This
    process's environment holds the token meanwhile. Ray reads it at import, so import Ray only inside.

    Yields:
        The address to connect to.
    """
    # Ray's sockets lie in its folder, and a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        token = Path(folder) / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        command = [sys.executable, "-P", __file__, folder, str(cpus)]
        head = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert head.stdin is not None
        assert head.stdout is not None
        try:
            address = head.stdout.readline().strip()
            if not address:
                raise RuntimeError("Ray's head ended at once; what it printed above says why")
            yield address
        finally:
            head.stdin.close()
            head.wait(_STOP_SECONDS)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def main(folder: str, cpus: int) -> None:
    """Serve until standard input closes."""
    import ray  # pyright: ignore[reportMissingImports] - an extra

    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=0,
        object_store_memory=_MIN_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=folder,
    )
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
