#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Only what is missing: a slot is put together from what the host has and from parts of a COSI. Every server, index, seek table
and disk that lies: each stage ends verified or refused, never wrong, never stuck. Then it is killed at random moments and goes
on. veritysetup and a comparison with the image are the judges; the servers count the bytes."""

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
from cases import Cases
from sandbox import BUILD, MIB, Host, build, gybe, history, image, keygen, program, run, sign, status

ROUNDS = int(os.environ.get("GYBE_ROUNDS", "3"))
SIZE = 32 * MIB     # parts have to save 4 MiB, or the whole image is fetched and held to its digest
LEAF, GROUP, HEAD = 6, 10, 64


# --- a server that can misbehave ---

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder, **how):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.how = Path(folder), how
        self.sent, self.requests, self.ranges = 0, 0, []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.shutdown()
        self.server_close()

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request, client_address):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True      # or each answer waits 40 ms for the ACK of its head

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)

    def log_message(self, *args):
        pass

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
        if self.headers.get("If-Range", etag) != etag:
            m = None
        first, last = (int(m[1]), min(int(m[2] or size), size - 1)) if m and ranges else (0, size - 1)
        with path.open("rb") as f:
            f.seek(first)
            body = bytearray(f.read(last - first + 1))
        for at, mask in how.get("flips", {}).items():
            if is_cosi and first <= at <= last:
                body[at - first] ^= mask
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
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


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
        self.base.install(self.old, trust_root=self.keys / "root.json", config={"http": {"stallTimeout": 5}})
        self.n = 0

    def host(self):
        """A host like the first one: slot A runs the old image, slot B is blank."""
        self.n += 1
        where = self.work / f"host{self.n}"
        subprocess.run(["cp", "-a", "--sparse=always", str(self.base.dir), str(where)], check=True)
        h = Host(where, usr_size=SIZE)
        h.parts, h.boots = self.base.parts, self.base.boots
        return h

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

    def stage(self, host, folder, exits=(0,), **how):
        """Stages from a server; the slot must be right or not staged. Returns what was served, and history's bytes."""
        active = host.get("USR-A")
        with Server(folder, **how) as server:
            started = time.monotonic()
            r = gybe(host, "stage", server.url("new.release.json"), check=False, timeout=240)
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
    """a server that sends a byte now and then is given up, or outlasted"""
    h = t.host()
    t.stage(h, t.repo, exits=(0, 1), delay=0.05)
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

    lies = (leaves, shifted, names, frames, nonsense)
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


def plan(t):
    """gybe plan says beforehand what stage does"""
    h = t.host()
    with Server(t.repo) as server:
        before = h.snapshot()
        p = json.loads(gybe(h, "plan", "--json", server.url("new.release.json")).stdout)
        assert h.snapshot() == before, "plan changed something"
        usr, size = member(t.cosi, "images/usr-a.zst")
        for first, n in server.ranges:
            # what stands behind a header comes along with it; the first request is for the beginning of the file
            assert first == 0 or n <= 4096 or first + n <= usr or first >= usr + size, "content was fetched"
        asked = [(r["offset"], r["size"]) for r in p["ranges"]]
        assert asked and all(usr <= o and o + n <= usr + size for o, n in asked)
        text = gybe(h, "plan", server.url("new.release.json")).stdout
        assert "copied from the slots" in text
        server.ranges.clear()
        gybe(h, "stage", server.url("new.release.json"))
        got = [(o, n) for o, n in server.ranges if usr <= o < usr + size and (o, n) in asked]
    t.check(h)
    b = history(h)[-1]["bytes"]
    assert p["schema"] == "gybe.plan/1" and p["way"] == "parts"
    for key in ("skipped", "copied", "rebuilt", "written"):
        assert p["bytes"][key] == b[key], (key, p["bytes"], b)
    assert sum(n for _, n in got) == p["bytes"]["download"], (got, p["bytes"])
    assert got == asked, "other ranges than planned"
    t.drop(h)


def killed(t):
    """killed at random moments and staged again: the same bytes, and next to nothing fetched twice"""
    full = t.cosi.stat().st_size
    h = t.host()
    server, _, _, took = t.stage(h, t.repo, delay=0.002)
    once = server.sent
    t.drop(h)
    rng = random.Random(int(os.environ.get("GYBE_SEED", "7")))
    worst = total = 0
    for _ in range(ROUNDS):
        h = t.host()
        with Server(t.repo, delay=0.002) as server:
            p = subprocess.Popen([str(program("gybe")), "--root", str(h.root), "--disk", str(h.disk), "--no-progress", "stage",
                                  server.url("new.release.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env={**os.environ, "GYBE_LIBEXEC": str(BUILD)})
            time.sleep(rng.uniform(0, took))
            p.send_signal(signal.SIGKILL)
            p.wait()
            deadline = time.monotonic() + 30
            while True:                                # what was on its way is still being counted
                r = gybe(h, "stage", server.url("new.release.json"), check=False)
                if r.returncode != 5 or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            assert r.returncode in (0, 10), f"exit {r.returncode}: {r.stderr}"
        t.check(h)
        total += server.sent
        worst = max(worst, server.sent)
        assert server.sent <= full * 1.05, f"{server.sent} of {full} bytes"
        t.drop(h)
    return f"{ROUNDS} rounds; whole {full}, by parts {once}, killed on average {total // ROUNDS}, at worst {worst} bytes"


CASES = (parts, nginx, accepted, plan, no_index, no_ranges, cut, change, index_lies, frames_lie, swapped_frames, seek_table_lies,
         bad_disk, killed)


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
