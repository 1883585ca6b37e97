# SPDX-License-Identifier: MIT
"""Whoever stands between a client and a server on loopback: accepts, finds the server, and passes on what either says."""

import contextlib
import socket
import threading


def hang_up(*sockets):
    for s in sockets:
        with contextlib.suppress(OSError):
            s.shutdown(socket.SHUT_RDWR)


def pump(a, b):
    with contextlib.suppress(OSError):
        while data := a.recv(65536):
            b.sendall(data)
    hang_up(a, b)


def between(a, b):
    """What one says the other hears, until either has ended."""
    back = threading.Thread(target=pump, args=(b, a), daemon=True)
    back.start()
    pump(a, b)
    back.join()


class Relay:
    def __init__(self):
        self.sockets, self.listener = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def join(self, client):
        """The client and its server, ready to be passed through; None: it was told no."""
        raise NotImplementedError

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), client:
            if pair := self.join(client):
                self.sockets += pair
                with pair[0], pair[1]:
                    between(*pair)

    def hang_up(self):
        """On all who are connected now."""
        hang_up(*self.sockets)

    def stop(self):
        hang_up(self.listener, *self.sockets)
        self.listener.close()
