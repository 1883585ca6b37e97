#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""Releases in registries: published to Debian's docker-registry, read back by hosts and by skopeo; and a strict registry of our
own for everything that one does not do: tokens, referrers, blobs on another server, and lies."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from registry import HTPASSWD, INDEX, MANIFEST, DockerRegistry, Registry, auth_json, digest_of
from sandbox import MIB, Host, build, environ, expect, gybe, image, keygen, program, release_tool, sign

WORK = Path(tempfile.mkdtemp(prefix="gybe-oci-"))
QUIET = {"REGISTRY_AUTH_FILE": "", "XDG_RUNTIME_DIR": "", "DOCKER_CONFIG": "", "HOME": str(WORK)}


def tool(*args, exit=0, env=None):
    r = subprocess.run([str(program("gybe-release")), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env=environ(**{**QUIET, **(env or {})}))
    assert r.returncode == exit, f"gybe-release {' '.join(map(str, args))}: exit {r.returncode}, not {exit}\n{r.stdout}{r.stderr}"
    return r


def publish(ref, *more, **kw):
    return json.loads(tool("publish", "--json", "--oci", ref, *more, **kw).stdout)


def skopeo(*args):
    r = subprocess.run(["skopeo", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env={**os.environ, **QUIET})
    assert r.returncode == 0, f"skopeo {' '.join(map(str, args))}: {r.stderr}"
    return r.stdout


class Fixture:
    """Two releases of one small OS, signed, and a host that runs the first."""

    def __init__(self):
        self.keys = keygen(WORK / "keys")
        self.images = [image(WORK / f"v{n}", f"3.0.2026110{n}", size=8 * MIB) for n in (1, 2)]
        self.cosis = []
        for n, img in enumerate(self.images):
            self.cosis.append(build(img, WORK / f"acl-{img.version}-x86_64.cosi"))
            self.sign(self.cosis[n], n)
        self.hosts, self.victim = 0, None

    def sign(self, cosi, n):
        sign(cosi, [self.keys / "release.pem"], self.images[n].version, 2026110100 + 100 * n)

    def host(self, url=None, http=None, **more):
        self.hosts += 1
        h = Host(WORK / f"host{self.hosts}")
        config = {"source": {"type": "oci", "url": url}} if url else {}
        config.update({"http": http} if http else {})
        h.install(self.images[0], trust_root=self.keys / "root.json", config={**config, **more})
        return h

    def run(self, host, *args, exit=0):
        started = time.monotonic()
        r = expect(host, exit, *args, env=QUIET)
        if time.monotonic() - started > 3:
            print(f"     {time.monotonic() - started:.1f} s: gybe {' '.join(map(str, args))[:100]}")
        return r

    def stages(self, url, exit=0, **more):
        """A host takes what is behind the address: a fresh one, or one whose spare slot was refused every time so far."""
        if exit == 0 or more or not self.victim:
            h = self.host(**more)
        else:
            h = self.victim
        if exit and not more:
            self.victim = h
        r = self.run(h, "stage", url, exit=exit)
        if exit == 0:
            assert h.verity_ok("B", self.images[1].roothash)
        return r


# --- a real registry ---

def test_docker_registry(f):
    registry = DockerRegistry(WORK / "docker")
    try:
        ref = f"oci://{registry.host}/os/acl"
        first = publish(ref, f.cosis[0])
        assert first["tags"] == [f.images[0].version, "stable"] and not first["warnings"]
        result = publish(ref, f.cosis[1])
        # the same again changes nothing
        again = publish(ref, f.cosis[1])
        assert again["pushed"] == [] and again["artifacts"][0]["manifest"] == result["artifacts"][0]["manifest"], again
        assert "goes back" in publish(ref, f.cosis[0])["warnings"][0]
        publish(ref, f.cosis[1])

        # what skopeo sees: one layer, whose bytes are the COSI; and the list of referrers by the tag schema
        place = f"docker://{registry.host}/os/acl"
        raw = skopeo("inspect", "--raw", "--tls-verify=false", f"{place}:stable")
        manifest = json.loads(raw)
        assert digest_of(raw.encode()) == result["artifacts"][0]["manifest"]
        assert len(manifest["layers"]) == 1 and manifest["layers"][0]["digest"] == digest_of(f.cosis[1].read_bytes())
        tags = json.loads(skopeo("list-tags", "--tls-verify=false", place))["Tags"]
        listed = digest_of(raw.encode()).replace(":", "-")
        assert set(tags) >= {"stable", f.images[0].version, f.images[1].version, listed}, tags
        skopeo("copy", "--src-tls-verify=false", f"{place}:{f.images[1].version}", f"dir:{WORK}/copied")
        assert (WORK / "copied" / digest_of(f.cosis[1].read_bytes()).removeprefix("sha256:")).read_bytes() == f.cosis[1].read_bytes()

        # and what a host does
        h = f.host(ref)
        check = f.run(h, "check", "--json")
        assert json.loads(check.stdout)["version"] == f.images[1].version, check.stdout
        f.run(h, "update")
        h.boot()
        f.run(h, "commit")
        f.run(h, "check", exit=10)
        f.run(h, "update", "--version", "9.9", exit=1)
        pinned = f"{ref}@{result['artifacts'][0]['manifest']}"
        f.stages(pinned)
        f.stages(f"{ref}:{f.images[1].version}@{result['artifacts'][0]['manifest']}")
        f.stages(f"{ref}@sha256:{'0' * 64}", exit=1)
        f.stages(f"{ref}:nothing", exit=1)
        # Trident's way: the digest of the COSI's blob. With a tag the release is found, without one there is none
        blob = digest_of(f.cosis[1].read_bytes())
        f.stages(f"{ref}:stable@{blob}")
        assert "no release file" in f.stages(f"{ref}@{blob}", exit=4).stderr
        f.stages(f"{ref}:{f.images[0].version}@{blob}", exit=4)

        assert tool("verify", "--root", f.keys / "root.json", f"{ref}:stable").stdout.startswith("valid")
        assert json.loads(tool("inspect", "--json", pinned).stdout)["kind"] == "cosi"

        # signed again: the new release file is attached to the same COSI
        more = WORK / "again" / f.cosis[1].name
        more.parent.mkdir()
        shutil.copy(f.cosis[1], more)
        sign(more, [f.keys / "release.pem"], f.images[1].version, 2026110200, "--notes", "https://example.com/new")
        other = publish(ref, more)
        assert other["artifacts"][0]["manifest"] == result["artifacts"][0]["manifest"] and len(other["pushed"]) == 1, other
        index = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"{place}:{listed}"))
        assert [m["digest"] for m in index["manifests"]] == [other["artifacts"][0]["release"]]

        # a COSI that somebody pushed without us: one layer of any type, and no release file
        layout(WORK / "layout", f.cosis[1])
        skopeo("copy", "--dest-tls-verify=false", f"oci:{WORK}/layout:x", f"docker://{registry.host}/foreign:1")
        foreign = f"oci://{registry.host}/foreign:1"
        assert json.loads(tool("inspect", "--json", foreign).stdout)["kind"] == "cosi"
        assert "release file" in f.stages(foreign, exit=4).stderr
        # ... which a later publish attaches
        publish(f"oci://{registry.host}/foreign:2", f.cosis[1])
        f.stages(f"oci://{registry.host}/foreign:2")
    finally:
        registry.stop()


