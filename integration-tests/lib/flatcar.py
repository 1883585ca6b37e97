# SPDX-License-Identifier: MIT
"""A Flatcar host made of files: its partitions, its ESP with one kernel for each slot, and what its GRUB does between two
boots. The judge of every attribute is cgpt; nothing here is done by gybe."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path

from sandbox import GLOBAL, MIB, USR_TYPE, Host, pe, release_tool, run

CMDLINE = ("rootflags=rw mount.usrflags=ro consoleblank=0 root=LABEL=ROOT console=ttyS0,115200n8 panic=10 rd.shell=0 "
           "rd.emergency=reboot")
# number: (label, type, PARTUUID), as Flatcar numbers them
LAYOUT = {
    1: ("EFI-SYSTEM", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", None),
    2: ("BIOS-BOOT", "21686148-6449-6e6f-744e-656564454649", None),
    3: ("USR-A", USR_TYPE, "7130c94a-213a-4e5a-8e26-6cce9662f132"),
    4: ("USR-B", USR_TYPE, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"),
    6: ("OEM", "0fc63daf-8483-4772-8e79-3d69d8477de4", None),
    9: ("ROOT", "3884dd41-8582-4404-b9a8-e9b84f2df50e", None),
}
NUMBER = {"a": 3, "b": 4}


def kernel(img, out, roothash=None):
    """What Flatcar's build makes: a kernel with the root hash of /usr where GRUB looks for it."""
    pe(out, linux=f"kernel of {img.version} " * 2000)
    data = bytearray(Path(out).read_bytes())
    data[64:128] = (roothash or img.roothash).encode()
    Path(out).write_bytes(data)


def build(img, out, *more, roothash=None):
    esp = img.dir / "flatcar-esp"
    shutil.rmtree(esp, ignore_errors=True)
    (esp / "flatcar/grub").mkdir(parents=True)
    kernel(img, esp / "flatcar/vmlinuz-a", roothash)
    (esp / "flatcar/grub/grub.cfg.tar").write_bytes(b"grub\n")
    release_tool("build", "--usr", img.usr, "--salt", img.salt, "--uuid", img.uuid, "--os-release", img.os_release, "--esp", esp,
                 "--fs-type", "btrfs", "--fs-uuid", "11111111-2222-3333-4444-555555555555", *more, "-o", out)
    return Path(out)


class Flatcar(Host):
    def __init__(self, directory, usr_size=17 * MIB):
        super().__init__(directory)
        self.sizes = {"EFI-SYSTEM": 40 * MIB, "BIOS-BOOT": MIB, "USR-A": usr_size, "USR-B": usr_size, "OEM": MIB, "ROOT": 2 * MIB}

    def make_disk(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        at, argv = MIB, ["sgdisk", "-a", "1", "--clear"]
        for n, (label, kind, partuuid) in LAYOUT.items():
            size = self.sizes[label]
            argv += [f"--new={n}:{at // 512}:{(at + size) // 512 - 1}", f"--change-name={n}:{label}", f"--typecode={n}:{kind}"]
            if partuuid:
                argv.append(f"--partition-guid={n}:{partuuid}")
            self.parts[label] = (at, size)
            at += size
        self.disk.unlink(missing_ok=True)
        with open(self.disk, "wb") as f:
            f.truncate(at + MIB)
        run(*argv, self.disk)
        run("cgpt", "add", "-i", 3, "-S", 1, "-P", 1, "-T", 0, self.disk)       # the layout's "prioritize"

    def install(self, img, trust_root=None, config=None, policy=None):
        shutil.rmtree(self.root, ignore_errors=True)
        self.make_disk()
        self.put("USR-A", img.usr.read_bytes() + img.hash.read_bytes())
        (self.path("/boot/flatcar/grub")).mkdir(parents=True)
        kernel(img, self.path("/boot/flatcar/vmlinuz-a"))
        self.release = {img.roothash: img}
        for d in ("/proc/self", "/run", "/var/lib", "/etc/gybe", "/usr/lib/gybe", "/sys/firmware/efi/efivars", "/proc/sys/kernel"):
            self.path(d).mkdir(parents=True, exist_ok=True)
        if trust_root:
            shutil.copyfile(trust_root, self.path("/usr/lib/gybe/root.json"))
        self.configure({"product": "flatcar", "disk": {"layout": "flatcar"}, **(config or {})})
        self.write("/etc/gybe/policy.d/10-test.json", json.dumps(policy or {"attempts": 2}))
        self.write("/proc/sys/kernel/panic", "10\n")
        self.set_var_raw("SecureBoot", b"\0", guid=GLOBAL, attrs=6)
        self.boot()

    def knows(self, *images):
        """What os-release will say when one of these runs."""
        self.release.update({i.roothash: i for i in images})

    # what cgpt says: (priority, tries, successful)
    def prio(self, slot):
        return tuple(int(run("cgpt", "show", "-i", NUMBER[slot], flag, self.disk).stdout.split()[-1]) for flag in ("-P", "-T", "-S"))

    def table(self):
        return {s: self.prio(s) for s in "ab"}

    def grub_next(self):
        """gptprio.next: the slot that boots, a try counted down."""
        table = self.table()
        able = [s for s in "ab" if table[s][0] and (table[s][1] or table[s][2])]
        assert able, f"GRUB finds nothing to boot: {table}"
        slot = max(able, key=lambda s: (table[s][0], s == "a"))
        if table[slot][1]:
            run("cgpt", "repair", self.disk)
            run("cgpt", "add", "-i", NUMBER[slot], "-T", table[slot][1] - 1, self.disk)
        return slot

    def default_slot(self):
        """What boots when every try is spent."""
        table = self.table()
        good = [s for s in "ab" if table[s][0] and table[s][2]]
        return max(good, key=lambda s: (table[s][0], s == "a")) if good else None

    def boot(self, fail=False):
        """One power-on; fail: what GRUB starts does not come up, and the machine resets."""
        slot = self.grub_next()
        if fail:
            slot = self.grub_next()
        data = self.path(f"/boot/flatcar/vmlinuz-{slot}").read_bytes()
        roothash = data[64:128].decode()
        assert self.verity_ok(slot.upper(), roothash), f"slot {slot} does not hold what its kernel names"
        self.write("/proc/cmdline", f"BOOT_IMAGE=/flatcar/vmlinuz-{slot} mount.usr=/dev/mapper/usr verity.usr=PARTUUID="
                   f"{LAYOUT[NUMBER[slot]][2]} {CMDLINE} verity.usrhash={roothash}\n")
        self.write("/etc/os-release", self.release[roothash].os_release.read_text())
        self.boots += 1
        self.write("/proc/sys/kernel/random/boot_id", str(uuid.UUID(int=0x40008000000000000000 + self.boots)) + "\n")
        self.write("/proc/self/mountinfo", "22 1 8:9 / / rw,relatime shared:1 - ext4 /dev/disk/by-partlabel/ROOT rw\n"
                   "30 22 254:0 / /usr ro,relatime shared:2 - btrfs /dev/mapper/usr ro\n")
        shutil.rmtree(self.path("/run"), ignore_errors=True)
        self.path("/run").mkdir()
        return slot

    def verity_ok(self, slot, roothash, directory=None):
        img = self.release.get(roothash)
        if not img:
            return False
        f = Path(directory or self.dir) / "check-usr"
        f.write_bytes(self.get(f"USR-{slot}"))
        return subprocess.run(["veritysetup", "verify", f, f, roothash, f"--hash-offset={img.usr.stat().st_size}"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
