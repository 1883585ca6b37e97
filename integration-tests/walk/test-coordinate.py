#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Who may reboot when: FleetLock against a strict server of the protocol, kured's sentinel, a hook; each on a host of files that
is updated, killed, rolled back and left without its lock server. What must hold: never armed without the lock, never held in a
phase that does not need it, never a verdict that waits for a server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
import mockbus
from cases import Cases
from fleetlock import FleetLock
from kill import kill_at, traced
from sandbox import MIB, Host, command, expect, gybe, image, job, spawn, status

MACHINE = "0123456789abcdef0123456789abcdef"
HOST_ID = "af8ba09061c3480182397d274a819ba0"   # systemd-id128 machine-id --app-specific=... with that machine id
PROMPT = 15   # seconds: a verb that waits for nobody (the baseline looks at units twice); a server that hangs does so for longer
HANG = 40


class Test(Cases):
    def __init__(self, work):
        self.work, self.n = work, 0
        key = foreign.Key(work / "key.pem")
        root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([key]), [key]))
        v1, v2 = image(work / "v1", "3.0.1", size=1 * MIB), image(work / "v2", "3.0.2", size=1 * MIB)
        c = foreign.Cosi(v2, work / "cosi", version="1.1")
        self.cosi = c.write(work / "x.cosi")
        foreign.write_json(work / "x.release.json", foreign.envelope("release", foreign.release(v2, c, self.cosi), [key]))
        fresh = Host(work / "fresh", usr_size=2 * MIB, esp_size=34 * MIB)
        fresh.install(v1, trust_root=root, policy={"attempts": 2})
        fresh.write("/etc/machine-id", MACHINE + "\n")
        self.fresh = fresh
        self.staged = self.clone(fresh, "staged")
        gybe(self.staged, "stage", self.cosi)

    def clone(self, host, name=None):
        self.n += 1
        return host.clone(self.work / (name or f"host{self.n}"))

    def host(self, reboot, **policy):
        """A host with a staged update, under this policy.reboot."""
        h = self.clone(self.staged)
        rule(h, reboot, **policy)
        return h


def rule(h, reboot, **policy):
    h.write("/etc/gybe/policy.d/10-test.json", json.dumps({"attempts": 2, **policy, "reboot": reboot}))


def fleet(server, **more):
    return {"coordinator": "fleetlock", "url": server.url, **more}


def locks(host):
    p = host.path("/var/lib/gybe/lock.json")
    return [(l["coordinator"], l["state"]) for l in json.loads(p.read_text())["locks"]] if p.exists() else []


def skip_pause(host):
    """The time of a back-off has passed."""
    p = host.path("/var/lib/gybe/lock.json")
    doc = json.loads(p.read_text())
    for l in doc["locks"]:
        l.pop("notBefore", None)
    p.write_text(json.dumps(doc))


def armed(host):
    return host.var("LoaderEntryOneShot")


def sentinel(host):
    p = host.path("/run/reboot-required")
    return p.read_text() if p.exists() else None


def prompt(f):
    start = time.monotonic()
    r = f()
    took = time.monotonic() - start
    assert took < PROMPT, f"took {took:.1f} s"
    return r


def cases(t):
    servers = []

    def server(slots=1):
        servers.append(FleetLock(slots))
        return servers[-1]

    try:
        fleetlock_cases(t, server)
        sentinel_cases(t)
        hook_cases(t)
        reboot_cases(t, server)
    finally:
        for s in servers:
            assert not s.errors, f"the protocol was broken: {s.errors}"
            s.stop()


