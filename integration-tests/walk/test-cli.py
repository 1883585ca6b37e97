#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The command lines: what is mistyped gets one sentence and exit 2, in every program; an answer that does not arrive is a
failure; help and completions name the same verbs and options."""

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
from sandbox import SOURCE, Host, gybe, image, program

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


shutil.rmtree(work)
sys.exit(cases.end())
