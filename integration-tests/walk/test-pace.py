#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The workload comes first: an update waits while others wait for the disk and says so, goes on when they do not, and waits for
nobody when a person is in a hurry. And the bandwidth limit holds."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import web
from sandbox import MIB, Host, build, gybe, history, image, keygen, sign, spawn  # noqa: E402

HEARD = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


class Pressure(threading.Thread):
    """A host's /proc/pressure/io on which somebody waits for percent of the time."""

    def __init__(self, host, name="/proc/pressure/io"):
        super().__init__(daemon=True)
        self.path, self.percent, self.ended, self.total = host.path(name), 0, threading.Event(), 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.put()
        self.start()

    def put(self):
        new = self.path.with_suffix(".new")
        new.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={int(self.total)}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
        new.rename(self.path)

    def run(self):
        last = time.monotonic()
        while not self.ended.wait(0.002):
            now = time.monotonic()
            self.total += (now - last) * 1e6 * self.percent / 100
            last = now
            self.put()


def progress(host):
    for p in host.path("/run/gybe/jobs").glob("*.progress.json"):
        try:
            return json.loads(p.read_text())
        except (OSError, ValueError):
            pass
    return {}


def last_staged(host):
    return [e for e in history(host) if e["event"] == "staged"][-1]


def stage(host, url, *more):
    return spawn(host, "stage", *more, url, **HEARD)


def ended(p):
    out = p.communicate(timeout=120)[0]
    assert p.returncode == 0, out


def fresh(host, v1, keys, policy):
    host.install(v1, trust_root=keys / "root.json", policy=policy)
    return Pressure(host)


def pauses(host, v1, keys, release):
    """A job under pressure stands still and says why; when the pressure is over it ends."""
    pressure = fresh(host, v1, keys, {"pressure": {"io": 20}})
    pressure.percent = 60
    host.configure({"source": {"type": "feed", "url": f"{release.rsplit('/', 1)[0]}/index.json"}})
    host.write("/run/gybe/jobs/00000000-0000-4000-8000-000000000001.json", json.dumps({
        "schema": "gybe.job/1", "id": "00000000-0000-4000-8000-000000000001", "verb": "stage", "release": release, "allowDowngrade": False, "noReboot": False,
        "override": False, "unattended": False, "requestedBy": {"uid": 0, "how": "dbus"}, "at": "2026-11-21T00:00:00Z"}))
    p = spawn(host, "run", "00000000-0000-4000-8000-000000000001", of="gybe-job", **HEARD)
    until = time.monotonic() + 60
    while "paused: io pressure" not in (seen := progress(host).get("pace", "")):
        assert time.monotonic() < until and p.poll() is None, (seen, p.poll())
        time.sleep(0.02)
    assert 20 <= int(seen.split()[-2]) <= 100 and seen.endswith(" %"), seen
    before = progress(host)["done"]
    time.sleep(1)
    assert p.poll() is None and progress(host)["done"] == before, "it works while it is paused"
    pressure.percent = 0
    ended(p)
    assert not progress(host).get("pace", "").startswith("paused"), progress(host)   # slowed it may have ended: it is told twice a second
    assert last_staged(host)["yieldedMs"] >= 750, last_staged(host)
    pressure.ended.set()
    print("paused and resumed:", seen)


def override(host, v1, keys, release):
    pressure = fresh(host, v1, keys, {"pressure": {"io": 20}})
    pressure.percent = 100
    ended(stage(host, release, "--override"))
    assert last_staged(host)["yieldedMs"] == 0, last_staged(host)
    pressure.ended.set()
    print("an override waits for nobody")


def not_asked(host, v1, keys, release):
    pressure = fresh(host, v1, keys, {"pressure": {"io": 0}})
    pressure.percent = 100
    ended(stage(host, release))
    assert last_staged(host)["yieldedMs"] == 0, last_staged(host)
    pressure.ended.set()
    print("a limit of 0 is none")


def bandwidth(host, v1, keys, release, size):
    pressure = fresh(host, v1, keys, {"bandwidth": size // 3})
    t = time.monotonic()
    ended(stage(host, release))
    took = time.monotonic() - t
    assert took >= 2.2, f"{size} bytes at {size // 3} a second in {took:.2f} s"
    pressure.ended.set()
    print(f"bandwidth: {size} bytes at {size // 3} a second took {took:.1f} s")


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-pace-") as d:
        work = Path(d)
        keys = keygen(work / "keys")
        v1, v2 = image(work / "v1", "3.0.1", size=8 * MIB), image(work / "v2", "3.0.2", size=8 * MIB, seed="other")
        www = work / "www"
        www.mkdir()
        cosi = build(v2, www / "v2.cosi")
        sign(cosi, [keys / "release.pem"], "3.0.2", 2)
        server = web.files(www)
        url = server.url + "v2.release.json"
        host = Host(work / "host")
        pauses(host, v1, keys, url)
        override(host, v1, keys, url)
        not_asked(host, v1, keys, url)
        bandwidth(host, v1, keys, url, cosi.stat().st_size)
        gybe(host, "status")
        server.stop()


if __name__ == "__main__":
    main()