def fleetlock_cases(t, server):
    @t.case
    def _():
        """fleetlock: taken before anything is armed, held over the boot, given back after commit"""
        s = server()
        h = t.host(fleet(s))
        seen = {}

        def look(kind, who):
            seen[kind] = (armed(h), status(h)["phase"], locks(h), who, list(h.path("/boot/EFI/Linux").glob("*-azlb0.efi")))
        s.seen = look
        r = expect(h, 0, "finalize")
        assert "reboot lock was granted" in r.stdout, r.stdout
        assert seen["pre-reboot"] == (None, "staged", [("fleetlock", "asked")], HOST_ID, []), seen
        assert s.held() == [HOST_ID] and locks(h) == [("fleetlock", "granted")] and armed(h)
        expect(h, 10, "finalize")
        h.boot()
        assert s.held() == [HOST_ID]
        r = expect(h, 0, "commit")
        assert s.held() == [] and locks(h) == [] and "given back" in r.stdout, (s.held(), locks(h), r.stdout)
        assert seen["steady-state"][1] == "idle", seen
        assert s.asked() == ["pre-reboot", "steady-state"], s.asked()
        expect(h, 10, "commit")
        assert s.asked() == ["pre-reboot", "steady-state"], "asked again without a reason"

    @t.case
    def _():
        """fleetlock: denied with exit 3 and the server's words; nothing is armed, nothing is held; later it goes on"""
        s = server()
        s.holders["workers"] = {"another"}
        h = t.host(fleet(s, group="workers", id="node-7"))
        before = h.snapshot()
        r = expect(h, 3, "finalize", "--json")
        e = json.loads(r.stdout)["error"]
        assert e["kind"] == "policy" and e["code"] == "lock-held", e
        assert "failed_lock_semaphore_full: semaphore currently full, all 1 slots" in e["message"], e
        after = h.snapshot()
        changed = [k for k in after if after.get(k) != before.get(k) and "LoaderEntryDefault" not in k]
        assert not changed, changed   # NVRAM is proved to be writable with the value that it has
        assert status(h)["phase"] == "staged" and armed(h) is None
        assert locks(h) == [] and s.asked() == ["pre-reboot"], (locks(h), s.asked())
        s.holders["workers"] = set()
        expect(h, 0, "finalize")
        assert s.held("workers") == ["node-7"] and armed(h)

    @t.case
    def _():
        """fleetlock: two hosts and one place take turns"""
        s = server()
        a, b = t.host(fleet(s, id="a")), t.host(fleet(s, id="b"))
        expect(a, 0, "finalize")
        expect(b, 3, "finalize")
        a.boot()
        expect(b, 3, "finalize")
        expect(a, 0, "commit")
        expect(b, 0, "finalize")
        assert s.held() == ["b"]

    @t.case
    def _():
        """fleetlock: no is no, whatever it looks like; what may have been taken is given back"""
        s = server()
        for status_code, body, words in ((500, {"kind": "internal_error", "value": "etcd"}, "internal_error: etcd"),
                                         (404, None, "generic_http_404"), (302, None, "generic_http_302"),
                                         (423, {"kind": "locked\n\x1b[2J", "value": 7}, "locked??[2J")):
            h = t.host(fleet(s))
            s.requests.clear()
            s.fault = lambda kind, group, who: ("status", status_code, body) if kind == "pre-reboot" else None
            r = expect(h, 3, "finalize")
            assert words in r.stderr and "\x1b" not in r.stderr, r.stderr
            assert status(h)["phase"] == "staged" and armed(h) is None and locks(h) == [] and not s.held()
            assert s.asked() == ["pre-reboot"] + ([] if status_code == 423 else ["steady-state"]), s.asked()
        s.fault = None

    @t.case
    def _():
        """fleetlock: a server that cannot be reached is exit 1, and nothing is owed to it"""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            h = t.host({"coordinator": "fleetlock", "url": f"http://127.0.0.1:{free.getsockname()[1]}"})
        r = expect(h, 1, "finalize")
        assert "reboot lock:" in r.stderr and status(h)["phase"] == "staged" and locks(h) == [] and armed(h) is None, r.stderr

    @t.case
    def _():
        """fleetlock: granted, but the answer got lost: given back at once"""
        s = server()
        s.fault = lambda kind, group, who: "drop" if kind == "pre-reboot" else None
        h = t.host(fleet(s))
        expect(h, 1, "finalize")
        assert s.held() == [] and locks(h) == [] and armed(h) is None and s.asked() == ["pre-reboot", "steady-state"], s.asked()

    @t.case
    def _():
        """fleetlock: granted, the answer got lost and the server too: given back when it is there again"""
        s = server()
        s.fault = "drop"
        h = t.host(fleet(s))
        s.fault = lambda kind, group, who: "drop" if kind == "pre-reboot" else ("status", 503, None)
        expect(h, 1, "finalize")
        assert s.held() == [HOST_ID] and locks(h) == [("fleetlock", "unwanted")]
        s.fault = None
        expect(h, 10, "stage", t.cosi)
        assert s.held() == [HOST_ID], "before its time"
        skip_pause(h)
        expect(h, 10, "stage", t.cosi)
        assert s.held() == [] and locks(h) == []

    @t.case
    def _():
        """fleetlock: a finalize that fails behind the lock gives it back"""
        s = server()
        h = t.host(fleet(s))
        h.write("/var/lib/gybe/attempts", "not a folder")
        expect(h, 1, "finalize")
        assert s.asked() == ["pre-reboot", "steady-state"] and s.held() == [] and locks(h) == [], (s.asked(), locks(h))

    @t.case
    def _():
        """fleetlock: nobody is asked about an update that is refused anyway"""
        s = server()
        h = t.host(fleet(s), skip=["3.0.2"])
        expect(h, 3, "finalize")
        rule(h, fleet(s))
        at = h.get("USR-B", 8192)
        h.put("USR-B", bytes([at[0] ^ 1]) + at[1:])
        expect(h, 4, "finalize")
        assert s.asked() == [] and locks(h) == []

    @t.case
    def _():
        """fleetlock: commit waits for no server, and the lock is given back later"""
        s = server()
        h = t.host(fleet(s))
        expect(h, 0, "finalize")
        h.boot()
        s.fault = HANG
        prompt(lambda: job(h, 0, "commit"))
        assert status(h)["outcome"] == "committed" and locks(h) == [("fleetlock", "unwanted")]
        assert s.asked() == ["pre-reboot"], "the verdict's job asked the lock server"
        # the command line tries for some seconds, behind an outcome that is certain
        p = spawn(h, "unlock", of="gybe-job", stderr=subprocess.PIPE, text=True)
        for _ in range(100):
            if "steady-state" in s.asked():
                break
            time.sleep(0.05)
        prompt(lambda: expect(h, 0, "rollback"))   # an unlock that hangs keeps no verb waiting
        assert p.wait(60) == 1, p.stderr.read()
        s.fault = None
        job(h, 0, "unlock")
        assert s.held() == [] and locks(h) == []
        job(h, 10, "unlock")

    @t.case
    def _():
        """fleetlock: a rollback asks nobody, and gives back what an update held"""
        s = server()
        h = t.host(fleet(s))
        expect(h, 0, "finalize")
        r = expect(h, 0, "rollback")
        assert s.held() == [] and locks(h) == [] and armed(h) is None and status(h)["phase"] == "staged", r.stdout
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")
        s.fault, s.requests = HANG, []
        prompt(lambda: expect(h, 0, "rollback"))
        assert armed(h) and s.asked() == []
        h.boot()
        prompt(lambda: expect(h, 0, "commit"))
        assert status(h)["outcome"] == "rolled-back" and s.asked() == []

    @t.case
    def _():
        """fleetlock: given back after a boot that fell back, and after a verdict against the slot"""
        s = server()
        h = t.host(fleet(s))
        expect(h, 0, "finalize")
        h.boot(fail_oneshot=True)
        expect(h, 10, "commit")
        assert s.held() == [] and locks(h) == [], (s.held(), locks(h))
        h = t.host(fleet(s))
        check = h.path("/etc/gybe/health.d/required.d/10-fails")
        check.parent.mkdir(parents=True)
        check.write_text("#!/bin/sh\n[ $GYBE_SLOT = a ]\n")
        check.chmod(0o755)
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 1, "commit")
        assert s.held() == [HOST_ID], "still on the way back: others may not go yet"
        h.boot()
        expect(h, 10, "commit")
        assert s.held() == [] and locks(h) == []

    @t.case
    def _():
        """fleetlock: killed while the server thinks about it; the next verb finds the lock and gives it back"""
        s = server()
        h = t.host(fleet(s))
        s.fault = 1
        p = spawn(h, "finalize")
        while not s.asked():
            time.sleep(0.01)
        p.kill()
        p.wait()
        time.sleep(1.2)
        assert s.held() == [HOST_ID] and locks(h) == [("fleetlock", "asked")] and armed(h) is None
        s.fault = None
        expect(h, 10, "stage", t.cosi)
        assert s.held() == [] and locks(h) == []
        # or the verb itself goes on
        s.holders["default"], s.requests = {HOST_ID}, []
        h.write("/var/lib/gybe/lock.json", json.dumps({"schema": "gybe.lock/1", "locks": [
            {"coordinator": "fleetlock", "url": s.url, "group": "default", "id": HOST_ID, "state": "asked"}]}))
        expect(h, 0, "finalize")
        assert s.asked() == ["pre-reboot"] and s.held() == [HOST_ID] and locks(h) == [("fleetlock", "granted")]

    @t.case
    def _():
        """fleetlock: kill -9 at every write of finalize: armed only with the lock, and never one that nobody gives back"""
        s = server()
        if not shutil.which("strace"):
            return
        base = t.host(fleet(s))
        writes = "renameat,unlinkat,fsync"
        first = t.clone(base)
        trace = t.work / "trace"
        subprocess.run(["strace", "-f", "-qq", "-o", trace, "-e", f"trace={writes}", *command(first, "finalize")], env=traced(),
                       check=True, stdout=subprocess.DEVNULL)
        counts = {w: sum(1 for l in trace.read_text().splitlines() if f" {w}(" in l) for w in writes.split(",")}
        points = [(w, n) for w, total in counts.items() for n in range(1, total + 1)]
        assert len(points) > 20, counts
        for w, n in points[int(time.time()) % 3::3]:
            h = t.clone(base, "killed")
            try:
                s.holders, s.requests = {}, []
                kill_at(w, n, command(h, "finalize"), "-f")
                assert s.held() or not armed(h), f"{w} {n}: armed without the lock"
                assert locks(h) or not s.held(), f"{w} {n}: a lock that nobody remembers"
                gybe(h, "commit", check=False)
                wanted = status(h)["phase"] == "finalized"
                assert bool(s.held()) == wanted or (wanted and not armed(h)), f"{w} {n}: {s.held()} in {status(h)['phase']}"
                assert gybe(h, "finalize", check=False).returncode in (0, 10)
                h.boot()
                expect(h, 0, "commit")
                assert s.held() == [] and locks(h) == [], f"{w} {n}: {s.held()} {locks(h)}"
            finally:
                shutil.rmtree(h.dir)

    @t.case
    def _():
        """fleetlock: a lock is given back where it was taken, whatever is configured by then"""
        old, new = server(), server()
        h = t.host(fleet(old))
        expect(h, 0, "finalize")
        rule(h, fleet(new))
        h.boot()
        expect(h, 0, "commit")
        assert old.held() == [] and new.asked() == [] and locks(h) == []
        h = t.host(fleet(old))
        expect(h, 0, "finalize")
        rule(h, {"coordinator": "none"})
        expect(h, 0, "rollback")
        assert old.held() == [] and locks(h) == []

    @t.case
    def _():
        """fleetlock: a lock file that is lost is given back on suspicion"""
        s = server()
        h = t.host(fleet(s))
        expect(h, 0, "finalize")
        h.boot()
        h.write("/var/lib/gybe/lock.json", "{rubbish")
        r = expect(h, 0, "commit")
        assert s.held() == [] and locks(h) == [] and h.path("/var/lib/gybe/lock.json.lost").exists(), r.stderr

    @t.case
    def _():
        """fleetlock: without a machine id there is no id of a lock"""
        s = server()
        h = t.host(fleet(s))
        h.path("/etc/machine-id").unlink()
        r = expect(h, 1, "finalize")
        assert "machine id" in r.stderr and s.asked() == [], r.stderr


