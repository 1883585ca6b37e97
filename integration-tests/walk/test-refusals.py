#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Every refusal: its exit code (formats.md section 8), one sentence on stderr, and nothing changed that must not.

A case spoils one thing of a good release. Afterwards: the active slot, its boot files, loader.conf and the EFI variables are
byte-identical; where the fault shows before bytes are written ("early") the whole disk and the whole ESP are. And the host can
still take the good release."""

import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
import sandbox
from cases import Cases
from sandbox import MIB, Host, boot_files, esp_tree, gybe, image, pe, slot_cmdline

EARLY, LATE = "early", "late"
PAYLOAD = "usr-a.img.zst"


class Case:
    """What a case may spoil, with the good values filled in."""

    def __init__(self, t):
        self.t, self.work, self.host = t, t.work, t.host
        self.keys = [t.key]
        self.root, self.root_keys = foreign.root([t.key]), [t.key]
        self.release_more = {}
        self.spoil_release = lambda d: None    # the document before signing
        self.spoil_envelope = lambda e: None   # after signing
        self.spoil_text = lambda s: s          # the release file's bytes
        self.spoil_cosi = lambda c: None       # members and metadata before writing
        self.spoil_file = lambda p: None       # the finished COSI
        self.tree = None                       # another ESP tree
        self.img = t.v2
        self.cosi_options = {}
        self.after_sign = lambda p: None       # the COSI after the release was made from it
        self.prepare_host = lambda h: None
        self.args = []

    def run(self):
        h, w = self.host, self.work
        c = foreign.Cosi(self.img, w / "cosi", tree=self.tree, **self.cosi_options)
        self.spoil_cosi(c)
        path = c.write(w / "x.cosi")
        self.spoil_file(path)
        doc = foreign.release(self.img, c, path, tree=self.tree or w / "cosi/tree", **self.release_more)
        self.spoil_release(doc)
        e = foreign.envelope("release", doc, self.keys)
        self.spoil_envelope(e)
        (w / "x.release.json").write_text(self.spoil_text(json.dumps(e)))
        self.after_sign(path)
        foreign.write_json(h.path("/usr/lib/gybe/root.json"), foreign.envelope("root", self.root, self.root_keys))
        self.prepare_host(h)
        before = h.snapshot()
        r = gybe(h, "update", path, *self.args, check=False)
        return before, r, h.snapshot()


CASES = []


def case(name, exit_code, when=EARLY):
    def add(f):
        f.__doc__, f.exit_code, f.when = name, exit_code, when
        CASES.append(f)
        return f
    return add


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ 0x40]))


def member_at(path, name):
    with tarfile.open(path) as t:
        m = t.getmember(name)
        return m.offset, m.offset_data, m.size


# --- trust ---

@case("wrong key", 4)
def _(c): c.keys = [c.t.other]


@case("too few signatures", 4)
def _(c): c.root = foreign.root([c.t.key, c.t.other], threshold=2)


@case("same key twice", 4)
def _(c):
    def twice(e): e["signatures"] *= 2
    c.root = foreign.root([c.t.key, c.t.other], threshold=2)
    c.spoil_envelope = twice


@case("signature of another document", 4)
def _(c):
    def swap(e):
        import base64
        d = json.loads(base64.b64decode(e["payload"]))
        d["serial"] += 1
        e["payload"] = base64.b64encode(json.dumps(d).encode()).decode()
    c.spoil_envelope = swap


@case("expired root", 4)
def _(c): c.root["expires"] = "2026-02-01T00:00:00Z"


@case("no root at all", 4)
def _(c): c.prepare_host = lambda h: h.path("/usr/lib/gybe/root.json").unlink()


@case("required algorithm missing", 4)
def _(c): c.root["roles"]["release"]["requireAlgs"] = ["ed25519"]


@case("hybrid signer with half a signature", 4)
def _(c):
    c.root = foreign.root([c.t.key, c.t.other])
    role = c.root["roles"]["release"]
    del role["keyids"]
    role["signers"] = [{"id": "build", "keyids": [c.t.key.id, c.t.other.id]}]


@case("payload type of a feed", 4)
def _(c):
    def retype(e): e["payloadType"] = foreign.TYPES["feed"]
    c.spoil_envelope = retype


@case("expired release", 4)
def _(c): c.release_more = {"issued": "2026-01-01T00:00:00Z", "expires": "2026-02-01T00:00:00Z"}


@case("serial below the floor", 4)
def _(c):
    c.prepare_host = lambda h: h.write("/var/lib/gybe/trust.json", json.dumps(
        {"schema": "gybe.trust/1", "runningSerial": 2026110500, "highWaterSerial": 2026110401, "feedSerials": {}, "revokedSerials": [],
         "revokedRoothashes": [], "slots": {}}))


@case("revoked serial, remembered", 4)
def _(c):
    c.prepare_host = lambda h: h.write("/var/lib/gybe/trust.json", json.dumps(
        {"schema": "gybe.trust/1", "runningSerial": 1, "highWaterSerial": 1, "feedSerials": {}, "revokedSerials": [2026110400],
         "revokedRoothashes": [], "slots": {}}))


@case("revoked root hash, remembered", 4)
def _(c):
    c.prepare_host = lambda h: h.write("/var/lib/gybe/trust.json", json.dumps(
        {"schema": "gybe.trust/1", "runningSerial": 1, "highWaterSerial": 1, "feedSerials": {}, "revokedSerials": [],
         "revokedRoothashes": [c.t.v2.roothash], "slots": {}}))


@case("release that revokes itself", 4)
def _(c): c.release_more = {"revokes": {"serials": [2026110400], "roothashes": []}}


@case("wrong product", 4)
def _(c): c.release_more = {"product": "something-else"}


@case("wrong architecture", 4)
def _(c): c.release_more = {"arch": "aarch64"}


@case("wrong channel", 3)
def _(c): c.release_more = {"channel": ["beta"]}


@case("stepping stone", 3)
def _(c):
    c.release_more = {"minimumSerial": 2026100000}
    c.prepare_host = lambda h: h.write("/var/lib/gybe/trust.json", json.dumps(
        {"schema": "gybe.trust/1", "runningSerial": 2026010100, "highWaterSerial": 1, "feedSerials": {}, "revokedSerials": [],
         "revokedRoothashes": [], "slots": {}}))


@case("critical field nobody knows", 4)
def _(c): c.release_more = {"critical": ["teleport"]}


@case("no expires", 4)
def _(c): c.release_more = {"expires": None}


@case("duplicate JSON keys in the release", 4)
def _(c):
    def spoil(e): pass
    def text(s): return s.replace('{"payloadType"', '{"payloadType": "x", "payloadType"', 1)
    c.spoil_text = text


@case("duplicate JSON keys in the signed payload", 4)
def _(c):
    c.spoil_release = lambda d: None
    good = foreign.envelope
    doc_text = lambda d: json.dumps(d).replace('{"schema"', '{"serial": 1, "schema"', 1).encode()
    c.spoil_envelope = lambda e: e.update(good("release", doc_text(c.last), c.keys))
    c.spoil_release = lambda d: setattr(c, "last", d)


@case("release file missing", 4)
def _(c): c.after_sign = lambda p: (c.work / "x.release.json").unlink()


@case("release file truncated", 4)
def _(c): c.spoil_text = lambda s: s[:len(s) // 2]


@case("release file corrupted", 4)
def _(c): c.spoil_text = lambda s: s[:600] + ("A" if s[600] != "A" else "B") + s[601:]


@case("quarantined content", 3)
def _(c):
    def put(h):
        sha = hashlib.sha256(c.t.v2.uki.read_bytes()).hexdigest()
        q = hashlib.sha256((c.t.v2.roothash + sha).encode()).hexdigest()[:32]
        h.write(f"/var/lib/gybe/quarantine/{q}.json", json.dumps({"schema": "gybe.quarantine/1", "roothash": c.t.v2.roothash,
                "ukiSha256": sha, "version": "3.0.2", "reason": "health-fallback", "message": "it failed"}))
    c.prepare_host = put


# --- bytes that contradict what was signed ---

@case("truncated COSI", 4)
def _(c):
    def cut(p):
        with open(p, "r+b") as f:
            f.truncate(p.stat().st_size - 100000)
    c.after_sign = cut


@case("COSI one byte longer", 4)
def _(c): c.after_sign = lambda p: open(p, "ab").write(b"x")


@case("corrupted metadata", 4)
def _(c):
    c.after_sign = lambda p: flip(p, member_at(p, "metadata.json")[1] + 300)


@case("corrupted tar header", 1)
def _(c): c.after_sign = lambda p: flip(p, member_at(p, "images/" + PAYLOAD)[0] + 3)


@case("corrupted /usr frame", 4, LATE)
def _(c):
    def spoil(p):
        _, at, size = member_at(p, "images/" + PAYLOAD)
        flip(p, at + size // 2)
    c.after_sign = spoil


@case("corrupted end of the /usr member", 4, LATE)
def _(c):
    def spoil(p):
        _, at, size = member_at(p, "images/" + PAYLOAD)
        flip(p, at + size - 2)
    c.after_sign = spoil


@case("corrupted hash image", 4, LATE)
def _(c):
    def spoil(p):
        _, at, size = member_at(p, "images/hash-a.img.zst")
        flip(p, at + size // 2)
    c.after_sign = spoil


@case("corrupted ESP image", 4)
def _(c):
    def spoil(p):
        _, at, size = member_at(p, "images/esp.img.zst")
        flip(p, at + size // 2)
    c.after_sign = spoil


@case("corrupted GPT region", 4)
def _(c):
    def spoil(p):
        _, at, size = member_at(p, "images/gpt.img.zst")
        flip(p, at + size // 2)
    c.after_sign = spoil


@case("root hash of another image, everything else signed", 4)
def _(c): c.release_more = {"usr": {"roothash": "ab" * 32}}


@case("a /usr image whose root hash is another one", 4, LATE)
def _(c):
    data = bytearray(c.t.v2.usr.read_bytes())
    data[5 * MIB] ^= 1
    c.cosi_options = {"usr": bytes(data)}


@case("a listed boot file that differs", 4)
def _(c):
    def spoil(d):
        for b in d["boot"]:
            if b["kind"] == "uki":
                b["sha256"] = "cd" * 32
    c.spoil_release = spoil


@case("a listed boot file that is missing", 4)
def _(c):
    c.spoil_release = lambda d: d["boot"].append({"path": "acl/uki-addons/more.addon.efi", "kind": "addon-template", "sha256": "cd" * 32})


@case("a UKI that is not listed", 4)
def _(c):
    tree = esp_tree(c.t.v2, c.work / "other-tree")
    c.tree = tree
    c.spoil_cosi = lambda k: None
    def add(d): d["boot"] = [b for b in d["boot"] if b["path"] != "EFI/Linux/second.efi"]
    pe(tree / "EFI/Linux/second.efi", osrel=str(c.t.v2.os_release), cmdline="x")
    c.spoil_release = add


@case("a template of the target that is not listed", 4)
def _(c):
    c.spoil_release = lambda d: d.update(boot=[b for b in d["boot"] if not b["path"].endswith("uki-addons/slot-b.addon.efi")])


# --- containers ---

@case("image larger than the slot", 1)
def _(c): c.img = c.t.big


@case("duplicate JSON keys in metadata.json", 4)
def _(c):
    def dup(k):
        text = json.dumps(k.metadata).replace('{"version"', '{"id": "x", "version"', 1).encode()
        k.metadata_bytes = lambda: text
    c.spoil_cosi = dup


@case("a member twice", 1)
def _(c): c.spoil_cosi = lambda k: k.extra.append(("images/" + PAYLOAD, b"again"))


@case("a member with ..", 1)
def _(c): c.spoil_cosi = lambda k: k.extra.append(("images/../../etc/passwd", b"x"))


@case("a member with an absolute name", 1)
def _(c): c.spoil_cosi = lambda k: k.extra.append(("/etc/passwd", b"x"))


@case("no end-of-archive marker", 1)
def _(c):
    def cut(p):
        size = p.stat().st_size
        data = p.read_bytes().rstrip(b"\0")
        end = (len(data) + 511) // 512 * 512
        with open(p, "r+b") as f:
            f.truncate(min(end, size))
    c.spoil_file = cut


@case("a marker with content", 1)
def _(c):
    c.spoil_cosi = lambda k: setattr(k, "members", lambda: [("cosi-marker", b"x"), ("metadata.json", k.metadata_bytes())] +
                                     [(n, k.stored[n]) for n in k.physical()])


@case("a frame with a window of 2^31", 1, LATE)
def _(c):
    def grow(k):
        name = "images/" + PAYLOAD
        data = bytearray(k.stored[name])
        # frame header: descriptor without single-segment, then the window descriptor: exponent 21 + 10
        assert data[:4] == b"\x28\xb5\x2f\xfd"
        size_flag = {0: 1 if data[4] & 0x20 else 0, 1: 2, 2: 4, 3: 8}[data[4] >> 6]
        single = bool(data[4] & 0x20)
        rest = data[5 + (0 if single else 1) + size_flag:]
        k.stored[name] = bytes(data[:4]) + bytes([data[4] & 0x04, (31 - 10) << 3]) + bytes(rest)
        k.metadata = k.make_metadata()
    c.spoil_cosi = grow


@case("metadata that asks for a window of 2^31", 1)
def _(c): c.spoil_cosi = lambda k: k.metadata["compression"].update(maxWindowLog=31)


@case("a frame that expands beyond its declared size", 4, LATE)
def _(c):
    def grow(k):
        name = "images/" + PAYLOAD
        k.stored[name] = foreign.zstd(k.raw[name] + b"more" * 100000)
        k.metadata = k.make_metadata()
    c.spoil_cosi = grow


@case("a frame that is shorter than its declared size", 4, LATE)
def _(c):
    def shrink(k):
        name = "images/" + PAYLOAD
        k.stored[name] = foreign.zstd(k.raw[name][:-8192])
        k.metadata = k.make_metadata()
    c.spoil_cosi = shrink


# --- boot files ---

def with_boot(c, **options):
    """The same /usr with other boot files."""
    shutil.rmtree(c.work / "v2x", ignore_errors=True)
    shutil.copytree(c.t.v2.dir, c.work / "v2x")
    img = sandbox.Image(c.t.v2.version, c.work / "v2x", c.t.v2.roothash, c.t.v2.salt, c.t.v2.uuid)
    boot_files(img, **options)
    c.img = img
    return img


@case("slot addon with another root hash", 4)
def _(c): with_boot(c, roothash="ef" * 32)


@case("slot addon with the other slot's partitions", 4)
def _(c):
    img = with_boot(c)
    pe(img.dir / "esp-parts/slot-b.addon.efi", addon=True, cmdline=slot_cmdline("a", img.roothash).replace("acl.slot=a", "acl.slot=b"))


@case("verity arguments in another addon", 4)
def _(c):
    img = with_boot(c)
    extra = img.dir / "esp-parts/extra.addon.efi"
    pe(extra, addon=True, cmdline="quiet usrhash=" + "aa" * 32)
    img.live.append(extra)


@case("verity arguments in the UKI besides the addon", 4)
def _(c): with_boot(c, main=sandbox.MAIN_CMDLINE + " usrhash=" + "aa" * 32)


@case("verity arguments in a global addon of this host", 4)
def _(c):
    def put(h):
        h.path("/boot/loader/addons").mkdir(parents=True)
        pe(h.path("/boot/loader/addons/x.addon.efi"), addon=True, cmdline="systemd.verity_usr_options=ignore-corruption")
    c.prepare_host = put


@case("no template for the target", 4)
def _(c): with_boot(c, templates=("slot-a", "firstboot"))


@case("no UKI", 4)
def _(c):
    c.tree = esp_tree(c.t.v2, c.work / "no-uki")
    (c.tree / "EFI/Linux" / c.t.v2.uki.name).unlink()


@case("two UKIs", 4)
def _(c):
    c.tree = esp_tree(c.t.v2, c.work / "two-ukis")
    pe(c.tree / "EFI/Linux/second.efi", osrel=str(c.t.v2.os_release), cmdline="x")


@case("a UKI without .osrel", 4)
def _(c):
    img = with_boot(c)
    pe(img.uki, cmdline=sandbox.MAIN_CMDLINE, uname="6.6.121")


@case("the spare slot is mounted", 5)
def _(c):
    def mount(h):
        p = h.path("/proc/self/mountinfo")
        p.write_text(p.read_text() + "40 22 8:5 / /mnt ro shared:9 - ext4 /dev/disk/by-partlabel/USR-B ro\n")
    c.prepare_host = mount


@case("nobody knows what runs", 1)
def _(c): c.prepare_host = lambda h: (h.write("/proc/cmdline", "root=LABEL=ROOT\n"), h.path("/run/acl/active-volume.env").unlink())


@case("the witnesses disagree", 1)
def _(c):
    def lie(h):
        p = h.path("/run/acl/active-volume.env")
        p.write_text(p.read_text().replace("=A", "=B").replace("USR-A", "USR-B").replace(sandbox.ACL["USR-A"][1], sandbox.ACL["USR-B"][1]))
    c.prepare_host = lie


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.key, self.other = foreign.Key(work / "key.pem"), foreign.Key(work / "other.pem", "ed25519")
        self.v1, self.v2 = image(work / "v1", "3.0.1", size=8 * MIB), image(work / "v2", "3.0.2", size=8 * MIB)
        self.big = image(work / "big", "3.0.2", size=20 * MIB)
        self.pristine = Host(work / "pristine")
        self.pristine.install(self.v1)

    def one(self, f):
        """The sentence of the refusal."""
        self.host = self.pristine.clone(self.work / "host")
        c = Case(self)
        f(c)
        before, r, after = c.run()
        wrong = []
        if r.returncode != f.exit_code:
            wrong.append(f"exit {r.returncode} instead of {f.exit_code}")
        lines = [line for line in r.stderr.splitlines() if line]
        if len(lines) != 1 or not lines[0].startswith("gybe: "):
            wrong.append(f"{len(lines)} lines on stderr")
        spare = {"disk:USR-B", "disk:HASH-B", "disk:HASH-SIG-B"} if f.when == LATE else set()
        for k in sorted(before.keys() | after.keys()):
            inert = f.when == LATE and ".staged" in k
            if before.get(k) != after.get(k) and k not in spare and not inert:
                wrong.append(f"{k} changed")
        said = lines[0].removeprefix("gybe: ") if lines else "silent"
        assert not wrong, f"{'; '.join(wrong)} <- {said}"
        return said


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-refusals-") as tmp:
        t = Test(Path(tmp))
        for f in CASES:
            t.case(f)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
