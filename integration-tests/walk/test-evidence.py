#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The black box on files: a trial boot that fails leaves crash dumps, a journal, a mark or nothing; the old slot says in one line
what happened, keeps the evidence, condemns what is proved bad at once and gives the rest another attempt."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from cases import Cases
from kill import points, strace, was_killed
from sandbox import Host, build, expect, gybe, history, image, keygen, sign, status

OLD_KERNEL, NEW_KERNEL = "6.6.121", "6.6.130"
cases = Cases()
case = cases.case


class World:
    def __init__(self, work):
        self.work, self.n = work, 0
        self.keys = keygen(work / "keys")
        self.v1, self.v2 = (image(work / v, v) for v in ("3.0.1", "3.0.2"))
        self.cosi = build(self.v2, work / "v2.cosi")
        sign(self.cosi, [self.keys / "release.pem"], "3.0.2", 1002)

    def host(self, policy=None):
        """The update is armed."""
        self.n += 1
        h = Host(self.work / f"host{self.n}")
        h.install(self.v1, trust_root=self.keys / "root.json", policy=policy or {"attempts": 2})
        expect(h, 0, "update", self.cosi)
        h.armed = int(time.time())
        return h

    def fail(self, h):
        """It is tried and does not come up; the old slot is back."""
        h.boot(fail_oneshot=True)

    # crash dumps

    def dump(self, h, text, at=None, parts=2):
        """As the kernel's efi_pstore has it: part 1 is the end."""
        lines = text.splitlines(keepends=True)
        at = at or h.armed + 20
        each = max(1, (len(lines) + parts - 1) // parts)
        chunks = [lines[i:i + each] for i in range(0, len(lines), each)]
        for n, chunk in enumerate(reversed(chunks), 1):
            h.write(f"/sys/fs/pstore/dmesg-efi_pstore-{at}{n:02}001", f"Panic#1 Part{n}\n" + "".join(chunk))

    def panic(self, roothash=None, uptime=9, what="Attempted to kill init! exitcode=0x0000000b", kernel=OLD_KERNEL):
        begin = f"<6>[    0.000000] Command line: initrd=x panic=10 usrhash={roothash} acl.slot=b\n" if roothash else ""
        return (begin + f"<6>[    {uptime - 2}.5] Run /init as init process\n"
                f"<30>[    {uptime - 1}.1] systemd[1]: Running in initrd.\n"
                f"<0>[    {uptime}.250000] Kernel panic - not syncing: {what}\n"
                f"<4>[    {uptime}.26] CPU: 0 PID: 1 Comm: init Not tainted {kernel} #1\n")


def evidence(h):
    return {p.name: json.loads(p.read_text()) for p in h.path("/var/lib/gybe/evidence").glob("*.json")}


def pstore(h):
    return sorted(p.name for p in h.path("/sys/fs/pstore").glob("*")) if h.path("/sys/fs/pstore").exists() else []


def recovered(h):
    return [e for e in history(h) if e["event"] == "recovered" and e["reason"] != "target-booted"][-1]


def quarantined(h):
    return json.loads(gybe(h, "quarantine", "--json").stdout)["entries"]


def settle(h, phase, reason, kind, cause, quarantine=None, stage=None):
    """The next verb recovers; what it then says everywhere is the same."""
    foreseen = status(h)
    expect(h, 10, "commit")
    s, event = status(h), recovered(h)
    assert (s["phase"], s["reason"]) == (phase, reason), s
    assert s["failure"]["kind"] == kind and cause in s["failure"]["cause"], s["failure"]
    assert event["reason"] == reason and event["cause"] == s["failure"]["cause"], event
    assert cause in s["message"] and cause in gybe(h, "status").stdout, s["message"]
    doc = evidence(h)[s["failure"]["evidence"]]
    assert doc["schema"] == "gybe.evidence/1" and doc["cause"] == s["failure"]["cause"] and doc["reason"] == reason, doc
    assert doc["roothash"] == s["update"]["roothash"] and doc["kind"] == kind, doc
    if stage:
        assert s["failure"]["stage"] == event["stage"] == doc["stage"] == stage, s["failure"]
    listed = quarantined(h)
    assert bool(listed) == (phase == "idle" if quarantine is None else quarantine), listed
    if listed:
        assert cause in listed[0]["message"], listed
    assert foreseen["reason"] == reason, f"status foresaw {foreseen['reason']}"
    return doc


# Crash dumps ---------------------------------------------------------------------------------------------------------

def crashes(w):
    mine, other = w.v2.roothash, w.v1.roothash

    @case
    def _():
        """nothing at all: retried, and after the last attempt given up, with the same honest cause"""
        h = w.host()
        w.fail(h)
        settle(h, "staged", "power-loss-retry", "silent", "nothing was seen of it", stage="nothing")
        expect(h, 0, "finalize")
        w.fail(h)
        settle(h, "idle", "firmware-fallback", "silent", "nothing was seen of it")
        assert sorted(d["attempt"] for d in evidence(h).values()) == [1, 2]

    @case
    def _():
        """a panic whose command line names the target: condemned at the first attempt, its dump stored and taken out of NVRAM"""
        h = w.host()
        w.fail(h)
        w.dump(h, w.panic(mine), parts=3)
        w.dump(h, w.panic(other), at=h.armed - 4000)
        strangers = [n for n in pstore(h) if str(h.armed - 4000) in n]
        doc = settle(h, "idle", "firmware-fallback", "panic", "kernel panic: Attempted to kill init!", stage="initrd")
        mine_stored = [d for d in doc["dumps"] if d["blame"] == "roothash"]
        assert len(mine_stored) == 1 and mine_stored[0]["text"].startswith("<6>[    0.000000] Command line"), doc["dumps"]
        assert [d["blame"] for d in doc["dumps"] if "text" not in d] == ["other"], doc["dumps"]
        assert pstore(h) == strangers, pstore(h)
        assert "kernel panic" in expect(h, 3, "update", w.cosi).stderr

    @case
    def _():
        """a panic that only its time can be told by: it began after the trial was armed"""
        h = w.host()
        w.fail(h)
        w.dump(h, w.panic())
        doc = settle(h, "idle", "firmware-fallback", "panic", "Attempted to kill init!")
        assert [d["blame"] for d in doc["dumps"]] == ["time"] and not pstore(h)

    @case
    def _():
        """archived by systemd-pstore: found, and left where it is"""
        h = w.host()
        w.fail(h)
        path = f"/var/lib/systemd/pstore/{h.armed + 20}/001/dmesg.txt"
        h.write(path, "Panic#1 Part2\n" + w.panic(mine).replace("<30>", "Panic#1 Part1\n<30>"))
        settle(h, "idle", "firmware-fallback", "panic", "Attempted to kill init!", stage="initrd")
        assert h.path(path).exists()

    strangers = [
        ("another content's command line", lambda h: w.dump(h, w.panic(other))),
        ("a boot long before", lambda h: w.dump(h, w.panic(), at=h.armed - 5000)),
        ("the old slot, which panicked on its way down: its kernel had begun earlier", lambda h: w.dump(h, w.panic(uptime=3600))),
        ("a dump without any time", lambda h: w.dump(h, "Kernel panic - not syncing: who knows\n")),
        ("the boot that looks back", lambda h: (h.write("/proc/uptime", "10000.00 1.0\n"), w.dump(h, w.panic()))),
    ]
    for what, leave in strangers:
        def run(leave=leave):
            h = w.host()
            w.fail(h)
            leave(h)
            before = pstore(h)
            doc = settle(h, "staged", "power-loss-retry", "silent", "nothing was seen of it")
            assert {d["blame"] for d in doc["dumps"]} == {"other"} and pstore(h) == before
        run.__doc__ = f"not blamed on the target: {what}"
        case(run)

    @case
    def _():
        """where the kernels differ, the dump's own words decide"""
        for kernel, blame in ((OLD_KERNEL, "other"), (NEW_KERNEL, "kernel")):
            h = w.host()
            entry = h.path("/boot/EFI/Linux") / h.var("LoaderEntryOneShot")
            h.write("/proc/sys/kernel/osrelease", OLD_KERNEL + "\n")
            patched = entry.read_bytes().replace(b"6.6.121\0", b"6.6.130\0", 1)
            assert patched != entry.read_bytes(), "the UKI's .uname was not found"
            entry.write_bytes(patched)
            w.fail(h)
            w.dump(h, w.panic(kernel=kernel))
            expect(h, 10, "commit")
            doc, = evidence(h).values()
            assert [d["blame"] for d in doc["dumps"]] == [blame], doc["dumps"]
            assert bool(quarantined(h)) == (blame == "kernel")

    @case
    def _():
        """a panic over a rotten block is the disk's: not condemned"""
        h = w.host()
        w.fail(h)
        w.dump(h, "[   14.0] systemd[1]: Running in initrd.\n"
               "[   17.1] device-mapper: verity: 254:0: data block 0 is corrupted\n"
               "[   17.2] Kernel panic - not syncing: dm-verity device corrupted\n")
        settle(h, "staged", "power-loss-retry", "verity", "its slot is damaged: device-mapper: verity: 254:0", stage="initrd")

    @case
    def _():
        """a dump that condemned once does not condemn again when an operator has cleared it"""
        h = w.host()
        w.fail(h)
        h.write(f"/var/lib/systemd/pstore/{h.armed + 20}/001/dmesg.txt", w.panic(mine))
        settle(h, "idle", "firmware-fallback", "panic", "Attempted to kill init!")
        expect(h, 0, "quarantine", "clear", "--all")
        expect(h, 0, "update", w.cosi)
        w.fail(h)
        settle(h, "staged", "power-loss-retry", "silent", "nothing was seen of it")

    @case
    def _():
        """the journal is lost: intent and dump are enough"""
        h = w.host()
        w.fail(h)
        w.dump(h, w.panic(mine))
        h.path("/var/lib/gybe/journal.json").write_text("torn")
        expect(h, 10, "commit")
        event = recovered(h)
        assert event["reason"] == "firmware-fallback" and "Attempted to kill init!" in event["cause"], event
        assert len(quarantined(h)) == 1


def killed(w):
    def mark(h):
        h.write(f"/var/lib/gybe/deadline/{w.v2.roothash}", "not committed within 90 s of boot, waiting jobs and failed units:\n"
                "x.service loaded failed failed X\n")

    # (what, how it is left behind, reason, kind, words, every n-th point only)
    table = [("a panic", lambda h: w.dump(h, w.panic(w.v2.roothash)), "firmware-fallback", "panic", "Attempted to kill init", 1),
             ("the deadline", mark, "deadline", "deadline", "x.service had failed", 4)]
    for what, leave, reason, kind, words, step in table:
        def run(leave=leave, reason=reason, kind=kind, words=words, step=step):
            base = w.host()
            w.fail(base)
            leave(base)
            assert strace(base.clone(w.work / "first"), w.work / "trace", None, "commit").returncode == 10
            todo = points(w.work / "trace")
            assert len(todo) > 30, todo
            for point in todo[::step]:
                h = base.clone(w.work / "killed")
                r = strace(h, w.work / "trace", point, "commit")
                if r.returncode == 10 and not was_killed(w.work / "trace"):
                    continue
                at = f"killed at {point[0]} #{point[1]}"
                expect(h, 10, "commit")
                s, listed = status(h), quarantined(h)
                assert (s["phase"], s["outcome"], s["reason"]) == ("idle", "rolled-back", reason), f"{at}: {s}"
                assert s["failure"]["kind"] == kind and len(listed) == 1 and words in listed[0]["message"], f"{at}: {listed}"
                doc, = evidence(h).values()
                assert words in doc["cause"] and all(d["blame"] == "roothash" for d in doc.get("dumps", [])), f"{at}: {doc}"
                assert not list(h.path("/etc/systemd/system").rglob("*gybe*")), f"{at}: a deadline is left"
                expect(h, 3, "update", w.cosi)
        run.__doc__ = f"killed at any write of what follows from {what}: the next run comes to the same end"
        case(run)


# Everything else -----------------------------------------------------------------------------------------------------

def others(w):
    @case
    def _():
        """the deadline: what was still being started, or had failed"""
        jobs, units = "12 multi-user.target start waiting\n13 slow.service start running\n", "x.service loaded failed failed X\n"
        for text, cause in ((jobs, "slow.service was still being started"), (units, "x.service had failed"),
                            (jobs + units, "x.service had failed"), ("", "not committed")):
            h = w.host()
            w.fail(h)
            first = "not committed within 90 s of boot, waiting jobs and failed units:\n" if text else ""
            h.write(f"/var/lib/gybe/deadline/{w.v2.roothash}", first + text)
            doc = settle(h, "idle", "deadline", "deadline", cause)
            assert not text or text in doc["deadline"]
            assert not h.path("/var/lib/gybe/deadline").exists(), "the mark is still there"

    @case
    def _():
        """a failing check: its words, and its output in the black box"""
        h = w.host()
        check = h.path("/etc/gybe/health.d/required.d/10-fails")
        check.parent.mkdir(parents=True)
        check.write_text("#!/bin/sh\necho first line\necho pods do not answer\nexit 1\n")
        check.chmod(0o755)
        h.boot()
        expect(h, 1, "commit")
        w.fail(h)
        expect(h, 10, "commit")
        s = status(h)
        assert s["reason"] == "health-fallback" and s["failure"]["kind"] == "health" and s["failure"]["stage"] == "gybe", s
        assert "pods do not answer" in s["failure"]["cause"] and "10-fails" in s["message"], s
        doc = evidence(h)[s["failure"]["evidence"]]
        assert "first line" in json.dumps(doc["health"]), doc

    @case
    def _():
        """the hardware watchdog says that it was it"""
        h = w.host()
        w.fail(h)
        h.write("/sys/class/watchdog/watchdog0/bootstatus", "32\n")
        settle(h, "staged", "power-loss-retry", "watchdog", "the hardware watchdog reset it")

    @case
    def _():
        """a hostile dump: printable, bounded, and the newest eight are kept"""
        h = w.host(policy={"attempts": 10})
        for n in range(10):
            w.fail(h)
            noise = bytes(range(256)) * 40 + b"\n" + b"A" * 60000 + b"\n"
            for part in range(1, 30):
                h.write(f"/sys/fs/pstore/dmesg-efi_pstore-{h.armed + 20 + n}{part:02}001",
                        f"Panic#1 Part{part}\n".encode() + f"[    5.{part}] {n} {part}\n".encode() + noise)
            expect(h, 10, "commit")
            if n < 9:
                assert status(h)["phase"] == "staged"
                expect(h, 0, "finalize")
                h.armed = int(time.time())
        files = list(h.path("/var/lib/gybe/evidence").glob("*"))
        assert len(files) == 8, files
        for p in files:
            assert p.stat().st_size <= 256 * 1024 and stat.S_IMODE(p.stat().st_mode) == 0o600
            text = p.read_text()
            assert all(c == "\n" or " " <= c <= "~" for c in text) and "\\u001b" not in text
        assert max(json.loads(p.read_text())["attempt"] for p in files) == 10

    @case
    def _():
        """a black box that cannot be written keeps no machine from going back, and its dump stays"""
        h = w.host()
        w.fail(h)
        w.dump(h, w.panic(w.v2.roothash))
        h.write("/var/lib/gybe/evidence", "not a folder")
        r = expect(h, 10, "commit")
        assert "is not kept" in r.stderr, r.stderr
        s = status(h)
        assert s["reason"] == "firmware-fallback" and "evidence" not in s["failure"] and quarantined(h), s
        assert pstore(h), "a dump that was not stored was removed"

    @case
    def _():
        """a reboot that was asked for and never came is reported once; one that nobody asked for is not"""
        h = w.host()
        assert "reboot" not in status(h)
        expect(h, 10, "finalize")
        assert "never-rebooted" not in [e.get("reason") for e in history(h)]
        journal = h.path("/var/lib/gybe/journal.json")
        j = json.loads(journal.read_text())
        past = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1000))
        journal.write_text(json.dumps({**j, "rebootAsks": 3, "rebootAskedAt": past, "rebootBlockedBy": "apt holds a lock"}))
        assert status(h)["reboot"]["neverCame"] is True and status(h)["reboot"]["asks"] == 3
        for _ in range(2):
            expect(h, 10, "finalize")
        told = [e for e in history(h) if e.get("reason") == "never-rebooted"]
        assert len(told) == 1 and "apt holds a lock" in told[0]["message"] and "3 times" in told[0]["message"], told
        s = status(h)
        assert s["phase"] == "finalized" and s["reason"] == "never-rebooted" and h.var("LoaderEntryOneShot"), s
        h.boot()
        expect(h, 0, "commit")
        assert status(h)["outcome"] == "committed"


