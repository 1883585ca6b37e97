# SPDX-License-Identifier: MIT
"""Which disks can a power cut leave behind?

Reads what QEMU's blklogwrites recorded while a machine ran: every write, flush and discard of its disk, in order
(the dm-log-writes format). From the disk as it was before and that log it makes the disk as it would be found after a
cut, in two ways:

    prefixes       everything up to a write arrived, nothing after it
    reorderings    everything up to a flush arrived; of the writes between it and the next flush any subset of
                   sectors did. Single sectors are atomic, nothing else is promised

A Cut names one such disk and can be told in one line, so that a failure can be repeated. Replay keeps the sectors that
differ from the original in memory (an Overlay); a disk image is only written when a tool needs a file.

    blklog.py list LOG                      the entries
    blklog.py replay LOG ORIGINAL OUT [--entries N]
    blklog.py cuts LOG [--count N] [--seed S]
"""

import argparse
import os
import random
import struct
import subprocess
import sys
from dataclasses import dataclass

MAGIC = 0x6a736677736872
SUPER = struct.Struct("<QQQI")          # magic, version, entries, sector size
ENTRY = struct.Struct("<QQQQ")          # sector, sectors, flags, bytes of data behind the entry's own sector
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
ENTRIES_MAX = 1 << 22                   # a log of an hour has some ten thousand


@dataclass(frozen=True)
class Write:
    """One entry. `at` is where its data lies in the log file."""
    number: int
    sector: int
    sectors: int
    flags: int
    at: int

    @property
    def flush(self):
        return bool(self.flags & FLUSH)


@dataclass(frozen=True)
class Cut:
    """One power-cut disk: all entries below `sure`, and of those from `sure` to `end` only `sectors`
    ((entry number, sector inside it) pairs; None means all)."""
    sure: int
    end: int
    sectors: frozenset | None
    why: str

    def __str__(self):
        some = "all" if self.sectors is None else f"{len(self.sectors)} sectors"
        return f"{self.why}: entries below {self.sure}, then {some} of {self.sure}..{self.end}"


class Log:
    """A recorded log. Data stays in the file and is read when asked for."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        head = os.pread(self.fd, SUPER.size, 0)
        if len(head) < SUPER.size:
            raise ValueError(f"{path}: no superblock")
        magic, version, count, self.sector_size = SUPER.unpack(head)
        if magic != MAGIC or version != 1:
            raise ValueError(f"{path}: not a write log (magic {magic:#x}, version {version})")
        if self.sector_size not in (512, 4096):
            raise ValueError(f"{path}: sector size {self.sector_size}")
        self.writes = self._read_entries(path, count)

    def _read_entries(self, path, count):
        """A machine that was killed may not have updated the superblock's count: read on while entries make sense."""
        size, at, writes = os.fstat(self.fd).st_size, self.sector_size, []
        while at + ENTRY.size <= size and len(writes) < ENTRIES_MAX:
            sector, sectors, flags, length = ENTRY.unpack(os.pread(self.fd, ENTRY.size, at))
            data_at = at + self.sector_size
            stored = 0 if flags & DISCARD else sectors * self.sector_size
            beyond = len(writes) >= count
            if beyond and (flags & ~15 or (sectors, flags) == (0, 0) or data_at + stored > size):
                break
            if data_at + stored > size:
                raise ValueError(f"{path}: entry {len(writes)} is cut off")
            if flags & MARK:
                stored = (length + self.sector_size - 1) // self.sector_size * self.sector_size
                sectors = 0
            writes.append(Write(len(writes), sector, sectors, flags, data_at))
            at = data_at + stored
        return writes

    def data(self, write, sector, count=1):
        """The bytes of some sectors of a write. A discard reads as zeros: the worst a disk may answer."""
        if write.flags & DISCARD:
            return bytes(count * self.sector_size)
        return os.pread(self.fd, count * self.sector_size, write.at + sector * self.sector_size)

    def close(self):
        os.close(self.fd)


