#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""What an operator's rules do to the walk: each refusal is exit 3, one sentence, the rule as code, and nothing changed; --override
passes what it may and history names it; pin, hold and skip are written and taken back. And the JSON schema says of each drop-in
in the fixtures what the program says."""

import hashlib
import json
import os
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jsonschema

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
import web
from cases import Cases
from sandbox import MIB, SOURCE, Host, expect, history, image, status

NOW = datetime.now(timezone.utc).replace(microsecond=0)
ISSUED = NOW - timedelta(days=2)
OPERATOR = "/etc/gybe/policy.d/90-operator.json"


def z(t):
    return t.strftime("%Y-%m-%dT%H:%M:%SZ")


def place(machine, version):
    """0 to 1, as policy/rollout.c promises it to fleets."""
    digest = hashlib.sha256(f"gybe.rollout/1\n{machine}\n{version}\n".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2 ** 64


def machine(low, high, version="3.0.2"):
    """A machine id whose place is between the two."""
    return next(m for m in (hashlib.md5(str(i).encode()).hexdigest() for i in range(100000)) if low <= place(m, version) < high)


def window(opens, hours, zone="UTC"):
    """One day of the week, from the hour at which opens lies."""
    ends = opens + timedelta(hours=hours)
    return {"days": [opens.strftime("%a").lower()], "start": opens.strftime("%H:00"), "end": ends.strftime("%H:00"), "timezone": zone}


CLOSED = window(NOW + timedelta(hours=3), 1)
CLOSED_UNTIL = (NOW + timedelta(hours=3)).replace(minute=0, second=0)
OPEN = window(NOW - timedelta(hours=1), 4)


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.key = foreign.Key(work / "release.pem")
        self.root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([self.key]), [self.key]))
        self.images = {v: image(work / v, v, size=4 * MIB) for v in ("3.0.1", "3.0.2", "3.0.3")}
        self.files = {}
        for n, v in ((2, "3.0.2"), (3, "3.0.3")):
            cosi = foreign.Cosi(self.images[v], work / f"cosi-{v}", version="1.1")
            self.files[v] = cosi.write(work / f"acl-{v}.cosi")
            doc = foreign.release(self.images[v], cosi, self.files[v], serial=1000 + n, issued=z(ISSUED),
                                  expires=z(NOW + timedelta(days=90)), channel=["stable"] if n == 2 else ["beta"])
            foreign.write_json(work / f"acl-{v}.release.json", foreign.envelope("release", doc, [self.key]))
        feed = {"schema": "gybe.feed/1", "product": "azure-container-linux", "serial": 1, "issued": z(ISSUED),
                "expires": z(NOW + timedelta(days=90)), "channels": {"stable": "3.0.2", "beta": "3.0.3"}, "releases": [
                    {"version": v, "serial": 1000 + int(v[-1]), "arch": "x86_64", "path": f"acl-{v}.release.json",
                     "sha384": hashlib.sha384((work / f"acl-{v}.release.json").read_bytes()).hexdigest()} for v in self.files]}
        foreign.write_json(work / "index.json", foreign.envelope("feed", feed, [self.key]))
        self.hosts = 0

    def host(self, policy=None, **options):
        self.hosts += 1
        h = Host(self.work / f"host-{self.hosts}", esp_size=8 * MIB)
        h.install(self.images["3.0.1"], trust_root=self.root, policy=policy,
                  config={"source": {"type": "feed", "url": f"file://{self.work}/index.json"}}, **options)
        h.write("/etc/machine-id", machine(0.5, 0.6) + "\n")
        return h


def everything(host):
    """Disk, ESP, variables and gybe's own memory, but for how far feed and clock had come."""
    out = host.snapshot()
    for folder in ("/etc", "/var/lib/gybe"):
        for p in host.path(folder).rglob("*"):
            if p.is_file() and p.name != "trust.json":
                out[str(p)] = hashlib.sha256(p.read_bytes()).hexdigest()
    return out


def refused(host, rule, *args, hint=""):
    """Exit 3 with this rule as code, one line, and nothing changed."""
    before = everything(host)
    r = expect(host, 3, *args)
    assert len(r.stderr.strip().splitlines()) == 1 and r.stderr.startswith("gybe: "), r.stderr
    e = json.loads(expect(host, 3, *args, "--json").stdout)["error"]
    assert (e["kind"], e["code"]) == ("policy", rule), e
    assert e["message"] and e["hint"] and hint in e["hint"], e
    after = everything(host)
    assert before == after, sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    return e


