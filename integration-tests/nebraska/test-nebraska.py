#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The same host against a real Nebraska and its PostgreSQL, in a network of their own (nothing but loopback). GYBE_NEBRASKA names
the server's program, as its project publishes it; PostgreSQL is Debian's. Without either, as root or not at all: skipped.

    sudo GYBE_NEBRASKA=/usr/local/bin/nebraska integration-tests/nebraska/test-nebraska.py
"""

import glob
import importlib.util
import json
import os
import pwd
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "kubernetes")]
from relay import Relay
from sandbox import expect, gybe, job, spawn

spec = importlib.util.spec_from_file_location("omaha", HERE.parent / "walk" / "test-omaha.py")
omaha = importlib.util.module_from_spec(spec)
spec.loader.exec_module(omaha)
STORY, Test, box, code_of, skip_pause, update = omaha.STORY, omaha.Test, omaha.box, omaha.code_of, omaha.skip_pause, omaha.update

PROGRAM = os.environ.get("GYBE_NEBRASKA") or "nebraska"
STATUS = {1: "undefined", 2: "granted", 3: "error", 4: "complete", 5: "installed", 6: "downloaded", 7: "downloading", 8: "onhold"}
PORT = 8000


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


class Server:
    """PostgreSQL on a socket and a port, Nebraska before it."""

    def __init__(self, work):
        self.work, self.processes = work, []
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        self.bin = Path(found[-1]).parent
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        home = work / "pg"
        home.mkdir()
        os.chown(home, pwd.getpwnam("postgres").pw_uid, pwd.getpwnam("postgres").pw_gid)
        subprocess.run([*self.user, self.bin / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust", "--no-sync"], check=True,
                       stdout=subprocess.DEVNULL)
        log = open(work / "servers.log", "w")
        self.start([*self.user, self.bin / "postgres", "-D", home / "data", "-k", home, "-p", "5432", "-c", "listen_addresses=127.0.0.1",
                    "-c", "fsync=off"], log)
        self.until(lambda: subprocess.run(["psql", "-h", "127.0.0.1", "-U", "postgres", "-c", "create database nebraska"],
                                          capture_output=True).returncode == 0, "PostgreSQL")
        env = {**os.environ, "NEBRASKA_DB_URL": "postgres://postgres@127.0.0.1:5432/nebraska?sslmode=disable&connect_timeout=10"}
        (work / "static").mkdir()
        (work / "static/index.html").write_text("<!DOCTYPE html><html></html>")
        self.start([PROGRAM, "-auth-mode", "noop", "-port", str(PORT), "-http-static-dir", work / "static"], log, env=env, cwd=work)
        self.until(lambda: self.api("GET", "apps") is not None, "Nebraska")

    def start(self, argv, log, **more):
        self.processes.append(subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log, **more))

    def until(self, f, what):
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                if f():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise RuntimeError(f"{what} does not come up: {(self.work / 'servers.log').read_text()[-800:]}")

    def stop(self):
        for p in reversed(self.processes):
            p.terminate()
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()

    def api(self, method, path, body=None):
        r = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/{path}", method=method, data=json.dumps(body).encode() if body is not None else None,
                                   headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(r, timeout=20) as f:
            text = f.read()
        return json.loads(text) if text.strip() else {}

    def sql(self, query):
        return subprocess.run(["psql", "-h", "127.0.0.1", "-U", "postgres", "-d", "nebraska", "-Atc", query], check=True, capture_output=True,
                              text=True).stdout.splitlines()


class Group:
    """An application with one channel and one group; what t.host() wants to know of a server."""

    def __init__(self, server, t, version="3.0.2", **policy):
        self.server, self.t, self.track = server, t, "stable"
        self.url = f"http://127.0.0.1:{PORT}/v1/update"
        self.app = server.api("POST", "apps", {"name": f"acl-{uuid.uuid4()}", "description": "x"})["id"]
        self.packages = {}
        self.channel = server.api("POST", f"apps/{self.app}/channels", {"application_id": self.app, "name": "stable", "color": "#fff", "arch": 1})["id"]
        self.policy = {"name": "g", "description": "x", "track": self.track, "channel_id": self.channel, "policy_updates_enabled": True,
                       "policy_safe_mode": False, "policy_office_hours": False, "policy_timezone": "Etc/UTC",
                       "policy_period_interval": "1 hours", "policy_max_updates_per_period": 999999, "policy_update_timeout": "1 days", **policy}
        self.id = server.api("POST", f"apps/{self.app}/groups", self.policy)["id"]
        if version:
            self.offer(version)

    def package(self, version):
        self.packages[version] = self.server.api("POST", f"apps/{self.app}/packages", {
            "application_id": self.app, "arch": 1, "type": 4, "version": version, "url": self.t.codebase, "filename": f"acl-{version}.cosi",
            "hash": "", "size": str((self.t.files / f"acl-{version}.cosi").stat().st_size), "description": "x", "channels_blacklist": [],
            "extraFiles": []})["id"]
        return self.packages[version]

    def offer(self, version):
        self.server.api("PUT", f"apps/{self.app}/channels/{self.channel}", {
            "application_id": self.app, "name": "stable", "color": "#fff", "arch": 1, "package_id": self.packages.get(version) or self.package(version)})

    def floor(self, version):
        self.server.api("PUT", f"channels/{self.channel}/floors/{self.packages.get(version) or self.package(version)}", {"floor_reason": "x"})

    def change(self, **policy):
        self.policy.update(policy)
        self.server.api("PUT", f"apps/{self.app}/groups/{self.id}", self.policy)

    def history(self, machine=omaha.MACHINE):
        """By the API that its pages use, oldest first."""
        rows = self.server.api("GET", f"apps/{self.app}/groups/{self.id}/instances/{machine}/status_history?limit=100")
        return [STATUS[r["status"]] for r in reversed(rows)]

    def errors(self, machine=omaha.MACHINE):
        rows = self.server.api("GET", f"apps/{self.app}/groups/{self.id}/instances/{machine}/status_history?limit=100")
        return [r.get("error_code") for r in reversed(rows) if r["status"] == 3]

    def row(self, machine=omaha.MACHINE):
        r = self.server.sql(f"select status, version, last_update_version, update_in_progress from instance_application where application_id = "
                            f"'{self.app}' and instance_id = '{machine}'")
        return r[0].split("|")

    def stop(self):
        pass

    wrong = []


class Front(Relay):
    """TLS before the server: what a request names is https."""

    def __init__(self, pem):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        super().__init__()
        self.url = f"https://127.0.0.1:{self.port}/v1/update"

    def join(self, client):
        return self.context.wrap_socket(client, server_side=True), socket.create_connection(("127.0.0.1", PORT))


def night():
    """A time zone in which it is three o'clock in the morning."""
    offset = 3 - time.gmtime().tm_hour
    offset += 24 if offset < -12 else 0
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


