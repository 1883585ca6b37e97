# SPDX-License-Identifier: MIT
"""A strict Nebraska for tests: what it takes, drops and answers follows its rules; beyond that it complains (self.wrong) of every
request that the real one would silently misread. One application, one group; instances in memory.

    n = Nebraska();  n.package("3.0.2", "https://cdn/", "x.cosi");  n.url;  n.instances["..."].history
"""

import http.server
import re
import ssl
import threading
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

import web

GRANTED, DOWNLOADING, DOWNLOADED, INSTALLED, COMPLETE, ERROR, ON_HOLD, UNDEFINED = (
    "granted", "downloading", "downloaded", "installed", "complete", "error", "onhold", "undefined")
PAIRS = {(3, 0): ERROR, (3, 2): COMPLETE, (13, 1): DOWNLOADING, (14, 1): DOWNLOADED, (800, 1): INSTALLED}
ORDER = {DOWNLOADING: 1, DOWNLOADED: 2, INSTALLED: 3, COMPLETE: 4}
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ATTRIBUTES = {
    "request": {"protocol", "version", "updaterversion", "installsource", "ismachine", "requestid", "sessionid"},
    "os": {"platform", "version", "arch"},
    "app": {"appid", "version", "track", "board", "machineid", "bootid", "oem", "machinealias", "delta_okay"},
    "event": {"eventtype", "eventresult", "errorcode", "previousversion"},
    "ping": {"active"}, "updatecheck": set(),
}
FLATCAR = "e96281a6-d1af-4bde-9a0a-97b76e56dc57"


def number(version):
    return tuple(int(x) for x in version.split("-")[0].split("."))


class Instance:
    def __init__(self, version):
        self.version, self.status, self.in_progress, self.last, self.history, self.errors, self.previous = version, None, False, None, [], [], []
        self.alias = None

    def become(self, status):
        if status == self.status:
            return
        self.status = status
        self.history.append(status)
        self.in_progress = status not in (COMPLETE, ERROR, UNDEFINED, ON_HOLD)
        if status == COMPLETE:
            self.version = self.last


