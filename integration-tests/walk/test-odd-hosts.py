#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Hosts that lack something, hosts that remember too much or too little, and operators who do things in an odd order. Each case
is one sentence of design.md or formats.md, tried on a host made of files."""

import base64
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
import web
from cases import Cases
from kill import kill_at
from sandbox import (ACL, GLOBAL, MIB, Host, boot_files, command, environ, expect, gybe, history, image, pe, run, slot_cmdline,
                     status)

VERSIONS = ("3.0.1", "3.0.2", "3.0.3")
STATE = "/var/lib/gybe"


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.key = foreign.Key(work / "release.pem")
        self.root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([self.key]), [self.key]))
        self.images, self.cosis, self.files = {}, {}, {}
        for n, v in enumerate(VERSIONS, 1):
            self.images[v] = image(work / v, v, size=4 * MIB)
            self.cosis[v] = foreign.Cosi(self.images[v], work / f"cosi-{v}", version="1.1")
            self.files[v] = self.cosis[v].write(work / f"acl-{v}.cosi")
            self.release(v)

    def release(self, version, name=None, keys=None, **more):
        doc = foreign.release(self.images[version], self.cosis[version], self.files[version],
                              **{"serial": 1000 + int(version[-1]), **more})
        return foreign.write_json(self.work / f"{name or 'acl-' + version}.release.json",
                                  foreign.envelope("release", doc, keys or [self.key]))

    def feed(self, version, serial, keys=None, issued="2026-11-01T00:00:00Z"):
        doc = {"schema": "gybe.feed/1", "product": "azure-container-linux", "serial": serial, "issued": issued,
               "expires": "2036-01-01T00:00:00Z", "channels": {"stable": version}, "releases": [
                   {"version": v, "serial": 1000 + int(v[-1]), "arch": "x86_64", "path": f"acl-{v}.release.json",
                    "sha384": hashlib.sha384((self.work / f"acl-{v}.release.json").read_bytes()).hexdigest()} for v in VERSIONS]}
        foreign.write_json(self.work / "index.json", foreign.envelope("feed", doc, keys or [self.key]))

    def host(self, name, **options):
        h = Host(self.work / "hosts" / name, esp_size=8 * MIB)
        h.install(self.images["3.0.1"], trust_root=self.root, **options)
        return h

    def committed(self, name, *versions, **options):
        h = self.host(name, **options)
        for v in versions or ("3.0.2",):
            expect(h, 0, "update", self.files[v])
            h.boot()
            expect(h, 0, "commit")
        return h


def forget(host, name, guid=None):
    (host.var_path(name, guid) if guid else host.var_path(name)).unlink(missing_ok=True)


def required_check(host, script):
    p = host.path("/etc/gybe/health.d/required.d/10-check")
    p.parent.mkdir(parents=True, exist_ok=True)
    p.write_text(f"#!/bin/sh\n{script}\n")
    p.chmod(0o755)
    return p


def deadline_armed(host):
    return bool(list(host.path("/etc/systemd").rglob("gybe-deadline.timer")))


def inline_image(directory, version):
    """ACL G1: the hash tree lies behind the data in the same partition."""
    img = image(directory, version, size=4 * MIB)
    size = img.usr.stat().st_size
    whole = img.dir / "inline.img"
    shutil.copyfile(img.usr, whole)
    out = run("veritysetup", "format", whole, whole, f"--salt={img.salt}", f"--uuid={img.uuid}", f"--data-blocks={size // 4096}",
              f"--hash-offset={size}").stdout
    img.roothash = [line.split()[-1] for line in out.splitlines() if line.startswith("Root hash")][0]
    img.data_size, img.whole = size, whole.read_bytes()
    boot_files(img)
    for addon in img.templates:
        for slot in "ab":
            if addon.name == f"slot-{slot}.addon.efi":
                part = "PARTUUID=" + ACL[f"USR-{slot.upper()}"][1]
                pe(addon, addon=True, cmdline=f"systemd.verity_usr_data={part} systemd.verity_usr_hash={part} "
                   f"systemd.verity_usr_options=hash-offset={size},panic-on-corruption usrhash={img.roothash} acl.slot={slot}")
    return img


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-odd-") as tmp:
        t = Test(Path(tmp))
        missing_facts(t)
        layouts(t)
        verdicts(t)
        orders(t)
        memory(t)
        with web.files(tmp) as server:
            feeds(t, {"source": {"type": "feed", "url": server.url + "index.json"}})
        command_line(t)
    return t.end()


def missing_facts(t):
    v2 = t.files["3.0.2"]

    def loses(name, spoil):
        h = t.host(name)
        spoil(h)
        expect(h, 0, "update", v2)
        old = h.default_entry()
        assert old == "vmlinuz-6.6.121.efi", old
        assert h.boot() == "vmlinuz-100-azlb0.efi"
        expect(h, 0, "commit")
        s = status(h)
        assert s["running"] == "b" and s["boot"]["default"] == "vmlinuz-100-azlb0.efi", s
        assert "default vmlinuz-100-azlb0.efi" in h.path("/boot/loader/loader.conf").read_text()

    @t.case
    def _():
        """a host without BootOrder, BootCurrent, loader.conf, os-release or boot id updates all the same"""
        def firmware(h):
            for name in ("BootOrder", "BootCurrent"):
                forget(h, name, GLOBAL)
            h.path("/proc/sys/kernel/random/boot_id").unlink()

        def files(h):
            h.path("/boot/loader/loader.conf").unlink()
            h.path("/etc/os-release").unlink()
        loses("firmware", firmware)
        loses("files", files)

    @t.case
    def _():
        """a default that names nothing, a pattern or @saved is repaired before anything is published"""
        loses("gone", lambda h: h.set_var("LoaderEntryDefault", "gone.efi"))
        loses("saved", lambda h: h.set_var("LoaderEntryDefault", "@saved"))
        loses("glob", lambda h: h.write("/boot/loader/loader.conf", "timeout 0\ndefault vmlinuz-*\n"))

    @t.case
    def _():
        """a default that names another entry than the running one: the running one is what is recorded and proved"""
        def other(h):
            linux = h.path("/boot/EFI/Linux")
            shutil.copyfile(linux / "vmlinuz-6.6.121.efi", linux / "zz-other.efi")
            shutil.copytree(linux / "vmlinuz-6.6.121.efi.extra.d", linux / "zz-other.efi.extra.d")
            h.set_var("LoaderEntryDefault", "zz-other.efi")
        loses("other", other)

    @t.case
    def _():
        """without EFI variables finalize refuses, and the boot files stay inert"""
        h = t.host("noefi")
        shutil.rmtree(h.path("/sys/firmware/efi/efivars"))
        expect(h, 0, "stage", v2)
        expect(h, 1, "finalize")
        assert not list(h.path("/boot/EFI/Linux").glob("vmlinuz-100*")), "published"

    @t.case
    def _():
        """witnesses that contradict each other: nothing is written"""
        h = t.host("contradiction")
        h.write("/run/acl/active-volume.env", "ACL_ACTIVE_VOLUME=B\nACL_ACTIVE_VOLUME_STATUS=ok\nACL_ACTIVE_VOLUME_DEFAULTED=0\n")
        before = h.snapshot()
        expect(h, 1, "update", v2)
        assert h.snapshot() == before and not status(h).get("running")


def layouts(t):
    @t.case
    def _():
        """ACL G2: seven partitions, separate hash; and the same disk by a custom layout"""
        for name, config in (("g2", {}), ("custom", {"disk": {"layout": "custom", "slots": {
                s: {"data": {"label": f"USR-{s.upper()}"}, "hash": {"partuuid": ACL[f"HASH-{s.upper()}"][1].upper()}} for s in "ab"}}})):
            h = Host(t.work / "hosts" / name, order=[x for x in ACL if "SIG" not in x], esp_size=8 * MIB)
            h.install(t.images["3.0.1"], trust_root=t.root, config=config)
            expect(h, 0, "update", t.files["3.0.2"])
            assert h.verity_ok("B", t.images["3.0.2"].roothash)

    @t.case
    def _():
        """ACL G1: five partitions, inline hash, with and without usr.uuid; update, commit, rollback"""
        old, new = inline_image(t.work / "inline-1", "3.0.1"), inline_image(t.work / "inline-2", "3.0.2")
        c = foreign.Cosi(new, t.work / "cosi-inline", version="1.1", usr=new.whole)
        c.metadata["images"][1]["verity"] = {"image": c.file("images/usr-a.img.zst"), "roothash": new.roothash}
        everything = c.members
        c.members = lambda: [m for m in everything() if m[0] != "images/hash-a.img.zst"]
        cosi = c.write(t.work / "inline.cosi")
        for given in (True, False):
            doc = foreign.release(new, c, cosi, serial=1002)
            doc["usr"] = {"roothash": new.roothash, "dataSize": new.data_size, "hashSize": len(new.whole) - new.data_size,
                          "salt": new.salt, **({"uuid": new.uuid} if given else {})}
            foreign.write_json(t.work / "inline.release.json", foreign.envelope("release", doc, [t.key]))
            h = Host(t.work / "hosts" / "g1", order=["EFI-SYSTEM", "USR-A", "USR-B", "OEM", "ROOT"], usr_size=6 * MIB, esp_size=8 * MIB)
            put = h.put
            h.put = lambda label, data: put(label, old.whole) if label == "USR-A" else None
            h.install(old, trust_root=t.root)
            expect(h, 1, "stage", t.files["3.0.3"])       # separate hash image, no HASH partition
            expect(h, 0, "update", cosi)
            assert h.get("USR-B", len(new.whole)) == new.whole, "data and tree are not the image's"
            h.boot()
            expect(h, 0, "commit")
            expect(h, 0, "rollback")
            assert h.boot() == "vmlinuz-6.6.121.efi"
            expect(h, 0, "commit")

    @t.case
    def _():
        """a signed /usr: HASH-SIG is written and held to what was written; addons that name a signature which is not there are refused"""
        new = image(t.work / "signed", "3.0.2", size=4 * MIB)
        for slot in "ab":
            for addon in new.templates:
                if addon.name == f"slot-{slot}.addon.efi":
                    pe(addon, addon=True, cmdline=slot_cmdline(slot, new.roothash, signature=True))
        # a ContentInfo of SignedData without content, as far as anybody here looks
        body = bytes.fromhex("020101" "3100" "300b" "06092a864886f70d010701")
        body = b"\x30" + bytes([len(body)]) + body
        body = bytes.fromhex("06092a864886f70d010702" "a0") + bytes([len(body)]) + body
        payload = json.dumps({"rootHash": new.roothash, "signature": base64.b64encode(b"\x30" + bytes([len(body)]) + body).decode()},
                             separators=(",", ":")).encode()
        for sig in (None, payload):
            c = foreign.Cosi(new, t.work / "cosi-signed", sig=sig)
            cosi = c.write(t.work / "signed.cosi")
            foreign.write_json(t.work / "signed.release.json", foreign.envelope("release", foreign.release(new, c, cosi, serial=1002), [t.key]))
            h = t.host("signed")
            before = h.snapshot()
            if not sig:
                expect(h, 4, "stage", cosi)
                assert h.snapshot() == before
                continue
            expect(h, 0, "stage", cosi)
            assert h.get("HASH-SIG-B") == payload.ljust(MIB, b"\0")
            h.put("HASH-SIG-B", payload[:20] + b"!" + payload[21:])
            staged = h.snapshot()
            assert "HASH-SIG-B" in expect(h, 4, "finalize").stderr and h.snapshot() == staged
            expect(h, 0, "update", cosi)
            h.boot()
            expect(h, 0, "commit")

    @t.case
    def _():
        """a release file without usr.uuid: the superblock of the COSI says it"""
        doc = foreign.release(t.images["3.0.2"], t.cosis["3.0.2"], t.files["3.0.2"], serial=1002)
        del doc["usr"]["uuid"]
        path = foreign.write_json(t.work / "no-uuid.release.json", foreign.envelope("release", doc, [t.key]))
        h = t.host("nouuid")
        expect(h, 0, "stage", path)
        img = t.images["3.0.2"]
        assert h.get("HASH-B", img.hash.stat().st_size) == img.hash.read_bytes()


def verdicts(t):
    v2, v3 = t.files["3.0.2"], t.files["3.0.3"]

    @t.case
    def _():
        """attempts belong to the content: staging something else in between does not give new ones"""
        h = t.host("attempts")
        boots = 0
        for _ in range(4):
            if gybe(h, "update", v2, check=False).returncode != 0:
                break
            h.boot(fail_oneshot=True)
            boots += 1
            gybe(h, "commit", check=False)
            gybe(h, "stage", v3, check=False)
        assert boots <= 2, f"{boots} boots of an image that never came up"

    @t.case
    def _():
        """what was proved bad is not committed after the journal was lost"""
        h = t.host("quarantined")
        check = required_check(h, '[ "$GYBE_SLOT" = a ]')
        expect(h, 0, "update", v2)
        h.boot()
        expect(h, 1, "commit")
        h.path(STATE + "/journal.json").unlink()
        check.unlink()
        r = gybe(h, "commit", check=False)
        assert r.returncode != 0 and h.default_entry() == "vmlinuz-6.6.121.efi", f"exit {r.returncode}, default {h.default_entry()}"

    @t.case
    def _():
        """defaults lost during the trial do not stand for a verdict: the health checks are asked"""
        h = t.host("lostdefault")
        expect(h, 0, "update", v2)
        h.boot()
        h.path("/boot/loader/loader.conf").unlink()
        forget(h, "LoaderEntryDefault")
        required_check(h, "exit 1")
        r = gybe(h, "commit", check=False)
        assert r.returncode == 1, f"exit {r.returncode}: {r.stdout}"

    @t.case
    def _():
        """a full /var during commit: the deadline does not outlive the new default"""
        if os.getuid() != 0:
            return
        h = t.host("fullvar")
        expect(h, 0, "update", v2)
        h.boot()
        folder = h.path(STATE)
        required_check(h, f"cat /dev/zero > {folder}/fill 2>/dev/null; exit 0")
        script = (f'cp -a {folder} {folder}.copy; mount -t tmpfs -o size=1m tmpfs {folder} && cp -a {folder}.copy/. {folder}/; '
                  f'exec {" ".join(command(h, "commit"))}')
        r = run("unshare", "-m", "sh", "-c", script, check=False, env=environ())
        if "ermission" in r.stdout:
            return
        assert h.default_entry() == "vmlinuz-6.6.121.efi" or not deadline_armed(h), \
            f"the default is {h.default_entry()} and the deadline reboots it again and again: {r.stdout.strip()}"


def orders(t):
    v2, v3 = t.files["3.0.2"], t.files["3.0.3"]

    @t.case
    def _():
        """update with a release that runs does not finalize another one that lies staged"""
        h = t.host("mixed")
        expect(h, 0, "stage", v2)
        expect(h, 10, "update", t.files["3.0.1"])
        assert h.var("LoaderEntryOneShot") is None, "3.0.2 was armed by an update to 3.0.1"

    @t.case
    def _():
        """a rollback that was interrupted before it was armed is not armed by update"""
        h = t.committed("halfway")
        for n in range(2, 8):
            kill_at("rename,renameat,renameat2", n, command(h, "rollback"), "-f")
            if status(h)["phase"] != "idle":
                break
        assert status(h)["phase"] == "staged", status(h)
        gybe(h, "update", v2, check=False)
        assert h.var("LoaderEntryOneShot") is None, h.var("LoaderEntryOneShot")

    @t.case
    def _():
        """staging over a finalized update: nothing of the old one is armed, published, intended or timed"""
        h = t.host("overlap")
        expect(h, 0, "update", v2)
        expect(h, 0, "stage", v3)
        assert h.var("LoaderEntryOneShot") is None and not h.var_path("BootNext", GLOBAL).exists()
        assert not deadline_armed(h) and not h.path(STATE + "/intent.json").exists() and not h.path("/boot/EFI/gybe/intent.json").exists()
        assert not list(h.path("/boot/EFI/Linux").glob("vmlinuz-100*"))

    @t.case
    def _():
        """after two updates rollback toggles between the last two, and runningSerial follows"""
        h = t.committed("toggle", "3.0.2", "3.0.3")
        for serial in (1002, 1003):
            expect(h, 0, "rollback")
            h.boot()
            expect(h, 0, "commit")
            assert json.loads(h.path(STATE + "/trust.json").read_text())["runningSerial"] == serial

    @t.case
    def _():
        """--allow-downgrade is recorded, for stage and for rollback"""
        h = t.host("downgrade")
        h.write(STATE + "/trust.json", json.dumps({"schema": "gybe.trust/1", "runningSerial": 5000, "highWaterSerial": 4000, "slots": {}}))
        expect(h, 4, "stage", v2)
        expect(h, 0, "update", v2, "--allow-downgrade")
        h.boot()
        expect(h, 0, "commit")
        expect(h, 0, "rollback")
        h.boot()
        expect(h, 0, "commit")
        expect(h, 4, "rollback")
        n = len(history(h))
        expect(h, 0, "rollback", "--allow-downgrade")
        assert any(e.get("allowDowngrade") for e in history(h)[n:]), [e["event"] for e in history(h)[n:]]


def memory(t):
    v2 = t.files["3.0.2"]

    @t.case
    def _():
        """trust.json of a newer gybe: lost, and everybody who asks is told"""
        h = t.committed("newer")
        p = h.path(STATE + "/trust.json")
        doc = json.loads(p.read_text())
        p.write_text(json.dumps({**doc, "schema": "gybe.trust/2"}))
        assert "gybe.trust/2" in expect(h, 0, "status").stdout, "status says nothing"
        r = gybe(h, "stage", t.files["3.0.3"], check=False)
        assert "gybe.trust/2" in r.stdout + r.stderr, "stage says nothing"

    @t.case
    def _():
        """what runs was revoked: status says so"""
        h = t.committed("taken-back")
        p = h.path(STATE + "/trust.json")
        doc = json.loads(p.read_text())
        p.write_text(json.dumps({**doc, "revokedRoothashes": [t.images["3.0.2"].roothash]}))
        assert "revoked" in expect(h, 0, "status", "--json").stdout

    @t.case
    def _():
        """a configuration or policy that this version cannot read stops neither status, nor commit, nor rollback"""
        for name, path, text in (("omaha", "/etc/gybe/gybe.d/50.json", '{"source": {"type": "omaha", "url": "http://x"}}'),
                                 ("server", "/etc/gybe/gybe.d/50.json", '{"trust": {"require": ["server"]}}')):
            h = t.host("config-" + name)
            expect(h, 0, "update", v2)
            h.boot()
            h.write(path, text)
            expect(h, 0, "status")
            expect(h, 0, "commit")
            expect(h, 0, "rollback")

    @t.case
    def _():
        """a policy that says no: pin, hold and skip are exit 3"""
        for n, policy in enumerate(({"pin": "3.0.1"}, {"skip": ["3.0.2"]}, {"hold": {"until": "2036-01-01T00:00:00Z", "by": "me", "reason": "x"}})):
            expect(t.host(f"policy{n}", policy=policy), 3, "stage", v2)


def feeds(t, source):
    @t.case
    def _():
        """check remembers how far the feed had come"""
        h = t.host("feedserial", config=source)
        t.feed("3.0.2", 9)
        expect(h, 0, "check")
        t.feed("3.0.2", 5)
        expect(h, 4, "check")

    @t.case
    def _():
        """a release that was withdrawn from the feed after it was staged is not finalized by update"""
        t.feed("3.0.3", 10)
        h = t.committed("withdrawn", "3.0.2", config=source)
        expect(h, 0, "stage")
        t.feed("3.0.2", 11)
        expect(h, 10, "update")
        assert h.var("LoaderEntryOneShot") is None

    @t.case
    def _():
        """between floor and running only a named version goes, and it is not called newer"""
        t.feed("3.0.2", 12)
        h = t.committed("older", "3.0.3", config=source)
        expect(h, 10, "update")
        r = expect(h, 0, "check", "--version", "3.0.2")
        assert "newer" not in r.stdout, r.stdout
        expect(h, 0, "stage", "--version", "3.0.2")

    @t.case
    def _():
        """the time a verified index tells counts at once: a release that had expired by then is refused"""
        t.release("3.0.2", issued="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z")
        t.feed("3.0.2", 20, issued="2027-06-01T00:00:00Z")
        try:
            expect(t.host("clock", config=source), 4, "stage")
        finally:
            t.release("3.0.2")

    @t.case
    def _():
        """two rotations in the feed are followed, also where an operator's root stands beside the factory's"""
        second, third, own = (foreign.Key(t.work / f"{n}.pem") for n in ("second", "third", "own"))
        foreign.write_json(t.work / "root.2.json", foreign.envelope("root", foreign.root([second], version=2), [t.key, second]))
        foreign.write_json(t.work / "root.3.json", foreign.envelope("root", foreign.root([third], version=3), [second, third]))
        t.release("3.0.2", keys=[third])
        t.feed("3.0.2", 30, keys=[third])
        try:
            expect(t.host("rotated", config=source), 0, "check")
            h = t.host("rotated-two", config=source)
            foreign.write_json(h.path("/etc/gybe/root.json"), foreign.envelope("root", foreign.root([own]), [own]))
            expect(h, 0, "check")
        finally:
            for n in (2, 3):
                (t.work / f"root.{n}.json").unlink()
            t.release("3.0.2")


def command_line(t):
    @t.case
    def _():
        """--json: exactly one document on stdout, for every verb, on success and on failure, before and after the verb"""
        h = t.host("json")
        quarantine = h.path(STATE + "/quarantine")
        bad = []
        for verb in (["status"], ["check"], ["history"], ["quarantine"], ["quarantine", "clear", "--all"], ["finalize"], ["commit"],
                     ["rollback"], ["stage", t.files["3.0.2"]], ["finalize"], ["update", t.files["3.0.2"]], ["rollback"],
                     ["quarantine", "clear", "a" * 32], ["frobnicate"], ["stage", "x", "y"], ["stage", "--version"],
                     ["--nonsense", "status"], ["update", "oci://example/x"], ["stage", "/nowhere.cosi"], ["history"]):
            if verb[:2] == ["quarantine", "clear"]:
                quarantine.mkdir(parents=True, exist_ok=True)
                (quarantine / ("a" * 32 + ".json")).write_text("{}")
            r = gybe(h, *verb, "--json", check=False)
            try:
                assert ("error" in json.loads(r.stdout)) == (r.returncode != 0)
            except (ValueError, AssertionError):
                bad.append(f"{' '.join(map(str, verb))}: exit {r.returncode}, {r.stdout!r}")
            assert len(r.stderr.splitlines()) <= 3 and "\033" not in r.stderr
        p = h.path(STATE + "/history.jsonl")
        p.write_text(p.read_text().replace("3.0.2", "9.9.9", 1))
        r = gybe(h, "--json", "history", check=False)
        try:
            json.loads(r.stdout)
        except ValueError:
            bad.append("history with a broken chain")
        assert r.returncode == 1 and not bad, (r.returncode, bad)

    @t.case
    def _():
        """--version without a version is a usage error once there is a verb"""
        h = t.host("version")
        expect(h, 2, "stage", "--version")

    @t.case
    def _():
        """history goes on after a torn last line and says so"""
        h = t.committed("torn")
        p = h.path(STATE + "/history.jsonl")
        p.write_bytes(p.read_bytes()[:-20])
        expect(h, 0, "rollback")
        expect(h, 0, "history")
        assert '"torn"' in p.read_text()

    @t.case
    def _():
        """another job at work: 5 for those who write, and status still answers"""
        import fcntl
        h = t.host("busy")
        h.path("/run/gybe").mkdir(parents=True, exist_ok=True)
        with open(h.path("/run/gybe/lock"), "w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            expect(h, 5, "stage", t.files["3.0.2"])
            expect(h, 0, "status")


if __name__ == "__main__":
    sys.exit(main())
