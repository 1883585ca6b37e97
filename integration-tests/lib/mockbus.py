#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A bus of one's own with a systemd1 and a login1 on it that tests tell what to say.

In a test:   with mockbus.MockBus(folder) as bus: bus.set(units=[...]); run(program, env=bus.environ); bus.calls
As a program (started by that): mockbus.py STATE CALLS serves both names, reads STATE (JSON) anew at every call and appends
each call that changes something to CALLS, a JSON list a line."""

import json
import os
import pathlib
import subprocess
import sys
import time

STATE = {
    "names": ["org.freedesktop.systemd1", "org.freedesktop.login1"],
    "units": [],        # {"name", "load", "active", "sub", "restarts", "result", "since", "job", "gone", "mute"}
    "inhibitors": [],   # [what, who, why, mode, uid, pid]
    "logind": 252,      # what RebootWithFlags knows; 245: it is not there
    "late_inhibitor": False,
    "begun": False,
    "mute": [],         # methods that are never answered
}


class MockBus:
    def __init__(self, folder, address=None):
        """address: of a bus that is there already."""
        self.folder, self.address, self.own_bus = pathlib.Path(folder), address, address is None
        self.state, self.log = self.folder / "mock-state.json", self.folder / "mock-calls"
        self.processes = []

    def __enter__(self):
        socket = self.folder / "mock-bus"
        self.address = self.address or f"unix:path={socket}"
        self.environ = {"DBUS_SYSTEM_BUS_ADDRESS": self.address, "GYBE_TEST_BUS": "1"}
        if not self.own_bus:
            return self
        config = self.folder / "mock-bus.conf"
        config.write_text(f"""<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>{self.address}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>""")
        try:
            self.start(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"], socket)
            self.serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def serve(self, **state):
        """(Re)starts the services; names=[] leaves them away."""
        for p in self.processes[self.own_bus:]:
            p.terminate()
            p.wait()
        del self.processes[self.own_bus:]
        self.set(**state)
        self.log.write_text("")
        ready = self.folder / "mock-ready"
        ready.unlink(missing_ok=True)
        self.start(["/usr/bin/python3", __file__, str(self.state), str(self.log), str(ready)], ready)

    def start(self, argv, appears):
        p = subprocess.Popen(argv, env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address})
        self.processes.append(p)
        until = time.monotonic() + 20
        while not appears.exists():
            if p.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{argv[0]} does not start")
            time.sleep(0.02)

    def __exit__(self, *args):
        for p in reversed(self.processes):
            p.terminate()
            p.wait()

    def stop_bus(self):
        self.processes[0].terminate()
        self.processes[0].wait()

    def set(self, **state):
        new = self.state.with_suffix(".new")
        new.write_text(json.dumps({**STATE, **state}))
        new.rename(self.state)

    @property
    def calls(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]


# --- the program ------------------------------------------------------------------------------------------------------

XML = """<node>
<interface name="org.freedesktop.systemd1.Manager">
 <method name="ListUnits"><arg type="a(ssssssouso)" direction="out"/></method>
 <method name="GetUnit"><arg type="s" direction="in"/><arg type="o" direction="out"/></method>
 <method name="StartUnit"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="o" direction="out"/></method>
 <method name="StopUnit"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="o" direction="out"/></method>
</interface>
<interface name="org.freedesktop.login1.Manager">
 <method name="ListInhibitors"><arg type="a(ssssuu)" direction="out"/></method>
 <method name="RebootWithFlags"><arg type="t" direction="in"/></method>
 <method name="Reboot"><arg type="b" direction="in"/></method>
</interface>
<interface name="org.freedesktop.DBus.Properties">
 <method name="Get"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="v" direction="out"/></method>
</interface>
</node>"""


class Refused(Exception):
    pass


def label(name):
    """A unit's name in an object path, as sd_bus_path_encode() writes it."""
    return "".join(chr(c) if chr(c).isascii() and chr(c).isalpha() or chr(c).isdigit() and i else f"_{c:02x}"
                   for i, c in enumerate(name.encode()))


def path_of(name):
    return "/org/freedesktop/systemd1/unit/" + label(name)