def overrode(host, event):
    return [e.get("overrode") for e in history(host) if e["event"] == event][-1]


def fetch(t):
    @t.case
    def _():
        """pin and skip refuse to fetch, and no word passes them"""
        for policy, rule in (({"pin": "3.0.1"}, "pin"), ({"skip": ["3.0.2"]}, "skip")):
            h = t.host(policy)
            expect(h, 0, "check")
            refused(h, rule, "stage", hint=f"gybe un{rule}")
            refused(h, rule, "update", hint=f"gybe un{rule}")
            refused(h, rule, "stage", "--override")

    @t.case
    def _():
        """hold, minimum age and rollout refuse to fetch, say until when, and let --override pass, on the record"""
        later = NOW + timedelta(days=3)
        ramp = timedelta(days=8)
        turn = ISSUED + timedelta(seconds=int(place(machine(0.5, 0.6), "3.0.2") * ramp.total_seconds()) + 1)
        for policy, rule, when in (
                ({"hold": {"until": z(later), "by": "ops", "reason": "a freeze"}}, "hold", z(later)),
                ({"hold": {}}, "hold", "gybe unhold"),
                ({"minimumAge": "30d"}, "minimumAge", z(ISSUED + timedelta(days=30))),
                ({"rollout": {"percent": 50}}, "rollout", "gybe policy explain"),
                ({"rollout": {"ramp": "8d"}}, "rollout", z(turn))):
            h = t.host(policy)
            expect(h, 0, "check")
            e = refused(h, rule, "stage", hint=when)
            assert "--override" in e["hint"], e
            expect(h, 0, "stage", "--override")
            assert overrode(h, "staged") == [rule], history(h)
            # what is here needs no further word
            expect(h, 10, "stage")

    @t.case
    def _():
        """a turn that has come and an age that is reached let the release in"""
        for policy in ({"minimumAge": "47h"}, {"rollout": {"percent": 60}}, {"rollout": {"ramp": "3d"}}, {"rollout": {"percent": 100}},
                       {"hold": {"until": z(NOW - timedelta(hours=1))}}):
            h = t.host(policy)
            expect(h, 0, "stage", t.files["3.0.2"])
            assert overrode(h, "staged") is None

    @t.case
    def _():
        """a host without a machine id is the last of a ramp, and in no wave that is not for all"""
        h = t.host({"rollout": {"ramp": "30d"}})
        h.path("/etc/machine-id").unlink()
        refused(h, "rollout", "stage", hint=z(ISSUED + timedelta(days=30)))
        h = t.host({"rollout": {"percent": 99}})
        h.write("/etc/machine-id", "uninitialized\n")
        refused(h, "rollout", "stage")

    @t.case
    def _():
        """the channel of a policy file is the host's"""
        h = t.host({"channel": "beta"})
        expect(h, 0, "stage")
        assert status(h)["slots"]["b"]["version"] == "3.0.3" and status(h)["channel"] == "beta"


