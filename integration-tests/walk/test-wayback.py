#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The way back on files: which guarantee `gybe status` denies on which host, what finalize refuses whatever the policy says,
what it refuses because the policy requires it, and that a refusal changes nothing."""

import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from cases import Cases
from sandbox import GLOBAL, MAIN_CMDLINE, Host, boot_files, build, expect, gybe, image, keygen, sign, status

NAMES = ["default", "old-entry", "one-shot", "firmware-return", "new-panic", "new-initrd", "nvram", "panic", "watchdog",
         "deadline"]
GOOD_CMDLINE = MAIN_CMDLINE + " rd.shell=0 rd.emergency=reboot systemd.watchdog_sec=30"
cases = Cases()
case = cases.case


def guarantees(host):
    return {g["name"]: g["holds"] for g in status(host)["guarantees"]}


def owners(host):
    return {h["stage"]: h.get("owner") for h in status(host)["hangs"]}


class World:
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.images, self.n = {}, 0
        for n, version in enumerate(("3.0.1", "3.0.2"), 1):
            img = image(work / version, version)
            boot_files(img, main=GOOD_CMDLINE)
            cosi = build(img, work / f"acl-{version}.cosi")
            sign(cosi, [self.keys / "release.pem"], version, 1000 + n)
            self.images[version] = (img, cosi)
        self.plain = image(work / "plain", "3.0.3")           # panic= and nothing else
        self.plain_cosi = build(self.plain, work / "plain.cosi")
        sign(self.plain_cosi, [self.keys / "release.pem"], "3.0.3", 1003)

    def host(self, policy=None):
        """Adopted, with everything that a host can have."""
        self.n += 1
        h = Host(self.work / f"host{self.n}")
        h.install(self.images["3.0.1"][0], trust_root=self.keys / "root.json", policy=policy)
        h.write("/sys/class/watchdog/watchdog0/state", "active\n")
        h.write("/sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n")
        h.write("/sys/class/watchdog/watchdog0/timeout", "30\n")
        expect(h, 0, "stage", self.images["3.0.2"][1])
        return h


def looks(w):
    @case
    def _():
        """a host that has all of it says so, in every phase, and names who ends a hang"""
        h = w.host(policy={"require": NAMES})
        assert guarantees(h) == dict.fromkeys(NAMES, "yes"), status(h)["guarantees"]
        assert owners(h) == {"loader": "firmware", "kernel": "watchdog", "initrd": "command-line", "user-space": "deadline"}
        text = gybe(h, "status").stdout
        assert "way back," not in text and "kernel: watchdog" in text, text
        expect(h, 0, "finalize")
        assert guarantees(h) == dict.fromkeys(NAMES, "yes"), status(h)["guarantees"]
        h.boot()
        now = guarantees(h)     # on trial: only what still protects this boot
        assert now == {"panic": "yes", "watchdog": "yes", "deadline": "yes"}, now
        assert owners(h) == {"kernel": "watchdog", "user-space": "deadline"}, owners(h)
        expect(h, 0, "commit")
        now = guarantees(h)
        assert now.pop("new-panic") == now.pop("new-initrd") == "unknown" and set(now.values()) == {"yes"}, now

    # (what is taken away, the guarantee, what it is then, the owner of which stage that changes and to whom)
    table = [
        ("the watchdog is not armed", lambda h: h.write("/sys/class/watchdog/watchdog0/state", "inactive\n"),
         "watchdog", "no", ("kernel", "panic")),
        ("there is no watchdog", lambda h: shutil.rmtree(h.path("/sys/class/watchdog/watchdog0")), "watchdog", "no",
         ("kernel", "panic")),
        ("nobody knows of a watchdog", lambda h: shutil.rmtree(h.path("/sys/class/watchdog")), "watchdog", "unknown",
         ("kernel", "panic")),
        ("kernel.panic is 0", lambda h: h.write("/proc/sys/kernel/panic", "0\n"), "panic", "no", None),
        ("kernel.panic is unknown", lambda h: h.path("/proc/sys/kernel/panic").unlink(), "panic", "unknown", None),
        ("the loader is silent about one-shots", lambda h: h.var_path("LoaderFeatures").unlink(), "one-shot", "unknown", None),
        ("firmware knows no loader", lambda h: h.var_path("Boot0001", GLOBAL).unlink(), "firmware-return", "no",
         ("loader", None)),
        ("the policy wants no deadline", lambda h: h.write("/etc/gybe/policy.d/50-x.json", '{"deadline": 0}'), "deadline", "no",
         ("user-space", None)),
    ]
    for what, take, name, holds, owner in table:
        def run(what=what, take=take, name=name, holds=holds, owner=owner):
            h = w.host()
            take(h)
            now = guarantees(h)
            assert now[name] == holds and [k for k, v in now.items() if v != "yes"] == [name], now
            assert f"way back, {name}: " in gybe(h, "status").stdout
            if owner:
                assert owners(h)[owner[0]] == owner[1], owners(h)
            requires = json.dumps({"require": [name]})
            h.write("/etc/gybe/policy.d/90-require.json", requires)
            before = h.snapshot()
            r = expect(h, 3, "finalize")
            assert name in r.stderr and h.snapshot() == before, "a refusal changed something"
            assert status(h)["phase"] == "staged"
            h.path("/etc/gybe/policy.d/90-require.json").unlink()
            r = expect(h, 0, "finalize")
            assert "gybe: warning: " in r.stderr, r.stderr
        run.__doc__ = f"{what}: named, refused only where the policy requires it"
        case(run)


def refusals(w):
    @case
    def _():
        """the new command line is judged: panic= alone is not enough for the initrd"""
        h = w.host()
        expect(h, 0, "stage", w.plain_cosi)
        now = guarantees(h)
        assert now["new-panic"] == "yes" and now["new-initrd"] == "no", now
        assert owners(h)["initrd"] is None and "initrd: nobody" in gybe(h, "status").stdout
        h.write("/etc/gybe/policy.d/90-require.json", '{"require": ["panic", "new-initrd"]}')
        r = expect(h, 3, "--json", "finalize")
        assert json.loads(r.stdout)["error"]["code"] == "guarantee" and "rd.shell=0" in r.stdout, r.stdout

    @case
    def _():
        """a guarantee that this gybe does not know is not taken for proved"""
        h = w.host(policy={"require": ["telepathy"]})
        assert "telepathy" in expect(h, 3, "finalize").stderr

    @case
    def _():
        """what would make a failed trial final refuses without any policy"""
        h = w.host()
        h.set_var_raw("LoaderFeatures", struct.pack("<Q", 0x3), attrs=6)
        assert guarantees(h)["one-shot"] == "no"
        assert "one-shot" in expect(h, 1, "finalize").stderr
        assert h.var("LoaderEntryOneShot") is None
        h = w.host()
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")                    # its files are on record now
        uki = h.path("/boot/EFI/Linux") / h.default_entry()
        uki.write_bytes(uki.read_bytes().replace(b"kernel of 3.0.2", b"kernel of 6.6.6"))
        assert guarantees(h)["old-entry"] == "no"
        expect(h, 0, "stage", w.plain_cosi)
        before = h.var("LoaderEntryOneShot")
        assert "not what was committed" in expect(h, 1, "finalize").stderr and h.var("LoaderEntryOneShot") == before

    @case
    def _():
        """the way home is never closed: a rollback only warns"""
        h = w.host()
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")
        h.write("/etc/gybe/policy.d/90-require.json", '{"require": ["watchdog"]}')
        shutil.rmtree(h.path("/sys/class/watchdog/watchdog0"))
        assert "no hardware watchdog" in expect(h, 0, "rollback").stderr


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-wayback-") as tmp:
        w = World(Path(tmp))
        looks(w)
        refusals(w)
    return cases.end()


if __name__ == "__main__":
    sys.exit(main())
