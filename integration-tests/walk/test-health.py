#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Health on files: what had failed before the update, and what fails since; an endpoint that answers, stumbles, dies and hangs; the
soak, its end by the deadline, and a judge that is killed in it. There is no service manager here: units are told by unit tests."""

import http.server
import json
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import web
from cases import Cases
from sandbox import MIB, Host, build, expect, gybe, history, image, keygen, sign, spawn, status

CHECKS = "/etc/gybe/health.d/required.d"


class Node:
    """A workload's health endpoint. answers: what it says; a number, or a function of seconds since the first question."""

    def __init__(self):
        self.answers, self.asked, self.heads, self.first = 200, 0, [], None
        node = self

        class Handler(web.Quiet, http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                node.asked += 1
                node.heads.append(dict(self.headers))
                node.first = node.first or time.monotonic()
                answer = node.answers(time.monotonic() - node.first) if callable(node.answers) else node.answers
                if answer == "hang":
                    time.sleep(8)
                    return
                self.send_response(answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

        self.server = web.Server(Handler)
        self.url = self.server.url + "healthz"

    def restart(self, answers):
        self.answers, self.asked, self.heads, self.first = answers, 0, [], None


class Test(Cases):
    def __init__(self, work):
        self.work = work
        keys = keygen(work / "keys")
        self.root = keys / "root.json"
        self.v1, self.v2 = (image(work / v, v, size=4 * MIB) for v in ("3.0.1", "3.0.2"))
        self.cosi = build(self.v2, work / "acl-3.0.2.cosi")
        sign(self.cosi, [keys / "release.pem"], "3.0.2", 1002)
        self.waiting = []

    def host(self, name, health=None, soak="2s", **policy):
        h = Host(self.work / name, usr_size=4 * MIB, hash_size=MIB, sig_size=MIB, esp_size=8 * MIB)
        h.install(self.v1, trust_root=self.root, config={"health": health} if health else {},
                  policy={"attempts": 2, **({"soak": soak} if soak else {}), **policy})
        return h

    def case(self, f):
        self.waiting.append(f)

    def one(self, f):
        node = Node()
        try:
            f(node)
        finally:
            node.server.stop()

    def run(self):
        """Most of a case is waiting, so many run side by side, each with a workload of its own."""
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(super().case, self.waiting))
        return self.end()


def check(host, name, script):
    p = host.path(f"{CHECKS}/{name}")
    p.parent.mkdir(parents=True, exist_ok=True)
    p.write_text(f"#!/bin/sh\n{script}\n")
    p.chmod(0o755)
    return p


def endpoint(node, **more):
    return {"http": [{"url": node.url, "timeout": "1s", "retryFor": "3s", **more}]}


def verdict(host, event="committed"):
    return [e for e in history(host) if e["event"] == event][-1]["health"]


def findings(health, weight):
    return [f["text"] for f in health["findings"] if f["weight"] == weight]


def went_back(host):
    """After the failed verdict: the next boot is the old slot, which knows why."""
    assert host.boot() == "vmlinuz-6.6.121.efi"
    gybe(host, "commit", check=False)
    s = status(host)
    assert s["running"] == "a" and s["reason"] == "health-fallback" and s["outcome"] == "rolled-back", s
    return s


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-health-") as tmp:
        t = Test(Path(tmp))
        endpoints(t)
        executables(t)
        deadlines(t)
        memory(t)
        return t.run()


def endpoints(t):
    @t.case
    def _(node):
        """an endpoint that answers is watched for the soak"""
        node.restart(200)
        h = t.host("well", endpoint(node))
        expect(h, 0, "update", t.cosi)
        baseline = json.loads(h.path("/var/lib/gybe/baseline.json").read_text())
        assert baseline["schema"] == "gybe.baseline/1" and baseline["http"] == \
            [{"name": node.url, "passed": True, "said": "answered 200"}] and "failedUnits" not in baseline, baseline
        h.boot()
        started = time.monotonic()
        r = expect(h, 0, "commit")
        assert 2 <= time.monotonic() - started < 8, time.monotonic() - started
        assert "watched 1 endpoint for 2s" in r.stdout, r.stdout
        health = verdict(h)
        assert health["passed"] and health["compared"] and not health["findings"], health
        assert health["watched"] == {"units": 0, "endpoints": 1, "samples": 0, "seconds": 2, "soak": 2}, health["watched"]

    @t.case
    def _(node):
        """it answered before the update and does not since: back, quarantined, said in one sentence"""
        node.restart(200)
        h = t.host("wrong", endpoint(node))
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart(500)
        r = expect(h, 1, "commit")
        sentence = verdict(h, "health-failed")["firstFailure"]
        assert sentence.startswith(f"{node.url} answered 500 for ") and sentence.endswith("; it answered 200 before the update"), sentence
        assert sentence in r.stderr, r.stderr
        expect(h, 3, "commit")
        s = went_back(h)
        assert sentence in json.dumps(s), s
        expect(h, 3, "update", t.cosi)

    @t.case
    def _(node):
        """it had failed before: told at the flip and in the verdict, and kept"""
        node.restart(503)
        h = t.host("before", endpoint(node))
        r = expect(h, 0, "update", t.cosi)
        assert f"endpoint {node.url} fails already (answered 503)" in r.stdout, r.stdout
        h.boot()
        expect(h, 0, "commit")
        assert findings(verdict(h), "before")[0].endswith("; it failed before the update, too"), verdict(h)
        assert status(h)["running"] == "b"

    @t.case
    def _(node):
        """it dies in the middle of the soak"""
        node.restart(200)
        h = t.host("dies", endpoint(node), soak="20s")
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart(lambda s: 200 if s < 5 else 500)
        started = time.monotonic()
        expect(h, 1, "commit")
        assert 8 <= time.monotonic() - started < 20, "not caught in the soak"
        went_back(h)

    @t.case
    def _(node):
        """it stumbles and comes back in time: told, and kept"""
        node.restart(200)
        h = t.host("stumbles", endpoint(node, retryFor="30s"), soak="18s")
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart(lambda s: 503 if 8 < s < 13 else 200)
        expect(h, 0, "commit")
        assert "answered 503 for" in findings(verdict(h), "healed")[0], verdict(h)

    @t.case
    def _(node):
        """it needs a while after the boot"""
        node.restart(200)
        h = t.host("late", endpoint(node, retryFor="20s"))
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart(lambda s: 503 if s < 4 else 200)
        expect(h, 0, "commit")
        assert not verdict(h)["findings"], verdict(h)

    @t.case
    def _(node):
        """it hangs: its time limit holds"""
        node.restart(200)
        h = t.host("hangs", endpoint(node))
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart("hang")
        started = time.monotonic()
        r = expect(h, 1, "commit")
        assert "did not answer" in r.stderr and time.monotonic() - started < 15, r.stderr
        node.restart(200)

    @t.case
    def _(node):
        """nobody listens: the sentence says so"""
        h = t.host("refused", {"http": [{"url": "http://127.0.0.1:9/healthz", "required": True, "retryFor": "1s"}]})
        r = expect(h, 0, "update", t.cosi)
        assert "fails already (did not answer (" in r.stdout, r.stdout
        h.path("/var/lib/gybe/baseline.json").unlink()
        h.boot()
        r = expect(h, 1, "commit")
        assert "127.0.0.1:9/healthz did not answer (" in r.stderr, r.stderr

    @t.case
    def _(node):
        """wanted ones are told, and never decide"""
        node.restart(200)
        h = t.host("wanted", endpoint(node, required=False))
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart(500)
        expect(h, 0, "commit")
        assert findings(verdict(h), "wanted"), verdict(h)

    @t.case
    def _(node):
        """asked directly: no proxy, no token"""
        node.restart(200)
        h = t.host("direct")
        h.write("/etc/token", "geheim\n")
        h.configure({"health": endpoint(node), "http": {"proxy": "http://127.0.0.1:9", "bearerFile": "/etc/token"},
                     "source": {"type": "feed", "url": node.url}})
        proxies = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
        r = expect(h, 0, "update", t.cosi, env=proxies)
        assert "fails already" not in r.stdout, r.stdout
        h.boot()
        expect(h, 0, "commit", env=proxies)
        assert node.asked >= 2 and not any("geheim" in str(head) for head in node.heads), node.heads

    @t.case
    def _(node):
        """a host made of files waits only where its policy says how long"""
        node.restart(200)
        h = t.host("files", endpoint(node), soak=None)
        expect(h, 0, "update", t.cosi)
        h.boot()
        started = time.monotonic()
        r = expect(h, 0, "commit")
        assert time.monotonic() - started < 5 and "looked at 1 endpoint" in r.stdout, r.stdout
        h = t.host("nothing", soak="4m")
        expect(h, 0, "update", t.cosi)
        h.boot()
        started = time.monotonic()
        expect(h, 0, "commit")
        assert time.monotonic() - started < 5, "waited for nothing"


def executables(t):
    @t.case
    def _(node):
        """a check that had failed before does not decide; one that is new does"""
        h = t.host("old-and-new")
        check(h, "10-old", "echo the disk is old; exit 3")
        r = expect(h, 0, "update", t.cosi)
        assert "check required.d/10-old fails already (exit code 3: the disk is old)" in r.stdout, r.stdout
        h.boot()
        expect(h, 0, "commit")
        health = verdict(h)
        assert findings(health, "before") == ["required.d/10-old: exit code 3: the disk is old; it failed before the update, too"], health
        assert status(h)["running"] == "b"
        h = t.host("new")
        check(h, "10-old", "exit 3")
        expect(h, 0, "update", t.cosi)
        h.boot()
        check(h, "20-new", "echo no route; exit 1")
        expect(h, 1, "commit")
        health = verdict(h, "health-failed")
        assert health["firstFailure"] == "required.d/20-new: exit code 1: no route" and findings(health, "before"), health
        last = went_back(h)["health"]
        assert last["schema"] == "gybe.health/1" and last["running"] == "b" and last["version"] == "3.0.2" and not last["passed"], last
        assert [c["name"] for c in last["checks"]] == ["required.d/10-old", "required.d/20-new"], last
        assert "output" not in json.dumps(last["checks"]) and "output" in json.dumps(health["checks"]), last

    @t.case
    def _(node):
        """a check that passes after the boot and fails after the soak"""
        node.restart(200)
        h = t.host("second-round", endpoint(node))
        marks = t.work / "marks"
        check(h, "10-once", f'[ $GYBE_SLOT = a ] && exit 0\necho x >> {marks}\n[ "$(wc -l < {marks})" = 1 ]')
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 1, "commit")
        assert marks.read_text().count("x") == 2
        went_back(h)

    @t.case
    def _(node):
        """they are told which slot, version and update they judge"""
        h = t.host("told")
        said = t.work / "said"
        check(h, "10-env", f'echo "$GYBE_SLOT $GYBE_VERSION $GYBE_UPDATE_ID" >> {said}')
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 0, "commit")
        first, second = (line.split() for line in said.read_text().splitlines())
        assert first[:2] == ["a", "3.0.1"] and second[:2] == ["b", "3.0.2"] and first[2] == second[2], (first, second)

    @t.case
    def _(node):
        """a limit for all: a check that hangs is ended"""
        h = t.host("hangs-check", {"timeout": "1s"})
        check(h, "10-hangs", "[ $GYBE_SLOT = a ] && exit 0\necho waiting\nsleep 60")
        expect(h, 0, "update", t.cosi)
        h.boot()
        r = expect(h, 1, "commit")
        assert "no answer within 1 s: waiting" in r.stderr, r.stderr

    @t.case
    def _(node):
        """units that are named cannot be asked here, and that is told"""
        h = t.host("units", {"units": ["kubelet.service"]})
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 0, "commit")
        assert findings(verdict(h), "unknown"), verdict(h)


