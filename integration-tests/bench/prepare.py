# SPDX-License-Identifier: MIT
"""What is published before anybody updates: the four hosts as gybe releases and as what the peers of Debian publish. Made once
and kept beside the images; each piece is made under another name and renamed, so a killed run leaves nothing half."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from sandbox import Image, boot_files, build, image, keygen, program, release_tool, sign  # noqa: E402

CACHE = Path(os.environ.get("GYBE_BENCH_CACHE", "/var/cache/gybe-bench"))
WWW = CACHE / "www"
NAMES = ("base", "hotfix", "weekly", "monthly")
SERIAL = {"base": 2026100100, "hotfix": 2026110100, "weekly": 2026110200, "monthly": 2026110300}
ZSTD_LEVEL = "9"
SALT = hashlib.sha256(b"one salt for all images, as gybe-release gives them").hexdigest()
GYBE_LEVEL = os.environ.get("GYBE_BENCH_LEVEL", "15")     # gybe-release build --level; its default


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def sh(command, **more):
    r = subprocess.run(command, shell=isinstance(command, str), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if r.returncode != 0:
        sys.exit(f"bench: {command}: exit {r.returncode}\n{r.stdout[-2000:]}")
    return r.stdout


def once(target, make):
    """make(path) unless target is there."""
    target = Path(target)
    if not target.exists():
        say(f"making {target.relative_to(CACHE)}")
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name("new-" + target.name)
        if new.is_dir():
            shutil.rmtree(new)
        make(new)
        new.rename(target)
    return target


def usr(name, fs="ext4"):
    return CACHE / f"{name}.{fs}"


def version(name):
    return f"3.0.{SERIAL[name] // 100}"


def keys():
    return once(CACHE / "keys", lambda p: keygen(p))


def verity_image(name, fs="ext4", content=None):
    """An Image of sandbox.py around /usr; its copy of the image is a link."""
    d = once(CACHE / "host-one-salt" / f"{name}.{fs}",
             lambda p: image(p, version(name) if name in SERIAL else name, content=content or usr(name, fs), salt=SALT))
    img = Image(version(name) if name in SERIAL else name, d)
    log = (d / "facts").read_text().split() if (d / "facts").exists() else None
    if not log:
        out = sh(["veritysetup", "dump", str(img.hash)])
        img.salt = [x.split()[-1] for x in out.splitlines() if x.startswith("Salt")][0]
        img.uuid = [x.split()[-1] for x in out.splitlines() if x.startswith("UUID")][0]
        out = sh(["veritysetup", "format", str(img.usr), str(d / "again"), f"--salt={img.salt}", f"--uuid={img.uuid}"])
        (d / "again").unlink()
        img.roothash = [x.split()[-1] for x in out.splitlines() if x.startswith("Root hash")][0]
        (d / "facts").write_text(f"{img.salt} {img.uuid} {img.roothash}\n")
    else:
        img.salt, img.uuid, img.roothash = log
    img.uki = next(d.glob("*.efi"), None)
    return boot_files(img) or img


def cosi(name, fs="ext4", content=None, serial=None, stamp="", level=GYBE_LEVEL):
    """The release: X.cosi and X.release.json in www/gybe-LEVEL."""
    out = WWW / f"gybe-{level}{stamp}-one-salt" / f"{name}-{fs}.cosi"
    img = verity_image(name, fs, content)

    def make(new):
        build(img, new, "--level", level)

    once(out, make)
    release = out.with_name(out.name[:-5] + ".release.json")
    if not release.exists():
        sign(out, [keys() / "release.pem"], img.version, serial or SERIAL[name])
    return img, out, release


def tree(name):
    """What the /usr image was made of."""
    return CACHE / f"{name}.tree" / "usr"


def ostree(name):
    """A repository of two releases, base and this one, with the delta between them. The binary diffs of a new kernel and its
    initrd take an hour, once."""
    ed = once(CACHE / "ed25519", lambda p: keygen(p, "--alg", "ed25519"))

    def make(new):
        for x, level in (("base", "3"), (name, GYBE_LEVEL)):        # nobody fetches the old one
            said = release_tool("publish", "--ostree", new, "--key", ed / "release.pem", "--tree", tree(x), cosi(x, level=level)[1]).stdout
            print(said, file=sys.stderr, flush=True)

    return once(WWW / f"ostree-{GYBE_LEVEL}-{name}-one-salt", make)


def zstd(name, fs="ext4"):
    return once(WWW / f"{name}.{fs}.zst", lambda p: sh(f"zstd -q -{ZSTD_LEVEL} -T0 {usr(name, fs)} -o {p}"))


def casync(name, fs="ext4", average=None):
    store = WWW / f"casync-{average or 'default'}-{fs}.castr"
    size = ["--chunk-size=" + average] if average else []
    return once(WWW / f"{name}-{average or 'default'}.{fs}.caibx",
                lambda p: sh(["casync", "make", "--compression=zstd", *size, f"--store={store}", str(p.with_suffix(".caibx")), str(usr(name, fs))])), store


def zchunk(name, fs="ext4"):
    return once(WWW / f"{name}.{fs}.zck", lambda p: sh(["zck", "-o", str(p), str(usr(name, fs))]))


def pki():
    d = CACHE / "rauc"
    if not (d / "public.pem").exists():
        d.mkdir(exist_ok=True)
        sh(f"openssl req -x509 -newkey rsa:3072 -nodes -keyout {d}/key.pem -out {d}/cert.pem -subj /CN=bench -days 3650")
        sh(f"openssl x509 -in {d}/cert.pem -pubkey -noout > {d}/public.pem")
    return d


def rauc(name):
    """A plain bundle with the raw image: what a slot of type raw takes."""
    signer = pki()

    def make(new):
        d = CACHE / "rauc" / name
        shutil.rmtree(d, ignore_errors=True)
        d.mkdir()
        os.link(usr(name), d / "usr.img")
        (d / "manifest.raucm").write_text(f"[update]\ncompatible=bench\nversion={version(name)}\n[image.usr]\nfilename=usr.img\n")
        sh(["rauc", "bundle", f"--cert={signer}/cert.pem", f"--key={signer}/key.pem", "--mksquashfs-args=-comp zstd -Xcompression-level 9", str(d), str(new)])
        shutil.rmtree(d)

    return once(WWW / f"{name}.raucb", make)


def swupdate(name):
    def make(new):
        d = CACHE / "swu"
        shutil.rmtree(d, ignore_errors=True)
        d.mkdir()
        os.link(zstd(name), d / "usr.zst")
        digest = sh(["sha256sum", str(d / "usr.zst")]).split()[0]
        (d / "sw-description").write_text(
            'software = { version = "1"; hardware-compatibility: [ "1.0" ]; images: ( { filename = "usr.zst"; device = "/dev/bench"; type = "raw"; '
            f'compressed = "zstd"; installed-directly = true; sha256 = "{digest}"; }} ); }}\n')
        pki()
        sh(f"openssl cms -sign -binary -nosmimecap -outform DER -in {d}/sw-description -out {d}/sw-description.sig "
           f"-signer {CACHE}/rauc/cert.pem -inkey {CACHE}/rauc/key.pem")
        sh(f"printf 'sw-description\\nsw-description.sig\\nusr.zst\\n' | cpio -o -H crc > {new}", cwd=d)
        shutil.rmtree(d)

    return once(WWW / f"{name}.swu", make)


def everything(fs="ext4"):
    sh([str(HERE / "trees")])
    for name in NAMES:
        cosi(name, fs)
    zstd("monthly")
    for f in (rauc, swupdate):
        try:
            f("monthly")
        except SystemExit as e:
            say(str(e))
    for name in NAMES:
        zchunk(name)
        casync(name)
        casync(name, average="16384")


if __name__ == "__main__":
    everything()