# Its journal ---------------------------------------------------------------------------------------------------------

def journals(w):
    def journal(h, boots):
        """A journalctl that knows these boots: {boot id: (root hash, start, [PID 1's messages])}."""
        text = f"#!/bin/sh\necho \"$@\" >>{h.path('/journalctl.log')}\n"

        def answer(pattern, lines):
            nonlocal text
            text += f"case \"$*\" in {pattern}) cat <<'X'\n" + "".join(f"{line}\n" for line in lines) + "X\nexit ;; esac\n"

        answer("*--list-boots*", [f" -{len(boots) - n} {b.replace('-', '')} Mon 2026-11-02" for n, b in enumerate(boots)])
        for boot, (roothash, start, messages) in boots.items():
            b = "*--boot=" + boot.replace("-", "")
            answer(f"{b}*--dmesg*", [f"{start}.000001 lab kernel: Linux version 6",
                                     f"{start}.000002 lab kernel: Command line: usrhash={roothash}"])
            answer(f"{b}*_PID=1*", messages)
            answer(f"{b}*--lines=200*", [f"[   {n}.5] lab systemd[1]: {m}" for n, m in enumerate(messages, 3)])
        h.write("/usr/bin/journalctl", text + "exit 1\n")
        h.path("/usr/bin/journalctl").chmod(0o755)

    def boot_id(h):
        return h.path("/proc/sys/kernel/random/boot_id").read_text().strip()

    @case
    def _():
        """its journal on the shared /var: found by the root hash in it, how far it got, its last lines"""
        h = w.host()
        first = boot_id(h)
        w.fail(h)
        journal(h, {"11111111-1111-4111-8111-111111111111": (w.v1.roothash, h.armed - 9000, ["old"]),
                    first: (w.v1.roothash, h.armed - 100, ["armed it"]),
                    "22222222-2222-4222-8222-222222222222": (w.v2.roothash, h.armed + 10,
                        ["Switching root.", "Reached target basic.target - Basic System.", "Failed to start foo.service - Foo."]),
                    boot_id(h): (w.v1.roothash, h.armed + 60, ["now"])})
        doc = settle(h, "staged", "power-loss-retry", "unit", "Failed to start foo.service - Foo.", stage="basic.target")
        assert doc["bootId"] == "22222222222242228222222222222222", doc
        assert "lab systemd[1]: Failed to start foo.service" in doc["journal"], doc
        said = h.path("/journalctl.log").read_text()
        assert "--boot=1111" not in said and f"--boot={boot_id(h).replace('-', '')}" not in said, said
        assert f"--directory={h.root}/var/log/journal" in said

    @case
    def _():
        """a trial that was judged: its boot id is in the memory of both, and its journal is found all the same"""
        h = w.host()
        first = boot_id(h)
        check = h.path("/etc/gybe/health.d/required.d/10-fails")
        check.parent.mkdir(parents=True)
        check.write_text("#!/bin/sh\necho pods do not answer\nexit 1\n")
        check.chmod(0o755)
        h.boot()
        trial = boot_id(h)
        expect(h, 1, "commit")
        h.boot()
        journal(h, {first: (w.v1.roothash, h.armed - 100, ["armed it"]),
                    trial: (w.v2.roothash, h.armed + 10, ["Switching root.", "the last words"]),
                    boot_id(h): (w.v1.roothash, h.armed + 60, ["now"])})
        expect(h, 10, "commit")
        doc = evidence(h)[status(h)["failure"]["evidence"]]
        assert doc["bootId"] == trial.replace("-", "") and "the last words" in doc["journal"], doc
        assert doc["stage"] == "gybe" and "pods do not answer" in doc["cause"], doc

    @case
    def _():
        """a witness for the defence: a later boot of the old slot began when the dump's kernel did"""
        h = w.host()
        first = boot_id(h)
        w.fail(h)
        w.dump(h, w.panic(), at=h.armed + 100)          # its kernel began at + 91
        journal(h, {first: (w.v1.roothash, h.armed - 100, []),
                    "33333333-3333-4333-8333-333333333333": (w.v1.roothash, h.armed + 92, [])})
        expect(h, 10, "commit")
        s = status(h)
        assert s["reason"] == "power-loss-retry" and not quarantined(h), s
        doc = evidence(h)[s["failure"]["evidence"]]
        assert [d["blame"] for d in doc["dumps"]] == ["other"] and "bootId" not in doc

    @case
    def _():
        """a journalctl that fails, floods or hangs for ever costs time, not the way back"""
        for script in ("exit 1", "yes AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA | head -c 30000000", "sleep 100"):
            h = w.host()
            w.fail(h)
            h.write("/usr/bin/journalctl", f"#!/bin/sh\n{script}\n")
            h.path("/usr/bin/journalctl").chmod(0o755)
            start = time.monotonic()
            settle(h, "staged", "power-loss-retry", "silent", "nothing was seen of it")
            assert time.monotonic() - start < 60

    @case
    def _():
        """a real journal: what journalctl of this machine makes of it"""
        remote, ctl = "/lib/systemd/systemd-journal-remote", shutil.which("journalctl")
        if not ctl or not os.path.exists(remote):
            print("   skipped: no systemd-journal-remote here")
            return
        h = w.host()
        first = boot_id(h)
        w.fail(h)
        target = "22222222222242228222222222222222"
        folder = h.path("/var/log/journal/" + "a" * 32)
        folder.mkdir(parents=True)
        text = ""
        words = ["Switching root.", "Failed to start foo.service - Foo."]
        for boot, start, roothash, more in ((first.replace("-", ""), h.armed - 100, w.v1.roothash, []),
                                            (target, h.armed + 10, w.v2.roothash, words)):
            said = [("kernel", "kernel", f"Command line: usrhash={roothash}")] + [("journal", "systemd", m) for m in more]
            for n, (transport, who, message) in enumerate(said):
                text += (f"__REALTIME_TIMESTAMP={(start + n) * 1000000}\n__MONOTONIC_TIMESTAMP={n * 1000000}\n_BOOT_ID={boot}\n"
                         f"_TRANSPORT={transport}\nPRIORITY=6\n_PID=1\nSYSLOG_IDENTIFIER={who}\n_HOSTNAME=lab\n"
                         f"MESSAGE={message}\n\n")
        export = h.dir / "export"
        export.write_text(text)
        subprocess.run([remote, f"--output={folder}/system.journal", "--compress=no", export], check=True, capture_output=True)
        h.write("/usr/bin/journalctl", f'#!/bin/sh\nexec {ctl} "$@"\n')
        h.path("/usr/bin/journalctl").chmod(0o755)
        doc = settle(h, "staged", "power-loss-retry", "unit", "Failed to start foo.service - Foo.", stage="switch-root")
        assert doc["bootId"] == target, doc


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-evidence-") as tmp:
        w = World(Path(tmp))
        crashes(w)
        killed(w)
        others(w)
        journals(w)
    return cases.end()


if __name__ == "__main__":
    sys.exit(main())
