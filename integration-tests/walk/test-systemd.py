#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""control/systemd against a real dbus-daemon with a systemd1 and a login1 that say what the test wants: test-systemd (the
client of updater/control/test-systemd.c) asks."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
import mockbus  # noqa: E402

BUILD = pathlib.Path(os.environ.get("GYBE_BUILD", "build")).resolve()
CLIENT = BUILD / "test-systemd"


def unit(name, active, sub="", **kw):
    return {"name": name, "active": active, "sub": sub or active, **kw}


class SystemdTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="gybe-systemd-"))
        cls.bus = mockbus.MockBus(cls.dir).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.bus.__exit__()
        shutil.rmtree(cls.dir)

    def setUp(self):
        self.bus.serve()

    def run_client(self, *args, env=None):
        p = subprocess.run([CLIENT, "--root", self.dir, *args], capture_output=True, text=True, timeout=60,
                           env={**os.environ, **(self.bus.environ if env is None else env)})
        self.assertEqual(p.stderr, "")
        return p.returncode, p.stdout

    def good(self, *args):
        code, out = self.run_client(*args)
        self.assertEqual(code, 0, out)
        return out

    def bad(self, kind, errno, word, *args, **kw):
        code, out = self.run_client(*args, **kw)
        self.assertEqual(out.split()[:3], [kind, errno, word + ":"], out)
        self.assertNotEqual(code, 0)
        return out.strip()

    # units

    def test_units(self):
        self.bus.set(units=[
            unit("kubelet.service", "active", "running", restarts=4, result="exit-code"),
            unit("bad.service", "failed", restarts=5, result="oom-kill", since=20),
            unit("again.service", "activating", "auto-restart", restarts=2, since=31),
            unit("done.service", "inactive", "dead", restarts=9),
            unit("none.service", "inactive", "dead", load="not-found"),
            unit("home.mount", "failed", result="timeout", since=7),
            unit("x@a-b:c.service", "active", "running", restarts=1),
            unit("9-Ä.service", "active", "running", restarts=3),
            unit("a.target", "failed", since=3),
            unit("went.service", "failed", restarts=8, gone=True),
        ])
        self.assertEqual(self.good("units").splitlines(), [
            "kubelet.service loaded active running 4 - 0",
            "bad.service loaded failed failed 5 oom-kill 20",
            "again.service loaded activating auto-restart 2 - 31",
            "done.service loaded inactive dead 0 - 0",
            "none.service not-found inactive dead 0 - 0",
            "home.mount loaded failed failed 0 timeout 7",
            "x@a-b:c.service loaded active running 1 - 0",
            "9-Ä.service loaded active running 3 - 0",
            "a.target loaded failed failed 0 - 3",
            "went.service loaded failed failed 0 - 0",
        ])

    def test_no_units(self):
        self.assertEqual(self.good("units"), "")

    def test_many_units(self):
        units = [unit(f"pod-{i}.service", "failed", restarts=i, result="exit-code", since=i) for i in range(300)]
        units += [unit(f"m{i}.mount", "active", "mounted") for i in range(3000)]
        self.bus.set(units=units)
        start = time.monotonic()
        out = self.good("units").splitlines()
        self.assertEqual(len(out), 3300)
        self.assertEqual(out[299], "pod-299.service loaded failed failed 299 exit-code 299")
        print(f"300 services, 900 questions: {time.monotonic() - start:.2f} s with a mock in Python", file=sys.stderr)

    # orders

    def test_orders(self):
        self.bus.set(units=[unit("gybe-job@1.service", "inactive")])
        self.good("start", "gybe-job@1.service")
        self.good("stop", "gybe-job@1.service")
        self.assertEqual(self.bus.calls, [["StartUnit", "gybe-job@1.service", "fail"], ["StopUnit", "gybe-job@1.service", "fail"]])
        self.assertIn("x.service: there is no such unit", self.bad("host", "ENOENT", "no-unit", "start", "x.service"))
        self.good("stop", "x.service")

    def test_running(self):
        for active, job, expect in (("active", 0, 1), ("activating", 0, 1), ("reloading", 0, 1), ("deactivating", 0, 1),
                                    ("inactive", 0, 0), ("failed", 0, 0), ("inactive", 7, 1), ("failed", 7, 1)):
            self.bus.set(units=[unit("x.service", active, job=job)])
            self.assertEqual(self.good("running", "x.service"), f"{expect}\n", (active, job))
        self.assertEqual(self.good("running", "y.service"), "0\n")
        self.bus.set(units=[unit("x.service", "active", gone=True)])   # ended between the two questions
        self.assertEqual(self.good("running", "x.service"), "0\n")

    # reboots

    def test_reboot(self):
        self.good("reboot")
        self.assertEqual(self.bus.calls, [["RebootWithFlags", 1]])   # root is to be held, too

    def test_old_and_new_logind(self):
        for version, override, expect in ((245, "", ["Reboot", False]), (245, "-override", ["Reboot", False]),
                                          (252, "-override", ["RebootWithFlags", 0]),
                                          (257, "", ["RebootWithFlags", 1]), (257, "-override", ["RebootWithFlags", 16])):
            self.bus.serve(logind=version)
            self.good("reboot" + override)
            self.assertEqual(self.bus.calls, [expect], version)

    def test_inhibitors(self):
        backup = ["sleep:shutdown", "backup", "the tape runs", "block", 0, 4711]
        self.bus.set(inhibitors=[["idle", "player", "plays", "block", 1000, 1], ["shutdown", "NetworkManager", "leases", "delay", 0, 2],
                                 ["shutdown", "app", "unsaved", "block-weak", 0, 9], ["shutdowns", "odd", "no such word", "block", 0, 9],
                                 backup, ["shutdown", "second", "", "block", 0, 3]])
        out = self.bad("busy", "EBUSY", "inhibited", "reboot")
        self.assertIn("reboot: held by backup (process 4711): the tape runs, and 1 more; systemd-inhibit --list", out)
        self.assertEqual(self.bus.calls, [])
        self.good("reboot-override")
        self.assertEqual(len(self.bus.calls), 1)

    def test_what_does_not_hold(self):
        self.bus.set(inhibitors=[["idle:sleep", "player", "plays", "block", 1000, 1], ["shutdown", "nm", "leases", "delay", 0, 2]])
        self.good("reboot")
        self.assertEqual(len(self.bus.calls), 1)

    def test_words_of_others(self):
        self.bus.set(inhibitors=[["shutdown", "ä" * 500 + "\x1b[2J", "\r\nline" + "ü" * 500, "block", 0, 1]])
        code, out = self.run_client("reboot")
        self.assertEqual((code, out.count("\n")), (5, 1))
        self.assertNotIn("\x1b", out)
        out.encode()   # was decoded strictly: no character is cut in halves

    def test_inhibitor_between_look_and_reboot(self):
        for version in (252, 257):
            self.bus.set(late_inhibitor=True, logind=version)
            self.bad("busy", "EBUSY", "inhibited", "reboot")
            self.good("reboot-override")

    def test_already_going_down(self):
        self.bus.set(begun=True)
        self.bad("busy", "EBUSY", "shutting-down", "reboot")

    # what is missing

    def test_nobody_serves(self):
        self.bus.serve(names=[])
        for args in (("units",), ("start", "x.service"), ("running", "x.service"), ("reboot",), ("reboot-override",)):
            self.bad("host", "ENOSYS", "no-systemd", *args)

    def test_nothing_without_the_word(self):
        """The address alone, as anybody's environment may have it, is not enough for a host made of files."""
        env = {"DBUS_SYSTEM_BUS_ADDRESS": self.bus.address, "GYBE_TEST_BUS": ""}
        self.bad("host", "ENOSYS", "no-systemd", "reboot", env=env)
        self.assertEqual(self.bus.calls, [])

    def test_silence(self):
        """A manager that does not answer costs one time limit, not one a unit."""
        self.bus.set(units=[unit(f"u{i}.service", "active", "running", mute=["NRestarts"]) for i in range(100)])
        start = time.monotonic()
        self.bad("host", "ETIMEDOUT", "systemd", "units")
        self.assertLess(time.monotonic() - start, 20)


if __name__ == "__main__":
    missing = [t for t in ("dbus-daemon",) if not shutil.which(t)]
    try:
        import gi  # noqa: F401
    except ImportError:
        missing.append("python3-gi")
    if missing or not CLIENT.exists():
        print("skipped: needs", ", ".join(missing) or CLIENT)
        sys.exit(77)
    unittest.main(verbosity=1)
