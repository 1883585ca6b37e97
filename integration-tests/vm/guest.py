# SPDX-License-Identifier: MIT
"""The guest tier: a small Debian that is laid out, booted and updated like Azure Container Linux.

Two things are made here, both from the trees and from what destdir() holds (gybe as a package would install it):

    Release     what a release engineer feeds to `gybe-release build`: the /usr image with its verity tree and root
                hash, the UKI, the slot addons, a file tree of the ESP
    disk()      a whole machine disk in the nine-partition layout, with one release installed in slot A

and one function to run it: guest() is a Machine with the command channel inside. The channel needs nothing in the
image: a credential from SMBIOS carries the script and its unit, so it is there in every slot and after every reboot.

A release can be made to misbehave. `trouble` is put on its command line and acted on in its initrd:

    panic       the kernel panics before /usr is mounted
    freeze      pid 1 crashes and freezes; only a hardware watchdog ends that
    wait        the initrd waits for a root file system that does not exist
"""

import functools
import hashlib
import os
import shutil
import struct
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import machine as vm
import probe
from machine import CACHE, in_tree

MIB = 1 << 20
SECTOR = 512

# The numbers of the ACL layout. USR, HASH and HASH-SIG ids are constants of the product; the other three are random per
# image there and fixed here, so that tests can name them.
TYPE_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
TYPE_USR = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"
TYPE_HASH = "77ff5f63-e7b6-4633-acf4-1565b864c0e6"
TYPE_SIG = "e7bb33fb-06cf-4e81-8273-e543b413e2e2"
TYPE_DATA = "0fc63daf-8483-4772-8e79-3d69d8477de4"
TYPE_ROOT = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
USR_A, USR_B = "7130c94a-213a-4e5a-8e26-6cce9662f132", "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"
HASH_A, HASH_B = "b736baf1-cdb4-4535-beba-ddaaa30ad7b7", "35bdf78b-c453-4661-98e6-f834f534ef5b"
SIG_A, SIG_B = "3514648f-e3da-44ae-89ba-8d0552418f88", "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4"
ESP_ID, OEM_ID, ROOT_ID = ("0e5b0001-6779-4265-8000-000000000001", "0e5b0008-6779-4265-8000-000000000008",
                           "0e5b0009-6779-4265-8000-000000000009")

USR_SIZE, HASH_SIZE, SIG_SIZE, ESP_SIZE, OEM_SIZE, ROOT_SIZE = (
    256 * MIB, 9 * MIB, 1 * MIB, 128 * MIB, 16 * MIB, 768 * MIB)

# As on ACL, plus what makes a dead boot come back: panic, the initrd's emergency, a device that never comes, a watchdog.
CMDLINE = ("mount.usr=/dev/mapper/usr mount.usrflags=ro root=LABEL=ROOT rootflags=rw console=ttyS0 consoleblank=0 "
           "net.ifnames=0 loglevel=5 systemd.show_status=0 panic=5 rd.shell=0 rd.emergency=reboot "
           f"systemd.default_device_timeout_sec={40 * vm.PATIENCE:.0f} systemd.watchdog_sec=30")

# Loaded by name in the initrd: no coldplug of all devices, which costs seconds under TCG. efi_pstore: a panic in there leaves a
# crash dump in NVRAM, which the old slot reads.
INITRD_DRIVERS = "virtio_pci virtio_blk virtio_console virtio_rng dm_verity erofs ext4 i6300esb efi_pstore"
INITRD_MODULES = "systemd systemd-initrd systemd-udevd systemd-modules-load systemd-veritysetup dm udev-rules"

