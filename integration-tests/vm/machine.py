# SPDX-License-Identifier: MIT
"""One virtual machine, its firmware variables, and nothing else.

A Machine is one QEMU process (TCG, q35, OVMF in two flash files) with a deadline: whatever happens, it is dead when
the deadline passes, the `with` block ends or this program dies, and it dies by its pid. Only one runs at a time on a
host: start() waits for its turn on a lock in the cache, which QEMU itself holds from then on.

What it offers a test:

    console     every line of the serial port, kept, streamed with a prefix when VM_VERBOSE is set, and waited for
    channel     commands run as root in the guest over a virtio-serial port, across guest reboots (guest.py puts the
                other end into the guest)
    cut         power off between two instructions (SIGKILL); reset: the button; both from outside
    log         every write of the disk recorded by blklogwrites, for the power-cut test
    variables   the EFI variable store is a file: read_variables() and set_variables() work on it while the machine
                is off, with virt-fw-vars

It knows nothing of disks' contents, loaders or gybe. As a program it boots a disk and shows the console:

    machine.py --disk DISK [--vars VARS] [--seconds N] [--secure-boot] [--log FILE] [--one-boot]
"""

import argparse
import base64
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
TREES = HERE / "trees"
CACHE = Path(os.environ.get("GYBE_CACHE", "/var/cache/gybe-lab"))

LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
GLOBAL_GUID = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
GLOBAL_NAMES = re.compile(r"^(Boot(Next|Order|Current|[0-9A-F]{4})|Timeout|SecureBoot|SetupMode)$")

# All waiting is this many times longer, inside and outside, for a machine that gets a small share of a busy host's cores.
PATIENCE = float(os.environ.get("GYBE_VM_PATIENCE", "1"))

NV_BS_RT = 7            # attributes of everything an OS sets for the next boot
CONSOLE_NOISE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][A-Z0-9]?|[\x00-\x08\x0b\x0c\x0e-\x1f]")


class MachineError(Exception):
    """The machine did not do what the test waited for."""


class Rebooted(MachineError):
    """Instead of an answer came the next boot; wait_up() returns it."""


# Trees ---------------------------------------------------------------------------------------------------------------

