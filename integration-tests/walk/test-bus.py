#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""org.gybe.Update1 as its clients see it: gybed on a host made of files, on a bus of its own with the policy file that is
installed. busctl, gdbus and gybe itself ask; polkit says what the test wants; an ordinary user reads and does not change.
An argument: only the cases whose text has it."""

import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import demo
import web
from agentbus import INTERFACE, NAME, PATH, Agent, Bus, wait
from cases import Cases
from sandbox import BUILD, MIB, SOURCE, Host, gybe, history, keygen, publish, releases, status

POLICY = SOURCE / "policy/org.gybe.Update1.conf"
XML = SOURCE / "updater/control/org.gybe.Update1.xml"
ROOT = os.getuid() == 0
ERROR = "org.gybe.Update1.Error."


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.feed = work / "feed"
        self.feed.mkdir()
        self.images, self.cosis = releases(work, self.keys, ("3.0.1", "3.0.2", "3.0.3"), floor=lambda serial: serial - 1)
        self.publish("3.0.2")

    def publish(self, version):
        publish(self.feed, self.keys, self.cosis[version])

    def host(self, name, url=None, **policy):
        h = Host(self.work / name)
        source = {"type": "feed", "url": url, "interval": "30d"} if url else {"type": "none"}
        h.install(self.images["3.0.1"], trust_root=self.keys / "root.json", config={"source": source},
                  policy={"automation": "check", **policy})
        h.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        return h


# --- the interface ---

def describe_interface(text):
    """What of an interface a client can rely on."""
    node = ET.fromstring(text)
    out = {}
    for i in node.iter("interface"):
        if i.get("name") != INTERFACE:
            continue
        for kind in ("method", "signal"):
            for m in i.iter(kind):
                out[kind, m.get("name")] = [(a.get("name"), a.get("type"), a.get("direction", "out" if kind == "signal" else "in"))
                                            for a in m.iter("arg")]
        for p in i.iter("property"):
            notes = [a.get("value") for a in p.iter("annotation") if a.get("name", "").endswith("EmitsChangedSignal")]
            out["property", p.get("name")] = (p.get("type"), p.get("access"), notes[0] if notes else "true")
    return out


def interface_cases(t, bus, agent):
    @t.case
    def _():
        """what is introspected is what the XML file says, member by member; every member has a comment there"""
        code, text = bus.call("Introspect", interface="org.freedesktop.DBus.Introspectable")
        assert code == 0, text
        served, written = describe_interface(json.loads(text)["data"][0]), describe_interface(XML.read_text())
        assert served and served == written, sorted(str(k) for k in served.keys() | written.keys() if served.get(k) != written.get(k))
        assert len([k for k in served if k[0] == "method"]) >= 19 and len([k for k in served if k[0] == "property"]) >= 20
        for kind, name in served:
            before = XML.read_text().split(f'<{kind} name="{name}"')[0].rstrip()
            family = name in ("Unpin", "Unhold", "Unskip", "RunningVersion", "LastMessage", "JobVerb", "Pin", "Skip", "Held",
                              "HoldUntil", "HoldReason", "HoldBy")
            assert family or before.endswith("-->"), f"{kind} {name} has no comment"

    @t.case
    def _():
        """busctl and gdbus introspect it, and read properties"""
        r = bus.run("busctl", "--system", "introspect", NAME, PATH)
        assert r.returncode == 0 and ".Stage" in r.stdout and "emits-change" in r.stdout, r.stderr
        r = bus.run("gdbus", "introspect", "--system", "--dest", NAME, "--object-path", PATH)
        assert r.returncode == 0 and "JobFinished(s id," in r.stdout, r.stdout + r.stderr
        r = bus.run("gdbus", "call", "--system", "--dest", NAME, "--object-path", PATH, "--method", f"{INTERFACE}.Describe")
        assert r.returncode == 0 and "gybe.status/1" in r.stdout, r.stderr

    @t.case
    def _():
        """properties say what gybe status says on the same files"""
        s = status(agent.host)
        assert bus.get("Phase") == s["phase"] == "idle" and bus.get("RunningSlot") == s["running"] == "a"
        assert bus.get("RunningVersion") == s["version"] == "3.0.1"
        slots = bus.get("Slots")
        assert slots["a"]["Running"]["data"] is True and slots["b"]["Running"]["data"] is False, slots
        assert slots["a"]["Roothash"]["data"] == s["slots"]["a"]["roothash"]
        described = json.loads(bus.value("Describe"))
        assert described["slots"] == s["slots"] and described["boot"] == s["boot"], described
        assert bus.get("Progress") == {} and bus.get("JobId") == "" and bus.get("Automation") == "check"

    @t.case
    def _():
        """the bus itself refuses what is no part of the interface; properties cannot be set"""
        code, text = bus.call("Get", "ss", "org.freedesktop.DBus.Properties", "x", interface="com.example.Other")
        assert code != 0, text
        r = bus.run("busctl", "--system", "set-property", NAME, PATH, INTERFACE, "Pin", "s", "3.0.2")
        assert r.returncode != 0 and not bus.get("Pin"), r.stderr


# --- jobs ---

class Slow:
    """The host's feed, on a server that answers when the test lets it: a job takes as long as somebody needs to look at it."""

    def __init__(self, t, host, url):
        self.host, self.url, self.may = host, url, threading.Event()
        may = self.may

        class Handler(web.Files):
            def do_GET(self):
                may.wait(60)
                super().do_GET()

        self.server = web.files(t.feed, Handler)

    def use(self, url):
        self.host.configure({"source": {"type": "feed", "url": url, "interval": "30d"}})

    def __enter__(self):
        self.use(self.server.url + "index.json")
        return self

    def __exit__(self, *args):
        self.may.set()
        self.use(self.url)
        self.server.stop()


