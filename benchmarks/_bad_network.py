"""Simulate a bad network between client and server: a TCP proxy that delays, cuts and refuses, by a seed."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE_BYTES = 16_384


class BadNetwork:
    """Forwards 127.0.0.1:``port`` to a server. Its treatment of connections can be changed at any time."""

    def __init__(self, server_port: int, seed: int = 0) -> None:
        self.cut_chance = 0.0
        """Probability of cutting the connection, at every piece of at most 16 kB, in both directions."""
        self.delay_s = 0.0
        """Delay before every piece, in seconds."""
        self.down = False
        """Whether every connection is cut and none is accepted."""
        self.cuts = 0
        self._server_port = server_port
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):  # It may already be closed.
            self._listener.shutdown(socket.SHUT_RDWR)  # Wake the thread that waits in accept().
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            for come, go in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(come, go), daemon=True).start()

    def _pump(self, come: socket.socket, go: socket.socket) -> None:
        with suppress(OSError):
            while piece := come.recv(_PIECE_BYTES):
                time.sleep(self.delay_s)
                if self.down or self._random.random() < self.cut_chance:
                    self.cuts += 1
                    break
                go.sendall(piece)
        for end in (come, go):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def bad_network(server_port: int, seed: int = 0) -> Iterator[BadNetwork]:
    """A proxy that forwards everything until its attributes are changed."""
    network = BadNetwork(server_port, seed)
    try:
        yield network
    finally:
        network.close()