def in_tree(tree, command, binds=(), capture=False, stdin=None):
    """Runs a command in a tree; each path of `binds` is visible there under its own name."""
    argv = [str(TREES), "run", tree]
    for bind in binds:
        argv += ["-b", str(bind)]
    r = subprocess.run(argv + ["--"] + [str(c) for c in command], input=stdin,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if r.returncode != 0:
        raise MachineError(f"{' '.join(str(c) for c in command)}: exit {r.returncode}\n"
                           f"{r.stdout.decode(errors='replace')}{r.stderr.decode(errors='replace')}")
    return r.stdout if capture else None


def unwind_on_sigterm():
    """For main(): a polite kill ends like Ctrl-C, so that `finally` blocks clean up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def build_trees(*names):
    subprocess.run([str(TREES), "build", *names], check=True)


def firmware_file(name):
    """Path of an OVMF file, in the QEMU tree or, where the host's own QEMU is used, on the host."""
    for root in (CACHE / "qemu", Path("/")):
        path = root / "usr/share/OVMF" / name
        if path.exists():
            return path
    raise MachineError(f"{name} not found: run {TREES} build qemu")


def work_folder(prefix="gybe-vm."):
    """A folder for one test. Short, because Unix socket paths are."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("GYBE_VM_TMP", "/var/tmp")))


# EFI variables -------------------------------------------------------------------------------------------------------

def utf16(text):
    """What an EFI string variable holds: UTF-16LE with its terminating NUL."""
    return text.encode("utf-16-le") + b"\0\0"


def variable_guid(name):
    return GLOBAL_GUID if GLOBAL_NAMES.match(name) else LOADER_GUID


def new_variables(path, secure_boot_keys=None):
    """An empty variable store; with keys (a folder with PK.crt KEK.crt db.crt) Secure Boot is on."""
    if secure_boot_keys is None:
        shutil.copyfile(firmware_file("OVMF_VARS_4M.fd"), path)
        return
    owner = "7c4d2b1e-5f0a-4c57-9d3c-6d0f6b7b5a11"
    template = Path(path).with_suffix(".template")
    shutil.copyfile(firmware_file("OVMF_VARS_4M.fd"), template)
    keys = Path(secure_boot_keys)
    in_tree("toolchain", ["virt-fw-vars", "-i", template, "-o", path,
                          "--set-pk", owner, keys / "PK.crt", "--add-kek", owner, keys / "KEK.crt",
                          "--add-db", owner, keys / "db.crt", "--sb"],
            binds=[Path(path).parent, keys])
    template.unlink()


def read_variables(path):
    """{name: data} of the loader's and the firmware's boot variables, read from a variable store."""
    path = Path(path)
    out = path.with_suffix(".read.json")
    in_tree("toolchain", ["virt-fw-vars", "-i", path, "--output-json", out], binds=[path.parent])
    found = {}
    for var in json.loads(out.read_text())["variables"]:
        if var["guid"].lower() in (LOADER_GUID, GLOBAL_GUID):
            found[var["name"]] = bytes.fromhex(var["data"])
    out.unlink()
    return found


def set_variables(path, values):
    """Sets {name: bytes} in a variable store that no machine is using; None deletes."""
    path = Path(path)
    keep = [{"name": n, "guid": variable_guid(n), "attr": NV_BS_RT, "data": d.hex()}
            for n, d in values.items() if d is not None]
    drop = [n for n, d in values.items() if d is None]
    if drop:
        argv = ["virt-fw-vars", "--inplace", path]
        for name in drop:
            argv += ["--delete", name]
        in_tree("toolchain", argv, binds=[path.parent])
    if keep:
        set_variables_json(path, {"version": 2, "variables": keep})


def set_variables_json(path, document):
    """The same from virt-fw-vars' own JSON form."""
    path = Path(path)
    src = path.with_suffix(".set.json")
    src.write_text(json.dumps(document))
    in_tree("toolchain", ["virt-fw-vars", "--inplace", path, "--set-json", src], binds=[path.parent])
    src.unlink()


def boot_option(label, partition, start_lba, size_lba, partuuid, file_path):
    """The bytes of a Boot#### variable that starts a file on a GPT partition, as an updater writes it."""
    hard_drive = struct.pack("<BBHIQQ16sBB", 4, 1, 42, partition, start_lba, size_lba,
                             uuid.UUID(partuuid).bytes_le, 2, 2)
    name = utf16(file_path)
    path = hard_drive + struct.pack("<BBH", 4, 4, 4 + len(name)) + name + b"\x7f\xff\x04\x00"
    return struct.pack("<IH", 1, len(path)) + utf16(label) + path


def describe_boot_option(data):
    """'label -> \\file' of a Boot#### variable; the device part is named when it is not a hard-drive node."""
    end = 6
    while data[end:end + 2] != b"\0\0":
        end += 2
    label, path, parts = data[6:end].decode("utf-16-le"), data[end + 2:], []
    while len(path) >= 4 and path[0] != 0x7f:
        size = struct.unpack_from("<H", path, 2)[0]
        if (path[0], path[1]) == (4, 4):
            parts.append(path[4:size].decode("utf-16-le").rstrip("\0"))
        elif (path[0], path[1]) == (4, 1):
            parts.append("HD")
        else:
            parts.append(f"{path[0]}.{path[1]}")
        path = path[max(size, 4):]
    return f"{label} -> {'/'.join(parts)}"


# The machine ---------------------------------------------------------------------------------------------------------

def dies_with(parent, *command):
    """The command, killed by the kernel when its parent is; not begun when that has happened already. `parent` is its name."""
    return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'read -r name <"/proc/$PPID/comm"; [ "$name" = "$0" ] && exec "$@"',
            parent, *command]


