# SPDX-License-Identifier: MIT
"""A machine that is a node of a Kubernetes cluster: its gybe-node is the shipped unit under a real systemd, unprivileged, with
polkit and the bus of a real system, and reads kubelet's files as kubelet leaves them. etcd and kube-apiserver run on this host
(kubernetes/build-cluster); all that anybody does is `kubectl annotate`."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import machine as vm
from agent import expect_end
from lab import Skip, expect

KUBERNETES = Path(__file__).resolve().parent.parent / "kubernetes"
NODE = "aks-pool1-00000a"       # not the machine's host name: AKS does not promise that
HOST = "10.0.2.2"               # this host, as QEMU's user network has it
SCENARIOS = []


def scenario(f):
    SCENARIOS.append((f.__name__.replace("_", "-"), f))
    return f


# AKS's own, for trident-acl-agent: each setting spelled out.
DROP_IN = "[Service]\n" + "".join(f"Environment=TRIDENT_ACL_AGENT_{line}\n" for line in """
KUBERNETES_ANNOTATION_PREFIX=acl.microsoft.com
KUBERNETES_KUBECONFIG=/var/lib/kubelet/kubeconfig
KUBERNETES_NODE_NAME_SOURCE=kubelet-cert
CURRENT_VERSION_PATH=/etc/os-release
CURRENT_VERSION_KEY=VERSION_ID
TRIDENT_SOCKET=unix:///run/trident/trident.sock
ORCHESTRATION_MODE=annotations
ORCHESTRATION_STATE_PATH=/var/lib/trident-acl-agent/state.json
ORCHESTRATION_STAGE_TIMEOUT=20m
ORCHESTRATION_FINALIZE_TIMEOUT=10m
ORCHESTRATION_HEARTBEAT_INTERVAL=60s
""".split())


def real_cluster(folder):
    """(RealApi, its authority), or Skip."""
    built = subprocess.run([KUBERNETES / "build-cluster"], capture_output=True, text=True)
    if built.returncode == 77:
        raise Skip(built.stderr.strip().splitlines()[-1])
    if built.returncode != 0:
        raise AssertionError(f"build-cluster: {built.stderr[-2000:]}")
    sys.path.insert(0, str(KUBERNETES))
    from contract import Authority
    from realapi import RealApi
    authority = Authority(folder / "pki")
    return RealApi(built.stdout.strip().splitlines()[-1], folder / "cluster", authority, NODE, also=[HOST]), authority


def kubelet_folder(folder, authority, url):
    """/var/lib/kubelet of a node that has joined: everything root's alone, the certificate behind a link that rotation swaps."""
    from contract import kubeconfig
    pki, secrets = folder / "pki", folder / "pods/1234/volumes/kubernetes.io~secret/token"
    pki.mkdir(parents=True)
    secrets.mkdir(parents=True)
    (secrets / "password").write_text("not for gybe\n")
    first = "kubelet-client-2026-11-21-10-00-00.pem"
    shutil.copy(authority.issue("kubelet", f"/O=system:nodes/CN=system:node:{NODE}"), pki / first)
    (pki / "kubelet-client-current.pem").symlink_to(f"/var/lib/kubelet/pki/{first}")
    current = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    kubeconfig(folder / "kubeconfig", url, "/etc/kubernetes/certs/ca.crt", {"client-certificate": current, "client-key": current})
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


