#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""COSI files made elsewhere are taken: plain frames, PAX headers, unknown fields, extra members, trailing bytes, odd member
order, 1.0 and 1.1, big windows. Each is installed on a fresh host and judged by veritysetup and sgdisk."""

import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import foreign
from cases import Cases
from sandbox import Host, gybe, image, run, status


def unknown_fields(c):
    c.metadata["vendor"] = {"x": [1, {"y": None}]}
    c.metadata["images"][1]["verity"]["note"] = "unknown"


def extra_members(c):
    c.extra = [("README", b"hello\n"), ("signatures/x.sig", b"\0" * 700)]
    c.trailing = b"trailing bytes after the end of the archive\n" * 20


def upper_hex(c):
    for i in c.metadata["images"]:
        i["image"]["sha384"] = i["image"]["sha384"].upper()
    for r in c.metadata["disk"]["gptRegions"]:
        r["image"]["sha384"] = r["image"]["sha384"].upper()


def without_sha384(c):
    for i in c.metadata["images"]:
        del i["image"]["sha384"]
    del c.metadata["images"][1]["verity"]["image"]["sha384"]


def without_packages(c):
    del c.metadata["osPackages"]


def reversed_members(c):
    c.order = list(reversed(c.physical()))


def usr_first(c):
    c.order = ["images/usr-a.img.zst", "images/hash-a.img.zst", "images/esp.img.zst"]


CASES = [
    ("plain", {}, None),
    ("pax headers", {"dialect": tarfile.PAX_FORMAT}, None),
    ("ustar", {"dialect": tarfile.USTAR_FORMAT}, None),
    ("unknown JSON fields", {}, unknown_fields),
    ("extra members, trailing bytes", {}, extra_members),
    ("upper-case hex", {}, upper_hex),
    ("no package list", {}, without_packages),
    ("window of 2^27", {"zstd_options": ["--long=27"]}, None),
    ("version 1.0, no sha384, usr first", {"version": "1.0"}, lambda c: (without_sha384(c), usr_first(c))),
    ("version 1.1", {"version": "1.1"}, None),
    ("a later minor, 1.7", {"version": "1.7"}, None),
    ("members in reverse order", {}, reversed_members),
]


def main():
    cases = Cases()
    with tempfile.TemporaryDirectory(prefix="gybe-foreign-") as tmp:
        work = Path(tmp)
        key = foreign.Key(work / "key.pem")
        root = foreign.write_json(work / "root.json", foreign.envelope("root", foreign.root([key]), [key]))
        v1, v2 = image(work / "v1", "3.0.1"), image(work / "v2", "3.0.2")
        for name, options, change in CASES:
            def taken(options=options, change=change):
                host = Host(work / "host")
                host.install(v1, trust_root=root)
                c = foreign.Cosi(v2, work / "cosi", **options)
                if change:
                    change(c)
                path = c.write(work / "x.cosi")
                foreign.write_json(work / "x.release.json", foreign.envelope("release", foreign.release(v2, c, path), [key]))
                gybe(host, "update", path)
                assert host.verity_ok("B", v2.roothash), "veritysetup verify"
                assert host.get("HASH-B", v2.hash.stat().st_size) == v2.hash.read_bytes(), "HASH differs from veritysetup's"
                assert "No problems found" in run("sgdisk", "-v", host.disk).stdout, "sgdisk -v"
                host.boot()
                gybe(host, "commit")
                assert status(host)["running"] == "b", status(host)
            taken.__doc__ = name
            cases.case(taken)
    return cases.end()


if __name__ == "__main__":
    sys.exit(main())
