#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""gybe-node between an API server and a gybed on a host made of files. The API server is the strict stand-in (apiserver.py) or,
with --real, kube-apiserver and etcd with kubectl as the orchestrator (realapi.py); the cases are the same. A reboot is what
lib/sandbox.py makes of it.

    test-node.py [--real] [WORD]     only the cases whose text has the word
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
sys.path.insert(0, str(HERE))
import web
from apiserver import FakeApi, Proxy
from cases import Cases
from contract import COMMIT, REQUEST, STATUS, Authority, new_id, request
from machine import NODE, PATIENCE, Machine, wait
from nebraska import Nebraska
from realapi import RealApi
from sandbox import BUILD, MIB, Host, history, keygen, publish, releases


class Test(Cases):
    def __init__(self, work, real):
        self.work, self.real = work, real
        self.authority = Authority(work / "pki")
        self.keys = keygen(work / "keys")
        self.feed = work / "feed"
        self.feed.mkdir()
        self.images, cosis = releases(work, self.keys, ("3.0.1", "3.0.2"), size=4 * MIB)
        publish(self.feed, self.keys, cosis["3.0.2"])
        self.fresh = Host(work / "fresh", usr_size=4 * MIB)
        self.fresh.install(self.images["3.0.1"], trust_root=self.keys / "root.json")
        self.n, self.m = 0, None
        self.api = RealApi(real, work / "cluster", self.authority) if real else None

    def one(self, f):
        self.n += 1
        where = self.work / f"case-{self.n}"
        where.mkdir()
        where.chmod(0o755)
        api = self.api or FakeApi(self.authority)
        if self.real:
            api.delete()
            api.create()
            api.judge.__init__()
        m = self.m = Machine(self, where, api)
        f(m)
        api.check()
        assert not m.said("ERROR: AddressSanitizer") and not m.said("runtime error"), "a sanitizer complains"

    def failed_at(self):
        if not self.m:
            return ""
        journal = {k: self.m.journal().get(k) for k in ("phase", "outcome", "reason", "updateId", "message")}
        log = self.m.log.read_text().splitlines()[-25:]
        return "\n".join([f"journal: {json.dumps(journal)} {self.m.memory().get('pending')}", *log])

    def over(self):
        m, self.m = self.m, None
        if m:
            m.close()
            if not self.real and m.api.server:
                m.api.stop()


# --- what an update is ---

