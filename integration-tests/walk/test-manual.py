#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The manual against the programs: pages without a complaint of their readers, every verb and option that the help names, every
member of every document that is printed. (The tables are held to the program by test-manual.)"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from cases import Cases
from sandbox import SOURCE, Host, build, gybe, image, keygen, program, publish, sign

PAGES = sorted((SOURCE / "units/man").iterdir())
cases = Cases()
case = cases.case


def page(name):
    return (SOURCE / "units/man" / name).read_text().replace("\\-", "-").replace("\\(dq", '"').replace("\\ ", " ")


@case
def _():
    """groff and, where it is there, mandoc read every page without a word"""
    readers = [["groff", "-t", "-man", "-ww", "-z", "-Tutf8", "-Kutf8"], ["mandoc", "-Tlint", "-Wwarning"]]
    if shutil.which("preconv") is None:
        readers[0].remove("-Kutf8")
    for reader in readers:
        if not shutil.which(reader[0]):
            print(f"   skipped: no {reader[0]} here")
            continue
        for p in PAGES:
            r = subprocess.run([*reader, p], capture_output=True, text=True)
            said = "\n".join(line for line in (r.stdout + r.stderr).splitlines() if "STYLE" not in line)
            assert r.returncode in (0, 1) and not said, f"{p.name}: {said}"


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def missing(words, text):
    return sorted(w for w in words if not re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", text))


@case
def _():
    """gybe: verbs and options"""
    help_text = subprocess.run([program("gybe"), "--help"], capture_output=True, text=True).stdout
    lines = [line.split("  ")[0] for line in re.findall(r"^ {2,4}([a-z].*)", help_text, re.M)]
    verbs = {re.match("[a-z]+", part.strip())[0] for line in lines for part in line.split(" | ") if part.strip()[:1].islower()}
    assert {"status", "update", "rollback", "unhold"} <= verbs, verbs
    text = page("gybe.1")
    told = text.split(".SH VERBS")[1].split(".SH OPTIONS")[0]
    told = set(re.findall(r'^\.TP\n\.B\w? "?([a-z]+)', told, re.M))
    assert told == verbs - {"list", "clear"}, f"manual and program differ in {told ^ verbs}"
    assert not missing(verbs | options_of(help_text), text), missing(verbs | options_of(help_text), text)


@case
def _():
    """gybe-release: verbs and their options"""
    help_text = subprocess.run([program("gybe-release"), "--help"], capture_output=True, text=True).stdout
    verbs = re.findall(r"^  ([a-z]+) {2,}", help_text, re.M)
    assert len(verbs) >= 8, verbs
    text = page("gybe-release.1")
    words = set(verbs) | options_of(help_text)
    for v in verbs:
        words |= options_of(subprocess.run([program("gybe-release"), v, "--help"], capture_output=True, text=True).stdout)
    assert not missing(words, text), missing(words, text)


def keys(document, skip=()):
    """All member names, at any depth, but those below members whose names are data."""
    if isinstance(document, list):
        return set().union(*(keys(d, skip) for d in document), set())
    if not isinstance(document, dict):
        return set()
    out = set(document)
    for name, value in document.items():
        out |= set() if name in skip else keys(value, skip)
    return out


@case
def _():
    """the documents that gybe prints: every member is in the manual"""
    text = page("gybe.1") + page("gybe-policy.5") + page("gybe.json.5")
    with tempfile.TemporaryDirectory(prefix="gybe-manual-") as tmp:
        work = Path(tmp)
        key, feed = keygen(work / "keys"), work / "feed"
        feed.mkdir()
        v1, v2 = image(work / "1", "3.0.1"), image(work / "2", "3.0.2")
        cosi = build(v2, work / "acl-3.0.2.cosi")
        sign(cosi, [key / "release.pem"], "3.0.2", 1002)
        publish(feed, key, cosi)
        h = Host(work / "host")
        h.install(v1, trust_root=key / "root.json", config={"source": {"type": "feed", "url": f"file://{feed}"}})
        h.write("/etc/gybe/health.d/required.d/50-sick", "#!/bin/sh\n[ $GYBE_SLOT = a ]\n")
        h.path("/etc/gybe/health.d/required.d/50-sick").chmod(0o755)
        said = []

        def ask(*args):
            r = gybe(h, *args, "--json", check=False)
            if r.stdout.strip():
                said.append((args, json.loads(r.stdout)))

        for args in (["status"], ["check"], ["update"], ["update"], ["status"], ["policy", "explain"]):
            ask(*args)
        h.boot()
        for args in (["commit"], ["health"], ["status"]):
            ask(*args)
        h.boot()
        for args in (["commit"], ["quarantine"], ["history"], ["health"], ["status"], ["quarantine", "clear", "--all"], ["nonsense"]):
            ask(*args)
        ask("audit")
        ask("diff")
        gybe(h, "stage", cosi)
        ask("diff")
        assert said[-1][1]["schema"] == "gybe.slot-diff/1", said[-1]
        unknown = {}
        for args, document in said:
            found = [k for k in sorted(keys(document, skip=("fields", "trust"))) if f'"{k}"' not in text]
            if found:
                unknown[" ".join(args)] = found
        assert not unknown, unknown


def json_blocks():
    """Policies and configurations that people will copy: (where, text, the file it belongs into)."""
    for name, into in (("gybe-policy.5", "policy.d/50-example.json"), ("gybe.json.5", "gybe.d/50-example.json")):
        examples = page(name).split(".SH EXAMPLES")[1]
        for block in re.findall(r"^\.EX\n(.*?)^\.EE", examples, re.M | re.S):
            yield name, block, into
    for block in re.findall(r"^```json\n(.*?)^```", (SOURCE / "README.md").read_text(), re.M | re.S):
        yield "README.md", block, "gybe.d/50-example.json" if '"product"' in block else "policy.d/50-example.json"
    for path in (SOURCE / "units/examples").rglob("*.json"):
        text = path.read_text()
        yield path.name, text, "gybe.d/50-example.json" if '"product"' in text or '"compat"' in text else "policy.d/50-example.json"


@case
def _():
    """the examples are understood"""
    with tempfile.TemporaryDirectory(prefix="gybe-manual-") as tmp:
        h = Host(Path(tmp) / "host")
        h.install(image(Path(tmp) / "1", "3.0.1"))
        zone = Path("/usr/share/zoneinfo/Europe/Berlin")
        if zone.exists():
            h.write(str(zone), zone.read_bytes())
        blocks = list(json_blocks())
        assert len(blocks) >= 6, blocks
        for where, text, into in blocks:
            h.write(f"/etc/gybe/{into}", text)
            policy = json.loads(gybe(h, "policy", "explain", "--json").stdout)
            problems = json.loads(gybe(h, "status", "--json").stdout)["problems"]
            wrong = [p for p in policy["problems"] if zone.exists() or "zone" not in p]
            wrong += [p for p in problems if p["code"] == "bad-config" or "gybe.json" in p["message"]]
            assert not wrong, f"{where}: {wrong}"
            h.path(f"/etc/gybe/{into}").unlink()
            if into.startswith("gybe.d") and "custom" in text:
                continue
            assert "50-example" in json.dumps(policy) or into.startswith("gybe.d"), f"{where}: not read"


def hand(name):
    """The commands of VERIFYING BY HAND, as a reader would copy them from the page."""
    text = (SOURCE / "units/man/gybe.1").read_text().split(f'.\\" BEGIN hand {name}\n')[1].split(f'.\\" END hand {name}')[0]
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


@case
def _():
    """verifying by hand: the commands of the page hold for what is so, and for nothing else"""
    with tempfile.TemporaryDirectory(prefix="gybe-manual-") as tmp:
        work = Path(tmp)
        key, v1, v2 = keygen(work / "keys"), image(work / "1", "3.0.1"), image(work / "2", "3.0.2")
        cosi = build(v2, work / "X.cosi")
        sign(cosi, [key / "release.pem"], "3.0.2", 1002)
        h = Host(work / "host")
        h.install(v1, trust_root=key / "root.json")
        gybe(h, "update", str(cosi))
        h.boot()
        gybe(h, "commit")

        def sh(name):
            text = hand(name)
            for path in ("/var/lib/gybe", "/usr/lib/gybe", "/proc/cmdline"):
                text = text.replace(path, str(h.path(path)))
            return subprocess.run(["sh", "-c", text], cwd=work, capture_output=True, text=True)

        record = json.loads(gybe(h, "history", "--json").stdout)
        staged = next(e for e in record["events"] if e["event"] == "staged")
        r = sh("chain")
        assert r.stdout == f"head {record['head']}\n" and not r.stderr, r
        r = sh("signature")
        assert "key.der: OK" in r.stdout and "Verified OK" in r.stdout and r.returncode == 0 and not r.stderr, r
        keyid = subprocess.run(["sha256sum", work / "key.der"], capture_output=True, text=True).stdout.split()[0]
        payload = subprocess.run(["sha256sum", work / "payload"], capture_output=True, text=True).stdout.split()[0]
        assert staged["keys"] == [keyid] and staged["releaseSha256"] == payload, staged
        r = sh("image")
        assert r.returncode == 0 and len(r.stdout.splitlines()) == 2, r

        release = work / "X.release.json"
        good = release.read_text()
        envelope = json.loads(good)
        envelope["payload"] = envelope["payload"][:40] + ("A" if envelope["payload"][40] != "A" else "B") + envelope["payload"][41:]
        release.write_text(json.dumps(envelope))
        r = sh("signature")
        assert "Verified OK" not in r.stdout, r
        log = h.path("/var/lib/gybe/history.jsonl")
        log.write_text(log.read_text().replace('"slot":"b"', '"slot":"a"', 1).replace('"slot": "b"', '"slot": "a"', 1))
        r = sh("chain")
        assert "broken before: " in r.stdout, r


sys.exit(cases.end())
