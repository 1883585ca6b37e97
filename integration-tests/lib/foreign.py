# SPDX-License-Identifier: MIT
"""COSI files, release files, roots and feeds made by somebody who never saw gybe's source: Python's tarfile and json, the
zstd and openssl programs, mkfs.vfat and mcopy. Written from the formats alone, so that it can judge; and it can be told
to lie in every way the refusal tests need.
"""

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import zlib
import struct
from pathlib import Path

import sandbox
from sandbox import MIB, esp_tree, run


def zstd(data, *options):
    """One plain frame, as any tool makes it."""
    return subprocess.run(["zstd", "-q", "-3", *options, "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def gpt_region(parts, lba=512, disk_size=None):
    """parts: [(label, type, partuuid, first byte, size)]. The first 2 + 32 (or 4) sectors of such a disk."""
    import uuid
    entries = b""
    for label, kind, partuuid, at, size in parts:
        entries += (uuid.UUID(kind).bytes_le + uuid.UUID(partuuid).bytes_le + struct.pack("<QQQ", at // lba, (at + size) // lba - 1, 0)
                    + label.encode("utf-16-le").ljust(72, b"\0"))
    entries = entries.ljust(128 * 128, b"\0")
    total = (disk_size or parts[-1][3] + parts[-1][4] + MIB) // lba
    table = len(entries) // lba

    def header(crc):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, 1, total - 1, 2 + table, total - 2 - table,
                           b"\1" * 16, 2, 128, 128, zlib.crc32(entries))
    head = header(zlib.crc32(header(0)))
    mbr = b"\0" * 446 + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(total - 1, 0xFFFFFFFF))
    mbr = mbr.ljust(510, b"\0") + b"\x55\xaa"
    return mbr.ljust(lba, b"\0") + head.ljust(lba, b"\0") + entries


def fat_image(tree, size, path):
    path = Path(path)
    path.unlink(missing_ok=True)
    with open(path, "wb") as f:
        f.truncate(size)
    run("mkfs.vfat", "-F", "32", "-i", "C3D4250D", "-n", "EFI-SYSTEM", path)
    for top in sorted(Path(tree).iterdir()):
        run("mcopy", "-s", "-o", "-i", path, top, "::/")
    return path.read_bytes()


class Cosi:
    """Collects members and metadata; write() makes the file. Everything may be changed between."""

    def __init__(self, img, work, version="1.2", esp_size=36 * MIB, tree=None, dialect=tarfile.GNU_FORMAT, zstd_options=(),
                 hash_image=None, usr=None, sig=None, sizes=None):
        self.img, self.version, self.dialect = img, version, dialect
        self.work = Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        tree = tree or esp_tree(img, self.work / "tree")
        usr = usr if usr is not None else img.usr.read_bytes()
        hashes = hash_image if hash_image is not None else img.hash.read_bytes()
        esp = fat_image(tree, esp_size, self.work / "esp.img")
        self.raw = {"images/esp.img.zst": esp, "images/usr-a.img.zst": usr, "images/hash-a.img.zst": hashes}
        parts, at = [], MIB
        sizes = sizes or {}
        for label in sandbox.ACL:
            kind, partuuid = sandbox.ACL[label]
            data = {"EFI-SYSTEM": esp, "USR-A": usr, "USR-B": usr, "HASH-A": hashes, "HASH-B": hashes}.get(label, b"\0" * MIB)
            size = sizes.get(label, max((len(data) + MIB - 1) // MIB * MIB, MIB))
            parts.append((label, kind, partuuid or "0f0f0f0f-0000-4000-8000-%012d" % len(parts), at, size))
            at += size
        self.parts, self.disk_size = parts, at + MIB
        for label in ("HASH-SIG-A", "USR-B", "HASH-B", "HASH-SIG-B", "OEM", "ROOT"):
            size = [p[4] for p in parts if p[0] == label][0]
            self.raw[f"images/{label.lower()}.img.zst"] = (sig or b"").ljust(size, b"\0") if label == "HASH-SIG-A" else b"\0" * size
        self.raw["images/gpt.img.zst"] = gpt_region(parts, disk_size=self.disk_size)
        self.stored = {name: zstd(data, *zstd_options) for name, data in self.raw.items()}
        self.metadata = self.make_metadata()
        self.extra = []          # (name, bytes) members after the images
        self.trailing = b""
        self.order = None

    def file(self, name):
        return {"path": name, "compressedSize": len(self.stored[name]), "uncompressedSize": len(self.raw[name]),
                "sha384": hashlib.sha384(self.stored[name]).hexdigest()}

    def physical(self):
        names = ["images/gpt.img.zst"]
        special = {"EFI-SYSTEM": "images/esp.img.zst", "USR-A": "images/usr-a.img.zst", "HASH-A": "images/hash-a.img.zst"}
        return names + [special.get(p[0], f"images/{p[0].lower()}.img.zst") for p in self.parts]

    def make_metadata(self):
        names = self.physical()
        m = {"version": self.version, "osArch": "x86_64", "osRelease": self.img.os_release.read_text(),
             "images": [
                 {"image": self.file("images/esp.img.zst"), "mountPoint": "/boot", "fsType": "vfat", "fsUuid": "C3D4-250D",
                  "partType": sandbox.ACL["EFI-SYSTEM"][0]},
                 {"image": self.file("images/usr-a.img.zst"), "mountPoint": "/usr", "fsType": "ext4",
                  "fsUuid": "11111111-2222-3333-4444-555555555555", "partType": sandbox.USR_TYPE,
                  "verity": {"image": self.file("images/hash-a.img.zst"), "roothash": self.img.roothash}}],
             "osPackages": [{"name": "bash", "version": "5.2", "release": "1", "arch": "x86_64"}],
             "id": "1d0c0000-0000-4000-8000-000000000001"}
        if self.version != "1.0":
            m["bootloader"] = {"type": "systemd-boot", "systemdBoot": {"entries": [
                {"type": "uki-standalone", "path": "/boot/EFI/Linux/" + self.img.uki.name, "cmdline": "", "kernel": "6.6.121"}]}}
        if self.version not in ("1.0", "1.1"):
            m["disk"] = {"size": self.disk_size, "type": "gpt", "lbaSize": 512, "gptRegions":
                         [{"type": "primary-gpt", "image": self.file(names[0])}] +
                         [{"type": "partition", "number": i, "image": self.file(n)} for i, n in enumerate(names[1:], 1)]}
            m["compression"] = {"maxWindowLog": 27}
        return m

    def metadata_bytes(self):
        return json.dumps(self.metadata).encode()

    def members(self):
        out = []
        names = self.physical()
        if self.version in ("1.0", "1.1"):
            names = [n for n in names if n.split("/")[1] in ("esp.img.zst", "usr-a.img.zst", "hash-a.img.zst")]
        else:
            out.append(("cosi-marker", b""))
        out.append(("metadata.json", self.metadata_bytes()))
        out += [(n, self.stored[n]) for n in (self.order or names)]
        return out + self.extra

    def write(self, path):
        with open(path, "wb") as f:
            tar = tarfile.open(fileobj=f, mode="w", format=self.dialect)
            for name, data in self.members():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                if self.dialect == tarfile.PAX_FORMAT and name != "cosi-marker":
                    info.pax_headers = {"comment": "made elsewhere"}
                tar.addfile(info, io.BytesIO(data))
            tar.close()
            f.write(self.trailing)
        return Path(path)


# --- signatures, with the openssl program ---

class Key:
    def __init__(self, path, alg="ecdsa-p384"):
        self.path, self.alg = Path(path), alg
        if not self.path.exists():
            kind = {"ecdsa-p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
                    "ecdsa-p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
                    "ed25519": ["-algorithm", "ED25519"],
                    "rsa-pss": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]}[alg]
            run("openssl", "genpkey", *kind, "-out", self.path)
        self.spki = subprocess.run(["openssl", "pkey", "-in", self.path, "-pubout", "-outform", "DER"], stdout=subprocess.PIPE,
                                   check=True).stdout
        self.id = hashlib.sha256(self.spki).hexdigest()

    def sign(self, data):
        if self.alg == "ed25519":
            tmp = self.path.with_suffix(".tbs")
            tmp.write_bytes(data)
            argv = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.path, "-in", tmp]
            return subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
        argv = ["openssl", "dgst", "-sha256" if self.alg == "ecdsa-p256" else "-sha384", "-sign", self.path]
        if self.alg == "rsa-pss":
            argv += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
        return subprocess.run(argv, input=data, stdout=subprocess.PIPE, check=True).stdout


TYPES = {k: f"application/vnd.gybe.{k}+json;v=1" for k in ("release", "root", "feed")}


def envelope(kind, document, keys):
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(TYPES[kind]), TYPES[kind].encode(), len(payload), payload)
    return {"payloadType": TYPES[kind], "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": k.id, "alg": k.alg, "sig": base64.b64encode(k.sign(pae)).decode()} for k in keys]}


