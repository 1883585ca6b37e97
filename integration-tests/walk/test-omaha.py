#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Omaha: a host that asks an update server and tells it what becomes of its offers. The server (lib/nebraska.py) is strict: it
follows Nebraska's rules, and complains of everything that the real one would drop or misread without a word. After every case it
must have nothing to complain of."""

import base64
import hashlib
import json
import os
import signal
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
import nebraska
import web
from agent import Agent
from cases import Cases
from kill import kill_at
from sandbox import MIB, Host, command, expect, gybe, history, image, job, run, spawn, status

MACHINE = "3d999098-59bc-89f2-b234-a39b484169de"   # of 0123...: SHA-384 of its 16 bytes, the first 16, as a UUID
STORY = ["granted", "downloading", "downloaded", "installed", "complete"]


class Files(web.Files):
    slow = 0.0

    def copyfile(self, source, out):
        while data := source.read(65536):
            time.sleep(Files.slow)
            out.write(data)


class Test(Cases):
    def __init__(self, work):
        self.work, self.n, self.servers = work, 0, []
        self.key, stranger = foreign.Key(work / "key.pem"), foreign.Key(work / "stranger.pem")
        root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([self.key]), [self.key]))
        self.files = work / "files"
        self.files.mkdir()
        self.images, self.cosi = {}, {}
        for n in (1, 2, 3):
            v = f"3.0.{n}"
            img = self.images[v] = image(work / f"v{n}", v, size=1 * MIB)
            if n == 1:
                continue
            c = foreign.Cosi(img, work / f"cosi{n}", version="1.1")
            path = c.write(self.files / f"acl-{v}.cosi")
            self.cosi[v] = c
            foreign.write_json(self.files / f"acl-{v}.release.json",
                               foreign.envelope("release", foreign.release(img, c, path, serial=2026110400 + n), [self.key]))
        shutil.copyfile(self.files / "acl-3.0.2.cosi", self.files / "stranger.cosi")
        foreign.write_json(self.files / "stranger.release.json", foreign.envelope("release", foreign.release(
            self.images["3.0.2"], self.cosi["3.0.2"], self.files / "stranger.cosi", serial=2026110402), [stranger]))
        shutil.copyfile(self.files / "acl-3.0.2.cosi", self.files / "alone.cosi")
        self.server = web.files(self.files, Files)
        self.codebase = self.server.url
        self.fresh = Host(work / "fresh", usr_size=2 * MIB, esp_size=34 * MIB)
        self.fresh.install(self.images["3.0.1"], trust_root=root, policy={"attempts": 1})
        self.fresh.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")

    def nebraska(self, offer="3.0.2", **more):
        n = nebraska.Nebraska(**more)
        self.servers.append(n)
        if offer:
            n.package(offer, self.codebase, f"acl-{offer}.cosi")
        return n

    def clone(self, host):
        self.n += 1
        return host.clone(self.work / f"host{self.n}")

    def source(self, n, **more):
        return {"source": {"type": "omaha", "url": n.url, "appId": n.app, "track": n.track, **more}}

    def host(self, n, **more):
        h = self.clone(self.fresh)
        h.configure(self.source(n, **more))
        return h

    def one(self, f):
        f()
        for n in self.servers:
            assert n.wrong == [], n.wrong

    def over(self):
        for n in self.servers:
            n.stop()
        self.servers = []


def code_of(host, exit_code, *args):
    """The code of its error object."""
    return json.loads(expect(host, exit_code, *args, "--json").stdout)["error"]["code"]


def box(host):
    d = host.path("/var/lib/gybe/outbox-omaha")
    return [json.loads(p.read_text())["event"] for p in sorted(d.glob("[0-9]*.json"))] if d.exists() else []


def skip_pause(host):
    p = host.path("/var/lib/gybe/outbox-omaha/state.json")
    doc = json.loads(p.read_text())
    doc.pop("notBefore", None)
    p.write_text(json.dumps(doc))


def update(h):
    expect(h, 0, "update")
    h.boot()
    expect(h, 0, "commit")


def me(n):
    return n.instances[MACHINE]


def cases(t):
    @t.case
    def _():
        """a whole update is seen by the server: granted, downloading, downloaded, installed, complete"""
        n = t.nebraska()
        h = t.host(n, alias="node-1")
        expect(h, 0, "check")
        assert me(n).history == STORY[:1] and me(n).alias == "node-1", me(n).history
        expect(h, 0, "stage")
        assert me(n).history == STORY[:3], me(n).history
        expect(h, 0, "finalize")
        assert me(n).history == STORY[:4], me(n).history
        h.boot()
        expect(h, 0, "commit")
        assert me(n).history == STORY and me(n).version == "3.0.2" and set(me(n).previous) == {"3.0.1"}, (me(n).history, me(n).previous)
        assert status(h)["running"] == "b" and box(h) == [] and len(n.instances) == 1
        assert code_of(h, 10, "check") == "no-offer"
        assert me(n).history == STORY and not any("0123456789abcdef" in r for r in n.requests), "the machine id itself was sent"

    @t.case
    def _():
        """asking again changes nothing: a grant stays the same, what is staged stays staged"""
        n = t.nebraska()
        h = t.host(n)
        for _ in range(3):
            expect(h, 0, "check")
        grant = json.loads(h.path("/var/lib/gybe/omaha.json").read_text())["id"]
        expect(h, 0, "stage")
        assert json.loads(h.path("/var/lib/gybe/omaha.json").read_text())["id"] == grant
        assert code_of(h, 10, "check") == "staged" and code_of(h, 10, "stage") == "staged"
        assert me(n).history == STORY[:3]
        expect(h, 0, "update")
        assert me(n).history == STORY[:4]

    @t.case
    def _():
        """by request: another server than the source, named in the job, with the version that is wanted"""
        n, other = t.nebraska(track="pin-3.0.2"), t.nebraska(offer=None)
        h = t.host(other)
        ident = str(uuid.uuid4())
        order = {"schema": "gybe.job/1", "id": ident, "verb": "stage", "version": "3.0.2", "at": "2026-11-21T12:00:00Z",
                 "omaha": {"url": n.url, "appId": n.app, "track": n.track}, "requestedBy": {"uid": 0, "how": "dbus"}}
        h.write(f"/run/gybe/jobs/{ident}.json", json.dumps(order))
        job(h, 0, "run", ident)
        job(h, 0, "deliver")
        assert me(n).history == STORY[:3] and other.requests == [], me(n).history
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")
        assert me(n).history == STORY and other.requests == []
        for wrong in ({"url": n.url}, {"appId": n.app, "url": n.url, "track": "x" * 300}, {"track": "x"}):
            h.write(f"/run/gybe/jobs/{ident}.json", json.dumps({**order, "omaha": wrong}))
            h.path(f"/run/gybe/jobs/{ident}.progress.json").unlink(missing_ok=True)
            r = gybe(h, "run", ident, of="gybe-job", check=False)
            assert r.returncode != 0, wrong

    @t.case
    def _():
        """floors: one after the other, each told to its end"""
        n = t.nebraska(offer="3.0.3")
        n.package("3.0.2", t.codebase, "acl-3.0.2.cosi", floor=True)
        h = t.host(n)
        assert code_of(h, 3, "stage", "--version", "3.0.3") == "other-version"
        assert me(n).history == ["granted", "error"] and me(n).errors == [35]
        update(h)
        assert status(h)["version"] == "3.0.2" if "version" in status(h) else True
        update(h)
        assert me(n).history == ["granted", "error"] + STORY * 2 and me(n).version == "3.0.3", me(n).history
        assert me(n).previous[-1] == "3.0.2"

    @t.case
    def _():
        """what the server's rules say: nothing to do, and a person who wants a version is refused"""
        n = t.nebraska()
        h = t.host(n)
        for word, code in (("error-updatesDisabled", "omaha-disabled"), ("error-maxUpdatesPerPeriodLimitReached", "omaha-period"),
                           ("error-maxConcurrentUpdatesLimitReached", "omaha-concurrent"),
                           ("error-maxTimedOutUpdatesLimitReached", "omaha-timed-out")):
            n.blocked = word
            assert code_of(h, 10, "check") == code and code_of(h, 10, "update") == code
            assert code_of(h, 3, "stage", "--version", "3.0.2") == code
        n.blocked = "error-couldNotCheckUpdatesStats"
        assert code_of(h, 10, "check") == "omaha-stats"
        n.blocked = None
        expect(h, 0, "check")

    @t.case
    def _():
        """a server that cannot offer anything to this host as it is configured"""
        n = t.nebraska(offer=None)
        h = t.host(n)
        assert code_of(h, 1, "check") == "omaha-no-package"
        h.configure(t.source(n, appId=str(uuid.uuid4())))
        assert code_of(h, 1, "check") == "omaha-unknown-group"
        h.configure(t.source(n, track="nightly"))
        assert code_of(h, 1, "check") == "omaha-unknown-group"
        h.configure({"source": {"type": "omaha", "url": n.url}})
        expect(h, 2, "check")
        h.configure(t.source(n, alias="x" * 257))
        assert code_of(h, 2, "check") == "bad-config"
        h.path("/etc/machine-id").unlink()
        h.configure(t.source(n))
        assert code_of(h, 1, "check") == "no-machine-id"

    @t.case
    def _():
        """a release that is refused ends the grant, each with its error code"""
        for name, code, errors in (("stranger.cosi", 4, [12]), ("alone.cosi", 4, [12]), ("update.gz", 1, None)):
            n = t.nebraska(offer=None)
            n.package("3.0.2", t.codebase, name)
            h = t.host(n)
            expect(h, code, "check")
            assert errors is None or (me(n).history == ["granted", "error"] and me(n).errors == errors), (name, me(n).history, me(n).errors)
            assert box(h) == []
        n = t.nebraska(offer=None)
        n.package("3.0.9", t.codebase, "acl-3.0.2.cosi")   # says another version than the release in it
        h = t.host(n)
        assert code_of(h, 4, "stage") == "contradiction" and me(n).history == ["granted", "error"]
        n = t.nebraska(offer=None)
        n.package("3.0.2", t.codebase, "acl-3.0.2.cosi", size=77)
        h = t.host(n)
        assert code_of(h, 4, "stage") == "contradiction" and me(n).errors == [12]
        h = t.host(n)
        expect(h, 0, "skip", "3.0.2")
        n.packages[0]["size"] = 0
        expect(h, 3, "stage")
        assert me(n).errors[-1] == 35

    @t.case
    def _():
        """a rule of this host that says later keeps the grant"""
        n = t.nebraska()
        h = t.host(n)
        expect(h, 0, "hold")
        expect(h, 3, "stage")
        assert me(n).history == ["granted"]
        expect(h, 0, "unhold")
        expect(h, 0, "stage")
        assert me(n).history == STORY[:3]

    @t.case
    def _():
        """a transfer that breaks is an error, and the next try is granted anew; killed while downloading likewise"""
        n = t.nebraska()
        h = t.host(n)
        whole = (t.files / "acl-3.0.2.cosi").read_bytes()
        try:
            (t.files / "acl-3.0.2.cosi").write_bytes(whole[:-200000] + b"\1" * 200000)
            gybe(h, "stage", check=False)
        finally:
            (t.files / "acl-3.0.2.cosi").write_bytes(whole)
        assert me(n).history[-1] == "error", me(n).history
        before = list(me(n).history)
        Files.slow = 0.2
        try:
            p = spawn(h, "stage")
            end = time.monotonic() + 30
            while me(n).status != "downloading" and time.monotonic() < end:
                time.sleep(0.02)
            p.send_signal(signal.SIGKILL)
            p.wait()
        finally:
            Files.slow = 0.0
        assert me(n).history == before + ["granted", "downloading"], me(n).history
        expect(h, 0, "stage")
        assert me(n).history == before + ["granted", "downloading", "error"] + STORY[:3], me(n).history
        n.wrong = [x for x in n.wrong if "came twice" not in x]   # killed between the answer and the note of it

    @t.case
    def _():
        """the end of an update that the server acknowledged and lost is told once more; one that it never takes ends as an error"""
        for times, end in ((1, "complete"), (99, "error")):
            n = t.nebraska()
            h = t.host(n)
            expect(h, 0, "update")
            h.boot()
            complete, lost = 'eventtype="3" eventresult="2"', []
            n.fault = lambda i, body: "loses" if complete in body and len(lost) < times and not lost.append(i) else None
            expect(h, 0, "commit")
            assert me(n).history == STORY[:4] and box(h) == [], (me(n).history, box(h))
            for _ in range(2):
                gybe(h, "check", check=False)
            assert me(n).history == STORY[:4] + [end] and not me(n).in_progress, (times, me(n).history)
            n.fault = None
            n.package("3.0.3", t.codebase, "acl-3.0.3.cosi")
            expect(h, 0, "check")
            assert me(n).history[-1] == "granted", me(n).history

    @t.case
    def _():
        """a fallback shows as an error and is not stuck"""
        n = t.nebraska()
        h = t.host(n)
        expect(h, 0, "update")
        h.boot(fail_oneshot=True)
        gybe(h, "commit", check=False)
        assert status(h)["running"] == "a"
        assert me(n).history == STORY[:4] + ["error"] and me(n).errors == [44] and me(n).version == "3.0.1", (me(n).history, me(n).errors)
        expect(h, 3, "stage")   # proved bad: told again, and not granted for ever
        assert me(n).history[-2:] == ["granted", "error"] and me(n).errors[-1] == 35, me(n).history
        n.package("3.0.3", t.codebase, "acl-3.0.3.cosi")
        update(h)
        assert me(n).history[-5:] == STORY and me(n).version == "3.0.3"

    @t.case
    def _():
        """a failed health check is told by the slot that failed, once"""
        n = t.nebraska()
        h = t.host(n)
        check = h.path("/etc/gybe/health.d/required.d/10-fails")
        check.parent.mkdir(parents=True)
        check.write_text("#!/bin/sh\n[ $GYBE_SLOT = a ] && exit 0\nexit 1\n")
        check.chmod(0o755)
        expect(h, 0, "update")
        h.boot()
        expect(h, 1, "commit")
        h.boot()
        expect(h, 10, "commit")
        assert me(n).history == STORY[:4] + ["error"] and len(me(n).errors) == 1, me(n).history

    @t.case
    def _():
        """nobody waits for the server: it dies after the grant, and all is told in order when it is back"""
        n = t.nebraska()
        h = t.host(n)
        expect(h, 0, "check")
        n.fault = lambda i, body: 503 if "<event" in body else None
        start = time.monotonic()
        expect(h, 0, "update")
        h.boot()
        expect(h, 0, "commit")
        assert time.monotonic() - start < 60
        s = status(h)
        assert s["outcome"] == "committed" and s["omahaOutbox"]["pending"] == 4 and box(h) == STORY[1:], (s.get("omahaOutbox"), box(h))
        assert me(n).history == ["granted"]
        assert code_of(h, 1, "check") == "omaha-waits", "a question must not overtake what waits"
        n.fault = None
        job(h, 0, "deliver")
        assert me(n).history == STORY and box(h) == [] and me(n).version == "3.0.2"
        assert code_of(h, 10, "check") == "no-offer"

    @t.case
    def _():
        """taken, and the answer got lost: told again, in order; the server's view is right at last"""
        n = t.nebraska()
        h = t.host(n)
        seen = []
        n.fault = lambda i, body: "drop" if "<event" in body and not seen.append(1) and len(seen) == 1 else None
        expect(h, 0, "stage")
        while box(h):
            skip_pause(h)
            job(h, 0, "deliver")
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")
        while box(h):
            skip_pause(h)
            job(h, 0, "deliver")
        assert me(n).history == STORY and len(seen) >= 5

    @t.case
    def _():
        """kill -9 at every write of the verbs: the server's story stays a story, and ends"""
        if not shutil.which("strace"):
            return
        step = int(os.environ.get("GYBE_KILL_STEP", "1"))
        rounds = 0
        for k in range(1, 60, 6 * step):
            n = t.nebraska()
            h = t.host(n)
            for verb in ("stage", "finalize", "commit"):
                kill_at("renameat", k, command(h, verb), "-f")
                rounds += 1
                again = gybe(h, verb, check=False)
                assert again.returncode in (0, 10), (k, verb, again.stderr)
                if verb == "finalize":
                    h.boot()
            gybe(h, "commit", check=False)
            while box(h):
                skip_pause(h)
                job(h, 0, "deliver")
            assert status(h)["outcome"] == "committed" and me(n).status == "complete", (k, me(n).history)
            assert me(n).version == "3.0.2"
            n.wrong = [x for x in n.wrong if "came twice" not in x and "is dropped: error" not in x]
            shutil.rmtree(h.dir)
        print(f"   {rounds} verbs were killed", flush=True)

    @t.case
    def _():
        """a server that believes in an update that is none is told, and asked in the same breath"""
        n = t.nebraska()
        h = t.host(n)
        expect(h, 0, "check")
        for state in ("downloading", "downloaded", "installed"):
            me(n).become(state)
            h.path("/var/lib/gybe/omaha.json").unlink()
            expect(h, 0, "check")
            assert me(n).history[-3:] == [state, "error", "granted"] and me(n).errors[-1] == 100, me(n).history
        update(h)
        assert me(n).history[-4:] == STORY[1:]

    @t.case
    def _():
        """another release takes its place: the server hears that its own is over"""
        n = t.nebraska()
        h = t.host(n)
        expect(h, 0, "stage")
        expect(h, 0, "stage", t.files / "acl-3.0.3.cosi")
        assert me(n).history == STORY[:3] + ["error"] and me(n).errors == [36], (me(n).history, me(n).errors)
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")
        assert me(n).history == STORY[:3] + ["error"], "what it did not grant is not its business"

    @t.case
    def _():
        """another server is asked: the one before hears the end if it can be reached, and keeps nobody if not"""
        n, m = t.nebraska(), t.nebraska(offer="3.0.3")
        h = t.host(n)
        expect(h, 0, "stage")
        h.configure(t.source(m))
        expect(h, 0, "stage")
        assert me(n).history == STORY[:3] + ["error"] and me(m).history == STORY[:3], (me(n).history, me(m).history)
        h.configure(t.source(n))
        n.fault = 503
        expect(h, 1, "check")
        h.configure(t.source(m))
        expect(h, 10, "check")
        assert me(m).history == STORY[:3]

    @t.case
    def _():
        """answers that are none"""
        n = t.nebraska(secret="s3cr3t")
        h = t.host(n)
        good = '<response protocol="3.0"><app appid="%s" status="ok"><updatecheck status="noupdate"/></app></response>' % n.app
        offer = n.offer(n.packages[0])
        bad = {"empty": b"", "html": b"<!DOCTYPE html><html></html>", "other": b"<html/>", "cut": good[:-5].encode(),
               "protocol": good.replace("3.0", "2.0").encode(), "app": good.replace(n.app, n.app.upper()).encode(),
               "two apps": good.replace("</app>", f'</app><app appid="{n.app}" status="ok"/>').encode(),
               "no app": b'<response protocol="3.0"/>', "no check": f'<response protocol="3.0"><app appid="{n.app}" status="ok"/></response>'.encode(),
               "event": good.replace("</app>", '<event status="ok"/></app>').encode(),
               "two manifests": good.replace('"noupdate"/>', '"ok">' + offer + '<manifest version="9.9.9"/></updatecheck>').encode(),
               "laughs": b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">]><response protocol="&a;"/>', "long": good.encode() + b" " * 300000}
        for name, body in bad.items():
            n.fault = (200, body, {})
            r = expect(h, 1, "check")
            assert "update server" in r.stderr and "s3cr3t" not in r.stderr, (name, r.stderr)
        for code in (400, 404, 500, 501, 503):
            n.fault = code
            r = expect(h, 1, "check")
            assert str(code) in r.stderr and "s3cr3t" not in r.stderr, r.stderr
        n.fault = (302, b"", {"Location": t.codebase})
        assert code_of(h, 1, "check") == "omaha-status"
        assert not h.path("/var/lib/gybe/omaha.json").exists()
        n.fault = None
        h.configure(t.source(n, url=n.url + "x"))
        r = expect(h, 1, "check")
        assert "501" in r.stderr and "secret" in r.stderr and "s3cr3t" not in r.stderr, r.stderr
        h.configure(t.source(n))
        expect(h, 0, "stage")
        assert "s3cr3t" not in json.dumps(history(h)) + json.dumps(status(h))
        n.stop()
        r = expect(h, 1, "check")
        assert "s3cr3t" not in r.stderr, r.stderr

    @t.case
    def _():
        """where packages are: codebase with and without slash, absolute names, the release as an extra file; never a local file"""
        name = "acl-3.0.2.cosi"
        shutil.copyfile(t.files / "acl-3.0.2.release.json", t.files / "other.release.json")
        shutil.copyfile(t.files / name, t.files / "loose.cosi")
        for codebase, package, extra, code in (
                (t.codebase, name, [], 0), (t.codebase.rstrip("/"), name, [], 0), (t.codebase, "loose.cosi", ["other.release.json"], 0),
                (t.codebase, "acl-3.0.2.release.json", [], 0), (t.codebase, "../" + name, [], 4),
                (f"file://{t.files}/", name, [], 4), (f"{t.files}/", name, [], 4), (t.codebase, f"{t.codebase}{name}", [], 4),
                (t.codebase, name, ["../other.release.json", "acl-3.0.2.release.json"], 0)):
            n = t.nebraska(offer=None)
            n.package("3.0.2", codebase, package, extra=extra)
            h = t.host(n)
            expect(h, code, "check")
            shutil.rmtree(h.dir)

    @t.case
    def _():
        """trust.require server: the metadata hash of a server that is authenticated, and nothing less"""
        d = t.work / "tls"
        d.mkdir()
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", d / "key", "-out", d / "cert",
            "-days", "3650", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        (d / "both").write_text((d / "cert").read_text() + (d / "key").read_text())
        digest = base64.b64encode(hashlib.sha384(t.cosi["3.0.2"].metadata_bytes()).digest()).decode()
        other = base64.b64encode(hashlib.sha384(b"x").digest()).decode()

        def host(n, require=("server",), **more):
            h = t.clone(t.fresh)
            h.write("/etc/gybe/ca.pem", (d / "cert").read_text())
            h.configure({"http": {"ca": "/etc/gybe/ca.pem"}, "trust": {"require": list(require)}, **t.source(n, **more)})
            return h

        n = t.nebraska(offer=None, tls=d / "both")
        n.package("3.0.2", t.codebase, "alone.cosi", hash=digest)
        h = host(n, packageHash="metadata-sha384")
        update(h)
        assert status(h)["running"] == "b" and me(n).history == STORY
        n.packages[0]["hash"] = other
        h = host(n, packageHash="metadata-sha384")
        me(n).become("undefined")
        me(n).version = "3.0.1"
        assert code_of(h, 4, "stage") == "metadata-digest" and me(n).errors == [12], me(n).errors
        n.packages[0]["hash"] = ""
        assert code_of(host(n, packageHash="metadata-sha384"), 4, "stage") == "omaha-hash"
        assert code_of(host(n), 4, "stage") == "no-server-hash"
        assert code_of(host(n, require=("release", "server")), 4, "stage") == "no-server-hash"
        assert code_of(host(n, packageHash="metadata-sha384"), 4, "stage", t.files / "acl-3.0.2.cosi") == "no-server-hash"
        plain = t.nebraska(offer=None)
        plain.package("3.0.2", t.codebase, "alone.cosi", hash=digest)
        assert code_of(host(plain, packageHash="metadata-sha384"), 4, "stage") == "server-not-authenticated"
        # with both, both must say so
        n.packages[0].update(name="acl-3.0.2.cosi", hash=digest)
        h = host(n, require=("release", "server"), packageHash="metadata-sha384")
        expect(h, 0, "stage")
        n.packages[0]["hash"] = other
        h = host(n, require=("release", "server"), packageHash="metadata-sha384")
        expect(h, 4, "check")
        n.wrong = [w for w in n.wrong if "dropped" not in w]   # these hosts are one instance to it

    @t.case
    def _():
        """the agent asks by itself, and tells: nobody types anything"""
        n = t.nebraska()
        h = t.host(n, interval="10s")
        h.write("/etc/gybe/policy.d/10-test.json", json.dumps({"automation": "full", "soak": "0s", "attempts": 1}))
        agent = Agent(h)
        try:
            agent.start()
            agent.wait(lambda: agent.phase() == "finalized", "finalize")
            agent.wait(lambda: me(n).status == "installed", "the server to hear of it")
            agent.reboot()
            agent.start()
            agent.wait(lambda: me(n).status == "complete", "the server to hear of the end")
            assert me(n).history == STORY and 'installsource="scheduler"' in n.requests[0], me(n).history
        finally:
            agent.stop()
            h.end_jobs()

    @t.case
    def _():
        """hosts finish a rollout of five at a time, some of them fall back, and none is stuck"""
        n = t.nebraska()
        n.limit = 5
        base = t.host(n)
        hosts = {}
        for i in range(int(os.environ.get("GYBE_OMAHA_HOSTS", "8"))):
            hosts[i] = h = t.clone(base)
            h.write("/etc/machine-id", f"{i + 1:032x}\n")
        for _ in range(40):
            for i, h in list(hosts.items()):
                r = gybe(h, "update", check=False)
                assert r.returncode in (0, 10, 3), r.stderr
                if r.returncode == 0:
                    h.boot(fail_oneshot=i % 7 == 3)
                    gybe(h, "commit", check=False)
                    del hosts[i]
            if not hosts:
                break
        ends = sorted(x.status for x in n.instances.values())
        assert not hosts and set(ends) <= {"complete", "error"} and not any(x.in_progress for x in n.instances.values()), ends


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-omaha-") as tmp:
        os.chmod(tmp, 0o755)
        t = Test(Path(tmp))
        try:
            cases(t)
        finally:
            for n in t.servers:
                n.stop()
            t.server.stop()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
