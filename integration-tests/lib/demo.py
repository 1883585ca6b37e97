# SPDX-License-Identifier: MIT
"""The demo's story on a host made of files. Every line that begins with "$" is a command that really runs."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import web
from sandbox import BUILD, MAIN_CMDLINE, MIB, Host, boot_files, esp_tree, image

COLOUR = sys.stdout.isatty()
WORK = None     # the demo's folder: commands run there, so that what is shown is short


def chapter(text):
    print(f"\n\033[1m=== {text}\033[0m" if COLOUR else f"\n=== {text}", flush=True)


def show(argv, expect=0):
    """Runs a command as a person would see it; another exit code than expected ends the demo."""
    here = f"{WORK}/"
    print("$ " + shlex.join([Path(argv[0]).name] + [str(a).removeprefix(here) for a in argv[1:]]), flush=True)
    r = subprocess.run([str(a) if n == 0 else str(a).removeprefix(here) for n, a in enumerate(argv)], cwd=WORK, env={**os.environ, "GYBE_LIBEXEC": str(BUILD)})
    if r.returncode != expect:
        sys.exit(f"demo: expected exit {expect}, got {r.returncode}")
    if expect:
        print(f"  (exit {expect})")


def serve(folder, where):
    """nginx on loopback, in the foreground of a child that is stopped by pid."""
    port = web.free_port()
    user = "user root;" if os.getuid() == 0 else ""
    (where / "nginx.conf").write_text(
        f"daemon off; {user} pid {where}/nginx.pid; error_log {where}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {where}/t1; proxy_temp_path {where}/t2; fastcgi_temp_path {where}/t3;\n"
        f" uwsgi_temp_path {where}/t4; scgi_temp_path {where}/t5;\n"
        f" server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n")
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    p = subprocess.Popen([nginx, "-p", str(where), "-c", str(where / "nginx.conf")], stderr=subprocess.DEVNULL)
    if web.answers(port):
        return p, f"http://127.0.0.1:{port}/index.json"
    p.terminate()
    sys.exit("demo: nginx did not start")


def release(work, feed, keys, img, serial):
    out = work / f"acl-{img.version}-x86_64.cosi"
    rel = BUILD / "gybe-release"
    esp = esp_tree(img, img.dir / "esp")
    os.environ["SOURCE_DATE_EPOCH"] = "1790000000"
    show([rel, "build", "--usr", img.usr, "--salt", img.salt, "--uuid", img.uuid, "--esp", esp, "--os-release", img.os_release,
          "-o", out])
    show([rel, "sign", "--key", keys / "release.pem", "--product", "azure-container-linux", "--channel", "stable", "--version",
          img.version, "--serial", serial, out])
    show([rel, "publish", "--feed", feed, "--key", keys / "release.pem", "--channel", "stable", out])
    return out


def story(work):
    gybe = lambda *a: [BUILD / "gybe", "--root", work / "host/root", "--disk", work / "host/disk.img", *a]
    feed = work / "feed"
    feed.mkdir()

    chapter("A release engineer makes keys and a release")
    show([BUILD / "gybe-release", "keygen", work / "keys"])
    keys = work / "keys"
    v1 = image(work / "v1", "3.0.20261001", size=48 * MIB, fs="ext4")
    v2 = image(work / "v2", "3.0.20261104", size=48 * MIB, fs="ext4")
    v3 = image(work / "v3", "3.0.20261201", size=48 * MIB, fs="ext4")
    for v in (v1, v2, v3):      # an initrd that cannot go on reboots, as ACL's does
        boot_files(v, main=MAIN_CMDLINE + " rd.shell=0 rd.emergency=reboot")
    release(work, feed, keys, v2, 2026110400)

    chapter("A host with the ACL disk layout runs 3.0.20261001 in slot A")
    host = Host(work / "host", usr_size=64 * MIB, hash_size=2 * MIB)
    server, url = serve(feed, work)
    try:
        host.install(v1, trust_root=keys / "root.json", config={"source": {"type": "feed", "url": url}})
        health = host.path("/etc/gybe/health.d/required.d/10-hello")
        health.parent.mkdir(parents=True)
        health.write_text("#!/bin/sh\necho 'the workload answers'\n")
        health.chmod(0o755)
        host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        show(gybe("status"))

        chapter("It updates itself: slot B is written, read back, and armed for one boot")
        show(gybe("check"))
        before = host.snapshot(["USR-A", "HASH-A"])
        show(gybe("update"))
        show(gybe("status"))

        chapter("The machine reboots into slot B, the checks pass, slot B becomes the default")
        print("# boots", host.boot())
        show(gybe("commit"))
        show(gybe("status"))
        after = host.snapshot(["USR-A", "HASH-A"])
        same = all(after[k] == v for k, v in before.items() if k.startswith("disk:"))
        print(f"# slot A's partitions are {'byte-identical to before' if same else 'CHANGED'}")
        print("# veritysetup verify of slot B:", "good" if host.verity_ok("B", v2.roothash) else "BAD")
        show(gybe("update"), expect=10)

        chapter("Somebody tampers with 3.0.20261201 on the web server")
        cosi = release(work, feed, keys, v3, 2026120100)
        published = feed / cosi.name
        with open(published, "r+b") as f:
            f.seek(published.stat().st_size // 2)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 1]))
        print(f"# one bit of {published.name} is flipped")
        show(gybe("update"), expect=4)
        show(gybe("status"))

        chapter("And for the auditor")
        show(gybe("history"))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="gybe-demo-") as d:
        WORK = Path(d)
        story(WORK)
