#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A caller who means no good: argument N, then N times each of several calls that org.gybe.Update1 must refuse, many of them at
once. Ends with 0 when each was answered with an error."""

import sys

import dbus
import dbus.lowlevel

NAME, PATH, INTERFACE = "org.gybe.Update1", "/org/gybe/Update1", "org.gybe.Update1.Manager"
MANY = dbus.Dictionary({f"option{i}": "x" * 1000 for i in range(1000)}, signature="sv")    # a megabyte
CALLS = [
    ("Stage", "a{sv}", [dbus.Dictionary({"version": "y" * 100000}, signature="sv")]),
    ("Stage", "a{sv}", [MANY]),
    ("Pin", "s", ["z" * 1000000]),
    ("Unpin", "", []),
]


def main(rounds):
    bus = dbus.SystemBus()
    answered = []
    for i in range(rounds):
        member, signature, args = CALLS[i % len(CALLS)]
        m = dbus.lowlevel.MethodCallMessage(NAME, PATH, INTERFACE, member)
        m.append(*args, signature=signature)
        try:
            bus.send_message_with_reply_and_block(m, 60)
        except dbus.DBusException as e:
            answered.append(e.get_dbus_name())
    for i in range(rounds * 3):    # nobody waits for these
        m = dbus.lowlevel.MethodCallMessage(NAME, PATH, INTERFACE, "Unpin")
        bus.send_message(m)
    bus.flush()
    assert len(answered) == rounds, f"{rounds - len(answered)} calls were not refused"


main(int(sys.argv[1]))
