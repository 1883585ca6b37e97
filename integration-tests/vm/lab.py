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
import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path

import guest
import machine as vm
import probe

SLOT_B_ENTRY = "vmlinuz-100-azlb0.efi"          # what gybe and Trident call the first update's UKI
PRODUCT = "azure-container-linux"
POLICY = {"automation": "check", "attempts": 2, "soak": "5s", "deadline": f"{5 * vm.PATIENCE:.0f}m"}


class Skip(Exception):
    """The scenario cannot run here."""


# A feed on the host's loopback, seen by the guest at 10.0.2.2 ---------------------------------------------------------

class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Files with single byte ranges, which is what an updater asks for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True      # or each answer waits 40 ms for the ACK of its head

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
                time.sleep(self.server.pause * len(data) / (1 << 20))

    def log_message(self, *_):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(RangeHandler, directory=str(folder)))
    server.daemon_threads = True
    server.pause = 0        # seconds after each MiB: a slow line
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

    def release_tool(self, *arguments):
        usr = guest.destdir() / "usr"
        r = subprocess.run([str(w) for w in (usr / "bin/gybe-release", *arguments)], capture_output=True, text=True,
                           cwd=self.folder, env={**os.environ, "GYBE_LIBEXEC": str(usr / "libexec/gybe")})
        if r.returncode != 0:
            raise vm.MachineError(f"gybe-release {' '.join(map(str, arguments))}: exit {r.returncode}: "
                                  f"{r.stdout}{r.stderr}")
        return r.stdout

    def install_with_feed(self, version="1.0.0", *, sign=None, policy=None, source=None, health=None, root_changes=None,
                          usr_changes=None, **more):
        """The same with keys, a trust root in /usr and a feed to update from."""
        self.keys, self.feed = self.folder / "keys", self.folder / "feed"
        self.feed.mkdir()
        self.release_tool("keygen", self.keys)
        self.server = serve(self.feed)
        config = {"product": PRODUCT, "channel": "stable",
                  "source": {"type": "feed", "url": f"http://10.0.2.2:{self.server.server_address[1]}/index.json",
                             **(source or {})}, **({"health": health} if health else {})}
        changes = {"etc/gybe/gybe.json": json.dumps(config),
                   "etc/gybe/policy.d/10-lab.json": json.dumps({**POLICY, **(policy or {})}), **(root_changes or {})}
        return self.install(version, sign=sign, root_changes=changes, usr_changes={**self.trust(), **(usr_changes or {})},
                            **more)

    def trust(self):
        return {"usr/lib/gybe/root.json": self.keys / "root.json"}

    def publish(self, version, serial, *, usr_changes=None, with_gybe=True, after=None, **more):
        """Builds a release of `version` and puts it into the feed. after(release): tampers with its parts first."""
        more.setdefault("sign", self.sign)
        release = guest.guest_image(self.folder, version, with_gybe=with_gybe,
                                    usr_changes={**(self.trust() if with_gybe else {}), **(usr_changes or {})}, **more)
        if after:
            after(release)
        cosi = release.folder / f"acl-{version}-x86_64.cosi"
        slots = [w for letter in "ab" for w in ("--addon-template", release.addons[letter])]
        self.release_tool("build", "--usr", release.usr, "--salt", release.salt, "--uuid", release.uuid, "--uki", release.uki,
                          "--addon", release.addons["a"], *slots, "--loader", release.loader(),
                          "--os-release", release.folder / "os-release", "-o", cosi)
        self.offer(cosi, version, serial)
        return release

    def offer(self, cosi, version, serial):
        """Signs an image as this version and points the feed to it."""
        key = self.keys / "release.pem"
        self.release_tool("sign", "--key", key, "--product", PRODUCT, "--channel", "stable", "--version", version,
                          "--serial", serial, cosi)
        self.release_tool("publish", "--feed", self.feed, "--key", key, "--channel", "stable", cosi)

    def offer_again(self, release, version, serial):
        """The same bytes under another version number."""
        cosi = release.folder / f"acl-{version}-x86_64.cosi"
        shutil.copyfile(release.folder / f"acl-{release.version}-x86_64.cosi", cosi)
        self.offer(cosi, version, serial)

    # running

    def start(self, deadline=900, **more):
        self.power_on(deadline, **more)
        return self.settle()

    def settle(self, timeout=300):
        """The next boot is complete: its boot id."""
        boot_id = self.machine.wait_up(timeout)
        code, text = self.machine.run("systemctl is-system-running --wait", timeout=180)
        if text.strip() not in ("running", "degraded"):
            raise vm.MachineError(f"system is {text.strip()}")
        return boot_id

    def arrives(self, version, timeout=900):
        """The next boot of this version is complete; the others on the way are let pass."""
        until = time.monotonic() + timeout * vm.PATIENCE
        while True:
            self.machine.wait_up((until - time.monotonic()) / vm.PATIENCE)
            try:
                if self.version() == version:
                    self.run("systemctl is-system-running --wait", timeout=400, check=False)
                    return
            except vm.Rebooted:
                pass

    def power_on(self, deadline=900, **more):
        """As start(), without waiting for anything."""
        self.machine = guest.guest(self.folder, self.disk, self.store, deadline=deadline,
                                   secure_boot=self.sign is not None, **more)
        self.machine.start()

    def until(self, condition, timeout=240):
        """Waits until a shell condition holds inside."""
        self.run(f"until {condition}; do sleep 1; done", timeout=timeout)

    def unplug(self):
        """The network is gone, and so is the feed."""
        self.machine.monitor("set_link", name="net", up=False)
        self.server.shutdown()
        self.server.server_close()
        self.server = None

    def run(self, command, timeout=120, check=True):
        return self.machine.run(command, timeout=timeout, check=check)

    def leave(self, command):
        """Starts a command that ends in a reboot. What it printed and its exit code are in left()."""
        self.run("systemd-run --quiet --collect --no-block sh -c " + shlex.quote(
            f"exec >/var/left 2>&1; {command}; echo exit=$?; sync /var/left"))

    def left(self):
        return self.run("cat /var/left")[1]

    def restart(self):
        """A reboot is asked for, behind the answer: one that overtakes it leaves nobody to give it."""
        self.run("systemd-run --quiet --collect --no-block sh -c 'sleep 1; systemctl reboot'")

    def reboot(self):
        self.restart()
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
        code, text = self.run(f"f=/sys/firmware/efi/efivars/{name}-{vm.LOADER_GUID}; test -e $f && cat $f | base64 -w0",
                              check=False)
        return base64.b64decode(text)[4:].decode("utf-16-le").rstrip("\0") if code == 0 else None

    def default_entry(self):
        conf = dict(line.split(None, 1) for line in self.run("cat /boot/loader/loader.conf")[1].splitlines()
                    if len(line.split(None, 1)) == 2)
        return self.variable("LoaderEntryDefault") or conf.get("default")

    def status(self):
        return json.loads(self.run("gybe status --json")[1])

    def history(self):
        """The events, oldest first, and the chain holds."""
        found = json.loads(self.run("gybe history --json")[1])
        if not found["chainHolds"]:
            raise vm.MachineError(f"history: chain broken at line {found['brokenAtLine']}")
        return found["events"]

    def settled(self):
        """Waits until gybe-commit.service has done its work in this boot; its journal."""
        self.run("while [ \"$(systemctl show -P ActiveState gybe-commit.service)\" = activating ] || "
                 "[ -n \"$(systemctl show -P Job gybe-commit.service)\" ]; do sleep 1; done", timeout=240)
        return self.run("journalctl -b -u gybe-commit.service -o cat --no-pager")[1]

    def wait_commit(self):
        """This boot's trial has ended well: what runs is the default."""
        said = self.settled()
        if self.variable("LoaderEntrySelected") != self.default_entry():
            raise vm.MachineError(f"not committed: {said}")

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