def layout(folder, cosi):
    """An OCI image layout with one artifact, by hand."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return {"digest": digest_of(data), "size": len(data)}

    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                           **put(b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}')},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **put(cosi.read_bytes())}]}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": MANIFEST, **put(json.dumps(manifest).encode()), "annotations": {"org.opencontainers.image.ref.name": "x"}}]}))


def test_basic(f):
    registry = DockerRegistry(WORK / "basic", HTPASSWD)
    try:
        ref = f"oci://{registry.host}/os"
        auth = auth_json(WORK / "basic.json", registry.host, "gybe", "secret")
        assert "wants a user" in tool("publish", "--oci", ref, f.cosis[1], exit=1).stderr
        publish(ref, "--authfile", auth, f.cosis[1])
        assert tool("verify", "--root", f.keys / "root.json", f"{ref}:stable", env={"REGISTRY_AUTH_FILE": str(auth)}).stdout
        assert "oci.authFile" in f.stages(f"{ref}:stable", exit=1).stderr
        h = f.host(ref, oci={"authFile": "/etc/gybe/auth.json"})
        shutil.copy(auth, h.path("/etc/gybe/auth.json"))
        f.run(h, "update")
        wrong = auth_json(h.path("/etc/gybe/auth.json"), registry.host, "gybe", "wrong")
        text = f.run(f.host(ref, oci={"authFile": "/etc/gybe/none.json"}), "check", exit=1).stderr
        assert "none.json" in text and "secret" not in text, text
        text = gybe(h, "stage", f"{ref}:stable", check=False).stderr
        assert wrong and "wrong" not in text, text
    finally:
        registry.stop()


def certificates(folder):
    """A certificate authority, and what it says of 127.0.0.1 and of another host."""
    folder.mkdir()

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=test CA")
    for name, host in (("here", "IP:127.0.0.1"), ("other", "DNS:registry.example.com")):
        (folder / "ext").write_text(f"subjectAltName={host}\n")
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-extfile", "ext", "-out", f"{name}.pem")
    return folder


def test_tls(f):
    """https with a certificate authority of one's own; without it, and by another host's name, nothing is said to the registry."""
    c = certificates(WORK / "certificates")
    ca = {"ca": "/etc/gybe/ca.pem"}
    for name in ("here", "other"):
        registry = DockerRegistry(WORK / f"tls-{name}", HTPASSWD, (c / f"{name}.pem", c / f"{name}.key"))
        try:
            ref = f"oci+https://{registry.host}/os"        # loopback is asked by plain http where the address does not say it
            auth = auth_json(WORK / "tls.json", registry.host, "gybe", "secret")
            h = f.host(ref, http=ca, oci={"authFile": "/etc/gybe/auth.json"})
            shutil.copy(auth, h.path("/etc/gybe/auth.json"))
            shutil.copy(c / "ca.pem", h.path("/etc/gybe/ca.pem"))
            if name == "other":
                assert "http.ca" in f.run(h, "update", exit=1).stderr
                continue
            assert tool("publish", "--oci", ref, "--authfile", auth, f.cosis[1], exit=1).stderr
            publish(ref, "--authfile", auth, "--ca", c / "ca.pem", f.cosis[1])
            f.run(h, "update")
            assert h.verity_ok("B", f.images[1].roothash)
            h = f.host(ref, oci={"authFile": "/etc/gybe/auth.json"})
            shutil.copy(auth, h.path("/etc/gybe/auth.json"))
            assert "http.ca" in f.run(h, "update", exit=1).stderr
        finally:
            registry.stop()


def test_oras(f):
    """oras pulls what we published, and hosts take what oras pushed and attached. GYBE_ORAS names the program."""
    oras = os.environ.get("GYBE_ORAS") or shutil.which("oras")
    if not oras:
        print("     no oras here (GYBE_ORAS)")
        return
    registry = DockerRegistry(WORK / "oras")

    def run_oras(*args, cwd=None):
        r = subprocess.run([oras, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
                           env={**os.environ, **QUIET, "HOME": str(WORK)})
        assert r.returncode == 0, f"oras {' '.join(map(str, args))}: {r.stdout}{r.stderr}"
        return r.stdout

    try:
        place, cosi = f"{registry.host}/ours", f.cosis[1]
        result = publish(f"oci://{place}", cosi)["artifacts"][0]
        out = WORK / "pulled"
        run_oras("pull", "--plain-http", "-o", out, f"{place}:stable")
        assert [p.read_bytes() for p in out.iterdir()] == [cosi.read_bytes()], list(out.iterdir())
        assert result["release"] in run_oras("discover", "--plain-http", "--format", "json", f"{place}:stable")

        # Trident's: one layer, of whatever type; the release file beside it is attached like a signature
        place = f"{registry.host}/theirs"
        release = cosi.with_name(cosi.name.removesuffix(".cosi") + ".release.json")
        run_oras("push", "--plain-http", f"{place}:1", "--artifact-type", "application/octet-stream", cosi.name, cwd=cosi.parent)
        assert "release file" in f.stages(f"oci://{place}:1", exit=4).stderr
        run_oras("attach", "--plain-http", f"{place}:1", "--artifact-type", "application/vnd.gybe.release.v1+json",
                 f"{release.name}:application/vnd.gybe.release.v1+json", cwd=cosi.parent)
        f.stages(f"oci://{place}:1")
    finally:
        registry.stop()


# --- our own ---

def both(f, **more):
    """A registry with the second release in it."""
    registry = Registry(**more)
    ref = f"oci://{registry.host}/os/acl"
    auth = auth_json(WORK / "auth.json", registry.host, "gybe", "pass:word")
    return registry, ref, auth


def test_tokens(f):
    """A token for the repository and no more; the password goes to the realm and nowhere else, nothing to the blobs' server."""
    registry, ref, auth = both(f, auth="bearer", users={"gybe": "pass:word"}, blobs_elsewhere=True, token_uses=4)
    try:
        assert "gives no token" in tool("publish", "--oci", ref, f.cosis[1], exit=1).stderr
        publish(ref, "--authfile", auth, f.cosis[1])
        registry.seen.clear()
        h = f.host(ref, oci={"authFile": "/etc/gybe/auth.json"})
        shutil.copy(auth, h.path("/etc/gybe/auth.json"))
        f.run(h, "update")
        assert h.verity_ok("B", f.images[1].roothash)
        assert registry.requests("blobs") and not any("authorization" in r[3] for r in registry.requests("blobs"))
        assert all(r[3].get("authorization", "Bearer").startswith("Bearer") for r in registry.requests("registry"))
        scopes = {re.search(r"scope=([^&]*)", r[2])[1] for r in registry.requests("token")}
        assert scopes == {"repository%3Aos%2Facl%3Apull"}, scopes     # not the wider one that the challenge names for a push
        assert len(registry.requests("token")) > 1                    # tokens that expired on the way were renewed
        assert all(r[3]["authorization"].startswith("Basic ") for r in registry.requests("token"))

        # an identity token is traded by POST
        (WORK / "identity.json").write_text(json.dumps({"auths": {registry.host: {"auth": "", "identitytoken": "identity"}}}))
        registry.seen.clear()
        assert tool("verify", "--root", f.keys / "root.json", f"{ref}:stable",
                    env={"REGISTRY_AUTH_FILE": str(WORK / "identity.json")}).stdout.startswith("valid")
        assert {r[1] for r in registry.requests("token")} == {"POST"}
    finally:
        registry.stop()


