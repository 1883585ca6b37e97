#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""README's "On any Kubernetes cluster", by the letter: its commands in a shell, with the real kubectl and kube-apiserver, and a host
made of files whose logind is asked to reboot.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE)]
from contract import Authority
from machine import PATIENCE, Machine
from realapi import RealApi
from sandbox import BUILD, MIB, SOURCE, Host, keygen, publish, releases, status


def commands(heading):
    section = (SOURCE / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"^```\n(.*?)^```", section, re.M | re.S).group(1)


class Pool:
    """What Machine wants of its test: one feed, one host."""

    def __init__(self, work, authority):
        self.work, self.authority = work, authority
        keys, self.feed = keygen(work / "keys"), work / "feed"
        self.feed.mkdir()
        images, cosis = releases(work, keys, ("3.0.1", "3.0.2"), size=4 * MIB)
        publish(self.feed, keys, cosis["3.0.2"])
        self.fresh = Host(work / "fresh", usr_size=4 * MIB)
        self.fresh.install(images["3.0.1"], trust_root=keys / "root.json")


def power(machine, over):
    """The machine goes down when logind is asked to, and comes up."""
    while not over.is_set():
        if machine.wants_reboot():
            machine.reboot()
        time.sleep(0.5)


def main():
    if os.geteuid() != 0:
        print("skipped: run it as root: a bus lets nobody else be its logind")
        return 77
    built = subprocess.run([HERE / "build-cluster"], stdout=subprocess.PIPE, text=True)
    if built.returncode:
        print("skipped: build-cluster has no kube-apiserver")
        return 77 if built.returncode == 77 else 1
    programs = built.stdout.strip().splitlines()[-1]
    os.environ.setdefault("GYBE_LIBEXEC", str(BUILD))
    with tempfile.TemporaryDirectory(prefix="gybe-readme-") as tmp:
        work = Path(tmp)
        work.chmod(0o755)
        authority = Authority(work / "pki")
        api = RealApi(programs, work / "cluster", authority)
        m = Machine(Pool(work, authority), work, api, logind=True)
        over = threading.Event()
        thread = threading.Thread(target=power, args=(m, over))
        try:
            m.start()
            thread.start()
            r = subprocess.run(["bash", "-euc", commands("On any Kubernetes cluster")], timeout=PATIENCE, capture_output=True, text=True,
                               env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "KUBECONFIG": str(api.admin), "HOME": str(work)})
            print(r.stdout + r.stderr)
            assert r.returncode == 0, f"exit {r.returncode}"
            s = status(m.host)
            assert s["running"] == "b" and s["outcome"] == "committed" and s["version"] == "3.0.2", s
            assert not api.node()["spec"].get("unschedulable")
            api.check()
            print("ok README: On any Kubernetes cluster")
        finally:
            over.set()
            if thread.is_alive():
                thread.join()
            m.close()
            api.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
