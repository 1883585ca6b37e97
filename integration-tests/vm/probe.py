# SPDX-License-Identifier: MIT
"""The probe tier: what would this ESP boot?

Firmware, loader, stub, addons, counters, Secure Boot and EFI variables are real; only the kernel is fake
(probe-kernel.c), so a boot takes about two seconds and says which command line was started. Use it for every
question that ends before a kernel begins.

Three things to build with: uki(), addon() and esp() (a small disk with the loader and whatever files a test wants),
and one question: boot(), which lets the machine boot a number of times and returns a Boot for each, or how it ended:

    boots = boot(disk, variables, boots=2)
    boots[0].cmdline == "probe=new slot=b"; boots[-1].end == "reset"

Ends: `reset` the fake kernel ran and reset; `hang` it ran and was told to hang; `shell` the firmware gave up and
sits in its shell or menu; `silent` nothing more happened before the time was up.

As a program, for the power-cut test and for hands:

    probe.py boot DISK [--vars JSON | --store FILE] [--boots N] [--json]    boot a disk, real kernels made fake
    probe.py uki OUT --cmdline C --version V                            make a fake UKI
    probe.py addon OUT --cmdline C                                      make an addon

DISK is a whole disk, or a bare FAT file system, which is wrapped into a disk first. It is never changed: the machine
works on a copy.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import diskfile
import machine as vm
from machine import CACHE, HERE, MachineError, in_tree

LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")      # inside the toolchain tree
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
ESP_UUID = "0f3f6f3a-52a5-4a0c-8f0e-3f2b7d1f7a10"
ESP_START = 2048        # sectors
ESP_SIZE = 96 << 20     # holds a dozen fake UKIs
MIB = 1 << 20

GAVE_UP = re.compile(r"UEFI Interactive Shell|Shell>|No bootable option|enter the Boot Manager Menu|startup\.nsh")


@dataclass
class Boot:
    """One boot of the probe machine."""
    cmdline: str | None = None
    variables: dict = field(default_factory=dict)
    end: str = "silent"
    firmware: list = field(default_factory=list)    # what firmware, loader and stub said before the kernel

    def text(self, name):
        """A string variable as the kernel saw it, or None."""
        data = self.variables.get(name)
        return None if data is None else data.decode("utf-16-le").rstrip("\0")

    def numbers(self, name):
        """BootOrder and the like as a list of numbers, or None."""
        data = self.variables.get(name)
        return None if data is None else [int.from_bytes(data[i:i + 2], "little") for i in range(0, len(data), 2)]


# Parts ---------------------------------------------------------------------------------------------------------------

def _cached(kind, key, make):
    """A file made once for a key: UKIs and keys are asked for again and again."""
    stamp = (CACHE / "toolchain.stamp").read_text() if (CACHE / "toolchain.stamp").exists() else ""
    name = hashlib.sha256("\0".join([kind, stamp, *key]).encode()).hexdigest()[:24]
    path = CACHE / "probe" / f"{kind}-{name}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}-{os.getpid()}")      # no dot: makers append suffixes of their own
        make(new)
        new.rename(path)
    return path


def kernel():
    """The fake kernel, compiled by the host's compiler and linked as a PE."""
    source = HERE / "probe-kernel.c"

    def make(out):
        obj = out.with_suffix(".o")
        subprocess.run(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fshort-wchar",
                        "-fpie", "-mno-red-zone", "-mgeneral-regs-only", "-fno-stack-protector", "-fcf-protection=none",
                        "-fno-asynchronous-unwind-tables", "-fno-ident", "-c", source, "-o", obj], check=True)
        # systemd-stub answers "Unsupported" to a kernel whose major image version is 0
        subprocess.run(["ld", "-m", "i386pep", "--subsystem", "10", "-e", "efi_main", "--image-base", "0",
                        "--major-image-version", "1", "--dynamicbase", "--no-insert-timestamp", "-o", out, obj],
                       check=True)
        obj.unlink()

    return _cached("kernel", [source.read_text(), "1"], make)