# Nothing in a test asks for these, and each costs a second or two.
MASKED = """
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
getty.target console-getty.service serial-getty@ttyS0.service systemd-ask-password-console.path
systemd-ask-password-wall.path systemd-battery-check.service systemd-binfmt.service systemd-bootctl@.service
systemd-confext.service systemd-creds.socket systemd-firstboot.service systemd-hibernate-clear.service
systemd-hwdb-update.service systemd-journal-catalog-update.service systemd-machine-id-commit.service
systemd-mountfsd.socket systemd-network-generator.service systemd-nsresourced.socket systemd-pcrextend.socket
systemd-pcrlock-make-policy.service systemd-pcrmachine.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
systemd-quotacheck-root.service systemd-random-seed.service systemd-rfkill.socket systemd-sysext.service
systemd-sysext.socket systemd-timesyncd.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service
systemd-tpm2-clear.service systemd-update-done.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
systemd-userdbd.socket systemd-vconsole-setup.service dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount
sys-kernel-debug.mount sys-kernel-tracing.mount kmod-static-nodes.service ldconfig.service systemd-growfs-root.service
modprobe@configfs.service modprobe@drm.service modprobe@fuse.service systemd-udev-load-credentials.service
systemd-boot-random-seed.service systemd-bootctl.socket systemd-hostnamed.socket systemd-tmpfiles-clean.timer
proc-sys-fs-binfmt_misc.automount
""".split()
MASKED_GENERATORS = """
systemd-cryptsetup-generator systemd-getty-generator systemd-gpt-auto-generator systemd-hibernate-resume-generator
systemd-import-generator systemd-integritysetup-generator systemd-rc-local-generator systemd-run-generator
systemd-ssh-generator systemd-system-update-generator systemd-sysv-generator systemd-tpm2-generator
""".split()
NETWORK_UNIT = """
[Unit]
Description=Static address in QEMU's user network
DefaultDependencies=no
After=systemd-modules-load.service sys-subsystem-net-devices-eth0.device
Wants=sys-subsystem-net-devices-eth0.device network.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ip link set eth0 up
ExecStart=/usr/bin/ip address replace 10.0.2.15/24 dev eth0
ExecStart=/usr/bin/ip route replace default via 10.0.2.2
"""
COLDPLUG = "[Service]\nExecStart=\nExecStart=-udevadm trigger --action=add --subsystem-match=block"

# What no test asks for, and which would only be hashed and copied, slowly: package management, hardware tables, character
# sets, and every module but these and what they need.
PRUNED = """
usr/lib/udev/hwdb.bin usr/lib/udev/hwdb.d usr/lib/x86_64-linux-gnu/gconv usr/lib/x86_64-linux-gnu/perl-base
usr/lib/x86_64-linux-gnu/libapt-*.so.* usr/lib/x86_64-linux-gnu/libdb-5.3.so usr/lib/x86_64-linux-gnu/libsqlite3.so.*
usr/lib/x86_64-linux-gnu/usr/lib/apt usr/lib/dpkg usr/lib/locale usr/lib/gnupg* usr/lib/systemd/systemd-networkd
usr/bin/perl* usr/bin/sqv usr/bin/gpg* usr/bin/dirmngr* usr/bin/apt* usr/bin/dpkg* usr/bin/localedef usr/sbin/e2fsck
usr/share/zoneinfo usr/share/doc usr/share/info usr/share/perl* usr/share/zsh usr/share/keyrings usr/share/gnupg
usr/share/xml usr/share/terminfo/[a-km-z]* usr/share/locale usr/share/mime usr/share/lintian usr/share/bash-completion
""".split()
KEPT_MODULES = """virtio_pci virtio_blk virtio_console virtio_rng virtio_net dm_verity erofs ext4 vfat nls_ascii nls_cp437 efivarfs
i6300esb autofs4 efi_pstore ip_tables overlay loop fuse configfs""".split()

AGENT = r"""
# The guest's end of the command channel: one request a line (number, base64), one answer a line.
port=/dev/virtio-ports/gybe.channel
for ((i = 0; i < 200; i++)); do [[ -c $port ]] && break; sleep 0.1; done
exec 3<>"$port"
printf 'hello %s\n' "$(</proc/sys/kernel/random/boot_id)" >&3
while read -r -u 3 number text; do
        bash -c "$(base64 -d <<<"$text")" </dev/null >/run/gybe-lab.out 2>&1 3>&-
        printf '%s %s %s\n' "$number" $? "$(base64 -w0 </run/gybe-lab.out)" >&3
done
"""

