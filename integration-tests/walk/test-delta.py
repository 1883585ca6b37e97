#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Only what is missing: a slot is put together from what the host has and from parts of a COSI. Every server, index, seek table
and disk that lies: each stage ends verified or refused, never wrong, never stuck. Then it is killed at random moments and goes
on. veritysetup and a comparison with the image are the judges; the servers count the bytes."""

import copy
import errno
import hashlib
import http.server
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import demo
import web
from cases import Cases
from sandbox import MAIN_CMDLINE, MIB, Host, build, gybe, history, image, keygen, pe, run, sign, spawn, status

ROUNDS = int(os.environ.get("GYBE_ROUNDS", "3"))
SIZE = 32 * MIB     # parts have to save 4 MiB, or the whole image is fetched and held to its digest
LEAF, GROUP, HEAD = 6, 10, 64


# --- a server that can misbehave ---

class Server(web.Server):
    def __init__(self, folder, **how):
        super().__init__(Handler)
        self.folder, self.how = Path(folder), how
        self.sent, self.requests, self.ranges = 0, 0, []
        self.lock = threading.Lock()


class Handler(web.Kept, http.server.BaseHTTPRequestHandler):
    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)

    def do_GET(self):
        s, how = self.server, self.server.how
        with s.lock:
            s.requests += 1
            n = s.requests
        path = s.folder / self.path.lstrip("/").split("?")[0]
        if not path.exists():
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        is_cosi = path.suffix == ".cosi"
        etag = '"one"'
        if is_cosi and n > how.get("change_after", 1 << 30):
            path, etag = how["changed"], '"two"'
        size = path.stat().st_size
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        ranges = how.get("ranges", True) and not (is_cosi and n > how.get("ranges_until", 1 << 30))
        if self.headers.get("If-Range", etag) not in (etag, how.get("modified", etag)):
            m = None
        first, last = (int(m[1]), min(int(m[2] or size), size - 1)) if m and ranges else (0, size - 1)
        with path.open("rb") as f:
            f.seek(first)
            body = bytearray(f.read(last - first + 1))
        for at, mask in how.get("flips", {}).items():
            if is_cosi and first <= at <= last:
                body[at - first] ^= mask
        if is_cosi and "odd" in how and how["odd"](self, n, (first, last, size, bytes(body), etag)):
            return
        self.send_response(206 if m and ranges else 200)
        if m and ranges:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        if how.get("ranges", True) or how.get("claims_ranges"):
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = how.get("cut_every")
        end = min(len(body), cut) if cut and is_cosi else len(body)
        sent = 0
        try:
            while sent < end:
                piece = body[sent:min(end, sent + 8192)]
                self.wfile.write(piece)
                sent += len(piece)
                if how.get("delay") and is_cosi:
                    time.sleep(how["delay"])
        finally:
            with s.lock:
                s.sent += sent
                if is_cosi:
                    s.ranges.append((first, sent))
        if end < len(body):
            self.hang_up()

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def raw(self, status, *headers, body=b"", version="HTTP/1.1"):
        """An answer as it is; with None for a body length (no Content-Length among headers) the connection's end is its end."""
        lines = [f"{version} {status} X", *headers, "", ""]
        self.wfile.write("\r\n".join(lines).encode() + body)
        if not any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers):
            self.hang_up()
        return True

    def drip(self, data, size, pause):
        """Slowly, for as long as somebody listens."""
        try:
            for at in range(0, len(data), size):
                self.wfile.write(data[at:at + size])
                time.sleep(pause)
        except OSError:
            pass
        self.hang_up()
        return True


# --- what is in a COSI ---

def member(cosi, name):
    """(offset, size) of a member's bytes."""
    data = Path(cosi).read_bytes()
    at = 0
    while data[at]:
        found = data[at:at + 100].rstrip(b"\0").decode()
        size = int(data[at + 124:at + 135], 8)
        if found == name:
            return at + 512, size
        at += 512 + (size + 511) // 512 * 512
    raise AssertionError(f"no member {name}")


class Index:
    """gybe/usr.index taken apart and put together, with or without lies; the size must stay."""

    def __init__(self, cosi):
        self.cosi = Path(cosi)
        self.at, self.size = member(cosi, "gybe/usr.index")
        b = self.cosi.read_bytes()[self.at:self.at + self.size]
        self.head = bytearray(b[:HEAD])
        assert b[:8] == b"GYBEIDX1"
        n_groups, n_blocks = struct.unpack_from("<I", b, 12)[0], struct.unpack_from("<Q", b, 16)[0]
        n_frames = struct.unpack_from("<I", b, 60)[0] & 0x7fffffff
        at = HEAD
        self.groups = [struct.unpack_from("<8sH", b, at + i * GROUP) for i in range(n_groups)]
        at += n_groups * GROUP
        self.frames = list(struct.unpack_from(f"<{n_frames}H", b, at))
        at += 2 * n_frames
        self.leaves = [b[at + i * LEAF:at + (i + 1) * LEAF] for i in range(n_blocks)]
        assert at + LEAF * n_blocks == self.size

    def rename(self):
        """Names of groups that fit their leaves: a lie that hangs together."""
        at = 0
        for i, (_, n) in enumerate(self.groups):
            self.groups[i] = (hashlib.sha256(b"".join(self.leaves[at:at + n])).digest()[:8], n)
            at += n

    def write(self):
        b = (bytes(self.head) + b"".join(struct.pack("<8sH", *g) for g in self.groups)
             + struct.pack(f"<{len(self.frames)}H", *self.frames) + b"".join(self.leaves))
        assert len(b) == self.size
        with self.cosi.open("r+b") as f:
            f.seek(self.at)
            f.write(b)