def flush_points(log):
    """Entry numbers n such that a flush made all entries below n durable before entry n was written; 0 and the end are
    among them."""
    points = {0, len(log.writes)}
    for w in log.writes:
        if w.flags & FLUSH:
            # a flush with data of its own (a preflush) covers what came before it, not that data
            points.add(w.number if w.sectors else w.number + 1)
    return sorted(points)


def prefixes(log, numbers=None):
    """The disk after each write; only after those in `numbers` (see touched()) when given: a cut between two writes
    that nobody looks at shows nothing new."""
    ends = range(len(log.writes) + 1) if numbers is None else [0] + sorted(n + 1 for n in numbers)
    return [Cut(end, end, None, "prefix") for end in ends]


def flush_prefixes(log):
    """The disk at each flush: what a device with no cache to lose would show."""
    return [Cut(end, end, None, "flush") for end in flush_points(log)]


STYLES = {
    "most": lambda rng, a, end: lambda n: rng.random() < 0.95,
    "few": lambda rng, a, end: lambda n: rng.random() < 0.05,
    "half": lambda rng, a, end: lambda n: rng.random() < 0.5,
    "last first": lambda rng, a, end: lambda n: n >= end - max(1, (end - a) // 3),
}


def _whole_writes(rng, a, end):
    arrived = {n for n in range(a, end) if rng.random() < 0.5}
    return lambda n: n in arrived


STYLES["whole writes"] = _whole_writes


def reorderings(log, count, seed=1, numbers=None):
    """`count` cuts between two flushes, each with its own subset of the sectors written there: nearly all, nearly none,
    half, whole writes only, or the last ones without the first. With `numbers`, only spans that hold one of those
    writes, the fuller the likelier. A write with FUA had arrived before the next one began."""
    rng, points = random.Random(seed), flush_points(log)
    wanted = {w.number for w in log.writes if w.sectors} if numbers is None else set(numbers)
    spans = [(a, b) for a, b in zip(points, points[1:]) if any(n in wanted for n in range(a, b))]
    if not spans:
        return []
    weights, cuts = [sum(n in wanted for n in range(a, b)) for a, b in spans], []
    for _ in range(count):
        a, b = rng.choices(spans, weights)[0]
        end, style = rng.randint(a + 1, b), rng.choice(sorted(STYLES))
        arrives = STYLES[style](rng, a, end)
        kept = frozenset((n, s) for n in range(a, end) for s in range(log.writes[n].sectors)
                         if (log.writes[n].flags & FUA and n < end - 1) or arrives(n))
        cuts.append(Cut(a, end, kept, f"reordering, {style}"))
    return sorted(cuts, key=lambda c: (c.sure, c.end))


def singles(log, count, seed=1, numbers=None, small=16):
    """`count` cuts at the end of a span between two flushes where all of it arrived but one sector, or one sector alone: the
    torn pairs that a file system with two places for one fact has to fear. Sectors of long writes (file contents) are
    left out."""
    rng, points, cuts = random.Random(seed), flush_points(log), []
    for a, b in zip(points, points[1:]):
        every = [(n, s) for n in range(a, b) for s in range(log.writes[n].sectors)]
        chosen = [(n, s) for n, s in every if log.writes[n].sectors <= small and (numbers is None or n in numbers)]
        if len(every) < 2:
            continue
        for one in chosen:
            cuts += [(a, b, one, True), (a, b, one, False)]
    cuts = rng.sample(cuts, min(count, len(cuts)))
    made = []
    for a, b, one, alone in sorted(cuts):
        kept = frozenset([one]) if alone else frozenset(
            (n, s) for n in range(a, b) for s in range(log.writes[n].sectors) if (n, s) != one)
        made.append(Cut(a, b, kept, f"only {one}" if alone else f"all but {one}"))
    return made


class Overlay:
    """The original disk seen through the sectors that arrived. Moves forward cheaply, so sorted cuts are quick."""

    def __init__(self, original, log):
        self.log = log
        self.fd = os.open(original, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.fd).st_size
        self.base, self.reached = {}, 0         # sector -> (write, sector inside it), all entries below `reached`
        self.extra = {}

    def _arrive(self, into, write, only=None):
        for s in range(write.sectors) if only is None else only:
            into[write.sector + s] = (write, s)

    def show(self, cut):
        """Makes the overlay show the disk of a cut."""
        if cut.sure < self.reached:
            self.base, self.reached = {}, 0
        for w in self.log.writes[self.reached:cut.sure]:
            self._arrive(self.base, w)
        self.reached, self.extra = cut.sure, {}
        for w in self.log.writes[cut.sure:cut.end]:
            self._arrive(self.extra, w, None if cut.sectors is None else
                         [s for s in range(w.sectors) if (w.number, s) in cut.sectors])
        return self

    def read(self, offset, length):
        """Bytes of the disk as the cut left it."""
        size = self.log.sector_size
        first, last = offset // size, (offset + length + size - 1) // size
        data = bytearray(os.pread(self.fd, (last - first) * size, first * size))
        data.extend(bytes((last - first) * size - len(data)))
        if last - first > len(self.base) + len(self.extra):
            inside = sorted({n for layer in (self.base, self.extra) for n in layer if first <= n < last})
        else:
            inside = [n for n in range(first, last) if n in self.base or n in self.extra]
        for n, write, s, count in self._runs(inside):
            data[(n - first) * size:(n - first + count) * size] = self.log.data(write, s, count)
        return bytes(data[offset - first * size:offset - first * size + length])

    def _runs(self, sectors):
        """(sector, write, sector inside it, how many): neighbours that came with one write are read at once."""
        run = None
        for n in sectors:
            write, s = self.extra.get(n) or self.base[n]
            if run and run[1] is write and n == run[0] + run[3] and s == run[2] + run[3]:
                run[3] += 1
                continue
            if run:
                yield run
            run = [n, write, s, 1]
        if run:
            yield run

    def changed(self):
        """The sectors that differ in origin from the original, sorted."""
        return sorted(set(self.base) | set(self.extra))

    def write_disk(self, original, path):
        """A disk image of the cut: a sparse or reflinked copy of the original with the sectors that arrived."""
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", original, path], check=True)
        size = self.log.sector_size
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for n, write, s, count in self._runs(self.changed()):
                os.pwrite(fd, self.log.data(write, s, count), n * size)
        finally:
            os.close(fd)

    def close(self):
        os.close(self.fd)


def touched(log, start, end):
    """The numbers of the writes that touch a byte range: what happened to one partition."""
    size = log.sector_size
    return [w.number for w in log.writes if w.sectors and w.sector * size < end and (w.sector + w.sectors) * size > start]


def main():
    parser = argparse.ArgumentParser(description="power-cut disks from a write log")
    verbs = parser.add_subparsers(dest="verb", required=True)
    p = verbs.add_parser("list")
    p.add_argument("log")
    p = verbs.add_parser("replay")
    p.add_argument("log")
    p.add_argument("original")
    p.add_argument("out")
    p.add_argument("--entries", type=int)
    p = verbs.add_parser("cuts")
    p.add_argument("log")
    p.add_argument("--count", type=int, default=20)
    p.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    log = Log(args.log)
    if args.verb == "list":
        for w in log.writes:
            flags = "".join(letter for bit, letter in ((FLUSH, "F"), (FUA, "U"), (DISCARD, "D"), (MARK, "M"))
                            if w.flags & bit)
            print(f"{w.number:6} {w.sector:10} +{w.sectors:<6} {flags}")
    elif args.verb == "replay":
        end = len(log.writes) if args.entries is None else args.entries
        Overlay(args.original, log).show(Cut(end, end, None, "prefix")).write_disk(args.original, args.out)
    else:
        for cut in reorderings(log, args.count, args.seed):
            print(cut)
    return 0


if __name__ == "__main__":
    sys.exit(main())
