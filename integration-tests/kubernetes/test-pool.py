#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The rolling script on a pool of three hosts made of files, on a real kube-apiserver with RBAC, the Node authorizer and
NodeRestriction. Each host has its own system bus, gybed and gybe-node, asks an Omaha server for its releases, and reboots when its
logind is asked to. Two of them are kubelet to the API server, the third has the service account of units/examples/kubernetes, and
`roll` that of its own.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
sys.path.insert(0, str(HERE))
import web
from cases import Cases
from contract import COMMIT, REQUEST, STATUS, Authority, kubeconfig, request
from machine import PATIENCE, Machine, wait
from nebraska import Nebraska
from realapi import RealApi
from sandbox import BUILD, MIB, SOURCE, Host, keygen, releases, status

spec = importlib.util.spec_from_file_location("omaha", HERE.parent / "walk" / "test-omaha.py")
omaha = importlib.util.module_from_spec(spec)
spec.loader.exec_module(omaha)
EXAMPLES = SOURCE / "units/examples/kubernetes"
NAMES = ("node-1", "node-2", "node-3")
VERSIONS = ("3.0.1", "3.0.2", "3.0.3")
NODE_ACCOUNT, ROLL_ACCOUNT = "gybe-node", "gybe-roll"


class Pool(Cases):
    def __init__(self, work, bin_folder):
        self.work, self.authority, self.breaks = work, Authority(work / "pki"), set()
        keys = keygen(work / "keys")
        files = work / "files"
        files.mkdir()
        images, _ = releases(files, keys, VERSIONS, floor=lambda serial: 1000, size=4 * MIB)
        self.files = web.files(files)
        self.omaha = Nebraska(track="pool", tls=self.authority.issue("omaha", "/CN=updates", "IP:127.0.0.1", "serverAuth"))
        self.offer("3.0.2")
        self.fresh = Host(work / "fresh", usr_size=4 * MIB)
        self.fresh.install(images["3.0.1"], trust_root=keys / "root.json")
        self.api = RealApi(bin_folder, work / "cluster", self.authority)
        self.roll_conf = work / "roll.conf"
        self.machines, self.threads, self.ended, self.faults = {}, [], threading.Event(), []

    def offer(self, version):
        self.omaha.package(version, self.files.url, f"acl-{version}.cosi")

    # --- the cluster ---

    def create_nodes(self):
        for name in (*NAMES, "other"):
            self.api.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {
                "name": name, "labels": {"pool": "np2" if name == "other" else "np1", "kubernetes.io/hostname": name}}}))

    def token(self, account, *bound):
        return self.api.kubectl("create", "token", account, "-n", "kube-system", "--duration", "1h", *bound).stdout.strip()

    def node_token(self, node):
        uid = self.api.kubectl("get", "node", node, "-o", "jsonpath={.metadata.uid}").stdout
        return self.token(NODE_ACCOUNT, "--bound-object-kind", "Node", "--bound-object-name", node, "--bound-object-uid", uid)

    def conf(self, name, **user):
        return kubeconfig(self.work / f"{name}.conf", self.api.url, self.authority.ca, user)

    def kubelet(self, node):
        pem = str(self.authority.issue(f"kubelet-{node}", f"/O=system:nodes/CN=system:node:{node}"))
        return self.conf(f"kubelet-{node}", **{"client-certificate": pem, "client-key": pem})

    def try_as(self, conf, *argv, **more):
        r = subprocess.run([str(self.api.bin / "kubectl"), "--kubeconfig", str(conf), *map(str, argv)], capture_output=True, text=True,
                           env={**os.environ, "HOME": str(self.work)}, **more)
        return r.returncode == 0, r.stdout + r.stderr

    def pod(self, name, node):
        """Of a ReplicaSet that nobody keeps, so that it does not come back; no kubelet has to end it."""
        self.api.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": name, "namespace": "default", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
            "uid": "5b0b3b2e-0000-4000-8000-000000000001", "controller": True}]},
            "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
                     "containers": [{"name": "c", "image": "registry.example/pause"}]}}))

    def pods(self):
        return self.api.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}").stdout.split()

    # --- the hosts ---

    def machine(self, name):
        where = self.work / name
        where.mkdir()
        where.chmod(0o755)
        m = Machine(self, where, self.api, name, logind=True, policy={"attempts": 1, "soak": "0s"},
                    config={"http": {"ca": "/etc/gybe/ca.pem"}})
        shutil.copy(self.authority.ca, m.host.path("/etc/gybe/ca.pem"))
        m.host.write("/etc/machine-id", f"{name[-1] * 32}\n")
        if name == "node-3":        # as a pod has it: no kubeconfig at all
            host, port = self.api.url.removeprefix("https://").split(":")
            m.host.path("/var/lib/kubelet/kubeconfig").unlink()
            m.env = {**m.env, "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port,
                     "TRIDENT_ACL_AGENT_KUBERNETES_KUBECONFIG": "in-cluster"}
            shutil.copytree(m.host.path(m.pki), m.host.path("/var/run/secrets/kubernetes.io/serviceaccount"), symlinks=True)
            m.host.write("/var/run/secrets/kubernetes.io/serviceaccount/token", self.node_token(name))
        return m

    def start(self):
        for name in NAMES:
            m = self.machines[name] = self.machine(name)
            m.start()
            self.threads.append(threading.Thread(target=self.live, args=(m,), daemon=True))
            self.threads[-1].start()

    def live(self, m):
        """The machine's power supply."""
        try:
            while not self.ended.wait(0.1):
                if m.wants_reboot():
                    m.reboot(fail_oneshot=m.name in self.breaks)
        except Exception as e:
            self.faults.append(f"{m.name}: {e!r}")

    def close(self):
        self.ended.set()
        for t in self.threads:
            t.join(60)
        for m in self.machines.values():
            m.close()
        self.api.close()
        self.omaha.stop()
        self.files.stop()

    def roll(self, *argv):
        r = subprocess.run([str(HERE / "roll"), "--kubectl", str(self.api.bin / "kubectl"), "--interval", "0.5", "--timeout", str(PATIENCE),
                            "--drain-timeout", "60s", *argv], capture_output=True, text=True, timeout=4 * PATIENCE,
                           env={**os.environ, "KUBECONFIG": str(self.roll_conf), "HOME": str(self.work)})
        assert not self.faults, self.faults
        return r.returncode, r.stdout + r.stderr

    def to(self, version):
        return self.roll("-l", "pool=np1", "--version", version, "--server", self.omaha.url, "--app-id", self.omaha.app, "--track", "pool")

    def versions(self):
        return {name: status(m.host)["version"] for name, m in self.machines.items()}

    def cordoned(self):
        return self.api.kubectl("get", "nodes", "-o", "jsonpath={.items[?(@.spec.unschedulable==true)].metadata.name}").stdout.split()

    def failed_at(self):
        return "\n".join(f"{m.name}: " + "\n".join(m.log.read_text().splitlines()[-12:]) for m in self.machines.values())


