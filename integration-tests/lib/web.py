# SPDX-License-Identifier: MIT
"""HTTP on loopback: a server that is there as soon as it is made, and handlers that keep quiet about every request.

    with web.files(folder) as server:   server.url + "index.json"
"""

import functools
import http.server
import socket
import sys
import threading
import time


class Quiet:
    """Goes before http.server's own class."""

    def log_message(self, *args):
        pass


class Kept(Quiet):
    """The same, and a connection is good for many requests."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True      # or each answer waits 40 ms for the ACK of its head


class Files(Quiet, http.server.SimpleHTTPRequestHandler):
    pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, port=0, tls=None):
        """tls: an ssl.SSLContext"""
        super().__init__(("127.0.0.1", port), handler)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}/"
        if tls:     # no stranger's handshake keeps the next one waiting
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):      # clients may leave when they like
            super().handle_error(request, client_address)

    def stop(self):
        self.shutdown()
        self.server_close()

    def __exit__(self, *args):
        self.stop()


def files(folder, handler=Files):
    return Server(functools.partial(handler, directory=str(folder)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port, seconds=10):
    """Somebody listens there, after a while perhaps."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False