class Orchestrator:
    """The one outside, with kubectl."""

    def __init__(self, lab, api):
        import contract
        self.lab, self.api, self.contract = lab, api, contract

    def ask(self, operation, target=None, update=None):
        request = self.contract.request(operation, target, update)
        self.api.annotate(self.contract.REQUEST, json.dumps(request))
        print(f"kubectl annotate: {operation} {target or ''}", flush=True)
        return request["operationId"], request["nodeUpdateId"]

    def wait(self, operation_id, code, commit=False, timeout=400):
        key, until, found = self.contract.COMMIT if commit else self.contract.STATUS, time.monotonic() + timeout * vm.PATIENCE, None
        while time.monotonic() < until:
            found = json.loads(self.api.annotations().get(key, "{}"))
            if found.get("operationId") == operation_id:
                if found["code"] == code:
                    print(f"{'commit-' if commit else ''}status: {json.dumps(found)}", flush=True)
                    return found
                expect(f"on the way to {code}: {found}", found["code"], "InProgress")
            time.sleep(2)
        raise AssertionError(f"{code} did not come: {found}")

    def taken(self, operation_id, timeout=120):
        """Until the node says anything about it."""
        until = time.monotonic() + timeout * vm.PATIENCE
        while json.loads(self.api.annotations().get(self.contract.STATUS, "{}")).get("operationId") != operation_id:
            expect("in time", time.monotonic() < until, True)
            time.sleep(0.3)

    def told(self):
        """[(annotation, document)] of every write that the API server took from the node, in its order."""
        return [(key, json.loads(value)) for who, annotations in self.api.patches()
                if who == f"system:node:{NODE}" for key, value in annotations.items()]

    def judge(self):
        """All of it, by the contract."""
        judge = self.contract.Judge()
        for key, document in self.told():
            judge.value(key, json.dumps(document))
        judge.check()
        return judge


def confined(lab):
    """What the unit made of it: a user of its own with one capability, who sees kubelet's folder and little else."""
    pid = lab.run("systemctl show -P MainPID gybe-node.service")[1].strip()
    expect("user", lab.run(f"stat -c %U /proc/{pid}")[1].strip(), "gybe-node")
    expect("capabilities", lab.run(f"sed -n 's/^CapEff:[[:space:]]*0*//p; s/^CapBnd:[[:space:]]*0*//p' /proc/{pid}/status")[1].split(), ["4", "4"])
    expect("/var/lib", lab.run(f"ls /proc/{pid}/root/var/lib")[1].split(), ["gybe-node", "kubelet"])
    expect("its key is there", lab.run(f"test -s /proc/{pid}/root/var/lib/kubelet/pki/kubelet-client-2026-11-21-10-00-00.pem", check=False)[0], 0)
    for hidden in ("/var/lib/kubelet/pods/1234", "/etc/gybe/gybe.json", "/run/gybe/status.json", "/boot/EFI"):
        expect(f"{hidden} is there", lab.run(f"test -e /proc/{pid}/root{hidden}", check=False)[0], 1)
    expect("memory of its own", lab.run("stat -c '%U %a' /var/lib/gybe-node /var/lib/gybe-node/state.json")[1].split(),
           ["gybe-node", "700", "gybe-node", "600"])
    call = "runuser -u gybe-node -- busctl call org.gybe.Update1 /org/gybe/Update1 org.gybe.Update1.Manager "
    # Update is Stage and Finalize in one, which are its job
    for more in ("Pin s 1.0.0", "Unhold", "Check 'a{sv}' 0", "Commit 'a{sv}' 0", "ClearQuarantine s x", "Stage 'a{sv}' 1 override b true"):
        code, said = lab.run(call + more, check=False)
        expect(f"its user may {more}: {said}", code != 0 and "denied" in said, True)


def by_the_node(lab, event, version):
    """The newest such event, and who asked for it."""
    found = [e for e in lab.history() if e["event"] == event and e.get("version") == version][-1]
    expect(f"{event} {version}: who", (found.get("by"), found.get("how")), ("gybe-node", "dbus"))


def healthy(lab):
    expect("failed units", lab.run("systemctl --failed --no-legend --plain")[1].strip(), "")
    expect("gybe-node", lab.run("systemctl is-active gybe-node.service; systemctl show -P NRestarts gybe-node.service")[1].split(), ["active", "0"])
    expect("refused by the sandbox", lab.run("journalctl -b -u gybe-node.service -o cat -g 'denied|not permitted' --no-pager", check=False)[1].strip()
           .replace("-- No entries --", ""), "")


