#!/usr/bin/env -S /usr/bin/python3 -B
# SPDX-License-Identifier: MIT
"""The agent on files: a host that updates itself with no command typed, stops for each rule that says so, and is killed.

What a machine would do around it (reboot, gybe-commit.service) is done by the test; the agent and its jobs are the real ones.

    test-agent.py [WORD]     only the cases whose text has the word
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from agent import Agent, Feed, chain_holds
from cases import Cases
from sandbox import MIB, Host, gybe, keygen, publish, releases, sign

FULL = {"automation": "full", "soak": "1s", "attempts": 2}
OPERATOR = "/etc/gybe/policy.d/90-operator.json"


class Test(Cases):
    def __init__(self, work):
        self.work = work
        self.keys = keygen(work / "keys")
        self.images, self.cosis = releases(work, self.keys, ("3.0.1", "3.0.2", "3.0.3"), size=4 * MIB)
        self.fresh = Host(work / "fresh", usr_size=4 * MIB)
        self.fresh.install(self.images["3.0.1"], trust_root=self.keys / "root.json")
        self.n = 0

    def publish(self, feed, version):
        publish(feed, self.keys, self.cosis[version])

    def world(self, policy=None, version="3.0.2", **source):
        """A host that runs 3.0.1, a feed that offers a later one, and an agent that was not started yet."""
        self.n += 1
        where = self.work / f"case-{self.n}"
        host = self.fresh.clone(where / "host")
        folder = where / "feed"
        folder.mkdir()
        if version:
            self.publish(folder, version)
        feed = Feed(folder)
        feed.folder = folder
        host.configure({"source": {"type": "feed", "url": feed.url, "interval": "10s", **source}})
        host.write("/etc/gybe/policy.d/10-test.json", json.dumps(policy if policy is not None else FULL))
        host.write("/etc/machine-id", f"{self.n:032x}\n")
        self.agent, self.feed = Agent(host), feed
        return self.agent, feed

    def one(self, f):
        self.agent = self.feed = None
        f()
        chain_holds(self.agent.host.path("/var/lib/gybe/history.jsonl"))

    def failed_at(self):
        return "\n".join(self.agent.log().splitlines()[-25:]) if self.agent else ""

    def over(self):
        if self.agent:
            self.agent.power_off()
        if self.feed:
            self.feed.stop()


def minute(t):
    return t.strftime("%H:%M")


def asked_long_ago(a):
    """So that the next check is due at once, whatever the interval and this machine's place in it."""
    a.host.write("/var/lib/gybe/agent.json", json.dumps({"schema": "gybe.agent/1", "lastCheck": "2026-01-01T00:00:00Z"}))


def main():
    with tempfile.TemporaryDirectory(prefix="gybe-agent-") as tmp:
        t = Test(Path(tmp))
        cases(t)
        return t.end()


