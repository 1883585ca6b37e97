# SPDX-License-Identifier: MIT
"""A host made of files, and the releases it may be offered.

Knows: the ACL G3 disk layout, what a running ACL says about itself in /proc, /run and efivars, and what firmware,
systemd-boot and systemd-stub do between two boots (boot()). Everything is made with the real tools (sgdisk, mke2fs,
mkfs.vfat, veritysetup) or written here, never by gybe, so that it can judge gybe. Python's standard library only.

    host = Host(Path("/tmp/x"));  host.install(image("v1", ...))
    gybe(host, "update");  host.boot();  gybe(host, "commit")
"""

import copy
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
BUILD = Path(os.environ.get("GYBE_BUILD", SOURCE / "build"))

LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
MIB = 1 << 20

# label: (type, PARTUUID or None)
USR_TYPE = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"
ACL = {
    "EFI-SYSTEM": ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", None),
    "USR-A": (USR_TYPE, "7130c94a-213a-4e5a-8e26-6cce9662f132"),
    "HASH-A": ("77ff5f63-e7b6-4633-acf4-1565b864c0e6", "b736baf1-cdb4-4535-beba-ddaaa30ad7b7"),
    "HASH-SIG-A": ("e7bb33fb-06cf-4e81-8273-e543b413e2e2", "3514648f-e3da-44ae-89ba-8d0552418f88"),
    "USR-B": (USR_TYPE, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"),
    "HASH-B": ("77ff5f63-e7b6-4633-acf4-1565b864c0e6", "35bdf78b-c453-4661-98e6-f834f534ef5b"),
    "HASH-SIG-B": ("e7bb33fb-06cf-4e81-8273-e543b413e2e2", "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4"),
    "OEM": ("0fc63daf-8483-4772-8e79-3d69d8477de4", None),
    "ROOT": ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", None),
}
MAIN_CMDLINE = "mount.usr=/dev/mapper/usr mount.usrflags=ro root=LABEL=ROOT rootflags=rw consoleblank=0 panic=10"


def run(*argv, check=True, **more):
    r = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if check and r.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit {r.returncode}\n{r.stdout}")
    return r


def program(name):
    return BUILD / name


def pe(out, **sections):
    """A small PE file; keyword addon=True for an addon, the others are section texts."""
    argv = [HERE / "pe", "-o", out]
    if sections.pop("addon", False):
        argv.append("--addon")
    for name, text in sections.items():
        argv += [f"--{name}", text]
    run(*argv)


@dataclass
class Image:
    """What a release engineer has in hand: a /usr image with its verity facts, a UKI, addons, templates."""
    version: str
    dir: Path
    roothash: str = ""
    salt: str = ""
    uuid: str = ""
    uki: Path = None
    live: list = field(default_factory=list)       # addons in .extra.d
    templates: list = field(default_factory=list)  # addons in acl/uki-addons

    @property
    def usr(self):
        return self.dir / "usr.img"

    @property
    def hash(self):
        return self.dir / "hash.img"

    @property
    def os_release(self):
        return self.dir / "os-release"


def slot_cmdline(slot, roothash, signature=False):
    s = slot.upper()
    text = (f"systemd.verity_usr_data=PARTUUID={ACL[f'USR-{s}'][1]} systemd.verity_usr_hash=PARTUUID={ACL[f'HASH-{s}'][1]} "
            f"systemd.verity_usr_options=panic-on-corruption usrhash={roothash} acl.slot={slot}")
    return text + (f" acl.verity_usr_signature=PARTUUID={ACL[f'HASH-SIG-{s}'][1]}" if signature else "")


def usr_content(path, version, size, seed, changed=0.1):
    """A file that looks like an image: seeded blocks, a tenth of them other than in other versions, and holes."""
    with open(path, "wb") as f:
        f.truncate(size)
        for i in range(0, size // 4096):
            if i % 3 == 2:
                continue                                   # zeroes
            own = (i * 2654435761 % 1000) < changed * 1000
            key = f"{seed}:{version if own else ''}:{i}".encode()
            f.seek(i * 4096)
            half = hashlib.shake_128(key).digest(2048)     # half random, half compressible
            f.write(half + half[:16] * 128)


def image(directory, version, size=16 * MIB, seed="gybe", content=None, fs=None, salt=None):
    """Makes an Image. content: a file to use as /usr; fs="ext4": a real file system from a small tree."""
    d = Path(directory)
    d.mkdir(parents=True, exist_ok=True)
    img = Image(version, d)
    if content:
        shutil.copyfile(content, img.usr)
    elif fs == "ext4":
        tree = d / "tree"
        (tree / "bin").mkdir(parents=True, exist_ok=True)
        (tree / "bin" / "hello").write_text(f"#!/bin/sh\necho {version}\n")
        (tree / "lib").mkdir(exist_ok=True)
        for i in range(40):
            (tree / "lib" / f"lib{i}.so").write_bytes(hashlib.shake_128(f"{seed}{i}{version if i < 4 else ''}".encode()).digest(60000))
        img.usr.unlink(missing_ok=True)
        run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-U", "11111111-2222-3333-4444-555555555555", "-E",
            "hash_seed=11111111-2222-3333-4444-555555555555", "-d", tree, img.usr, f"{size // 1024}k",
            env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"})
    else:
        usr_content(img.usr, version, size, seed)
    img.salt = salt or hashlib.sha256(f"salt {version}".encode()).hexdigest()
    img.uuid = str(uuid.UUID(bytes=hashlib.sha256(f"uuid {version}".encode()).digest()[:16]))
    out = run("veritysetup", "format", img.usr, img.hash, f"--salt={img.salt}", f"--uuid={img.uuid}").stdout
    img.roothash = [line.split()[-1] for line in out.splitlines() if line.startswith("Root hash")][0]
    img.os_release.write_text(f'ID=azurelinux\nID_LIKE=flatcar\nVARIANT_ID=azurecontainerlinux\nVERSION_ID="{version}"\n'
                              f'VERSION="{version}"\nPRETTY_NAME="ACL {version}"\n')
    boot_files(img)
    return img


def boot_files(img, roothash=None, main=MAIN_CMDLINE, templates=("slot-a", "slot-b", "firstboot", "fips", "kdump")):
    d = img.dir / "esp-parts"
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    h = roothash or img.roothash
    img.uki = d / "vmlinuz-6.6.121.efi"
    pe(img.uki, osrel=str(img.os_release), uname="6.6.121", cmdline=main, linux=f"kernel of {img.version} " * 2000)
    texts = {"slot-a": slot_cmdline("a", h), "slot-b": slot_cmdline("b", h), "firstboot": "flatcar.first_boot=detected",
             "fips": "fips=1", "kdump": "crashkernel=256M"}
    img.templates, img.live = [], []
    for name in templates:
        path = d / f"{name}.addon.efi"
        pe(path, addon=True, cmdline=texts[name])
        img.templates.append(path)
    img.live = [p for p in img.templates if p.name in ("slot-a.addon.efi", "firstboot.addon.efi")]


def esp_tree(img, tree):
    """The ESP of a freshly built image, as a folder."""
    tree = Path(tree)
    shutil.rmtree(tree, ignore_errors=True)
    extra = tree / "EFI/Linux" / (img.uki.name + ".extra.d")
    for d in (extra, tree / "EFI/BOOT", tree / "acl/uki-addons", tree / "loader"):
        d.mkdir(parents=True)
    shutil.copyfile(img.uki, tree / "EFI/Linux" / img.uki.name)
    for a in img.live:
        shutil.copyfile(a, extra / a.name)
    for a in img.templates:
        shutil.copyfile(a, tree / "acl/uki-addons" / a.name)
    (tree / "EFI/BOOT/BOOTX64.EFI").write_bytes(b"MZ shim")
    (tree / "EFI/BOOT/grubx64.efi").write_bytes(b"MZ systemd-boot")
    (tree / "loader/loader.conf").write_text(f"timeout 0\ndefault {img.uki.name}\n")
    (tree / "loader/entries.srel").write_text("type1\n")
    return tree


# --- the host ---

class Host:
    """DIR/root is the host's root folder, DIR/disk.img its disk."""

    def __init__(self, directory, usr_size=16 * MIB, hash_size=1 * MIB, sig_size=1 * MIB, esp_size=40 * MIB, order=None,
                 sector=512):
        self.dir = Path(directory)
        self.root = self.dir / "root"
        self.disk = self.dir / "disk.img"
        self.sizes = {"EFI-SYSTEM": esp_size, "USR": usr_size, "HASH": hash_size, "HASH-SIG": sig_size, "OEM": MIB, "ROOT": 2 * MIB}
        self.order = order or list(ACL)
        self.sector = sector
        self.parts = {}
        self.boots = 0

    def clone(self, directory):
        """The same machine once more, in another folder."""
        h = copy.copy(self)
        h.dir = Path(directory)
        h.root, h.disk = h.dir / "root", h.dir / "disk.img"
        shutil.rmtree(h.dir, ignore_errors=True)
        h.dir.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", "--sparse=always", self.dir, h.dir)
        return h

    # paths below the root
    def path(self, name):
        return self.root / name.lstrip("/")

    def write(self, name, data):
        p = self.path(name)
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(data if isinstance(data, bytes) else data.encode())

    def make_disk(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        at = MIB
        argv = ["sgdisk", "-a", "1", "--clear", "-U", "00000000-0000-0000-0000-000000000001"]
        for n, label in enumerate(self.order, 1):
            kind, partuuid = ACL[label]
            size = self.sizes.get(label) or self.sizes[label.rsplit("-", 1)[0]]
            argv += [f"--new={n}:{at // 512}:{(at + size) // 512 - 1}", f"--change-name={n}:{label}", f"--typecode={n}:{kind}"]
            if partuuid:
                argv.append(f"--partition-guid={n}:{partuuid}")
            self.parts[label] = (at, size)
            at += size
        self.disk.unlink(missing_ok=True)
        with open(self.disk, "wb") as f:
            f.truncate(at + MIB)
        run(*argv, self.disk)

    def put(self, label, data):
        offset, size = self.parts[label]
        data = data if isinstance(data, bytes) else Path(data).read_bytes()
        assert len(data) <= size, f"{label}: {len(data)} > {size}"
        with open(self.disk, "r+b") as f:
            f.seek(offset)
            f.write(data)

    def get(self, label, length=None):
        offset, size = self.parts[label]
        with open(self.disk, "rb") as f:
            f.seek(offset)
            return f.read(length or size)

    def install(self, img, trust_root=None, config=None, policy=None):
        """A machine just provisioned with this image in slot A."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.make_disk()
        self.put("USR-A", img.usr)
        self.put("HASH-A", img.hash)
        esp_tree(img, self.path("/boot"))
        shutil.rmtree(self.path("/boot/EFI/Linux") / (img.uki.name + ".extra.d/firstboot.addon.efi"), ignore_errors=True)
        (self.path("/boot/EFI/Linux") / (img.uki.name + ".extra.d/firstboot.addon.efi")).unlink(missing_ok=True)
        for d in ("/proc/self", "/run", "/var/lib", "/etc/gybe", "/usr/lib/gybe", "/sys/firmware/efi/efivars", "/proc/sys/kernel"):
            self.path(d).mkdir(parents=True, exist_ok=True)
        if trust_root:
            shutil.copyfile(trust_root, self.path("/usr/lib/gybe/root.json"))
        self.configure(config or {})
        self.write("/etc/gybe/policy.d/10-test.json", json.dumps(policy or {"attempts": 2}))
        self.write("/proc/sys/kernel/panic", "10\n")
        self.set_var("LoaderInfo", "systemd-boot 255")
        self.set_var_raw("LoaderFeatures", struct.pack("<Q", 0x7ffff), attrs=6)
        self.set_var_raw("BootCurrent", struct.pack("<H", 1), guid=GLOBAL, attrs=6)
        self.set_var_raw("BootOrder", struct.pack("<HH", 1, 0), guid=GLOBAL)
        self.set_var_raw("SecureBoot", b"\0", guid=GLOBAL, attrs=6)
        for n in (0, 1):
            self.set_var_raw(f"Boot{n:04X}", load_option("UiApp" if n == 0 else "disk", "\\EFI\\BOOT\\BOOTX64.EFI"), guid=GLOBAL)
        self.boot()

    def configure(self, config):
        base = {"product": "azure-container-linux", "channel": "stable"}
        self.write("/etc/gybe/gybe.json", json.dumps({**base, **config}, indent=1))

    # EFI variables
    def var_path(self, name, guid=LOADER):
        return self.path(f"/sys/firmware/efi/efivars/{name}-{guid}")

    def set_var_raw(self, name, data, guid=LOADER, attrs=7):
        self.write(f"/sys/firmware/efi/efivars/{name}-{guid}", struct.pack("<I", attrs) + data)

    def set_var(self, name, text, guid=LOADER, attrs=7):
        self.set_var_raw(name, text.encode("utf-16-le") + b"\0\0", guid, attrs)

    def var(self, name, guid=LOADER):
        p = self.var_path(name, guid)
        if not p.exists() or p.stat().st_size < 4:
            return None
        return p.read_bytes()[4:].decode("utf-16-le").rstrip("\0")

    # what firmware, systemd-boot and systemd-stub do
    def default_entry(self):
        linux = self.path("/boot/EFI/Linux")
        names = sorted(p.name for p in linux.glob("*") if p.name.lower().endswith(".efi") and p.is_file())
        conf = self.path("/boot/loader/loader.conf")
        wanted = [self.var("LoaderEntryDefault")]
        if conf.exists():
            wanted += [line.split(None, 1)[1].strip() for line in conf.read_text().splitlines() if line.startswith("default ")]
        for w in wanted:
            for n in names:
                if w and n.lower() == w.lower():
                    return n
        return None

    def boot(self, fail_oneshot=False, entry=None):
        """One power-on. fail_oneshot: the tried entry does not come up and the machine resets into the default."""
        shot = self.var("LoaderEntryOneShot")
        for name, guid in (("LoaderEntryOneShot", LOADER), ("BootNext", GLOBAL)):
            self.var_path(name, guid).unlink(missing_ok=True)
        linux = self.path("/boot/EFI/Linux")
        if shot and (linux / shot).exists() and not fail_oneshot:
            entry = entry or shot
        entry = entry or self.default_entry()
        assert entry, "nothing boots: no default entry"
        texts = [pe_text(linux / entry, ".cmdline")]
        texts += [pe_text(a, ".cmdline") for a in sorted((linux / (entry + ".extra.d")).glob("*.addon.efi"))]
        self.write("/proc/cmdline", " ".join(texts) + "\n")
        osrel = pe_text(linux / entry, ".osrel")
        self.write("/etc/os-release", osrel)
        self.boots += 1
        self.write("/proc/sys/kernel/random/boot_id", str(uuid.UUID(int=0x40008000000000000000 + self.boots)) + "\n")
        self.write("/proc/self/mountinfo", "22 1 8:9 / / rw,relatime shared:1 - ext4 /dev/disk/by-partlabel/ROOT rw\n"
                   "30 22 254:0 / /usr ro,relatime shared:2 - ext4 /dev/mapper/usr ro\n")
        shutil.rmtree(self.path("/run"), ignore_errors=True)
        slot = "A" if ACL["USR-A"][1] in " ".join(texts) else "B"
        self.write("/run/acl/active-volume", slot + "\n")
        self.write("/run/acl/active-volume.env", f"ACL_ACTIVE_VOLUME={slot}\nACL_ACTIVE_USR_LABEL=USR-{slot}\n"
                   f"ACL_ACTIVE_USR_PARTUUID={ACL['USR-' + slot][1]}\nACL_ACTIVE_VOLUME_SOURCE=systemd.verity_usr_data\n"
                   "ACL_ACTIVE_VOLUME_STATUS=ok\nACL_ACTIVE_VOLUME_DEFAULTED=0\n")
        self.set_var("LoaderEntrySelected", entry, attrs=6)
        return entry

    # what runs on it
    def jobs(self):
        """Pids of its jobs and of what they started."""
        out = []
        for p in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = p.read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[0].endswith(b"/gybe-job") and str(self.root).encode() in words:
                out.append(int(p.parent.name))
        return out

    def end_jobs(self):
        for pid in self.jobs():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        while self.jobs():
            time.sleep(0.02)

    def snapshot(self, labels=None):
        """Digests of everything that must not change by accident: partitions, ESP files, EFI variables."""
        out = {f"disk:{n}": hashlib.sha256(self.get(n)).hexdigest() for n in labels or self.parts}
        for base in ("/boot", "/sys/firmware/efi/efivars"):
            for p in sorted(self.path(base).rglob("*")):
                if p.is_file():
                    out[str(p.relative_to(self.root))] = hashlib.sha256(p.read_bytes()).hexdigest()
        return out

    def verity_ok(self, slot, roothash, directory=None):
        d = Path(directory or self.dir)
        for what in ("USR", "HASH"):
            (d / f"check-{what}").write_bytes(self.get(f"{what}-{slot}"))
        return run("veritysetup", "verify", d / "check-USR", d / "check-HASH", roothash, check=False).returncode == 0


def load_option(title, path):
    node = path.encode("utf-16-le") + b"\0\0"
    nodes = struct.pack("<BBH", 4, 4, 4 + len(node)) + node + b"\x7f\xff\x04\x00"
    return struct.pack("<IH", 1, len(nodes)) + title.encode("utf-16-le") + b"\0\0" + nodes


def pe_text(path, section):
    data = Path(path).read_bytes()
    at = struct.unpack_from("<I", data, 0x3c)[0]
    n, size = struct.unpack_from("<H", data, at + 6)[0], struct.unpack_from("<H", data, at + 20)[0]
    for i in range(n):
        name, vsize, _, raw, where = struct.unpack_from("<8sIIII", data, at + 24 + size + 40 * i)
        if name.rstrip(b"\0").decode() == section:
            return data[where:where + min(vsize, raw)].rstrip(b"\0 \n").decode()
    return ""


# --- gybe and gybe-release ---

def environ(**more):
    """What our programs run with: their helpers are this build's."""
    return {**os.environ, "GYBE_LIBEXEC": str(BUILD), **more}


def command(host, *args, of="gybe", disk=None):
    return [str(program(of)), "--root", str(host.root), "--disk", str(disk or host.disk), *map(str, args)]


def gybe(host, *args, check=True, of="gybe", disk=None, **more):
    """Runs gybe (or another program) on the host. Returns the CompletedProcess; check: exit 0 expected."""
    r = subprocess.run(command(host, *args, of=of, disk=disk), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env=environ(**more.pop("env", {})), **more)
    if check and r.returncode != 0:
        raise RuntimeError(f"{of} {' '.join(map(str, args))}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return r


def expect(host, code, *args, of="gybe", **more):
    """It ends with this exit code. Returns the CompletedProcess."""
    r = gybe(host, *args, check=False, of=of, **more)
    said = f"{r.stdout.strip()} {r.stderr.strip()}"
    assert r.returncode == code, f"{of} {' '.join(map(str, args))}: exit {r.returncode}, not {code}: {said}"
    return r


def job(host, code, *args, **more):
    """The same of gybe-job."""
    return expect(host, code, *args, of="gybe-job", **more)


def spawn(host, *args, of="gybe", **more):
    """The same, and somebody watches what it does meanwhile, or kills it: its Popen. Nobody reads what it says."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command(host, *args, of=of), env=environ(), **{**quiet, **more})


def status(host):
    return json.loads(gybe(host, "status", "--json").stdout)


def history(host):
    return json.loads(gybe(host, "history", "--json").stdout)["events"]


def release_tool(*args, check=True):
    return run(program("gybe-release"), *args, check=check, env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"})


def build(img, out, *more):
    argv = ["build", "--usr", img.usr, "--salt", img.salt, "--uuid", img.uuid, "--uki", img.uki, "--os-release", img.os_release]
    for a in img.live:
        argv += ["--addon", a]
    for a in img.templates:
        argv += ["--addon-template", a]
    with open(img.usr, "rb") as f:
        f.seek(1024 + 56)
        if f.read(2) != b"\x53\xef":      # made-up content: say what it would be
            argv += ["--fs-type", "ext4", "--fs-uuid", "11111111-2222-3333-4444-555555555555"]
    release_tool(*argv, *more, "-o", out)
    return Path(out)


def keygen(directory, *more):
    release_tool("keygen", directory, *more)
    return Path(directory)


def sign(cosi, keys, version, serial, *more, product="azure-container-linux", channel="stable"):
    argv = ["sign"]
    for k in keys:
        argv += ["--key", k]
    release_tool(*argv, "--product", product, "--channel", channel, "--version", version, "--serial", serial, *more, cosi)
    return Path(str(cosi)[:-len(".cosi")] + ".release.json")


def releases(work, keys, versions, floor=None, **how):
    """{version: Image} and {version: signed COSI}; serials from 1001 on. floor: what a serial lets come back; how: of image()."""
    images, cosis = {}, {}
    for serial, version in enumerate(versions, 1001):
        images[version] = image(work / version, version, **how)
        cosis[version] = build(images[version], work / f"acl-{version}.cosi")
        sign(cosis[version], [keys / "release.pem"], version, serial, *(["--floor", floor(serial)] if floor else []))
    return images, cosis


def publish(feed, keys, cosi):
    """The newest of the channel stable."""
    release_tool("publish", "--feed", feed, "--key", keys / "release.pem", "--channel", "stable", cosi)