def finalize(t):
    @t.case
    def _():
        """outside the window: staged, but not finalized; --override passes, on the record"""
        h = t.host({"windows": [CLOSED]})
        expect(h, 0, "stage")
        e = refused(h, "window", "finalize", hint=z(CLOSED_UNTIL))
        assert status(h)["next"]["at"] == z(CLOSED_UNTIL), status(h)["next"]
        assert z(CLOSED_UNTIL) in e["message"] and "--override" in e["hint"], e
        refused(h, "window", "update")
        assert status(h)["phase"] == "staged" and h.var("LoaderEntryOneShot") is None
        expect(h, 0, "finalize", "--override", "--no-reboot")
        assert overrode(h, "finalized") == ["window"], history(h)
        assert status(h)["phase"] == "finalized"

    @t.case
    def _():
        """inside the window an update goes through, boots and is committed"""
        h = t.host({"windows": [CLOSED, OPEN], "attempts": 2, "soak": 0})
        expect(h, 0, "update")
        h.boot()
        expect(h, 0, "commit")
        assert status(h)["running"] == "b" and not [e for e in history(h) if "overrode" in e]

    @t.case
    def _():
        """a window in the host's own time zone"""
        h = t.host({"windows": [{k: v for k, v in CLOSED.items() if k != "timezone"}]})
        h.write("/usr/share/zoneinfo/Asia/Kathmandu", Path("/usr/share/zoneinfo/Asia/Kathmandu").read_bytes())
        h.path("/etc/localtime").symlink_to("../usr/share/zoneinfo/Asia/Kathmandu")
        e = json.loads(expect(h, 0, "policy", "explain", "--json").stdout)
        opens = [r for r in e["rules"] if r["rule"] == "window"][0]
        assert opens["verdict"] == "go" or opens["until"].endswith(":15:00Z"), opens

    @t.case
    def _():
        """pin, skip and hold that came after staging refuse to finalize, and let go when they are taken back"""
        h = t.host()
        expect(h, 0, "stage")
        for take, back in ((("pin", "3.0.1"), ("unpin",)), (("skip", "3.0.2"), ("unskip", "3.0.2")), (("hold",), ("unhold",))):
            expect(h, 0, *take)
            e = refused(h, take[0], "finalize")
            assert status(h)["next"] == {"action": "finalize", "rule": take[0], "because": e["message"]}, status(h)["next"]
            assert f"Not now: {e['message']}" in expect(h, 0, "status").stdout
            expect(h, 0, *back)
            assert status(h)["next"] == {"action": "finalize"} and "Not now" not in expect(h, 0, "status").stdout
        expect(h, 0, "hold", "--until", z(NOW + timedelta(hours=5)), "--reason", "a freeze")
        e = refused(h, "hold", "finalize", hint=z(NOW + timedelta(hours=5)))
        assert "a freeze" in e["message"], e
        expect(h, 0, "unhold")
        expect(h, 0, "finalize", "--no-reboot")
        assert not [e for e in history(h) if "overrode" in e]

    @t.case
    def _():
        """a hold and a closed window do not keep an operator from going back, nor a slot on trial from being judged"""
        h = t.host({"attempts": 2, "soak": 0})
        expect(h, 0, "update")
        h.boot()
        h.write("/etc/gybe/policy.d/50.json", json.dumps({"hold": {}, "windows": [CLOSED], "pin": "9"}))
        expect(h, 0, "commit")
        expect(h, 0, "rollback")


class Meanwhile(web.Files):
    """A server in whose middle of a download somebody does something."""
    happens = staticmethod(lambda: None)

    def do_GET(self):
        if self.path.endswith(".cosi"):
            self.happens()
        super().do_GET()


def meanwhile(t):
    server = web.files(t.work, Meanwhile)

    @t.case
    def _():
        """what an operator says while an update is being staged counts: it is not finalized"""
        for say, code in (({"hold": {"by": "ops"}}, 3), ({"skip": ["3.0.2"]}, 3), ({"windows": [CLOSED]}, 3), ("{torn", 2)):
            h = t.host()
            h.configure({"source": {"type": "feed", "url": server.url + "index.json"}})
            text = say if isinstance(say, str) else json.dumps(say)
            Meanwhile.happens = staticmethod(lambda: h.write("/etc/gybe/policy.d/50-late.json", text))
            expect(h, code, "update")
            h.path("/etc/gybe/policy.d/50-late.json").unlink()
            assert status(h)["phase"] == "staged" and h.var("LoaderEntryOneShot") is None, status(h)
            expect(h, 0, "finalize", "--no-reboot")

    server.stop()


