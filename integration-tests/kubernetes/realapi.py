# SPDX-License-Identifier: MIT
"""A real kube-apiserver and etcd on loopback, and kubectl as the orchestrator. Built by build-cluster. The same face as
apiserver.FakeApi as far as the cases need it."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "lib"))     # behind vm/, which has an agent.py of its own
from contract import COMMIT, STATUS, Judge, kubeconfig
from web import free_port


class RealApi:
    def __init__(self, bin_folder, folder, authority, node="node-1", also=()):
        """also: other addresses under which a client reaches it."""
        self.bin, self.folder, self.name, self.authority = Path(bin_folder), Path(folder), node, authority
        self.folder.mkdir()
        self.judge, self.processes, self.watcher, self.etcd_port, self.port = Judge(), {}, None, free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.serving = authority.issue("apiserver", "/CN=kube-apiserver",
                                       ",".join(["IP:127.0.0.1", "DNS:kubernetes", *(f"IP:{a}" for a in also)]), "serverAuth")
        self.audit = self.folder / "audit.log"
        (self.folder / "audit.json").write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Request", "verbs": ["patch"], "resources": [{"group": "", "resources": ["nodes"]}]}, {"level": "None"}]}))
        authority.issue("admin", "/O=system:masters/CN=admin")
        authority.issue("sa", "/CN=service-accounts")
        self.admin = kubeconfig(self.folder / "admin.conf", self.url, authority.ca,
                                {"client-certificate": str(authority.folder / "admin.crt"), "client-key": str(authority.folder / "admin.key")})
        peer = free_port()
        self.spawn("etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", f"http://127.0.0.1:{self.etcd_port}",
                   "--advertise-client-urls", f"http://127.0.0.1:{self.etcd_port}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}",
                   "--log-level", "error", "--unsafe-no-fsync")
        self.start()
        self.create()
        self.tokens = set()

    def spawn(self, name, *argv):
        log = open(self.folder / f"{name}.log", "a")
        self.processes[name] = subprocess.Popen([str(self.bin / name), *map(str, argv)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start(self):
        pki = self.authority.folder
        self.spawn("kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{self.etcd_port}", "--bind-address", "127.0.0.1",
                   "--secure-port", self.port, "--tls-cert-file", pki / "apiserver.crt", "--tls-private-key-file", pki / "apiserver.key",
                   "--client-ca-file", pki / "ca.crt", "--service-account-issuer", "https://kubernetes.default.svc",
                   "--service-account-key-file", pki / "sa.crt", "--service-account-signing-key-file", pki / "sa.key",
                   "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
                   "--disable-admission-plugins", "ServiceAccount", "--service-cluster-ip-range", "10.0.0.0/24", "--allow-privileged",
                   "--audit-policy-file", self.folder / "audit.json", "--audit-log-path", self.audit)
        until = time.monotonic() + 180
        while self.kubectl("get", "--raw", "/readyz", check=False).returncode != 0:
            if time.monotonic() > until or self.processes["kube-apiserver"].poll() is not None:
                raise AssertionError((self.folder / "kube-apiserver.log").read_text()[-3000:])
            time.sleep(0.5)
        self.record()

    def stop(self, kill=False):
        """kill: from one moment to the next, without a word to its clients."""
        server = self.processes["kube-apiserver"]
        server.kill() if kill else server.terminate()
        self.processes["kube-apiserver"].wait()
        if self.watcher:
            self.watcher.terminate()
            self.watcher.wait()
            self.thread.join()
            self.watcher = None

    def close(self):
        self.stop()
        self.processes["etcd"].terminate()
        self.processes["etcd"].wait()

    def record(self):
        """Every version of the Node that the API server ever had, for the judge."""
        self.watcher = subprocess.Popen([str(self.bin / "kubectl"), "--kubeconfig", str(self.admin), "get", "node", "--watch",
                                         "--output", "jsonpath={.metadata.annotations}{\"\\n\"}"], stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL)

        def read(stream):
            for line in stream:
                try:
                    annotations = json.loads(line)
                except ValueError:
                    continue
                for key in (STATUS, COMMIT):
                    value = annotations.get(key)
                    if value is not None and (key, value) not in self.values:
                        self.values.append((key, value))
                        self.judge.value(key, value)
        self.values = getattr(self, "values", [])
        self.thread = threading.Thread(target=read, args=(self.watcher.stdout,), daemon=True)
        self.thread.start()

    def kubectl(self, *argv, check=True, **more):
        r = subprocess.run([str(self.bin / "kubectl"), "--kubeconfig", str(self.admin), *map(str, argv)], capture_output=True, text=True,
                           env={**os.environ, "HOME": str(self.folder)}, **more)
        assert not check or r.returncode == 0, f"kubectl {argv}: {r.stderr}"
        return r

    def create(self):
        self.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}}))

    def delete(self):
        self.kubectl("delete", "node", self.name)

    def annotate(self, key, value):
        self.kubectl("annotate", "--overwrite", "node", self.name, f"{key}={value}" if value is not None else f"{key}-")

    def node(self):
        return json.loads(self.kubectl("get", "node", self.name, "-o", "json").stdout)

    def annotations(self):
        return self.node()["metadata"].get("annotations", {})

    def writes(self):
        """How many the Node has seen. (Its resourceVersion counts what happens to every other object, too.)"""
        return len(self.patches())

    def patches(self):
        """[(user, annotations)] of every patch that was taken, in order; by the server's own log, so none is missing."""
        found = []
        for line in self.audit.read_text().splitlines() if self.audit.exists() else []:
            e = json.loads(line)
            if e["stage"] == "ResponseComplete" and e["responseStatus"]["code"] < 300:
                found.append((e["user"]["username"], e["requestObject"]["metadata"].get("annotations", {})))
        return found

    def hang_up(self):
        pass

    def check(self):
        self.judge.check()
