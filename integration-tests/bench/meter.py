# SPDX-License-Identifier: MIT
"""What something cost, as the kernel counts it: wall time, processor time, memory of all its processes together, bytes of storage, pages that stay in the cache, bytes of HTTP bodies out of the server's log."""

import ctypes
import mmap
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def run(*argv, check=True):
    r = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and r.returncode != 0:
        sys.exit(f"bench: {argv}: exit {r.returncode}\n{r.stdout[-2000:]}")
    return r.stdout


def children():
    found = {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                found.setdefault(int(Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(int(p))
            except (OSError, IndexError):
                pass
    return found


class Watch(threading.Thread):
    """The largest memory (VmHWM) of each process below pid, read until stopped."""

    def __init__(self, pid, skip=()):
        super().__init__(daemon=True)
        self.pid, self.skip, self.ended, self.peak, self.names = pid, skip, threading.Event(), {}, {}
        self.start()

    def run(self):
        while not self.ended.wait(0.04):
            below, todo = children(), [self.pid]
            while todo:
                p = todo.pop()
                todo += below.get(p, [])
                try:
                    text = Path(f"/proc/{p}/status").read_text()
                except OSError:
                    continue
                kb = [int(x.split()[1]) for x in text.splitlines() if x.startswith("VmHWM")]
                self.names[p] = text.split(None, 2)[1]
                if kb and self.names[p] not in self.skip:
                    self.peak[p] = max(self.peak.get(p, 0), kb[0])

    def stop(self):
        self.ended.set()
        self.join()
        return sum(self.peak.values()) * 1024


def cached(path):
    """Bytes of a file or block device that lie in the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        total = 0
        for at in range(0, size, 256 * MIB):
            n = min(256 * MIB, size - at)
            libc.mmap.restype = ctypes.c_void_p
            a = libc.mmap(None, ctypes.c_size_t(n), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(at))
            if a in (None, ctypes.c_void_p(-1).value):
                return -1
            vec = (ctypes.c_ubyte * ((n + 4095) // 4096))()
            if libc.mincore(ctypes.c_void_p(a), ctypes.c_size_t(n), vec) == 0:
                total += sum(1 for v in bytes(vec) if v & 1) * 4096
            libc.munmap(ctypes.c_void_p(a), ctypes.c_size_t(n))
        return total
    finally:
        os.close(fd)


def uncache(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


class Server:
    """nginx on loopback; bytes of bodies that it sent."""

    def __init__(self, root, work):
        self.work = Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        w = self.work
        (w / "nginx.conf").write_text(
            f"daemon off; user root; pid {w}/pid; error_log {w}/error.log; events {{}}\n"
            f"http {{ log_format b '$body_bytes_sent $status $request $http_range'; access_log {w}/access.log b; sendfile on; keepalive_requests 100000;\n"
            f" client_body_temp_path {w}/t1; proxy_temp_path {w}/t2; fastcgi_temp_path {w}/t3; uwsgi_temp_path {w}/t4; scgi_temp_path {w}/t5;\n"
            f" server {{ listen 127.0.0.1:{self.port}; root {root}; }} }}\n")
        (w / "access.log").write_text("")
        self.at = 0
        self.p = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(w), "-c", str(w / "nginx.conf")], stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        for _ in range(100):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        sys.exit("bench: nginx does not start")

    def sent(self):
        """Since the last call: bytes, requests."""
        time.sleep(0.1)
        lines = (self.work / "access.log").read_text().splitlines()
        new, self.at = lines[self.at:], len(lines)
        return sum(int(x.split()[0]) for x in new), len(new)

    def close(self):
        self.p.terminate()
        self.p.wait()


def cpu_of(pid):
    f = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(x) for x in f[11:15]) / os.sysconf("SC_CLK_TCK")


def io_of(pid):
    f = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(f["read_bytes"]), int(f["write_bytes"])


def measure(argv, target, server=None, service=None, cwd=None, env=None, ok=(0,)):
    """Runs argv (a string: by a shell) that writes into the file target. service: a daemon that does the work. Bytes read and
    written are the kernel's task accounting: what these processes made the storage do."""
    if target:
        uncache(target)
    io_service = io_of(service) if service else (0, 0)
    if server:
        server.sent()
    cpu_service = cpu_of(service) if service else 0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    t = time.monotonic()
    p = subprocess.Popen(argv, shell=isinstance(argv, str), executable="/bin/bash" if isinstance(argv, str) else None, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, cwd=cwd, env=env)
    w = Watch(service or p.pid, skip=("bash",))
    out = p.communicate()[0]
    wall = time.monotonic() - t
    peak = w.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode not in ok:
        sys.exit(f"bench: {argv}: exit {p.returncode}\n{out[-3000:]}")
    cache = cached(target) if target else 0
    r = {"wall": wall, "cpu": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime, "rss": peak, "cache": cache,
         "written": (after.ru_oublock - usage.ru_oublock) * 512, "read": (after.ru_inblock - usage.ru_inblock) * 512, "out": out}
    if service:
        now = io_of(service)
        r["read"], r["written"] = r["read"] + now[0] - io_service[0], r["written"] + now[1] - io_service[1]
        r["cpu"] += cpu_of(service) - cpu_service
    if server:
        r["fetched"], r["requests"] = server.sent()
    return r