def sentinel_cases(t):
    kured = {"coordinator": "kured"}

    @t.case
    def _():
        """kured: the sentinel is there when the update is finalized, not before, and not after commit"""
        h = t.clone(t.fresh)
        rule(h, kured)
        expect(h, 0, "stage", t.cosi)
        assert sentinel(h) is None
        expect(h, 0, "finalize")
        assert sentinel(h).startswith("gybe: 3.0.2 ") and oct(h.path("/run/reboot-required").stat().st_mode)[-3:] == "644"
        h.boot()
        expect(h, 0, "commit")
        assert sentinel(h) is None

    @t.case
    def _():
        """kured: taken away by a rollback before the reboot, and by a finalize that fails"""
        h = t.host(kured)
        expect(h, 0, "finalize")
        assert sentinel(h)
        expect(h, 0, "rollback")
        assert sentinel(h) is None and armed(h) is None
        h.write("/var/lib/gybe/attempts/x", "")
        shutil.rmtree(h.path("/var/lib/gybe/attempts"))
        h.write("/var/lib/gybe/attempts", "not a folder")
        expect(h, 1, "finalize")
        assert sentinel(h) is None

    @t.case
    def _():
        """kured: none after a boot that fell back, by itself; none with --no-reboot"""
        h = t.host(kured)
        expect(h, 0, "finalize")
        left = sentinel(h)
        h.boot(fail_oneshot=True)
        h.write("/run/reboot-required", left)   # a /run that is no tmpfs
        expect(h, 10, "commit")
        assert sentinel(h) is None, "kured would reboot it again"
        job(h, 0, "look")
        assert sentinel(h) is None
        h = t.host(kured)
        expect(h, 0, "finalize", "--no-reboot")
        assert sentinel(h) is None and armed(h)

    @t.case
    def _():
        """kured: a job killed behind the flip is made up for; somebody else's sentinel is left alone"""
        h = t.host(kured)
        expect(h, 0, "finalize")
        h.path("/run/reboot-required").unlink()
        job(h, 0, "look")
        assert sentinel(h)
        h = t.host(kured)
        h.write("/run/reboot-required", "*** System restart required ***\n")
        expect(h, 0, "finalize")
        expect(h, 0, "rollback")
        assert sentinel(h) == "*** System restart required ***\n"

    @t.case
    def _():
        """no coordinator: no sentinel, no lock file"""
        h = t.host({"coordinator": "none"})
        expect(h, 0, "finalize")
        h.boot()
        expect(h, 0, "commit")
        assert sentinel(h) is None and not h.path("/var/lib/gybe/lock.json").exists()


