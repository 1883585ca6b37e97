#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""What the system journal gets to hear: each end of an update as one entry with its message id, and the catalog's text for it as
journalctl compiles it. A socket in the host's /run plays journald."""

import http.server
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import web
from cases import Cases
from sandbox import SOURCE, Host, build, expect, gybe, image, keygen, publish, sign

CATALOG = SOURCE / "units/gybe.catalog"


def parse(entry):
    fields, at = {}, 0
    while at < len(entry):
        end = entry.index(b"\n", at)
        name, eq, value = entry[at:end].partition(b"=")
        at = end + 1
        if not eq:
            size, = struct.unpack_from("<Q", entry, at)
            value = entry[at + 8:at + 8 + size]
            at += 8 + size + 1
        fields[name.decode()] = value.decode()
    return fields


class NotFound(web.Quiet, http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)


class Journal:
    """journald's socket in a host, again after each boot."""

    def __init__(self, host):
        self.host, self.socket = host, None
        self.boot()

    def boot(self):
        folder = self.host.path("/run/systemd/journal")
        folder.mkdir(parents=True, exist_ok=True)
        if self.socket:
            self.socket.close()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        fd = os.open(folder, os.O_PATH)
        self.socket.bind(f"/proc/self/fd/{fd}/socket")      # a path of any length
        os.close(fd)

    def entries(self):
        out = []
        while True:
            try:
                out.append(parse(self.socket.recv(1 << 16)))
            except BlockingIOError:
                return out

    def expect(self, *names):
        found = self.entries()
        for e in found:
            assert re.fullmatch("[0-9a-f]{32}", e["MESSAGE_ID"]) and f"\n-- {e['MESSAGE_ID']}\n" in CATALOG.read_text(), e
        assert [e["GYBE_EVENT"] for e in found] == list(names), [(e["GYBE_EVENT"], e["MESSAGE"]) for e in found]
        return found


class Test(Cases):
    def __init__(self, work):
        self.work, self.keys, self.feed = work, keygen(work / "keys"), work / "feed"
        self.feed.mkdir()
        self.v1 = image(work / "3.0.1", "3.0.1")

    def publish(self, version, serial):
        cosi = build(image(self.work / version, version), self.work / f"acl-{version}.cosi")
        sign(cosi, [self.keys / "release.pem"], version, serial, "--floor", 1000)
        publish(self.feed, self.keys, cosi)
        return cosi

    def host(self, name, url=None, **options):
        h = Host(self.work / name)
        h.install(self.v1, trust_root=self.keys / "root.json",
                  config={"source": {"type": "feed", "url": url or f"file://{self.feed}"}}, **options)
        return h, Journal(h)


def boot(host, journal, **how):
    host.boot(**how)
    journal.boot()


