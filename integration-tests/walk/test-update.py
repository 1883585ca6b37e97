#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The main job on files: releases by gybe-release in a feed, served by nginx and by a server without Range; update, boot, commit;
a failing health check; a silent fallback; rollback; overlapping updates. veritysetup and sgdisk are the judges."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import demo
import web
from cases import Cases
from sandbox import MIB, Host, build, expect, gybe, history, image, keygen, publish, run, sign, status


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.feed = work / "feed"
        self.feed.mkdir()
        self.images, self.cosis = {}, {}
        for n, version in enumerate(("3.0.1", "3.0.2", "3.0.3", "3.0.4"), 1):
            img = image(work / version, version, fs="ext4" if n < 3 else None)
            self.images[version] = img
            self.cosis[version] = build(img, work / f"acl-{version}.cosi")
            sign(self.cosis[version], [self.keys / "release.pem"], version, 1000 + n, "--floor", 1000 + n - 1)

    def publish(self, version):
        publish(self.feed, self.keys, self.cosis[version])

    def host(self, name="host", version="3.0.1", **options):
        h = Host(self.work / name)
        h.install(self.images[version], trust_root=self.keys / "root.json", **options)
        return h


def check_slot(host, slot, img):
    assert host.verity_ok(slot, img.roothash), "veritysetup verify"
    assert host.get(f"USR-{slot}", img.usr.stat().st_size) == img.usr.read_bytes(), "USR differs from the image"
    assert host.get(f"HASH-{slot}", img.hash.stat().st_size) == img.hash.read_bytes(), "HASH differs from veritysetup's"
    assert "No problems found" in run("sgdisk", "-v", host.disk).stdout, "sgdisk -v"


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-update-") as tmp:
        work = Path(tmp)
        t = Test(work)
        t.publish("3.0.2")
        nginx, url = demo.serve(t.feed, work)
        try:
            with web.files(t.feed) as without_ranges:
                cases(t, url, without_ranges.url)
        finally:
            nginx.terminate()
            nginx.wait()
    return t.end()


