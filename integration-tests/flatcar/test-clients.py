#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The programs that reboot Flatcar machines, as their projects publish them, against gybed on a Flatcar host made of files: they see
/run of that host, a bus with gybed and a logind that only writes down who wants to reboot, and nothing else of this machine.

    sudo GYBE_LOCKSMITHD=/path/to/locksmithd integration-tests/flatcar/test-clients.py locksmithd
    sudo GYBE_FLUO_AGENT=/path/to/update-agent integration-tests/flatcar/test-clients.py fluo      # and a real kube-apiserver
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "kubernetes")]
import agentbus
import flatcar
import mockbus
from agentbus import Agent, Bus
from cases import Cases
from contract import Authority
from flatcar import Flatcar
from realapi import RealApi
from sandbox import BUILD, MIB, SOURCE, gybe, image, keygen, program, publish, sign, status

NODE = "node-1"
COORDINATOR = "/run/update-engine/coordinator.conf"
FLUO = "flatcar-linux-update.v1.flatcar-linux.net/"
IDLE, NEED_REBOOT = "UPDATE_STATUS_IDLE", "UPDATE_STATUS_UPDATED_NEED_REBOOT"
PROGRAMS = {"locksmithd": "GYBE_LOCKSMITHD", "fluo": "GYBE_FLUO_AGENT"}