def test_anonymous_token(f):
    registry, ref, _ = both(f, auth="bearer")
    try:
        publish(ref, f.cosis[1])
        f.stages(f"{ref}:stable")
        assert not any("authorization" in r[3] for r in registry.requests("token"))
    finally:
        registry.stop()


def test_realms(f):
    """A token is asked for where that is safe: not by plain http on a neighbour, whose answer the registry would get."""
    for realm, word in (("http://127.0.0.2:1/token", "another host"), ("file:///etc/passwd", "no"), ("http://a@127.0.0.1/", "names no host")):
        registry, ref, auth = both(f, auth="bearer", users={"gybe": "pass:word"}, realm=realm)
        try:
            text = f.stages(f"{ref}:stable", exit=1).stderr
            assert "realm" in text, text
        finally:
            registry.stop()


def test_token_faults(f):
    def junk(h, form):
        h.give(200, b'{"token": "a\\r\\nX-Evil: 1"}')
        return True

    def huge(h, form):
        h.give(200, b'{"token": "' + b"x" * 20000 + b'"}')
        return True

    def text(h, form):
        h.give(200, b"<html>")
        return True

    busy = []

    def hiccup(h, form):
        busy.append(1)
        return h.give(503) or True if len(busy) == 1 else False

    for fault, exit in ((junk, 1), (huge, 1), (text, 1), (hiccup, 0)):
        registry, ref, _ = both(f, auth="bearer")
        try:
            publish(ref, f.cosis[1])
            registry.faults["token"] = fault
            f.stages(f"{ref}:stable", exit=exit)
        finally:
            registry.stop()


