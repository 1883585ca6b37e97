#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Reports: written before they are sent, delivered in order, once as far as the receiver can tell (Idempotency-Key), with pauses
that survive; to a receiver that refuses, breaks off, hangs and is not there, by a deliverer that is killed. No verb's outcome or
exit code depends on any of it."""

import http.server
import json
import os
import re
import shutil
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
import web
from cases import Cases
from kill import kill_at
from sandbox import MIB, Host, command, expect, gybe, history, image, job, spawn, status

HOST_ID = "af8ba09061c3480182397d274a819ba0"   # of machine id 0123...: systemd-id128 machine-id --app-specific=...
PROMPT = 8    # seconds: waits for nobody
HANG = 40


class Receiver:
    """Keeps what it gets, in order. fault(n, report) -> None, status, (status, headers), "drop" (taken, and not said), seconds."""

    def __init__(self):
        self.got, self.keys, self.requests, self.fault = [], set(), [], None
        receiver = self

        class Handler(web.Kept, http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                report = json.loads(body)
                receiver.requests.append((self.path, dict(self.headers), report))
                fault = receiver.fault(len(receiver.requests), report) if callable(receiver.fault) else receiver.fault
                headers = {}
                if isinstance(fault, tuple):
                    fault, headers = fault
                if isinstance(fault, float):
                    time.sleep(fault)
                if isinstance(fault, int):
                    return self.answer(fault, headers, b"what is this?")
                receiver.take(self.headers["Idempotency-Key"], report)
                if fault == "drop":
                    self.close_connection = True
                    return None
                return self.answer(204)

            def answer(self, status, headers={}, body=b""):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if status != 204 else b"")

        self.server = web.Server(Handler)

    def take(self, key, report):
        if key not in self.keys:
            self.got.append(report)
        self.keys.add(key)

    @property
    def url(self):
        return self.server.url + "reports"

    def events(self):
        return [r["event"] for r in self.got]

    def stop(self):
        self.server.stop()


class Test(Cases):
    def __init__(self, work):
        self.work, self.n = work, 0
        key = foreign.Key(work / "key.pem")
        root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([key]), [key]))
        v1, v2 = image(work / "v1", "3.0.1", size=1 * MIB), image(work / "v2", "3.0.2", size=1 * MIB)
        c = foreign.Cosi(v2, work / "cosi", version="1.1")
        self.cosi = c.write(work / "x.cosi")
        foreign.write_json(work / "x.release.json", foreign.envelope("release", foreign.release(v2, c, self.cosi), [key]))
        self.fresh = Host(work / "fresh", usr_size=2 * MIB, esp_size=34 * MIB)
        self.fresh.install(v1, trust_root=root, policy={"attempts": 2})
        self.fresh.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        self.fresh.write("/proc/sys/kernel/hostname", "node-1\n")
        self.receivers = []

    def receiver(self):
        self.receivers.append(Receiver())
        return self.receivers[-1]

    def clone(self, host):
        self.n += 1
        return host.clone(self.work / f"host{self.n}")

    def host(self, url, **more):
        h = self.clone(self.fresh)
        h.configure({"report": {"url": url, **more}})
        return h


def box(host, folder="outbox"):
    """The waiting reports, in order."""
    d = host.path(f"/var/lib/gybe/{folder}")
    return [json.loads(p.read_text()) for p in sorted(d.glob("[0-9]*.json"))] if d.exists() else []


def memory(host):
    p = host.path("/var/lib/gybe/outbox/state.json")
    return json.loads(p.read_text()) if p.exists() else {}


def skip_pause(host):
    doc = memory(host)
    doc.pop("notBefore", None)
    host.write("/var/lib/gybe/outbox/state.json", json.dumps(doc))


def until(doc):
    """Seconds from now to the next try."""
    at = datetime.fromisoformat(doc["notBefore"].replace("Z", "+00:00"))
    return (at - datetime.now(timezone.utc)).total_seconds()


def prompt(f):
    start = time.monotonic()
    r = f()
    took = time.monotonic() - start
    assert took < PROMPT, f"took {took:.1f} s"
    return r


STORY = ["staged", "finalized", "recovered", "committed"]


def story(h, t):
    expect(h, 0, "update", t.cosi)
    h.boot()
    expect(h, 0, "commit")


def cases(t):
    @t.case
    def _():
        """a whole update is told as it happens, in order, each once, with an id of its own"""
        r = t.receiver()
        h = t.host(r.url)
        story(h, t)
        assert r.events() == STORY and len(r.requests) == 4, r.events()
        assert box(h) == [] and [x["number"] for x in r.got] == [1, 2, 3, 4], r.got
        for path, headers, report in r.requests:
            assert path == "/reports" and headers["Content-Type"] == "application/json", headers
            assert headers["Idempotency-Key"] == report["id"] and "Authorization" not in headers, headers
            assert report["schema"] == "gybe.report/1" and report["version"] == "3.0.2" and report["slot"] == "b", report
            assert report["host"] == {"id": HOST_ID, "name": "node-1", "product": "azure-container-linux", "channel": "stable"}
            assert report["updateId"] == r.got[0]["updateId"] and re.fullmatch(r"\d{4}-.*Z", report["at"])
        assert len({x["id"] for x in r.got}) == 4
        assert r.got[3]["outcome"] == "committed" and r.got[3]["kind"] == "outcome" and r.got[0]["kind"] == "progress"
        assert [e["event"] for e in history(h)][-1] == "committed"
        job(h, 10, "deliver")

    @t.case
    def _():
        """without report.url nothing is written"""
        h = t.clone(t.fresh)
        story(h, t)
        assert not h.path("/var/lib/gybe/outbox").exists()
        job(h, 10, "deliver")

    @t.case
    def _():
        """a receiver that is not there changes no outcome and no exit code; pauses grow, and all arrives in order at last"""
        r = t.receiver()
        h = t.host(f"http://127.0.0.1:{web.free_port()}/")
        story(h, t)
        s = status(h)
        assert s["outcome"] == "committed" and s["running"] == "b" and s["outbox"]["pending"] == 4, s.get("outbox")
        assert [x["event"] for x in box(h)] == STORY and memory(h)["failures"] == 1, memory(h)
        for n in range(2, 5):
            before = until(memory(h)) if n > 2 else 0
            job(h, 1, "deliver")   # a person asks at once
            assert memory(h)["failures"] == n and 10 << (n - 1) < until(memory(h)) <= 30 << (n - 1), memory(h)
        h.configure({"report": {"url": r.url}})
        expect(h, 10, "commit")
        assert r.requests == [], "before its time"
        job(h, 0, "deliver")
        assert r.events() == STORY and box(h) == [] and "failures" not in memory(h) and "notBefore" not in memory(h)

    @t.case
    def _():
        """a receiver that hangs keeps no verb waiting, not even while a report is being sent"""
        r = t.receiver()
        h = t.host(r.url)
        r.fault = lambda n, report: 503
        expect(h, 0, "update", t.cosi)
        h.boot()
        r.fault, r.requests = (lambda n, report: float(HANG)), []
        prompt(lambda: job(h, 0, "commit"))
        assert r.requests == [], "the verdict's job spoke to the receiver"
        p = spawn(h, "deliver", of="gybe-job")
        while not r.requests:
            time.sleep(0.02)
        prompt(lambda: expect(h, 0, "rollback"))
        r.fault = None
        assert p.wait(60) == 1
        job(h, 0, "deliver")
        assert r.events() == STORY + ["finalized"] and box(h) == [], r.events()

    @t.case
    def _():
        """refused reports are put away with the receiver's words, and the next ones go on; who does not know us is asked later"""
        r = t.receiver()
        h = t.host(r.url)
        r.fault = lambda n, report: 422 if report["event"] == "finalized" else None
        story(h, t)
        assert r.events() == ["staged", "recovered", "committed"], r.events()
        away = box(h, "outbox/rejected")
        assert [x["event"] for x in away] == ["finalized"] and away[0]["rejected"]["status"] == 422, away
        assert away[0]["rejected"]["answer"] == "what is this?" and status(h)["outbox"]["rejected"] == 1
        for code in (401, 403, 408, 425, 429, 500, 503, 301):
            h = t.host(r.url)
            r.fault, r.requests = code, []
            expect(h, 0, "stage", t.cosi)
            assert len(r.requests) == 1 and len(box(h)) == 1 and memory(h)["failures"] == 1, (code, memory(h))
            assert str(code) in memory(h)["message"], memory(h)

    @t.case
    def _():
        """Retry-After is honoured"""
        r = t.receiver()
        h = t.host(r.url)
        r.fault = (429, {"Retry-After": "7200"})
        expect(h, 0, "stage", t.cosi)
        assert 7100 < until(memory(h)) <= 7200, memory(h)
        r.fault = (503, {"Retry-After": "999999999"})
        job(h, 1, "deliver")
        assert 86000 < until(memory(h)) <= 86400, memory(h)

    @t.case
    def _():
        """taken, and the answer got lost: sent again under the same key, before anything else"""
        r = t.receiver()
        h = t.host(r.url)
        r.fault = lambda n, report: "drop" if n <= 2 else None
        story(h, t)
        assert box(h) and memory(h)["failures"] == 1
        job(h, 1, "deliver")
        job(h, 0, "deliver")
        keys = [x[1]["Idempotency-Key"] for x in r.requests]
        assert keys[0] == keys[1] == keys[2] and len(set(keys)) == 4 and r.events() == STORY and box(h) == [], keys

    @t.case
    def _():
        """kill -9 of the deliverer at every write, again and again: the same keys, the same order, nothing lost"""
        if not shutil.which("strace"):
            return
        r = t.receiver()
        h = t.host(f"http://127.0.0.1:{web.free_port()}/")
        story(h, t)
        expect(h, 0, "rollback")
        h.boot()
        expect(h, 0, "commit")
        h.configure({"report": {"url": r.url}})
        ids = [x["id"] for x in box(h)]
        assert len(ids) >= 7, ids
        base = h
        rounds = 0
        for call in ("renameat", "unlinkat", "fsync", "sendmsg"):
            for n in range(1, 8):
                h = t.clone(base)
                r.got, r.requests, r.keys = [], [], set()
                for again in range(40):
                    kill_at(call, n, command(h, "deliver", of="gybe-job"))
                    rounds += 1
                    if not box(h):
                        break
                    if again % 3 == 2:   # killed at the same place for ever, nobody gets on
                        skip_pause(h)
                        kill_at("unlinkat", 3, command(h, "deliver", of="gybe-job"))
                assert box(h) == [], f"{call} {n}: {len(box(h))} are left"
                assert [x["id"] for x in r.got] == ids, f"{call} {n}: {[x['event'] for x in r.got]}"
                seen = [x[1]["Idempotency-Key"] for x in r.requests]
                assert seen == sorted(seen, key=ids.index), f"{call} {n}: one overtook another"
                shutil.rmtree(h.dir)
        print(f"   {rounds} deliverers were killed", flush=True)

    @t.case
    def _():
        """kill -9 of the verb that reports: what happened is told once, under one key"""
        if not shutil.which("strace"):
            return
        r = t.receiver()
        base = t.host(f"http://127.0.0.1:{web.free_port()}/")
        expect(base, 0, "update", t.cosi)
        base.boot()
        for call, n in [(c, n) for c in ("renameat", "fsync") for n in range(1, 60, 2)]:
            h = t.clone(base)
            kill_at(call, n, command(h, "commit", of="gybe-job"))
            gybe(h, "commit", check=False)
            assert status(h)["outcome"] == "committed"
            h.configure({"report": {"url": r.url}})
            r.got, r.requests, r.keys = [], [], set()
            job(h, 0, "deliver")
            assert r.events().count("committed") == 1, f"{call} {n}: {r.events()}"
            shutil.rmtree(h.dir)

    @t.case
    def _():
        """the way back is told, too: a verdict against a slot, and what came of it"""
        r = t.receiver()
        h = t.host(r.url)
        check = h.path("/etc/gybe/health.d/required.d/10-fails")
        check.parent.mkdir(parents=True)
        check.write_text("#!/bin/sh\n[ $GYBE_SLOT = a ] && exit 0\necho 'pods do not answer'\nexit 1\n")
        check.chmod(0o755)
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 1, "commit")
        h.boot()
        expect(h, 10, "commit")
        assert r.events() == ["staged", "finalized", "recovered", "rejected", "rolled-back"], r.events()
        assert "pods do not answer" in r.got[3]["message"] and r.got[4]["quarantined"] and r.got[4]["reason"] == "health-fallback"

    @t.case
    def _():
        """a release that cannot be trusted is told"""
        r = t.receiver()
        h = t.host(r.url)
        bad = t.work / "bad.cosi"
        data = bytearray(t.cosi.read_bytes())
        data[len(data) // 2] ^= 1
        bad.write_bytes(data)
        doc = (t.work / "x.release.json").read_text()
        (t.work / "bad.release.json").write_text(doc)
        r1 = gybe(h, "stage", bad, check=False)
        assert r1.returncode == 4, r1.stderr
        assert r.events() == ["rejected"] and r.got[0]["message"], r.got
        (t.work / "bad.release.json").write_text(doc.replace('"sig": "', '"sig": "AAAA'))
        expect(h, 4, "stage", bad)
        assert r.events() == ["rejected", "rejected"], r.events()

    @t.case
    def _():
        """an outbox that cannot be written is a warning"""
        r = t.receiver()
        h = t.host(r.url)
        h.write("/var/lib/gybe/outbox", "not a folder")
        x = expect(h, 0, "update", t.cosi)
        assert "is not reported" in x.stderr, x.stderr
        h.boot()
        expect(h, 0, "commit")
        assert status(h)["outcome"] == "committed" and r.requests == []

    @t.case
    def _():
        """a report that cannot be read is put aside and keeps nobody waiting"""
        r = t.receiver()
        h = t.host(f"http://127.0.0.1:{web.free_port()}/")
        story(h, t)
        h.write("/var/lib/gybe/outbox/00000002.json", "\0\0\0")
        h.configure({"report": {"url": r.url}})
        x = job(h, 0, "deliver")
        assert r.events() == ["staged", "recovered", "committed"] and "put aside" in x.stderr, x.stderr
        assert h.path("/var/lib/gybe/outbox/rejected/00000002.json").read_text() == "\0\0\0"

    @t.case
    def _():
        """tokens: the report's own goes to the report's address only, over https or on this machine; the source's never does"""
        r = t.receiver()
        h = t.host(r.url)
        h.write("/etc/gybe/report.token", "r3port\n")
        h.write("/etc/gybe/source.token", "s0urce\n")
        h.configure({"report": {"url": r.url, "bearerFile": "/etc/gybe/report.token"}, "http": {"bearerFile": "/etc/gybe/source.token"}})
        expect(h, 0, "stage", t.cosi)
        assert [x[1].get("Authorization") for x in r.requests] == ["Bearer r3port"], r.requests
        for url in ("http://reports.invalid/", "http://127.0.0.1.reports.invalid/", "http://localhost.reports.invalid/",
                    "http://127.0.0.1@reports.invalid/"):
            h.configure({"report": {"url": url, "bearerFile": "/etc/gybe/report.token"}})
            gybe(h, "finalize", check=False)
            job(h, 2, "deliver")
            assert "https address only" in memory(h)["message"], memory(h)
            gybe(h, "rollback", check=False)
        h.write("/etc/gybe/report.token", "a\r\nX-Evil: 1\n")
        h.configure({"report": {"url": r.url, "bearerFile": "/etc/gybe/report.token"}})
        job(h, 1, "deliver")
        assert len(r.requests) == 1 and "not one line" in memory(h)["message"]

    @t.case
    def _():
        """an address that is none keeps no update from being made; one that was taken away keeps the reports"""
        h = t.host("ftp://reports/")
        story(h, t)
        assert status(h)["outcome"] == "committed" and len(box(h)) == 4
        h.configure({})
        job(h, 10, "deliver")
        assert len(box(h)) == 4 and until(memory(h)) > 0


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-outbox-") as tmp:
        os.chmod(tmp, 0o755)
        t = Test(Path(tmp))
        try:
            cases(t)
        finally:
            for r in t.receivers:
                r.stop()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