class Machine:
    """One QEMU. Use it in a `with` statement."""

    def __init__(self, folder, disk, variables, *, deadline=120, memory=1024, secure_boot=False, one_boot=False,
                 channel=False, watchdog=False, network=False, bootindex=False, log=None, credentials=(),
                 prefix="vm", more=()):
        self.folder, self.disk, self.variables = Path(folder), Path(disk), Path(variables)
        self.deadline, self.memory, self.secure_boot, self.one_boot = deadline * PATIENCE, memory, secure_boot, one_boot
        self.has_channel, self.watchdog, self.network, self.bootindex = channel, watchdog, network, bootindex
        self.log, self.credentials, self.prefix, self.more = log, list(credentials), prefix, list(more)
        self.lines, self.process, self.channel, self.ended = [], None, None, False
        self.changed = threading.Condition()
        self.verbose = bool(os.environ.get("VM_VERBOSE"))
        self.seen = 0           # console lines that wait_line() has passed
        self.asked = 0          # commands sent over the channel
        self.came_up = None     # a boot that was met while waiting for something else

    # life cycle

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.cut()

    def arguments(self):
        code = "OVMF_CODE_4M.secboot.fd" if self.secure_boot else "OVMF_CODE_4M.fd"
        if not firmware_file("OVMF_VARS_4M.fd").is_relative_to(CACHE):
            code_path = firmware_file(code)
        else:
            code_path = Path("/usr/share/OVMF") / code
        argv = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none",
            "-machine", f"q35,smm={'on' if self.secure_boot else 'off'}", "-accel", "tcg,thread=multi,tb-size=256",
            "-cpu", "max", "-smp", "1", "-m", str(self.memory),
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code_path}",
            "-drive", f"if=pflash,format=raw,unit=1,file={self.variables}",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off",
            "-device", "virtio-rng-pci",
            "-blockdev", f"driver=file,node-name=disk-file,filename={self.disk},discard=unmap",
            "-blockdev", "driver=raw,node-name=disk-raw,file=disk-file,discard=unmap",
        ]
        disk = "disk-raw"
        if self.log:
            Path(self.log).write_bytes(b"")
            argv += ["-blockdev", f"driver=file,node-name=log-file,filename={self.log}",
                     "-blockdev", "driver=raw,node-name=log-raw,file=log-file",
                     "-blockdev", "driver=blklogwrites,node-name=disk-logged,file=disk-raw,log=log-raw,"
                                  "log-sector-size=512"]
            disk = "disk-logged"
        argv += ["-device", f"virtio-blk-pci,drive={disk}" + (",bootindex=1" if self.bootindex else "")]
        if self.secure_boot:
            argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        if self.one_boot:
            argv += ["-no-reboot"]
        if self.has_channel:
            argv += ["-device", "virtio-serial-pci",
                     "-chardev", f"socket,id=channel,path={self.folder}/channel.sock,server=on,wait=off",
                     "-device", "virtserialport,chardev=channel,name=gybe.channel"]
        if self.watchdog:
            argv += ["-device", "i6300esb", "-action", "watchdog=reset"]
        if self.network:
            # Without these, firmware that finds nothing to boot spends minutes asking the network.
            argv += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
                     "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
                     "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]
        for name, value in self.credentials:
            text = base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
            blob = self.folder / f"smbios-{name}"
            blob.write_text(f"io.systemd.credential.binary:{name}={text}")
            argv += ["-smbios", f"type=11,path={blob}"]
        return argv + self.more

    def start(self):
        build_trees("qemu")
        CACHE.mkdir(parents=True, exist_ok=True)
        self.turn = open(CACHE / "machine.lock", "w")
        fcntl.flock(self.turn, fcntl.LOCK_EX)
        folders = {self.folder, self.disk.parent, self.variables.parent}
        if self.log:
            folders.add(Path(self.log).parent)
        binds = []
        for folder in sorted(str(f.resolve()) for f in folders):
            binds += ["-b", folder]
        self.born = time.monotonic()
        # When this program is killed, the kernel kills timeout(1), and with that QEMU; should it live on all the same,
        # timeout ends it, and until then nobody else gets a turn. (A high number: the script has a use for 9.)
        me = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
        held = fcntl.fcntl(self.turn, fcntl.F_DUPFD_CLOEXEC, 100)
        self.process = subprocess.Popen(
            dies_with(me, str(TREES), "run", "qemu", *binds, "--", "timeout", "--foreground", "-s", "KILL",
                      str(int(self.deadline) + 5), *dies_with("timeout", *self.arguments())),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[held])
        os.close(held)
        self.reader = threading.Thread(target=self._read_console, daemon=True)
        self.reader.start()

    def _read_console(self):
        rest = b""
        while True:
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                break
            *done, rest = (rest + data).split(b"\n")
            with self.changed:
                for raw in done:
                    self._keep_line(raw)
                self.changed.notify_all()
        with self.changed:
            if rest:
                self._keep_line(rest)
            self.ended = True
            self.changed.notify_all()

    def _keep_line(self, raw):
        line = CONSOLE_NOISE.sub(b"", raw.replace(b"\r", b"")).decode(errors="replace")
        self.lines.append(line)
        if self.verbose:
            print(f"{self.prefix} {self.age():6.1f} | {line}", file=sys.stderr, flush=True)

    def age(self):
        return time.monotonic() - self.born

    def left(self):
        return max(0.0, self.deadline - self.age())

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def cut(self):
        """Pulls the plug. What the guest's disk was told is on the disk; the rest never happened."""
        if self.channel:
            self.channel.close()
            self.channel = None
        if self.process:
            for pid in self._qemu_pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.stdin.close()
            self.process.wait()
            self.reader.join(timeout=10)
            self.process.stdout.close()
            self.process = None
            self.turn.close()

    def _qemu_pids(self):
        """timeout's child first, then timeout itself; both are ours."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            children = []
        return [int(c) for c in children] + [pid]

    # console

    def wait_line(self, pattern, timeout=None, passed=True):
        """The match of the first line not yet passed that matches; MachineError at the deadline or the end."""
        regex = re.compile(pattern)
        until = time.monotonic() + min(self.left(), timeout * PATIENCE if timeout is not None else self.left())
        at = self.seen
        with self.changed:
            while True:
                while at < len(self.lines):
                    found = regex.search(self.lines[at])
                    at += 1
                    if found:
                        if passed:
                            self.seen = at
                        return found
                if self.ended:
                    raise MachineError(f"machine ended before: {pattern}\n{self.tail()}")
                wait = until - time.monotonic()
                if wait <= 0:
                    raise MachineError(f"not seen in time: {pattern}\n{self.tail()}")
                self.changed.wait(wait)

    def wait_end(self, timeout=None):
        """Waits for QEMU to exit by itself (a reset with one_boot, a power-off)."""
        try:
            self.process.wait(timeout=min(self.left(), timeout if timeout is not None else self.left()))
        except subprocess.TimeoutExpired:
            raise MachineError(f"machine still runs\n{self.tail()}") from None
        self.reader.join(timeout=10)

    def tail(self, n=15):
        return "\n".join("    | " + line for line in self.lines[-n:])

    # the monitor

    def monitor(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(self.folder / "qmp.sock"))
            f = s.makefile("rw")
            f.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                f.write(json.dumps(request) + "\n")
                f.flush()
                while True:
                    answer = json.loads(f.readline())
                    if "return" in answer or "error" in answer:
                        break
            if "error" in answer:
                raise MachineError(f"monitor: {command}: {answer['error']['desc']}")
            return answer["return"]

    def reset(self):
        """The reset button: the guest is not asked."""
        self.monitor("system_reset")

    # the channel

    def _channel_line(self, timeout):
        until = time.monotonic() + min(timeout, self.left())
        while b"\n" not in self.channel_rest:
            wait = until - time.monotonic()
            if wait <= 0:
                raise MachineError(f"no answer on the channel\n{self.tail()}")
            self.channel.settimeout(wait)
            try:
                data = self.channel.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise MachineError(f"the channel closed\n{self.tail()}")
            self.channel_rest += data
        line, self.channel_rest = self.channel_rest.split(b"\n", 1)
        return line.decode(errors="replace")

    def wait_up(self, timeout=300):
        """Waits until the guest of the next boot answers; returns its boot id."""
        if self.channel is None:
            self.channel, self.channel_rest = socket.socket(socket.AF_UNIX), b""
            until = time.monotonic() + 20
            while True:
                try:
                    self.channel.connect(str(self.folder / "channel.sock"))
                    break
                except OSError:
                    if not self.alive() or time.monotonic() > until:
                        raise MachineError(f"QEMU did not start\n{self.tail()}") from None
                    time.sleep(0.1)
        until = time.monotonic() + timeout * PATIENCE
        while True:
            word, self.came_up = self.came_up or self._channel_line(until - time.monotonic()).split(), None
            if len(word) == 2 and word[0] == "hello":
                return word[1]

    def run(self, command, timeout=60, check=False):
        """Runs a shell command in the guest: (exit code, what it printed on stdout and stderr)."""
        self.asked += 1
        self.channel.sendall(f"{self.asked} {base64.b64encode(command.encode()).decode()}\n".encode())
        until = time.monotonic() + timeout * PATIENCE
        while True:
            word = self._channel_line(until - time.monotonic()).split()
            if len(word) == 2 and word[0] == "hello":
                self.came_up = word
                raise Rebooted(f"{command}: the machine rebooted")
            if len(word) >= 2 and word[0] == str(self.asked):
                code, text = int(word[1]), base64.b64decode(word[2] if len(word) > 2 else "").decode(errors="replace")
                if check and code != 0:
                    raise MachineError(f"{command}: exit {code}\n{text}")
                return code, text


def main():
    parser = argparse.ArgumentParser(description="boot one disk and show its console")
    parser.add_argument("--disk", required=True)
    parser.add_argument("--vars", help="variable store; made when it does not exist, kept")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--secure-boot", action="store_true")
    parser.add_argument("--one-boot", action="store_true", help="end at the first reset")
    parser.add_argument("--log", help="record every disk write (blklogwrites)")
    parser.add_argument("--memory", type=int, default=1024)
    args = parser.parse_args()
    unwind_on_sigterm()
    os.environ["VM_VERBOSE"] = "1"
    folder = work_folder()
    try:
        store = Path(args.vars).resolve() if args.vars else folder / "vars.fd"
        if not store.exists():
            new_variables(store)
        with Machine(folder, Path(args.disk).resolve(), store, deadline=args.seconds, memory=args.memory,
                     secure_boot=args.secure_boot, one_boot=args.one_boot, log=args.log) as machine:
            try:
                machine.wait_end()
            except MachineError:
                print("machine.py: time is up", file=sys.stderr)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