def cases(t):
    t.publish("3.0.2", 1002)

    @t.case
    def _():
        """an update that holds: staged, finalized, trial, committed; then a rollback: returned"""
        h, j = t.host("good")
        expect(h, 0, "check")
        j.expect()
        expect(h, 0, "update")
        staged, final, missing = j.expect("staged", "finalized", "guarantee-missing")
        assert staged["GYBE_VERSION"] == "3.0.2" and staged["GYBE_SLOT"] == "b" and staged["PRIORITY"] == "6", staged
        assert final["GYBE_ATTEMPT"] == "1" and final["GYBE_UPDATE_ID"] == staged["GYBE_UPDATE_ID"], final
        assert "watchdog" in missing["GYBE_MESSAGE"], missing
        boot(h, j)
        expect(h, 0, "commit")
        trial, kept = j.expect("trial", "committed")
        assert kept["MESSAGE"] == "3.0.2: is kept: it is the default from now on", kept
        expect(h, 10, "update")
        j.expect()
        expect(h, 0, "rollback", "--allow-downgrade")
        j.entries()
        boot(h, j)
        expect(h, 0, "commit")
        assert [e["GYBE_EVENT"] for e in j.entries()][-1] == "returned"

    @t.case
    def _():
        """a failed check: told in the new slot and again in the old one, with what the check said"""
        h, j = t.host("sick")
        h.write("/etc/gybe/health.d/required.d/50-sick", "#!/bin/sh\n[ $GYBE_SLOT = a ] && exit 0\necho the database is gone\nexit 1\n")
        h.path("/etc/gybe/health.d/required.d/50-sick").chmod(0o755)
        expect(h, 0, "update")
        j.entries()
        boot(h, j)
        expect(h, 1, "commit")
        trial, failed, quarantined = j.expect("trial", "health-failed", "quarantined")
        assert "50-sick" in failed["GYBE_MESSAGE"] and len(quarantined["GYBE_ROOTHASH"]) == 64, (failed, quarantined)
        boot(h, j)
        expect(h, 10, "commit")
        fallback, _ = j.expect("health-fallback", "quarantined")
        assert fallback["GYBE_RUNNING"] == "a" and fallback["GYBE_REASON"] == "health-fallback", fallback
        expect(h, 3, "update")
        j.expect("refused-quarantine")

    @t.case
    def _():
        """a slot that does not come up: another attempt, then given up"""
        h, j = t.host("dead")
        expect(h, 0, "update")
        j.entries()
        boot(h, j, fail_oneshot=True)
        expect(h, 10, "commit")
        j.expect("power-loss-retry")
        expect(h, 0, "finalize")
        j.entries()
        boot(h, j, fail_oneshot=True)
        expect(h, 10, "commit")
        j.expect("firmware-fallback", "quarantined")

    @t.case
    def _():
        """refusals: a rule, a source that is not there, bytes that were changed"""
        h, j = t.host("no", policy={"pin": "3.0.1"})
        expect(h, 3, "update")
        said, = j.expect("refused-policy")
        assert "pinned to 3.0.1" in said["MESSAGE"] and said["GYBE_CODE"], said
        with web.Server(NotFound) as server:
            h, j = t.host("nowhere", url=server.url)
            expect(h, 1, "check")
        j.expect("source-unreachable")
        h, j = t.host("changed")
        path = t.feed / "acl-3.0.2.cosi"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        expect(h, 4, "update")
        assert [e["GYBE_EVENT"] for e in j.entries()] == ["refused-trust"]
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    @t.case
    def _():
        """no journal: nothing is told, nothing fails, and stderr has no second sentence"""
        h, j = t.host("quiet", policy={"pin": "3.0.1"})
        shutil.rmtree(h.path("/run/systemd"))
        r = gybe(h, "update", check=False)
        assert r.returncode == 3 and len(r.stderr.splitlines()) == 1, r.stderr

    @t.case
    def _():
        """journalctl compiles the catalog and has every entry of it"""
        if not shutil.which("journalctl"):
            print("   skipped: no journalctl here")
            return
        tree = t.work / "catalog"
        folder = tree / "usr/lib/systemd/catalog"
        folder.mkdir(parents=True)
        (tree / "var/lib/systemd/catalog").mkdir(parents=True)
        shutil.copy(CATALOG, folder)
        ctl = ["journalctl", f"--root={tree}"]
        said = subprocess.run([*ctl, "--update-catalog"], capture_output=True, text=True)
        assert said.returncode == 0 and not said.stderr.strip(), said.stderr
        ids = re.findall("^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.M)
        listed = subprocess.run([*ctl, "--list-catalog"], capture_output=True, text=True).stdout
        assert len(ids) == len(set(ids)) == len([line for line in listed.splitlines() if "gybe: " in line]), listed
        text = subprocess.run([*ctl, "--dump-catalog"], capture_output=True, text=True).stdout
        assert "gybe quarantine clear ID" in text, text


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-events-") as tmp:
        t = Test(Path(tmp))
        cases(t)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
