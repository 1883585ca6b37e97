# SPDX-License-Identifier: MIT
"""Scenarios of the agent: a machine that is switched on and left alone.

gybed, its jobs, units, D-Bus and polkit are those of the package. The policy lets everything happen by itself; what a
scenario does is to publish a release, to break something, and to look. Nobody types a command that moves a slot.
"""

import datetime
import json
import random
import time

import machine as vm
from lab import SLOT_B_ENTRY, expect

FULL = {"automation": "full", "soak": "15s", "deadline": "8m"}
OFTEN = {"interval": "10s"}
SCENARIOS = []


def scenario(f):
    SCENARIOS.append(("agent-" + f.__name__.replace("_", "-"), f))
    return f


def window(before, after):
    """A daily window in UTC, from `before` minutes ago until in `after` minutes."""
    now = datetime.datetime.now(datetime.timezone.utc)
    text = [(now + datetime.timedelta(minutes=m)).strftime("%H:%M") for m in (-before, after)]
    return {"start": text[0], "end": text[1], "timezone": "UTC"}


def install(lab, *, policy=None, **more):
    lab.install_with_feed(policy={**FULL, **(policy or {})}, source=OFTEN, **more)


def next_step(lab):
    return lab.status()["next"]


def wait_next(lab, rule, timeout=240):
    """Until the next step waits for this rule; its sentence. None: until nothing is in the way."""
    for _ in range(timeout // 3):
        found = next_step(lab)
        if found.get("rule") == rule:
            return found.get("because", "")
        time.sleep(3)
    raise AssertionError(f"never waits for {rule}: {found}")


def wait_phase(lab, phase, timeout=400):
    lab.until(f"grep -q '\"phase\":\"{phase}\"' /var/lib/gybe/journal.json", timeout=timeout)


def told(lab, event, boots="-b"):
    """The system journal has this event, with a text of the catalog behind it."""
    said = lab.run(f"journalctl {boots} -q GYBE_EVENT={event} -o json --no-pager")[1].strip()
    expect(f"{event} in the journal", bool(said), True)
    text = lab.run(f"journalctl --update-catalog; journalctl {boots} -q -x GYBE_EVENT={event} --no-pager")[1]
    expect(f"{event} explained: {text}", "Documentation: man:gybe(1)" in text, True)
    return json.loads(said.splitlines()[-1])


def expect_end(lab, version, **wanted):
    """How it ended, by the loader, by gybe status and by what the loader would do next."""
    said = lab.settled()
    lab.until("test -e /run/gybe/status.json")
    expect(f"running, after: {said}", lab.version(), version)
    status = lab.status()
    expect(f"status, after: {said}\n{json.dumps(status, indent=1)}", {k: status.get(k) for k in wanted}, wanted)
    expect("one-shot", lab.variable("LoaderEntryOneShot"), None)
    expect("default", lab.default_entry(), lab.variable("LoaderEntrySelected"))
    return status


def by_itself(lab):
    """Every step of the walk was the agent's or the boot's."""
    steps = [e for e in lab.history() if e["event"] in ("staged", "finalized", "committed", "recovered", "health-failed")]
    expect("who", sorted({e.get("how") for e in steps} - {"agent", "boot"}), [])
    return [e["event"] for e in steps]


def comes_back(lab, reason, event):
    """Left alone until slot A runs again: its status."""
    lab.machine.wait_up()
    lab.arrives("1.0.0")
    status = expect_end(lab, "1.0.0", running="a", phase="idle", outcome="rolled-back", reason=reason)
    by_itself(lab)
    told(lab, event)
    expect("quarantine", "2.0.0" in lab.run("gybe quarantine list")[1], True)
    return status


# It goes well ----------------------------------------------------------------------------------------------------------

@scenario
def unattended(lab):
    """In its window, without a command; then pin, skip and hold each stop the next one, and unhold lets it go."""
    install(lab, policy={"windows": [window(90, 180)]})
    lab.publish("2.0.0", 2)
    lab.power_on(deadline=3000)
    lab.arrives("2.0.0")
    expect_end(lab, "2.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")
    expect("steps", by_itself(lab), ["staged", "finalized", "recovered", "committed"])
    expect("default", lab.default_entry(), SLOT_B_ENTRY)
    expect("explained", told(lab, "committed")["GYBE_VERSION"], "2.0.0")
    health = [e["health"] for e in lab.history() if e["event"] == "committed"][0]
    expect("soaked", health["watched"]["seconds"] >= 15 and health["compared"], True)
    expect("no failed units", lab.run("systemctl --failed --no-legend --plain")[1].strip(), "")
    print(lab.run("gybe status; gybe history")[1], flush=True)

    lab.run("gybe pin 2.0.0")
    lab.publish("3.0.0", 3)
    expect("pin", "pinned to 2.0.0" in wait_next(lab, "pin"), True)
    lab.run("gybe skip 3.0.0; gybe unpin")
    expect("skip", "3.0.0" in wait_next(lab, "skip"), True)
    lab.run("gybe hold --reason 'change freeze'; gybe unskip 3.0.0")
    expect("hold", "change freeze" in wait_next(lab, "hold"), True)
    expect("gybe status says so", "change freeze" in lab.run("gybe status")[1], True)
    expect("nothing moved", lab.status()["phase"], "idle")
    lab.run("gybe unhold")
    lab.arrives("3.0.0")
    expect_end(lab, "3.0.0", running="a", phase="idle", outcome="committed", reason="target-booted")


@scenario
def window_closes(lab):
    """The window closes while bytes still come: staged, and not finalized before it opens again."""
    install(lab, policy={"windows": [window(90, 60)]})
    lab.publish("2.0.0", 2)
    lab.server.pause = 1
    lab.start(deadline=2400)
    wait_phase(lab, "trusted")
    lab.run("date -s '+2 hours'")
    lab.server.pause = 0
    wait_phase(lab, "staged", timeout=600)
    expect("because", "window" in wait_next(lab, "window"), True)
    told(lab, "waiting")
    time.sleep(20)
    expect("phase", lab.status()["phase"], "staged")
    expect("one-shot", lab.variable("LoaderEntryOneShot"), None)
    expect("gybe status says so", "window" in lab.run("gybe status")[1], True)
    lab.run("date -s '+22 hours'")
    lab.arrives("2.0.0")
    expect_end(lab, "2.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")


@scenario
def local_verdict(lab):
    """A required check that failed before the update is told and does not decide; and after the flip there is neither network
    nor feed, which decides nothing either."""
    install(lab, root_changes={"etc/gybe/health.d/required.d/10-broken": "#!/bin/sh\necho broken since May\nexit 1\n"})
    lab.publish("2.0.0", 2)
    lab.power_on(deadline=1800)
    lab.machine.wait_up()
    lab.machine.wait_line("reboot: Restarting system", timeout=900)
    lab.unplug()
    lab.arrives("2.0.0")
    expect_end(lab, "2.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")
    health = [e["health"] for e in lab.history() if e["event"] == "committed"][0]
    expect("told", [f["weight"] for f in health["findings"] if "10-broken" in f["what"]], ["before"])
    expect("the machine is alone", lab.run("ip route get 10.0.2.2 && ip link show eth0 | grep -q LOWER_UP", check=False)[0] != 0, True)
    print(lab.run("gybe status; gybe history")[1], flush=True)


# It does not -----------------------------------------------------------------------------------------------------------

def unit(text, wanted_by="multi-user.target"):
    """A unit in /etc that both slots start, and the program of it that lies in /usr."""
    return {"etc/systemd/system/lab-unit.service": f"[Unit]\nDescription=A workload\nStartLimitIntervalSec=0\n[Service]\n{text}\n",
            f"etc/systemd/system/{wanted_by}.d/lab.conf": "[Unit]\nWants=lab-unit.service\n"}


@scenario
def unit_fails(lab):
    """A required unit fails in the new slot; then the same bytes are offered under another version number."""
    install(lab, health={"units": ["lab-unit.service"], "timeout": "30s"},
            root_changes=unit("Type=oneshot\nRemainAfterExit=yes\nExecStart=/usr/libexec/lab-unit"),
            usr_changes={"usr/libexec/lab-unit": "#!/bin/sh\nexit 0\n"})
    bad = lab.publish("2.0.0", 2, usr_changes={"usr/libexec/lab-unit": "#!/bin/sh\necho no such database\nexit 1\n"})
    lab.power_on(deadline=2400)
    status = comes_back(lab, "health-fallback", "health-fallback")
    expect("one sentence", "lab-unit.service" in status["message"], True)
    print(lab.run("gybe status; gybe history; gybe quarantine; journalctl -b -q -x --no-pager GYBE_EVENT=health-fallback")[1],
          flush=True)
    lab.offer_again(bad, "2.0.1", 3)
    expect("quarantined by content", "quarantine" in wait_next(lab, "quarantine"), True)
    told(lab, "refused-quarantine")
    expect("phase", lab.status()["phase"], "idle")


@scenario
def unit_restarts(lab):
    """A unit that goes into a restart loop only after 20 seconds: the soak catches it."""
    loop = "#!/bin/sh\n[ -e /run/lab-ran ] && { sleep 1; exit 1; }\n>/run/lab-ran\nsleep 20\nexit 1\n"
    install(lab, policy={"soak": "90s"}, root_changes=unit("Restart=always\nRestartSec=1\nExecStart=/usr/libexec/lab-unit"),
            usr_changes={"usr/libexec/lab-unit": "#!/bin/sh\nexec sleep infinity\n"})
    lab.publish("2.0.0", 2, usr_changes={"usr/libexec/lab-unit": loop})
    lab.power_on(deadline=2400)
    status = comes_back(lab, "health-fallback", "health-fallback")
    expect("one sentence", "lab-unit.service" in status["message"], True)


@scenario
def hangs_early(lab):
    """The new slot hangs after switch-root, before gybed or anything of ours: the deadline in /etc ends it."""
    install(lab, policy={"deadline": "90s", "soak": "5s"})
    lab.publish("2.0.0", 2, usr_changes={
        "usr/lib/systemd/system/lab-hang.service": "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\n[Service]\n"
                                                   "Type=oneshot\nExecStart=/usr/bin/sleep infinity\n",
        "usr/lib/systemd/system/sysinit.target.d/lab.conf": "[Unit]\nRequires=lab-hang.service\nAfter=lab-hang.service\n"})
    lab.power_on(deadline=2400)
    status = comes_back(lab, "deadline", "deadline")
    expect(f"what waited: {status['failure']}", "lab-hang" in lab.run("cat /var/lib/gybe/evidence/*")[1], True)
    print(lab.run("gybe status; gybe history")[1], flush=True)


@scenario
def initrd_hangs(lab):
    """The slot's addon is lost after it was proved, so the initrd waits for a /usr that never comes: with one attempt the image
    is given up. A watchdog is there; what ends it is the signed command line, as systemd is well."""
    install(lab, policy={"automation": "finalize", "attempts": 1})
    lab.publish("2.0.0", 2)
    lab.start(deadline=2400)
    wait_phase(lab, "finalized", timeout=600)
    wait_next(lab, "automation")
    lab.run(f"rm /boot/EFI/Linux/{SLOT_B_ENTRY}.extra.d/slot-b.addon.efi; sync -f /boot")
    lab.restart()
    lab.arrives("1.0.0")
    status = expect_end(lab, "1.0.0", running="a", phase="idle", outcome="rolled-back", reason="firmware-fallback")
    print(lab.run("gybe status; gybe history")[1], flush=True)
    told(lab, "firmware-fallback")
    expect("kernels started", "\n".join(lab.machine.lines).count("EFI stub: Loaded initrd"), 3)
    expect("one sentence", bool(status["failure"]["cause"]), True)
    expect("quarantine", "2.0.0" in lab.run("gybe quarantine list")[1], True)


@scenario
def gybed_missing(lab):
    """gybed is not in the new slot: a slot that could not update itself any more is not kept."""
    install(lab)
    lab.publish("2.0.0", 2, usr_changes={"usr/libexec/gybe/gybed": None})
    lab.power_on(deadline=2400)
    status = comes_back(lab, "health-fallback", "health-fallback")
    expect("one sentence", "gybed" in status["message"], True)


@scenario
def gybed_crashes(lab):
    """gybed crashes in the new slot, again and again."""
    install(lab, policy={"soak": "60s"})
    lab.publish("2.0.0", 2, usr_changes={"usr/libexec/gybe/gybed": "#!/bin/sh\nsleep 1\nkill -SEGV $$\n"})
    lab.power_on(deadline=2400)
    status = comes_back(lab, "health-fallback", "health-fallback")
    expect("one sentence", "gybed" in status["message"], True)


@scenario
def reboot_inhibited(lab):
    """Somebody holds the reboot up for ever: it stays where it is and says who; when the lock is gone it goes on."""
    install(lab)
    lab.start(deadline=2400)
    lab.run("systemd-run --quiet --unit=lab-inhibit systemd-inhibit --what=shutdown --mode=block --who=lab --why='a long job' "
            "sleep infinity")
    lab.publish("2.0.0", 2)
    wait_phase(lab, "finalized", timeout=600)
    expect("who", "a long job" in wait_next(lab, "retry"), True)
    told(lab, "reboot-inhibited")
    for _ in range(8):      # a quarter of an hour each time
        lab.run("date -s '+20 minutes'")
        time.sleep(15)
        if "never-rebooted" in json.dumps(lab.history()):
            break
    expect("still here", lab.version(), "1.0.0")
    told(lab, "never-rebooted")
    expect("problem", "reboot-missing" in [p["code"] for p in lab.status()["problems"]], True)
    print(lab.run("gybe status")[1], flush=True)
    lab.run("systemctl stop lab-inhibit; date -s '+7 hours'")
    lab.arrives("2.0.0")
    expect_end(lab, "2.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")


@scenario
def power_cut(lab):
    """The plug is pulled in the first boot of the new slot: tried again by itself, and kept."""
    install(lab)
    lab.publish("2.0.0", 2)
    lab.power_on(deadline=900)
    lab.machine.wait_up()
    lab.machine.wait_line("reboot: Restarting system", timeout=700)
    lab.machine.wait_line("EFI stub: Loaded initrd", timeout=120)
    time.sleep(random.uniform(1, 20))
    lab.cut()
    lab.power_on(deadline=1800)
    lab.arrives("2.0.0")
    expect_end(lab, "2.0.0", running="b", phase="idle", outcome="committed", reason="target-booted")
    expect("attempts", [e["attempt"] for e in lab.history() if e["event"] == "finalized"], [1, 2])
    told(lab, "power-loss-retry", boots="")
