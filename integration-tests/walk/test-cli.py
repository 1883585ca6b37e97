#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The command lines: what is mistyped gets one sentence and exit 2, in every program; an answer that does not arrive is a
failure; help and completions name the same verbs and options."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from cases import Cases
from sandbox import SOURCE, Host, expect, gybe, image, keygen, pe, program, releases

COMPLETION = SOURCE / "updater/completion"
cases = Cases()
case = cases.case
work = Path(tempfile.mkdtemp(prefix="gybe-cli-"))
host = Host(work / "host")
host.install(image(work / "v1", "3.0.1"))


def run(name, *args, **more):
    return subprocess.run([program(name), *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, **more)


WRONG = [   # words behind gybe, what the sentence says
    ([], "no verb"),
    (["frobnicate"], 'unknown verb "frobnicate"'),
    ([""], 'unknown verb ""'),
    (["--nope", "status"], "--nope: no such option"),
    (["-xq", "status"], "-x: no such option"),
    (["--json=1", "status"], "--json=1: takes no value"),
    (["hold", "--until"], "--until: needs a value"),
    (["hold", "--until", "yesterday"], "neither a time"),
    (["stage", "--version"], "--version: needs a value"),
    (["stage", "--version="], "--version: needs a value"),
    (["stage", "--version", "3", "x.cosi"], "not both"),
    (["plan", "--version", "3", "x.cosi"], "not both"),
    (["status", "extra"], "status: too many arguments"),
    (["stage", "a", "b"], "stage: too many arguments"),
    (["pin"], "pin: name a version"),
    (["pin", ""], "which version"),
    (["pin", "a", "b"], "pin: too many arguments"),
    (["policy"], "policy explain"),
    (["policy", "explain", "--at", "x"], "not a time"),
    (["quarantine", "list", "x"], "use list, clear ID, or clear --all"),
    (["quarantine", "clear"], "use list, clear ID, or clear --all"),
    (["quarantine", "clear", "--all", "x"], "use list, clear ID, or clear --all"),
    (["quarantine", "clear", "zz"], "not a quarantine id"),
    # an option that the verb would ignore
    (["rollback", "--version", "3.0.1"], "rollback: takes no --version"),
    (["finalize", "--version", "3.0.1"], "finalize: takes no --version"),
    (["status", "--until", "3h"], "status: takes no --until"),
    (["history", "--allow-downgrade"], "history: takes no --allow-downgrade"),
    (["stage", "--no-reboot"], "stage: takes no --no-reboot"),
    (["unhold", "--reason", "x"], "unhold: takes no --reason"),
]


@case
def _():
    """gybe: what is mistyped is exit 2 and one sentence, with --json a document on top"""
    for words, text in WRONG:
        r = gybe(host, *words, check=False)
        assert r.returncode == 2 and not r.stdout, (words, r)
        assert r.stderr.startswith("gybe: ") and text in r.stderr and r.stderr.count("\n") == 1, (words, r.stderr)
        r = gybe(host, "--json", *words, check=False)
        error = json.loads(r.stdout)["error"]
        assert r.returncode == 2 and error["kind"] == "usage" and text in error["message"], (words, r)
        assert all(error.values()), error


@case
def _():
    """the other programs say it the same way"""
    for name, words, text in [
        *[(n, ["--nope"], "--nope: no such option") for n in ("gybed", "gybe-job", "gybe-node", "gybe-release")],
        *[(n, ["--root"], "--root: needs a value") for n in ("gybed", "gybe-job", "gybe-node")],
        *[(n, ["--help=x"], "--help=x: ") for n in ("gybed", "gybe-job", "gybe-node", "gybe-release")],
        *[(n, ["a", "b", "c"], n) for n in ("gybed", "gybe-job", "gybe-node", "gybe-release", "gybe-fetch")],
        ("gybe-release", [], "no verb"),
        ("gybe-release", ["build", "--nope"], "--nope: no such option"),
        ("gybe-release", ["build", "--usr"], "--usr: needs a value"),
        ("gybe-release", ["publish"], "--feed DIR, --oci REF or --ostree REPO"),
        ("gybe-release", ["publish", "--feed", "x", "--oci", "oci://y/z"], "one of --feed, --oci and --ostree"),
    ]:
        r = run(name, *words)
        assert r.returncode == 2 and not r.stdout, (name, words, r)
        assert r.stderr.startswith(f"{name}: ") and text in r.stderr and r.stderr.count("\n") == 1, (name, words, r.stderr)
    r = run("gybe-release", "--json", "build")
    assert r.returncode == 2 and all(json.loads(r.stdout)["error"].values()), r


@case
def _():
    """every program has --help and --version"""
    for name in ("gybe", "gybe-release", "gybed", "gybe-job", "gybe-node", "gybe-fetch"):
        r = run(name, "--version")
        assert r.returncode == 0 and re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", r.stdout) and not r.stderr, (name, r)
        for word in ("--help", "-h"):
            r = run(name, word)
            assert r.returncode == 0 and r.stdout.startswith("usage: " + name) and r.stdout.endswith("\n") and not r.stderr, (name, r)


@case
def _():
    """an answer that does not arrive is a failure, a reader that has seen enough is not"""
    for argv in ([program("gybe"), "--root", host.root, "--disk", host.disk, "status"],
                 [program("gybe"), "--root", host.root, "--disk", host.disk, "--json", "audit"],
                 [program("gybe"), "--help"], [program("gybe-release"), "--help"]):
        with open("/dev/full", "wb") as full:
            r = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True)
        assert r.returncode == 1 and "standard output: " in r.stderr, (argv, r)
        r = subprocess.run(["sh", "-c", 'exec "$0" "$@" >&-', *argv], stderr=subprocess.PIPE, text=True)
        assert r.returncode == 1 and "standard output: " in r.stderr, (argv, r)
        reader, writer = os.pipe()
        os.close(reader)
        r = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert r.returncode == 0 and not r.stderr, (argv, r)


