#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Kill -9 of the job at every system call that changes a file: stage + finalize, commit, and rollback, on a tiny image.

strace injects the signal when the n-th call of a kind is entered, so what the disk holds is a prefix of the job's writes.
After each kill: the active slot is untouched, the default entry names it with its files intact, `gybe status` can be read; and
both ways on, running the verb again and rebooting first, converge to the bytes of a run that was never disturbed.

    test-kill.py [--step N] [VERB...]     every N-th point only; default all
"""

import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
from kill import points, strace, was_killed
from sandbox import MIB, Host, gybe, image, status

REASONS = {None, "target-booted", "firmware-fallback", "health-fallback", "never-rebooted", "interrupted-stage", "power-loss-retry",
           "operator"}


def boot_files(host):
    """Name -> bytes of everything on the ESP that a loader can see."""
    out = {}
    for p in sorted(host.path("/boot").rglob("*")):
        name = str(p.relative_to(host.path("/boot")))
        if p.is_file() and not name.startswith("EFI/gybe/"):
            out[name] = p.read_bytes()
    return out


def finish(host, cosi):
    """What an operator or the unit would do from any state until v2 is committed in slot B."""
    for _ in range(6):
        s = status(host)
        if s["running"] == "b" and s["phase"] == "idle":
            return s
        if s["phase"] == "finalized":
            host.boot()
            gybe(host, "commit", check=False)
            continue
        if s["running"] == "b":
            gybe(host, "commit", check=False)
            continue
        r = gybe(host, "update", cosi, check=False)
        if r.returncode not in (0, 10):
            raise AssertionError(f"update: exit {r.returncode} {r.stderr.strip()}")
    raise AssertionError(f"does not converge: {status(host)}")


def check_after_kill(host, before, default):
    for label in ("USR-A", "HASH-A"):
        assert host.get(label) == before[label], f"{label} changed"
    entry = host.default_entry()
    assert entry in default, f"the default is {entry}, not one of {sorted(default)}"
    for name, data in before["files"][entry].items():
        p = host.path("/boot/EFI/Linux") / name
        assert p.exists() and p.read_bytes() == data, f"{name} of the default entry changed"
    s = status(host)
    assert s.get("reason") in REASONS, f"reason {s.get('reason')}"


def entry_files(host, entry):
    linux = host.path("/boot/EFI/Linux")
    files = [linux / entry] + sorted((linux / (entry + ".extra.d")).glob("*"))
    return {str(p.relative_to(linux)): p.read_bytes() for p in files}


def one(work, base, verb, args, inject, reference, cosi, way):
    where = work / f"{verb}-{inject[0]}-{inject[1]}-{way}"
    host = base.clone(where)
    entries = {host.default_entry()}
    if verb == "commit":
        entries |= {host.var("LoaderEntrySelected")}
    before = {label: host.get(label) for label in ("USR-A", "HASH-A")}
    before["files"] = {e: entry_files(host, e) for e in entries}
    r = strace(host, where / "trace", inject, verb, *args)
    try:
        if r.returncode == 0 and not was_killed(where / "trace"):
            return None      # one call fewer than in the first run: nothing was killed
        check_after_kill(host, before, entries)
        if way == "reboot":
            host.boot()
            gybe(host, "commit", check=False)
        else:
            again = gybe(host, verb, *args, check=False)
            assert again.returncode in (0, 10), f"again: exit {again.returncode} {again.stderr.strip()}"
        finish(host, cosi)
        got = final(host)
        for k in reference:
            assert got.get(k) == reference[k], f"{k} is not what an undisturbed run leaves"
        assert got.keys() == reference.keys(), f"left over: {sorted(got.keys() ^ reference.keys())}"
        return None
    except (AssertionError, RuntimeError) as e:
        return f"{verb}: killed at {inject[0]} #{inject[1]}, then {way}: {e}"
    finally:
        shutil.rmtree(where, ignore_errors=True)


def final(host):
    out = {label: host.get(label) for label in ("USR-A", "HASH-A", "USR-B", "HASH-B")}
    out.update(boot_files(host))
    out["LoaderEntryDefault"] = host.var("LoaderEntryDefault")
    out["LoaderEntryOneShot"] = host.var("LoaderEntryOneShot")
    return out


def main():
    argv = sys.argv[1:]
    step = int(os.environ.get("GYBE_KILL_STEP", "1"))
    if argv[:1] == ["--step"]:
        step, argv = int(argv[1]), argv[2:]
    verbs = argv or ["update", "commit"]
    bad, n = [], 0
    with tempfile.TemporaryDirectory(prefix="gybe-kill-") as tmp:
        work = Path(tmp)
        key = foreign.Key(work / "key.pem")
        root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([key]), [key]))
        v1, v2 = image(work / "v1", "3.0.1", size=4 * MIB), image(work / "v2", "3.0.2", size=4 * MIB)
        c = foreign.Cosi(v2, work / "cosi", version="1.1")
        cosi = c.write(work / "x.cosi")
        foreign.write_json(work / "x.release.json", foreign.envelope("release", foreign.release(v2, c, cosi), [key]))
        fresh = Host(work / "fresh", usr_size=4 * MIB, esp_size=40 * MIB)
        fresh.install(v1, trust_root=root, policy={"attempts": 10})
        # the sectors of an older image in the spare slot: skipping and overwriting both happen
        fresh.put("USR-B", v1.usr)
        reference_host = fresh.clone(work / "reference")
        gybe(reference_host, "update", cosi)
        trial = reference_host.clone(work / "trial")
        trial.boot()
        finish(reference_host, cosi)
        reference = final(reference_host)

        for verb, base, args in (("update", fresh, [str(cosi)]), ("commit", trial, [])):
            if verb not in verbs:
                continue
            first = base.clone(work / "first")
            r = strace(first, work / "trace", None, verb, *args)
            assert r.returncode == 0, r.stdout
            todo = points(work / "trace")
            print(f"{verb}: {len(todo)} points, every {step}", flush=True)
            offset = int(time.time()) // 60 % step     # another share of the points each time
            jobs = [(p, way) for p in todo[offset::step] for way in ("again", "reboot")]
            with ThreadPoolExecutor(max_workers=2) as pool:
                for error in pool.map(lambda j: one(work, base, verb, args, j[0], reference, cosi, j[1]), jobs):
                    n += 1
                    if error:
                        bad.append(error)
                        print("not ok", error, flush=True)
    print(f"{n - len(bad)} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