def stage_finalize_reboot(lab, o):
    stage, update = o.ask("stage", "2.0.0")
    o.wait(stage, "Success")
    expect("phase", lab.status()["phase"], "staged")
    finalize, _ = o.ask("finalize", "2.0.0", update)
    o.wait(finalize, "Success")
    lab.arrives("2.0.0")
    c = o.wait(finalize, "Success", commit=True)
    expect("from", c["fromVersion"], "1.0.0")
    expect_end(lab, "2.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")
    by_the_node(lab, "staged", "2.0.0")
    by_the_node(lab, "finalized", "2.0.0")
    healthy(lab)
    before = len(o.told())
    time.sleep(90)      # longer than a heartbeat
    expect("writes while nothing happens", len(o.told()) - before, 0)


def rollback_reboot(lab, o):
    rollback, _ = o.ask("rollback")
    o.wait(rollback, "Success")
    lab.arrives("1.0.0")
    c = o.wait(rollback, "Success", commit=True)
    expect("told", "1.0.0" in c["message"], True)
    expect_end(lab, "1.0.0", running="a", phase="idle")
    healthy(lab)


def nobody_listens(lab, o):
    """The API server dies under the finalize and stays away for the whole first boot."""
    lab.publish("3.0.0", 3)
    stage, update = o.ask("stage", "3.0.0")
    o.wait(stage, "Success")
    finalize, _ = o.ask("finalize", "3.0.0", update)
    o.taken(finalize)
    o.api.stop(kill=True)
    lab.arrives("3.0.0")
    expect_end(lab, "3.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")
    lab.until("grep -q '\"commit\"' /var/lib/gybe-node/state.json")
    healthy(lab)
    print(lab.run("systemd-analyze time; journalctl -b -u gybe-commit.service -u gybe-node.service --no-pager")[1], flush=True)
    time.sleep(20)
    o.api.start()
    o.wait(finalize, "Success", commit=True)
    judge = o.judge()
    codes = judge.codes(finalize)
    expect(f"order: {codes}", codes[0] == "InProgress" and codes.index("Success") < codes.index("commit:Success"), True)
    expect("last word", codes[-1], "commit:Success")


@scenario
def aks_node(lab):
    """The real gybe-node.service, kube-apiserver and kubectl: update, rollback, and an update that nobody listens to."""
    api, authority = real_cluster(lab.folder)
    try:
        folder = kubelet_folder(lab.folder / "kubelet", authority, f"https://{HOST}:{api.port}")
        lab.install_with_feed(root_changes={
            "var/lib/kubelet": folder, "etc/kubernetes/certs/ca.crt": authority.ca,
            "etc/systemd/system/gybe-node.service.d/10-aks.conf": DROP_IN})
        lab.publish("2.0.0", 2)
        lab.start(deadline=3000)
        expect("as shipped", lab.run("systemctl is-enabled gybe-node.service", check=False)[1].strip(), "disabled")
        lab.run("systemctl enable --now gybe-node.service")
        o = Orchestrator(lab, api)
        stage, _ = o.ask("stage", "1.0.0")
        o.wait(stage, "AlreadyAtTarget")
        confined(lab)
        stage_finalize_reboot(lab, o)
        rollback_reboot(lab, o)
        nobody_listens(lab, o)
        print("\n".join(f"{key.split('/')[1]}: {d['operation']} {d['code']} {d['lastUpdatedUtc']}" for key, d in o.told()), flush=True)
    except Exception:
        if lab.machine and lab.machine.alive() and lab.machine.channel:
            print(lab.run("journalctl -u gybe-node -u gybed -u polkit -u dbus --no-pager -n 60; systemctl status gybe-node.service", check=False)[1], flush=True)
        raise
    finally:
        api.close()
