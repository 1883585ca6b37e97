#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The rolling script on a pool of three hosts made of files. Each has a stand-in for gybe-node that does what the annotations say
with the real gybe: stage, finalize, boot, commit; what kubectl would do happens in a file (kubernetes/kubectl-on-files)."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from cases import Cases
from sandbox import MIB, Host, gybe, keygen, releases, status

KUBERNETES = HERE.parent / "kubernetes"
PREFIX = "acl.microsoft.com"
SERVER = ["--server", "https://updates.example.net/v1/update", "--app-id", "app", "--track", "stable"]


class Cluster:
    """Nodes in a file, and for each a thread that is its gybe-node."""

    def __init__(self, folder, hosts, cosis, breaks=(), undrainable=None):
        self.path = folder / "cluster.json"
        self.hosts, self.cosis, self.breaks = hosts, cosis, set(breaks)
        node = lambda n: {"metadata": {"name": n, "labels": {"pool": "np1"}, "annotations": {}}, "spec": {}}
        nodes = {n: node(n) for n in hosts}
        nodes["other-pool"] = {"metadata": {"name": "other-pool", "labels": {"pool": "np2"}, "annotations": {}}, "spec": {}}
        self.path.write_text(json.dumps({"nodes": nodes, "calls": [], "undrainable": undrainable}))
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.agent, args=(n,), daemon=True) for n in hosts]
        for t in self.threads:
            t.start()

    def close(self):
        self.ended.set()
        for t in self.threads:
            t.join()

    def change(self, f):
        with open(self.path, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            cluster = json.load(file)
            out = f(cluster)
            file.seek(0)
            json.dump(cluster, file)
            file.truncate()
        return out

    def read(self):
        return self.change(lambda c: c)

    def agent(self, name):
        done = None
        while not self.ended.wait(0.05):
            text = self.read()["nodes"][name]["metadata"]["annotations"].get(f"{PREFIX}/update-request")
            request = json.loads(text) if text else {}
            if request.get("operationId") in (None, done):
                continue
            done = request["operationId"]
            try:
                self.serve(name, request)
            except Exception as e:
                self.tell(name, request, "AgentInternalError", str(e))

    def tell(self, name, request, code, message="", key="update-status", operation=None):
        s = {k: request[k] for k in ("schemaVersion", "nodeUpdateId", "operationId", "operation")} | {"code": code, "message": message}
        if operation:
            s["operation"] = operation

        def put(cluster):
            cluster["nodes"][name]["metadata"]["annotations"][f"{PREFIX}/{key}"] = json.dumps(s)
        self.change(put)

    def serve(self, name, request):
        host, operation = self.hosts[name], request["operation"]
        s = status(host)
        if operation != "rollback" and s["version"] == request["targetVersion"]:
            return self.tell(name, request, "AlreadyAtTarget")
        self.tell(name, request, "InProgress")
        if operation == "stage":
            r = gybe(host, "stage", self.cosis[request["targetVersion"]], check=False)
            return self.tell(name, request, "Success" if r.returncode in (0, 10) else "OperationFailed", r.stderr)
        r = gybe(host, "finalize" if operation == "finalize" else "rollback", check=False)
        if r.returncode != 0:
            return self.tell(name, request, "OperationFailed", r.stderr)
        before = s["running"]
        self.tell(name, request, "Success", "rebooting")
        host.boot(fail_oneshot=name in self.breaks)
        gybe(host, "commit", check=False)
        code = "Success" if status(host)["running"] != before else "TargetBootFailed"
        self.tell(name, request, code, key="update-commit-status", operation="commit")

    def roll(self, *argv):
        r = subprocess.run([str(KUBERNETES / "roll"), "--kubectl", str(KUBERNETES / "kubectl-on-files"), "--interval", "0.05",
                            "--timeout", "120", "-l", "pool=np1", *argv], capture_output=True, text=True, timeout=600,
                           env={**os.environ, "GYBE_FAKE_CLUSTER": str(self.path)})
        return r.returncode, r.stdout + r.stderr

    def versions(self):
        return {n: status(h)["version"] for n, h in self.hosts.items()}

    def cordoned(self):
        return sorted(n for n, node in self.read()["nodes"].items() if node["spec"].get("unschedulable"))

    def most(self):
        """How many nodes were cordoned at the same time, since this was asked last."""
        def look(cluster):
            calls, cluster["calls"] = cluster["calls"], []
            now, most = set(), 0
            for c in calls:
                if c[0] in ("cordon", "uncordon"):
                    now = now | {c[1]} if c[0] == "cordon" else now - {c[1]}
                    most = max(most, len(now))
            return most
        return self.change(look)

    def verbs(self, name):
        return [c[0] for c in self.read()["calls"] if name in c and c[0] in ("cordon", "drain", "uncordon")]


class Test(Cases):
    def __init__(self, work):
        self.work = work
        keys = keygen(work / "keys")
        images, self.cosis = releases(work, keys, ("3.0.1", "3.0.2"), floor=lambda serial: 1000, size=2 * MIB)
        self.fresh = Host(work / "fresh", usr_size=2 * MIB)
        self.fresh.install(images["3.0.1"], trust_root=keys / "root.json", policy={"attempts": 1, "soak": "0s"})
        self.n = 0

    def cluster(self, **options):
        self.n += 1
        hosts = {name: self.fresh.clone(self.work / f"pool-{self.n}" / name) for name in ("node-1", "node-2", "node-3")}
        return Cluster(self.work / f"pool-{self.n}", hosts, self.cosis, **options)


def main():
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gybe-roll-", dir=memory) as tmp:
        t = Test(Path(tmp))
        cases(t)
    return t.end()


def cases(t):
    @t.case
    def _():
        """a pool goes to v2 one at a time: cordon, drain, flip, uncordon; again: nothing to do; and back"""
        c = t.cluster()
        code, text = c.roll("--version", "3.0.2", *SERVER)
        assert code == 0 and set(c.versions().values()) == {"3.0.2"}, text
        assert not c.cordoned(), c.cordoned()
        for name in c.hosts:
            assert c.verbs(name) == ["cordon", "drain", "uncordon"], c.verbs(name)
        assert not c.verbs("other-pool")
        code, text = c.roll("--version", "3.0.2", *SERVER)
        assert code == 0 and text.count("runs it already") == 3 and c.verbs("node-1").count("drain") == 1, text
        assert c.most() == 1
        code, text = c.roll("--rollback", "--at-once", "2")
        assert code == 0 and set(c.versions().values()) == {"3.0.1"} and c.most() == 2, text
        c.close()

    @t.case
    def _():
        """a node falls back: it stays cordoned, the next is not begun; --roll-back-all sends back what was updated"""
        c = t.cluster(breaks=["node-2"])
        code, text = c.roll("--version", "3.0.2", *SERVER)
        assert code == 1 and "TargetBootFailed" in text and "not begun: node-3" in text, text
        assert c.versions() == {"node-1": "3.0.2", "node-2": "3.0.1", "node-3": "3.0.1"}, c.versions()
        assert c.cordoned() == ["node-2"] and c.verbs("node-3") == []
        c.close()
        c = t.cluster(breaks=["node-2"])
        code, text = c.roll("--version", "3.0.2", "--roll-back-all", *SERVER)
        assert code == 1 and set(c.versions().values()) == {"3.0.1"} and c.cordoned() == ["node-2"], text
        c.close()

    @t.case
    def _():
        """a node that cannot be drained is not flipped; another threshold goes on; somebody else's cordon is left alone"""
        c = t.cluster(undrainable="node-1")
        c.change(lambda cluster: cluster["nodes"]["node-3"]["spec"].update(unschedulable=True))
        code, text = c.roll("--version", "3.0.2", "--max-failures", "2", *SERVER)
        assert code == 1 and "disruption budget" in text, text
        assert c.versions() == {"node-1": "3.0.1", "node-2": "3.0.2", "node-3": "3.0.2"}, c.versions()
        assert status(c.hosts["node-1"])["phase"] == "staged"
        assert c.cordoned() == ["node-1", "node-3"] and "uncordon" not in c.verbs("node-3"), c.cordoned()
        c.close()

    @t.case
    def _():
        """what is asked for is checked; --dry-run writes nothing"""
        c = t.cluster()
        assert c.roll("--version", "3.0.2")[0] == 2
        code, text = c.roll("--version", "3.0.2", "--dry-run", *SERVER)
        assert code == 0 and "3 nodes" in text and [x[0] for x in c.read()["calls"]] == ["get"], text
        assert c.roll("--version", "9.9.9", *SERVER)[0] == 1
        c.close()


if __name__ == "__main__":
    sys.exit(main())
