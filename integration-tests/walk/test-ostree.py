#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Releases in an OSTree repository: what gybe-release publishes, judged by the ostree tool and by openssl; hosts that update from it,
from the release in the commit to the last block; and a repository that lies. Needs ostree; deltas need root, since objects have
owners."""

import base64
import functools
import hashlib
import http.server
import json
import lzma
import random
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import web
from cases import Cases
from sandbox import Host, build, expect, gybe, history, image, keygen, release_tool, run, sign, spawn, status

REF = "azure-container-linux/x86_64/stable"
VERSIONS = ("3.0.1", "3.0.2", "3.0.3")


class Handler(web.Kept, http.server.SimpleHTTPRequestHandler):
    """A web server with ranges, which counts, and breaks what it is told to break."""

    def do_GET(self):
        s = self.server
        name = self.path.split("?")[0].lstrip("/")
        path = Path(self.directory) / name
        s.asked.append(name)
        data = path.read_bytes() if path.is_file() else None
        if data is not None and s.tamper:
            data = s.tamper(name, data)
        if data is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last, whole = 0, len(data) - 1, True
        want = self.headers.get("Range", "")
        if want.startswith("bytes="):
            a, b = want[6:].split("-")
            first, last, whole = int(a), min(int(b) if b else last, last), False
        self.send_response(200 if whole else 206)
        if not whole:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{name}-{len(data)}"')
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        s.sent += last + 1 - first
        try:
            self.wfile.write(data[first:last + 1])
        except (BrokenPipeError, ConnectionResetError):
            pass


class Server(web.Server):
    def __init__(self, directory):
        super().__init__(functools.partial(Handler, directory=str(directory)))
        self.url = self.url.rstrip("/")
        self.reset()

    def reset(self, tamper=None):
        self.asked, self.sent, self.tamper = [], 0, tamper


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys, self.ed = keygen(work / "keys"), keygen(work / "ed", "--alg", "ed25519")
        self.repo = work / "repo"
        self.images, self.cosis, self.said = {}, {}, {}
        for n, version in enumerate(VERSIONS, 1):
            img = image(work / version, version, content=usr_image(work / version, version))
            self.images[version] = img
            self.cosis[version] = build(img, work / f"acl-{version}.cosi")
            sign(self.cosis[version], [self.keys / "release.pem"], version, 1000 + n)
            self.said[version] = self.publish(version)
        self.server = Server(self.repo)

    def publish(self, version, *more):
        out = release_tool("publish", "--json", "--ostree", self.repo, "--key", self.ed / "release.pem", "--tree",
                           self.images[version].dir / "tree", *more, self.cosis[version]).stdout
        return answer(out)

    def ostree(self, *args, check=True):
        return run("ostree", f"--repo={self.repo}", *args, check=check)

    def host(self, name, version="3.0.1", **source):
        h = Host(self.work / name)
        h.install(self.images[version], trust_root=self.keys / "root.json",
                  config={"source": {"type": "ostree", "url": self.server.url, **source}})
        run("cp", "-a", f"{self.images[version].dir}/tree/.", h.path("/usr"))
        self.server.reset()
        return h


def answer(out):
    """The only commit of a publication; warnings stand around the document."""
    return json.loads(out[out.index("{"):out.rindex("}") + 1])["commits"][0]


def bytes_of(host):
    """Where the bytes of the last stage came from."""
    return [e["bytes"] for e in history(host) if "bytes" in e][-1]


def check_slot(host, slot, img):
    assert host.verity_ok(slot, img.roothash), "veritysetup verify"
    assert host.get(f"USR-{slot}", img.usr.stat().st_size) == img.usr.read_bytes(), "USR differs from the image"


def usr_image(folder, version):
    """Forty files, of which the first four are others in every version, in blocks of 4 KiB as a real /usr has them."""
    tree = folder / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "hello").write_text(f"#!/bin/sh\necho {version}\n")
    for i in range(40):
        data = bytearray(hashlib.shake_128(f"file {i}".encode()).digest(60000))
        if i < 4:
            data[100 * i:100 * i + 10] = (version * 4).encode()[:10]
        (tree / "lib" / f"lib{i}.so").write_bytes(data)
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-U", "11111111-2222-3333-4444-555555555555", "-E",
        "hash_seed=11111111-2222-3333-4444-555555555555", "-d", tree, folder / "made.img", "16384k",
        env={**os.environ, "SOURCE_DATE_EPOCH": "1790000000"})
    return folder / "made.img"


def forged(data):
    """The same detached metadata with another letter in the payload of its release file."""
    at = data.index(b'"payload"') + 60
    return data[:at] + (b"A" if data[at:at + 1] != b"A" else b"B") + data[at + 1:]


def object_path(repo, commit, suffix):
    return Path(repo) / "objects" / commit[:2] / f"{commit[2:]}.{suffix}"


def detached(path):
    """{name: [bytes]} of a commitmeta with byte strings and lists of them, by GLib."""
    import gi
    gi.require_version("GLib", "2.0")
    from gi.repository import GLib
    v = GLib.Variant.new_from_bytes(GLib.VariantType.new("a{sv}"), GLib.Bytes.new(Path(path).read_bytes()), False)
    assert v.is_normal_form(), "commitmeta is not in normal form"
    return v.unpack()


def publishing(t):
    @t.case
    def _():
        """fsck, log, refs and checkout by the ostree tool"""
        out = t.ostree("fsck").stdout
        assert "completed successfully" in out, out
        log = t.ostree("log", REF).stdout
        assert [line.split()[-1] for line in log.splitlines() if line.startswith("Version")] == list(reversed(VERSIONS)), log
        assert t.ostree("refs").stdout.split() == [REF]
        out = t.work / "checkout"
        t.ostree("checkout", "-U", REF, out)
        run("diff", "-r", out, t.images["3.0.3"].dir / "tree")

    @t.case
    def _():
        """pulled and verified by bare tools, with the delta and without"""
        for how in ("--require-static-deltas", "--disable-static-deltas"):
            mine = t.work / f"pulled{how}"
            run("ostree", f"--repo={mine}", "init", "--mode=bare-user-only")
            run("ostree", f"--repo={mine}", "remote", "add", "--no-gpg-verify", "os", t.server.url)
            run("ostree", f"--repo={mine}", "pull", "--disable-static-deltas", "os", t.said["3.0.2"]["commit"])
            t.server.reset()
            run("ostree", f"--repo={mine}", "pull", how, "os", REF)
            assert any(n.startswith("deltas/") and n.endswith("/0") for n in t.server.asked) == ("require" in how), t.server.asked
            run("ostree", f"--repo={mine}", "fsck")

    @t.case
    def _():
        """deltas from the releases before, none twice"""
        out = t.ostree("static-delta", "list").stdout.split()
        c = [t.said[v]["commit"] for v in VERSIONS]
        assert sorted(out) == sorted([f"{c[0]}-{c[1]}", f"{c[0]}-{c[2]}", f"{c[1]}-{c[2]}"]), out
        again = t.publish("3.0.3")
        assert again["commit"] == c[2] and not again["made"] and not any(d["made"] for d in again["deltas"]), again

    @t.case
    def _():
        """the commit's signature is one of the Ed25519 key over the commit's bytes, by openssl"""
        commit = t.said["3.0.2"]["commit"]
        sigs = detached(object_path(t.repo, commit, "commitmeta"))["ostree.sign.ed25519"]
        assert len(sigs) == 1 and len(sigs[0]) == 64, sigs
        (t.work / "sig").write_bytes(bytes(sigs[0]))
        run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", t.ed / "release.pub.pem", "-rawin", "-in",
            object_path(t.repo, commit, "commit"), "-sigfile", t.work / "sig")

    @t.case
    def _():
        """the commit carries the release file, byte for byte"""
        import gi
        gi.require_version("GLib", "2.0")
        from gi.repository import GLib
        data = object_path(t.repo, t.said["3.0.1"]["commit"], "commit").read_bytes()
        v = GLib.Variant.new_from_bytes(GLib.VariantType.new("(a{sv}aya(say)sstayay)"), GLib.Bytes.new(data), False)
        assert v.is_normal_form(), "the commit is not in normal form"
        meta = v.unpack()[0]
        assert bytes(meta["gybe.release"]) == (t.work / "acl-3.0.1.release.json").read_bytes()
        assert meta["gybe.usrhash"] == t.images["3.0.1"].roothash and meta["ostree.ref-binding"] == [REF], meta

    @t.case
    def _():
        """a release that names its commit goes beside it; another COSI's commit is refused"""
        commit = t.said["3.0.3"]["commit"]
        name = t.work / "named" / "acl-3.0.3.cosi"
        name.parent.mkdir()
        shutil.copyfile(t.cosis["3.0.3"], name)
        sign(name, [t.keys / "release.pem"], "3.0.3", 1003, "--ostree-commit", commit)
        said = answer(release_tool("publish", "--json", "--ostree", t.repo, name).stdout)
        assert said["commit"] == commit and not said["made"], said
        meta = detached(object_path(t.repo, commit, "commitmeta"))
        payload = json.loads(base64.b64decode(json.loads(bytes(meta["gybe.release"]))["payload"]))
        assert payload["usr"]["ostreeCommit"] == commit and len(meta["ostree.sign.ed25519"]) == 1, meta.keys()
        sign(name, [t.keys / "release.pem"], "3.0.3", 1003, "--ostree-commit", t.said["3.0.2"]["commit"], "-o", name.with_suffix(".json"))
        os.replace(name.with_suffix(".json"), name.parent / "acl-3.0.3.release.json")
        r = release_tool("publish", "--ostree", t.repo, name, check=False)
        assert r.returncode == 4 and "names no commit of this image" in r.stdout, r.stdout

    @t.case
    def _():
        """without --tree the image is unpacked: the same objects"""
        other = t.work / "unpacked"
        said = answer(release_tool("publish", "--json", "--ostree", other, t.cosis["3.0.1"]).stdout)
        assert said["made"], said
        run("ostree", f"--repo={other}", "checkout", "-U", REF, t.work / "unpacked.tree")
        shutil.rmtree(t.work / "unpacked.tree/lost+found", ignore_errors=True)
        run("diff", "-r", t.work / "unpacked.tree", t.images["3.0.1"].dir / "tree")
        assert not list((other / "tmp").glob("gybe-*")), "something is left"

    @t.case
    def _():
        """refused in one sentence: a key that is not ed25519, no COSI, no archive"""
        bare = t.work / "bare"
        run("ostree", f"--repo={bare}", "init", "--mode=bare-user-only")
        for args, code, said in ((("--ostree", t.work / "x", "--key", t.keys / "release.pem", t.cosis["3.0.1"]), 2, "ed25519"),
                                 (("--ostree", t.work / "x"), 2, "needs a COSI"),
                                 (("--ostree", bare, t.cosis["3.0.1"]), 2, "not an archive")):
            r = release_tool("publish", *args, check=False)
            assert r.returncode == code and said in r.stdout, (r.returncode, r.stdout)