def test_referrers(f):
    """With the API, by pages, and beside other people's attachments; without it by the tag."""
    for api, page in ((True, None), (True, 1), (False, None)):
        registry, ref, _ = both(f, referrers=api, page=page)
        try:
            result = publish(ref, f.cosis[1])["artifacts"][0]
            subject = {"mediaType": MANIFEST, "digest": result["manifest"], "size": len(registry.manifests[result["manifest"]])}
            tag = result["manifest"].replace(":", "-")
            assert (tag in registry.tags) != api
            if api:
                for n in range(3):
                    registry.artifact([b"sbom %d" % n], artifactType="application/spdx+json", subject=subject)
            f.stages(f"{ref}:stable")
            # the release file's own address leads to the COSI, too
            f.stages(f"{ref}@{result['release']}")
        finally:
            registry.stop()
    # another's entries in that tag stay
    registry, ref, _ = both(f, referrers=False)
    try:
        result = publish(ref, f.cosis[1])["artifacts"][0]
        tag = result["manifest"].replace(":", "-")
        other = registry.artifact([b"sbom"], artifactType="application/spdx+json")
        doc = json.loads(registry.manifests[registry.tags[tag]])
        doc["manifests"] = [{"mediaType": MANIFEST, "digest": other, "size": len(registry.manifests[other]),
                             "artifactType": "application/spdx+json"}]
        registry.put(json.dumps(doc).encode(), tag=tag)
        publish(ref, f.cosis[1])
        kinds = [m["artifactType"] for m in json.loads(registry.manifests[registry.tags[tag]])["manifests"]]
        assert kinds == ["application/spdx+json", "application/vnd.gybe.release.v1+json"], kinds
        f.stages(f"{ref}:stable")
    finally:
        registry.stop()