def update_cases(t):
    @t.case
    def _(m):
        """stage, finalize, reboot, commit: Success at every step; nothing is written while nothing happens; history says who"""
        m.start()
        update, stage = m.stage()
        assert m.journal().get("phase") == "staged"
        finalize = m.ask(request("finalize", "3.0.2", update))
        s = m.armed(finalize)
        assert s["fromVersion"] == "3.0.1" and s["toVersion"] == "3.0.2" and s["nodeUpdateId"] == update, s
        m.reboot()
        c = m.wait_for(finalize, "Success", COMMIT)
        assert c["operation"] == "commit" and c["fromVersion"] == "3.0.1" and "3.0.2" in c["message"], c
        codes = wait(lambda: m.api.judge.codes_until(finalize, "commit:Success"))
        assert m.api.judge.codes(stage) == ["InProgress", "Success"], m.api.judge.codes(stage)
        assert codes[:2] == ["InProgress", "Success"] and codes[-1] == "commit:Success", codes
        staged = [e for e in history(m.host) if e["event"] == "staged"]
        assert staged[0]["how"] == "dbus" and staged[0]["by"] == "root", staged
        before = m.api.writes()
        time.sleep(idle_seconds(t))
        assert m.api.writes() == before, "it writes although nothing happens"
        # the same request again is answered and not done
        m.api.annotate(STATUS, None)
        m.wait_for(finalize, "Success")
        assert m.events().count("finalized") == 1

    @t.case
    def _(m):
        """a target that does not boot: TargetBootFailed, with the reason, from the old slot"""
        m.start()
        update, _ = m.stage()
        finalize = m.ask(request("finalize", "3.0.2", update))
        m.armed(finalize)
        m.reboot(fail_oneshot=True)     # perhaps a power cut: it stays staged, and who orchestrates decides
        c = m.wait_for(finalize, "TargetBootFailed", COMMIT)
        assert c["tridentError"]["subkind"] == "ab-update-reboot-check" and "3.0.1" in c["message"], c

    @t.case
    def _(m):
        """rollback: back in the slot before, and committed there"""
        m.start()
        update, _ = m.stage()
        finalize = m.ask(request("finalize", "3.0.2", update))
        m.armed(finalize)
        m.reboot()
        m.wait_for(finalize, "Success", COMMIT)
        op = m.ask(request("rollback"))
        s = m.armed(op)
        assert "toVersion" not in s and s["fromVersion"] == "3.0.2", s
        m.reboot()
        c = m.wait_for(op, "Success", COMMIT)
        assert "3.0.1" in c["message"], c

    @t.case
    def _(m):
        """refusals: AlreadyAtTarget, NotStaged, another target, a second finalize, malformed requests, a version nobody has"""
        m.start()
        at = m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert at["toVersion"] == "3.0.1"
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        m.wait_for(m.ask(request("finalize", "3.0.2")), "NotStaged")
        failed = m.wait_for(m.ask(request("stage", "9.9.9")), "OperationFailed")
        assert failed["tridentError"]["kind"], failed
        update, _ = m.stage()
        m.wait_for(m.ask(request("finalize", "3.0.3", update)), "InvalidRequest")
        first = m.ask(request("finalize", "3.0.2", update))
        m.wait_for(first, "Success")
        second = m.wait_for(m.ask(request("finalize", "3.0.2", update)), "InvalidRequest")
        assert first in second["message"], second
        for wrong in (dict(request("stage", "3.0.2"), extra="x"), dict(request("stage", "3.0.2"), server="http://x/"),
                      dict(request("rollback"), targetVersion="3.0.1"), dict(request("stage", "3.0.2"), operation="upgrade")):
            m.wait_for(m.ask(wrong), "InvalidRequest")
        torn = request("stage", "3.0.2")
        m.ask(json.dumps(torn)[:-20])
        m.wait_for(torn["operationId"], "InvalidRequest")
        before = m.api.writes()
        m.ask("no JSON at all")
        wait(lambda: m.said("nobody is told"))
        assert m.api.writes() - before <= 1, "noise is answered"

    @t.case
    def _(m):
        """who is watching under another prefix is not answered, and gybe-node follows the drop-in's prefix"""
        m.start(TRIDENT_ACL_AGENT_KUBERNETES_ANNOTATION_PREFIX="acl.azure.com")
        op = m.ask(request("stage", "3.0.1"))
        wait(lambda: m.said("watching Node node-1 for acl.azure.com/update-request"))
        time.sleep(1)
        assert not m.status(), m.status()


    @t.case
    def _(m):
        """a stage that does not end: a heartbeat a second, each newer than the last, then OperationFailed; the next stage is done"""
        m.start(TRIDENT_ACL_AGENT_ORCHESTRATION_HEARTBEAT_INTERVAL="1s", TRIDENT_ACL_AGENT_ORCHESTRATION_STAGE_TIMEOUT="5s 500ms")
        lock = m.host.path("/run/gybe/lock")
        wait(lambda: lock.exists() and not m.jobs())
        with open(lock, "r+") as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            op = m.ask(request("stage", "3.0.2"))
            m.wait_for(op, "OperationFailed")
        beats = [d["lastUpdatedUtc"] for _, d in m.api.judge.seen if d["operationId"] == op and d["code"] == "InProgress"]
        assert 2 <= len(beats) <= 8 and beats == sorted(set(beats)), beats
        m.kill_node()
        m.start_node()      # with its usual patience
        m.stage()


def idle_seconds(t):
    return float(os.environ.get("GYBE_IDLE_SECONDS", "600" if t.real else "4"))


# --- what goes wrong ---