@case
def _():
    """without standard streams no file takes their place"""
    before = host.snapshot()
    r = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', program("gybe"), "--root", host.root, "--disk", host.disk, "check"])
    assert r.returncode != 0 and host.snapshot() == before
    for f in host.path("/var/lib/gybe").glob("*"):
        assert not f.is_file() or b"gybe: " not in f.read_bytes(), f


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


@case
def _():
    """completions offer the verbs and options of the help, each once"""
    help_text = run("gybe", "--help").stdout
    lines = [line.split("  ")[0] for line in re.findall(r"^  ([a-z].*)", help_text, re.M)]
    verbs = sorted({m[0] for line in lines for part in line.split(" | ") if (m := re.match("[a-z]+", part))} - {"clear", "list"})
    text = (COMPLETION / "gybe.bash").read_text()
    assert sorted(re.search(r'_gybe_verbs="([^"]*)"', text)[1].split()) == verbs
    assert set(re.search(r'_gybe_options="([^"]*)"', text)[1].split()) == options(help_text)
    text = (COMPLETION / "_gybe").read_text()
    assert sorted(re.findall(r"^\s+'([a-z]+):", text, re.M)) == verbs
    assert options(text.split("_arguments")[1].split("1:verb")[0]) == options(help_text)


@case
def _():
    """gybe-release: bash completes what its help says"""
    script = COMPLETION / "gybe-release.bash"
    for line, want in (["gybe-release", "ver"], {"verify", "verity"}), (["gybe-release", "root", ""], {"new", "rotate", "sign"}), \
            (["gybe-release", "sign", "--se"], {"--serial"}), (["gybe-release", "--j"], {"--json"}):
        r = subprocess.run(["bash", "--norc", "-c", f"source {script}; COMP_WORDS=({' '.join(map(repr, line))}); COMP_CWORD={len(line) - 1}; "
                            "_gybe_release 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""], capture_output=True, text=True,
                           env={**os.environ, "PATH": f"{program('').parent / program('').name}:{os.environ['PATH']}"})
        assert set(r.stdout.split()) == want, (line, r)


# --- diff ---

def everything(h):
    """What gybe diff must not touch: the disk, the ESP, EFI variables, and all that gybe remembers."""
    state = {str(p): p.read_bytes() for d in ("/var/lib/gybe", "/etc/gybe", "/run") for p in h.path(d).rglob("*") if p.is_file()}
    return h.snapshot(), state


def diff(h, code=0):
    """(document, text) of gybe diff, which changes nothing."""
    before = everything(h)
    text, document = expect(h, code, "diff"), expect(h, code, "diff", "--json")
    assert everything(h) == before, "gybe diff changed something"
    return json.loads(document.stdout), text.stdout or text.stderr


def facts(document):
    return {f["name"]: (f.get("running"), f.get("other")) for f in document["differs"]["facts"]}


class Slots:
    """A host with an operator's addon, and two releases for it."""
    def __init__(self):
        self.keys = keygen(work / "diff-keys")
        self.images, self.cosis = releases(work / "diff-releases", self.keys, ("3.0.1", "3.0.2"))

    def host(self, name):
        h = Host(work / name)
        h.install(self.images["3.0.1"], trust_root=self.keys / "root.json")
        folder = h.path("/boot/EFI/Linux") / (self.images["3.0.1"].uki.name + ".extra.d")
        pe(folder / "operator.addon.efi", addon=True, cmdline="audit=1")
        h.boot()
        return h


slots = Slots()


def check_update(document, text, state, running="a"):
    """3.0.1 in slot a against 3.0.2 in slot b, whichever runs."""
    a, b = ("running", "other") if running == "a" else ("other", "running")
    old, new = slots.images["3.0.1"], slots.images["3.0.2"]
    assert document["schema"] == "gybe.slot-diff/1" and document["same"] is False and document["problems"] == [], document
    assert document["running"]["slot"] == running and (document["running"]["state"], document["other"]["state"]) == state, document
    told = facts(document)
    pair = lambda x, y: (x, y) if running == "a" else (y, x)
    assert told["version"] == told["osVersion"] == pair("3.0.1", "3.0.2"), told
    assert told["roothash"] == pair(old.roothash, new.roothash) and "kernel" not in told and "data" not in told, told
    for image_, side in ((old, a), (new, b)):
        assert document[side]["ukiSha256"] == hashlib.sha256(image_.uki.read_bytes()).hexdigest(), document[side]
        assert document[side].get("notAsRecorded", []) == [], document[side]
        assert f"usrhash={image_.roothash}" in document["differs"]["cmdline"][side], document["differs"]
        assert "audit=1" not in document["differs"]["cmdline"][side] and "audit=1" in document[side]["cmdline"].split()
        assert "operator.addon.efi" in [f["name"] for f in document[side]["addons"]], document[side]
    assert "operator.addon.efi" not in json.dumps(document["differs"]), document["differs"]
    assert document[b]["decidedHow"] == "cli" and document[b]["decidedAt"] and len(document[b]["keys"]) == 1, document[b]
    assert len(document[b]["releaseSha256"]) == 64 and document[b]["serial"] == 1002, document[b]
    lines = text.splitlines()
    at = [lines[0].index("running"), lines[0].index("other")]
    row = next(line for line in lines if line.startswith("version "))
    assert [row[at[0]:].split()[0], row[at[1]:].split()[0]] == list(pair("3.0.1", "3.0.2")), text
    assert "nothing differs" not in text and "audit=1" not in text and not re.search(r"^kernel  ", text, re.M), text
    assert f"  usrhash={new.roothash}" in lines, text


@case
def _():
    """diff: a fresh host has nothing to compare, exit 10"""
    h = slots.host("diff-fresh")
    document, text = diff(h, 10)
    assert document["error"]["kind"] == "nothing" and document["error"]["code"] == "nothing-to-compare", document
    assert "the other slot holds nothing that gybe knows" in text, text


@case
def _():
    """diff: what is staged, armed, on trial, kept, and gone back from"""
    h = slots.host("diff-walk")
    gybe(h, "stage", slots.cosis["3.0.2"])
    check_update(*diff(h), ("running", "staged"))
    assert diff(h)[0]["other"]["recordedIn"] == "journal"
    gybe(h, "finalize")
    check_update(*diff(h), ("running", "armed for the next boot"))
    h.boot()
    check_update(*diff(h), ("running, on trial", "ready to go back to"), running="b")
    gybe(h, "commit")
    document, text = diff(h)
    check_update(document, text, ("running", "ready to go back to"), running="b")
    assert document["running"]["recordedIn"] == document["other"]["recordedIn"] == "trust" and document["running"]["committedAt"]
    gybe(h, "rollback")
    h.boot()
    gybe(h, "commit")
    check_update(*diff(h), ("running", "ready to go back to"))


@case
def _():
    """diff: files and words of the ESP that nobody recorded are told, and cannot draw on a terminal"""
    h = slots.host("diff-foreign")
    gybe(h, "stage", slots.cosis["3.0.2"])
    folder = h.path("/boot/EFI/Linux/vmlinuz-0.efi.staged.extra.d")
    pe(folder / "operator.addon.efi", addon=True, cmdline="audit=0")
    pe(folder / "new.addon.efi", addon=True, cmdline="evil=\x1b[2J")
    (folder / "half.addon.efi").write_bytes(b"MZ no more")
    document, text = diff(h)
    changes = {f["name"]: f["change"] for f in document["differs"]["files"]}
    assert changes["operator.addon.efi"] == "changed" and changes["new.addon.efi"] == changes["half.addon.efi"] == "added", changes
    told = {f["name"]: f["change"] for f in document["other"]["notAsRecorded"]}
    assert told == {"operator.addon.efi": "changed", "new.addon.efi": "added", "half.addon.efi": "added"}, told
    assert document["differs"]["cmdline"]["running"].count("audit=1") == 1, document["differs"]
    assert {"audit=0", "evil=\x1b[2J"} <= set(document["differs"]["cmdline"]["other"]), document["differs"]
    assert "\x1b" not in text and "  audit=1\n" in text and "  evil=?[2J\n" in text, text
    assert "something else than journal.json has recorded" in text and "addon operator.addon.efi" in text, text
    uki = h.path("/boot/EFI/Linux/vmlinuz-0.efi.staged")
    uki.write_bytes(b"MZ no kernel")
    document, text = diff(h)
    assert ("UKI", "changed") in [(f["name"], f["change"]) for f in document["other"]["notAsRecorded"]], document["other"]
    assert facts(document)["osVersion"] == ("3.0.1", None) and facts(document)["version"] == ("3.0.1", "3.0.2"), document
    uki.unlink()
    diff(h, 10)


@case
def _():
    """diff: the same content in both slots is nothing that differs"""
    h = slots.host("diff-same")
    gybe(h, "update", slots.cosis["3.0.2"])
    h.boot()
    gybe(h, "commit")
    linux, old, new = h.path("/boot/EFI/Linux"), slots.images["3.0.1"], slots.images["3.0.2"]
    entry = next(linux.glob("*azlb*.efi"))
    shutil.copyfile(entry, linux / old.uki.name)
    folder = linux / (old.uki.name + ".extra.d")
    shutil.copyfile(next(t for t in new.templates if t.name == "slot-a.addon.efi"), folder / "slot-a.addon.efi")
    document, text = diff(h)
    assert document["same"] and "nothing differs" in text and "usrhash" not in text, (document, text)
    assert "acl.slot=a" in document["differs"]["cmdline"]["other"], document["differs"]
    pe(folder / "fips.addon.efi", addon=True, cmdline="fips=1")
    document, text = diff(h)
    assert not document["same"] and "nothing differs" not in text and "  fips=1\n" in text and "addon fips.addon.efi" in text, text


shutil.rmtree(work)
sys.exit(cases.end())
