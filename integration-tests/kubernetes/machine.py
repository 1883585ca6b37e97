# SPDX-License-Identifier: MIT
"""A node of a test: a host made of files with its gybed and its gybe-node on a system bus of their own, and an API server (the
strict stand-in or a real one) that has its Node. A reboot is what lib/sandbox.py makes of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import agentbus
import mockbus
from agentbus import Agent, Bus
from contract import COMMIT, REQUEST, STATUS, kubeconfig, new_id, request
from sandbox import BUILD, SOURCE, gybe, history

PATIENCE = float(os.environ.get("GYBE_PATIENCE", "240"))     # seconds; a machine that runs five other tests is slow
NODE, LOGIN = "node-1", "org.freedesktop.login1"


def wait(what, seconds=None):
    return agentbus.wait(what, seconds or PATIENCE)


class Machine:
    """A host, its gybed, its gybe-node, and the API server that has its Node."""

    def __init__(self, t, where, api, name=NODE, config=None, policy=None, logind=False):
        self.t, self.api, self.name = t, api, name
        self.host = t.fresh.clone(where / "host")
        self.host.configure(config or {"source": {"type": "feed", "url": f"file://{t.feed}/index.json", "interval": "30d"}})
        self.host.write("/etc/gybe/policy.d/10-test.json",
                        json.dumps({"automation": "check", "soak": "1s", "attempts": 2, **(policy or {})}))
        self.host.write("/proc/sys/kernel/hostname", name + "\n")
        self.host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        self.bus = Bus(where / "bus", SOURCE / "policy/org.gybe.Update1.conf", own=[LOGIN] if logind else []).__enter__()
        self.logind = None
        if logind:      # a reboot is asked for as on a real host, and whoever made this machine does it
            self.logind = mockbus.MockBus(where / "bus", self.bus.address).__enter__()
            self.logind.serve(names=[LOGIN])
            self.bus.environ.update(self.logind.environ)
        self.gybed, self.node = None, None
        self.log = where / "gybe-node.log"
        self.log.touch()
        self.pki = "/var/lib/kubelet/pki"
        self.credentials("kubelet")

    def credentials(self, name, cluster=None, seconds=None, **user):
        """As kubelet leaves them: a kubeconfig that names a link that is swapped at rotation. The name of the certificate."""
        pem = None
        p = self.host.path(self.pki)
        p.mkdir(parents=True, exist_ok=True)
        if not user:
            pem = self.t.authority.issue(f"{self.name}-{name}", f"/O=system:nodes/CN=system:node:{self.name}", seconds=seconds)
            shutil.copy(pem, p / f"{name}.pem")
            (p / "new").symlink_to(f"{name}.pem")
            os.rename(p / "new", p / "kubelet-client-current.pem")
            user = {"client-certificate": f"{self.pki}/kubelet-client-current.pem", "client-key": f"{self.pki}/kubelet-client-current.pem"}
        shutil.copy(self.t.authority.ca, p / "ca.crt")
        kubeconfig(self.host.path("/var/lib/kubelet/kubeconfig"), self.api.url, "pki/ca.crt", user, **(cluster or {}))
        return pem and pem.stem

    def start_gybed(self):
        self.gybed = Agent(self.bus, self.host, BUILD / "gybed").start()
        return self

    def start_node(self, **env):
        self.node = subprocess.Popen([str(BUILD / "gybe-node"), "--root", str(self.host.root)], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=open(self.log, "a"), env={**self.bus.environ, **self.env, **env})
        return self

    env = {"GYBE_DEBUG": "1"}

    def start(self, **env):
        return self.start_gybed().start_node(**env)

    def kill_node(self, how=signal.SIGKILL):
        if self.node:
            self.node.send_signal(how)
            code = self.node.wait(20)
            self.node = None
            return code

    def stop(self):
        self.kill_node()
        if self.gybed:
            self.gybed.stop(signal.SIGKILL)
        self.host.end_jobs()

    def close(self):
        self.stop()
        if self.logind:
            self.logind.__exit__()
        self.bus.__exit__()

    def wants_reboot(self):
        """logind was asked for one."""
        return any(c[0].startswith("Reboot") for c in self.logind.calls)

    def jobs(self):
        return self.host.jobs()

    def reboot(self, node=True, **how):
        """Everything is gone, the loader does what it does, gybe-commit.service settles, both daemons start."""
        self.stop()
        if self.logind:
            self.logind.log.write_text("")
        self.host.boot(**how)
        done = gybe(self.host, "commit", of="gybe-job", check=False, stdin=subprocess.DEVNULL)
        self.start_gybed()
        if node:
            self.start_node()
        return done.returncode

    # --- what an orchestrator does and sees ---

    def ask(self, r):
        self.api.annotate(REQUEST, r if isinstance(r, str) else json.dumps(r))
        return r if isinstance(r, str) else r["operationId"]

    def status(self, key=STATUS):
        text = self.api.annotations().get(key)
        return json.loads(text) if text else {}

    def wait_for(self, operation_id, code, key=STATUS, seconds=None):
        def there():
            s = self.status(key)
            return s if s.get("operationId") == operation_id and s.get("code") == code else None
        try:
            return wait(there, seconds or PATIENCE)
        except AssertionError:
            raise AssertionError(f"{code} did not come: {self.status(STATUS)} {self.status(COMMIT)}") from None

    def armed(self, operation_id):
        """It succeeded, and the next boot tries the other slot; its status."""
        s = self.wait_for(operation_id, "Success")
        wait(lambda: self.journal().get("phase") == "finalized")
        return s

    def memory(self):
        p = self.host.path("/var/lib/gybe-node/state.json")
        return json.loads(p.read_text()) if p.exists() else {}

    def journal(self):
        p = self.host.path("/var/lib/gybe/journal.json")
        return json.loads(p.read_text()) if p.exists() else {}

    def events_of(self, kind):
        return [e for e in history(self.host) if e["event"] == kind]

    def events(self):
        return [e["event"] for e in history(self.host)]

    def said(self, text):
        return text in self.log.read_text()

    def stage(self, target="3.0.2"):
        update = new_id()
        op = self.ask(request("stage", target, update))
        self.wait_for(op, "Success")
        return update, op