def hook_cases(t):
    def host(script, **more):
        h = t.host({"coordinator": "hook", "hook": "/etc/gybe/lock", **more})
        h.write("/etc/gybe/lock", "#!/bin/sh\necho \"$1 $GYBE_VERSION $GYBE_SLOT $GYBE_HOST_ID ${GYBE_UPDATE_ID:+id}\" >> "
                "$GYBE_ROOT/hook.log\n" + script)
        h.path("/etc/gybe/lock").chmod(0o755)
        return h

    def log(h):
        p = h.path("/hook.log")
        return p.read_text().splitlines() if p.exists() else []

    @t.case
    def _():
        """hook: lock before the flip, unlock after commit"""
        h = host("exit 0\n")
        expect(h, 0, "finalize")
        assert log(h) == [f"lock 3.0.2 b {HOST_ID} id"] and locks(h) == [("hook", "granted")], log(h)
        h.boot()
        expect(h, 0, "commit")
        assert [l.split()[0] for l in log(h)] == ["lock", "unlock"] and locks(h) == []

    @t.case
    def _():
        """hook: 75 is not now (3), anything else has failed (1) and is unlocked; its last line is told"""
        h = host("echo first; echo 'quorum is lost'\nexit 75\n")
        r = expect(h, 3, "finalize", "--json")
        e = json.loads(r.stdout)["error"]
        assert e["code"] == "lock-held" and "quorum is lost" in e["message"] and locks(h) == [] and len(log(h)) == 1, e
        h = host("[ $1 = unlock ] && exit 0\nprintf 'bad\\033[2J thing'\nexit 3\n")
        r = expect(h, 1, "finalize")
        assert "exit code 3: bad?[2J thing" in r.stderr, r.stderr
        assert [l.split()[0] for l in log(h)] == ["lock", "unlock"] and locks(h) == [] and armed(h) is None

    @t.case
    def _():
        """hook: one that hangs is ended, one that floods is cut, one that cannot be run is a failure"""
        h = host("[ $1 = unlock ] && exit 0\nsleep 60 & sleep 60\n", timeout=1)
        r = prompt(lambda: expect(h, 1, "finalize"))
        assert "no answer within 1 s" in r.stderr, r.stderr
        h = host("head -c 3000000 /dev/zero | tr '\\0' x\necho\nexit 75\n")
        r = expect(h, 3, "finalize")
        assert len(r.stderr) < 1000, len(r.stderr)
        h = host("exit 0\n")
        h.path("/etc/gybe/lock").chmod(0o644)
        r = expect(h, 1, "finalize")
        assert "not an executable" in r.stderr and armed(h) is None, r.stderr


