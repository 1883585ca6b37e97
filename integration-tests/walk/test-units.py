#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The units as they are installed: systemd's own judges on every file, and how much each service may do.

Nothing here is installed on this machine: `cmake --install` goes below a temporary folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = Path(os.environ.get("GYBE_BUILD", Path(__file__).resolve().parents[2] / "build"))
# The most that `systemd-analyze security` may say. Every point has its reason beside it in the unit.
LIMITS = {"gybed.service": 2.0, "gybe-node.service": 2.5, "gybe-job@.service": 3.5, "gybe-commit.service": 3.5}
# Operators' health checks run in it, so it is not sandboxed in what they can see: judged, told, no limit.
OPEN = ["gybe-commit.service"]


def run(*command, **more):
    return subprocess.run([str(w) for w in command], capture_output=True, text=True, **more)


def fail(text):
    print(f"not ok: {text}")
    sys.exit(1)


def prefix():
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        if line.startswith("CMAKE_INSTALL_PREFIX:"):
            return line.split("=", 1)[1]
    fail("no prefix in CMakeCache.txt")


def install(root):
    done = run("cmake", "--install", BUILD, env={**os.environ, "DESTDIR": str(root)})
    if done.returncode != 0:
        fail(f"cmake --install: {done.stdout}{done.stderr}")
    units = {p.name: p for p in root.rglob("systemd/system/*")}
    for name in ["gybe-commit.service", *LIMITS]:
        program = {"gybed.service": "gybed", "gybe-job@.service": "gybe-job", "gybe-node.service": "gybe-node"}.get(name)
        if name not in units and (program is None or (BUILD / program).exists()):
            fail(f"{name} is not installed")
    return units


def runnable(root, units):
    """The same text, with the programs where they lie now."""
    folder = root / "runnable"
    folder.mkdir()
    for name, path in units.items():
        text = path.read_text()
        text = re.sub(rf"^(Exec\w+=[-+!:@]*){re.escape(prefix())}/", rf"\g<1>{root}{prefix()}/", text, flags=re.M)
        (folder / name.replace("@.", "@0.")).write_text(text)
    return folder


def test_verify(folder):
    # one at a time: verify stops reading at the first unit it cannot load
    for unit in sorted(folder.iterdir()):
        said = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
        ours = [line for line in said.stderr.splitlines() if "gybe" in line]
        if said.returncode != 0 or ours:
            fail(f"systemd-analyze verify {unit.name}: exit {said.returncode}\n{said.stderr}")
        print(f"ok verify {unit.name}")


def test_security(folder):
    for unit in sorted(folder.iterdir()):
        name = unit.name.replace("@0.", "@.")
        if name not in LIMITS and name not in OPEN:
            continue
        limit = LIMITS.get(name, 10)
        said = run("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(limit * 10)}", unit)
        score = re.search(r"Overall exposure level for \S+: ([0-9.]+) (\w+)", said.stdout)
        if not score:
            fail(f"systemd-analyze security {name}: {said.stdout}{said.stderr}")
        print(f"{name}: {score[1]} ({score[2]}), " + (f"limit {limit}" if name in LIMITS else "no limit"))
        if said.returncode != 0:
            fail(f"{name} may do more than it should\n" + "\n".join(w for w in said.stdout.splitlines() if w.startswith("✗")))


def test_presets(root, units):
    """Every unit that can be enabled is enabled by the preset, and the alias that D-Bus activation needs is made."""
    if os.getuid() != 0 and not os.access(root, os.W_OK):
        return
    tree = root / "tree"
    system = tree / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for name, path in units.items():
        shutil.copy(path, system / name)
    presets = tree / "usr/lib/systemd/system-preset"
    presets.mkdir()
    for path in root.rglob("*.preset"):
        if tree not in path.parents:
            shutil.copy(path, presets / path.name)
    for name in sorted(units):
        if re.search(r"^\[Install\]", units[name].read_text(), re.M):
            said = run("systemctl", f"--root={tree}", "preset", name)
            if said.returncode != 0:
                fail(f"systemctl preset {name}: {said.stderr}")
    made = {str(p.relative_to(tree / "etc/systemd/system")) for p in (tree / "etc/systemd/system").rglob("*") if p.is_symlink()}
    wanted = {"multi-user.target.wants/gybe-commit.service", "boot-complete.target.requires/gybe-commit.service"}
    if "gybed.service" in units:
        wanted |= {"multi-user.target.wants/gybed.service", "dbus-org.gybe.Update1.service"}
    if made != wanted:
        fail(f"presets enable {sorted(made)}, wanted {sorted(wanted)}")
    print("ok presets")


def test_users_and_folders(root):
    """Users and folders are made, twice the same."""
    if os.getuid() != 0:
        print("skipped: sysusers and tmpfiles, not root")
        return
    tree = root / "state"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\n")
    users, folders = next(root.rglob("sysusers.d/gybe.conf")), next(root.rglob("tmpfiles.d/gybe.conf"))
    for _ in range(2):
        for command in (("systemd-sysusers", f"--root={tree}", users), ("systemd-tmpfiles", f"--root={tree}", "--create", folders)):
            said = run(*command)
            if said.returncode != 0 or "gybe" in said.stderr.replace("Creating", "") and "rror" in said.stderr:
                fail(f"{command[0]}: {said.stderr}")
    if "gybe-fetch:" not in (tree / "etc/passwd").read_text():
        fail("no user gybe-fetch")
    for path, mode in (("run/gybe/jobs", 0o700), ("var/lib/gybe", 0o700), ("run/gybe", 0o755), ("etc/gybe/policy.d", 0o755)):
        if (tree / path).stat().st_mode & 0o7777 != mode:
            fail(f"/{path} has mode {(tree / path).stat().st_mode & 0o7777:o}")
    print("ok users and folders")


def main():
    if not shutil.which("systemd-analyze"):
        print("no systemd-analyze here: the units' text was not judged")
        return 77
    root = Path(tempfile.mkdtemp(prefix="test-units."))
    try:
        units = install(root)
        folder = runnable(root, units)
        test_verify(folder)
        test_security(folder)
        test_presets(root, units)
        test_users_and_folders(root)
    finally:
        shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