class Monitor:
    """Everything that the agent tells, with the time at which it came."""

    def __init__(self, bus):
        self.file = open(bus.folder / "monitor.json", "w+")
        self.process = subprocess.Popen(["busctl", "--system", "--json=short", f"--match=type='signal',sender='{NAME}'", "monitor"],
                                        stdout=self.file, stderr=subprocess.DEVNULL, env=bus.environ)
        time.sleep(0.5)

    def stop(self):
        time.sleep(0.3)
        self.process.terminate()
        self.process.wait()
        self.file.seek(0)
        return [json.loads(line) for line in self.file if line.strip()]


def finish(bus, job, seconds=60):
    """(exit, result) of a job."""
    def ended():
        done, code, text = bus.value("JobResult", "s", job)
        return (code, json.loads(text)) if done else None
    return wait(ended, seconds)


def job_cases(t, bus, agent, url):
    h = agent.host

    @t.case
    def _():
        """Check, Stage, Finalize, Rollback: an id at once, JobFinished for everybody, the result for those who come late"""
        monitor = Monitor(bus) if ROOT else None
        ids = []
        for member, options, phase in (("Check", [], "idle"), ("Stage", [], "staged"),
                                       ("Finalize", ["1", "noReboot", "b", "true"], "finalized"), ("Rollback", [], None)):
            job = bus.value(member, "a{sv}", *(options or ["0"]))
            code, result = finish(bus, job)
            assert code == 0 and result["schema"] == "gybe.result/1" and result["verb"] == member.lower(), result
            wait(lambda: not bus.get("JobId"))
            if phase:
                assert bus.get("Phase") == phase and status(h)["phase"] == phase, (bus.get("Phase"), status(h)["phase"])
            if phase == "staged":
                assert bus.get("TargetVersion") == "3.0.2" and bus.get("Slots")["b"]["State"]["data"] == "staged"
            ids.append((job, member.lower()))
        told = monitor.stop() if monitor else []
        if monitor:
            finished = [(m["payload"]["data"][0], m["payload"]["data"][1], m["payload"]["data"][2]) for m in told
                        if m["member"] == "JobFinished"]
            assert [f for f in finished if f[:2] in ids] == [(*i, 0) for i in ids], finished
            assert json.loads([m for m in told if m["member"] == "JobFinished"][-1]["payload"]["data"][3])["verb"] == "rollback"
            names = [n for m in told if m["member"] == "PropertiesChanged" for n in m["payload"]["data"][1]]
            assert {"Phase", "Slots", "JobId", "Progress", "NextAction"} <= set(names), set(names)
        events = [e for e in history(h) if e["event"] in ("staged", "finalized")]
        assert events and all(e.get("how") == "dbus" and e["uid"] == os.getuid() for e in events), events

    @t.case
    def _():
        """progress is told while it goes on, at most twice a second"""
        if not ROOT:
            return
        # Nothing of the spare slot may be there already.
        h.put("USR-B", os.urandom(4 * MIB))
        t.publish("3.0.3")
        monitor = Monitor(bus)
        code, result = finish(bus, bus.value("Stage", "a{sv}", "0"))
        assert code == 0, result
        seen = [(m["timestamp-realtime"], m["payload"]["data"][1]) for m in monitor.stop() if m["member"] == "PropertiesChanged"]
        progress = [(at, p["Progress"]["data"]) for at, p in seen if list(p) == ["Progress"]]
        whats = {p["Progress"]["data"]["What"]["data"] for _, p in seen if p.get("Progress", {}).get("data")}
        assert whats, seen
        for (a, _), (b, _) in zip(progress, progress[1:]):
            assert b - a >= 400_000, f"{(b - a) / 1e6} s between two signals"

    @t.case
    def _():
        """one job at a time: a second one waits for the first, too many are Busy"""
        agent.rest()
        codes, jobs = [], []
        for _ in range(40):
            code, text = bus.call("Check", "a{sv}", "0")
            codes.append(code)
            if code == 0:
                jobs.append(json.loads(text)["data"][0])
            else:
                assert "already" in text or "wait" in text, text
        assert 1 in codes and len(jobs) >= 2, codes
        for job in jobs:
            code, result = finish(bus, job, 120)
            assert code in (0, 10), result

    @t.case
    def _():
        """a job that is not known, and what is no id"""
        for bad in ("00000000-0000-4000-8000-000000000000", "../../etc/passwd", "x" * 100, "", "boot/../x"):
            code, text = bus.call("JobResult", "s", bad)
            assert code != 0 and ("not known" in text or "bytes" in text or "empty" in text), (bad, text)


