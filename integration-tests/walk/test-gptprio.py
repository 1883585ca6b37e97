#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Flatcar on files: the whole walk with the boot state in GPT attributes. cgpt says what they are before and after every step
and plays GRUB (which counts the tries down); veritysetup judges the slots, sgdisk the table. Then kill -9 at every write of
finalize, commit and rollback, and a power cut between every two writes of the partition table."""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import flatcar
from cases import Cases
from flatcar import Flatcar
from kill import points, strace, was_killed
from sandbox import MIB, expect, gybe, image, keygen, release_tool, run, sign, status

COMMITTED_A = {"a": (1, 0, 1), "b": (0, 0, 0)}


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.images, self.cosis = {}, {}
        for n, version in enumerate(("4000.1.0", "4000.2.0", "4000.3.0"), 1):
            img = image(work / version, version, size=4 * MIB)
            img.os_release.write_text(f"ID=flatcar\nVERSION_ID={version}\nVERSION={version}\n")
            self.images[version] = img
            self.cosis[version] = flatcar.build(img, work / f"flatcar-{version}.cosi")
            sign(self.cosis[version], [self.keys / "release.pem"], version, 1000 + n, "--floor", 1000, product="flatcar")
        self.v1, self.v2, self.v3 = self.images.values()
        self.n = 0

    def host(self, **options):
        self.n += 1
        h = Flatcar(self.work / f"host{self.n}", usr_size=5 * MIB)
        h.install(self.v1, trust_root=self.keys / "root.json", **options)
        h.knows(*self.images.values())
        return h


def table(host, **expected):
    have = host.table()
    assert have == expected, f"{have}, not {expected}"
    assert "No problems found" in run("sgdisk", "-v", host.disk).stdout, "sgdisk -v"


def kernels(host):
    return sorted(p.name for p in host.path("/boot/flatcar").glob("vmlinuz*"))


def differs(host, running, other, where):
    """gybe diff knows the two kernels, and that what lies there is what was recorded."""
    d = json.loads(expect(host, 0, "diff", "--json").stdout)
    assert (d["running"]["bootEntry"], d["other"]["bootEntry"]) == (running, other), d
    assert d["other"]["recordedIn"] == where and not d["other"]["notAsRecorded"] and not d["problems"], d
    for side in ("running", "other"):
        kernel = host.path("/boot/flatcar") / d[side]["bootEntry"]
        assert d[side]["ukiSha256"] == hashlib.sha256(kernel.read_bytes()).hexdigest() and "cmdline" not in d[side], d


def main():
    # killed programs, not lost pages: memory will do, and hundreds of syncs cost nothing there
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gybe-gptprio-", dir=memory) as tmp:
        t = Test(Path(tmp))
        cases(t)
        kills(t)
    return t.end()


def cases(t):
    v2, v3 = t.cosis["4000.2.0"], t.cosis["4000.3.0"]

    @t.case
    def _():
        """stage, finalize, boot, commit, twice: every transition as cgpt sees it"""
        h = t.host()
        old = h.get("USR-A")
        table(h, **COMMITTED_A)
        s = status(h)
        assert s["boot"]["default"] == "vmlinuz-a" and s["boot"]["defaultBy"] == "GPT priority" and s["running"] == "a", s["boot"]
        expect(h, 0, "stage", v2)
        table(h, **COMMITTED_A)
        assert kernels(h) == ["vmlinuz-a", "vmlinuz-b.staged"], kernels(h)
        assert h.verity_ok("B", t.v2.roothash)
        differs(h, "vmlinuz-a", "vmlinuz-b.staged", "journal")
        expect(h, 0, "finalize")
        table(h, a=(1, 0, 1), b=(2, 1, 0))
        assert kernels(h) == ["vmlinuz-a", "vmlinuz-b"], kernels(h)
        assert h.default_slot() == "a" and h.get("USR-A") == old
        s = status(h)
        assert s["phase"] == "finalized" and s["next"]["action"] == "reboot", s
        expect(h, 3, "commit")
        assert h.boot() == "b"
        table(h, a=(1, 0, 1), b=(2, 0, 0))
        expect(h, 0, "commit")
        table(h, a=(1, 0, 1), b=(2, 0, 1))
        s = status(h)
        assert s["running"] == "b" and s["outcome"] == "committed" and s["version"] == "4000.2.0", s
        differs(h, "vmlinuz-b", "vmlinuz-a", "trust")
        assert not list(h.path("/boot/EFI").rglob("intent.json")), "the intent is still on the ESP"
        assert h.boot() == "b"
        # the next one goes back into slot A, which loses its priority before its first block
        expect(h, 0, "stage", v3)
        table(h, a=(0, 0, 0), b=(2, 0, 1))
        assert kernels(h) == ["vmlinuz-a.staged", "vmlinuz-b"], kernels(h)
        expect(h, 0, "finalize")
        table(h, a=(3, 1, 0), b=(2, 0, 1))
        assert h.boot() == "a"
        expect(h, 0, "commit")
        table(h, a=(3, 0, 1), b=(2, 0, 1))

    @t.case
    def _():
        """the new slot does not come up: the try is spent, the old one is back; two attempts, then quarantine"""
        h = t.host()
        expect(h, 0, "update", v2)
        assert h.boot(fail=True) == "a"
        table(h, a=(1, 0, 1), b=(2, 0, 0))
        assert status(h)["reason"] == "power-loss-retry", status(h)["reason"]
        expect(h, 0, "update", v2)
        table(h, a=(1, 0, 1), b=(2, 1, 0))
        assert h.boot(fail=True) == "a"
        expect(h, 3, "update", v2)
        s = status(h)
        assert s["reason"] == "firmware-fallback" and s["outcome"] == "rolled-back", s
        table(h, **COMMITTED_A)
        assert kernels(h) == ["vmlinuz-a"], kernels(h)
        expect(h, 3, "stage", v2)
        expect(h, 0, "update", v3)
        assert h.boot() == "b"
        expect(h, 0, "commit")

    @t.case
    def _():
        """a failing health check: the slot is never successful, the next reset is the way back"""
        h = t.host()
        h.write("/etc/gybe/health.d/required.d/50-web", "#!/bin/sh\n! grep -q 4000.2.0 \"${GYBE_ROOT:-}/etc/os-release\"\n")
        h.path("/etc/gybe/health.d/required.d/50-web").chmod(0o755)
        h.write("/etc/gybe/policy.d/20-soak.json", json.dumps({"soak": "0s", "deadline": "1s"}))
        expect(h, 0, "update", v2)
        assert h.boot() == "b"
        r = gybe(h, "commit", check=False)
        if r.returncode == 0:      # the check could not tell the two apart here
            raise AssertionError(f"committed: {r.stdout}")
        table(h, a=(1, 0, 1), b=(2, 0, 0))
        assert h.boot() == "a"
        expect(h, 3, "update", v2)
        table(h, **COMMITTED_A)

    @t.case
    def _():
        """rollback: while finalized it disarms; after a commit it tries the old slot once, and that may fail, too"""
        h = t.host()
        expect(h, 0, "update", v2)
        expect(h, 0, "rollback")
        table(h, **COMMITTED_A)
        assert kernels(h) == ["vmlinuz-a", "vmlinuz-b.staged"], kernels(h)
        assert status(h)["phase"] == "staged"
        expect(h, 0, "finalize")
        assert h.boot() == "b"
        expect(h, 0, "commit")
        expect(h, 0, "rollback")
        table(h, a=(3, 1, 0), b=(2, 0, 1))
        assert h.default_slot() == "b" and h.boot(fail=True) == "b"
        assert status(h)["running"] == "b"
        gybe(h, "check", check=False)
        expect(h, 0, "rollback")
        table(h, a=(3, 1, 0), b=(2, 0, 1))
        assert h.boot() == "a"
        expect(h, 0, "commit")
        table(h, a=(3, 0, 1), b=(2, 0, 1))
        assert status(h)["outcome"] == "rolled-back"

    @t.case
    def _():
        """what is not a default is made one: the running slot gets its bits before anything is written"""
        h = t.host()
        run("cgpt", "add", "-i", 3, "-S", 0, "-P", 1, "-T", 5, h.disk)          # as an installer of another kind leaves it
        expect(h, 0, "stage", v2)
        table(h, **COMMITTED_A)
        run("cgpt", "add", "-i", 4, "-S", 1, "-P", 7, "-T", 0, h.disk)          # somebody prefers what is being staged
        r = expect(h, 1, "finalize")
        assert "default" in r.stderr, r.stderr
        run("cgpt", "add", "-i", 4, "-S", 0, "-P", 0, h.disk)
        expect(h, 0, "finalize")
        table(h, a=(1, 0, 1), b=(2, 1, 0))

    @t.case
    def _():
        """refused: another partition that GRUB would start, a GRUB with signed slots, an image without its kernel, a kernel of another /usr"""
        h = t.host()
        run("sgdisk", f"--typecode=6:{flatcar.USR_TYPE}", h.disk)
        run("cgpt", "add", "-i", 6, "-S", 1, "-P", 1, h.disk)
        before = h.snapshot(["USR-B"])
        r = expect(h, 1, "stage", v2)
        assert "neither slot" in r.stderr and h.snapshot(["USR-B"]) == before, r.stderr
        h = t.host()
        h.write("/boot/flatcar/load-a", "linux\n")
        assert "signed" in expect(h, 1, "stage", v2).stderr
        r = release_tool("build", "--usr", t.v2.usr, "--os-release", t.v2.os_release, "--esp", t.v1.dir / "flatcar-esp",
                         "--fs-type", "btrfs", "--fs-uuid", "11111111-2222-3333-4444-555555555555", "-o", t.work / "bad.cosi", check=False)
        assert r.returncode == 2 and "root hash in it" in r.stdout, r.stdout
        h = t.host(config={"bootloader": "sdboot"})
        assert not status(h)["boot"].get("default")
        h = t.host(config={"bootloader": "lilo"})
        assert "auto, sdboot or gptprio" in gybe(h, "stage", v2, check=False).stderr

    @t.case
    def _():
        """gybe-release knows what it made: verify, inspect"""
        release_tool("verify", v2, "--root", t.keys / "root.json")
        out = json.loads(release_tool("inspect", v2, "--json").stdout)
        assert "flatcar/vmlinuz-a" in json.dumps(out) and '"kernel"' in json.dumps(out), out


# --- killed, and cut ---

def converge(host, cosi, slot):
    """What an operator or the unit would do from any state until it is committed in that slot."""
    for _ in range(6):
        s = status(host)
        if s["running"] == slot and s["phase"] == "idle":
            return
        if s["phase"] == "finalized":
            host.boot()
        elif s["running"] == slot or s["phase"] == "probation":
            expect(host, 0, "commit")
        else:
            r = gybe(host, *(["update", cosi] if cosi else ["rollback"]), check=False)
            assert r.returncode in (0, 10), f"exit {r.returncode}: {r.stderr.strip()}"
    raise AssertionError(f"does not converge: {status(host)['phase']}, {host.table()}")


def kill_everywhere(t, base, verb, cosi, slot, step):
    log = t.work / "strace.log"
    reference = base.clone(t.work / "reference")
    strace(reference, log, None, *verb)
    every = points(log)
    assert len(every) > 8, every
    for n in range(0, len(every), step):
        for reboot_first in (False, True):
            host = base.clone(t.work / "killed")
            good = host.default_slot()
            strace(host, log, every[n], *verb)
            if not was_killed(log):
                continue
            where = f"{verb[0]} killed at {every[n]}, reboot first: {reboot_first}"
            now = host.default_slot()
            assert now == good or (verb[0] == "commit" and now == slot), f"{where}: the default is {now}"
            try:
                if reboot_first:
                    host.boot()
                converge(host, cosi, slot)
                assert host.default_slot() == slot and host.boot() == slot
            except (AssertionError, RuntimeError) as e:
                raise AssertionError(f"{where}: {e}")


def kills(t):
    cosi = t.cosis["4000.2.0"]
    step = int(os.environ.get("GYBE_STEP", "15"))
    staged = t.host()
    expect(staged, 0, "stage", cosi)
    trial = staged.clone(t.work / "trial")
    expect(trial, 0, "finalize")
    trial.boot()
    kept = trial.clone(t.work / "kept")
    expect(kept, 0, "commit")

    @t.case
    def _():
        """kill -9 in finalize: the default is the committed slot, and it converges"""
        kill_everywhere(t, staged, ["finalize"], cosi, "b", step)

    @t.case
    def _():
        """kill -9 in commit"""
        kill_everywhere(t, trial, ["commit"], cosi, "b", step)

    @t.case
    def _():
        """kill -9 in rollback"""
        kill_everywhere(t, kept, ["rollback"], None, "a", step)

    @t.case
    def _():
        """the plug between two writes of the table: finalize's and commit's, in order"""
        armed = staged.clone(t.work / "armed")
        expect(armed, 0, "finalize")
        cut_table(t, staged, armed, cosi)
        cut_table(t, trial, kept, cosi)


def cut_table(t, before, after, cosi):
    """Prefixes of what differs in the table: backup entries and header, then the primary's, a sector at a time."""
    old, new = before.disk.read_bytes(), after.disk.read_bytes()
    end = len(old)
    sectors = [i for r in (range(end - 33 * 512, end - 512, 512), [end - 512], range(1024, 34 * 512, 512), [512]) for i in r
               if old[i:i + 512] != new[i:i + 512]]
    assert len(sectors) == 4, sectors
    for n in range(len(sectors) + 1):
        host = before.clone(t.work / "cut")
        with open(host.disk, "r+b") as f:
            for at in sectors[:n]:
                f.seek(at)
                f.write(new[at:at + 512])
        s = status(host)
        assert s["running"] == status(before)["running"], s
        assert s["boot"]["default"] in ("vmlinuz-a", "vmlinuz-b"), s["boot"]
        converge(host, cosi, "b")
        assert "No problems found" in run("sgdisk", "-v", host.disk).stdout, f"after {n} sectors"
        assert host.table()["b"][1:] == (0, 1), host.table()


if __name__ == "__main__":
    sys.exit(main())