AGENT_UNIT = """
[Unit]
Description=Command channel of the test lab
ConditionPathExists=!/etc/initrd-release
After=local-fs.target dbus.socket
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ImportCredential=gybe.agent
ExecStart=/usr/bin/bash %d/gybe.agent
Restart=always
"""

SAME = object()     # "as the rest"


@dataclass
class Release:
    """One version in all its parts."""
    version: str
    folder: Path
    usr: Path           # file system image
    hash: Path          # its verity tree
    roothash: str
    salt: str
    uuid: str
    uki: Path
    uki_name: str       # vmlinuz-<kernel>.efi
    addons: dict        # slot letter -> slot addon

    @property
    def data_size(self):
        return self.usr.stat().st_size

    def esp_tree(self):
        """{path: file} of the ESP an image build would ship: live UKI with slot A's addon, templates, loader."""
        return {
            "EFI/BOOT/BOOTX64.EFI": self.loader(),
            f"EFI/Linux/{self.uki_name}": self.uki,
            f"EFI/Linux/{self.uki_name}.extra.d/slot-a.addon.efi": self.addons["a"],
            "acl/uki-addons/slot-a.addon.efi": self.addons["a"],
            "acl/uki-addons/slot-b.addon.efi": self.addons["b"],
            "loader/entries.srel": self.text("entries.srel", "type1\n"),
            "loader/loader.conf": self.text("loader.conf", f"timeout 0\ndefault {self.uki_name}\n"),
        }

    sign = None

    def loader(self):
        return probe.loader(self.sign)

    def text(self, name, content):
        path = self.folder / name
        path.write_text(content)
        return path


# Parts ---------------------------------------------------------------------------------------------------------------

def kernel_version():
    return next((CACHE / "toolchain/usr/lib/modules").iterdir()).name


def kernel_image():
    return CACHE / "toolchain/boot" / f"vmlinuz-{kernel_version()}"


INITRD_FILES = {
    "etc/modules-load.d/lab.conf": INITRD_DRIVERS.replace(" ", "\n") + "\n",
    "etc/systemd/system/systemd-udev-trigger.service.d/lab.conf":
        COLDPLUG + "\n",
    # What dracut's emergency handling does on ACL, without its shell scripts.
    "etc/systemd/system/emergency.service":
        "[Unit]\nDefaultDependencies=no\nConditionKernelCommandLine=rd.emergency=reboot\n"
        "[Service]\nType=oneshot\nExecStart=/usr/bin/systemctl --force --force reboot\n",
    "etc/systemd/system/lab-panic.service":
        "[Unit]\nDefaultDependencies=no\nAfter=systemd-modules-load.service\n"    # efi_pstore, which keeps the dump
        "ConditionKernelCommandLine=gybe.lab=panic\n"
        "[Service]\nType=oneshot\nExecStart=/usr/bin/sh -c 'echo c >/proc/sysrq-trigger'\n",
    "etc/systemd/system/lab-freeze.service":
        "[Unit]\nDefaultDependencies=no\nAfter=systemd-modules-load.service\n"
        "ConditionKernelCommandLine=gybe.lab=freeze\n"
        "[Service]\nType=oneshot\nExecStart=/usr/bin/sh -c 'sleep 2; kill -SEGV 1'\n",
}