def os_release(version, ident="azurelinux"):
    return f'ID={ident}\nVERSION_ID={version}\nPRETTY_NAME="probe {version}"\n'


def uki(cmdline, version="1", sign=None, ident="azurelinux"):
    """A UKI around the fake kernel; `sign` is a folder of keys()."""
    def make(out):
        release = out.with_suffix(".osrel")
        release.write_text(os_release(version, ident))
        linux = kernel()
        in_tree("toolchain", ["ukify", "build", "--linux", linux, "--cmdline", cmdline, "--os-release", f"@{release}",
                              "--uname", "6.6.0-probe", "--output", out], binds=[out.parent, linux.parent])
        release.unlink()

    plain = _cached("uki", [cmdline, version, ident, kernel().name], make)
    return signed(plain, sign) if sign else plain


def addon(cmdline, sign=None):
    """A command line addon."""
    def make(out):
        in_tree("toolchain", ["ukify", "build", "--cmdline", cmdline, "--output", out], binds=[out.parent])

    plain = _cached("addon", [cmdline], make)
    return signed(plain, sign) if sign else plain


def loader(sign=None):
    """systemd-boot as the toolchain tree has it."""
    vm.build_trees("toolchain")
    plain = CACHE / "toolchain" / LOADER.relative_to("/")
    return signed(plain, sign) if sign else plain


def signed(path, keys):
    """A PE file signed with the db key of a key folder."""
    path = Path(path)

    def make(out):
        in_tree("toolchain", ["sbsign", "--key", keys / "db.key", "--cert", keys / "db.crt", "--output", out, path],
                binds=[path.parent, keys, out.parent])

    return _cached("signed", [str(keys), hashlib.sha256(path.read_bytes()).hexdigest()], make)


def keys(name="owner"):
    """A folder with PK, KEK and db, made once for each name."""
    def make(out):
        out.mkdir()
        script = "".join(
            f"openssl req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj '/CN=gybe probe {name} {k}/' "
            f"-keyout {out}/{k}.key -out {out}/{k}.crt 2>/dev/null\n" for k in ("PK", "KEK", "db"))
        in_tree("toolchain", ["sh", "-ec", script], binds=[out])

    return _cached("keys", [name], make)


