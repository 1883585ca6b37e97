#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""kill -9 of gybed, its jobs and gybe-fetch at random moments of a complete update on files, and resets of the machine.

A round: a host in slot A, a feed with the next release, an agent that may do everything. For a while a hand kills what it can
find; then it stops, nobody types anything, and the host has to arrive: committed in slot B. All the while the running slot is
untouched, the default names a slot that boots, and in the end history's chain holds and nothing is in quarantine.

    GYBE_ROUNDS=12 GYBE_SEED=... test-agent-kill.py [ROUND...]
"""

import collections
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from agent import Agent, chain_holds
from sandbox import MIB, Host, gybe, keygen, publish, releases, spawn

ROUNDS = int(os.environ.get("GYBE_ROUNDS", "12"))
SEED = int(os.environ.get("GYBE_SEED", str(int(time.time()))))
ARRIVES = 120.0     # seconds after the last kill; undisturbed it takes two


def relatives(agent):
    """This host's processes: {"gybed": [...], "gybe-job": [...], "gybe-fetch": [...]}. A gybe-fetch is known by its parent
    and its program: the leak checker of a job that ends is a child of it, too, and a job waits for ever for one that was killed."""
    jobs = agent.jobs()
    fetch = []
    for pid in jobs:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            fetch += [int(c) for c in children if os.readlink(f"/proc/{c}/exe").endswith("/gybe-fetch")]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return {"gybed": [agent.process.pid] if agent.alive() else [], "gybe-job": jobs, "gybe-fetch": fetch}


class Round:
    def __init__(self, base, where, rng, counts):
        self.host = base.clone(where)
        self.agent = Agent(self.host)
        self.rng, self.counts = rng, counts
        self.commit = None
        self.before = {label: hashlib.sha256(self.host.get(label)).hexdigest() for label in ("USR-A", "HASH-A")}

    def kill_one(self):
        """Picks when and whom, waits until there is one, and a moment more: so each part of the work is hit."""
        if self.rng.random() < 0.7:
            self.wait_for(self.rng.choice(["idle", "trusted", "staged", "finalized", "probation", "probation"]))
        kind = self.rng.choices(["gybed", "gybe-job", "gybe-fetch"], [2, 5, 4])[0]
        later = self.rng.choice([0.0, 0.02, 0.1, 0.3]) * self.rng.random()
        end = time.monotonic() + 3
        while not relatives(self.agent)[kind]:
            self.supervise()
            if time.monotonic() > end or self.arrived():
                return
            time.sleep(0.005)
        time.sleep(later)
        found = relatives(self.agent)[kind]
        phase = self.agent.phase()
        if not found:
            return      # it was faster
        try:
            os.kill(self.rng.choice(found), signal.SIGKILL)
        except ProcessLookupError:
            return
        if kind == "gybed":
            self.agent.process.wait()
            self.agent.process = None
        self.counts[f"{kind} in {phase}"] += 1

    def wait_for(self, phase):
        end = time.monotonic() + 2
        while time.monotonic() < end and self.agent.phase() != phase and not self.arrived():
            self.supervise()
            time.sleep(0.005)

    def settle(self):
        """gybe-commit.service, Restart=on-abnormal."""
        self.commit = spawn(self.host, "commit", of="gybe-job", stdin=subprocess.DEVNULL)

    def reset(self):
        self.agent.power_off()
        if self.commit:
            self.commit.wait()
        self.host.boot()
        self.settle()
        self.counts["reset of the machine"] += 1

    def supervise(self):
        """What systemd would start again; and the reboot that the agent asked for."""
        if not self.agent.alive():
            self.agent.process = None
            self.agent.start()
        if self.commit and self.commit.poll() is not None:
            code, self.commit = self.commit.returncode, None
            if code < 0:
                self.settle()
        if self.agent.phase() == "finalized" and self.host.var("LoaderEntryOneShot") and not self.agent.jobs():
            self.reset()

    def check_always(self):
        for label, digest in self.before.items():
            assert hashlib.sha256(self.host.get(label)).hexdigest() == digest, f"{label} changed"
        entry = self.host.default_entry()
        assert entry, "no default entry"
        r = gybe(self.host, "status", check=False)
        assert r.returncode == 0, f"status: {r.stderr}"

    def arrived(self):
        return self.agent.phase() == "idle" and self.agent.journal().get("outcome") == "committed" and not self.agent.jobs()

    def run(self):
        self.agent.start()
        for _ in range(self.rng.randint(1, 14)):
            if self.rng.random() < 0.05:
                self.reset()
            else:
                self.kill_one()
            self.supervise()
            if self.agent.alive() and self.rng.random() < 0.6:
                self.agent.reload()     # an operator is impatient; else the pause after a failure is waited for
        stood = self.agent.phase()
        if self.agent.journal().get("slotDirty"):
            stood += ", slot incomplete"
        if self.arrived():
            stood = "committed"
        self.check_always()
        if self.agent.alive():
            self.agent.reload()
        self.arrive()
        return stood

    def arrive(self):
        end = time.monotonic() + ARRIVES
        while not self.arrived():
            assert time.monotonic() < end, (f"it does not arrive: {self.agent.phase()}; next: {self.agent.next()}; jobs: {self.agent.jobs()}; "
                                            f"one-shot: {self.host.var('LoaderEntryOneShot')}")
            self.supervise()
            time.sleep(0.05)
        self.agent.stop()
        if self.commit:
            self.commit.wait()

    def check_end(self, img):
        self.check_always()
        assert self.host.verity_ok("B", img.roothash), "slot B does not verify"
        running = json.loads(gybe(self.host, "status", "--json").stdout)
        assert running["running"] == "b" and running["version"] == "3.0.2", running["running"]
        assert self.host.default_entry() == running["boot"]["selected"], "the default is not what runs"
        quarantine = self.host.path("/var/lib/gybe/quarantine")
        assert not quarantine.exists() or not list(quarantine.iterdir()), "an image that was only killed is in quarantine"
        # also when it was killed between the line and the journal
        assert self.agent.events().count("committed") == 1, self.agent.events()
        # a check or a look may have begun just before the end
        left = [json.loads(p.read_text())["verb"] for p in self.host.path("/run/gybe/jobs").glob("*-*.json") if p.name.count(".") == 1]
        assert set(left) <= {"check", "look"}, f"left over: {left}"
        return chain_holds(self.host.path("/var/lib/gybe/history.jsonl"))


def main():
    print(f"seed {SEED}, {ROUNDS} rounds", flush=True)
    counts, stood, bad, lines = collections.Counter(), collections.Counter(), [], 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gybe-agent-kill-") as tmp:
        work = Path(tmp)
        keys = keygen(work / "keys")
        feed = work / "feed"
        feed.mkdir()
        images, cosis = releases(work, keys, ("3.0.1", "3.0.2"), size=4 * MIB)
        publish(feed, keys, cosis["3.0.2"])
        base = Host(work / "base", usr_size=4 * MIB)
        base.install(images["3.0.1"], trust_root=keys / "root.json",
                     config={"source": {"type": "feed", "url": f"file://{feed}/index.json", "interval": "10s"}},
                     policy={"automation": "full", "attempts": 10, "soak": "1s"})
        for n in map(int, sys.argv[1:]) if sys.argv[1:] else range(ROUNDS):
            base.write("/etc/machine-id", f"{n:032x}\n")
            base.write("/var/lib/gybe/agent.json", json.dumps({"schema": "gybe.agent/1", "lastCheck": "2026-01-01T00:00:00Z"}))
            r = Round(base, work / "round", random.Random(f"{SEED}/{n}"), counts)
            try:
                stood[r.run()] += 1
                lines += r.check_end(images["3.0.2"])
            except AssertionError as e:
                bad.append(n)
                print(f"not ok round {n} (GYBE_SEED={SEED}): {e}", flush=True)
                print("    " + "\n    ".join(r.agent.log().splitlines()[-40:]), flush=True)
                if os.environ.get("GYBE_KEEP"):
                    shutil.copytree(r.host.dir, Path(os.environ["GYBE_KEEP"]) / f"round-{n}", symlinks=True)
            finally:
                r.agent.power_off()
                if r.commit:
                    r.commit.wait()
    print("killed: " + ", ".join(f"{k} {n}" for k, n in sorted(counts.items())))
    print("where it stood when the killing ended: " + ", ".join(f"{k} {n}" for k, n in stood.most_common()))
    print(f"history: {lines} lines, every chain recomputed")
    print(f"{ROUNDS - len(bad)} passed, {len(bad)} failed, {time.monotonic() - begun:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