def initrd():
    """A lean dracut initrd, made once."""
    vm.build_trees("toolchain")

    def make(out):
        extra = out.with_suffix(".files")
        for name, content in INITRD_FILES.items():
            path = extra / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        wants = extra / "etc/systemd/system/initrd.target.wants"
        wants.mkdir()
        for unit in ("lab-panic.service", "lab-freeze.service"):
            (wants / unit).symlink_to(f"../{unit}")
        in_tree("toolchain", ["dracut", "--quiet", "--kver", kernel_version(), "--no-hostonly", "--no-hostonly-cmdline",
                              "--no-early-microcode", "--reproducible", "--nostrip", "--zstd", "-m", INITRD_MODULES,
                              "--drivers", INITRD_DRIVERS, "--install", "sh sleep kill systemctl", "--include", extra, "/",
                              out], binds=[out.parent])
        shutil.rmtree(extra)
        out.chmod(0o644)

    return probe._cached("initrd", [repr(INITRD_FILES), INITRD_MODULES, INITRD_DRIVERS], make)


def _put(root, changes):
    """Lays {path: text, bytes, None (remove) or Path (file or folder to copy)} over a tree of hard links."""
    for name, content in changes.items():
        path = root / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif content is None and path.is_dir():
            shutil.rmtree(path)
        if content is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            subprocess.run(["cp", "-a", "--remove-destination", "-T", content, path], check=True)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            if isinstance(content, str) and content.startswith("#!"):
                path.chmod(0o755)


@functools.cache
def destdir():
    """gybe installed as a package would: what GYBE_DESTDIR holds, else built into GYBE_BUILD (or ./build) and installed
    there. A build of its own, because a package has the prefix /usr and the tests' build need not."""
    if os.environ.get("GYBE_DESTDIR"):
        return Path(os.environ["GYBE_DESTDIR"])
    source = Path(__file__).resolve().parents[2]
    build = Path(os.environ.get("GYBE_BUILD", source / "build")) / "guest-package"
    out = build / "destdir"
    shutil.rmtree(out, ignore_errors=True)
    for command in (["cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_INSTALL_PREFIX=/usr", "-DBUILD_TESTING=OFF"],
                    ["cmake", "--build", build], ["cmake", "--install", build]):
        r = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DESTDIR": str(out)})
        if r.returncode != 0:
            raise vm.MachineError(f"{' '.join(map(str, command))}: exit {r.returncode}\n{r.stdout[-4000:]}{r.stderr[-4000:]}")
    return out


def _prune(stage):
    """Takes PRUNED and the unwanted modules out of a tree of hard links."""
    for pattern in PRUNED:
        for path in stage.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    modules = stage / "usr/lib/modules" / kernel_version()
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    name_of = {file: file.rsplit("/", 1)[-1].split(".")[0].replace("-", "_") for file in needs}
    kept = {w for file in needs if name_of[file] in KEPT_MODULES for w in (file, *needs[file])}
    for file in set(needs) - kept:
        (modules / file).unlink(missing_ok=True)


def _stage(folder, with_gybe):
    """The guest's whole file tree, hard-linked from the guest tree: usr/ and the rest."""
    vm.build_trees("toolchain", "guest")
    stage = folder / "stage"
    subprocess.run(["cp", "-al", CACHE / "guest", stage], check=True)
    modules = stage / "usr/lib/modules" / kernel_version()
    modules.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-al", CACHE / "toolchain/usr/lib/modules" / kernel_version(), modules], check=True)
    for name in ("build", "source"):
        (modules / name).unlink(missing_ok=True)
    _prune(stage)
    if with_gybe:
        # tar, because /lib is a link in the tree and may be a folder in the package
        packed = subprocess.run(["tar", "-C", destdir(), "-c", "."], check=True, capture_output=True)
        subprocess.run(["tar", "-C", stage, "-x", "--keep-directory-symlink", "--no-overwrite-dir", "--no-same-owner"],
                       input=packed.stdout, check=True)
    return stage


def os_release(version):
    return (f'ID=azurelinux\nID_LIKE=flatcar\nVARIANT_ID=azurecontainerlinux\nNAME="Azure Container Linux (lab)"\n'
            f'VERSION="{version}"\nVERSION_ID={version}\nIMAGE_VERSION={version}\n'
            f'PRETTY_NAME="Azure Container Linux (lab) {version}"\n')


