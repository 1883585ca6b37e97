# SPDX-License-Identifier: MIT
"""A FleetLock server after coreos/zincati docs/development/fleetlock/protocol.md, strict about what it is asked, with faults on
demand. Each group is a semaphore with `slots` places; the lock is recursive, unlocking what is not held is fine."""

import http.server
import json
import re
import threading
import time

import web


class FleetLock:
    def __init__(self, slots=1):
        self.slots, self.holders, self.requests, self.errors = slots, {}, [], []
        self.lock = threading.Lock()
        self.fault = None     # callable(kind, group, id) -> None, or ("status", code, body) / "drop" / seconds of silence
        self.seen = None      # callable(kind, id), before the answer
        handler = type("Handler", (Handler,), {"fleet": self})
        self.server = web.Server(handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.stop()

    def held(self, group="default"):
        return sorted(self.holders.get(group, set()))

    def asked(self):
        return [r[0] for r in self.requests]

    def pre_reboot(self, group, who):
        with self.lock:
            holders = self.holders.setdefault(group, set())
            if who not in holders and len(holders) >= self.slots:
                return 409, {"kind": "failed_lock_semaphore_full",
                             "value": f"semaphore currently full, all {self.slots} slots are locked already"}
            holders.add(who)
            return 200, None

    def steady_state(self, group, who):
        with self.lock:
            self.holders.setdefault(group, set()).discard(who)
            return 200, None


class Handler(web.Kept, http.server.BaseHTTPRequestHandler):
    fleet = None

    def answer(self, status, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json")
        if status // 100 == 3:
            self.send_header("Location", "/v1/elsewhere")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def wrong(self, status, kind, value):
        self.fleet.errors.append((self.command, self.path, kind, value))
        return self.answer(status, {"kind": kind, "value": value})

    def do_GET(self):
        self.wrong(405, "method_not_allowed", "only POST")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind = {"/v1/pre-reboot": "pre-reboot", "/v1/steady-state": "steady-state"}.get(self.path)
        if not kind:
            return self.wrong(404, "not_found", self.path)
        if self.headers.get("fleet-lock-protocol") != "true":
            return self.wrong(400, "missing_header", "fleet-lock-protocol")
        try:
            document = json.loads(body)
            params = document["client_params"]
            group, who = params["group"], params["id"]
            assert set(document) == {"client_params"} and set(params) == {"group", "id"}
            assert isinstance(who, str) and who and re.fullmatch(r"[a-zA-Z0-9.-]+", group)
        except (ValueError, KeyError, TypeError, AssertionError) as e:
            return self.wrong(400, "failed_decoding_request", repr(e))
        f = self.fleet
        f.requests.append((kind, group, who))
        if f.seen:
            f.seen(kind, who)
        fault = f.fault(kind, group, who) if callable(f.fault) else f.fault
        if isinstance(fault, (int, float)):
            time.sleep(fault)
        if isinstance(fault, tuple):
            return self.answer(fault[1], fault[2])
        status, reply = f.pre_reboot(group, who) if kind == "pre-reboot" else f.steady_state(group, who)
        if fault == "drop":   # done, and nobody hears of it
            self.close_connection = True
            return None
        return self.answer(status, reply)
