#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A system bus of one's own, with gybe's policy file on it as a distribution would install it, gybed on a host made of files, and
a polkit that says what a test tells it.

In a test:   with Bus(folder) as bus: bus.polkit("yes"); agent = Agent(bus, host); agent.start(); bus.run("gybe", "status")
As a program (started by that): agentbus.py ANSWER QUESTIONS is org.freedesktop.PolicyKit1; it reads ANSWER (yes, no, challenge,
silence) anew at every question and appends each question to QUESTIONS, a JSON list a line; agentbus.py --logind LOG is as much of
org.freedesktop.login1 as gives out inhibitor locks: a line of LOG for each that is taken, and "released"."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

NAME, PATH, INTERFACE = "org.gybe.Update1", "/org/gybe/Update1", "org.gybe.Update1.Manager"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

# The part of the distributions' system.conf that decides who may talk to whom.
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>
  <servicedir>{services}</servicedir>
  <policy context="default">
    <allow user="*"/><deny own="*"/><deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
    <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
  </policy>
  <policy user="root"><allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/></policy>
  <policy user="{user}"><allow own="org.freedesktop.PolicyKit1"/><allow own="org.freedesktop.login1"/>{own}</policy>
  <policy context="default"><allow send_destination="org.freedesktop.PolicyKit1"/><allow send_destination="org.freedesktop.login1"/></policy>
  <include>{policy}</include>
</busconfig>"""


def wait(what, seconds=20):
    """Until what() is true; its value."""
    until = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s in vain")
        time.sleep(0.02)
    return value


class Bus:
    def __init__(self, folder, policy, own=()):
        """own: more names that the test's services have here, as systemd's are on a real bus."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.services = self.folder / "services"
        self.services.mkdir(exist_ok=True)
        self.answer, self.questions = self.folder / "polkit-answer", self.folder / "polkit-questions"
        self.policy, self.own, self.processes, self.authority = policy, own, [], None

    def __enter__(self):
        socket = self.folder / "bus"
        self.address = f"unix:path={socket}"
        self.environ = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "NO_COLOR": "1"}
        # On a real bus only root owns the name; a developer's test runs as the developer.
        own = "" if os.getuid() == 0 else f'<allow own="{NAME}"/>'
        own += "".join(f'<allow own="{name}"/><allow send_destination="{name}"/>' for name in self.own)
        config = self.folder / "bus.conf"
        config.write_text(CONFIG.format(address=self.address, services=self.services, user=os.getuid(), own=own, policy=self.policy))
        with open(self.folder / "bus.log", "w") as log:
            p = subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"], stderr=log)
        self.processes.append(p)
        wait(lambda: socket.exists() or p.poll() is not None)
        if p.poll() is not None:
            raise RuntimeError("dbus-daemon: " + (self.folder / "bus.log").read_text())
        return self

    def __exit__(self, *args):
        self.polkit(None)
        for p in reversed(self.processes):
            p.terminate()
            p.wait()

    def polkit(self, answer):
        """None: it is not there."""
        if answer is None:
            if self.authority:
                self.authority.terminate()
                self.authority.wait()
                self.authority = None
            return
        self.answer.write_text(answer)
        self.questions.write_text("")
        if not self.authority:
            self.authority = subprocess.Popen(["/usr/bin/python3", __file__, self.answer, self.questions], env=self.environ)
            wait(lambda: self.owned("org.freedesktop.PolicyKit1"))

    def logind(self):
        """Starts it: what terminates it, and the file of what it was asked."""
        log = self.folder / "logind-locks"
        log.write_text("")
        p = subprocess.Popen(["/usr/bin/python3", __file__, "--logind", log], env=self.environ)
        wait(lambda: self.owned("org.freedesktop.login1"))
        return p, log

    def asked(self):
        return [json.loads(line) for line in self.questions.read_text().splitlines()]

    def owned(self, name=NAME):
        r = self.run("busctl", "--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                     "NameHasOwner", "s", name)
        return "true" in r.stdout

    def run(self, *argv, nobody=False, timeout=120, **more):
        argv = [str(a) for a in argv]
        return subprocess.run([*NOBODY, *argv] if nobody else argv, capture_output=True, text=True, timeout=timeout,
                              env=self.environ, cwd=more.pop("cwd", self.folder), **more)

    def spawn(self, *argv, nobody=False, **more):
        argv = [str(a) for a in argv]
        return subprocess.Popen([*NOBODY, *argv] if nobody else argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environ, cwd=self.folder, **more)

    def call(self, member, *args, nobody=False, interface=INTERFACE, **more):
        """busctl call: (exit code, text)."""
        r = self.run("busctl", "--system", "--timeout=60", "--json=short", "call", NAME, PATH, interface, member, *args,
                     nobody=nobody, **more)
        return r.returncode, r.stdout.strip() or r.stderr.strip()

    def value(self, member, *args, **more):
        """The call's one result."""
        code, text = self.call(member, *args, **more)
        assert code == 0, f"{member}: {text}"
        data = json.loads(text)["data"] if text else []
        return data[0] if len(data) == 1 else data

    def error(self, member, *args, **more):
        """What a call that must fail is answered with, as gdbus says it: name and text."""
        r = self.run("gdbus", "call", "--system", "--dest", NAME, "--object-path", PATH, "--method", f"{INTERFACE}.{member}", *args,
                     **more)
        assert r.returncode != 0, f"{member} {args} was done: {r.stdout}"
        return r.stderr

    def get(self, name, **more):
        r = self.run("busctl", "--system", "--json=short", "get-property", NAME, PATH, INTERFACE, name, **more)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)["data"]


