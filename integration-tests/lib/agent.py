# SPDX-License-Identifier: MIT
"""gybed on a host made of files: started, watched through its files and its log, killed. And a server of releases that can be
told to be slow. Standard library only.

    agent = Agent(host); agent.start(); agent.wait(lambda: agent.phase() == "finalized", "finalize")
    agent.reboot()          # what the machine would do: everything is gone, the next boot settles
"""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import web
from sandbox import command, environ, run

PATIENCE = float(os.environ.get("GYBE_PATIENCE", "60"))     # seconds; a machine that runs five other tests is slow


class Agent:
    def __init__(self, host, log=None):
        self.host, self.process = host, None
        self.log_path = Path(log or host.dir / "gybed.log")
        self.log_path.touch()

    # --- its life ---

    def start(self, *more):
        assert self.process is None
        self.process = subprocess.Popen(command(self.host, *(more or ["--no-bus"]), of="gybed"), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=open(self.log_path, "a"), env=environ(GYBE_DEBUG="1"))

    def send(self, number):
        self.process.send_signal(number)

    def reload(self):
        self.send(signal.SIGHUP)

    def stop(self, number=signal.SIGTERM):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def kill(self):
        return self.stop(signal.SIGKILL)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    # --- what is going on, from outside ---

    def json(self, path):
        try:
            return json.loads(self.host.path(path).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def phase(self):
        return self.json("/var/lib/gybe/journal.json").get("phase", "idle")

    def journal(self):
        return self.json("/var/lib/gybe/journal.json")

    def memory(self):
        return self.json("/var/lib/gybe/agent.json")

    def log(self):
        return self.log_path.read_text()

    def said(self, text):
        return text in self.log()

    def next(self):
        """The agent's last word on what it does next: "stage: 3.0.2: updates are held"."""
        lines = [line for line in self.log().splitlines() if "; next: " in line]
        return lines[-1].split("; next: ", 1)[1] if lines else ""

    def history(self):
        p = self.host.path("/var/lib/gybe/history.jsonl")
        return [json.loads(line) for line in p.read_text().splitlines()] if p.exists() else []

    def events(self):
        return [e["event"] for e in self.history()]

    def jobs(self):
        return self.host.jobs()

    def wait(self, until, what, seconds=None):
        end = time.monotonic() + (seconds or PATIENCE)
        while time.monotonic() < end:
            if until():
                return
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen; next: {self.next()}; journal: {self.journal().get('phase')}")

    def stays(self, is_so, what, seconds=2.5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert is_so(), f"{what} did not last; next: {self.next()}"
            time.sleep(0.1)

    # --- what a machine does ---

    def job(self, *args):
        """gybe-job as a unit would run it."""
        return run(*command(self.host, *args, of="gybe-job"), check=False, stdin=subprocess.DEVNULL, env=environ())

    def power_off(self):
        self.kill()
        self.host.end_jobs()

    def reboot(self, **how):
        """Everything is gone; the loader does what it does; gybe-commit.service settles. Returns that job."""
        self.power_off()
        self.host.boot(**how)
        return self.job("commit")


def chain_holds(history_path):
    """history.jsonl's hash chain, from formats.md alone. Returns the number of lines."""
    prev, n = "0" * 64, 0
    data = Path(history_path).read_bytes() if Path(history_path).exists() else b""
    if data and not data.endswith(b"\n"):
        data = data[:data.rfind(b"\n") + 1]     # a torn last line is cut by the next one
    for n, line in enumerate(data.splitlines(), 1):
        assert json.loads(line)["prev"] == prev, f"history: line {n} does not hang on line {n - 1}"
        prev = hashlib.sha256(line).hexdigest()
    return n


class Feed(web.Server):
    """A folder over HTTP. hold(): a COSI's bytes trickle until release(); the rest is served at once."""

    def __init__(self, folder):
        feed = self

        class Handler(web.Files):
            def __init__(self, *a, **k):
                super().__init__(*a, directory=str(folder), **k)

            def do_GET(self):
                feed.asked.append(self.path)
                if feed.down:
                    self.send_error(404)     # 5xx is tried again by gybe-fetch itself, for minutes
                    return
                super().do_GET()

            def copyfile(self, source, out):
                try:
                    if not self.path.endswith(".cosi"):
                        return super().copyfile(source, out)
                    while True:
                        block = source.read(64 if feed.held else 1 << 16)
                        if not block:
                            return
                        out.write(block)
                        if feed.held:
                            out.flush()
                            feed.trickling.set()
                            time.sleep(0.05)
                except (BrokenPipeError, ConnectionResetError):
                    pass

        super().__init__(Handler)
        self.held, self.down = False, False
        self.trickling = threading.Event()
        self.asked = []
        self.url += "index.json"

    def hold(self):
        self.trickling.clear()
        self.held = True

    def release(self):
        self.held = False