def updating(t):
    v1, v2, v3 = (t.images[v] for v in VERSIONS)

    @t.case
    def _():
        """check, stage, boot, commit from a configured repository; then there is nothing newer"""
        h = t.host("update")
        expect(h, 0, "check")
        assert status(h)["phase"] == "idle"
        expect(h, 0, "update")
        check_slot(h, "B", v3)
        h.boot()
        expect(h, 0, "commit")
        assert status(h)["version"] == "3.0.3"
        expect(h, 10, "check")

    @t.case
    def _():
        """a static delta: blocks are rebuilt from what runs, nothing of a file is fetched"""
        h = t.host("delta")
        expect(h, 0, "stage")
        check_slot(h, "B", v3)
        count = bytes_of(h)
        assert any(n.startswith("deltas/") and n.endswith("/0") for n in t.server.asked), t.server.asked
        assert not [n for n in t.server.asked if n.endswith((".filez", ".dirtree"))], t.server.asked
        assert count["rebuilt"] >= 4 * 4096, count           # the changed block of each of four files
        assert t.server.sent < t.cosis["3.0.3"].stat().st_size / 2, t.server.sent

    @t.case
    def _():
        """blocks that are in no file come beside the delta; a publisher that makes none costs frames"""
        assert all(d["blocks"] > 0 for d in t.said["3.0.3"]["deltas"]), t.said["3.0.3"]
        sent = []
        for tamper in (None, lambda n, d: None if n.endswith("/blocks") else d):
            h = t.host("blocks")
            t.server.reset(tamper)
            expect(h, 0, "stage")
            check_slot(h, "B", v3)
            assert any(n.endswith("/blocks") for n in t.server.asked), t.server.asked
            sent.append((t.server.sent, bytes_of(h)["rebuilt"], t.server.asked.count("gybe/acl-3.0.3.cosi")))
        assert sent[0][0] < sent[1][0] and sent[0][1] > sent[1][1] and sent[0][2] < sent[1][2], sent

    @t.case
    def _():
        """blocks that lie, are cut off, too many, no xz, far too long when unpacked: the image is the promised one"""
        def blocks(change):
            return lambda n, d: change(d) if n.endswith("/blocks") else d

        def inside(change):
            return blocks(lambda d: lzma.compress(change(lzma.decompress(d))))

        for tamper in (blocks(lambda d: d[:len(d) // 2]), blocks(lambda d: b""), blocks(lambda d: bytes(5000)),
                       blocks(lambda d: d + d), blocks(lambda d: d[:-8] + bytes([d[-8] ^ 1]) + d[-7:]),
                       inside(lambda d: d[:-1] + bytes([d[-1] ^ 1])),                           # one block is another
                       inside(lambda d: d[:16] + (1 << 26).to_bytes(4, "little") + d[20:]),     # old blocks that no slot has
                       inside(lambda d: d[:-4096]), inside(lambda d: b"GYBEBLK2" + d[8:]), inside(lambda d: b""),
                       blocks(lambda d: lzma.compress(bytes(300 << 20), preset=0))):
            h = t.host("bad-blocks")
            t.server.reset(tamper)
            expect(h, 0, "stage")
            check_slot(h, "B", v3)

    @t.case
    def _():
        """no delta: only changed objects and folders"""
        h = t.host("objects")
        t.server.reset(lambda n, d: None if n.startswith("deltas/") else d)
        expect(h, 0, "stage")
        check_slot(h, "B", v3)
        files = [n for n in t.server.asked if n.endswith(".filez")]
        assert len(files) == 5, files                        # lib0 to lib3 and hello
        assert bytes_of(h)["rebuilt"] >= 4 * 4096, bytes_of(h)

    @t.case
    def _():
        """a delta that lies, is cut off, too long or gone, old files that changed: the image is the promised one"""
        def part(n):
            return n.startswith("deltas/") and n.endswith("/0")

        def head(n):
            return n.endswith("/superblock")

        for k, tamper in enumerate((
                lambda n, d: d[:200] + bytes([d[200] ^ 1]) + d[201:] if part(n) else d,
                lambda n, d: d[:len(d) // 2] if part(n) else d,
                lambda n, d: d + bytes(100000) if part(n) else d,
                lambda n, d: None if part(n) else d,
                lambda n, d: d[:90] + bytes([d[90] ^ 1]) + d[91:] if head(n) else d,
                lambda n, d: b"" if head(n) else d[:-20] if n.endswith(".filez") else d,
                lambda n, d: None if n.startswith("deltas/") or n.endswith(".dirtree") else d,
                lambda n, d: d)):
            h = t.host("lies")
            if k == 7:
                for f in h.path("/usr/lib").glob("lib*.so"):
                    f.write_bytes(f.read_bytes()[:-1] + b"!")
            t.server.reset(tamper)
            expect(h, 0, "stage")
            check_slot(h, "B", v3)

    @t.case
    def _():
        """killed at one request after the other and staged again: the same bytes, and no whole image fetched for it"""
        h = t.host("killed")
        expect(h, 0, "stage")
        asked, once = len(t.server.asked), t.server.sent
        for k in sorted({asked * i // 6 for i in range(1, 6)} | {asked - 1}):
            h = t.host("killed")
            with spawn(h, "stage", start_new_session=True) as p:
                def kill(name, data):
                    if len(t.server.asked) == k:
                        os.killpg(p.pid, signal.SIGKILL)
                    return data
                t.server.reset(kill)
                p.wait()
            assert p.returncode == -signal.SIGKILL, (k, p.returncode)
            before = t.server.sent
            t.server.tamper = None
            expect(h, 0, "stage")
            check_slot(h, "B", v3)
            assert t.server.sent - before <= 2 * once, (k, once, before, t.server.sent)    # the answer that nobody took may count here

    @t.case
    def _():
        """every second file of the repository damaged at random, with deltas and without: verified or refused"""
        rng = random.Random(int(os.environ.get("GYBE_SEED", "4")))
        ends = {0: 0, 1: 0, 4: 0}
        for k in range(40 if os.environ.get("GYBE_ALL") else 3):
            how = {}

            def tamper(name, data):
                if k % 2 and name.startswith("deltas/"):
                    return None
                if name.endswith(".cosi"):
                    return data
                if name not in how:                        # the same lie each time it is asked for
                    kind = rng.choice(("flip", "cut", "more", "empty", "swap", "gone")) if rng.random() < (0.5, 0.1)[k % 3 > 0] else ""
                    at = rng.randrange(max(len(data), 1))
                    how[name] = {"": data, "flip": data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:] if data else b"x",
                                 "cut": data[:at], "more": data + data[:4096], "empty": b"", "swap": data[::-1], "gone": None}[kind]
                return how[name]

            h = t.host("damaged")
            t.server.reset(tamper)
            r = gybe(h, "stage", check=False, timeout=120)
            assert r.returncode in ends, (k, r.returncode, r.stderr)
            ends[r.returncode] += 1
            if r.returncode == 0:
                check_slot(h, "B", v3)
            else:
                assert status(h)["phase"] != "staged" and r.stderr.strip(), (k, r.stderr)
        return f"{ends[0]} verified, {ends[1] + ends[4]} refused"

    @t.case
    def _():
        """--version walks the history; a version that is not in it is said so"""
        h = t.host("pinned")
        expect(h, 0, "stage", "--version", "3.0.2")
        check_slot(h, "B", v2)
        r = expect(h, 1, "stage", "--version", "9.9")
        assert "no version" in r.stderr, r.stderr

    @t.case
    def _():
        """an address on the command line, with ref and version"""
        h = t.host("named", type="none")
        expect(h, 0, "stage", f"ostree+{t.server.url}#{REF}@3.0.2")
        check_slot(h, "B", v2)

    @t.case
    def _():
        """a ref that went back offers nothing"""
        h = t.host("back", version="3.0.2")
        expect(h, 0, "update")
        h.boot()
        expect(h, 0, "commit")
        ref = t.repo / "refs/heads" / REF
        now = ref.read_text()
        ref.write_text(t.said["3.0.1"]["commit"] + "\n")
        try:
            expect(h, 10, "check")
            expect(h, 10, "update")
        finally:
            ref.write_text(now)

    @t.case
    def _():
        """rotated roots lie beside the COSI: hosts follow, and nothing is published that they would refuse"""
        new, root2, repo = keygen(t.work / "keys2"), t.work / "root.2.json", t.work / "repo2"
        release_tool("root", "rotate", t.keys / "root.json", "--release-key", new / "release.pub.pem", "--key", t.keys / "root.pem", "-o", root2)
        folder = t.work / "rotated"
        folder.mkdir()
        cosi = folder / t.cosis["3.0.3"].name
        os.link(t.cosis["3.0.3"], cosi)
        publish = ("publish", "--ostree", repo, "--deltas", "0", "--tree", v3.dir / "tree")
        release_tool("publish", "--ostree", repo, "--root", root2)
        assert (repo / "gybe/root.2.json").read_bytes() == root2.read_bytes()
        sign(cosi, [keygen(t.work / "stranger") / "release.pem"], "3.0.3", 1003)
        r = release_tool(*publish, cosi, check=False)
        assert r.returncode == 4 and "required signers" in r.stdout and not (repo / "refs/heads" / REF).exists(), (r.returncode, r.stdout)
        Path(str(cosi)[:-5] + ".release.json").unlink()
        sign(cosi, [new / "release.pem"], "3.0.3", 1003)
        release_tool(*publish, cosi)
        server = Server(repo)
        h = t.host("rotated", url=server.url)
        expect(h, 0, "stage")
        check_slot(h, "B", v3)
        assert "gybe/root.2.json" in server.asked, server.asked
        server.stop()

    @t.case
    def _():
        """no ref, a broken ref, a broken commit, no release in it: refused, and the slot is as it was"""
        h = t.host("broken")
        before = h.snapshot()
        for tamper, code, said in (
                (lambda n, d: None if n.startswith("refs/") else d, 1, "404"),
                (lambda n, d: b"../../x\n" if n.startswith("refs/") else d, 1, "does not name a commit"),
                (lambda n, d: d[:-1] + bytes([d[-1] ^ 1]) if n.endswith(".commit") else d, 1, "do not have its name"),
                (lambda n, d: forged(d) if n.endswith(".commitmeta") else d, 4, "SIGNATURE")):
            t.server.reset(tamper)
            r = expect(h, code, "stage")
            assert said in r.stderr, r.stderr
        t.server.reset()
        assert h.snapshot() == before, "something changed"


def main():
    if not shutil.which("ostree"):
        print("skipped: no ostree")
        return 77
    with tempfile.TemporaryDirectory(prefix="gybe-ostree-") as tmp:
        t = Test(Path(tmp))
        publishing(t)
        updating(t)
        t.server.stop()
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