def test_rotated_root(f):
    """A registry serves rotated roots as tags; a host that knows only the first follows."""
    new = WORK / "newkeys"
    keygen(new)
    root2 = WORK / "root.2.json"
    release_tool("root", "rotate", f.keys / "root.json", "--release-key", new / "release.pub.pem", "--key", f.keys / "root.pem",
                 "-o", root2)
    cosi = WORK / "rotated" / f.cosis[1].name
    cosi.parent.mkdir()
    shutil.copy(f.cosis[1], cosi)
    sign(cosi, [new / "release.pem"], f.images[1].version, 2026110200)
    registry, ref, _ = both(f)
    try:
        publish(ref, cosi)
        f.run(f.host(ref), "update", exit=4)
        publish(ref, "--root", root2)
        assert "root.2" in registry.tags
        f.run(f.host(ref), "update")
        tool("publish", "--oci", ref, "--root", root2, f.cosis[0])     # both keys count now
    finally:
        registry.stop()


def test_architectures(f):
    """An index over one COSI for each architecture; the host takes its own."""
    arm = WORK / "arm" / f"acl-{f.images[1].version}-aarch64.cosi"
    registry, ref, _ = both(f)
    try:
        result = publish(ref, f.cosis[1])["artifacts"][0]
        mine = {"mediaType": MANIFEST, "digest": result["manifest"], "size": len(registry.manifests[result["manifest"]]),
                "platform": {"architecture": "amd64", "os": "linux"}}
        other = {**mine, "digest": registry.artifact([b"not for you"]), "platform": {"architecture": "arm64", "os": "linux"}}
        other["size"] = len(registry.manifests[other["digest"]])
        index = lambda *m: json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(m)}).encode()
        registry.put(index(other, mine), INDEX, tag="both")
        registry.put(index(other), INDEX, tag="arm")
        registry.put(index({**mine, "size": mine["size"] + 1}), INDEX, tag="size")
        inner = registry.put(index(mine), INDEX)
        registry.put(index({**mine, "digest": inner, "size": len(registry.manifests[inner])}), INDEX, tag="nested")
        f.stages(f"{ref}:both")
        assert "x86_64" in f.stages(f"{ref}:arm", exit=1).stderr
        f.stages(f"{ref}:size", exit=1)
        f.stages(f"{ref}:nested", exit=1)
        assert not arm.exists()
    finally:
        registry.stop()


