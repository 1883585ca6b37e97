# SPDX-License-Identifier: MIT
"""Is this disk one that a machine may be left with?

The model of promise P2 and P4 for a disk in the ACL layout, applied to every disk a power cut can leave behind. It reads
the GPT, the ESP and the slots with its own readers and knows nothing of how gybe writes them. A disk is good when

    - the default entry (LoaderEntryDefault, else loader.conf) names a UKI that is there,
    - that entry is one that was committed: its UKI and each of its addons are byte for byte what they were, and no
      addon came or went,
    - the /usr and hash partitions of the slot it boots are byte for byte what they were,
    - no folder on the way to it has a cluster chain that breaks off.

Everything else may be half done. explain() says what is on such a disk, for people.

    judge.py DISK [--default ENTRY]       what is there, and which entry boots
"""

import argparse
import fnmatch
import hashlib
import json
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "vm"))
import diskfile     # noqa: E402
import machine      # noqa: E402

COUNTER = re.compile(r"\+\d+(-\d+)?(?=\.efi$)")
CHUNK = 1 << 20
# A folder needs one more cluster, the link to it arrived and the new cluster's own FAT entry did not. Firmware then
# lists nothing of that folder (seen: OVMF and systemd-boot show no entry at all). See FINDINGS.md.
GROWING = "the chain breaks off in the folder"


@dataclass
class Esp:
    """What the loader would see."""
    ukis: dict = field(default_factory=dict)        # entry id -> (sha256 or None when unreadable, {addon: sha256})
    default: str | None = None
    intent: object = None
    files: dict = field(default_factory=dict)
    short: set = field(default_factory=set)         # folders whose chain breaks off


def _hash(fat, entry):
    try:
        return hashlib.sha256(fat.content(entry)).hexdigest()
    except diskfile.DiskError:
        return None


def _text(fat, files, path):
    try:
        return fat.content(files[path]).decode(errors="replace")
    except (KeyError, diskfile.DiskError):
        return None


def read_esp(disk):
    """An Esp; DiskError when there is no file system to read."""
    fat = diskfile.Fat(disk, diskfile.esp_of(disk).start)
    esp = Esp(files=fat.files())
    for path, entry in esp.files.items():
        found = re.fullmatch(r"efi/linux/([^/]+\.efi)", path)
        if found and not found[1].startswith((".", "auto-")):
            ident = COUNTER.sub("", found[1])
            folder = f"efi/linux/{ident}.extra.d/"
            addons = {p[len(folder):]: _hash(fat, e) for p, e in esp.files.items()
                      if p.startswith(folder) and p.endswith(".addon.efi")}
            esp.ukis[ident] = (_hash(fat, entry), addons)
    for line in (_text(fat, esp.files, "loader/loader.conf") or "").splitlines():
        word = line.split()
        if len(word) == 2 and word[0] == "default":
            esp.default = word[1].lower()
    text = _text(fat, esp.files, "efi/gybe/intent.json")
    if text is not None:
        try:
            esp.intent = json.loads(text)
        except ValueError:
            esp.intent = "not JSON"
    esp.short = fat.short
    return esp


def default_entry(esp, variable=None):
    """The id that the loader takes without a one-shot, or None when it would fall to the newest."""
    for pattern in (variable, esp.default):
        if pattern:
            hits = sorted((i for i in esp.ukis if fnmatch.fnmatchcase(i, pattern.lower())), reverse=True)
            if hits:
                return hits[0]
    return None


def slot_of(disk, esp, ident):
    """'A' or 'B', from the one addon of an entry that names it; None when there is none or more than one."""
    fat, found = diskfile.Fat(disk, diskfile.esp_of(disk).start), []
    for path, entry in esp.files.items():
        if path.startswith(f"efi/linux/{ident}.extra.d/") and path.endswith(".addon.efi"):
            try:
                text = diskfile.pe_text(fat.content(entry), ".cmdline") or ""
            except diskfile.DiskError:
                continue
            found += [w.split("=", 1)[1].upper() for w in text.split() if w.startswith("acl.slot=")]
    return found[0] if len(found) == 1 else None


def slot_digest(disk, slot):
    """Digest over the USR and HASH partitions of a slot."""
    h, table = hashlib.sha256(), diskfile.partitions(disk)
    for label in (f"USR-{slot}", f"HASH-{slot}"):
        part = table[label]
        for at in range(0, part.size, CHUNK):
            h.update(disk.read(part.start + at, min(CHUNK, part.size - at)))
    return h.hexdigest()