def cases(t, url, url_without_ranges):
    v1, v2, v3 = (t.images[v] for v in ("3.0.1", "3.0.2", "3.0.3"))

    @t.case
    def _():
        """a feed over nginx: check, update, boot, commit, nothing more to do"""
        h = t.host(config={"source": {"type": "feed", "url": url}})
        old = h.snapshot(["USR-A", "HASH-A"])
        old_entry = h.default_entry()
        expect(h, 0, "check")
        expect(h, 0, "update")
        check_slot(h, "B", v2)
        new = h.snapshot(["USR-A", "HASH-A"])
        for k in old:
            if k.startswith("disk:") or old_entry in k:
                assert old[k] == new[k], f"{k} changed"
        assert h.default_entry() == old_entry, "the default changed before commit"
        assert h.var("LoaderEntryOneShot") == "vmlinuz-100-azlb0.efi", h.var("LoaderEntryOneShot")
        expect(h, 10, "update")
        s = status(h)
        assert s["phase"] == "finalized" and s["update"]["attempt"] == 1 and s["next"]["action"] == "reboot", s
        expect(h, 3, "commit")
        assert h.boot() == "vmlinuz-100-azlb0.efi"
        expect(h, 0, "commit")
        s = status(h)
        assert s["running"] == "b" and s["phase"] == "idle" and s["outcome"] == "committed", s
        assert s["boot"]["default"] == "vmlinuz-100-azlb0.efi" and s["version"] == "3.0.2", s["boot"]
        assert "default vmlinuz-100-azlb0.efi" in h.path("/boot/loader/loader.conf").read_text()
        assert not list(h.path("/etc/systemd/system").rglob("*gybe*")), "a deadline is left"
        expect(h, 10, "update")
        expect(h, 10, "check")
        expect(h, 10, "commit")
        events = [e["event"] for e in history(h)]
        assert "staged" in events and "finalized" in events and "committed" in events, events
        assert h.boot() == "vmlinuz-100-azlb0.efi", "the next boot is not the committed slot"
        t.committed = h

    @t.case
    def _():
        """the next update goes to slot A and keeps the running one"""
        h = t.committed
        t.publish("3.0.3")
        expect(h, 0, "stage")
        assert status(h)["phase"] == "staged"
        assert h.var("LoaderEntryOneShot") is None, "staging armed something"
        expect(h, 10, "stage")
        expect(h, 3, "rollback")
        expect(h, 0, "finalize")
        check_slot(h, "A", v3)
        assert h.boot() == "vmlinuz-101-azla0.efi", h.default_entry()
        expect(h, 0, "commit")
        s = status(h)
        assert s["running"] == "a" and s["version"] == "3.0.3" and s["highWaterSerial"] == 1002, s

    @t.case
    def _():
        """rollback goes back once, verified, and commits the old release again"""
        h = t.committed
        expect(h, 0, "rollback")
        assert h.var("LoaderEntryOneShot") == "vmlinuz-100-azlb0.efi"
        h.boot()
        expect(h, 0, "commit")
        s = status(h)
        assert s["running"] == "b" and s["outcome"] == "rolled-back" and s["version"] == "3.0.2", s
        assert h.boot() == "vmlinuz-100-azlb0.efi"

    @t.case
    def _():
        """rollback refuses a slot whose bytes changed"""
        h = t.committed
        data = bytearray(h.get("USR-A"))
        data[3 * MIB] ^= 1
        h.put("USR-A", bytes(data))
        before = h.snapshot()
        expect(h, 4, "rollback")
        assert h.snapshot() == before, "a refused rollback changed something"

    @t.case
    def _():
        """a server without Range works, a path works, a URL works"""
        for n, args in enumerate((["--version", "3.0.2"], [t.cosis["3.0.2"]], [url_without_ranges + "acl-3.0.2.cosi"],
                                  [str(t.cosis["3.0.2"]).replace(".cosi", ".release.json")])):
            h = t.host(f"path{n}", config={"source": {"type": "feed", "url": url_without_ranges}})
            expect(h, 0, "stage", *args)
            check_slot(h, "B", v2)

    @t.case
    def _():
        """a failing required check: verdict, reboot into the old slot, quarantine by content"""
        h = t.host("health", config={"source": {"type": "feed", "url": url}})
        check = h.path("/etc/gybe/health.d/required.d/10-fails")
        check.parent.mkdir(parents=True)
        check.write_text("#!/bin/sh\n[ $GYBE_SLOT = a ] && exit 0\necho 'pods do not answer'\nexit 1\n")
        check.chmod(0o755)
        old = h.default_entry()
        expect(h, 0, "update")
        assert h.boot() != old
        r = expect(h, 1, "commit")
        assert "pods do not answer" in r.stderr or "10-fails" in r.stderr, r.stderr
        assert h.boot() == old, "the default is not the old slot"
        gybe(h, "commit", check=False)
        s = status(h)
        assert s["running"] == "a" and s["reason"] == "health-fallback" and s["outcome"] == "rolled-back", s
        assert len(json.loads(gybe(h, "quarantine", "--json").stdout)["entries"]) == 1
        expect(h, 3, "update")
        assert h.boot() == old
        expect(h, 0, "quarantine", "clear", "--all")
        check.unlink()
        expect(h, 0, "update")

    @t.case
    def _():
        """a silent fallback gets a second attempt, and no third"""
        h = t.host("silent", config={"source": {"type": "feed", "url": url}})
        old = h.default_entry()
        expect(h, 0, "update")
        assert h.boot(fail_oneshot=True) == old
        gybe(h, "commit", check=False)
        s = status(h)
        assert s["phase"] == "staged" and s["reason"] == "power-loss-retry", s
        expect(h, 0, "finalize")
        assert status(h)["update"]["attempt"] == 2
        assert h.boot(fail_oneshot=True) == old
        gybe(h, "commit", check=False)
        s = status(h)
        assert s["phase"] == "idle" and s["outcome"] == "rolled-back", s
        expect(h, 3, "update")
        assert h.boot() == old

    @t.case
    def _():
        """finalize taken back: nothing is armed, the update stays staged and can be finalized again"""
        h = t.host("back", config={"source": {"type": "feed", "url": url}})
        old = h.default_entry()
        expect(h, 0, "update")
        expect(h, 0, "rollback")
        assert h.var("LoaderEntryOneShot") is None and status(h)["phase"] == "staged"
        assert h.boot() == old
        gybe(h, "commit", check=False)
        expect(h, 0, "finalize")
        assert h.boot() != old
        expect(h, 0, "commit")

    @t.case
    def _():
        """a newer release while one is staged or finalized replaces it"""
        h = t.host("super")
        expect(h, 0, "update", t.cosis["3.0.2"])
        expect(h, 0, "update", t.cosis["3.0.3"])
        check_slot(h, "B", v3)
        assert any(e["event"] == "superseded" for e in history(h))
        h.boot()
        expect(h, 0, "commit")
        assert status(h)["version"] == "3.0.3"
        linux = sorted(p.name for p in h.path("/boot/EFI/Linux").iterdir())
        assert len([n for n in linux if n.endswith(".efi")]) == 2, linux

    @t.case
    def _():
        """while on trial nothing is staged; an operator may give the trial up"""
        h = t.host("trial")
        old = h.default_entry()
        expect(h, 0, "update", t.cosis["3.0.2"])
        h.boot()
        expect(h, 3, "stage", t.cosis["3.0.3"])
        expect(h, 0, "rollback")
        assert h.boot() == old
        gybe(h, "commit", check=False)
        s = status(h)
        assert s["reason"] == "operator" and s["running"] == "a", s
        expect(h, 0, "update", t.cosis["3.0.2"])

    @t.case
    def _():
        """a lost /var on trial: the boot intent on the ESP says that the running slot is on trial"""
        h = t.host("lost")
        expect(h, 0, "update", t.cosis["3.0.2"])
        h.boot()
        shutil.rmtree(h.path("/var/lib/gybe"))
        assert status(h)["phase"] == "probation", status(h)
        expect(h, 0, "commit")
        s = status(h)
        assert s["running"] == "b" and s["phase"] == "idle" and s["boot"]["default"] == "vmlinuz-100-azlb0.efi", s

    @t.case
    def _():
        """a torn journal: what the disk and the intent say is enough"""
        h = t.host("torn")
        expect(h, 0, "update", t.cosis["3.0.2"])
        h.boot()
        h.write("/var/lib/gybe/journal.json", "{\"schema\":\"gybe.journal/1\",\"ph")
        expect(h, 0, "commit")
        assert any(e.get("reason") == "journal-lost" for e in history(h)), history(h)
        assert status(h)["boot"]["default"] == "vmlinuz-100-azlb0.efi"

    @t.case
    def _():
        """operator addons and credentials are carried, templates are refreshed at commit"""
        h = t.host("carry")
        extra = h.path("/boot/EFI/Linux/vmlinuz-6.6.121.efi.extra.d")
        (extra / "fips.addon.efi").write_bytes(h.path("/boot/acl/uki-addons/fips.addon.efi").read_bytes())
        (extra / "site.cred").write_bytes(b"secret")
        expect(h, 0, "update", t.cosis["3.0.2"])
        new = {p.name: p.read_bytes() for p in h.path("/boot/EFI/Linux/vmlinuz-100-azlb0.efi.extra.d").iterdir()}
        assert sorted(new) == ["fips.addon.efi", "site.cred", "slot-b.addon.efi"], sorted(new)
        assert new["site.cred"] == b"secret"
        old_template = h.path("/boot/acl/uki-addons/slot-a.addon.efi").read_bytes()
        h.boot()
        expect(h, 0, "commit")
        assert h.path("/boot/acl/uki-addons/slot-a.addon.efi").read_bytes() != old_template, "templates were not refreshed"

    @t.case
    def _():
        """partition numbers mean nothing: the same on a disk in another order"""
        h = Host(t.work / "order", order=["ROOT", "HASH-SIG-B", "USR-B", "HASH-A", "OEM", "HASH-B", "EFI-SYSTEM", "USR-A", "HASH-SIG-A"])
        h.install(v1, trust_root=t.keys / "root.json")
        expect(h, 0, "update", t.cosis["3.0.2"])
        check_slot(h, "B", v2)

    @t.case
    def _():
        """a feed that went back is refused; an index signed by somebody else is refused"""
        h = t.host("feed", config={"source": {"type": "feed", "url": url}})
        expect(h, 0, "stage")
        index = (t.feed / "index.json").read_bytes()
        trust = json.loads(h.path("/var/lib/gybe/trust.json").read_text())
        for k in trust["feedSerials"]:
            trust["feedSerials"][k] += 1
        h.write("/var/lib/gybe/trust.json", json.dumps(trust))
        expect(h, 4, "check")
        doc = json.loads(index)
        doc["signatures"] = []
        (t.feed / "index.json").write_text(json.dumps(doc))
        expect(h, 4, "check")
        (t.feed / "index.json").write_bytes(index)

    @t.case
    def _():
        """history's chain holds and a change in it is noticed"""
        h = t.committed
        expect(h, 0, "history")
        p = h.path("/var/lib/gybe/history.jsonl")
        lines = p.read_text().splitlines()
        lines[1] = lines[1].replace("3.0", "9.9")
        p.write_text("\n".join(lines) + "\n")
        expect(h, 1, "history")

    @t.case
    def _():
        """usage: unknown verbs and options are 2, errors are objects with --json"""
        h = t.committed
        expect(h, 2, "frobnicate")
        expect(h, 2, "status", "--nonsense")
        r = expect(h, 3, "rollback", "--json") if status(h)["phase"] == "staged" else expect(h, 2, "frobnicate", "--json")
        assert "error" in json.loads(r.stdout) and len(r.stderr.splitlines()) == 1


if __name__ == "__main__":
    sys.exit(main())