class Nebraska:
    def __init__(self, app="b2f9a8a2-8f1f-4a6c-9e0b-0c5f6f2f2f10", track="stable", arch="amd64", secret="", tls=None):
        self.app, self.track, self.arch, self.secret = app, track, arch, secret
        self.packages, self.blocked, self.limit, self.fault = [], None, 900000, None
        self.instances, self.requests, self.wrong, self.ids = {}, [], [], set()
        self.lock = threading.Lock()
        outer = self

        class Handler(web.Quiet, http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    status, answer, headers = outer.answer(self.path, body, self.headers)
                if status == "drop":
                    self.close_connection = True
                    return
                self.send_response(status)
                for k, v in {"Content-Type": "application/xml", **headers}.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        context = tls and ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if tls:
            context.load_cert_chain(tls)
        self.server = web.Server(Handler, tls=context)

    @property
    def url(self):
        return f"{self.server.url}v1/update" + (f"/{self.secret}" if self.secret else "")

    def stop(self):
        self.server.stop()

    def package(self, version, codebase, name, hash="", size=0, extra=(), floor=False):
        """The newest one is the channel's."""
        self.packages.append({"version": version, "codebase": codebase, "name": name, "hash": hash, "size": size, "extra": list(extra),
                              "floor": floor})
        self.packages.sort(key=lambda p: number(p["version"]))

    # --- what it would misread ---

    def complain(self, what):
        self.wrong.append(what)

    def inspect(self, root, headers):
        if root.tag != "request" or root.get("protocol") != "3.0":
            self.complain("not an Omaha 3.0 request")
        for e in root.iter():
            extra = set(e.keys()) - ATTRIBUTES.get(e.tag, set())
            if e.tag not in ATTRIBUTES or extra:
                self.complain(f"<{e.tag}> {sorted(extra)}")
            for k, v in e.items():
                if v == "":
                    self.complain(f"{k} is empty")
        if root.get("ismachine") != "1":
            self.complain("ismachine")
        if root.get("version") == "CoreOSUpdateEngine-0.1.0.0":
            self.complain("says it is a syncer")
        if root.get("installsource") not in ("ondemandupdate", "scheduler"):
            self.complain("installsource")
        for k in ("requestid", "sessionid"):
            if not re.fullmatch(r"\{" + UUID.pattern + r"\}", root.get(k) or ""):
                self.complain(k)
        if "xml" not in headers.get("Content-Type", ""):
            self.complain("Content-Type")
        apps = root.findall("app")
        if len(apps) != 1:
            return self.complain("not one app")
        a, os_ = apps[0], root.find("os")
        pair = (os_.get("arch"), a.get("board"))
        if pair not in (("amd64", "amd64-usr"), ("aarch64", "arm64-usr")):
            self.complain(f"arch and board {pair}")
        if not UUID.fullmatch(a.get("machineid") or ""):
            self.complain(f"machineid {a.get('machineid')}")
        if not SEMVER.fullmatch(a.get("version") or ""):
            self.complain(f"version {a.get('version')}")
        if a.get("delta_okay") != "false":
            self.complain("delta_okay")
        for e in a.findall("event"):
            pair = (int(e.get("eventtype")), int(e.get("eventresult")))
            if pair not in PAIRS:
                self.complain(f"event {pair}")
            if not SEMVER.fullmatch(e.get("previousversion") or ""):
                self.complain(f"event {pair}: previousversion {e.get('previousversion')}")
            if (e.get("errorcode") is not None) != (pair == (3, 0)):
                self.complain(f"event {pair}: errorcode {e.get('errorcode')}")
        return None

    # --- what it does ---

    def event(self, e, instance):
        pair = (int(e.get("eventtype")), int(e.get("eventresult")))
        status = PAIRS.get(pair)
        if instance is None or not instance.in_progress or status is None:
            return self.complain(f"event {pair} is dropped: {'no instance' if instance is None else instance.status}")
        if self.app == FLATCAR and pair == (3, 2) and e.get("previousversion") in ("", "0.0.0.0"):
            return instance.become(UNDEFINED)
        if status in ORDER and ORDER.get(instance.status, 0) > ORDER[status]:
            self.complain(f"{status} behind {instance.status}")
        if status == ERROR:
            instance.errors.append(int(e.get("errorcode")))
        instance.previous.append(e.get("previousversion"))
        return instance.become(status)

    def check(self, a, i):
        """Status of the app, status of the check, package."""
        if i.status in (DOWNLOADING, DOWNLOADED, INSTALLED):
            return "error-updateInProgressOnInstance", "error-internal", None
        if not self.packages:
            return "error-noPackageFound", "error-internal", None
        version = a.get("version")
        newer = [p for p in self.packages if number(p["version"]) > number(version)]
        floors = [p for p in newer if p["floor"]]
        if i.status == GRANTED:
            if number(version) >= number(i.last):
                i.become(COMPLETE)
                return "ok", "noupdate", None
            return "ok", "ok", (floors or [self.packages[-1]])[0]
        if not newer:
            return "ok", "noupdate", None
        if self.blocked:
            return self.blocked, "error-internal", None
        if sum(x.in_progress for x in self.instances.values()) >= self.limit:
            i.become(ON_HOLD)
            return "error-maxConcurrentUpdatesLimitReached", "error-internal", None
        p = (floors or [self.packages[-1]])[0]
        i.last = p["version"]
        i.become(GRANTED)
        return "ok", "ok", p

    def offer(self, p):
        files = [f'<package name={quoteattr(p["name"])} hash={quoteattr(p["hash"])} size="{p["size"]}" required="true"></package>']
        files += [f'<package name={quoteattr(n)} hash="" hash_sha256="" size="0" required="false"></package>' for n in p["extra"]]
        return (f'<urls><url codebase={quoteattr(p["codebase"])}></url></urls><manifest version={quoteattr(p["version"])}><packages>'
                + "".join(files) + "</packages></manifest>")

    def answer(self, path, body, headers):
        self.requests.append(body.decode())
        fault = self.fault(len(self.requests), body.decode()) if callable(self.fault) else self.fault
        if isinstance(fault, tuple):
            return fault
        if isinstance(fault, int):
            return fault, b"", {}
        if path.rstrip("/") != "/v1/update" + (f"/{self.secret}" if self.secret else ""):
            return 501, b"", {}
        if len(body) > 65536:
            return 400, b"", {}
        try:
            root = ET.fromstring(body)
            int(root.get("ismachine"))
        except (ET.ParseError, ValueError, TypeError):
            self.complain("not XML")
            return 200, b"", {}
        self.inspect(root, headers)
        a = root.find("app")
        out = self.handle(a, loses=fault == "loses")
        if fault == "drop":   # taken, and not said: it will come again
            return "drop", b"", {}
        if root.get("requestid") in self.ids:
            self.complain(f"request {root.get('requestid')} came twice")
        self.ids.add(root.get("requestid"))
        return 200, out.encode(), {}

    def handle(self, a, loses=False):
        """loses: events are acknowledged, and its database does not take them."""
        head, tail = f'<response protocol="3.0" server="nebraska"><daystart elapsed_seconds="0"></daystart><app appid={quoteattr(a.get("appid"))}', "</app></response>"
        if a.get("appid").lower() != self.app:
            return head + ' status="error-failedToRetrieveUpdatePackageInfo"><updatecheck status="error-internal"></updatecheck>' + tail
        if (a.get("track"), a.get("board")) != (self.track, f"{'amd64' if self.arch == 'amd64' else 'arm64'}-usr"):
            return head + ' status="error-unknownApplicationOrGroup"><updatecheck status="error-internal"></updatecheck>' + tail
        machine, events = a.get("machineid"), a.findall("event")
        for e in events if not loses else ():
            self.event(e, self.instances.get(machine))
        status, parts = "ok", ""
        if a.find("ping") is not None or a.find("updatecheck") is not None:
            i = self.instances.setdefault(machine, Instance(a.get("version")))
            i.version, i.alias = a.get("version"), a.get("machinealias") or i.alias
        if a.find("ping") is not None:
            parts += '<ping status="ok"></ping>'
        if a.find("updatecheck") is not None:
            status, word, package = self.check(a, i)
            parts += f'<updatecheck status="{word}">' + (self.offer(package) if package else "") + "</updatecheck>"
        parts += '<event status="ok"></event>' * len(events)
        return f'{head} status="{status}">{parts}{tail}'