def rules(t):
    @t.case
    def _():
        """unhold, unpin and unskip beat a vendor's file, keep what else the operator's file says, and name a file they cannot beat"""
        h = t.host({"windows": [CLOSED]})
        assert "because" not in status(h)["next"], "a closed window is no news where nothing is under way"
        expect(h, 0, "hold", "--reason", "a freeze")
        assert "Not now: updates are held" in expect(h, 0, "status").stdout and status(h)["next"]["rule"] == "hold"
        h = t.host()
        h.write("/usr/lib/gybe/policy.d/50-vendor.json", json.dumps({"hold": {}, "pin": "3.0.1", "skip": ["3.0.2", "3.0.3"]}))
        h.write(OPERATOR, json.dumps({"mine": {"x": [1]}, "soak": "1m"}))
        refused(h, "pin", "stage")
        for verb in (("unhold",), ("unpin",), ("unskip", "3.0.2")):
            expect(h, 0, *verb)
        assert json.loads(h.path(OPERATOR).read_text()) == {"mine": {"x": [1]}, "soak": "1m", "hold": None, "pin": None,
                                                            "skip": {"remove": ["3.0.2"]}}
        expect(h, 0, "stage")
        h.write("/run/gybe/policy.d/10-boot.json", json.dumps({"hold": {"by": "the platform"}}))
        before = everything(h)
        r = expect(h, 3, "unhold")
        assert "/run/gybe/policy.d/10-boot.json" in r.stderr and before == everything(h), r.stderr

    @t.case
    def _():
        """a drop-in that cannot be read: nobody updates, status says which, and the agent's doors are shut"""
        for text in ("", "{", '{"windows": [{"start": "22:00"}]}', '{"windows": [{"start": "22:00", "end": "23:00", "timezone": "No/Where"}]}'):
            h = t.host()
            h.write("/etc/gybe/policy.d/20-torn.json", text)
            before = everything(h)
            expect(h, 2, "stage")
            assert before == everything(h)
            e = json.loads(expect(h, 0, "policy", "explain", "--json", "--version", "3.0.2").stdout)
            assert all(d["answer"] == "wait" and d["rule"] == "policy-file" and "until" not in d for d in e["doors"].values()), e["doors"]
            assert e["problems"] and status(h)["problems"], e

    @t.case
    def _():
        """policy explain: a row a rule in 80 columns, a document, and the answer of another time"""
        h = t.host({"automation": "full", "hold": {"until": z(NOW + timedelta(days=1)), "reason": "a freeze"}, "windows": [CLOSED],
                    "rollout": {"ramp": "8d"}, "minimumAge": "30d"})
        expect(h, 0, "stage", "--override")
        text = expect(h, 0, "policy", "explain").stdout
        assert max(map(len, text.splitlines())) <= 80, text
        for rule in ("automation", "pin", "skip", "hold", "minimumAge", "rollout", "window"):
            assert len([line for line in text.splitlines() if line[1:].split()[1:2] == [rule]]) == 1, text
        e = json.loads(expect(h, 0, "policy", "explain", "--json").stdout)
        assert e["schema"] == "gybe.policy/1" and e["subject"]["version"] == "3.0.2" and e["subject"]["unattended"] is True
        assert e["fields"]["hold"]["source"] == "/etc/gybe/policy.d/10-test.json" and e["fields"]["attempts"]["source"] == "default"
        opens = datetime.strptime(e["doors"]["finalize"]["until"], "%Y-%m-%dT%H:%M:%SZ")
        then = json.loads(expect(h, 0, "policy", "explain", "--json", "--at", e["doors"]["finalize"]["until"]).stdout)
        assert then["doors"]["finalize"]["answer"] == "go", then["doors"]
        earlier = json.loads(expect(h, 0, "policy", "explain", "--json", "--at", z(opens - timedelta(seconds=1))).stdout)
        assert earlier["doors"]["finalize"]["answer"] == "wait", earlier["doors"]
        assert opens == CLOSED_UNTIL.replace(tzinfo=None) + timedelta(days=7), (opens, CLOSED_UNTIL)
        expect(h, 2, "policy", "explain", "--at", "noon")
        expect(h, 2, "policy", "forget")


def schema(t):
    @t.case
    def _():
        """the schema and the program agree on every drop-in of the fixtures"""
        s = json.loads((SOURCE / "policy/gybe-policy.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(s)
        judge = jsonschema.Draft202012Validator(s)
        cases = json.loads((SOURCE / "integration-tests/fixtures/policy-cases.json").read_text())
        h = t.host()
        for good in cases["good"]:
            assert judge.is_valid(good), good
        for bad in cases["bad"]:
            assert not judge.is_valid(bad["policy"]), bad
        # the unit test holds the parser to all of them; here a few go the whole way
        for policy, good in [(c, True) for c in cases["good"][:6]] + [(c["policy"], False) for c in cases["bad"][::9]]:
            h.write("/etc/gybe/policy.d/20-case.json", json.dumps(policy))
            e = json.loads(expect(h, 0, "policy", "explain", "--json").stdout)
            left_out = [p for p in e["problems"] if "20-case.json" in p and "ignored" not in p]
            assert bool(left_out) != good, (policy, e["problems"])


def main():
    os.environ.pop("TZ", None)
    with tempfile.TemporaryDirectory(prefix="gybe-policy-") as tmp:
        t = Test(Path(tmp))
        for part in (fetch, finalize, meanwhile, rules, schema):
            part(t)
        return t.end()


if __name__ == "__main__":
    sys.exit(main())