def reboot_cases(t, server):
    """With a bus of the test's own, on which a logind stands."""
    try:
        import gi  # noqa: F401
    except ImportError:
        return
    if not shutil.which("dbus-daemon"):
        return
    with mockbus.MockBus(t.work) as bus:
        @t.case
        def _():
            """reboot: asked for with the lock held; kured's host is left to kured"""
            s = server()
            h = t.host(fleet(s))
            bus.serve()
            s.seen = lambda kind, who: kind == "pre-reboot" and (bus.calls == [] or s.errors.append("rebooted first"))
            expect(h, 0, "finalize", env=bus.environ)
            assert bus.calls == [["RebootWithFlags", 1]] and s.held() == [HOST_ID], bus.calls
            h = t.host({"coordinator": "kured"})
            bus.serve()
            r = expect(h, 0, "finalize", env=bus.environ)
            assert bus.calls == [] and "kured reboots this host" in r.stdout and sentinel(h), r.stdout
            job(h, 0, "reboot", env=bus.environ)
            assert bus.calls == []

        @t.case
        def _():
            """reboot: held up by an inhibitor, the lock is not kept; asked for again, it is taken again"""
            s = server()
            h = t.host(fleet(s))
            bus.serve(inhibitors=[["shutdown", "backup", "the tape runs", "block", 0, 4711]])
            r = expect(h, 5, "finalize", env=bus.environ)
            assert "the tape runs" in r.stderr and armed(h), r.stderr
            assert s.held() == [] and locks(h) == [] and bus.calls == [], (s.held(), locks(h))
            s.holders["default"] = {"another"}
            bus.serve()
            r = job(h, 3, "reboot", env=bus.environ)
            assert bus.calls == [] and "failed_lock_semaphore_full" in r.stderr, r.stderr
            s.holders["default"] = set()
            job(h, 0, "reboot", env=bus.environ)
            assert bus.calls == [["RebootWithFlags", 1]] and s.held() == [HOST_ID] and locks(h) == [("fleetlock", "granted")]

        @t.case
        def _():
            """reboot: the way back needs no lock"""
            s = server()
            h = t.host(fleet(s))
            expect(h, 0, "finalize")
            h.boot()
            expect(h, 0, "commit")
            s.fault, s.requests = HANG, []
            bus.serve()
            prompt(lambda: expect(h, 0, "rollback", env=bus.environ))
            assert bus.calls == [["RebootWithFlags", 1]] and s.asked() == []


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-coordinate-") as tmp:
        os.chmod(tmp, 0o755)
        t = Test(Path(tmp))
        cases(t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