def root(release_keys, root_keys=None, version=1, expires="2036-01-01T00:00:00Z", threshold=1, **role):
    root_keys = root_keys or release_keys
    keys = {k.id: {"alg": k.alg, "public": base64.b64encode(k.spki).decode()} for k in [*release_keys, *root_keys]}
    return {"schema": "gybe.root/1", "version": version, "issued": "2026-01-01T00:00:00Z", "expires": expires, "keys": keys,
            "roles": {"root": {"keyids": sorted({k.id for k in root_keys}), "threshold": 1},
                      "release": {"keyids": [k.id for k in release_keys], "threshold": threshold, **role}}}


def boot_kind(path):
    p = path.lower()
    if p.startswith("efi/linux/") and p.endswith(".efi") and p.count("/") == 2:
        return "uki"
    if ".extra.d/" in p:
        return "addon" if p.endswith(".addon.efi") else "cred"
    return "addon-template" if p.startswith("acl/uki-addons/") else None


def release(img, cosi, path, version=None, serial=2026110400, tree=None, **more):
    tree = Path(tree or cosi.work / "tree")
    boot = []
    for p in sorted(tree.rglob("*")):
        name = str(p.relative_to(tree))
        if p.is_file() and boot_kind(name):
            boot.append({"path": name, "kind": boot_kind(name), "sha256": hashlib.sha256(p.read_bytes()).hexdigest()})
    doc = {"schema": "gybe.release/1", "product": "azure-container-linux", "channel": ["stable"], "arch": "x86_64",
           "version": version or img.version, "serial": serial, "floorSerial": 1, "issued": "2026-11-01T00:00:00Z",
           "expires": "2036-01-01T00:00:00Z",
           "cosi": {"name": Path(path).name, "size": os.path.getsize(path),
                    "metadataSha384": hashlib.sha384(cosi.metadata_bytes()).hexdigest()},
           "usr": {"roothash": img.roothash, "dataSize": img.usr.stat().st_size, "hashSize": img.hash.stat().st_size,
                   "salt": img.salt, "uuid": img.uuid},
           "boot": boot, "critical": []}
    for k, v in more.items():
        if v is None:
            doc.pop(k, None)
        elif isinstance(v, dict) and isinstance(doc.get(k), dict):
            doc[k] = {**doc[k], **v}
        else:
            doc[k] = v
    return doc


def write_json(path, document):
    Path(path).write_text(json.dumps(document))
    return Path(path)