# --- gybe as a client ---

def client(bus, *args, **more):
    return bus.run(BUILD / "gybe", *args, **more)


def same(t, bus, url):
    """Each verb on two equal hosts, once through the agent and once here: the same words and the same number."""
    def masked(text, host):
        return text.replace(str(host.root), "ROOT").replace(str(host.disk), "DISK")

    here = t.host("same-here", url)
    there = t.host("same-there", url)
    agent = Agent(bus, there, BUILD / "gybed").start()
    agent.rest()
    try:
        gone = t.work / "nowhere.release.json"
        steps = [("status",), ("finalize",), ("check",), ("--json", "check"), ("stage", "--version", "9.9.9"), ("stage", gone),
                 ("stage", "--version", "3.0.3", gone), ("pin", "3.0.9"), ("pin", "3.0.9"), ("stage",), ("--json", "stage"),
                 ("unpin",), ("skip", "3.0.3"), ("check",), ("stage",), ("unskip", "3.0.3"), ("unskip", "3.0.3"),
                 ("hold", "--until", "2100-01-01T00:00:00Z", "--reason", "fair"), ("stage",), ("stage", "--override"),
                 ("unhold",), ("--quiet", "unhold"), ("stage",), ("--json", "stage"), ("rollback",),
                 ("--json", "finalize", "--no-reboot"), ("finalize",), ("commit",), ("rollback",), ("quarantine", "list"),
                 ("quarantine", "clear", "00000000000000000000000000000000"), ("frobnicate",), ("hold", "--until", "yesterday"),
                 ("pin",), ("watch",), ("policy", "explain", "--at", "soon")]
        for args in steps:
            a = gybe(here, *args, check=False)
            b = client(bus, *args)
            label = "gybe " + " ".join(map(str, args))
            assert a.returncode == b.returncode, f"{label}: {a.returncode} here, {b.returncode} by the agent: {a.stderr} {b.stderr}"
            if args[0] in ("status", "policy", "watch"):
                continue
            if "--json" in args:
                ja, jb = (json.loads(masked(x.stdout, h)) for x, h in ((a, here), (b, there)))
                for j in (ja, jb):
                    j.pop("rebootAsked", None)
                    j.pop("bytes", None)
                assert ja == jb, f"{label}: {ja} {jb}"
            else:
                assert masked(a.stdout, here) == masked(b.stdout, there), f"{label}: {a.stdout!r} {b.stdout!r}"
            lines = [x.stderr.splitlines() for x in (a, b)]
            assert masked(a.stderr, here) == masked(b.stderr, there), f"{label}: {lines}"
            agent.rest()
    finally:
        agent.stop()