@dataclass(frozen=True)
class Committed:
    """An entry that may be booted by default, as it was when it was known to be good."""
    ident: str
    uki: str
    addons: tuple
    slot: str
    digest: str


def committed(disk, ident):
    """Takes the picture of an entry on a disk that is known to be good."""
    esp, ident = read_esp(disk), ident.lower()
    if ident not in esp.ukis:
        raise diskfile.DiskError(f"no entry {ident}")
    uki, addons = esp.ukis[ident]
    slot = slot_of(disk, esp, ident)
    if slot is None:
        raise diskfile.DiskError(f"{ident} has not exactly one slot addon")
    return Committed(ident, uki, tuple(sorted(addons.items())), slot, slot_digest(disk, slot))


def judge(disk, good, variable=None, slot_untouched=None):
    """A list of complaints, empty when the disk may be left behind. `good` is a list of Committed. `slot_untouched(slot)`
    may say True when it is known that nothing was written there; otherwise the slot is hashed."""
    try:
        esp = read_esp(disk)
    except diskfile.DiskError as e:
        return [f"the ESP cannot be read: {e}"]
    ident = default_entry(esp, variable)
    if ident is None:
        return [f"the default ({variable or esp.default}) names none of {sorted(esp.ukis)}"]
    entry = next((c for c in good if c.ident == ident), None)
    if entry is None:
        return [f"the default entry {ident} was never committed"]
    complaints, (uki, addons) = [], esp.ukis[ident]
    for folder in sorted(esp.short & {"", "efi", "efi/linux", f"efi/linux/{ident}.extra.d", "loader"}):
        complaints.append(f"{GROWING} {folder or '/'}")
    if uki != entry.uki:
        complaints.append(f"{ident}: the UKI {'cannot be read' if uki is None else 'changed'}")
    for name in sorted(set(addons) | {n for n, _ in entry.addons}):
        if addons.get(name) != dict(entry.addons).get(name):
            complaints.append(f"{ident}: addon {name} {'changed' if name in addons and name in dict(entry.addons) else 'came or went'}")
    if not (slot_untouched and slot_untouched(entry.slot)) and slot_digest(disk, entry.slot) != entry.digest:
        complaints.append(f"slot {entry.slot}, which the default boots, changed")
    return complaints


def file_in(image, path):
    """A file of an ext4 image as the next mount would see it (journal replayed, in place), or None."""
    out = image.with_name(image.name + ".out")
    out.unlink(missing_ok=True)
    script = (f"e2fsck -fy -E journal_only '{image}' >/dev/null 2>&1 || :\n"
              f"debugfs -R 'dump {path} {out}' '{image}' 2>/dev/null")
    machine.in_tree("toolchain", ["sh", "-c", script], binds=[image.parent])
    return out.read_bytes() if out.exists() else None


def copy_partition(disk, part, out):
    """A partition of a disk (anything with read()) as a sparse file."""
    with open(out, "wb") as f:
        f.truncate(part.size)
        for at in range(0, part.size, CHUNK):
            data = disk.read(part.start + at, min(CHUNK, part.size - at))
            if data.strip(b"\0"):
                f.seek(at)
                f.write(data)


def root_file(disk, path):
    """A file of the ROOT partition as the next mount would see it, or None."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        copy = Path(folder) / "root.img"
        copy_partition(disk, diskfile.partitions(disk)["ROOT"], copy)
        return file_in(copy, path)


def explain(disk, variable=None):
    """What is on the disk, as text."""
    lines, esp = [], read_esp(disk)
    for ident, (uki, addons) in sorted(esp.ukis.items()):
        lines.append(f"{ident}  {(uki or 'unreadable')[:16]}  slot {slot_of(disk, esp, ident) or '?'}  "
                     f"addons: {', '.join(sorted(addons)) or 'none'}")
    lines.append(f"loader.conf default: {esp.default}")
    lines.append(f"boots by default: {default_entry(esp, variable)}")
    lines.append(f"intent: {json.dumps(esp.intent) if esp.intent is not None else 'none'}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description="what is on an ACL disk, and what it boots by default")
    parser.add_argument("disk")
    parser.add_argument("--default", help="the value of LoaderEntryDefault")
    parser.add_argument("--journal", action="store_true", help="also show gybe's journal on ROOT")
    args = parser.parse_args()
    try:
        print(explain(diskfile.Image(args.disk), args.default))
    except diskfile.DiskError as e:
        sys.exit(f"judge.py: {args.disk}: {e}")
    if args.journal:
        text = root_file(diskfile.Image(args.disk), "/var/lib/gybe/journal.json")
        print(f"journal: {text.decode(errors='replace').strip() if text else 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