class Cordons:
    """How many nodes of the pool were cordoned at one time, as a watch saw it."""

    def __init__(self, pool):
        self.most, self.now = 0, set()
        self.process = subprocess.Popen([str(pool.api.bin / "kubectl"), "--kubeconfig", str(pool.api.admin), "get", "nodes", "--watch", "-o",
                                         'jsonpath={.metadata.name} {.spec.unschedulable}{"\\n"}'], stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            name, _, flag = line.strip().partition(" ")
            self.now = self.now | {name} if flag == "true" else self.now - {name}
            self.most = max(self.most, len(self.now))

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.thread.join()
        return self.most


def rules_of(text):
    """`kubectl auth can-i --list` without what everybody may: {(resource, verbs)}."""
    out = set()
    for line in text.splitlines()[1:]:
        resource, verbs = line.split()[0], line[line.rindex("["):]
        if not resource.startswith(("self", "[")):
            out.add((resource, verbs))
    return out


def cases(p):
    @p.case
    def _():
        """the two service accounts may do what the manifests say, and nothing else"""
        p.create_nodes()
        for name in ("node.yaml", "roll.yaml"):
            p.api.kubectl("apply", "-f", EXAMPLES / name)
        node, roll = (p.conf(a, token=p.token(a)) for a in (NODE_ACCOUNT, ROLL_ACCOUNT))
        shutil.copy(roll, p.roll_conf)
        allowed = {node: {("nodes", "[get list watch patch]")},
                   roll: {("nodes", "[get list patch]"), ("pods", "[get list]"), ("pods/eviction", "[create]"), ("daemonsets.apps", "[get]")}}
        for conf, expected in allowed.items():
            wait(lambda: p.try_as(conf, "auth", "can-i", "get", "nodes")[0])
            said = rules_of(p.try_as(conf, "auth", "can-i", "--list")[1])
            assert said == expected, said
            for verb in (["delete", "nodes"], ["update", "nodes"], ["create", "nodes"], ["patch", "nodes", "--subresource=status"],
                         ["get", "secrets", "-A"], ["delete", "pods", "-A"], ["create", "pods", "-A"], ["create", "serviceaccounts", "--subresource=token"],
                         ["patch", "validatingadmissionpolicies"], ["escalate", "clusterroles"], ["impersonate", "users"], ["get", "configmaps", "-A"]):
                assert not p.try_as(conf, "auth", "can-i", *verb)[0], (conf.name, verb)
        assert not p.try_as(node, "auth", "can-i", "create", "pods", "--subresource=eviction", "-A")[0]

    @p.case
    def _():
        """gybe-node's account: its two annotations and nothing else of a Node; a token bound to one Node is for no other"""
        any_node, one = p.conf("any", token=p.token(NODE_ACCOUNT)), p.conf("one", token=p.node_token("node-3"))

        def patch(conf, node, body):
            return p.try_as(conf, "patch", "node", node, "--type", "merge", "-p", json.dumps(body))

        notes = lambda **more: {"metadata": {"annotations": more}}
        p.api.kubectl("annotate", "node", "other", "probe=1")
        # a policy counts a moment after it was made
        wait(lambda: not patch(any_node, "other", notes(probe=str(time.monotonic())))[0])
        for conf, node, body, word in ((any_node, "other", {"metadata": {"labels": {"x": "y"}}}, "annotations, nothing else"),
                                       (any_node, "other", {"spec": {"unschedulable": True}}, "annotations, nothing else"),
                                       (any_node, "other", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, "nothing else"),
                                       (any_node, "other", {"metadata": {"finalizers": ["x.example/y"]}}, "nothing else"),
                                       (any_node, "other", notes(**{REQUEST: "{}"}), "no other annotation"),
                                       (any_node, "other", notes(probe=None), "takes no annotation away"),
                                       (one, "other", notes(**{STATUS: "{}"}), "this token is for node-3")):
            good, text = patch(conf, node, body)
            assert not good and word in text, (node, body, text)
        said = {**{k: request("rollback")[k] for k in ("schemaVersion", "nodeUpdateId", "operationId")}, "operation": "rollback",
                "code": "InProgress", "message": "a test", "tridentVersion": "none", "startedUtc": "2026-11-21T12:00:00Z",
                "lastUpdatedUtc": "2026-11-21T12:00:00Z"}
        good, text = patch(any_node, "other", notes(**{STATUS: json.dumps(said), COMMIT: json.dumps({**said, "operation": "commit"})}))
        assert good, text
        good, text = patch(any_node, "other", notes(**{STATUS: None, COMMIT: None}))
        assert good, text

    @p.case
    def _():
        """kubelet's identity: its own Node's annotations; no other Node, no taint, no list of all"""
        conf = p.kubelet("node-1")
        own = ("--field-selector", "metadata.name=node-1")
        for argv in (["get", "node", "node-1"], ["get", "nodes", *own], ["annotate", "node", "node-1", "x.example/probe=1"],
                     ["annotate", "node", "node-1", "x.example/probe-"]):
            good, text = p.try_as(conf, *argv)
            assert good, (argv, text)
        for argv in (["annotate", "node", "node-2", "x.example/probe=1"], ["taint", "node", "node-1", "a=b:NoSchedule"], ["get", "nodes"],
                     ["get", "node", "node-2"], ["label", "node", "node-1", "node-restriction.kubernetes.io/x=y"], ["delete", "node", "node-1"]):
            good, text = p.try_as(conf, *argv)
            assert not good and "orbidden" in text, (argv, text)

    @p.case
    def _():
        """three nodes go from v1 to v2, one at a time: drained, updated from the Omaha server, judged, uncordoned; again: nothing to do"""
        p.start()
        for n in NAMES:
            p.pod(f"web-{n}", n)
        p.pod("web-other", "other")
        cordons = Cordons(p)
        code, text = p.to("3.0.2")
        print("    " + text.strip().replace("\n", "\n    "), flush=True)
        assert code == 0 and set(p.versions().values()) == {"3.0.2"}, text
        assert cordons.close() == 1 and not p.cordoned(), (cordons.most, p.cordoned())
        assert p.pods() == ["web-other"], p.pods()
        for m in p.machines.values():
            assert m.host.path("/var/lib/gybe-node/state.json").exists() and [e["how"] for e in m.events_of("staged")] == ["dbus"], m.name
        wait(lambda: [i.status for i in p.omaha.instances.values()] == ["complete"] * 3)
        assert all(i.history == omaha.STORY and i.version == "3.0.2" for i in p.omaha.instances.values()), p.omaha.instances
        code, text = p.to("3.0.2")
        assert code == 0 and text.count("runs it already") == 3 and not p.cordoned(), text
        p.api.check()
        wrong = [w for w in p.omaha.wrong if "came twice" not in w]     # a reboot in the middle of telling
        assert not wrong, wrong

    @p.case
    def _():
        """a node falls back on the way to v3: it stays cordoned, nothing more is begun; a rolled token does not matter; then one goes back"""
        p.offer("3.0.3")
        p.breaks.add("node-2")
        p.machines["node-3"].host.write("/var/run/secrets/kubernetes.io/serviceaccount/token", p.node_token("node-3"))
        code, text = p.to("3.0.3")
        print("    " + text.strip().replace("\n", "\n    "), flush=True)
        assert code == 1 and "TargetBootFailed" in text and "not begun: node-3" in text, text
        assert p.versions() == {"node-1": "3.0.3", "node-2": "3.0.2", "node-3": "3.0.2"}, p.versions()
        assert p.cordoned() == ["node-2"] and p.machines["node-3"].journal()["phase"] == "staged", p.cordoned()
        machine = next(i for i in p.omaha.instances.values() if i.status == "error")
        assert machine.errors and len([i for i in p.omaha.instances.values() if i.status == "error"]) == 1
        p.breaks.clear()
        code, text = p.roll("--rollback", "-l", "kubernetes.io/hostname=node-1")
        assert code == 0 and p.versions()["node-1"] == "3.0.2" and p.cordoned() == ["node-2"], text
        p.api.check()


def main():
    for tool in ("dbus-daemon", "busctl", "openssl"):
        if not shutil.which(tool):
            print(f"skipped: no {tool} here")
            return 77
    os.environ.setdefault("GYBE_LIBEXEC", str(BUILD))
    built = subprocess.run([HERE / "build-cluster"], stdout=subprocess.PIPE, text=True)
    if built.returncode:
        return 77 if built.returncode == 77 else 1
    with tempfile.TemporaryDirectory(prefix="gybe-pool-") as tmp:
        work = Path(tmp)
        work.chmod(0o755)
        p = Pool(work, built.stdout.strip().splitlines()[-1])
        try:
            cases(p)
        finally:
            p.close()
        return p.end()


if __name__ == "__main__":
    sys.exit(main())