def cases(t):
    @t.case
    def _():
        """unattended from 3.0.1 to 3.0.2: a policy file and no command; who did it is in history"""
        a, _ = t.world()
        a.start()
        a.wait(lambda: a.phase() == "finalized", "finalize")
        a.wait(lambda: a.journal().get("rebootAsks") == 1, "the reboot job")
        assert a.host.var("LoaderEntryOneShot"), "nothing is armed"
        r = a.reboot()
        assert r.returncode == 0, r.stdout
        a.start()
        a.wait(lambda: a.said("job boot (commit) ended with 0"), "the boot's result")
        a.wait(lambda: a.memory().get("lastCheck") and "check" in a.next(), "the next check")
        status = a.json("/run/gybe/status.json")
        assert status["version"] == "3.0.2" and status["running"] == "b" and status["outcome"] == "committed", status
        events = {e["event"]: e for e in a.history()}
        for event, how in (("staged", "agent"), ("finalized", "agent"), ("committed", "boot")):
            assert events[event]["how"] == how, events[event]
        # nothing newer any more
        a.wait(lambda: "offer" not in a.memory(), "the offer is taken")
        assert a.stop() == 0

    for rule, policy, back in (("pin", {"pin": "3.0.1"}, "inotify"), ("skip", {"skip": ["3.0.2"]}, "SIGHUP"),
                               ("hold", {"hold": {"reason": "audit", "by": "ada"}}, "inotify")):
        def stopped(rule=rule, policy=policy, back=back):
            a, _ = t.world()
            a.host.write(OPERATOR, json.dumps(policy))
            a.start()
            if rule == "pin":     # the source is asked for that version, and this feed does not have it
                a.wait(lambda: a.memory().get("lastCheck"), "a check")
            else:
                a.wait(lambda: a.next().startswith("stage"), "the offer")
                assert {"skip": "skip list", "hold": "held by ada: audit"}[rule] in a.next(), a.next()
            a.stays(lambda: "staged" not in a.events() and a.phase() == "idle", rule)
            if back == "SIGHUP":
                a.send(signal.SIGSTOP)
                a.host.path(OPERATOR).unlink()
                a.send(signal.SIGCONT)
                a.reload()
            else:
                a.host.path(OPERATOR).unlink()
            a.wait(lambda: a.phase() == "finalized", f"taking the {rule} back")
        stopped.__doc__ = f"a {rule} stops the update, its end lets it go ({back})"
        t.case(stopped)

    @t.case
    def _():
        """a hold that comes when it is staged stops the flip"""
        a, feed = t.world({**FULL, "automation": "stage"})
        a.start()
        a.wait(lambda: a.phase() == "staged", "staging")
        a.wait(lambda: "automation" in a.next(), "the level")
        a.host.write(OPERATOR, json.dumps({"hold": {"reason": "audit"}}))
        a.host.write("/etc/gybe/policy.d/10-test.json", json.dumps(FULL))
        a.wait(lambda: "held: audit" in a.next(), "the hold")
        a.stays(lambda: a.phase() == "staged", "held")
        a.host.path(OPERATOR).unlink()
        a.wait(lambda: a.phase() == "finalized", "the flip")

    @t.case
    def _():
        """a window that closes while it is staged: staged, not finalized; the next one is named"""
        now = datetime.now(timezone.utc)
        end = (now + timedelta(seconds=8)).replace(second=0, microsecond=0) + timedelta(minutes=1)
        days = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
        window = {"days": days, "start": minute(end - timedelta(hours=2)), "end": minute(end), "timezone": "UTC"}
        a, feed = t.world({**FULL, "windows": [window]})
        feed.hold()
        a.start()
        assert feed.trickling.wait(30), "staging did not begin"
        assert datetime.now(timezone.utc) < end, "this machine is too slow for this case"
        while datetime.now(timezone.utc) < end:
            time.sleep(0.2)
        feed.release()
        a.wait(lambda: a.phase() == "staged", "staging")
        a.wait(lambda: "window opens at" in a.next(), "the rule")
        a.stays(lambda: a.phase() == "staged", "the closed window")
        assert not a.host.var("LoaderEntryOneShot")
        expected = (end - timedelta(hours=2) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:00Z")
        assert expected in a.next(), (expected, a.next())
        a.host.write("/etc/gybe/policy.d/10-test.json", json.dumps(FULL))
        a.wait(lambda: a.phase() == "finalized", "the open window")

    @t.case
    def _():
        """without a source it sleeps; a source written into gybe.json wakes it, broken files are said and left out"""
        a, feed = t.world()
        a.host.configure({})
        a.start()
        a.wait(lambda: a.next().startswith("none"), "nothing to do")
        a.host.write("/etc/gybe/gybe.json", "{ broken")
        a.wait(lambda: a.said("warning: /etc/gybe/gybe.json"), "the broken file")
        assert a.alive()
        a.host.configure({"source": {"type": "feed", "url": feed.url, "interval": "10s"}})
        a.wait(lambda: a.phase() == "finalized", "the update")

    @t.case
    def _():
        """idle it is not woken: no context switch of its own in five seconds"""
        a, feed = t.world(version="3.0.2", interval="1h")
        a.host.write("/etc/gybe/policy.d/10-test.json", json.dumps({**FULL, "automation": "check"}))
        asked_long_ago(a)
        a.start()
        a.wait(lambda: "automation" in a.next(), "the offer")

        def switches():
            lines = Path(f"/proc/{a.process.pid}/status").read_text().splitlines()
            return [int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt")][0]
        time.sleep(1)
        before = switches()
        time.sleep(5)
        assert switches() == before, f"woken {switches() - before} times"

    @t.case
    def _():
        """gybed is killed while a job runs: the job goes on, the next gybed finds it"""
        a, feed = t.world()
        feed.hold()
        a.start()
        assert feed.trickling.wait(30)
        jobs = a.jobs()
        a.kill()
        assert len(jobs) == 1 and a.jobs() == jobs
        a.start()
        a.stays(lambda: a.jobs() == jobs, "the one job", 2)
        feed.release()
        a.wait(lambda: a.phase() == "finalized", "the update")
        assert a.events().count("staged") == 1

    @t.case
    def _():
        """a job ends while no gybed is there; its result is taken in later, once"""
        a, feed = t.world()
        feed.hold()
        a.start()
        assert feed.trickling.wait(30)
        a.stop()
        feed.release()
        a.wait(lambda: not a.jobs(), "the end of the job")
        assert a.phase() == "staged"
        a.start()
        a.wait(lambda: a.phase() == "finalized", "the update")
        assert len([x for x in a.log().splitlines() if "(stage) ended with 0" in x]) == 1

    @t.case
    def _():
        """a job that is killed is noticed, told and tried again; what it wrote is not fetched again for nothing"""
        a, feed = t.world()
        feed.hold()
        a.start()
        assert feed.trickling.wait(30)
        os.kill(a.jobs()[0], signal.SIGKILL)
        a.wait(lambda: a.said("the job was killed"), "the news")
        a.wait(lambda: "retry" in json.dumps(a.memory()) or a.memory()["retries"]["stage"]["kind"] == "vanished", "the back-off")
        feed.release()
        a.wait(lambda: a.phase() == "finalized", "the second try")

    @t.case
    def _():
        """SIGTERM ends gybed at once and with 0, also while a job runs"""
        a, feed = t.world()
        feed.hold()
        a.start()
        assert feed.trickling.wait(30)
        begun = time.monotonic()
        assert a.stop() == 0 and time.monotonic() - begun < 5
        assert len(a.jobs()) == 1

    @t.case
    def _():
        """a newer release while one is staged is staged instead; while finalized it is not"""
        a, feed = t.world({**FULL, "automation": "stage"})
        a.start()
        a.wait(lambda: a.phase() == "staged", "staging")
        t.publish(feed.folder, "3.0.3")
        a.wait(lambda: a.journal().get("version") == "3.0.3" and a.phase() == "staged", "the newer one")
        assert "superseded" in a.events()
        # a person, past the agent; a check may be at work
        a.wait(lambda: gybe(a.host, "finalize", "--no-reboot", check=False).returncode in (0, 10), "finalize by hand")
        a.wait(lambda: a.said("finalized; next: reboot"), "the agent's look")
        a.host.write("/etc/gybe/policy.d/10-test.json", json.dumps(FULL))
        a.wait(lambda: "--no-reboot" in a.next(), "whose the reboot is")
        a.stays(lambda: not a.journal().get("rebootAsks"), "nobody reboots")

    @t.case
    def _():
        """an image that failed is not tried again, also not under another version; the next content is"""
        a, feed = t.world()
        a.start()
        a.wait(lambda: a.phase() == "finalized", "finalize")
        a.wait(lambda: a.journal().get("rebootAsks") == 1, "the reboot job")
        a.host.write("/etc/gybe/health.d/required.d/10-no", "#!/bin/sh\necho the kubelet is down; exit 1\n")
        a.host.path("/etc/gybe/health.d/required.d/10-no").chmod(0o755)
        r = a.reboot()
        assert r.returncode == 1 and "kubelet is down" in r.stdout, r.stdout
        a.start()       # in the slot that was given up: it asks for the reboot again, and for nothing else
        a.wait(lambda: a.said("(reboot) ended with 0"), "the reboot job")
        assert "stage" not in a.next()
        a.reboot()
        a.host.path("/etc/gybe/health.d/required.d/10-no").unlink()
        assert a.json("/run/gybe/status.json")["running"] == "a"
        a.start()
        a.wait(lambda: "in quarantine" in a.next() or "quarantine" in a.log().split("; next: ")[-1], "the quarantine")
        a.stays(lambda: a.phase() == "idle", "the quarantine", 4)
        # the same content under another name
        again = t.work / f"again-{t.n}" / "acl-3.0.2-again.cosi"
        again.parent.mkdir()
        shutil.copyfile(t.cosis["3.0.2"], again)
        sign(again, [t.keys / "release.pem"], "3.0.2-again", 1002 + 5)
        publish(feed.folder, t.keys, again)
        a.wait(lambda: a.memory().get("offer", {}).get("version") == "3.0.2-again", "the other name")
        a.stays(lambda: a.phase() == "idle", "the quarantine by content", 3)
        newer = t.work / f"newer-{t.n}" / "acl-3.0.3-newer.cosi"
        newer.parent.mkdir()
        shutil.copyfile(t.cosis["3.0.3"], newer)
        sign(newer, [t.keys / "release.pem"], "3.0.3", 1002 + 9)
        publish(feed.folder, t.keys, newer)
        a.wait(lambda: a.phase() == "finalized" and a.journal()["version"] == "3.0.3", "the repaired one")

    @t.case
    def _():
        """a feed that is down is asked again later and later; a reload asks at once"""
        a, feed = t.world(interval="1h")
        feed.down = True
        asked_long_ago(a)
        a.start()
        a.wait(lambda: a.memory().get("retries", {}).get("check", {}).get("kind") == "network", "the failure")
        feed.down = False
        a.stays(lambda: a.phase() == "idle", "the pause", 2)
        a.reload()
        a.wait(lambda: a.phase() == "finalized", "the update")

    @t.case
    def _():
        """a container that is not what was signed: refused, and not fetched again until another release is offered"""
        a, feed = t.world()
        p = feed.folder / "acl-3.0.2.cosi"
        data = bytearray(p.read_bytes())
        at = len(data) // 2
        data[at:at + 64] = bytes(b ^ 0x55 for b in data[at:at + 64])
        p.unlink()
        p.write_bytes(data)
        a.start()
        a.wait(lambda: a.memory().get("refused"), "the refusal")
        n = len([x for x in feed.asked if x.endswith(".cosi")])
        checks = feed.asked.count("/index.json")
        a.wait(lambda: feed.asked.count("/index.json") >= checks + 2, "two more checks")
        assert len([x for x in feed.asked if x.endswith(".cosi")]) == n, "it was fetched again"
        assert "refused" in a.next(), a.next()
        t.publish(feed.folder, "3.0.3")
        a.wait(lambda: a.phase() == "finalized" and a.journal()["version"] == "3.0.3", "another release")

    @t.case
    def _():
        """a reboot that never comes is asked for again, also by the next gybed"""
        a, _ = t.world()
        a.start()
        a.wait(lambda: a.journal().get("rebootAsks") == 1, "the reboot job")
        for again in (2, 6):      # a quarter of an hour is long in a test
            a.kill()
            past = {**a.journal(), "rebootAsks": again - 1, "rebootAskedAt": "2026-01-01T00:00:00Z"}
            a.host.write("/var/lib/gybe/journal.json", json.dumps(past))
            a.start()
            a.wait(lambda: a.journal().get("rebootAsks") == again, f"number {again}")
        told = [e for e in a.history() if e.get("reason") == "never-rebooted"]
        assert len(told) == 1 and "asked for 5 times" in told[0]["message"], told
        assert a.events().count("reboot-asked") == 1, a.events()
        a.stays(lambda: a.journal()["rebootAsks"] == 6, "six hours", 2)


if __name__ == "__main__":
    sys.exit(main())