# --- the cases ---

class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.old, self.new = image(work / "old", "1.0", size=SIZE), image(work / "new", "2.0", size=SIZE)
        self.repo = work / "repo"
        self.repo.mkdir()
        self.cosi = build(self.new, self.repo / "new.cosi")
        self.release = sign(self.cosi, [self.keys / "release.pem"], "2.0", 2)
        self.base = Host(work / "base", usr_size=SIZE)
        self.base.install(self.old, trust_root=self.keys / "root.json")
        self.n = 0

    def of(self, new):
        """The same with another image for 2.0."""
        t = copy.copy(self)
        t.new, t.repo = new, new.dir / "repo"
        t.repo.mkdir()
        t.cosi = build(new, t.repo / "new.cosi")
        t.release = sign(t.cosi, [t.keys / "release.pem"], "2.0", 2)
        return t

    def host(self):
        """A host like the first one: slot A runs the old image, slot B is blank."""
        self.n += 1
        return self.base.clone(self.work / f"host{self.n}")

    def drop(self, host):
        shutil.rmtree(host.dir)

    def lie(self):
        """A copy of the release that may be changed without its signed parts."""
        self.n += 1
        d = self.work / f"lie{self.n}"
        d.mkdir()
        shutil.copyfile(self.cosi, d / "new.cosi")
        shutil.copyfile(self.release, d / "new.release.json")
        return d

    def check(self, host):
        assert host.verity_ok("B", self.new.roothash), "veritysetup verify"
        assert host.get("USR-B", SIZE) == self.new.usr.read_bytes(), "USR differs from the image"
        assert host.get("HASH-B", self.new.hash.stat().st_size) == self.new.hash.read_bytes(), "HASH differs"
        assert status(host)["phase"] == "staged"

    def stage(self, host, folder, exits=(0,), env=None, **how):
        """Stages from a server; the slot must be right or not staged. Returns what was served, and history's bytes."""
        active = host.get("USR-A")
        with Server(folder, **how) as server:
            started = time.monotonic()
            r = gybe(host, "stage", server.url + "new.release.json", check=False, timeout=240, env=env or {})
            took = time.monotonic() - started
        assert r.returncode in exits, f"exit {r.returncode}: {r.stdout}{r.stderr}"
        assert host.get("USR-A") == active, "the active slot changed"
        if r.returncode == 0:
            self.check(host)
        else:
            assert status(host)["phase"] != "staged"
        staged = [e for e in history(host) if e["event"] == "staged"]
        return server, (staged[-1]["bytes"] if r.returncode == 0 else None), r, took

    def one(self, f):
        return f(self)


def parts(t):
    """a host fetches a tenth of the image, the rest is copied; the second time from what is in place"""
    h = t.host()
    full = t.cosi.stat().st_size
    server, b, _, _ = t.stage(h, t.repo)
    assert b["copied"] > SIZE // 2 and b["fetched"] < full // 2, b
    assert server.sent < full // 2
    t.drop(h)
    return f"{server.sent} of {full} bytes, {server.requests} requests"


def nginx(t):
    """nginx serves it as well, and a plain path does"""
    n, url = demo.serve(t.repo, t.work)
    try:
        for where in (url.replace("index.json", "new.release.json"), t.release):
            h = t.host()
            gybe(h, "stage", where)
            t.check(h)
            assert history(h)[-1]["bytes"]["copied"] > SIZE // 2
            t.drop(h)
    finally:
        n.terminate()
        n.wait()


def accepted(t):
    """tar and zstd take the COSI, and its index is its last member"""
    names = run("tar", "-tf", t.cosi).stdout.split()
    assert names[-1] == "gybe/usr.index", names
    x = t.work / "x"
    x.mkdir()
    run("tar", "-xf", t.cosi, "-C", x)
    for p in (x / "images").iterdir():
        run("zstd", "-tq", p)
    run("zstd", "-dqf", x / [n for n in names if "usr-a" in n][0], "-o", x / "usr.img")
    assert (x / "usr.img").read_bytes() == t.new.usr.read_bytes()


def no_index(t):
    """without an index the published tree says what is missing; without seek table or index it is streamed"""
    d = t.lie()
    at, size = member(d / "new.cosi", "gybe/usr.index")
    data = bytearray((d / "new.cosi").read_bytes())
    data[at - 512:] = bytes(1024)                     # the archive ends where the index was
    (d / "new.cosi").write_bytes(data)
    (d / "new.release.json").unlink()
    sign(d / "new.cosi", [t.keys / "release.pem"], "2.0", 2)
    h = t.host()
    server, b, _, _ = t.stage(h, d)
    assert b["copied"] > SIZE // 2 and server.sent < t.cosi.stat().st_size // 2, (b, server.sent)
    t.drop(h)
    return f"{server.sent} bytes"