LOGIN = "org.freedesktop.login1"
POLICIES = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><include>{ours}/org.gybe.Update1.conf</include><include>{ours}/com.coreos.update1.conf</include></busconfig>"""


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def wait(what, client=None, seconds=180):
    """A client that ended by itself is the end of waiting."""
    return agentbus.wait(lambda: (client is None or client.alive()) and what(), seconds)


class Jail:
    """A folder that a client takes for its machine: the host's own /run and os-release, Flatcar's files of configuration, the bus
    where a machine has it (the D-Bus library in locksmithd misreads an address from the environment)."""

    MOUNTS = """set -e
    bind() { mkdir -p "$JAIL$2"; mount --rbind "$1" "$JAIL$2"; }
    bind "$RUN" /run; bind /usr/lib /usr/lib; [ ! -d /usr/lib64 ] || bind /usr/lib64 /usr/lib64
    mkdir -p "$RUN/dbus"; : > "$RUN/dbus/system_bus_socket"; mount --bind "$BUS" "$JAIL/run/dbus/system_bus_socket"
    exec chroot "$JAIL" "$@" """

    def __init__(self, t, host, binary, *argv, **env):
        self.dir = Path(tempfile.mkdtemp(prefix="jail-", dir=t.work))
        for d in ("bin", "etc/flatcar", "usr/share/flatcar", "var", "dev"):
            (self.dir / d).mkdir(parents=True)
        for link, to in (("lib", "usr/lib"), ("lib64", "usr/lib64"), ("var/run", "../run")):
            (self.dir / link).symlink_to(to)
        shutil.copy(host.path("/etc/os-release"), self.dir / "etc/os-release")
        (self.dir / "usr/share/flatcar/update.conf").write_text("GROUP=stable\nSERVER=https://nebraska.example.net/v1/update/\n")
        (self.dir / "etc/flatcar/update.conf").write_text("GROUP=beta\nREBOOT_STRATEGY=reboot\n")
        shutil.copy(binary, self.dir / "bin" / argv[0])
        self.log = self.dir / "log"
        environ = {**os.environ, "JAIL": str(self.dir), "RUN": str(host.path("/run")), "BUS": str(t.bus.folder / "bus"), **env}
        self.process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", self.MOUNTS, "sh", f"/bin/{argv[0]}",
                                         *argv[1:]], env=environ, stdin=subprocess.DEVNULL, stdout=open(self.log, "w"), stderr=subprocess.STDOUT)
        t.started.append(self)

    def alive(self):
        assert self.process.poll() is None, f"the client ended with {self.process.returncode}"
        return True

    def said(self, text):
        return text in self.log.read_text()

    def reboots(self, logind):
        """Waits until it has asked for a reboot: once, and as both clients do."""
        wait(lambda: logind.calls, self)
        assert logind.calls == [["Reboot", False]], logind.calls

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Test(Cases):
    def __init__(self, work, bus, logind, binary):
        self.work, self.bus, self.logind, self.binary = work, bus, logind, binary
        self.keys = keygen(work / "keys")
        self.feed = work / "feed"
        self.feed.mkdir()
        self.images = []
        for n, version in enumerate(("4000.1.0", "4000.2.0"), 1):
            img = image(work / version, version, size=4 * MIB)
            img.os_release.write_text(f"ID=flatcar\nVERSION_ID={version}\nVERSION={version}\n")
            cosi = flatcar.build(img, work / f"flatcar-{version}.cosi")
            sign(cosi, [self.keys / "release.pem"], version, 1000 + n, "--floor", 1000, product="flatcar")
            self.images.append(img)
        publish(self.feed, self.keys, work / "flatcar-4000.2.0.cosi")
        self.n, self.started = 0, []

    def host(self, **policy):
        self.n += 1
        h = Flatcar(self.work / f"host{self.n}", usr_size=5 * MIB)
        h.install(self.images[0], trust_root=self.keys / "root.json",
                  config={"source": {"type": "feed", "url": f"file://{self.feed}/index.json", "interval": "30d"}, "bootloader": "gptprio",
                          "compat": {"coreosUpdate1": True}},
                  policy={"automation": "check", "soak": "0s", "attempts": 1, "reboot": {"coordinator": "dbus"}, **policy})
        h.knows(*self.images)
        h.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ncore:x:500:500:core:/:/bin/sh\n")
        self.logind.log.write_text("")
        return h

    def agent(self, host):
        a = Agent(self.bus, host, program("gybed"))
        self.started.append(a)
        a.start().rest()
        return a

    def call(self, member):
        r = self.bus.run("busctl", "--system", "--json=short", "call", "com.coreos.update1", "/com/coreos/update1", "com.coreos.update1.Manager",
                         member)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)["data"] if r.stdout.strip() else None

    def status(self):
        return self.call("GetStatus")[2]

    def failed_at(self):
        return "\n".join(line for c in self.started if isinstance(c, Jail) for line in c.log.read_text().splitlines()[-15:])

    def over(self):
        for c in reversed(self.started):
            c.stop()
        self.started.clear()


def reboot(t, host, agent, client, **how):
    """What the machine does when logind was asked: everything ends, GRUB chooses, gybe-commit.service settles, gybed starts."""
    client.stop()
    agent.stop()
    slot = host.boot(**how)
    gybe(host, "commit", check=False)
    t.logind.log.write_text("")
    return slot, t.agent(host)


# --- locksmithd ---

def locksmith_cases(t):
    def locksmithd(host):
        return Jail(t, host, t.binary, "locksmithd", REBOOT_STRATEGY="reboot")

    def running(host, client):
        wait(lambda: client.said("locksmithd starting") and "STATE=running" in host.path(COORDINATOR).read_text(), client)

    def locked(host):
        with open(host.path(COORDINATOR)) as f:
            try:
                fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            except BlockingIOError:
                return True

    @t.case
    def _():
        """locksmithd sleeps while an update is only staged, reboots once when it is armed, and not again in the new slot"""
        h = t.host()
        a = t.agent(h)
        client = locksmithd(h)
        running(h, client)
        assert client.said(f'currentOperation="{IDLE}"') and locked(h)
        gybe(h, "stage", env=t.bus.environ)
        a.rest()
        time.sleep(5)
        assert not t.logind.calls and t.status() == IDLE and "STATE=running" in h.path(COORDINATOR).read_text()
        assert h.table() == {"a": (1, 0, 1), "b": (0, 0, 0)}, h.table()
        gybe(h, "finalize", env=t.bus.environ)
        client.reboots(t.logind)
        assert t.status() == NEED_REBOOT
        assert h.table() == {"a": (1, 0, 1), "b": (2, 1, 0)} and status(h)["phase"] == "finalized", h.table()
        wait(lambda: "STATE=rebooting" in h.path(COORDINATOR).read_text())
        assert locked(h) and "NAME=locksmithd" in h.path(COORDINATOR).read_text()
        slot, a = reboot(t, h, a, client)
        assert slot == "b" and status(h)["outcome"] == "committed" and t.status() == IDLE, status(h)
        client = locksmithd(h)
        running(h, client)
        time.sleep(5)
        assert not t.logind.calls, t.logind.calls

    @t.case
    def _():
        """locksmithd comes late: the update is armed already, so it reboots at once; the slot falls back, and it lets the machine be"""
        h = t.host()
        a = t.agent(h)
        gybe(h, "update", env=t.bus.environ)
        wait(lambda: t.status() == NEED_REBOOT)
        time.sleep(2)
        assert not t.logind.calls, "gybe has left the reboot to others"
        client = locksmithd(h)
        client.reboots(t.logind)
        slot, a = reboot(t, h, a, client, fail=True)
        assert slot == "a" and status(h)["outcome"] == "rolled-back" and t.status() == IDLE, status(h)
        client = locksmithd(h)
        running(h, client)
        time.sleep(5)
        assert not t.logind.calls and t.status() == IDLE, t.logind.calls

    @t.case
    def _():
        """AttemptUpdate, as update_engine_client asks: gybed stages and arms, locksmithd reboots, the new slot is committed"""
        h = t.host()
        a = t.agent(h)
        client = locksmithd(h)
        running(h, client)
        t.call("AttemptUpdate")
        client.reboots(t.logind)
        slot, a = reboot(t, h, a, client)
        assert slot == "b" and status(h)["outcome"] == "committed", status(h)


# --- FLUO ---

ROLE = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"]},
        {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]}]


def account(api):
    """The agent's service account, with what its documentation asks for; its token."""
    subject = {"kind": "ServiceAccount", "name": "update-agent", "namespace": "reboot-coordinator"}
    rbac = "rbac.authorization.k8s.io"
    for o in ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "reboot-coordinator"}},
              {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "update-agent", "namespace": "reboot-coordinator"}},
              {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "update-agent"}, "rules": ROLE},
              {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "update-agent"}, "subjects": [subject],
               "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "update-agent"}}):
        api.kubectl("apply", "-f", "-", input=json.dumps(o))
    return api.kubectl("create", "token", "-n", "reboot-coordinator", "update-agent", "--duration=2h").stdout.strip()