def client_cases(t, bus, agent, url):
    h = agent.host

    @t.case
    def _():
        """every verb through the agent: exit code, stdout, stderr and JSON as without it"""
        agent.stop()
        try:
            same(t, bus, url)
        finally:
            agent.start().rest()

    @t.case
    def _():
        """gybe status draws what the agent will do next and why"""
        r = client(bus, "status")
        assert r.returncode == 0 and "SLOT A  running" in r.stdout and " Next: " in r.stdout, r.stdout + r.stderr
        assert client(bus, "hold", "--reason", "audit week").returncode == 0
        wait(lambda: bus.get("Held"))
        assert bus.get("HoldReason") == "audit week" and bus.get("HoldUntil") == 2 ** 64 - 1
        shown = client(bus, "policy", "explain").stdout
        assert "audit week" in shown, shown
        j = json.loads(client(bus, "policy", "explain", "--json").stdout)
        assert j["schema"] == "gybe.policy/1", j
        assert client(bus, "unhold").returncode == 0
        wait(lambda: not bus.get("Held"))

    @t.case
    def _():
        """rules are written where the manual says, and history names who"""
        user = [e for e in history(h) if e["event"] == "policy-changed"]
        n = len(user)
        for args, prop, value in ((("pin", "3.0.7"), "Pin", "3.0.7"), (("unpin",), "Pin", ""), (("skip", "3.0.8"), "Skip", ["3.0.8"]),
                                  (("unskip", "3.0.8"), "Skip", [])):
            assert client(bus, *args).returncode == 0, args
            wait(lambda: bus.get(prop) == value)
        assert h.path("/etc/gybe/policy.d/90-operator.json").exists()
        new = [e for e in history(h) if e["event"] == "policy-changed"][n:]
        assert [e["verb"] for e in new] == ["pin", "unpin", "skip", "unskip"], new
        assert all(e["uid"] == os.getuid() and e["how"] == "dbus" for e in new), new

    @t.case
    def _():
        """audit: history, trust, roots and quarantine in one document"""
        j = json.loads(bus.value("Audit"))
        assert j == json.loads(gybe(h, "audit").stdout) | {"at": j["at"]}
        assert j["schema"] == "gybe.audit/1" and j["history"]["chainHolds"] and j["trust"]["schema"] == "gybe.trust/1", j.keys()
        factory = [r for r in j["roots"] if r["name"] == "factory"][0]
        assert factory["keys"] and factory["roles"]["release"]["threshold"] >= 1 and len(factory["sha256"]) == 64, factory
        assert not j["problems"], j["problems"]
        h.write("/usr/lib/gybe/root.json", "{}")
        try:
            assert json.loads(bus.value("Audit"))["problems"], "a root that is none is not told"
        finally:
            shutil.copyfile(t.keys / "root.json", h.path("/usr/lib/gybe/root.json"))

    @t.case
    def _():
        """Ctrl-C ends the waiting and says that the job goes on; it does"""
        agent.rest()
        with Slow(t, h, url) as slow:
            p = bus.spawn(BUILD / "gybe", "stage")
            job = wait(lambda: bus.get("JobId"))
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=20)
            slow.may.set()
            code, result = finish(bus, job)
        assert p.returncode == 1 and "goes on" in err and "gybe watch" in err and job in err, (p.returncode, err)
        assert code in (0, 10), result

    @t.case
    def _():
        """who waits for what may end in a reboot has logind wait, until the answer is there; staging holds nothing up"""
        agent.rest()
        logind, log = bus.logind()
        try:
            for verb, held in (("update", True), ("stage", False)):
                log.write_text("")
                with Slow(t, h, url) as slow:
                    p = bus.spawn(BUILD / "gybe", verb, "--version", "9.9.9")
                    wait(lambda: bus.get("JobId"))
                    taken = log.read_text()
                    assert taken == ("taken shutdown gybe Says how the update went delay\n" if held else ""), taken
                    slow.may.set()
                    out, err = p.communicate(timeout=60)
                assert p.returncode > 0 and "9.9.9" in err, (p.returncode, out, err)
                wait(lambda: "released" in log.read_text() or not held)
        finally:
            logind.terminate()
            logind.wait()

    @t.case
    def _():
        """gybe waits on while gybed is killed and started again"""
        agent.rest()
        with Slow(t, h, url) as slow:
            p = bus.spawn(BUILD / "gybe", "--json", "check")
            wait(lambda: bus.get("JobId"))
            agent.stop(signal.SIGKILL)
            agent.start()
            slow.may.set()
            out, err = p.communicate(timeout=60)
        assert p.returncode in (0, 10) and json.loads(out), (p.returncode, out, err)

    @t.case
    def _():
        """gybe watch follows a job to its end, and ends at once when nothing runs"""
        agent.rest()
        assert "Nothing runs" in client(bus, "watch", timeout=20).stdout
        with Slow(t, h, url):
            job = bus.value("Check", "a{sv}", "0")
            wait(lambda: bus.get("JobId"))
            p = bus.spawn(BUILD / "gybe", "watch")
            q = bus.spawn(BUILD / "gybe", "--root", h.root, "watch")
            time.sleep(0.5)
            assert p.poll() is None and q.poll() is None, [(w.args[-2:], w.communicate()) for w in (p, q) if w.poll() is not None]
        for w in (p, q):
            out, err = w.communicate(timeout=30)
            assert w.returncode == 0 and "runs" in out and "phase is" in out, (out, err)
        finish(bus, job)

    @t.case
    def _():
        """a gybe that runs past the agent is told to whoever orders a job meanwhile: busy, at once"""
        agent.rest()
        with Lock(h):
            r = client(bus, "check")
            assert r.returncode == 5 and f"process {os.getpid()}" in r.stderr, (r.returncode, r.stdout, r.stderr)
        agent.rest()

    @t.case
    def _():
        """without an agent gybe watch sees whoever holds the lock"""
        with Lock(h):
            p = bus.spawn(BUILD / "gybe", "--root", h.root, "watch")
            time.sleep(0.5)
            assert p.poll() is None, p.communicate()
        out, err = p.communicate(timeout=30)
        assert f"process {os.getpid()} is at work" in out and "Nothing runs" in out, (out, err)

    @t.case
    def _():
        """--no-agent, --root and a bus without an agent: gybe does it itself"""
        r = client(bus, "--root", h.root, "--disk", h.disk, "status")
        assert r.returncode == 0 and "Next: " not in r.stdout.replace("Next: gybe", ""), r.stdout
        agent.stop()
        try:
            r = client(bus, "--json", "status")
            assert r.returncode == 0 and json.loads(r.stdout)["schema"] == "gybe.status/1"
            assert "agent" not in r.stderr, r.stderr
            (bus.services / "gybe.service").write_text(f"[D-BUS Service]\nName={NAME}\nExec=/bin/false\nUser=root\n")
            bus.run("busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                    "ReloadConfig")
            r = client(bus, "--json", "status")
            assert r.returncode == 0 and json.loads(r.stdout)["schema"] == "gybe.status/1", r.stderr
            assert "cannot be started" in r.stderr and "without it" in r.stderr, r.stderr
            assert client(bus, "--no-agent", "status").stderr == ""
        finally:
            (bus.services / "gybe.service").unlink(missing_ok=True)
            bus.run("busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                    "ReloadConfig")
            agent.start().rest()


class Lock:
    """Holds the job lock, as another gybe would."""

    def __init__(self, host):
        self.path = host.path("/run/gybe/lock")

    def __enter__(self):
        self.file = open(self.path, "r+")
        wait(self.take)
        self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()

    def take(self):
        F_OFD_SETLK = 37
        try:
            fcntl.fcntl(self.file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            return True
        except OSError:
            return False

    def __exit__(self, *args):
        self.file.close()


# --- who may ---

# Arguments as gdbus writes them: it tells an error's name and text, busctl translates both.
CHANGING = {
    "Check": ("check", ["{}"]), "Stage": ("stage", ["{}"]), "Finalize": ("finalize", ["{}"]), "Update": ("finalize", ["{}"]),
    "Commit": ("commit", ["{}"]), "Rollback": ("rollback", ["{}"]), "Pin": ("manage-policy", ["'3.0.2'"]),
    "Unpin": ("manage-policy", []), "Hold": ("manage-policy", ["0", "'x'"]), "Unhold": ("manage-policy", []),
    "Skip": ("manage-policy", ["'1'"]), "Unskip": ("manage-policy", ["'1'"]),
    "ClearQuarantine": ("manage-quarantine", ["''"]), "Reload": ("reload", []), "Audit": ("audit", []),
}
READING = {"Describe": [], "Explain": ["a{sv}", "0"], "ListQuarantine": []}


def polkit_cases(t, bus, agent):
    h = agent.host

    @t.case
    def _():
        """an ordinary user reads everything and changes nothing where polkit is not there"""
        bus.polkit(None)
        client(bus, "skip", "2.9.9")
        before = h.path("/etc/gybe/policy.d/90-operator.json").read_bytes()
        for member, args in READING.items():
            code, text = bus.call(member, *args, nobody=True)
            assert code == 0, f"{member}: {text}"
        assert bus.get("Phase", nobody=True) == bus.get("Phase")
        r = client(bus, "status", nobody=True)
        assert r.returncode == 0 and "SLOT A" in r.stdout, r.stderr
        for member, (_, args) in CHANGING.items():
            text = bus.error(member, *args, nobody=True)
            assert "AccessDenied: not authorized" in text and "polkit does not run here" in text, f"{member}: {text}"
        r = client(bus, "pin", "3.0.2", nobody=True)
        assert r.returncode == 1 and "not authorized" in r.stderr and "run it as root" in r.stderr, r.stderr
        assert h.path("/etc/gybe/policy.d/90-operator.json").read_bytes() == before and not bus.get("JobId")

    @t.case
    def _():
        """polkit is asked for the right action of each method; no and challenge are told apart"""
        for answer, name, words in (("no", "AccessDenied", "polkit says no"),
                                    ("challenge", "InteractiveAuthorizationRequired", "has to authenticate")):
            bus.polkit(answer)
            for member, (action, args) in CHANGING.items():
                text = bus.error(member, *args, nobody=True)
                assert words in text and name in text, f"{member}: {text}"
                kind, who, asked, flags = bus.asked()[-1]
                assert (kind, asked) == ("system-bus-name", f"org.gybe.update1.{action}") and who.startswith(":"), bus.asked()[-1]
            assert not bus.get("JobId")
        n = len(bus.asked())
        actions = {a.get("id") for a in ET.parse(SOURCE / "policy/org.gybe.Update1.policy").iter("action")}
        assert {q[2] for q in bus.asked()} | {"org.gybe.update1.override"} == actions, actions
        for option in ("override", "allowDowngrade"):
            bus.call("Stage", "a{sv}", "1", option, "b", "true", nobody=True)
            assert bus.asked()[n][2] == "org.gybe.update1.override"
            n += 1
        bus.call("Stage", "a{sv}", "1", "override", "b", "false", nobody=True)
        assert bus.asked()[n][2] == "org.gybe.update1.stage"

    @t.case
    def _():
        """what cannot be understood costs nobody a password; root is never asked"""
        bus.polkit("yes")
        bus.call("Stage", "a{sv}", "1", "colour", "s", "red", nobody=True)
        bus.call("Pin", "s", "x" * 500, nobody=True)
        bus.call("Unpin")
        assert bus.asked() == [], bus.asked()

    @t.case
    def _():
        """polkit says yes: an ordinary user changes a rule and starts a job, and history names that user"""
        bus.polkit("yes")
        r = client(bus, "hold", "--reason", "by nobody", nobody=True)
        assert r.returncode == 0, r.stderr
        wait(lambda: bus.get("Held"))
        by, shown = bus.get("HoldBy"), bus.get("HoldReason")
        assert shown == "by nobody" and by == "nobody", by
        code, result = finish(bus, bus.value("Check", "a{sv}", "0", nobody=True))
        assert code in (0, 10), result
        assert client(bus, "unhold", nobody=True).returncode == 0
        last = [e for e in history(h) if e["event"] == "policy-changed"][-1]
        assert last["uid"] == 65534 and last["user"] == "nobody" and last["how"] == "dbus", last
        j = client(bus, "history", "--json", nobody=True)
        assert j.returncode == 0 and json.loads(j.stdout)["chainHolds"], j.stderr

    @t.case
    def _():
        """polkit that never answers: a few questions of one user wait, the next are Busy, everybody else is served"""
        bus.polkit("silence")
        waiting = [bus.spawn("busctl", "--system", "--timeout=300", "call", NAME, PATH, INTERFACE, "Unpin", nobody=True)
                   for _ in range(12)]
        try:
            def refused():
                ended = [p for p in waiting if p.poll() is not None]
                return ended if len(ended) == 8 else None
            for p in wait(refused):
                assert p.returncode != 0 and "already" in p.stderr.read()
            assert len(bus.asked()) == 4, bus.asked()
            assert bus.get("Phase", nobody=True)
            assert client(bus, "pin", "3.0.5").returncode == 0 and client(bus, "unpin").returncode == 0
        finally:
            for p in waiting:
                p.kill()
                p.wait()
        # polkit goes away while it is asked: that is a no.
        bus.polkit(None)
        bus.polkit("yes")
        wait(lambda: bus.call("Reload", nobody=True)[0] == 0)


# --- hostile input ---

def hostile_cases(t, bus, agent):
    @t.case
    def _():
        """unknown options, wrong types, texts that are too long or not printable are Usage"""
        for member, args, words in (
                ("Stage", ["a{sv}", "1", "colour", "s", "red"], "no such option"),
                ("Stage", ["a{sv}", "1", "noReboot", "b", "true"], "no such option"),
                ("Finalize", ["a{sv}", "1", "version", "s", "3.0.2"], "no such option"),
                ("Stage", ["a{sv}", "1", "version", "b", "true"], "another type"),
                ("Stage", ["a{sv}", "1", "override", "s", "yes"], "another type"),
                ("Stage", ["a{sv}", "1", "version", "as", "1", "x"], "another type"),
                ("Stage", ["a{sv}", "2", "version", "s", "1", "version", "s", "2"], "twice"),
                ("Stage", ["a{sv}", "2", "version", "s", "1", "release", "s", "/x"], "not both"),
                ("Stage", ["a{sv}", "1", "version", "s", "x" * 129], "129 bytes"),
                ("Stage", ["a{sv}", "1", "release", "s", "/" + "x" * 5000], "5001 bytes"),
                ("Stage", ["a{sv}", "1", "version", "s", ""], "empty"),
                ("Stage", ["a{sv}", "1", "version", "s", "a\nb"], "control"),
                ("Pin", ["s", ""], "empty"), ("Pin", ["s", "x" * 200], "200 bytes"), ("Skip", ["s", "\033[2J"], "control"),
                ("Hold", ["ts", "0", "y" * 300], "300 bytes"), ("ClearQuarantine", ["s", "z" * 65], "65 bytes"),
                ("Explain", ["a{sv}", "1", "at", "s", "now"], "another type")):
            r = bus.run("busctl", "--system", "call", NAME, PATH, INTERFACE, member, *args)
            assert r.returncode != 0 and words in r.stderr, f"{member} {args}: {r.stderr}"
        said = bus.error("Stage", "{'colour': <'red'>}")
        assert ERROR + "Usage: option colour: this method has no such option; " in said, said
        code, text = bus.call("Stage", "s", "x")
        assert code != 0 and "expecting 'a{sv}'" in text, text
        code, text = bus.call("Nonsense")
        assert code != 0, text

    @t.case
    def _():
        """error names that clients can rely on"""
        assert ERROR + "NothingToDo" in bus.error("Unpin")
        assert ERROR + "NothingToDo" in bus.error("ClearQuarantine", "''")
        assert ERROR + "Usage" in bus.error("JobResult", "'no such'")
        agent.rest()
        with Lock(agent.host):
            said = bus.error("ClearQuarantine", "''")
            assert ERROR + "Busy" in said, said
        # A file that is read after the operator's own says otherwise.
        agent.host.write("/etc/gybe/policy.d/95-site.json", '{"pin": "3.0.1"}')
        try:
            assert ERROR + "Policy" in bus.error("Pin", "'3.0.2'")
        finally:
            agent.host.path("/etc/gybe/policy.d/95-site.json").unlink()
        agent.host.write("/etc/gybe/policy.d/95-site.json", "{ this is no JSON")
        try:
            said = bus.error("Reload")
            assert ERROR in said and "95-site.json" in said, said
        finally:
            agent.host.path("/etc/gybe/policy.d/95-site.json").unlink()
        assert bus.call("Reload")[0] == 0

    @t.case
    def _():
        """thousands of bad and refused calls do not make gybed grow"""
        bus.polkit("no" if ROOT else None)
        script = t.work / "flood.py"
        shutil.copyfile(Path(__file__).parent.parent / "lib/flood.py", script)
        before = None
        for turn in range(3):
            r = bus.run("/usr/bin/python3", "-B", script, "400", nobody=ROOT, timeout=240)
            assert r.returncode == 0, r.stdout + r.stderr
            if turn == 0:
                before = agent.pss()    # caches of the first turn are filled
        after = agent.pss()
        # The sanitizer keeps freed memory aside on purpose, so there is no ceiling to hold under it.
        exe = Path(f"/proc/{agent.process.pid}/exe").read_bytes()
        assert b"__asan_init" in exe or after - before < 512, f"{before} kB before, {after} kB after"
        print(f"   gybed: {after} kB (PSS) after 4800 hostile calls, {before} kB before the last 3200")
        assert bus.get("Phase") and agent.process.poll() is None


def completion_cases(t, bus):
    @t.case
    def _():
        """bash completes verbs, options and what they take; zsh reads its file"""
        words = client(bus, "--help").stdout
        bash = SOURCE / "updater/completion/gybe.bash"
        def complete(*line):
            script = (f"source {bash}; COMP_WORDS=({' '.join(repr(w) for w in line)}); COMP_CWORD={len(line) - 1}; "
                      "_gybe; printf '%s\\n' \"${COMPREPLY[@]}\"")
            r = bus.run("bash", "--norc", "-c", script)
            assert r.returncode == 0 and not r.stderr, r.stderr
            return set(r.stdout.split())
        verbs = set(re.findall(r"^ {2,4}([a-z]+)\b", words, re.M)) | set(re.findall(r"\| ([a-z]+)", words)) - {"RELEASE", "clear"}
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", words))
        assert complete("gybe", "") >= verbs, verbs - complete("gybe", "")
        assert complete("gybe", "--") >= options, options - complete("gybe", "--")
        assert complete("gybe", "sta") == {"stage", "status"}
        assert complete("gybe", "--root", "/x", "quarantine", "") == {"list", "clear"}
        assert complete("gybe", "policy", "") == {"explain"}
        assert "--no-reboot" in complete("gybe", "finalize", "--no-r")
        zsh = SOURCE / "updater/completion/_gybe"
        text = zsh.read_text()
        for w in verbs | options:
            assert w in text, f"_gybe lacks {w}"
        if shutil.which("zsh"):
            r = bus.run("zsh", "-f", "-c", f"autoload -Uz compinit && compinit -D -u; fpath=({zsh.parent} $fpath); autoload -Uz _gybe && "
                        "autoload +X _gybe && print ok")
            assert r.returncode == 0 and "ok" in r.stdout and not r.stderr, r.stderr
        else:
            print("   zsh is not here: its file was read only")


def main():
    for tool in ("dbus-daemon", "busctl", "gdbus"):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here")
            return 77
    with tempfile.TemporaryDirectory(prefix="gybe-bus-") as tmp:
        work = Path(tmp)
        work.chmod(0o755)
        t = Test(work)
        nginx, url = demo.serve(t.feed, work)
        try:
            with Bus(work / "bus", POLICY) as bus:
                agent = Agent(bus, t.host("host", url), BUILD / "gybed").start()
                try:
                    agent.rest()
                    interface_cases(t, bus, agent)
                    job_cases(t, bus, agent, url)
                    client_cases(t, bus, agent, url)
                    if ROOT:
                        polkit_cases(t, bus, agent)
                    else:
                        print("skipped: who may (needs root, to be somebody else)")
                    hostile_cases(t, bus, agent)
                    completion_cases(t, bus)
                finally:
                    agent.stop()
                    if t.failed:
                        print((bus.folder / "gybed.log").read_text()[-3000:])
        finally:
            nginx.terminate()
            nginx.wait()
    return t.end()


sys.exit(main())
