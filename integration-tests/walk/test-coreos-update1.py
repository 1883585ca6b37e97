#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""com.coreos.update1 as locksmithd, FLUO and update_engine_client see it: gybed on a host made of files, on a bus of its own with
the policy files that are installed. gdbus and busctl replay the clients' calls; a listener has their very match rule.

Started with "listen FILE" it is that listener: every StatusUpdate becomes a line."""

import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from agentbus import NAME as GYBE
from agentbus import Agent, Bus, wait
from cases import Cases
from mockbus import MockBus
from sandbox import MIB, SOURCE, Host, gybe, keygen, program, publish, releases, status

NAME, PATH, INTERFACE = "com.coreos.update1", "/com/coreos/update1", "com.coreos.update1.Manager"
IDLE, NEED_REBOOT = "UPDATE_STATUS_IDLE", "UPDATE_STATUS_UPDATED_NEED_REBOOT"
COORDINATOR = "/run/update-engine/coordinator.conf"


def listen(out):
    import gi
    gi.require_version("Gio", "2.0")
    from gi.repository import Gio, GLib

    def on_signal(connection, sender, path, interface, member, args):
        with open(out, "a") as f:
            f.write(json.dumps([path, args.get_type_string(), *args.unpack()]) + "\n")

    connection = Gio.DBusConnection.new_for_address_sync(
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"],
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
    # no sender, no path: as locksmithd's and FLUO's
    connection.signal_subscribe(None, INTERFACE, "StatusUpdate", None, None, Gio.DBusSignalFlags.NONE, on_signal)
    connection.call_sync("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", None, None,
                         Gio.DBusCallFlags.NONE, -1, None)
    Path(out).touch()
    GLib.MainLoop().run()


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.feed = work / "feed"
        self.feed.mkdir()
        self.images, self.cosis = releases(work, self.keys, ("3.0.1", "3.0.2"), floor=lambda serial: serial - 1, size=8 * MIB)
        publish(self.feed, self.keys, self.cosis["3.0.2"])
        self.started = []          # agents and clients: stopped when their case is over

    def host(self, name, compat=True, **policy):
        h = Host(self.work / name)
        h.install(self.images["3.0.1"], trust_root=self.keys / "root.json",
                  config={"source": {"type": "feed", "url": f"file://{self.feed}/index.json", "interval": "30d"},
                          **({"compat": {"coreosUpdate1": True}} if compat else {})},
                  policy={"automation": "check", "soak": "0s", **policy})
        h.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ncore:x:500:500:core:/:/bin/sh\n")
        return h

    def over(self):
        for a in self.started:
            a.stop()
        self.started.clear()


class Client:
    """The three calls, as gdbus and busctl make them, and what the listener heard."""

    def __init__(self, bus):
        self.bus = bus
        self.log = bus.folder / f"signals-{time.monotonic_ns()}"
        self.listener = subprocess.Popen(["/usr/bin/python3", "-B", __file__, "listen", str(self.log)], env=bus.environ,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait(self.log.exists)

    def call(self, member, **more):
        return self.bus.run("gdbus", "call", "--system", "--dest", NAME, "--object-path", PATH, "--method", f"{INTERFACE}.{member}", **more)

    def status(self):
        r = self.bus.run("busctl", "--system", "--json=short", "call", NAME, PATH, INTERFACE, "GetStatus")
        assert r.returncode == 0, r.stderr
        answer = json.loads(r.stdout)
        assert answer["type"] == "xdssx", answer
        return answer["data"]

    def operation(self):
        return self.status()[2]

    def heard(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def operations(self):
        out = []
        for line in self.heard():
            assert line[0] == PATH and line[1] == "(xdssx)", line
            op = line[4].removeprefix("UPDATE_STATUS_")
            if not out or out[-1] != op:
                out.append(op)
        return out

    def forget(self):
        self.log.write_text("")

    def stop(self):
        if self.listener.poll() is None:
            self.listener.terminate()
            self.listener.wait()


def held(host):
    """Is coordinator.conf locked by somebody?"""
    p = host.path(COORDINATOR)
    if not p.exists():
        return False
    with open(p) as f:
        try:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True


def main():
    if sys.argv[1:2] == ["listen"]:
        return listen(sys.argv[2])
    if os.getuid() != 0:
        print("needs root: the bus lets only root and user core in")
        return 77
    with tempfile.TemporaryDirectory(prefix="gybe-update1-") as tmp:
        work = Path(tmp)
        work.chmod(0o755)
        t = Test(work)
        policies = work / "policies.conf"
        both = "".join(f"<include>{SOURCE}/policy/{n}</include>" for n in ("org.gybe.Update1.conf", "com.coreos.update1.conf"))
        policies.write_text('<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" '
                            f'"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig>{both}</busconfig>')
        with Bus(work / "bus", policies) as bus:
            cases(t, bus)
    return t.end()


def cases(t, bus):
    def agent(host):
        a = Agent(bus, host, program("gybed"))
        t.started.append(a)
        a.start().rest()
        return a

    def new_client():
        c = Client(bus)
        t.started.append(c)
        return c

    @t.case
    def _():
        """not configured: the name is not there"""
        a = agent(t.host("without", compat=False))
        assert not bus.owned(NAME) and bus.owned(GYBE)
        a.stop()

    @t.case
    def _():
        """AttemptUpdate: out of IDLE before the answer, through every state in order, NEED_REBOOT once it is armed; ResetStatus disarms"""
        client = new_client()
        h = t.host("attempt")
        a = agent(h)
        checked, progress, operation, version, size = client.status()
        assert (progress, operation, version, size) == (0, IDLE, "0.0.0", 0) and checked >= 0
        wait(lambda: client.operations() == ["IDLE"])                        # told at start
        r = client.call("GetStatus")
        assert re.match(r"\(int64 \d+, 0\.0, 'UPDATE_STATUS_IDLE', '0\.0\.0', int64 0\)", r.stdout.strip()), r.stdout
        assert client.call("ResetStatus").returncode == 0 and client.operation() == IDLE     # allowed, and nothing happens
        client.forget()
        r = client.call("AttemptUpdate")
        assert r.returncode == 0 and r.stdout.strip() == "()", r.stdout + r.stderr
        assert client.operation() != IDLE
        wait(lambda: client.operation() == NEED_REBOOT, 120)
        assert h.var("LoaderEntryOneShot") and status(h)["phase"] == "finalized"
        wait(lambda: "UPDATED_NEED_REBOOT" in client.operations())
        order = ["CHECKING_FOR_UPDATE", "DOWNLOADING", "VERIFYING", "FINALIZING", "UPDATED_NEED_REBOOT"]
        seen = client.operations()
        assert seen[-1] == order[-1] and seen[0] == order[0] and seen.count("UPDATED_NEED_REBOOT") == 1, seen
        assert [op for op in order if op in seen] == sorted(set(seen), key=seen.index) or "IDLE" not in seen, seen
        assert "IDLE" not in seen and "DOWNLOADING" in seen, seen
        sizes = {line[6] for line in client.heard() if line[4].endswith("DOWNLOADING")}
        steps = [line[3] for line in client.heard() if line[4].endswith("DOWNLOADING")]
        assert steps == sorted(steps) and all(0 <= p <= 1 for p in steps) and max(sizes) == 8 * MIB, (steps, sizes)
        last = client.heard()[-1]
        assert last[5] == "3.0.2" and last[2] > 0, last
        # who is finished does not begin again, and it is gybe that reboots
        assert client.call("AttemptUpdate").returncode == 0 and client.operation() == NEED_REBOOT
        text = h.path(COORDINATOR).read_text()
        assert "NAME=gybe\n" in text and "STRATEGY=reboot\n" in text and "STATE=reboot-planned\n" in text and held(h), text
        a.rest()        # a job at work, be it a look, makes it busy
        assert client.call("ResetStatus").returncode == 0
        assert client.operation() != NEED_REBOOT
        wait(lambda: client.operation() == IDLE, 60)
        assert h.var("LoaderEntryOneShot") is None and status(h)["phase"] == "staged"
        assert client.call("ResetStatus").returncode == 0                    # not a second rollback
        a.rest()
        assert status(h)["phase"] == "staged" and client.operation() == IDLE and client.status()[3] == "3.0.2"
        # what lies staged is armed by the next attempt
        assert client.call("AttemptUpdate").returncode == 0
        wait(lambda: client.operation() == NEED_REBOOT, 60)
        a.stop()
        assert not held(h)

    @t.case
    def _():
        """staged only: never NEED_REBOOT; finalized by gybe: NEED_REBOOT, also for an agent that starts later; after the boot: IDLE"""
        client = new_client()
        h = t.host("staged", reboot={"coordinator": "dbus"})
        a = agent(h)
        gybe(h, "stage")
        a.rest()
        time.sleep(1)
        assert client.operation() == IDLE and "UPDATED_NEED_REBOOT" not in client.operations(), client.operations()
        assert not held(h), "others reboot, so coordinator.conf is theirs"
        gybe(h, "finalize")
        wait(lambda: client.operation() == NEED_REBOOT, 60)
        a.stop()
        client.forget()
        a = agent(h)
        wait(lambda: client.operations()[-1:] == ["UPDATED_NEED_REBOOT"], 60)
        assert client.operation() == NEED_REBOOT
        a.stop()
        h.boot()
        client.forget()
        a = Agent(bus, h, program("gybed"))
        t.started.append(a)
        a.start()                                        # before anybody has settled: journal.json still says finalized
        assert client.operation() != NEED_REBOOT
        a.rest()
        assert client.operation() != NEED_REBOOT, status(h)
        gybe(h, "commit")
        a.rest()
        assert client.operation() == IDLE and "UPDATED_NEED_REBOOT" not in client.operations(), client.operations()
        a.stop()

    @t.case
    def _():
        """a boot that fell back is not told as a reboot that is needed"""
        client = new_client()
        h = t.host("fallback", reboot={"coordinator": "dbus"})
        gybe(h, "update")
        h.boot(fail_oneshot=True)
        a = agent(h)
        assert client.operation() != NEED_REBOOT and "UPDATED_NEED_REBOOT" not in client.operations()
        a.stop()

    @t.case
    def _():
        """busy: ResetStatus is an error, AttemptUpdate is none and does nothing"""
        client = new_client()
        h = t.host("busy")
        a = agent(h)
        client.call("AttemptUpdate")
        r = client.call("ResetStatus")
        if client.operation() not in (NEED_REBOOT, IDLE):
            assert r.returncode != 0 and "org.freedesktop.DBus.Error.Failed" in r.stderr, r.stdout + r.stderr
            assert client.call("AttemptUpdate").returncode == 0
        wait(lambda: client.operation() == NEED_REBOOT, 120)
        a.stop()

    @t.case
    def _():
        """nothing newer: CHECKING_FOR_UPDATE, then IDLE, as update_engine_client waits for it"""
        client = new_client()
        h = t.host("nothing")
        h.write("/etc/gybe/policy.d/20-pin.json", json.dumps({"pin": "3.0.1"}))
        a = agent(h)
        client.forget()
        assert client.call("AttemptUpdate").returncode == 0
        wait(lambda: client.operations()[-1:] == ["IDLE"], 60)
        assert client.operations() == ["CHECKING_FOR_UPDATE", "IDLE"], client.operations()
        a.stop()

    @t.case
    def _():
        """others are kept out by the bus, but may listen; user core may call the three methods and nothing else"""
        a = agent(t.host("access"))
        client = new_client()
        for member in ("GetStatus", "AttemptUpdate", "ResetStatus"):
            r = client.call(member, nobody=True)
            assert r.returncode != 0 and "AccessDenied" in r.stderr, r.stderr
        text = (SOURCE / "policy/com.coreos.update1.conf").read_text()
        assert text.count('<policy user="core">') == 1 and "Properties" not in text
        a.stop()

    @t.case
    def _():
        """locksmithd was first: it holds coordinator.conf, gybe says so and does not reboot"""
        h = t.host("locksmith")
        h.path("/run/update-engine").mkdir(parents=True)
        with open(h.path(COORDINATOR), "w") as f:
            f.write("NAME=locksmithd\nSTRATEGY=reboot\nSTATE=running")
            f.flush()
            fcntl.flock(f, fcntl.LOCK_EX)
            a = agent(h)
            log = bus.folder / "gybed.log"
            wait(lambda: "locksmithd holds" in log.read_text())
            with MockBus(t.work) as logind:
                gybe(h, "update", env=logind.environ)
                assert status(h)["phase"] == "finalized" and not logind.calls, logind.calls
            a.rest()
            assert "NAME=locksmithd" in h.path(COORDINATOR).read_text()
        h = t.host("no-locksmith")
        h.write(COORDINATOR, "NAME=locksmithd\nSTATE=running\n")             # left by one that is gone
        with MockBus(t.work) as logind:
            gybe(h, "update", env=logind.environ)
            assert [c for c in logind.calls if "Reboot" in c[0]], logind.calls

    @t.case
    def _():
        """update_engine itself is there: gybed says so and goes on as itself"""
        owner = bus.spawn("busctl", "--system", "--quiet", "monitor")        # anything that lives; the name is taken below
        holder = subprocess.Popen(["/usr/bin/python3", "-c", f"""
import gi, os
gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib
c = Gio.DBusConnection.new_for_address_sync(os.environ["DBUS_SYSTEM_BUS_ADDRESS"],
    Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
Gio.bus_own_name_on_connection(c, "{NAME}", Gio.BusNameOwnerFlags.NONE, None, None)
GLib.MainLoop().run()"""], env=bus.environ)
        wait(lambda: bus.owned(NAME))
        a = agent(t.host("second"))
        assert "another program has this name" in (bus.folder / "gybed.log").read_text() and bus.owned(GYBE)
        a.stop()
        for p in (holder, owner):
            p.terminate()
            p.wait()


if __name__ == "__main__":
    sys.exit(main())
