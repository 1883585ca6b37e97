# SPDX-License-Identifier: MIT
"""Reads a disk image without the kernel's help: its GPT, and the FAT32 of its ESP.

It only reads, believes nothing (a disk after a power cut may hold anything; every oddity is a DiskError) and works on
any object with read(offset, length): a file (Image below) or the overlay of a power-cut replay. It is a judge, so it
shares no code with gybe's own reader.
"""

import os
import struct
import uuid
from dataclasses import dataclass

SECTOR = 512
CLUSTERS_MAX = 1 << 22      # 2 GiB of 512-byte clusters: no ESP is larger
DEPTH_MAX = 8
ESP_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


class DiskError(Exception):
    """The bytes are not what they should be."""


class Image:
    """A disk image file."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset, length):
        return os.pread(self.fd, length, offset)

    def close(self):
        os.close(self.fd)


@dataclass(frozen=True)
class Partition:
    number: int
    label: str
    type: str
    uuid: str
    start: int      # bytes
    size: int


def partitions(disk):
    """{label: Partition} of the primary GPT."""
    head = disk.read(SECTOR, 92)
    if head[:8] != b"EFI PART":
        raise DiskError("no GPT")
    table, count, size = struct.unpack_from("<QII", head, 72)
    if size < 128 or size > 4096 or count > 1024:
        raise DiskError("GPT header out of range")
    entries, found = disk.read(table * SECTOR, count * size), {}
    for i in range(count):
        entry = entries[i * size:(i + 1) * size]
        kind, ident, first, last = struct.unpack_from("<16s16sQQ", entry)
        if kind == bytes(16):
            continue
        label = entry[56:128].decode("utf-16-le", errors="replace").split("\0")[0]
        found[label] = Partition(i + 1, label, str(uuid.UUID(bytes_le=kind)), str(uuid.UUID(bytes_le=ident)),
                                 first * SECTOR, (last - first + 1) * SECTOR)
    return found


def esp_of(disk):
    """The ESP's Partition; the whole thing when the disk is a bare file system."""
    try:
        for p in partitions(disk).values():
            if p.type == ESP_TYPE:
                return p
    except DiskError:
        return Partition(0, "", "", "", 0, 0)
    raise DiskError("no ESP")


@dataclass(frozen=True)
class Entry:
    """A file or folder on the FAT."""
    path: str
    folder: bool
    cluster: int
    size: int