def outage_cases(t):
    slow = t.real or os.environ.get("GYBE_SLOW")     # a client's pauses grow to a minute
    moments = ("before finalize's order", "during the finalize", "after the finalize", "with the machine")
    for when in moments if slow else moments[:1]:
        def outage(m, when=when):
            m.start()
            update, _ = m.stage()
            r = request("finalize", "3.0.2", update)
            if when in moments[2:]:
                m.ask(r)
                m.wait_for(r["operationId"], "Success")
            elif when == "during the finalize":
                m.gybed.process.send_signal(signal.SIGSTOP)     # the order cannot be taken yet
                m.ask(r)
                wait(lambda: m.memory().get("current"))
                time.sleep(0.5)
            else:
                m.kill_node()
                m.ask(r)
                m.start_node()
                wait(lambda: m.memory().get("current") or m.memory().get("pending"))
            if when != "with the machine":
                m.api.stop()
            m.gybed.process.send_signal(signal.SIGCONT)
            wait(lambda: m.journal().get("phase") == "finalized")     # nobody waits for the API server
            wait(lambda: m.memory().get("pending"))
            if when == "with the machine":
                m.stop()
                m.api.stop()
            assert m.reboot() == 0
            assert m.journal().get("outcome") == "committed"
            wait(lambda: any("commit" in a for a in m.memory()["answers"]))
            time.sleep(1)
            m.api.start()
            m.wait_for(r["operationId"], "Success", COMMIT)
            codes = wait(lambda: m.api.judge.codes_until(r["operationId"], "commit:Success"))
            assert "Success" in codes and codes.index("Success") < codes.index("commit:Success"), codes
        outage.__doc__ = f"the API server goes away {when} and stays away for the whole first boot; the statuses come in order when it returns"
        t.case(outage)

    @t.case
    def _(m):
        """gybe-node is killed again and again while it stages, finalizes and waits: nothing lost, repeated or told in two ways"""
        m.start()
        update = new_id()
        stage, finalize = request("stage", "3.0.2", update), request("finalize", "3.0.2", update)
        m.ask(stage)
        for pause in (0.02, 0.1, 0.05, 0.3, 0.15, 0.02, 0.5):
            time.sleep(pause)
            m.kill_node()
            m.start_node()
        m.wait_for(stage["operationId"], "Success")
        m.ask(finalize)
        for pause in (0.05, 0.2, 0.1, 0.02, 0.4):
            time.sleep(pause)
            m.kill_node()
            m.start_node()
        m.armed(finalize["operationId"])
        m.reboot()
        for pause in (0.02, 0.1, 0.3):
            time.sleep(pause)
            m.kill_node()
            m.start_node()
        m.wait_for(finalize["operationId"], "Success", COMMIT)
        events = m.events()
        assert events.count("staged") == 1 and events.count("finalized") == 1 and events.count("committed") == 1, events

    @t.case
    def _(m):
        """gybed is away: the operation waits, visibly, and goes on when it comes"""
        m.start_node()
        op = m.ask(request("stage", "3.0.2"))
        s = m.wait_for(op, "InProgress")
        assert "update agent" in s["message"], s
        m.start_gybed()
        m.wait_for(op, "Success")

    @t.case
    def _(m):
        """its memory is lost: what was done is put together from gybe's own records, and not done again"""
        m.start()
        update, _ = m.stage()
        finalize = m.ask(request("finalize", "3.0.2", update))
        m.armed(finalize)
        m.reboot(node=False)
        m.host.write("/var/lib/gybe-node/state.json", "{ torn")
        m.start_node()
        m.wait_for(finalize, "Success", COMMIT)
        assert m.host.path("/var/lib/gybe-node/state.json.lost").exists() and m.events().count("finalized") == 1

    @t.case
    def _(m):
        """the Node is deleted and made again: parked meanwhile, and its request answered from memory"""
        m.start()
        _, stage = m.stage()
        text = m.api.annotations()[REQUEST]
        m.api.delete()
        wait(lambda: m.said("Node is gone"))
        m.api.create()
        m.ask(text)
        m.wait_for(stage, "Success")
        assert m.said("is a new one") and m.events().count("staged") == 1