def deadlines(t):
    @t.case
    def _(node):
        """soak and deadline that do not fit are told before the flip; the soak is cut, and nothing is waited for beyond"""
        node.restart(200)
        h = t.host("cut", endpoint(node, retryFor="30s"), soak="40s", deadline="60s")
        r = expect(h, 0, "update", t.cosi, "--json")
        assert any("the deadline of 1m would cut them short" in m for m in json.loads(r.stdout)["missingGuarantees"]), r.stdout
        h.boot()
        h.write("/proc/uptime", "36.52 70.11\n")
        started = time.monotonic()
        r = expect(h, 0, "commit")
        assert time.monotonic() - started < 10 and "because the deadline is near" in r.stdout, r.stdout
        assert verdict(h)["watched"]["cutByDeadline"] is True, verdict(h)

    @t.case
    def _(node):
        """who is not well when the deadline is near has not passed"""
        node.restart(200)
        h = t.host("near", endpoint(node, retryFor="5m"), soak="40s", deadline="60s")
        expect(h, 0, "update", t.cosi)
        h.boot()
        node.restart(500)
        h.write("/proc/uptime", "40.52 70.11\n")
        started = time.monotonic()
        expect(h, 1, "commit")
        assert time.monotonic() - started < 12, "waited beyond the deadline"
        went_back(h)

    @t.case
    def _(node):
        """what fits is not warned of"""
        node.restart(200)
        h = t.host("fits", endpoint(node), soak="40s", deadline="5m")
        r = expect(h, 0, "update", t.cosi, "--json")
        assert not any("cut" in m for m in json.loads(r.stdout).get("missingGuarantees", [])), r.stdout


