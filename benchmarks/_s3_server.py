"""Start a real S3 server (SeaweedFS) on loopback and a temporary folder, for benchmarks and tests."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

KEY, SECRET = "cleanplate", "of-the-tests-only"
_STARTUP_S = 60
_RIGHTS = {
    "identities": [
        {
            "name": KEY,
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}
_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
    "s3.port", "s3.port.grpc", "debug.port", "iam.port",
)  # fmt: skip


def s3_program() -> Path | None:
    """SeaweedFS's program. None if it is not installed."""
    found = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    return None if found is None else Path(found)


class S3Server:
    """A server that can be killed and restarted with its data."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Does not start the server yet.

        Args:
            program: See `s3_program`.
            folder: For its data and its log. Created if it is missing.
        """
        self._program, self._folder = program, folder
        self._ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port of the S3 service, on 127.0.0.1."""
        return self._ports["s3.port"]

    def start(self) -> None:
        """Start it. Returns when it answers."""
        data, rights = self._folder / "data", self._folder / "rights.json"
        data.mkdir(parents=True, exist_ok=True)
        rights.write_text(json.dumps(_RIGHTS))
        ports = [part for name, port in self._ports.items() for part in (f"-{name}", str(port))]
        local = ["-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-s3.port.iceberg", "0", "-s3.port.lance", "0"]
        size = ["-volume.max", "0", "-master.volumeSizeLimitMB", "64"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    "server",
                    "-dir",
                    data,
                    "-filer",
                    "-s3",
                    "-s3.config",
                    rights,
                    *local,
                    *size,
                    *ports,
                ],
                stdout=log,
                stderr=log,
            )
        self._wait()

    def kill(self) -> None:
        """End it with SIGKILL, as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _STARTUP_S
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start; {self._folder / 'log'} says why")
            time.sleep(0.1)


@contextmanager
def s3_server(program: Path) -> Iterator[S3Server]:
    """A started server on a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="cleanplate-s3-", dir="/tmp"))
    server = S3Server(program, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def s3_variables(port: int) -> dict[str, str]:
    """The AWS_* variables for a server at a port of 127.0.0.1."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