def _verity(usr, version, hash_path):
    """The verity tree beside an image: (root hash, salt, uuid), the same for the same content and version."""
    salt = hashlib.sha256(f"salt {version}".encode()).hexdigest()
    ident = str(uuid.uuid5(uuid.NAMESPACE_URL, f"gybe-lab/{version}"))
    text = in_tree("toolchain", ["veritysetup", "format", f"--salt={salt}", f"--uuid={ident}", "--hash=sha256",
                                 "--data-block-size=4096", "--hash-block-size=4096", usr, hash_path],
                   binds=[usr.parent], capture=True).decode()
    for line in text.splitlines():
        if line.startswith("Root hash:"):
            return line.split()[-1], salt, ident
    raise vm.MachineError(f"veritysetup said no root hash:\n{text}")


def _usr_image(stage, out, fs, ident):
    if fs == "erofs":
        in_tree("toolchain", ["mkfs.erofs", "--quiet", "-U", ident, "-T", "1700000000", out, stage / "usr"],
                binds=[out.parent])
    elif fs == "ext4":
        need = int(subprocess.run(["du", "-s", "--apparent-size", "-BM", stage / "usr"], check=True,
                                  capture_output=True, text=True).stdout.split("M")[0])
        size = (need * 5 // 4 + 24) // 4 * 4
        in_tree("toolchain", ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-m", "0", "-U", ident,
                              "-E", f"hash_seed={ident}", "-d", stage / "usr", out, f"{size}M"], binds=[out.parent])
    else:
        raise ValueError(fs)
    size = out.stat().st_size
    with open(out, "ab") as f:
        f.truncate((size + 4095) // 4096 * 4096)


def guest_image(folder, version, *, usr_changes=None, with_gybe=True, cmdline_extra="", trouble=None, fs="erofs",
                sign=None, sign_addons=SAME, wrong_hash=False):
    """Makes a Release in folder/version. usr_changes: {"usr/...": content}, see _put(). sign: a folder of probe.keys(), for
    everything; sign_addons: another one, or None, for the slot addons.
    wrong_hash: the slot addons name a root hash that is not the image's (dm-verity panics)."""
    folder = Path(folder) / version
    folder.mkdir(parents=True)
    stage = _stage(folder, with_gybe)
    ident = str(uuid.uuid5(uuid.NAMESPACE_URL, f"gybe-lab/usr/{version}"))
    _put(stage, {"usr/lib/os-release": os_release(version), "usr/share/gybe-lab/version": version + "\n",
                 **(usr_changes or {})})
    usr, tree = folder / "usr.img", folder / "usr.hash"
    _usr_image(stage, usr, fs, ident)
    roothash, salt, verity_uuid = _verity(usr, version, tree)
    shutil.rmtree(stage)

    named = hashlib.sha256(roothash.encode()).hexdigest() if wrong_hash else roothash
    addons, addon_keys = {}, sign if sign_addons is SAME else sign_addons
    for slot, data, hashes, sig in (("a", USR_A, HASH_A, SIG_A), ("b", USR_B, HASH_B, SIG_B)):
        plain = probe.addon(f"systemd.verity_usr_data=PARTUUID={data} systemd.verity_usr_hash=PARTUUID={hashes} "
                            f"systemd.verity_usr_options=panic-on-corruption usrhash={named} acl.slot={slot}", addon_keys)
        addons[slot] = folder / f"slot-{slot}.addon.efi"
        shutil.copyfile(plain, addons[slot])

    cmdline = " ".join(w for w in (CMDLINE, cmdline_extra) if w)
    if trouble == "wait":
        cmdline += " root=LABEL=NOWHERE"
    elif trouble:
        cmdline += f" gybe.lab={trouble}"
    release_file, ird = folder / "os-release", initrd()
    release_file.write_text(os_release(version))
    # ACL's form of the name; Debian's own has a '+' in it, which could be taken for a boot counter
    uki_name = f"vmlinuz-{kernel_version().split('+')[0]}-1.azl3.efi"
    plain = folder / "uki"
    in_tree("toolchain", ["ukify", "build", "--linux", f"/boot/vmlinuz-{kernel_version()}", "--initrd", ird,
                          "--cmdline", cmdline, "--os-release", f"@{release_file}", "--uname", kernel_version(),
                          "--output", plain], binds=[folder, ird.parent])
    uki = folder / uki_name
    if sign:
        in_tree("toolchain", ["sbsign", "--key", sign / "db.key", "--cert", sign / "db.crt", "--output", uki, plain],
                binds=[folder, sign])
        plain.unlink()
    else:
        plain.rename(uki)
    release = Release(version, folder, usr, tree, roothash, salt, verity_uuid, uki, uki_name, addons)
    release.sign = sign
    return release


# The disk ------------------------------------------------------------------------------------------------------------

def layout(usr=USR_SIZE, hash_=HASH_SIZE, esp=ESP_SIZE, root=ROOT_SIZE):
    """[(number, label, type, PARTUUID, start byte, size)] of the nine partitions, each aligned to 1 MiB."""
    table, at = [], MIB
    for number, (label, kind, ident, size) in enumerate((
            ("EFI-SYSTEM", TYPE_ESP, ESP_ID, esp),
            ("USR-A", TYPE_USR, USR_A, usr), ("HASH-A", TYPE_HASH, HASH_A, hash_), ("HASH-SIG-A", TYPE_SIG, SIG_A, SIG_SIZE),
            ("USR-B", TYPE_USR, USR_B, usr), ("HASH-B", TYPE_HASH, HASH_B, hash_), ("HASH-SIG-B", TYPE_SIG, SIG_B, SIG_SIZE),
            ("OEM", TYPE_DATA, OEM_ID, OEM_SIZE), ("ROOT", TYPE_ROOT, ROOT_ID, root)), 1):
        table.append((number, label, kind, ident, at, size))
        at += (size + MIB - 1) // MIB * MIB
    return table


def _copy_into(disk, image, offset):
    subprocess.run(["dd", f"if={image}", f"of={disk}", "bs=1M", "oflag=seek_bytes", f"seek={offset}",
                    "conv=notrunc,sparse", "status=none"], check=True)


def _root_stage(folder, root_changes):
    """Everything but /usr, with the shared /etc that an installed machine has."""
    stage = _stage(folder, with_gybe=True)
    system = stage / "etc/systemd/system"
    system.mkdir(parents=True, exist_ok=True)
    for unit in MASKED:
        path = system / unit
        if path.is_symlink() or path.exists():
            path.unlink()
        path.symlink_to("/dev/null")
    generators = stage / "etc/systemd/system-generators"
    generators.mkdir(parents=True)
    for name in MASKED_GENERATORS:
        (generators / name).symlink_to("/dev/null")
    in_tree("toolchain", ["systemd-sysusers", f"--root={stage}"], binds=[folder])
    for unit in sorted((stage / "usr/lib/systemd/system").glob("gybe*")):
        if "[Install]" in unit.read_text():
            in_tree("toolchain", ["systemctl", f"--root={stage}", "preset", unit.name], binds=[folder])
    _put(stage, {
        "etc/os-release": None,
        "etc/hostname": "lab\n",
        "etc/machine-id": "6779626500000000000000000000001a\n",
        # The command line's limit is for the initrd; a host that shares its cores may need longer to find its own disk.
        "etc/fstab": f"PARTUUID={ESP_ID} /boot vfat umask=0077,x-systemd.device-timeout=180s 0 0\n",
        "etc/systemd/system/systemd-udev-trigger.service.d/lab.conf":
            COLDPLUG + " --subsystem-match=net --subsystem-match=virtio-ports\n",
        "etc/systemd/system/lab-network.service": NETWORK_UNIT,
        "etc/modules-load.d/lab.conf": "virtio_net\nvirtio_console\nvfat\nnls_ascii\nefivarfs\n",
        "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=persistent\nRuntimeMaxUse=8M\nSystemMaxUse=32M\n",
        "etc/systemd/system.conf.d/lab.conf":
            f"[Manager]\nRuntimeWatchdogSec=30\nDefaultTimeoutStopSec=15\nDefaultTimeoutStartSec={90 * vm.PATIENCE:.0f}\n",
        **(root_changes or {}),
    })
    (stage / "etc/os-release").symlink_to("../usr/lib/os-release")
    wants = system / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "lab-network.service").symlink_to("../lab-network.service")
    shutil.rmtree(stage / "usr")
    for name in ("usr", "boot", "efi", "oem", "proc", "sys", "dev", "run", "tmp"):
        path = stage / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.mkdir(mode=0o1777 if name == "tmp" else 0o755)
    shutil.rmtree(stage / "var/lib/dpkg", ignore_errors=True)
    shutil.rmtree(stage / "var/cache", ignore_errors=True)
    return stage