def truncated(path, where="kernel"):
    """A UKI as a power cut leaves it. `kernel`: the file ends inside .linux, its last section; `early`: it ends before
    the sections the loader lists entries by; `zeroed`: full length, but the kernel's bytes never arrived."""
    data = Path(path).read_bytes()

    def make(out):
        start, size, _ = diskfile.pe_sections(data)[".linux"]
        if where == "kernel":
            out.write_bytes(data[:start + size // 2 // 512 * 512])
        elif where == "early":
            out.write_bytes(data[:diskfile.pe_sections(data)[".osrel"][0] // 2 // 512 * 512])
        elif where == "zeroed":
            out.write_bytes(data[:start] + bytes(size) + data[start + size:])
        else:
            raise ValueError(where)

    return _cached("truncated", [hashlib.sha256(data).hexdigest(), where], make)


# The disk ------------------------------------------------------------------------------------------------------------

def wrap_esp(disk, size=ESP_SIZE):
    """An empty GPT disk with one ESP; returns the byte offset of the ESP."""
    with open(disk, "wb") as f:
        f.truncate(ESP_START * 512 + size + MIB)
    in_tree("toolchain", ["sfdisk", "--quiet", disk], binds=[Path(disk).parent],
            stdin=f"label: gpt\nstart={ESP_START}, size={size // 512}, type={ESP_TYPE}, uuid={ESP_UUID}, "
                  f"name=EFI-SYSTEM\n".encode())
    return ESP_START * 512


def copy_files_script(disk, offset, files):
    """Shell lines that put {path on the ESP: file} onto a FAT at an offset, folders included."""
    folders, lines = set(), []
    for name in files:
        for parent in reversed(Path(name).parents[:-1]):
            if parent not in folders:
                folders.add(parent)
                lines.append(f"mmd -D s -i '{disk}@@{offset}' '::/{parent}' || :")     # may be there already
    for name, source in files.items():
        lines.append(f"mcopy -o -i '{disk}@@{offset}' '{source}' '::/{name}'")
    return "\n".join(lines)


def esp(disk, files, *, loader_conf="timeout 0\n", sign=None, removable=True):
    """A disk with systemd-boot and `files` ({path: file or text}) on its ESP."""
    disk = Path(disk)
    content = {"EFI/systemd/systemd-bootx64.efi": loader(sign), "loader/loader.conf": loader_conf, **files}
    if removable:
        content["EFI/BOOT/BOOTX64.EFI"] = loader(sign)
    texts, sources = [], {}
    for name, source in content.items():
        if isinstance(source, str):
            text = disk.with_name(f"{disk.name}.text{len(texts)}")
            text.write_text(source)
            texts.append(text)
            source = text
        sources[name] = source
    offset = wrap_esp(disk)
    binds = {disk.parent, *(Path(s).parent for s in sources.values() if not str(s).startswith(str(CACHE / "toolchain")))}
    tree = str(CACHE / "toolchain")
    sources = {n: str(s)[len(tree):] if str(s).startswith(tree) else s for n, s in sources.items()}
    in_tree("toolchain", ["sh", "-ec", f"mkfs.vfat -F 32 -s 1 -n EFI-SYSTEM --offset {ESP_START} '{disk}' "
                                       f"{ESP_SIZE // 1024} >/dev/null\n{copy_files_script(disk, offset, sources)}"],
            binds=binds)
    for text in texts:
        text.unlink()
    return disk


def esp_files(disk):
    """Paths of all files on the ESP of a disk."""
    image = diskfile.Image(disk)
    try:
        return {e.path for e in diskfile.Fat(image, diskfile.esp_of(image).start).walk() if not e.folder}
    finally:
        image.close()


def put_fake_kernels(disk):
    """Overwrites, in place, the .linux section of every whole UKI on a disk's ESP with the fake kernel: so a disk with
    real kernels can be asked the probe tier's question, its FAT untouched. A torn UKI stays as it is."""
    image, fake, count = diskfile.Image(disk), kernel().read_bytes(), 0
    fat = diskfile.Fat(image, diskfile.esp_of(image).start)
    with open(disk, "r+b") as f:
        for path, entry in fat.files().items():
            if not re.fullmatch(r"efi/linux/[^/]*\.efi", path):
                continue
            try:
                data, extents = fat.content(entry), fat.extents(entry)
                at, size, _ = diskfile.pe_sections(data)[".linux"]
            except (diskfile.DiskError, KeyError):
                continue
            if at + size > len(data) or data[at:at + 2] != b"MZ" or len(fake) > size:
                continue
            new, done = data[:at] + fake + bytes(size - len(fake)) + data[at + size:], 0
            for offset, length in extents:
                f.seek(offset)
                f.write(new[done:done + length])
                done += length
            count += 1
    image.close()
    return count


# The question --------------------------------------------------------------------------------------------------------

def boot(disk, variables, *, boots=1, seconds=None, secure_boot=False, bootindex=False, verbose=None, folder=None,
         log=None, quiet_seconds=20):
    """Boots `disk` (changing it and the variable store, as a machine would) until `boots` kernels ran, the firmware
    gave up, or nothing was heard for quiet_seconds. Returns a list with one Boot for each."""
    disk = Path(disk)
    folder = Path(folder) if folder else disk.parent
    seen, now = [], Boot()
    deadline = seconds or 30 + 15 * boots
    with vm.Machine(folder, disk, variables, deadline=deadline, memory=256, secure_boot=secure_boot,
                    bootindex=bootindex, log=log, prefix="probe") as m:
        at, heard = 0, time.monotonic()
        while len(seen) < boots:
            with m.changed:
                if at == len(m.lines) and not m.ended:
                    m.changed.wait(0.5)
                lines, ended = m.lines[at:], m.ended
            if lines:
                heard = time.monotonic()
            at += len(lines)
            for line in lines:
                word = line.split(" ")
                if line.startswith("probe: cmdline "):
                    now.cmdline = line[len("probe: cmdline "):].strip()
                elif line.startswith("probe: var ") and len(word) == 4:
                    now.variables[word[2]] = bytes.fromhex(word[3])
                elif line.strip() in ("probe: reset", "probe: hang"):
                    now.end = line.split()[1]
                elif GAVE_UP.search(line) and now.cmdline is None:
                    now.end = "shell"
                elif line.strip():
                    now.firmware.append(line.strip())
                if now.end != "silent":
                    seen.append(now)
                    if now.end != "reset":
                        return seen
                    now = Boot()
                    if len(seen) == boots:
                        break
            if not lines and (ended or m.left() == 0 or time.monotonic() - heard > quiet_seconds):
                seen.append(now)
                return seen
    return seen


def boot_copy(image, *, store=None, variables=None, boots=1, secure_boot=False, seconds=None, fake=True):
    """The same for an image that must not change: a whole disk, or a bare FAT that is wrapped into one. `variables` is
    {name: bytes} over an empty store, `store` a variable store to copy. `fake` puts fake kernels into its UKIs (not
    under Secure Boot, whose signatures would not survive)."""
    folder = vm.work_folder("gybe-probe.")
    try:
        disk, own = folder / "disk", folder / "vars.fd"
        with open(image, "rb") as f:
            f.seek(512)
            whole = f.read(8) == b"EFI PART"
        if whole:
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, disk], check=True)
        else:
            offset = wrap_esp(disk, (os.path.getsize(image) + MIB - 1) // MIB * MIB)
            subprocess.run(["dd", f"if={image}", f"of={disk}", "bs=1M", f"seek={offset // MIB}", "conv=notrunc,sparse",
                            "status=none"], check=True)
        if store:
            shutil.copyfile(store, own)
        else:
            vm.new_variables(own)
        if variables:
            vm.set_variables(own, variables)
        if fake and not secure_boot:
            put_fake_kernels(disk)
        return boot(disk, own, boots=boots, secure_boot=secure_boot, seconds=seconds)
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description="what would this ESP boot?")
    verbs = parser.add_subparsers(dest="verb", required=True)
    p = verbs.add_parser("boot")
    p.add_argument("disk")
    p.add_argument("--vars", help="EFI variables in virt-fw-vars' JSON form")
    p.add_argument("--store", help="an EFI variable store to start from")
    p.add_argument("--boots", type=int, default=1)
    p.add_argument("--secure-boot", action="store_true")
    p.add_argument("--json", action="store_true")
    for name in ("uki", "addon"):
        p = verbs.add_parser(name)
        p.add_argument("out")
        p.add_argument("--cmdline", required=True)
        if name == "uki":
            p.add_argument("--version", default="1")
    args = parser.parse_args()

    if args.verb == "uki":
        shutil.copyfile(uki(args.cmdline, args.version), args.out)
        return 0
    if args.verb == "addon":
        shutil.copyfile(addon(args.cmdline), args.out)
        return 0
    variables = None
    if args.vars:
        variables = {v["name"]: bytes.fromhex(v["data"]) for v in json.loads(Path(args.vars).read_text())["variables"]}
    found = boot_copy(args.disk, store=args.store, variables=variables, boots=args.boots, secure_boot=args.secure_boot)
    if args.json:
        print(json.dumps([{"cmdline": b.cmdline, "end": b.end, "selected": b.text("LoaderEntrySelected"),
                           "firmware": b.firmware} for b in found], indent=2))
    else:
        for b in found:
            print(f"{b.end}: {b.cmdline if b.cmdline is not None else '(no kernel)'}")
    return 0 if found and found[-1].end in ("reset", "hang") else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MachineError as e:
        sys.exit(f"probe.py: {e}")