class Fat:
    """A FAT32 file system at a byte offset."""

    def __init__(self, disk, start=0):
        self.disk, self.start = disk, start
        self.short = set()      # lower-case paths of folders whose chain breaks off after their first clusters
        boot = disk.read(start, SECTOR)
        if len(boot) < SECTOR or boot[510:512] != b"\x55\xaa":
            raise DiskError("no boot sector")
        self.sector, self.per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
        per_fat, self.root = struct.unpack_from("<I4xI", boot, 36)
        total = struct.unpack_from("<I", boot, 32)[0]
        if self.sector not in (512, 4096) or not self.per_cluster or not per_fat or not fats:
            raise DiskError("not a FAT32")
        self.cluster_size = self.sector * self.per_cluster
        self.data = start + (reserved + fats * per_fat) * self.sector
        self.clusters = (total - reserved - fats * per_fat) // self.per_cluster
        if not 0 < self.clusters < CLUSTERS_MAX:
            raise DiskError("FAT32 with an impossible number of clusters")
        table = disk.read(start + reserved * self.sector, (self.clusters + 2) * 4)
        self.table = struct.unpack(f"<{len(table) // 4}I", table[:len(table) // 4 * 4])

    def chain(self, cluster, most=CLUSTERS_MAX, folder=None):
        """The clusters of a file; DiskError on a loop or a chain that leaves the file system. Of a folder (its path) what
        comes before such a place is returned, and the folder is remembered in self.short."""
        found, seen = [], set()
        while cluster & 0x0fffffff < 0x0ffffff8:
            cluster &= 0x0fffffff
            if cluster < 2 or cluster >= len(self.table) or cluster in seen:
                if folder is not None and found:
                    self.short.add(folder.lower())
                    break
                raise DiskError(f"broken chain at cluster {cluster}")
            seen.add(cluster)
            found.append(cluster)
            if len(found) >= most:
                break
            cluster = self.table[cluster]
        return found

    def extents(self, entry):
        """[(byte offset on the disk, length)] of a file's content, in order, neighbours joined."""
        if entry.size == 0 and not entry.folder:
            return []
        need = (entry.size + self.cluster_size - 1) // self.cluster_size if not entry.folder else CLUSTERS_MAX
        chain = self.chain(entry.cluster, need, entry.path if entry.folder else None)
        if not entry.folder and len(chain) < need:
            raise DiskError(f"{entry.path}: {len(chain)} clusters for {entry.size} bytes")
        joined, left = [], entry.size if not entry.folder else len(chain) * self.cluster_size
        for cluster in chain:
            at, length = self.data + (cluster - 2) * self.cluster_size, min(self.cluster_size, left)
            left -= length
            if joined and joined[-1][0] + joined[-1][1] == at:
                joined[-1] = (joined[-1][0], joined[-1][1] + length)
            else:
                joined.append((at, length))
        return joined

    def content(self, entry):
        data = b"".join(self.disk.read(at, length) for at, length in self.extents(entry))
        return data if entry.folder else data[:entry.size]

    def _list(self, folder):
        raw, long_name = self.content(folder), ""
        for at in range(0, len(raw) - 31, 32):
            slot = raw[at:at + 32]
            if slot[0] == 0:
                return
            if slot[0] == 0xe5:
                long_name = ""
                continue
            if slot[11] & 0x3f == 0x0f:
                part = (slot[1:11] + slot[14:26] + slot[28:32]).decode("utf-16-le", errors="replace")
                long_name = part.split("\0")[0].rstrip("\uffff") + ("" if slot[0] & 0x40 else long_name)
                continue
            if slot[11] & 0x08:
                long_name = ""
                continue
            name, suffix = slot[:8].decode("latin-1").rstrip(), slot[8:11].decode("latin-1").rstrip()
            name = name.lower() if slot[12] & 0x08 else name
            suffix = suffix.lower() if slot[12] & 0x10 else suffix
            short = name + ("." + suffix if suffix else "")
            high, low, size = struct.unpack("<H4xHI", slot[20:32])
            used, long_name = long_name or short, ""
            if short not in (".", ".."):
                yield used, bool(slot[11] & 0x10), high << 16 | low, size

    def walk(self):
        """Every Entry, folders before what is in them. A folder that cannot be read is listed, its content is not."""
        todo = [(Entry("", True, self.root, 0), 0)]
        while todo:
            folder, depth = todo.pop(0)
            try:
                listed = list(self._list(folder))
            except DiskError:
                continue
            for name, is_folder, cluster, size in listed:
                entry = Entry(f"{folder.path}/{name}".lstrip("/"), is_folder, cluster, size)
                yield entry
                if is_folder and depth < DEPTH_MAX:
                    todo.append((entry, depth + 1))

    def files(self):
        """{lower-case path: Entry}: FAT compares names without case."""
        return {e.path.lower(): e for e in self.walk() if not e.folder}


def pe_sections(data):
    """{name: (file offset, bytes in the file, virtual size)} of a PE, or DiskError."""
    if len(data) < 64 or data[:2] != b"MZ":
        raise DiskError("not a PE")
    header = struct.unpack_from("<I", data, 0x3c)[0]
    if data[header:header + 4] != b"PE\0\0" or header + 24 > len(data):
        raise DiskError("no PE header")
    count, optional = struct.unpack_from("<H12xH", data, header + 6)
    table, found = header + 24 + optional, {}
    if table + 40 * count > len(data):
        raise DiskError("PE section table cut off")
    for i in range(count):
        name, virtual, _, size, at = struct.unpack_from("<8sIIII", data, table + 40 * i)
        found[name.rstrip(b"\0").decode("latin-1")] = (at, size, virtual)
    return found


def pe_text(data, name):
    """A section's text without the padding, or None."""
    section = pe_sections(data).get(name)
    if section is None:
        return None
    at, size, virtual = section
    return data[at:at + min(size, virtual)].rstrip(b"\0 \n").decode(errors="replace")
