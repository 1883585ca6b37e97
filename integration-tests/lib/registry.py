# SPDX-License-Identifier: MIT
"""Registries for tests: Debian's docker-registry, and a small strict one of our own that also misbehaves on request.

The strict one (Registry) keeps everything in memory, checks what clients send (digests, types, tokens, ranges) and writes down
every request with its headers. Its blobs may live on another server (blobs_elsewhere), which answers only who shows it nothing.
"""

import base64
import hashlib
import http.server
import json
import re
import shutil
import subprocess

import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
# bcrypt of "secret", which is the only kind that docker-registry takes
HTPASSWD = "gybe:$2b$05$0yfVlJctFmnbSZvjk0H88./SO5NHX8X/wUaySehHX.9iwa845OB4C\n"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def auth_json(path, host, user, password):
    code = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": code}}}))
    path.chmod(0o600)
    return path


class DockerRegistry:
    """distribution 2.8: no referrers API, blobs by range."""

    def __init__(self, folder, htpasswd=None, tls=None):
        """tls: (certificate, key)"""
        self.port = web.free_port()
        self.host = f"127.0.0.1:{self.port}"
        folder.mkdir()
        auth = ""
        if htpasswd:
            (folder / "htpasswd").write_text(htpasswd)
            auth = f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n"
        (folder / "config.yml").write_text(
            f"version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n"
            f"    rootdirectory: {folder}/data\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{self.port}\n"
            + (f"  tls:\n    certificate: {tls[0]}\n    key: {tls[1]}\n" if tls else "") + auth)
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen([shutil.which("docker-registry"), "serve", str(folder / "config.yml")],
                                        stdout=self.log, stderr=self.log)
        if web.answers(self.port):
            return
        self.stop()
        raise RuntimeError("docker-registry did not start: " + (folder / "log").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def serve(answer, name, seen):
    """A server whose every request is answer(handler, method, path, query)."""

    class Handler(web.Kept, http.server.BaseHTTPRequestHandler):
        def handle_one(self):
            path, _, query = self.path.partition("?")
            seen.append((name, self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            length = int(self.headers.get("Content-Length", 0))
            self.body = self.rfile.read(length) if length else b""
            try:
                answer(self, self.command, path, query)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = handle_one

        def give(self, status, body=b"", length=None, **headers):
            self.send_response(status)
            for k, v in headers.items():
                self.send_header(k.replace("_", "-"), v)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def give_file(self, data, **headers):
            """Whole or by range, as an object store does."""
            m = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not m:
                return self.give(200, data, Accept_Ranges="bytes", **headers)
            first, last = int(m[1]), min(int(m[2]), len(data) - 1)
            if first >= len(data):
                return self.give(416, Content_Range=f"bytes */{len(data)}")
            return self.give(206, data[first:last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **headers)

    return web.Server(Handler)


class Registry:
    """referrers: the API is there. auth: None, "basic", "bearer". users: {name: password}, empty: tokens for anybody.
    token_uses: requests until a token has expired. faults: {"manifest" | "blob" | "token" | "referrers": f(handler, data)},
    where f may answer itself (True) or give other bytes."""

    def __init__(self, referrers=True, auth=None, users=None, blobs_elsewhere=False, token_uses=10**9, realm=None, page=None):
        self.blobs, self.manifests, self.tags, self.uploads = {}, {}, {}, set()
        self.referrers, self.auth, self.users, self.token_uses, self.page = referrers, auth, users or {}, token_uses, page
        self.seen, self.tokens, self.faults = [], {}, {}
        self.servers = [serve(self.answer, "registry", self.seen)]
        self.host = "127.0.0.1:%d" % self.servers[0].server_port
        self.blob_host = None
        if blobs_elsewhere:
            self.servers.append(serve(self.answer_blobs, "blobs", self.seen))
            self.blob_host = "127.0.0.1:%d" % self.servers[-1].server_port
        self.servers.append(serve(self.answer_token, "token", self.seen))
        self.realm = realm or "http://127.0.0.1:%d/token" % self.servers[-1].server_port

    def stop(self):
        for s in self.servers:
            s.stop()

    def requests(self, name, method=None):
        return [r for r in self.seen if r[0] == name and method in (None, r[1])]

    # --- who is it ---

    def user_of(self, header):
        kind, _, code = (header or "").partition(" ")
        if kind != "Basic":
            return None
        user, _, password = base64.b64decode(code).decode().partition(":")
        return user if self.users.get(user) == password else None

    def answer_token(self, h, method, path, query):
        form = dict(p.split("=", 1) for p in (h.body.decode() if method == "POST" else query).split("&") if "=" in p)
        if "token" in self.faults and self.faults["token"](h, form):
            return None
        if path != "/token" or "scope" not in form:
            return h.give(404)
        header = h.headers.get("Authorization")
        good = form.get("refresh_token") == "identity" if method == "POST" else self.user_of(header) or (not header and not self.users)
        if not good:
            return h.give(401, b'{"errors": [{"code": "UNAUTHORIZED"}]}')
        token = hashlib.sha256(str((form["scope"], len(self.tokens))).encode()).hexdigest()
        self.tokens[token] = [form["scope"].replace("%3A", ":").replace("%2F", "/").replace("%2C", ","), self.token_uses]
        return h.give(200, json.dumps({"token": token, "expires_in": 60, "x": 1.5}).encode())

    def may(self, h, repository, write):
        header = h.headers.get("Authorization", "")
        if self.auth is None:
            return True
        if self.auth == "basic":
            return self.user_of(header) is not None
        token = self.tokens.get(header.removeprefix("Bearer "))
        if not token or token[1] <= 0:
            return False
        token[1] -= 1
        kind, name, actions = token[0].split(":")
        return kind == "repository" and name == repository and ("push" in actions.split(",") or not write)

    def refuse(self, h, repository, write):
        challenge = 'Basic realm="test"' if self.auth == "basic" else \
            f'Bearer realm="{self.realm}",service="test registry",scope="repository:{repository}:{"pull,push" if write else "pull"}"'
        h.give(401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}', WWW_Authenticate=challenge)

    # --- the registry ---

    def answer_blobs(self, h, method, path, query):
        if h.headers.get("Authorization"):
            return h.give(400, b"only one auth mechanism allowed")     # as S3 says
        if query != "signed":
            return h.give(403)
        return self.give_blob(h, path.removeprefix("/"))

    def give_blob(self, h, digest):
        data = self.blobs.get(digest)
        if data is None:
            return h.give(404)
        if "blob" in self.faults and h.command == "GET":
            other = self.faults["blob"](h, data)
            if other is True:
                return None
            data = data if other is None else other
        return h.give_file(data, ETag=f'"{digest}"')

    def answer(self, h, method, path, query):
        m = re.fullmatch(r"/v2/([a-z0-9/._-]+?)/(manifests|blobs|referrers|tags)/(.+)", path)
        if not m:
            return h.give(404)
        repository, kind, rest = m.groups()
        write = method in ("POST", "PUT")
        if not self.may(h, repository, write):
            return self.refuse(h, repository, write)
        if kind == "manifests":
            return self.put_manifest(h, repository, rest) if method == "PUT" else self.get_manifest(h, rest)
        if kind == "referrers":
            return self.get_referrers(h, repository, rest, query) if self.referrers else h.give(404)
        if method == "POST" and rest == "uploads/":
            self.uploads.add(str(len(self.uploads)))
            return h.give(202, Location=f"/v2/{repository}/blobs/uploads/{len(self.uploads) - 1}?state=x")
        if method == "PUT" and rest.startswith("uploads/"):
            digest = query.partition("digest=")[2].replace("%3A", ":")
            if rest.removeprefix("uploads/") not in self.uploads or digest_of(h.body) != digest:
                return h.give(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "not these bytes"}]}')
            self.blobs[digest] = h.body
            return h.give(201, Docker_Content_Digest=digest)
        if self.blob_host and rest in self.blobs:
            return h.give(307, Location=f"http://{self.blob_host}/{rest}?signed")
        return self.give_blob(h, rest)

    def put_manifest(self, h, repository, reference):
        doc, digest = json.loads(h.body), digest_of(h.body)
        assert doc["schemaVersion"] == 2 and doc["mediaType"] == h.headers["Content-Type"]
        wanted = [doc["config"]] + doc["layers"] if "layers" in doc else []
        if any(d["digest"] not in self.blobs or len(self.blobs[d["digest"]]) != d["size"] for d in wanted) or \
           any(d["digest"] not in self.manifests for d in doc.get("manifests", [])):
            return h.give(404, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "something is missing"}]}')
        if reference.startswith("sha256:") and reference != digest:
            return h.give(400)
        self.manifests[digest] = h.body
        if not reference.startswith("sha256:"):
            self.tags[reference] = digest
        more = {"OCI_Subject": doc["subject"]["digest"]} if self.referrers and "subject" in doc else {}
        return h.give(201, Docker_Content_Digest=digest, Location=f"/v2/{repository}/manifests/{digest}", **more)

    def get_manifest(self, h, reference):
        digest = self.tags.get(reference, reference)
        data = self.manifests.get(digest)
        if data is None:
            return h.give(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        kind = json.loads(data)["mediaType"]
        if kind not in h.headers.get("Accept", ""):
            return h.give(404)
        if "manifest" in self.faults:
            other = self.faults["manifest"](h, data)
            if other is True:
                return None
            data = data if other is None else other
        return h.give(200, data, Content_Type=kind, Docker_Content_Digest=digest)

    def get_referrers(self, h, repository, digest, query):
        found = []
        for d, data in self.manifests.items():
            doc = json.loads(data)
            if doc.get("subject", {}).get("digest") == digest:
                found.append({"mediaType": doc["mediaType"], "digest": d, "size": len(data),
                              "artifactType": doc["artifactType"], "annotations": doc.get("annotations", {})})
        headers = {"Content_Type": INDEX}
        if self.page:
            at = int(query.removeprefix("at=") or 0) if query else 0
            if at + self.page < len(found):
                headers["Link"] = f'</v2/{repository}/referrers/{digest}?at={at + self.page}>; rel="next"'
            found = found[at:at + self.page]
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode()
        if "referrers" in self.faults:
            other = self.faults["referrers"](h, data)
            if other is True:
                return None
            data = data if other is None else other
        return h.give(200, data, **headers)

    # --- things put there by others ---

    def put(self, data, kind=MANIFEST, tag=None):
        digest = digest_of(data)
        self.manifests[digest] = data
        if tag:
            self.tags[tag] = digest
        return digest

    def artifact(self, layers, tag=None, **more):
        """A manifest over these blobs, as somebody else's tool might write it."""
        self.blobs[digest_of(b"{}")] = b"{}"
        doc = {"schemaVersion": 2, "mediaType": MANIFEST,
               "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
               "layers": [], **more}
        for data in layers:
            self.blobs[digest_of(data)] = data
            doc["layers"].append({"mediaType": "application/octet-stream", "digest": digest_of(data), "size": len(data)})
        return self.put(json.dumps(doc).encode(), tag=tag)
