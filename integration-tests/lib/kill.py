# SPDX-License-Identifier: MIT
"""kill -9 at a chosen system call: strace injects the signal when the n-th call of a kind is entered, so what the disk holds is
a prefix of the program's writes."""

import os
import re
import subprocess

from sandbox import command, environ

WRITES = ["write", "pwrite64", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "fsync", "fdatasync",
          "ftruncate", "syncfs", "sync_file_range", "symlinkat", "linkat", "copy_file_range", "fallocate", "openat", "openat2",
          "io_submit"]


def points(log):
    """(syscall, n) of the calls in a strace log that change something; opens count when they create."""
    seen, out = {}, []
    for line in log.read_text().splitlines():
        m = re.match(r"(?:\d+ +)?(\w+)\((.*)", line)
        if not m or m[1] not in WRITES:
            continue
        name = m[1]
        seen[name] = seen.get(name, 0) + 1
        if name in ("openat", "openat2") and "O_CREAT" not in m[2] and "O_TMPFILE" not in m[2]:
            continue
        if name == "io_submit" and "IOCB_CMD_PWRITE" not in m[2]:
            continue
        if name == "write" and re.match(r"[012],", m[2]):
            continue
        out.append((name, seen[name]))
    return out


def traced():
    """For a program under strace: LeakSanitizer is a tracer itself and cannot work under another one; all else of a sanitizer
    build does."""
    return environ(ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


def strace(host, out, inject, *args):
    argv = ["strace", "-qq", "-o", out, "-e", "trace=" + ",".join(f"?{w}" for w in WRITES)]
    if inject:
        argv += ["-e", f"inject={inject[0]}:signal=SIGKILL:when={inject[1]}"]
    argv += command(host, "--no-progress", *args)
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=traced())


def kill_at(calls, n, argv, *options):
    """Runs argv, which dies when it enters the n-th of these system calls; options are strace's, -f for its children, too."""
    subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={n}",
                    *options, *argv], env=traced(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def was_killed(log):
    return log.read_text().rstrip().endswith("+++ killed by SIGKILL +++")