def kill_cases(t):
    """Minutes each: one story for every time that gybe-node remembers (renameat), speaks to gybed (sendmsg) or to the API server."""
    for call in ("renameat", "sendmsg", "sendto"):
        def killed(m, call=call):
            m.close()
            n, met = 0, True
            while met:
                n += 1
                where = m.t.work / f"kill-{call}-{n}"
                where.mkdir()
                where.chmod(0o755)
                story = Machine(m.t, where, FakeApi(m.t.authority))
                try:
                    met = killed_story(story, call, n)
                    story.api.check()
                except AssertionError as e:
                    raise AssertionError(f"{call} {n}: {e}\n" + "\n".join(story.log.read_text().splitlines()[-40:])) from None
                finally:
                    story.close()
                    story.api.stop()
                    shutil.rmtree(where)
            print(f"    {call}: {n - 1} points", flush=True)
            assert n > 8, "that was no story"
        killed.__doc__ = f"gybe-node is killed at each {call} in turn, before and after the reboot: nothing is lost, repeated or told in two ways"
        t.case(killed)


def killed_story(m, call, n):
    """True: it was killed at least once."""
    met = []

    def start():
        m.node = subprocess.Popen(["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                                   "-e", f"inject={call}:signal=SIGKILL:when={n}", str(BUILD / "gybe-node"), "--root", str(m.host.root)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(m.log, "a"),
                                  env={**m.bus.environ, **m.env, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})

    def told(op, code, key=STATUS):
        def there():
            if m.node.poll() is not None:
                met.append(m.node.returncode)
                m.start_node()
            s = m.status(key)
            return s.get("operationId") == op and s.get("code") == code
        try:
            wait(there)
        except AssertionError:
            raise AssertionError(f"{code} did not come: {m.status(STATUS)} {m.status(COMMIT)}") from None

    m.start_gybed()
    start()
    stage = request("stage", "3.0.2")
    finalize = request("finalize", "3.0.2", stage["nodeUpdateId"])
    m.ask(stage)
    told(stage["operationId"], "Success")
    m.ask(finalize)
    told(finalize["operationId"], "Success")
    wait(lambda: m.journal().get("phase") == "finalized" and not m.jobs())
    m.reboot(node=False)
    start()
    told(finalize["operationId"], "Success", COMMIT)
    m.wait_for(finalize["operationId"], "Success")
    assert all(code == -signal.SIGKILL for code in met), f"it ended by itself: {met}"
    events = m.events()
    assert [events.count(e) for e in ("staged", "finalized", "committed")] == [1, 1, 1], events
    for op in (stage, finalize):
        codes = m.api.judge.codes(op["operationId"])
        assert codes in (["InProgress", "Success"], ["Success"], ["InProgress", "Success", "commit:InProgress", "commit:Success"],
                         ["Success", "commit:InProgress", "commit:Success"], ["InProgress", "Success", "commit:Success"]), codes
    return bool(met)


# --- the real API server's ways ---

def real_cases(t):
    @t.case
    def _(m):
        """a certificate of seventy seconds is renewed by its link while a watch is open: nothing is refused when it is over"""
        m.credentials("short", seconds=70)
        until = time.monotonic() + 72
        m.start()
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget", seconds=60)
        m.credentials("long")
        time.sleep(max(0, until - time.monotonic()))
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        assert not m.said("401") and not m.said("Unauthorized"), "it was refused"


# --- the server that the request names ---

def omaha_cases(t):
    codebase = web.files(t.work).url

    def server(*versions, track="pin-3.0.2"):
        n = Nebraska(track=track, tls=t.authority.issue("updates", "/CN=updates", "IP:127.0.0.1", "serverAuth"))
        for v in versions:
            n.package(v, codebase, f"acl-{v}.cosi")
        return n

    def of(n, operation, target, update=None, **more):
        return request(operation, target, update, **{"server": n.url, "appId": n.app, "track": n.track, **more})

    def without_source(m):
        m.host.configure({"http": {"ca": "/etc/gybe/ca.pem"}})
        shutil.copy(t.authority.ca, m.host.path("/etc/gybe/ca.pem"))
        m.host.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        return m

    @t.case
    def _(m):
        """a host without a source asks the server that the request names, and tells it each step; a rollback tells it nothing"""
        n = server("3.0.2")
        try:
            without_source(m).start()
            stage = of(n, "stage", "3.0.2")
            m.wait_for(m.ask(stage), "Success")
            me = wait(lambda: next(iter(n.instances.values()), None))
            wait(lambda: me.history == ["granted", "downloading", "downloaded"])
            finalize = of(n, "finalize", "3.0.2", stage["nodeUpdateId"])
            m.wait_for(m.ask(finalize), "Success")
            wait(lambda: me.status == "installed" and not m.jobs())
            m.reboot()
            m.wait_for(finalize["operationId"], "Success", COMMIT)
            wait(lambda: me.status == "complete")
            assert me.version == "3.0.2" and set(me.previous) == {"3.0.1"} and len(n.instances) == 1, (me.version, me.previous)
            told = len(n.requests)
            m.wait_for(m.ask(of(n, "stage", "3.0.2")), "AlreadyAtTarget")
            back = m.ask(request("rollback"))
            m.armed(back)
            m.reboot()
            m.wait_for(back, "Success", COMMIT)
            assert len(n.requests) == told and not n.wrong, (n.requests[told:], n.wrong)
        finally:
            n.stop()

    @t.case
    def _(m):
        """a server that offers another version: InvalidRequest; that has none, knows no such track, or is away: OperationFailed, always"""
        n, empty = server("3.0.2"), server(track="stable")
        try:
            without_source(m).start()
            s = m.wait_for(m.ask(of(n, "stage", "3.0.9")), "InvalidRequest")
            assert "3.0.2" in s["message"] and "tridentError" not in s, s
            wait(lambda: next(iter(n.instances.values())).status == "error")
            s = m.wait_for(m.ask(of(empty, "stage", "3.0.2")), "OperationFailed")
            assert s["tridentError"]["kind"] and s["toVersion"] == "3.0.2", s
            m.wait_for(m.ask(of(n, "stage", "3.0.2", track="nightly")), "OperationFailed")
            gone = of(empty, "stage", "3.0.2")
            empty.stop()
            s = m.wait_for(m.ask(gone), "OperationFailed")
            assert m.journal().get("phase") in (None, "idle") and m.api.judge.codes(gone["operationId"]) == ["InProgress", "OperationFailed"], s
            update = of(n, "stage", "3.0.2")
            m.wait_for(m.ask(update), "Success")
            m.wait_for(m.ask(of(n, "finalize", "3.0.9", update["nodeUpdateId"])), "InvalidRequest")
            assert not n.wrong, n.wrong
        finally:
            n.stop()


# --- the API server's ways ---

def api_cases(t):
    @t.case
    def _(m):
        """410, cut watches, 429 with Retry-After, 500, 403: it comes back each time, and lists only when it must"""
        m.start()
        wait(lambda: m.api.watches >= 1)
        m.api.cut += 1
        m.api.annotate("x", "1")
        wait(lambda: m.api.watches >= 2)
        assert m.api.lists == 1, m.api.lists
        m.api.expire()
        m.api.hang_up()
        wait(lambda: m.api.lists >= 2)
        m.api.refuse = [(429, 1), (500, None)]
        m.api.hang_up()
        wait(lambda: not m.api.refuse)
        m.stage()
        assert m.said("429"), "a refusal is not told"

    @t.case
    def _(m):
        """a watch whose time is over is asked for again where it ended"""
        m.api.watch_seconds = 1
        m.start()
        wait(lambda: m.api.watches >= 4)
        assert m.api.lists == 1 and not m.said("warning"), m.api.lists
        m.stage()

    @t.case
    def _(m):
        """a client certificate is swapped by its link; the old one is refused from then on"""
        m.start()
        wait(lambda: m.api.watches >= 1)
        m.api.certificates = {"somebody-else"}
        m.api.hang_up()
        wait(lambda: m.said("401"))
        m.api.certificates = {f"system:node:{NODE}"}
        m.credentials("rotated")
        m.stage()

    @t.case
    def _(m):
        """tokens: in a file that is rotated, and of an exec plugin that is asked again after a 401; one that hangs hangs nobody"""
        m.host.write("/var/lib/kubelet/token", "good-token\n")
        m.credentials("token", tokenFile="token")
        m.start()
        m.stage()
        m.api.tokens = {"second-token"}
        m.host.write("/var/lib/kubelet/token", "second-token\n")
        m.api.hang_up()
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        plugin = m.host.dir / "plugin"
        plugin.write_text("#!/bin/sh\necho \"$KUBERNETES_EXEC_INFO\" > " + str(m.host.dir / "info") + "\necho chatter >&2\n"
                          f"echo x >> {m.host.dir}/runs\n"
                          'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}\' '
                          f"\"$(cat {m.host.dir}/exec-token)\"\n")
        plugin.chmod(0o755)
        (m.host.dir / "exec-token").write_text("third-token")
        m.api.tokens = {"third-token"}
        m.credentials("exec", exec={"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never",
                                    "provideClusterInfo": True})
        m.api.hang_up()
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        info = json.loads((m.host.dir / "info").read_text())
        assert info["spec"]["interactive"] is False and info["spec"]["cluster"]["server"] == m.api.url, info
        runs = (m.host.dir / "runs").read_text()
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert (m.host.dir / "runs").read_text() == runs, "a token is asked for again although it is good"
        m.api.tokens = {"fourth-token"}
        (m.host.dir / "exec-token").write_text("fourth-token")
        m.api.hang_up()
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        plugin.write_text("#!/bin/sh\nsleep 100\n")
        m.api.tokens = set()
        m.api.hang_up()
        time.sleep(2)
        assert m.kill_node(signal.SIGTERM) == 0

    @t.case
    def _(m):
        """a server that shows another certificate is not spoken to; --validate-connection says yes and no"""
        def validate(what):
            return subprocess.run([str(BUILD / "gybe-node"), "--root", str(m.host.root), "--validate-connection", what],
                                  capture_output=True, text=True, env=m.bus.environ, timeout=120)
        m.start_gybed().gybed.rest()     # it knows its version when it has looked
        r = validate("kubernetes")
        assert r.returncode == 0 and NODE in r.stdout, r.stderr
        r = validate("engine")
        assert r.returncode == 0 and "3.0.1" in r.stdout, r.stderr
        other = Authority(m.host.dir / "other-pki")
        shutil.copy(other.ca, m.host.path(m.pki) / "ca.crt")
        m.start_node()
        wait(lambda: m.said("SSL") or m.said("certificate"))
        assert m.api.lists == 1, "it spoke to a stranger"

    @t.case
    def _(m):
        """a certificate that expires is renewed by its link while a watch is open: nothing is refused and nothing is asked for twice"""
        names = [m.credentials("first")]
        m.start()
        wait(lambda: m.api.watches >= 1)
        for n, name in enumerate(("second", "third")):
            names.append(m.credentials(name))
            m.api.expired_serials.add(t.authority.serial(names[n]))     # its connections are there still
            m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert m.api.unauthorized == 0 and m.api.watches == m.api.lists == 1, (m.api.unauthorized, m.api.watches, m.api.lists)

    @t.case
    def _(m):
        """the authority of the API server is another one, in the file that the kubeconfig names: the new server is spoken to, not before"""
        m.start()
        wait(lambda: m.api.watches >= 1)
        other = Authority(m.host.dir / "other-pki")
        m.api.show(other)
        m.api.hang_up()
        wait(lambda: m.said("SSL") or m.said("certificate"))
        watches = m.api.watches
        (m.host.path(m.pki) / "new").write_text(t.authority.ca.read_text() + other.ca.read_text())
        os.rename(m.host.path(m.pki) / "new", m.host.path(m.pki) / "ca.crt")
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert m.api.watches > watches

    @t.case
    def _(m):
        """proxy-url: all of it goes through a proxy that wants a password and never sees the token; it goes away and comes back"""
        proxy = Proxy("gybe:s3cret")
        m.credentials("token", cluster={"proxy-url": proxy.url}, token="good-token")
        m.start(NO_PROXY="*", no_proxy="*")     # what the kubeconfig says counts
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert proxy.heads and all(h.startswith(f"CONNECT 127.0.0.1:{m.api.port} ") and "good-token" not in h for h in proxy.heads), proxy.heads
        n = len(proxy.heads)
        m.api.forgive()
        proxy.hang_up()
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        assert len(proxy.heads) > n and "s3cret" not in m.log.read_text()
        m.kill_node()
        # as every program, where the kubeconfig says nothing
        m.credentials("token", token="good-token")
        n = len(proxy.heads)
        m.start_node(HTTPS_PROXY=proxy.url)
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert len(proxy.heads) > n
        proxy.stop()

    @t.case
    def _(m):
        """as a pod: the service account's folder is all there is, and its token is another one every hour"""
        folder = "/var/run/secrets/kubernetes.io/serviceaccount"
        m.host.path("/var/lib/kubelet/kubeconfig").unlink()
        m.env = {**m.env, "TRIDENT_ACL_AGENT_KUBERNETES_KUBECONFIG": "in-cluster", "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                 "KUBERNETES_SERVICE_PORT": str(m.api.port)}
        m.start()
        wait(lambda: m.said("ca.crt"))      # kubelet mounts it in a moment

        def publish(token):
            """As kubelet does: a folder of links into a folder that is swapped."""
            d = m.host.path(folder) / f"..{token}"
            d.mkdir(parents=True)
            shutil.copy(t.authority.ca, d / "ca.crt")
            (d / "token").write_text(token)
            (d.parent / "..new").symlink_to(d.name)
            os.rename(d.parent / "..new", d.parent / "..data")
            for name in ("ca.crt", "token"):
                if not (d.parent / name).is_symlink():
                    (d.parent / name).symlink_to(f"..data/{name}")

        publish("good-token")
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        publish("next-token")
        m.api.tokens = {"next-token"}
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        assert m.api.unauthorized == 0, "a token is kept longer than it is good"

    @t.case
    def _(m):
        """a first boot: the host has another name, kubelet's certificate comes later, and says which Node it is"""
        pem = m.host.path(m.pki) / "kubelet-client-current.pem"
        pem.rename(pem.with_suffix(".later"))
        m.host.write("/proc/sys/kernel/hostname", "localhost\n")
        m.start(TRIDENT_ACL_AGENT_KUBERNETES_NODE_NAME_SOURCE="kubelet-cert")
        wait(lambda: m.said("watching Node localhost"))
        pem.with_suffix(".later").rename(pem)
        assert m.node.wait(PATIENCE) == 0
        m.start_node(TRIDENT_ACL_AGENT_KUBERNETES_NODE_NAME_SOURCE="kubelet-cert")
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        assert m.said("watching Node node-1")

    @t.case
    def _(m):
        """an exec plugin that prints a certificate: asked again before that expires"""
        pem = t.authority.issue("plugin", f"/O=system:nodes/CN=system:node:{NODE}")
        doc = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": {
            "clientCertificateData": pem.with_suffix(".crt").read_text(), "clientKeyData": pem.with_suffix(".key").read_text(),
            "expirationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 62))}}
        plugin, runs = m.host.dir / "plugin", m.host.dir / "runs"
        (m.host.dir / "said").write_text(json.dumps(doc))
        plugin.write_text(f"#!/bin/sh\necho x >> {runs}\ncat {m.host.dir}/said\n")
        plugin.chmod(0o755)
        m.credentials("exec", exec={"apiVersion": doc["apiVersion"], "command": str(plugin)})
        m.start()
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        time.sleep(2.5)
        doc["status"]["expirationTimestamp"] = "2099-01-01T00:00:00Z"
        (m.host.dir / "said").write_text(json.dumps(doc))
        before = runs.read_text().count("x")
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        assert runs.read_text().count("x") > before and m.api.unauthorized == 0
        (m.host.dir / "said").write_text("{}")      # good for years: not asked again
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")

    @t.case
    def _(m):
        """etcd is restored from a backup and counts from an earlier version: what is written then is seen"""
        m.start()
        wait(lambda: m.api.watches >= 1)
        backup = m.api.backup()
        for i in range(20):
            m.api.annotate("x", str(i))
        m.wait_for(m.ask(request("stage", "3.0.1")), "AlreadyAtTarget")
        m.api.stop()
        wait(lambda: m.said("refused") or m.said("connect"))
        m.api.restore(backup)
        m.api.start()
        m.wait_for(m.ask(request("finalize", "3.0.1")), "AlreadyAtTarget")
        assert m.api.lists >= 2

    @t.case
    def _(m):
        """a clock years behind: no status ends before it began"""
        m.start()
        update, _ = m.stage()
        state = m.host.path("/var/lib/gybe-node/state.json")
        wait(lambda: all(a["told"] for a in m.memory()["answers"]))     # nothing is left to be told in two ways
        m.kill_node()
        state.write_text(state.read_text().replace("2026-", "2036-"))      # the same as a clock that fell back by ten years
        finalize = m.ask(request("finalize", "3.0.2", update))     # first: the edited answers are not to be told again
        m.start_node()
        m.wait_for(finalize, "Success")
        s = m.status()
        assert s["finishedUtc"] >= s["startedUtc"] >= "2036", s

    @t.case
    def _(m):
        """an ordinary user with polkit's yes: history names it; with polkit's no the operation says so"""
        if os.getuid() != 0:
            return
        m.bus.polkit("yes")
        shutil.rmtree(m.host.path("/var/lib/gybe-node"), ignore_errors=True)
        m.host.path("/var/lib/gybe-node").mkdir()
        os.chown(m.host.path("/var/lib/gybe-node"), 65534, 65534)
        for p in [m.t.work, *m.host.root.parents, *m.host.root.rglob("*")]:
            if p.is_dir() and str(p).startswith(str(m.t.work)) and "gybe" not in p.name:
                p.chmod(p.stat().st_mode | 0o055)
        for p in (m.host.path("/var/lib/kubelet")).rglob("*.pem"):
            p.chmod(0o644)
        m.start_gybed()
        m.node = m.bus.spawn(BUILD / "gybe-node", "--root", m.host.root, nobody=True)
        op = m.ask(request("stage", "3.0.2"))
        m.wait_for(op, "Success")
        staged = [e for e in history(m.host) if e["event"] == "staged"]
        assert staged[0]["by"] == "nobody" and staged[0]["uid"] == 65534, staged
        assert m.bus.asked()[0][2] == "org.gybe.update1.stage", m.bus.asked()
        m.bus.polkit("no")
        s = m.wait_for(m.ask(request("rollback")), "AgentInternalError")
        assert "not authorized" in s["message"], s
        # a host without polkit: only the user that exists for gybe-node may, and only that
        m.bus.polkit(None)
        s = m.wait_for(m.ask(request("rollback")), "AgentInternalError")
        assert "not authorized" in s["message"], s
        m.host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ngybe-node:x:65534:65534:x:/:/bin/false\n")
        s = m.wait_for(m.ask(request("rollback")), "OperationFailed")      # gybe's own word: something is staged
        assert m.bus.call("Check", "a{sv}", "0", nobody=True)[0] != 0


def main():
    real = None
    for tool in ("dbus-daemon", "busctl", "openssl", *(["strace"] if os.environ.get("GYBE_KILL_NODE") else [])):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here")
            return 77
    os.environ.setdefault("GYBE_LIBEXEC", str(BUILD))
    if "--real" in sys.argv:
        sys.argv.remove("--real")
        built = subprocess.run([HERE / "build-cluster"], stdout=subprocess.PIPE, text=True)
        if built.returncode:
            return 77 if built.returncode == 77 else 1
        real = built.stdout.strip().splitlines()[-1]
    with tempfile.TemporaryDirectory(prefix="gybe-node-") as tmp:
        work = Path(tmp)
        work.chmod(0o755)
        t = Test(work, real)
        try:
            for cases in ((kill_cases,) if os.environ.get("GYBE_KILL_NODE") else
                          (update_cases, outage_cases, real_cases) if real else (update_cases, outage_cases, omaha_cases, api_cases)):
                cases(t)
        finally:
            if real:
                t.api.close()
        return t.end()


if __name__ == "__main__":
    sys.exit(main())