class Agent:
    def __init__(self, bus, host, gybed, *more):
        self.bus, self.host, self.process = bus, host, None
        self.argv = [str(gybed), "--root", str(host.root), "--disk", str(host.disk), *more]

    def start(self):
        self.log = open(self.bus.folder / "gybed.log", "a")
        self.process = subprocess.Popen(self.argv, env=self.bus.environ, stderr=self.log)
        wait(lambda: self.bus.owned() or self.process.poll() is not None)
        assert self.process.poll() is None, "gybed ended: " + (self.bus.folder / "gybed.log").read_text()[-2000:]
        return self

    def rest(self, seconds=60):
        """Until nothing runs and status.json is there."""
        wait(lambda: self.host.path("/run/gybe/status.json").exists() and not self.bus.get("JobId"), seconds)

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None
            self.log.close()

    def pss(self):
        """kB"""
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        return 0


# --- the program ------------------------------------------------------------------------------------------------------

XML = """<node><interface name="org.freedesktop.PolicyKit1.Authority"><method name="CheckAuthorization">
<arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/><arg type="a{ss}" direction="in"/>
<arg type="u" direction="in"/><arg type="s" direction="in"/><arg type="(bba{ss})" direction="out"/>
</method></interface></node>"""


def authority(answer, questions):
    import gi
    gi.require_version("Gio", "2.0")
    from gi.repository import Gio, GLib

    def on_call(connection, sender, path, interface, method, args, invocation):
        subject, action, details, flags, cancel = args.unpack()
        with open(questions, "a") as f:
            f.write(json.dumps([subject[0], subject[1].get("name"), action, flags]) + "\n")
        said = pathlib.Path(answer).read_text()
        if said != "silence":
            invocation.return_value(GLib.Variant("((bba{ss}))", ((said == "yes", said == "challenge", {}),)))

    connection = Gio.DBusConnection.new_for_address_sync(
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"],
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
    connection.register_object("/org/freedesktop/PolicyKit1/Authority", Gio.DBusNodeInfo.new_for_xml(XML).interfaces[0],
                               on_call, None, None)
    Gio.bus_own_name_on_connection(connection, "org.freedesktop.PolicyKit1", Gio.BusNameOwnerFlags.NONE, None, None)
    GLib.MainLoop().run()


LOGIND_XML = """<node><interface name="org.freedesktop.login1.Manager"><method name="Inhibit">
<arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="s" direction="in"/>
<arg type="h" direction="out"/></method></interface></node>"""


def logind(log):
    import gi
    gi.require_version("Gio", "2.0")
    from gi.repository import Gio, GLib

    def note(text):
        with open(log, "a") as f:
            f.write(text + "\n")

    def released(fd, condition):
        note("released")
        os.close(fd)
        return False

    def on_call(connection, sender, path, interface, method, args, invocation):
        ours, theirs = os.pipe()
        GLib.unix_fd_add_full(0, ours, GLib.IOCondition.HUP, released)
        note("taken " + " ".join(args.unpack()))
        fds = Gio.UnixFDList.new_from_array([theirs])
        invocation.return_value_with_unix_fd_list(GLib.Variant("(h)", (0,)), fds)
        del fds

    connection = Gio.DBusConnection.new_for_address_sync(
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"],
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
    connection.register_object("/org/freedesktop/login1", Gio.DBusNodeInfo.new_for_xml(LOGIND_XML).interfaces[0], on_call, None, None)
    Gio.bus_own_name_on_connection(connection, "org.freedesktop.login1", Gio.BusNameOwnerFlags.NONE, None, None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    logind(sys.argv[2]) if sys.argv[1] == "--logind" else authority(*sys.argv[1:])