def test_lies(f):
    """Each ends refused or unfinished, nothing is armed, and nothing hangs."""
    registry, ref, _ = both(f)
    try:
        pinned = f"{ref}@{publish(ref, f.cosis[1])['artifacts'][0]['manifest']}"
        cosi = f.cosis[1].read_bytes()

        def is_cosi(h):
            return digest_of(cosi) in h.path

        def other_bytes(h, data):
            return data.replace(b'"schemaVersion"', b' "schemaVersion"')

        def huge(h, data):
            return data + b" " * (5 << 20)

        def endless(h, data):
            h.send_response(200)
            h.send_header("Content-Type", MANIFEST)
            h.end_headers()
            for _ in range(200):
                h.wfile.write(b" " * 65536)
            h.close_connection = True
            return True

        cuts = []

        def cut(h, data):
            cuts.append(1)
            if len(cuts) > 2:
                return None
            h.give(200, data[:100], length=len(data), Content_Type=MANIFEST)
            h.close_connection = True
            return True

        def not_json(h, data):
            h.give(200, b"<html>login</html>", Content_Type="text/html")
            return True

        def wrong_type(h, data):
            h.give(200, data, Content_Type=INDEX)
            return True

        for fault, tag_exit, pin_exit in ((other_bytes, 1, 4), (huge, 1, 4), (endless, 1, 4), (not_json, 1, 4),
                                          (wrong_type, 1, 4)):
            registry.faults = {"manifest": fault}
            started = time.monotonic()
            f.stages(f"{ref}:stable", exit=tag_exit)
            f.stages(pinned, exit=pin_exit)
            assert time.monotonic() - started < 60, fault.__name__
        registry.faults = {"manifest": cut}
        f.stages(f"{ref}:stable")

        def elsewhere(h, data):
            h.give(200, data, Content_Type=INDEX, Link='<http://127.0.0.2:1/x>; rel="next"')
            return True

        def forever(h, data):
            h.give(200, data, Content_Type=INDEX, Link=f'<{h.path}>; rel="next"')
            return True

        def names_another(h, data):
            doc = json.loads(data)
            for m in doc["manifests"]:
                m["digest"] = "sha256:" + "0" * 64
            return json.dumps(doc).encode()

        def names_the_cosi(h, data):
            doc = json.loads(data)
            for m in doc["manifests"]:
                m["digest"], m["size"] = registry.tags["stable"], len(registry.manifests[registry.tags["stable"]])
            return json.dumps(doc).encode()

        for fault in (elsewhere, forever, names_another, names_the_cosi):
            registry.faults = {"referrers": fault}
            f.stages(f"{ref}:stable", exit=1)

        # the signed file is not the one that its manifest names; the COSI is, but not its bytes, or not all of them
        registry.faults = {"blob": lambda h, data: None if is_cosi(h) else data.replace(b"{", b" {", 1)[:len(data)]}
        f.stages(f"{ref}:stable", exit=1)
        flipped = bytearray(cosi)
        flipped[len(cosi) // 2] ^= 1
        registry.faults = {"blob": lambda h, data: bytes(flipped) if is_cosi(h) else None}
        f.stages(f"{ref}:stable", exit=4)
        registry.faults = {"blob": lambda h, data: data + b"x" if is_cosi(h) else None}
        f.stages(f"{ref}:stable", exit=4)
        registry.faults = {"blob": lambda h, data: data[:-512] if is_cosi(h) else None}
        f.stages(f"{ref}:stable", exit=4)
        registry.faults = {}
        f.stages(f"{ref}:stable")
    finally:
        registry.stop()


def test_busy(f):
    """429 and what comes with it, from the registry and from its realm: waited for, and not longer than makes sense."""
    registry, ref, auth = both(f, auth="bearer", users={"gybe": "pass:word"})
    try:
        publish(ref, "--authfile", auth, f.cosis[1])
        counts = {"manifest": 0, "blob": 0, "token": 0, "referrers": 0}

        def once_in(n, what):
            def fault(h, data):
                counts[what] += 1
                return h.give(429, b"too many requests", Retry_After="1") or True if counts[what] % n == 1 else None
            return fault

        registry.faults = {k: once_in(5, k) for k in counts}
        h = f.host(ref, oci={"authFile": "/etc/gybe/auth.json"})
        shutil.copy(auth, h.path("/etc/gybe/auth.json"))
        started = time.monotonic()
        f.run(h, "update")
        assert all(counts.values()), counts
        assert time.monotonic() - started >= 4, "nobody waited"
    finally:
        registry.stop()


def test_led_away(f):
    """A registry that leads elsewhere, for its blobs or its manifests: the password stays at home."""
    for auth_kind in ("basic", "bearer"):
        registry, ref, auth = both(f, auth=auth_kind, users={"gybe": "pass:word"}, blobs_elsewhere=True)
        try:
            publish(ref, "--authfile", auth, f.cosis[1])
            h = f.host(ref, oci={"authFile": "/etc/gybe/auth.json"})
            shutil.copy(auth, h.path("/etc/gybe/auth.json"))
            registry.seen.clear()

            def away(h, data):
                h.give(302, Location=f"http://{registry.blob_host}{h.path}")
                return True

            registry.faults = {"manifest": away}
            f.run(h, "update", exit=1)
            registry.faults = {}
            f.run(h, "update")
            assert h.verity_ok("B", f.images[1].roothash)
            there = registry.requests("blobs")
            assert any("manifests" in r[2] for r in there) and any("signed" in r[2] for r in there)
            assert not any("authorization" in r[3] or "secret" in str(r) for r in there)
        finally:
            registry.stop()


def test_slow(f):
    """A registry that drips is given up, by its own words or by ours. Only with GYBE_SLOW: it takes a while."""
    if not os.environ.get("GYBE_SLOW"):
        return
    registry, ref, _ = both(f)
    try:
        publish(ref, f.cosis[1])

        def drip(h, data):
            h.send_response(200)
            h.send_header("Content-Type", MANIFEST)
            h.send_header("Content-Length", str(len(data)))
            h.end_headers()
            for b in data:
                h.wfile.write(bytes([b]))
                time.sleep(0.2)
            return True

        def never(h, data):
            h.give(429, Retry_After="3600")
            return True

        for kind, fault, said in (("manifest", drip, "less than 1024"), ("blob", drip, "less than 1024"), ("manifest", never, "")):
            registry.faults = {kind: fault}
            h = f.host(ref, http={"stallTimeout": "1s"})
            started = time.monotonic()
            assert said in f.run(h, "update", exit=1).stderr
            assert time.monotonic() - started < 150, (kind, fault.__name__)
        registry.faults = {}
        f.run(h, "update")
    finally:
        registry.stop()


def test_moving_tag(f):
    """The tag moves between the release and the COSI: what is staged is what was believed."""
    registry, ref, _ = both(f)
    try:
        publish(ref, f.cosis[0])
        old = registry.tags["stable"]
        publish(ref, f.cosis[1])
        new = registry.tags["stable"]

        def moves(h, data):
            if h.path.endswith("/stable"):
                registry.tags["stable"] = old if registry.tags["stable"] == new else new
            return None

        registry.faults = {"manifest": moves}
        f.stages(f"{ref}:stable")
    finally:
        registry.stop()


TESTS = [test_docker_registry, test_basic, test_tls, test_oras, test_busy, test_led_away, test_slow, test_tokens,
         test_anonymous_token, test_realms, test_token_faults, test_referrers, test_rotated_root, test_architectures, test_lies,
         test_moving_tag]


def main():
    if not shutil.which("docker-registry") or not shutil.which("skopeo"):
        print("docker-registry or skopeo is not installed: skipped")
        return 77
    names, failed = sys.argv[1:], 0
    try:
        f = Fixture()
        for test in TESTS:
            if names and test.__name__.removeprefix("test_") not in names:
                continue
            started = time.monotonic()
            try:
                test(f)
                print(f"ok   {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception:
                failed += 1
                traceback.print_exc()
                print(f"FAIL {test.__name__}", flush=True)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