def memory(t):
    @t.case
    def _(node):
        """the judge is killed in the soak, again and again: the trial goes on, and the verdict is the same"""
        for answers, code, running in ((200, 0, "b"), (500, 1, "a")):
            node.restart(200)
            h = t.host(f"killed-{running}", endpoint(node, retryFor="6s"), soak="4s")
            expect(h, 0, "update", t.cosi)
            h.boot()
            node.restart(answers)
            for after in (0.3, 1.1, 2.7, 3.4):
                p = spawn(h, "commit")
                time.sleep(after)
                p.send_signal(signal.SIGKILL)
                p.wait()
                assert status(h)["phase"] == "probation" and h.default_entry() == "vmlinuz-6.6.121.efi"
            expect(h, code, "commit")
            if code == 1:
                went_back(h)
            assert status(h)["running"] == running

    @t.case
    def _(node):
        """without a baseline of this update, or with one that cannot be read, what is required decides"""
        def lose(text):
            def f(h):
                h.write("/var/lib/gybe/baseline.json", text)
            return f

        def of_another(h):
            p = h.path("/var/lib/gybe/baseline.json")
            p.write_text(p.read_text().replace('"updateId":"', '"updateId":"other-').replace('"updateId": "', '"updateId": "other-'))

        for n, change in enumerate((lambda h: h.path("/var/lib/gybe/baseline.json").unlink(), lose('{"schema":"gybe.baseline/1","upd'),
                                    lose('{"schema":"gybe.baseline/2"}'), lose('{"schema":"gybe.baseline/1","updateId":"x"}'), of_another)):
            node.restart(500)
            h = t.host(f"lost{n}", endpoint(node, retryFor="0s"))
            expect(h, 0, "update", t.cosi)
            change(h)
            h.boot()
            expect(h, 1, "commit")
            assert verdict(h, "health-failed")["compared"] is False, verdict(h, "health-failed")
        node.restart(200)

    @t.case
    def _(node):
        """a mistake in what should be healthy: nothing is armed; and nothing is kept for want of a question"""
        h = t.host("mistake", {"units": "kubelet.service"})
        r = gybe(h, "update", t.cosi, check=False)
        assert r.returncode == 2 and "health.units must be a list" in r.stderr, r.stderr
        assert h.var("LoaderEntryOneShot") is None
        h.configure({})
        expect(h, 0, "update", t.cosi)
        h.boot()
        h.configure({"health": {"restartLimit": "many"}})
        r = expect(h, 1, "commit")
        assert "health.restartLimit" in r.stderr, r.stderr
        went_back(h)
        h = t.host("mistake-home")
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 0, "commit")
        h.configure({"health": {"restartLimit": "many"}})
        expect(h, 0, "rollback")
        h.boot()
        expect(h, 0, "commit")
        assert "health.restartLimit" in findings(verdict(h), "unknown")[0] and status(h)["running"] == "a", verdict(h)

    @t.case
    def _(node):
        """the way back by an operator's word is watched, too"""
        node.restart(200)
        h = t.host("rollback", endpoint(node))
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 0, "commit")
        node.restart(200)
        expect(h, 0, "rollback")
        assert node.asked == 1, "no baseline before the way back"
        h.boot()
        expect(h, 0, "commit")
        assert status(h)["outcome"] == "rolled-back" and verdict(h)["watched"]["endpoints"] == 1

    @t.case
    def _(node):
        """a name that is no text, a flood of output: history can still be read and its chain holds"""
        h = t.host("odd")
        h.path(CHECKS).mkdir(parents=True)
        name = os.fsencode(h.path(CHECKS)) + b"/10-\xff\x1b[2J"
        with open(name, "wb") as f:
            f.write(b"#!/bin/sh\n[ $GYBE_SLOT = a ] && exit 0\nhead -c 300000 /dev/urandom; exit 1\n")
        os.chmod(name, 0o755)
        expect(h, 0, "update", t.cosi)
        h.boot()
        expect(h, 1, "commit")
        r = expect(h, 0, "history", "--json")
        assert json.loads(r.stdout)["chainHolds"] is True
        assert verdict(h, "health-failed")["firstFailure"].startswith("required.d/10-??[2J: exit code 1"), verdict(h, "health-failed")


if __name__ == "__main__":
    sys.exit(main())