def no_ranges(t):
    """a server without Range, one that answers 200, one that claims ranges, one that loses them midway"""
    for how in ({"ranges": False}, {"ranges": False, "claims_ranges": True}, {"ranges_until": 14}):
        h = t.host()
        t.stage(h, t.repo, **how)
        t.drop(h)


def cut(t):
    """a connection that breaks every 20000 bytes"""
    h = t.host()
    server, b, _, _ = t.stage(h, t.repo, cut_every=20000)
    assert b["copied"] > SIZE // 2
    t.drop(h)
    return f"{server.requests} requests, {server.sent} bytes"


def change(t):
    """the file changes midway: nothing is mixed; the next stage takes the new one or says what is wrong"""
    for after in (3, 12, 20):
        h = t.host()
        d = t.lie()
        other = build(t.new, d / "other.cosi", "--frame-size", "65536")
        with other.open("r+b") as f:
            f.truncate(t.cosi.stat().st_size)         # the size that was signed
        _, _, r, _ = t.stage(h, d, exits=(0, 1, 4), change_after=after, changed=other)
        if r.returncode:
            t.stage(h, t.repo)
        t.drop(h)


def slow(t):
    """a server that is a little slow is outlasted; one that sends a byte now and then is given up, however it goes about it"""
    h = t.host()
    t.stage(h, t.repo, delay=0.05)
    t.drop(h)

    def bytewise(s, n, q):
        first, last, size, body, etag = q
        s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", f"ETag: {etag}")
        return s.drip(body, 1, 0.3)

    def enough_to_read(s, n, q):
        """Every small read gets what it wants before the stall time is over, so that no two stalls follow each other."""
        first, last, size, body, etag = q
        s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", f"ETag: {etag}")
        return s.drip(body, 70, 0.1)

    def head(s, n, q):
        return s.drip(b"HTTP/1.1 206 X\r\n" + b"X-Y: z\r\n" * 1000, 1, 0.2)

    def silent(s, n, q):
        time.sleep(120)
        return s.hang_up() or True

    def interim(s, n, q):
        return s.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 25, 0.2)

    def come_again(s, n, q):
        """A byte each time, and then a pause that is asked for."""
        first, last, size, body, etag = q
        if n % 2:
            return s.raw(503, "Retry-After: 3", "Content-Length: 0")
        s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", f"ETag: {etag}", body=body[:1])
        return s.hang_up() or True

    took = []
    for way in (bytewise, enough_to_read, head, silent, interim, come_again):
        for after in (0, 30):
            h = t.host()
            h.configure({"http": {"stallTimeout": "1s"}})
            _, _, r, seconds = t.stage(h, t.repo, exits=(1,), odd=lambda s, n, q: n > after and way(s, n, q))
            assert "less than 1024 bytes a second" in r.stderr, (way.__name__, after, r.stderr)
            assert seconds < 90, (way.__name__, after, seconds)
            took.append(seconds)
            if after:
                t.stage(h, t.repo)                     # what came is not lost
            t.drop(h)
    return f"given up after {min(took):.0f} to {max(took):.0f} s of stall times of one second"


# What servers, proxies and object stores make of a Range.

def other_offset(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first + 4096}-{last + 4096}/{size}", f"Content-Length: {len(body)}", body=body)


def other_total(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size + 512}", f"Content-Length: {len(body)}", body=body)


