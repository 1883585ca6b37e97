# SPDX-License-Identifier: MIT
"""A strict stand-in for kube-apiserver, for one resource: nodes. TLS with client certificates or tokens; get, list, watch and merge
patch, and nothing else; everything that a client of the contract may not do is refused and remembered. A test can take it down,
let history expire, cut watches, refuse, and look at what was written."""

import copy
import base64
import http.server
import json
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import relay
import web
from contract import COMMIT, STATUS, Judge


class FakeApi:
    def __init__(self, authority, node="node-1"):
        self.authority, self.name = authority, node
        self.lock = threading.Condition()
        self.version, self.events, self.expired = 100, [], 0     # events: (version, type, object)
        self.nodes, self.judge = {}, Judge()
        self.patches, self.complaints, self.refuse, self.tokens = [], [], [], {"good-token"}
        self.certificates, self.expired_serials, self.unauthorized = {f"system:node:{node}"}, set(), 0
        self.connections, self.server, self.watch_seconds, self.cut = set(), None, 0, 0
        self.forgiven = set()
        self.lists = self.watches = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.show(authority)
        self.context.load_verify_locations(authority.ca)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.port = 0
        self.start()
        self.create()

    # --- its life ---

    def start(self):
        api = self

        class Handler(web.Kept, http.server.BaseHTTPRequestHandler):
            timeout = 60

            def setup(self):
                api.connections.add(self.request)
                super().setup()

            def finish(self):
                api.connections.discard(self.request)
                try:
                    super().finish()
                except OSError:
                    pass

            def do_GET(self):
                api.serve(self, "GET")

            def do_PATCH(self):
                api.serve(self, "PATCH")

            def do_POST(self):
                api.serve(self, "POST")

            do_PUT = do_DELETE = do_POST

        class Server(web.Server):
            def get_request(self):
                sock, address = super().get_request()
                sock.settimeout(20)
                return api.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

        self.server = Server(Handler, self.port)
        self.port = self.server.server_port
        self.url = f"https://127.0.0.1:{self.port}"

    def show(self, authority):
        """From the next connection on the server's certificate is this authority's."""
        self.context.load_cert_chain(authority.issue("apiserver", "/CN=kube-apiserver", "IP:127.0.0.1,DNS:kubernetes", "serverAuth"))

    def stop(self):
        self.server.stop()
        self.server = None
        self.hang_up()

    def forgive(self):
        """What is written now may be written once more: whoever wrote it may not hear the answer."""
        with self.lock:
            self.forgiven |= {(k, v) for n in self.nodes.values() for k, v in n["metadata"]["annotations"].items()}

    def hang_up(self):
        self.forgive()
        relay.hang_up(*self.connections)
        with self.lock:
            self.lock.notify_all()

    # --- the object ---

    def change(self, kind, node):
        self.version += 1
        node["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, copy.deepcopy(node)))
        self.lock.notify_all()

    def create(self):
        with self.lock:
            self.nodes[self.name] = {"kind": "Node", "apiVersion": "v1", "metadata": {
                "name": self.name, "uid": f"uid-{self.version}", "annotations": {"volumes.kubernetes.io/x": "true"},
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:metadata": {"f:annotations": {".": {}}}}}]},
                "spec": {}, "status": {"nodeInfo": {"systemUUID": "AB-CD"}, "capacity": {"cpu": "2"}}}
            self.change("ADDED", self.nodes[self.name])

    def delete(self):
        with self.lock:
            self.change("DELETED", self.nodes.pop(self.name))

    def annotate(self, key, value):
        """As an orchestrator does; None takes it away."""
        with self.lock:
            node = self.nodes[self.name]
            node["metadata"]["annotations"][key] = value
            if value is None:
                del node["metadata"]["annotations"][key]
            self.change("MODIFIED", node)

    def annotations(self):
        with self.lock:
            return dict(self.nodes[self.name]["metadata"]["annotations"]) if self.name in self.nodes else {}

    def expire(self):
        """What a compaction does to those who were away."""
        with self.lock:
            self.version += 10
            self.expired = self.version

    def backup(self):
        with self.lock:
            return copy.deepcopy((self.version, self.nodes))

    def restore(self, backup):
        """What is restored from a backup counts from where that was, and who watches from a later version on hears nothing."""
        with self.lock:
            self.version, self.nodes = backup
            self.events = []

    def writes(self):
        return len(self.patches)

    # --- requests ---

    def who(self, h):
        """The identity, or None; tokens first, as the real one."""
        bearer = h.headers.get("Authorization", "")
        if bearer.startswith("Bearer "):
            return f"system:node:{self.name}" if bearer[7:] in self.tokens else None
        certificate = h.connection.getpeercert()
        if (certificate or {}).get("serialNumber") in self.expired_serials:
            return None     # looked at with every request, not only when the connection was made
        for part in (certificate or {}).get("subject", ()):
            for k, v in part:
                if k == "commonName" and v in self.certificates:
                    return v
        return None

    def complain(self, h, code, reason, text, **more):
        if code in (400, 404, 405, 415, 422):
            self.complaints.append(f"{h.command} {h.path}: {code} {text}")
        return self.answer(h, code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": text, "reason": reason,
                                     "code": code}, **more)

    def answer(self, h, code, document, retry=None):
        body = json.dumps(document).encode()
        h.send_response(code)
        h.send_header("Content-Type", "application/json")
        h.send_header("Content-Length", str(len(body)))
        if retry is not None:
            h.send_header("Retry-After", str(retry))
        h.end_headers()
        h.wfile.write(body)

    def serve(self, h, method):
        try:
            length = int(h.headers.get("Content-Length") or 0)
            body = h.rfile.read(length)
            who = self.who(h)
            if who is None:
                self.unauthorized += 1
                return self.complain(h, 401, "Unauthorized", "Unauthorized")
            if self.refuse:
                code, retry = self.refuse.pop(0)
                return self.complain(h, code, "Test", "the test says no", retry=retry)
            url = urllib.parse.urlsplit(h.path)
            if method == "GET" and url.path == "/api/v1/nodes":
                return self.many(h, urllib.parse.parse_qs(url.query, strict_parsing=True))
            if method == "PATCH" and url.path == f"/api/v1/nodes/{self.name}" and not url.query:
                return self.patch(h, body)
            if method == "GET" and url.path == f"/api/v1/nodes/{self.name}":
                return self.answer(h, 200, self.nodes[self.name])
            self.complain(h, 403 if url.path.startswith("/api/v1/nodes/") else 404, "Forbidden", "not this")
        except (OSError, ValueError) as e:
            if isinstance(e, ValueError):
                self.complaints.append(f"{h.path}: {e}")
            h.close_connection = True

    def many(self, h, query):
        known = {"fieldSelector", "limit", "watch", "allowWatchBookmarks", "resourceVersion", "timeoutSeconds"}
        if set(query) - known or query.get("fieldSelector") != [f"metadata.name={self.name}"]:
            return self.complain(h, 403, "Forbidden", f"nodes is forbidden: {sorted(query)}")
        if query.get("watch") != ["true"]:
            self.lists += 1
            with self.lock:
                items = [self.nodes[self.name]] if self.name in self.nodes else []
                document = {"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)},
                            "items": copy.deepcopy(items)}
            return self.answer(h, 200, document)
        cut = self.cut      # of the moment at which a test can see that there is a watch
        self.watches += 1
        self.watch(h, int(query["resourceVersion"][0]), int(query["timeoutSeconds"][0]), cut)

    def watch(self, h, version, seconds, cut):
        if not 1 <= seconds <= 600:
            self.complaints.append(f"timeoutSeconds={seconds}")
        if version < self.expired:
            return self.complain(h, 410, "Expired", f"too old resource version: {version}")
        h.send_response(200)
        h.send_header("Content-Type", "application/json")
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        until, beat = time.monotonic() + (self.watch_seconds or seconds), time.monotonic() + 5
        server = self.server

        def send(kind, document):
            # cut into pieces: nobody promised lines
            data = json.dumps({"type": kind, "object": document}).encode() + b"\n"
            for part in (data[:37], data[37:]):
                h.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                h.wfile.flush()

        try:
            while time.monotonic() < until and self.server is server:
                with self.lock:
                    fresh = [e for e in self.events if e[0] > version]
                    seen = self.version     # of the moment at which `fresh` was all there is
                    if not fresh:
                        self.lock.wait(0.5)
                if version < self.expired and not fresh:
                    send("ERROR", {"kind": "Status", "status": "Failure", "message": "too old resource version", "reason": "Expired",
                                   "code": 410})
                    break
                for version, kind, node in fresh:
                    send(kind, node)
                if self.cut != cut:
                    h.close_connection = True
                    return      # in the middle of the chunked body
                if time.monotonic() > beat:
                    beat = time.monotonic() + 5
                    version = max(version, seen)
                    send("BOOKMARK", {"kind": "Node", "apiVersion": "v1", "metadata": {"resourceVersion": str(version),
                                                                                         "creationTimestamp": None}})
            h.wfile.write(b"0\r\n\r\n")
        except OSError:
            h.close_connection = True

    def patch(self, h, body):
        if h.headers.get("Content-Type") != "application/merge-patch+json":
            return self.complain(h, 415, "UnsupportedMediaType", h.headers.get("Content-Type"))
        document = json.loads(body)
        annotations = document.get("metadata", {}).get("annotations", {})
        if set(document) != {"metadata"} or set(document["metadata"]) != {"annotations"} or set(annotations) - {STATUS, COMMIT}:
            return self.complain(h, 422, "Invalid", f"a node agent writes its own annotations and nothing else: {body!r}")
        with self.lock:
            if self.name not in self.nodes:
                return self.complain(h, 404, "NotFound", f'nodes "{self.name}" not found')
            node = self.nodes[self.name]
            for key, value in annotations.items():
                if not isinstance(value, str):
                    return self.complain(h, 422, "Invalid", f"{key} is no string")
                self.judge.value(key, value)
                if node["metadata"]["annotations"].get(key) == value and (key, value) not in self.forgiven:
                    self.complaints.append(f"{key} was that already: {value}")
            self.patches.append(annotations)
            node["metadata"]["annotations"].update(annotations)
            self.change("MODIFIED", node)
            answer = copy.deepcopy(node)
        self.answer(h, 200, answer)

    def check(self):
        self.judge.check()
        assert not self.complaints, "\n".join(self.complaints)


class Proxy(relay.Relay):
    """An HTTP proxy that connects whom it knows (user and password), and remembers what it was told."""

    def __init__(self, login):
        self.allowed, self.heads = "Basic " + base64.b64encode(login.encode()).decode(), []
        super().__init__()
        self.url = f"http://{login}@127.0.0.1:{self.port}"

    def join(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return None
            head += data
        self.heads.append(head.decode())
        if f"proxy-authorization: {self.allowed}".lower() not in head.decode().lower() or not head.startswith(b"CONNECT "):
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            return None
        host, port = head.split()[1].decode().rsplit(":", 1)
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client, server