def fluo_cases(t, api):
    token = account(api)

    def agent(host):
        secrets = host.path("/run/secrets/kubernetes.io/serviceaccount")
        secrets.mkdir(parents=True, exist_ok=True)
        (secrets / "token").write_text(token)
        shutil.copy(api.authority.ca, secrets / "ca.crt")
        return Jail(t, host, t.binary, "update-agent", "-node", NODE, "-grace-period", "60", KUBERNETES_SERVICE_HOST="127.0.0.1",
                    KUBERNETES_SERVICE_PORT=str(api.port))

    def says(**wanted):
        have = api.annotations()
        return all(have.get(FLUO + k.replace("_", "-")) == v for k, v in wanted.items())

    def fresh_node():
        """kubelet gives a Node its labels; without any the agent does not start."""
        api.delete()
        api.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": NODE, "labels": {"kubernetes.io/hostname": NODE}, "annotations": {"node.alpha.kubernetes.io/ttl": "0"}}}))

    def ok(value):
        api.annotate(FLUO + "reboot-ok", value)

    def pod():
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "11111111-2222-3333-4444-555555555555", "controller": True}
        api.kubectl("apply", "-f", "-", input=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "ownerReferences": [owner]},
            "spec": {"nodeName": NODE, "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "x"}]}}))

    def pods():
        return api.kubectl("get", "pods", "-n", "default", "-o", "name").stdout.split()

    @t.case
    def _():
        """FLUO's agent: staged is no reason; armed is reboot-needed; with reboot-ok it cordons, drains, reboots; in the new slot it is idle"""
        fresh_node()
        pod()
        h = t.host()
        a = t.agent(h)
        client = agent(h)
        wait(lambda: client.said("Waiting for ok-to-reboot") and says(status=IDLE, reboot_needed="false"), client)
        labels = api.node()["metadata"]["labels"]
        assert (labels[FLUO + "id"], labels[FLUO + "group"], labels[FLUO + "version"]) == ("flatcar", "beta", "4000.1.0"), labels
        gybe(h, "stage", env=t.bus.environ)
        a.rest()
        time.sleep(5)
        assert says(reboot_needed="false") and not says(status=NEED_REBOOT) and t.status() == IDLE, api.annotations()
        gybe(h, "finalize", env=t.bus.environ)
        wait(lambda: says(status=NEED_REBOOT, reboot_needed="true", new_version="4000.2.0"), client)
        assert api.node()["metadata"]["labels"][FLUO + "reboot-needed"] == "true"
        time.sleep(5)
        assert not t.logind.calls and pods() == ["pod/web"] and not api.node()["spec"].get("unschedulable"), "nobody has said reboot-ok"
        ok("true")
        client.reboots(t.logind)
        assert says(reboot_in_progress="true", agent_made_unschedulable="true"), api.annotations()
        assert pods() == [] and api.node()["spec"]["unschedulable"], "drained before the reboot"
        assert h.table() == {"a": (1, 0, 1), "b": (2, 1, 0)}, h.table()
        slot, a = reboot(t, h, a, client)
        assert slot == "b" and status(h)["outcome"] == "committed", status(h)
        client = agent(h)
        wait(lambda: says(reboot_needed="false", reboot_in_progress="false"), client)
        ok("false")                                   # the operator has seen it
        wait(lambda: says(status=IDLE, agent_made_unschedulable="false") and not api.node()["spec"].get("unschedulable"), client)
        assert api.node()["metadata"]["labels"][FLUO + "version"] == "4000.2.0"
        time.sleep(5)
        assert not t.logind.calls and says(reboot_needed="false"), t.logind.calls

    @t.case
    def _():
        """FLUO's agent comes late: armed already; the slot falls back: no reboot is needed, also where reboot-ok still stands"""
        fresh_node()
        h = t.host()
        a = t.agent(h)
        gybe(h, "update", env=t.bus.environ)
        client = agent(h)
        wait(lambda: says(status=NEED_REBOOT, reboot_needed="true"), client)
        assert not t.logind.calls, "neither gybe nor the agent may reboot yet"
        ok("true")
        client.reboots(t.logind)
        slot, a = reboot(t, h, a, client, fail=True)
        assert slot == "a" and status(h)["outcome"] == "rolled-back", status(h)
        client = agent(h)
        wait(lambda: says(reboot_needed="false", reboot_in_progress="false"), client)
        ok("false")
        wait(lambda: says(status=IDLE), client)
        time.sleep(5)
        assert not t.logind.calls and says(reboot_needed="false"), api.annotations()

    @t.case
    def _():
        """FLUO's agent with gybed restarted under it: the armed update is told once more, by the signal at start"""
        fresh_node()
        h = t.host()
        a = t.agent(h)
        client = agent(h)
        wait(lambda: says(status=IDLE), client)
        a.stop()
        gybe(h, "update", env=t.bus.environ)
        time.sleep(2)
        assert says(status=IDLE, reboot_needed="false"), api.annotations()
        a = t.agent(h)
        wait(lambda: says(status=NEED_REBOOT, reboot_needed="true"), client)
        assert client.process.poll() is None and not t.logind.calls


def main():
    which = sys.argv.pop(1) if len(sys.argv) > 1 else ""       # what follows chooses cases
    if which not in PROGRAMS:
        print(__doc__)
        return 2
    if os.geteuid() != 0:
        skip("run it as root: it makes a mount namespace for the client")
    name = PROGRAMS[which]
    binary = os.environ.get(name) or shutil.which({"locksmithd": "locksmithd", "fluo": "update-agent"}[which])
    if not binary:
        skip(f"no {which}: set {name} to the program, as its project publishes it")
    cluster = None
    if which == "fluo":
        built = subprocess.run([HERE.parent / "kubernetes/build-cluster"], stdout=subprocess.PIPE, text=True)
        if built.returncode:
            skip("build-cluster has no kube-apiserver for it")
        cluster = built.stdout.strip().splitlines()[-1]
    os.environ.setdefault("GYBE_LIBEXEC", str(BUILD))
    with tempfile.TemporaryDirectory(prefix="gybe-clients-") as tmp:
        work = Path(tmp)
        work.chmod(0o755)
        policies = work / "policies.conf"
        policies.write_text(POLICIES.format(ours=SOURCE / "policy"))
        api = None
        try:
            with Bus(work / "bus", policies, own=[LOGIN]) as bus, mockbus.MockBus(work / "bus", bus.address) as logind:
                logind.serve(names=[LOGIN])
                bus.environ.update(logind.environ)     # a gybe that reboots by itself would be written down, too
                t = Test(work, bus, logind, binary)
                if cluster:
                    api = RealApi(cluster, work / "cluster", Authority(work / "pki"), NODE)
                    fluo_cases(t, api)
                else:
                    locksmith_cases(t)
        finally:
            if api:
                api.close()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