def disk(path, release, *, root_changes=None, sizes=None):
    """A machine's disk with `release` in slot A. root_changes: as usr_changes, for /etc and /var."""
    path = Path(path)
    table = layout(**(sizes or {}))
    at = {label: (start, size) for _, label, _, _, start, size in table}
    if release.data_size > at["USR-A"][1]:
        raise vm.MachineError(f"/usr is {release.data_size >> 20} MiB, the slot {at['USR-A'][1] >> 20}")
    with open(path, "wb") as f:
        f.truncate(table[-1][4] + table[-1][5] + MIB)
    script = "label: gpt\nlabel-id: 00000000-0000-0000-0000-000000000001\n" + "".join(
        f"start={start // SECTOR}, size={size // SECTOR}, type={kind}, uuid={ident}, name={label}\n"
        for _, label, kind, ident, start, size in table)
    in_tree("toolchain", ["sfdisk", "--quiet", path], binds=[path.parent], stdin=script.encode())
    _copy_into(path, release.usr, at["USR-A"][0])
    _copy_into(path, release.hash, at["HASH-A"][0])

    work = path.with_name(path.name + ".work")
    work.mkdir()
    stage = _root_stage(work, root_changes)
    root = work / "root.img"
    in_tree("toolchain", ["mke2fs", "-q", "-t", "ext4", "-L", "ROOT", "-m", "0", "-d", stage, root,
                          f"{at['ROOT'][1] // MIB}M"], binds=[work])
    _copy_into(path, root, at["ROOT"][0])
    shutil.rmtree(work)

    tree, sources = str(CACHE / "toolchain"), {}
    for name, source in release.esp_tree().items():
        sources[name] = str(source)[len(tree):] if str(source).startswith(tree) else source
    start, size = at["EFI-SYSTEM"]
    binds = {path.parent, release.folder, CACHE / "probe"}
    # FAT32 needs 65525 clusters: small ones on a small ESP
    cluster = 8 if size >= 300 * MIB else 1
    in_tree("toolchain", ["sh", "-ec", f"mkfs.vfat -F 32 -s {cluster} -n EFI-SYSTEM --offset {start // SECTOR} '{path}' "
                                       f"{size // 1024} >/dev/null\n"
                                       + probe.copy_files_script(path, start, sources)], binds=binds)
    return path


# The machine ---------------------------------------------------------------------------------------------------------

def guest(folder, disk_path, variables, *, deadline=900, **more):
    """A Machine that boots `disk_path` and answers on the command channel."""
    credentials = [
        ("gybe.agent", AGENT),
        ("systemd.extra-unit.gybe-channel.service", AGENT_UNIT),
        ("systemd.unit-dropin.sysinit.target~gybe-channel", "[Unit]\nWants=gybe-channel.service\n"),
    ]
    return vm.Machine(folder, disk_path, variables, deadline=deadline, channel=True, credentials=credentials,
                      watchdog=True, network=True, prefix="guest", **more)