def cases(t, s):
    @t.case
    def _():
        """granted, downloading, downloaded, installed, complete: in the database and in its own pages' API"""
        n = Group(s, t)
        h = t.host(n, alias="node-1")
        for verb, status in (("check", "2"), ("stage", "6"), ("finalize", "5")):
            expect(h, 0, verb)
            assert n.row()[0] == status, n.row()
        h.boot()
        expect(h, 0, "commit")
        assert n.row() == ["4", "3.0.2", "3.0.2", "f"], n.row()
        assert n.history() == STORY, n.history()
        events = s.sql(f"select t.type, t.result, e.previous_version from event e join event_type t on t.id = e.event_type_id where "
                       f"application_id = '{n.app}' order by e.created_ts")
        assert events == ["13|1|3.0.1", "14|1|3.0.1", "800|1|3.0.1", "3|2|3.0.1"], events
        assert s.sql(f"select alias from instance where id = '{omaha.MACHINE}'") == ["node-1"]
        assert code_of(h, 10, "check") == "no-offer"

    @t.case
    def _():
        """a fallback shows as an error with its code, and the next release is granted"""
        n = Group(s, t)
        h = t.host(n)
        expect(h, 0, "update")
        h.boot(fail_oneshot=True)
        gybe(h, "commit", check=False)
        assert n.row()[0] == "3" and n.row()[3] == "f" and n.history() == STORY[:4] + ["error"], (n.row(), n.history())
        assert [str(e) for e in n.errors()] == ["44"], n.errors()
        n.offer("3.0.3")
        update(h)
        assert n.row() == ["4", "3.0.3", "3.0.3", "f"], n.row()

    @t.case
    def _():
        """a paused rollout, office hours, and a limit: the host waits, and goes on"""
        n = Group(s, t, policy_updates_enabled=False)
        h = t.host(n)
        assert code_of(h, 10, "update") == "omaha-disabled"
        assert code_of(h, 3, "stage", "--version", "3.0.2") == "omaha-disabled"
        n.change(policy_updates_enabled=True, policy_office_hours=True, policy_timezone=night())
        assert code_of(h, 10, "update") == "omaha-disabled"
        n.change(policy_office_hours=False, policy_timezone="Etc/UTC", policy_max_updates_per_period=1)
        other = t.host(n)
        other.write("/etc/machine-id", "f" * 32 + "\n")
        expect(other, 0, "check")
        assert code_of(h, 10, "update") in ("omaha-period", "omaha-concurrent") and n.row()[0] == "8", n.row()
        n.change(policy_max_updates_per_period=10)
        update(h)
        assert n.row()[0] == "4", n.row()

    @t.case
    def _():
        """floors one after the other, and a target that is not the next floor is refused"""
        n = Group(s, t, "3.0.3")
        n.floor("3.0.2")
        h = t.host(n)
        assert code_of(h, 3, "stage", "--version", "3.0.3") == "other-version" and n.row()[0] == "3"
        update(h)
        assert n.row() == ["4", "3.0.2", "3.0.2", "f"], n.row()
        update(h)
        assert n.row() == ["4", "3.0.3", "3.0.3", "f"], n.row()

    @t.case
    def _():
        """nothing is stuck: killed while downloading, offline while it finished, an update that only the server believes in"""
        n = Group(s, t)
        h = t.host(n)
        expect(h, 0, "check")
        omaha.Files.slow = 0.2
        try:
            p = spawn(h, "stage")
            end = time.monotonic() + 30
            while n.row()[0] != "7" and time.monotonic() < end:
                time.sleep(0.05)
            p.kill()
            p.wait()
        finally:
            omaha.Files.slow = 0.0
        assert n.row()[0] == "7", n.row()
        expect(h, 0, "stage")
        assert n.history()[-4:] == ["error"] + STORY[:3], n.history()
        h.path("/var/lib/gybe/omaha.json").unlink()   # a host that was made anew
        h.path("/var/lib/gybe/journal.json").unlink()
        gybe(h, "update", check=False)
        gybe(h, "update", check=False)
        h.boot()
        gybe(h, "commit", check=False)
        while box(h):
            skip_pause(h)
            job(h, 0, "deliver")
        assert n.row()[0] == "4" and n.row()[3] == "f", (n.row(), n.history())

    @t.case
    def _():
        """answers of another kind: an unknown track, an unknown application, a page instead of an answer, the wrong secret"""
        n = Group(s, t)
        h = t.host(n)
        for change, code in (({"track": "nightly"}, "omaha-unknown-group"), ({"appId": str(uuid.uuid4())}, "omaha-unknown-group"),
                             ({"url": f"http://127.0.0.1:{PORT}/"}, None), ({"url": n.url + "/secret"}, None)):
            h.configure(t.source(n, **change))
            got = code_of(h, 1, "check")
            assert code is None or got == code, (change, got)
        h.configure(t.source(n, url=n.url + "/"))   # with a slash, as update_engine has it
        expect(h, 0, "check")

    @t.case
    def _():
        """by the annotations of a Kubernetes Node: gybe-node, gybed and a job tell the server of the request; a floor is an invalid request"""
        from apiserver import FakeApi
        from contract import COMMIT, Authority, request
        from machine import Machine, wait
        n = Group(s, t, "3.0.3")
        n.floor("3.0.2")
        t.authority = Authority(t.work / "pki")
        front = Front(t.authority.issue("updates", "/CN=updates", "IP:127.0.0.1", "serverAuth"))
        where = t.work / "kubernetes"
        where.mkdir(mode=0o755)
        m = Machine(t, where, FakeApi(t.authority), config={"http": {"ca": "/etc/gybe/ca.pem"}})
        try:
            omaha.shutil.copy(t.authority.ca, m.host.path("/etc/gybe/ca.pem"))
            m.start()
            of = {"server": front.url, "appId": n.app, "track": n.track}
            assert "3.0.2" in m.wait_for(m.ask(request("stage", "3.0.3", **of)), "InvalidRequest")["message"]
            wait(lambda: n.row()[0] == "3")
            stage = request("stage", "3.0.2", **of)
            m.wait_for(m.ask(stage), "Success")
            wait(lambda: n.row()[0] == "6")
            finalize = m.ask(request("finalize", "3.0.2", stage["nodeUpdateId"], **of))
            m.wait_for(finalize, "Success")
            wait(lambda: n.row()[0] == "5" and not m.jobs())
            m.reboot()
            m.wait_for(finalize, "Success", COMMIT)
            wait(lambda: n.row() == ["4", "3.0.2", "3.0.2", "f"])
            assert n.history()[-5:] == STORY, n.history()
            m.api.check()
        finally:
            m.close()
            m.api.stop()
            front.stop()

    @t.case
    def _():
        """fifty hosts finish a rollout, five at a time, every seventh falls back, none is stuck"""
        many = int(os.environ.get("GYBE_OMAHA_HOSTS", "50"))
        n = Group(s, t, policy_max_updates_per_period=900000 - 1, policy_safe_mode=False)
        base, hosts = t.host(n), {}
        for i in range(many):
            hosts[i] = h = t.clone(base)
            h.write("/etc/machine-id", f"{i + 1:032x}\n")
        n.change(policy_max_updates_per_period=5, policy_period_interval="2 seconds")
        for _ in range(60):
            for i, h in list(hosts.items()):
                r = gybe(h, "update", check=False)
                assert r.returncode in (0, 10), r.stderr
                if r.returncode == 0:
                    h.boot(fail_oneshot=i % 7 == 3)
                    gybe(h, "commit", check=False)
                    omaha.shutil.rmtree(h.dir)
                    del hosts[i]
            if not hosts:
                break
        rows = s.sql(f"select status, update_in_progress, count(*) from instance_application where application_id = '{n.app}' group by 1, 2 order by 1")
        assert not hosts and rows == [f"3|f|{len([i for i in range(many) if i % 7 == 3])}", f"4|f|{len([i for i in range(many) if i % 7 != 3])}"], rows


def main():
    if os.geteuid() != 0:
        skip("run it as root: it makes a network of its own")
    if not omaha.shutil.which(PROGRAM):
        skip(f"no {PROGRAM}: set GYBE_NEBRASKA to the server's program")
    if not glob.glob("/usr/lib/postgresql/*/bin/initdb"):
        skip("PostgreSQL is not installed (Debian's package postgresql)")
    if os.environ.get("GYBE_NETNS") != "1":
        os.execvp("unshare", ["unshare", "--net", "env", "GYBE_NETNS=1", sys.argv[0], *sys.argv[1:]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="gybe-nebraska-") as tmp:
        os.chmod(tmp, 0o755)
        work = Path(tmp)
        (work / "t").mkdir(mode=0o755)
        t, s = Test(work / "t"), None
        try:
            s = Server(work)
            cases(t, s)
        finally:
            if s:
                s.stop()
            t.server.stop()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