def serve(state_file, calls_file, ready):
    import gi
    gi.require_version("Gio", "2.0")
    from gi.repository import Gio, GLib

    cache = {}

    def state():
        stamp = os.stat(state_file)
        if cache.get("stamp") != (stamp.st_ino, stamp.st_mtime_ns):
            cache.update(state=json.loads(pathlib.Path(state_file).read_text()), stamp=(stamp.st_ino, stamp.st_mtime_ns))
            cache["paths"] = {path_of(u["name"]): u for u in cache["state"]["units"]}
        return cache["state"]

    def unit(name):
        for u in state()["units"]:
            if u["name"] == name:
                return u
        raise Refused("org.freedesktop.systemd1.NoSuchUnit", f"Unit {name} not loaded.")

    def record(*call):
        with open(calls_file, "a") as f:
            f.write(json.dumps(call) + "\n")

    def get_property(path, interface, name):
        state()
        u = cache["paths"].get(path)
        if not u or u.get("gone"):
            raise Refused("org.freedesktop.DBus.Error.UnknownObject", f"Unknown object '{path}'.")
        if name in u.get("mute", []):
            return None
        if interface == "org.freedesktop.systemd1.Unit":
            return {"Job": GLib.Variant("(uo)", (u.get("job", 0), "/")),
                    "ActiveState": GLib.Variant("s", u["active"]),
                    "StateChangeTimestampMonotonic": GLib.Variant("t", u.get("since", 0) * 10 ** 6 + 999)}[name]
        kind = interface.rsplit(".", 1)[1].lower()
        if not u["name"].endswith("." + kind):
            raise Refused("org.freedesktop.DBus.Error.UnknownInterface", "Unknown interface.")
        return GLib.Variant("u", u.get("restarts", 0)) if name == "NRestarts" else GLib.Variant("s", u.get("result", "success"))

    def reboot(method, value):
        s = state()
        root_checks, skips = method == "RebootWithFlags" and value & 1, method == "RebootWithFlags" and value & 16
        if method == "RebootWithFlags" and s["logind"] < 246:
            raise Refused("org.freedesktop.DBus.Error.UnknownMethod", "Unknown method RebootWithFlags")
        if skips and s["logind"] < 257:
            raise Refused("org.freedesktop.DBus.Error.InvalidArgs", "Invalid flags parameter")
        if s["begun"]:
            raise Refused("org.freedesktop.login1.OperationInProgress",
                          "There's already a shutdown or sleep operation in progress")
        if s["late_inhibitor"] and not skips and (root_checks or s["logind"] >= 257):
            raise Refused(*(("org.freedesktop.login1.BlockedByInhibitorLock", "Operation denied due to active block inhibitors")
                            if s["logind"] >= 257 else
                            ("org.freedesktop.DBus.Error.AccessDenied", "Access denied to root due to active block inhibitor")))
        record(method, value)

    def call(path, interface, method, args):
        if method in state()["mute"]:
            return None
        if method == "Get":
            value = get_property(path, *args)
            return value if value is None else GLib.Variant("(v)", (value,))
        if method == "ListUnits":
            return GLib.Variant("(a(ssssssouso))", ([(u["name"], "d", u.get("load", "loaded"), u["active"], u.get("sub", "dead"),
                                                      "", path_of(u["name"]), 0, "", "/") for u in state()["units"]],))
        if method == "GetUnit":
            return GLib.Variant("(o)", (path_of(unit(args[0])["name"]),))
        if method in ("StartUnit", "StopUnit"):
            unit(args[0])
            record(method, *args)
            return GLib.Variant("(o)", ("/org/freedesktop/systemd1/job/1",))
        if method == "ListInhibitors":
            return GLib.Variant("(a(ssssuu))", ([tuple(i) for i in state()["inhibitors"]],))
        reboot(method, args[0])
        return GLib.Variant("()", ())

    def on_call(connection, sender, path, interface, method, args, invocation):
        try:
            answer = call(path, interface, method, args.unpack())
            if answer is not None:
                invocation.return_value(answer)
        except Refused as e:
            invocation.return_dbus_error(*e.args)

    connection = Gio.DBusConnection.new_for_address_sync(
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"],
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
    node = Gio.DBusNodeInfo.new_for_xml(XML)
    connection.register_object("/org/freedesktop/systemd1", node.interfaces[0], on_call, None, None)
    connection.register_object("/org/freedesktop/login1", node.interfaces[1], on_call, None, None)
    for name in state()["names"]:
        Gio.bus_own_name_on_connection(connection, name, Gio.BusNameOwnerFlags.NONE, None, None)

    # Units come and go; their properties are answered where the calls arrive, whatever the path.
    def on_message(connection, message, incoming):
        if incoming and message.get_interface() == "org.freedesktop.DBus.Properties" and message.get_member() == "Get":
            GLib.idle_add(answer_get, message)
            return None
        return message

    def answer_get(message):
        try:
            answer = call(message.get_path(), None, "Get", message.get_body().unpack())
            reply = message.new_method_reply() if answer is not None else None
            if reply:
                reply.set_body(answer)
        except Refused as e:
            reply = message.new_method_error_literal(*e.args)
        if reply:
            connection.send_message(reply, Gio.DBusSendMessageFlags.NONE)
        return False

    connection.add_filter(on_message)
    loop = GLib.MainLoop()
    GLib.timeout_add(50, lambda: pathlib.Path(ready).touch() or False)
    loop.run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
