# SPDX-License-Identifier: MIT
"""One whole-machine scenario's world: a folder, a disk, a variable store, a machine, and a feed to update from.

Used by test-guest and by the power-cut test. install() makes a machine with one version in slot A, publish() builds
another version into the feed with gybe-release, start() boots; the rest asks the running machine questions.
"""

import base64
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import guest
import machine as vm
import probe

SLOT_B_ENTRY = "vmlinuz-100-azlb0.efi"          # what gybe and Trident call the first update's UKI
POLICY = {"automation": "stage", "attempts": 2, "soak": "5s", "deadline": "150s"}
DESTDIR = os.environ.get("GYBE_DESTDIR")


class Skip(Exception):
    """The scenario cannot run here."""


# A feed on the host's loopback, seen by the guest at 10.0.2.2 ---------------------------------------------------------

class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Files with single byte ranges, which is what an updater asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not path.is_file() or not wanted:
            super().do_GET()
            return
        size = path.stat().st_size
        first = int(wanted[1])
        last = min(int(wanted[2]) if wanted[2] else size - 1, size - 1)
        if first > last:
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        with open(path, "rb") as f:
            f.seek(first)
            left = last - first + 1
            while left > 0:
                data = f.read(min(left, 1 << 20))
                self.wfile.write(data)
                left -= len(data)

    def log_message(self, *_):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(RangeHandler, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


# One scenario's world ------------------------------------------------------------------------------------------------

class Lab:
    def __init__(self, name):
        self.folder = vm.work_folder(f"gybe-{name[:16]}.")
        self.disk, self.store = self.folder / "disk", self.folder / "vars.fd"
        self.sign, self.machine, self.server = None, None, None

    # building

    def install(self, version="1.0.0", *, sign=None, root_changes=None, sizes=None, **more):
        """A machine that runs `version` from slot A."""
        self.sign = sign
        release = guest.guest_image(self.folder, version, sign=sign, **more)
        guest.disk(self.disk, release, root_changes=root_changes, sizes=sizes)
        vm.new_variables(self.store, sign)
        return release

    def need_gybe(self):
        if not DESTDIR or not (Path(DESTDIR) / "usr/bin/gybe").exists():
            raise Skip("no usr/bin/gybe in GYBE_DESTDIR")

    def release_tool(self, *arguments):
        tool = os.environ.get("GYBE_RELEASE", f"{DESTDIR}/usr/bin/gybe-release")
        r = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, cwd=self.folder)
        if r.returncode != 0:
            raise vm.MachineError(f"gybe-release {' '.join(map(str, arguments))}: exit {r.returncode}: "
                                  f"{r.stdout}{r.stderr}")
        return r.stdout

    def install_with_feed(self, *, sign=None, policy=None, **more):
        """The same with keys, trust and a feed to update from."""
        self.need_gybe()
        self.keys, self.feed = self.folder / "keys", self.folder / "feed"
        self.feed.mkdir()
        self.release_tool("keygen", self.keys)
        self.server = serve(self.feed)
        config = {"product": "azure-container-linux", "channel": "stable", "disk": {"layout": "acl"},
                  "source": {"type": "feed", "url": f"http://10.0.2.2:{self.server.server_address[1]}/index.json"}}
        changes = {"etc/gybe/gybe.json": json.dumps(config), "etc/gybe/root.json": self.keys / "root.json",
                   "etc/gybe/policy.d/10-lab.json": json.dumps({**POLICY, **(policy or {})})}
        return self.install(sign=sign, root_changes=changes, **more)

    def publish(self, version, serial, **more):
        """Builds a release of `version` and puts it into the feed."""
        more.setdefault("sign", self.sign)
        release = guest.guest_image(self.folder, version, **more)
        raw, cosi = release.folder / "disk", release.folder / f"acl-{version}-x86_64.cosi"
        guest.disk(raw, release, sizes={"root": 128 << 20})
        self.release_tool("build", "--disk", raw, "-o", cosi)
        raw.unlink()
        keys = [w for key in sorted(self.keys.glob("*.key")) for w in ("--key", key)]
        self.release_tool("sign", *keys, "--product", "azure-container-linux", "--channel", "stable",
                          "--version", version, "--serial", serial, "--floor-serial", 1, cosi)
        self.release_tool("publish", *keys, "--feed", self.feed, cosi)
        return release

    # running

    def start(self, deadline=900, **more):
        self.machine = guest.guest(self.folder, self.disk, self.store, deadline=deadline,
                                   secure_boot=self.sign is not None, **more)
        self.machine.start()
        return self.settle()

    def settle(self, timeout=300):
        """The next boot is complete: its boot id."""
        boot_id = self.machine.wait_up(timeout)
        code, text = self.machine.run("systemctl is-system-running --wait", timeout=180)
        if text.strip() not in ("running", "degraded"):
            raise vm.MachineError(f"system is {text.strip()}")
        return boot_id

    def run(self, command, timeout=120, check=True):
        return self.machine.run(command, timeout=timeout, check=check)

    def reboot(self):
        self.machine.run("systemctl --no-block reboot")
        return self.settle()

    def cut(self):
        self.machine.cut()
        self.machine = None

    def done(self, keep=False):
        if self.machine:
            self.machine.cut()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        if not keep:
            shutil.rmtree(self.folder)

    # looking

    def version(self):
        return self.run(". /etc/os-release; echo $VERSION_ID")[1].strip()

    def variable(self, name):
        """A loader variable's text, seen from inside; None when there is none."""
        code, text = self.run(f"tail -c +5 /sys/firmware/efi/efivars/{name}-{vm.LOADER_GUID} | base64 -w0", check=False)
        return base64.b64decode(text).decode("utf-16-le").rstrip("\0") if code == 0 and "No such" not in text else None

    def default_entry(self):
        conf = dict(line.split(None, 1) for line in self.run("cat /boot/loader/loader.conf")[1].splitlines()
                    if len(line.split(None, 1)) == 2)
        return self.variable("LoaderEntryDefault") or conf.get("default")

    def wait_commit(self, seconds=120):
        """Waits until what runs is the default: that is what committed means on disk."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.variable("LoaderEntrySelected") == self.default_entry():
                return
            time.sleep(3)
        raise vm.MachineError(f"not committed: {self.run('gybe status', check=False)[1]}")

    def arm_by_hand(self, release):
        """What an update leaves behind, done without gybe on a machine that is off: slot B written, a second
        UKI, the one-shot set."""
        at = {label: start for _, label, _, _, start, _ in guest.layout()}
        guest._copy_into(self.disk, release.usr, at["USR-B"])
        guest._copy_into(self.disk, release.hash, at["HASH-B"])
        files = {f"EFI/Linux/{SLOT_B_ENTRY}": release.uki,
                 f"EFI/Linux/{SLOT_B_ENTRY}.extra.d/slot-b.addon.efi": release.addons["b"]}
        script = probe.copy_files_script(self.disk, at["EFI-SYSTEM"], files)
        vm.in_tree("toolchain", ["sh", "-ec", script], binds=[self.folder, release.folder])
        vm.set_variables(self.store, {"LoaderEntryOneShot": vm.utf16(SLOT_B_ENTRY)})


def expect(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, found {found!r}")