def no_total(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/*", f"Content-Length: {len(body)}", f"ETag: {etag}", body=body)


def no_content_range(s, n, q):
    return s.raw(206, f"Content-Length: {len(q[3])}", body=q[3])


def multipart(s, n, q):
    first, last, size, body, etag = q
    body = b"--x\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s\r\n--x--\r\n" % (first, last, size, body)
    return s.raw(206, "Content-Type: multipart/byteranges; boundary=x", f"Content-Length: {len(body)}", body=body)


def longer_than_said(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body) + 9}", body=body + bytes(9))


def more_than_asked(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last + 1}/{size}", f"Content-Length: {len(body) + 1}", body=body + b"x")


def shorter_than_asked(s, n, q):
    first, last, size, body, etag = q
    body = body[:(len(body) + 1) // 2]
    return s.raw(206, f"Content-Range: bytes {first}-{first + len(body) - 1}/{size}", f"Content-Length: {len(body)}", body=body)


def shorter_than_said(s, n, q):
    first, last, size, body, etag = q
    if n % 4:
        return False
    s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", body=body[:(len(body) + 1) // 2])
    return s.hang_up() or True


def chunked(s, n, q):
    first, last, size, body, etag = q
    body = b"".join(b"%x;x=y\r\n%s\r\n" % (len(body[i:i + 999]), body[i:i + 999]) for i in range(0, len(body), 999))
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", "Transfer-Encoding: chunked",
                 body=body + b"0\r\nETag: trailer\r\nHTTP/1.1 500 no: x\r\n\r\n")


def until_the_end(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"ETag: {etag}", body=body, version="HTTP/1.0")


def cut_before_the_end(s, n, q):
    first, last, size, body, etag = q
    return n % 4 == 0 and s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", body=body[:-len(body) // 3], version="HTTP/1.0")


def old_and_whole(s, n, q):
    return s.raw(200, body=(s.server.folder / "new.cosi").read_bytes(), version="HTTP/1.0")


def none(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", "Accept-Ranges: none", body=body)


MODIFIED = "Sat, 01 Aug 2026 00:00:00 GMT"


def weak(s, n, q):
    """nginx and others weaken the tag of what they compress; it must not come back as a condition."""
    assert not s.headers.get("If-Range", "").startswith("W/")
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", "ETag: W/" + etag,
                 f"Last-Modified: {MODIFIED}", body=body)


def weak_changes(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", f'ETag: W/"{n > 25}"', body=body)


def modified(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}",
                 "Last-Modified: " + (MODIFIED.replace("2026", "2025") if n > 25 else MODIFIED), body=body)


def gzip(s, n, q):
    first, last, size, body, etag = q
    return s.raw(206, f"Content-Range: bytes {first}-{last}/{size}", f"Content-Length: {len(body)}", "Content-Encoding: gzip",
                 "Content-Encoding: identity", body=body)


def too_far(s, n, q):
    return s.raw(416, f"Content-Range: bytes */{q[2]}", "Content-Length: 0")


def round_and_round(s, n, q):
    return s.raw(302, f"Location: /new.cosi?{n}", "Content-Length: 0")


def elsewhere(s, n, q):
    return s.raw(302, "Location: file:///etc/passwd", "Content-Length: 0")


def nowhere(s, n, q):
    return s.raw(307, "Content-Length: 0")


def busy(s, n, q):
    return n % 3 == 0 and s.raw((429, 503, 500)[n // 3 % 3], "Retry-After: 0", "Content-Length: 0")


def hangs_up(s, n, q):
    return n % 2 == 0 and (s.hang_up() or True)


def not_modified(s, n, q):
    return s.raw(304, f"ETag: {q[4]}", "Content-Length: 0")


def html(s, n, q):
    """What a captive portal says to everything."""
    return s.raw(200, "Content-Type: text/html", "Content-Length: 6", body=b"<html>")


# (what, exits, what is said)
MIDWAY = (
    (other_offset, (1,), "other bytes than asked for"), (other_total, (1,), "changed on the server"), (no_total, (0,), ""),
    (no_content_range, (1,), "other bytes than asked for"), (multipart, (1,), "other bytes than asked for"),
    (longer_than_said, (1,), "other bytes than asked for"), (more_than_asked, (1,), "other bytes than asked for"),
    (shorter_than_asked, (0,), ""), (shorter_than_said, (0,), ""), (chunked, (0,), ""), (until_the_end, (0,), ""),
    (cut_before_the_end, (0,), ""), (old_and_whole, (0,), ""), (none, (0,), ""), (gzip, (1,), "compresses"),
    (too_far, (1,), "became shorter"), (round_and_round, (1,), "more than 5 redirects"),
    (elsewhere, (1,), "something else than http"), (nowhere, (1,), "redirects to nowhere"), (busy, (0,), ""), (hangs_up, (0,), ""),
    (not_modified, (1,), "answers 304"), (html, (1,), "changed on the server"))
ALWAYS = ((weak, (0,), ""), (weak_changes, (1,), "changed on the server"), (modified, (1,), "changed on the server"),
          (until_the_end, (0,), ""), (chunked, (0,), ""), (old_and_whole, (0,), ""), (html, (4,), "the signed release says"))
QUICK = (other_offset, multipart, gzip, too_far, round_and_round, chunked, shorter_than_said, weak, modified)


def odd(t):
    """what servers and proxies make of a Range is understood, or refused in a sentence; it changes nothing of the image"""
    every = os.environ.get("GYBE_ALL")
    for after, cases in ((20, MIDWAY), (0, ALWAYS)):
        for way, exits, said in cases:
            if not every and (way not in QUICK or after == 0 and way is chunked):
                continue
            h = t.host()
            try:
                _, _, r, _ = t.stage(h, t.repo, exits=exits, modified=MODIFIED, odd=lambda s, n, q: n > after and way(s, n, q))
                assert said in r.stderr, r.stderr
                if r.returncode and every:
                    t.stage(h, t.repo)                 # nothing of it stays
            except (AssertionError, subprocess.TimeoutExpired) as e:
                raise AssertionError(f"{way.__name__} after {after}: {e}") from e
            t.drop(h)


def index_lies(t):
    """an index with wrong leaves, wrong names, wrong groups, wrong frames, another root, nonsense, or cut"""
    def leaves(i):
        i.leaves[1000] = i.leaves[1200]               # copied from elsewhere, and wrong: the tree must be asked
        i.rename()

    def many(i):
        for k in range(0, len(i.leaves), 3):
            i.leaves[k] = hashlib.sha256(bytes(i.leaves[k])).digest()[:LEAF]
        i.rename()

    def names(i):
        i.groups = [(bytes(8), n) for _, n in i.groups]

    def shifted(i):
        i.leaves = i.leaves[1:] + i.leaves[:1]
        i.rename()

    def groups(i):
        i.groups[0] = (i.groups[0][0], i.groups[0][1] + 1)

    def frames(i):
        i.frames = i.frames[1:] + i.frames[:1]

    def zero_frames(i):
        i.frames = [0] * len(i.frames)

    def huge_frames(i):
        i.frames = [0xffff] * len(i.frames)

    def root(i):
        i.head[24] ^= 1

    def version(i):
        i.head[8] = 9

    def nonsense(i):
        i.head[:8] = b"nonsense"

    def blocks(i):
        i.head[16] ^= 1

    def short(i):
        """The archive ends in the middle of it; what follows is nobody's."""
        size = i.size // 2
        with i.cosi.open("r+b") as f:
            f.seek(i.at - 512)
            head = bytearray(f.read(512))
            head[124:136] = b"%011o\0" % size
            head[148:156] = b" " * 8
            head[148:156] = b"%06o\0 " % sum(head)
            f.seek(i.at - 512)
            f.write(head)
            f.seek(i.at + (size + 511) // 512 * 512)
            f.write(bytes(1024))
        i.write = lambda: None

    lies = (leaves, shifted, names, frames, nonsense, short)
    if os.environ.get("GYBE_ALL"):
        lies += (many, groups, zero_frames, huge_frames, root, version, blocks)
    for change_it in lies:
        d = t.lie()
        i = Index(d / "new.cosi")
        change_it(i)
        i.write()
        h = t.host()
        try:
            server, _, r, _ = t.stage(h, d)
        except AssertionError as e:
            raise AssertionError(f"{change_it.__name__}: {e}") from e
        assert server.sent < 2.5 * t.cosi.stat().st_size, (change_it.__name__, server.sent)
        t.drop(h)
        shutil.rmtree(d)


def usr_frames(t, cosi):
    i = Index(cosi)
    at, size = member(cosi, "images/usr-a.zst")
    return at, size, i.frames


def frames_lie(t):
    """frames that lie: bytes flipped on the way to one range, to all of them, and in the file itself"""
    at, size, frames = usr_frames(t, t.cosi)
    middle = at + sum(frames[:len(frames) // 2]) + frames[len(frames) // 2] // 2
    for flips in ({middle: 1}, {at + k: 0x40 for k in range(100, size, 5000)}):
        h = t.host()
        t.stage(h, t.repo, exits=(0, 1, 4), flips=flips)
        t.drop(h)


def swapped_frames(t):
    """good frames in each other's places are noticed and refused: the file is not the signed one"""
    at, size, frames = usr_frames(t, t.cosi)
    d = t.lie()
    data = bytearray((d / "new.cosi").read_bytes())
    same = {}
    where = at
    for n in frames:                                   # two frames of one size
        if n > 3000 and n in same and data[same[n]:same[n] + n] != data[where:where + n]:
            a = same[n]
            data[a:a + n], data[where:where + n] = data[where:where + n], data[a:a + n]
            break
        same[n] = where
        where += n
    else:
        return "no two frames of one size"
    (d / "new.cosi").write_bytes(data)
    h = t.host()
    _, _, r, _ = t.stage(h, d, exits=(0, 4))
    t.drop(h)
    return f"exit {r.returncode}"


def seek_table_lies(t):
    """a seek table that lies, where there is no index"""
    d = t.lie()
    at, _ = member(d / "new.cosi", "gybe/usr.index")
    usr, size = member(d / "new.cosi", "images/usr-a.zst")
    data = bytearray((d / "new.cosi").read_bytes())
    data[at - 512:] = bytes(1024)
    (d / "new.cosi").write_bytes(data)
    (d / "new.release.json").unlink()
    sign(d / "new.cosi", [t.keys / "release.pem"], "2.0", 2)
    n = struct.unpack_from("<I", data, usr + size - 9)[0]
    entry = 12 if data[usr + size - 5] & 0x80 else 8
    table = usr + size - 9 - n * entry
    for lie in ("swap", "count", "raw"):
        data2 = bytearray(data)
        if lie == "swap":
            data2[table:table + 4], data2[table + entry:table + entry + 4] = data2[table + entry:table + entry + 4], data2[table:table + 4]
            struct.pack_into("<I", data2, table, struct.unpack_from("<I", data2, table)[0] + 7)
            struct.pack_into("<I", data2, table + entry, struct.unpack_from("<I", data2, table + entry)[0] - 7)
        elif lie == "count":
            struct.pack_into("<I", data2, usr + size - 9, n - 1)
        else:
            struct.pack_into("<I", data2, table + 4, 4096)
        (d / "new.cosi").write_bytes(data2)
        h = t.host()
        t.stage(h, d, exits=(0, 4))
        t.drop(h)


def bad_disk(t):
    """a flipped bit in the local slot is fetched instead; the spare slot's old blocks are used"""
    h = t.host()
    at, _ = h.parts["USR-A"]
    rng = random.Random(5)
    with open(h.disk, "r+b") as f:
        for _ in range(20):
            where = at + rng.randrange(SIZE // 4096) * 4096 + 77
            f.seek(where)
            b = f.read(1)
            f.seek(where)
            f.write(bytes([b[0] ^ 8]))
    t.stage(h, t.repo)
    t.drop(h)
    h = t.host()                                       # everything is in the spare slot, in another place
    usr = t.new.usr.read_bytes()
    h.put("USR-B", usr[-4096 * 40:] + usr[:-4096 * 40])
    h.put("USR-A", bytes(SIZE))
    server, b, _, _ = t.stage(h, t.repo)
    assert b["copied"] > SIZE // 3, b
    t.drop(h)


def same_salt(t):
    """slots with the salt of the new image say by their trees what they hold; a tree that says more than the data keep costs a fetch"""
    s = t.of(image(t.work / "same", "2.0", size=SIZE, salt=t.old.salt))
    rng = random.Random(6)

    def scribble(h, part, size, n):
        at, _ = h.parts[part]
        with open(h.disk, "r+b") as f:
            for _ in range(n):
                f.seek(at + rng.randrange(4096, size - 5))
                f.write(rng.randbytes(5))

    def stage(prepare):
        h = s.host()
        prepare(h)
        server, b, _, _ = s.stage(h, s.repo)
        s.drop(h)
        return server.sent, b

    def old_in_spare(h):
        h.put("USR-B", t.old.usr.read_bytes())
        h.put("HASH-B", t.old.hash.read_bytes())

    def another_in_spare(h):                                # the tree is an old one's, the data are nobody's
        old_in_spare(h)
        usr = t.old.usr.read_bytes()
        h.put("USR-B", usr[4096 * 40:] + usr[:4096 * 40])

    plain, b = stage(lambda h: None)
    assert b["copied"] > SIZE // 2, b
    _, b = stage(old_in_spare)
    assert b["skipped"] > SIZE // 2, b
    sent, _ = stage(lambda h: scribble(h, "HASH-A", t.old.hash.stat().st_size, 5))
    assert sent == plain, "a tree that is not whole is not asked; the slot is read instead"
    for prepare in (lambda h: scribble(h, "USR-A", SIZE, 20), another_in_spare):
        sent, b = stage(prepare)
        assert plain < sent < s.cosi.stat().st_size * 3 // 2, (plain, sent, b)
    return f"{plain} bytes"


def bad_sectors(t):
    """sectors of either slot that cannot be read: what lay there is fetched; one that stays unreadable is a refusal"""
    shim = t.work / "bad-disk.so"
    run(os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O2", "-o", shim, Path(__file__).resolve().parent.parent / "lib/bad-disk.c", "-ldl")

    def bad(h, error, heals, *where):
        return {"LD_PRELOAD": str(shim), "BAD_DISK": str(h.disk), "BAD_ERRNO": str(error), "BAD_HEALS": "1" if heals else "",
                "BAD_SECTORS": " ".join(str(h.parts[p][0] + at) for p, at in where)}

    rng = random.Random(3)
    some = [rng.randrange(SIZE // 4096) * 4096 + 512 for _ in range(12)]
    # through the page cache it is EIO, read directly a bad sector is ENODATA
    for error in (errno.EIO, errno.ENODATA, errno.EILSEQ, errno.EREMOTEIO) if os.environ.get("GYBE_ALL") else (errno.ENODATA,):
        h = t.host()
        _, b, _, _ = t.stage(h, t.repo, env=bad(h, error, False, *(("USR-A", at) for at in some)))
        assert b["copied"] > SIZE // 2, b
        t.drop(h)
    # the slot that is written: a sector that is written is given a new place by its disk
    for places in ([("USR-B", at) for at in some], [("HASH-B", 0), ("HASH-B", 4096), ("HASH-B", 65536)]):
        h = t.host()
        h.put("USR-B", t.old.usr)
        h.put("HASH-B", t.old.hash)
        t.stage(h, t.repo, env=bad(h, errno.ENODATA, True, *places))
        t.drop(h)
        h = t.host()                                   # a disk that has no other place
        _, _, r, took = t.stage(h, t.repo, exits=(1, 4), env=bad(h, errno.ENODATA, False, *places))
        assert "disk.img" in r.stderr or "USR-B" in r.stderr or "HASH-B" in r.stderr, r.stderr
        t.drop(h)
    # streamed: where the image has only zeroes nothing is written before reading back finds out
    usr = bytearray(t.new.usr.read_bytes())
    usr[8 * MIB:24 * MIB] = bytes(16 * MIB)
    (t.work / "holes.img").write_bytes(usr)
    s = t.of(image(t.work / "holes", "2.0", content=t.work / "holes.img"))
    places = [("USR-B", at * MIB + 8192) for at in (9, 10, 17, 23)]
    h = s.host()
    s.stage(h, s.repo, env=bad(h, errno.ENODATA, True, *places), ranges=False)
    s.drop(h)
    h = s.host()
    _, _, r, _ = s.stage(h, s.repo, exits=(1,), env=bad(h, errno.ENODATA, False, *places), ranges=False)
    assert "disk.img" in r.stderr or "USR-B" in r.stderr, r.stderr
    s.drop(h)


def plan(t):
    """gybe plan says beforehand what stage does"""
    h = t.host()
    with Server(t.repo) as server:
        before = h.snapshot()
        p = json.loads(gybe(h, "plan", "--json", server.url + "new.release.json").stdout)
        assert h.snapshot() == before, "plan changed something"
        usr, size = member(t.cosi, "images/usr-a.zst")
        for first, n in server.ranges:
            # what stands behind a header comes along with it; the first request is for the beginning of the file
            assert first == 0 or n <= 4096 or first + n <= usr or first >= usr + size, "content was fetched"
        asked = [(r["offset"], r["size"]) for r in p["ranges"]]
        assert asked and all(usr <= o and o + n <= usr + size for o, n in asked)
        text = gybe(h, "plan", server.url + "new.release.json").stdout
        assert "copied from the slots" in text
        server.ranges.clear()
        gybe(h, "stage", server.url + "new.release.json")
        got = [(o, n) for o, n in server.ranges if usr <= o < usr + size and (o, n) in asked]
    t.check(h)
    b = history(h)[-1]["bytes"]
    assert p["schema"] == "gybe.plan/1" and p["way"] == "parts"
    for key in ("skipped", "copied", "rebuilt", "written"):
        assert p["bytes"][key] == b[key], (key, p["bytes"], b)
    assert sum(n for _, n in got) == p["bytes"]["download"], (got, p["bytes"])
    assert got == asked, "other ranges than planned"
    t.drop(h)


# --- the ESP in parts ---

def with_kernel(t, name, version, seed):
    """A release like t's with a kernel of 12 MiB in its UKI, whose .osrel says another version each time."""
    d = t.work / name
    img = image(d, version, size=SIZE)
    linux = d / "linux"
    linux.write_bytes(hashlib.shake_128(seed.encode()).digest(12 * MIB))
    pe(img.uki, osrel=str(img.os_release), uname="6.6.121", cmdline=MAIN_CMDLINE, linux=str(linux))
    return img


class Kernels:
    """A host with 1.0, and releases 2.0 with the same kernel and with another one."""

    def __init__(self, t):
        self.old = with_kernel(t, "k1", "1.0", "one")
        self.same, self.other = t.of(with_kernel(t, "k2", "2.0", "one")), t.of(with_kernel(t, "k3", "2.0", "two"))
        base = Host(t.work / "kbase", usr_size=SIZE, esp_size=64 * MIB)
        base.install(self.old, trust_root=t.keys / "root.json")
        for x in (self.same, self.other):
            x.base = base

    @classmethod
    def of(cls, t):
        if not hasattr(t, "kernels"):
            t.kernels = cls(t)
        return t.kernels


def esp_bytes(t, server, cosi=None):
    at, size = member(cosi or t.cosi, "images/esp.zst")
    return sum(max(0, min(first + n, at + size) - max(first, at)) for first, n in server.ranges), size


def check_boot(t, host):
    staged = host.root / "boot/EFI/Linux/vmlinuz-0.efi.staged"
    assert staged.read_bytes() == t.new.uki.read_bytes(), "another UKI than the image's"
    addon = [p for p in t.new.templates if p.name == "slot-b.addon.efi"][0]
    assert (staged.parent / "vmlinuz-0.efi.staged.extra.d/slot-b.addon.efi").read_bytes() == addon.read_bytes()


def esp_parts(t):
    """a UKI that differs from the running one in its version costs kilobytes; gybe plan says so, and nothing of it is trusted"""
    t = Kernels.of(t).same
    h = t.host()
    with Server(t.repo) as server:
        p = json.loads(gybe(h, "plan", "--json", server.url + "new.release.json").stdout)
    server, _, _, _ = t.stage(h, t.repo)
    got, size = esp_bytes(t, server)
    check_boot(t, h)
    assert t.new.uki.read_bytes() != (h.root / "boot/EFI/Linux" / h.default_entry()).read_bytes(), "a test of nothing"
    assert got < 700_000 < size // 10, f"{got} of {size} bytes"
    assert abs(p["bytes"]["boot"] - got) < got // 8, (p["bytes"], got)
    t.drop(h)
    return f"{got} of {size} bytes"


def esp_whole(t):
    """another kernel, no ranges, no seek table: all of the ESP image, held to its digest"""
    k = Kernels.of(t)
    for x, how in ((k.other, {}), (k.same, {"ranges": False})):
        h = x.host()
        server, _, _, _ = x.stage(h, x.repo, **how)
        got, size = esp_bytes(x, server)
        assert got >= size, f"{got} of {size} bytes"
        check_boot(x, h)
        x.drop(h)


def esp_lies(t):
    """a boot file's bytes, the seek table's checksums and the running UKI are wrong: refused by what is signed, or made good"""
    t = Kernels.of(t).same
    at, size = member(t.cosi, "images/esp.zst")
    data = t.cosi.read_bytes()[at:at + size]
    n_frames, entry = struct.unpack_from("<IB", data, size - 9)[0], 12
    table = size - 9 - n_frames * entry
    sums = [struct.unpack_from("<III", data, table + i * entry) for i in range(n_frames)]
    assert sum(s[1] for s in sums) == sums[0][1] * (n_frames - 1) + sums[-1][1], "frames of one size"
    small = next(i for i in range(n_frames - 1, -1, -1) if sums[i][0] > 100)    # the last files of the image
    for what, flips in (("a frame", {at + sum(s[0] for s in sums[:small]) + 60: 0x40}),
                        ("its length", {at + table + small * entry + 1: 0x10}),
                        ("every checksum", {at + table + i * entry + 8: 0x01 for i in range(n_frames)})):
        h = t.host()
        t.stage(h, t.repo, exits=(1, 4), flips=flips)
        t.drop(h)
    h = t.host()
    live = h.root / "boot/EFI/Linux" / h.default_entry()
    b = bytearray(live.read_bytes())
    b[6 * MIB] ^= 1
    live.write_bytes(b)
    server, _, _, _ = t.stage(h, t.repo)
    check_boot(t, h)
    got, _ = esp_bytes(t, server)
    assert got < 800_000, got
    t.drop(h)


def esp_checksum_collides(t):
    """frames of another kernel with the checksums of the running one's: the signed digest says so"""
    k = Kernels.of(t)
    t = k.other
    lie = t.lie()
    at, size = member(lie / "new.cosi", "images/esp.zst")
    data = bytearray((lie / "new.cosi").read_bytes())
    n_frames = struct.unpack_from("<I", data, at + size - 9)[0]
    table = at + size - 9 - n_frames * 12
    old = build(k.old, t.work / "old-esp.cosi")
    o_at, o_size = member(old, "images/esp.zst")
    o_data = old.read_bytes()
    o_table = o_at + o_size - 9 - n_frames * 12
    for i in range(n_frames):
        a, b = table + i * 12 + 8, o_table + i * 12 + 8
        data[a:a + 4] = o_data[b:b + 4]
    (lie / "new.cosi").write_bytes(data)
    h = t.host()
    server, _, _, _ = t.stage(h, lie, exits=(4,))
    got, size = esp_bytes(t, server)
    assert got >= size, f"{got} of {size} bytes: it was believed"
    t.drop(h)


def usr_bytes(t, server):
    at, size = member(t.cosi, "images/usr-a.zst")
    return sum(max(0, min(first + n, at + size) - max(first, at)) for first, n in server.ranges)


def killed(t):
    """killed at random moments and staged again: the same bytes, and next to nothing fetched twice"""
    full = t.cosi.stat().st_size
    h = t.host()
    server, _, _, took = t.stage(h, t.repo, delay=0.002)
    once, usr_once = server.sent, usr_bytes(t, server)
    t.drop(h)
    rng = random.Random(int(os.environ.get("GYBE_SEED", "7")))
    worst = total = usr_worst = 0
    for _ in range(ROUNDS):
        h = t.host()
        with Server(t.repo, delay=0.002) as server:
            p = spawn(h, "--no-progress", "stage", server.url + "new.release.json")
            time.sleep(rng.uniform(0, took))
            p.send_signal(signal.SIGKILL)
            p.wait()
            deadline = time.monotonic() + 30
            while True:                                # what was on its way is still being counted
                r = gybe(h, "stage", server.url + "new.release.json", check=False)
                if r.returncode != 5 or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            assert r.returncode in (0, 10), f"exit {r.returncode}: {r.stderr}"
        t.check(h)
        total += server.sent
        worst = max(worst, server.sent)
        assert server.sent <= full * 1.05, f"{server.sent} of {full} bytes"
        usr_worst = max(usr_worst, usr_bytes(t, server))
        # whatever the image's size, what had left the server and had not reached the disk is lost: 2 MiB between the two
        # processes, half a MiB on its way to the disk
        assert usr_worst <= usr_once * 1.05 + 5 * MIB // 2, f"{usr_worst} of /usr instead of {usr_once} bytes"
        t.drop(h)
    return (f"{ROUNDS} rounds; whole {full}, by parts {once}, killed on average {total // ROUNDS}, at worst {worst} bytes; of /usr "
            f"alone {usr_once}, at worst {usr_worst}")


CASES = (parts, nginx, accepted, plan, no_index, no_ranges, cut, change, index_lies, frames_lie, swapped_frames, seek_table_lies,
         bad_disk, same_salt, bad_sectors, esp_parts, esp_whole, esp_lies, esp_checksum_collides, odd, killed)


def main():
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None    # dozens of hosts of 80 MB, one after the other
    with tempfile.TemporaryDirectory(prefix="gybe-delta-", dir=memory) as tmp:
        t = Test(Path(tmp))
        only = os.environ.get("GYBE_ONLY", "").split()
        for f in CASES + ((slow,) if os.environ.get("GYBE_SLOW") else ()):
            if not only or f.__name__ in only:
                t.case(f)
    return t.end()


if __name__ == "__main__":
    sys.exit(main())
