# SPDX-License-Identifier: MIT
"""The node-annotation contract as a judge: every annotation that an agent ever published, against the formal schemas and against
the rules that the schemas do not say. And a certificate authority of one's own."""

import json
import subprocess
import time
import uuid
from datetime import datetime
from pathlib import Path

import jsonschema

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
PREFIX = "acl.microsoft.com"
REQUEST, STATUS, COMMIT = (f"{PREFIX}/{name}" for name in ("update-request", "update-status", "update-commit-status"))
STATUS_SCHEMA = jsonschema.Draft202012Validator(json.loads((FIXTURES / "update-status-1.0.json").read_text()))
REQUEST_SCHEMA = jsonschema.Draft202012Validator(json.loads((FIXTURES / "update-request-1.0.json").read_text()))
SERVER = {"server": "https://updates.example.net/v1/update", "appId": "1b2c3d4e-0000-4000-8000-000000000001", "track": "stable"}


def new_id():
    return str(uuid.uuid4())


def request(operation, target=None, update=None, op=None, **more):
    r = {"schemaVersion": "1.0", "nodeUpdateId": update or new_id(), "operationId": op or new_id(), "operation": operation}
    if operation != "rollback":
        r.update(SERVER, targetVersion=target)
    r.update(more)
    return r


def when(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Judge:
    """Told of every value that a status annotation ever had, in order."""

    def __init__(self):
        self.seen, self.wrong = [], []     # (key, document)

    def value(self, key, text):
        try:
            document = json.loads(text)
            STATUS_SCHEMA.validate(document)
            self.rules(key, document)
        except (ValueError, AssertionError, jsonschema.ValidationError) as e:
            self.wrong.append(f"{key}: {text}: {e}")
            return
        self.seen.append((key, document))

    def rules(self, key, d):
        assert (d["operation"] == "commit") == (key == COMMIT), "commit belongs into update-commit-status, nothing else does"
        assert d["code"] != "TargetBootFailed" or key == COMMIT, "only a commit can fail to boot"
        assert d["code"] != "NotStaged" or d["operation"] == "finalize", "only a finalize misses a stage"
        assert len(d["message"].encode()) <= 2048 and d["tridentVersion"]
        assert None not in d.values(), "absent, not null"
        assert d["operation"] != "rollback" or "toVersion" not in d, "a rollback names no version"
        assert when(d["lastUpdatedUtc"]) >= when(d["startedUtc"]), "written before it began"
        assert "finishedUtc" not in d or when(d["finishedUtc"]) >= when(d["startedUtc"]), "ended before it began"
        for k, other in self.seen:
            if k == key and other["operationId"] == d["operationId"]:
                assert other["startedUtc"] == d["startedUtc"], "it began twice"
                if other["code"] not in ("InProgress", "Success") or (other["code"] == "Success" and key == COMMIT):
                    same = {k: v for k, v in d.items() if k not in ("lastUpdatedUtc", "tridentVersion")}
                    assert all(other.get(k) == v for k, v in same.items()), f"reported as ended in two ways: {other}"

    def codes(self, operation_id):
        """What was said of an operation, repetitions left out: ["InProgress", "Success", "commit:InProgress", ...]"""
        out = []
        for key, d in self.seen:
            code = ("commit:" if key == COMMIT else "") + d["code"]
            if d["operationId"] == operation_id and (not out or out[-1] != code):
                out.append(code)
        return out

    def codes_until(self, operation_id, code):
        """All of them when that one is there: who watches a real API server hears of it a moment later than who asks it."""
        codes = self.codes(operation_id)
        return codes if code in codes else None

    def check(self):
        assert not self.wrong, "\n".join(self.wrong)


# --- certificates ---

def openssl(*argv, folder):
    r = subprocess.run(["openssl", *map(str, argv)], cwd=folder, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


class Authority:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = self.folder / "ca.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
                "-subj", "/CN=gybe test authority", "-days", "2", folder=self.folder)

    def issue(self, name, subject, san=None, usage="clientAuth", seconds=None):
        """One PEM file with certificate and key, as kubelet keeps them. seconds: for which it is good; else a day."""
        ext = f"extendedKeyUsage={usage}\n" + (f"subjectAltName={san}\n" if san else "")
        (self.folder / f"{name}.ext").write_text(ext)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", subject, folder=self.folder)
        if seconds:
            self.issue_for(name, seconds)
        else:
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
                    "-extfile", f"{name}.ext", "-out", f"{name}.crt", folder=self.folder)
        pem = self.folder / f"{name}.pem"
        pem.write_text((self.folder / f"{name}.crt").read_text() + (self.folder / f"{name}.key").read_text())
        return pem


    def issue_for(self, name, seconds):
        (self.folder / "ca.conf").write_text(
            "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index.txt\ndefault_md=sha256\npolicy=p\ncertificate=ca.crt\nprivate_key=ca.key\n"
            "rand_serial=yes\nunique_subject=no\n[p]\norganizationName=optional\ncommonName=supplied\n")
        (self.folder / "index.txt").touch()
        now = time.time()
        start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(t)) for t in (now - 60, now + seconds))
        openssl("ca", "-batch", "-config", "ca.conf", "-in", f"{name}.csr", "-out", f"{name}.crt", "-notext", "-startdate", start,
                "-enddate", end, "-extfile", f"{name}.ext", folder=self.folder)

    def serial(self, name):
        return openssl("x509", "-in", f"{name}.crt", "-noout", "-serial", folder=self.folder).strip().removeprefix("serial=")


def kubeconfig(path, server, ca, user, **cluster):
    """JSON is YAML."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, "certificate-authority": str(ca), **cluster}}],
        "users": [{"name": "u", "user": user}]}))
    return path
