/* SPDX-License-Identifier: MIT */
#pragma once

/* Between the files of the client: calls (remote.c), following a job (remote-watch.c), asking for a password
 * (remote-password.c). */

#include "control/remote.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#define REMOTE_NAME      "org.gybe.Update1"
#define REMOTE_PATH      "/org/gybe/Update1"
#define REMOTE_INTERFACE "org.gybe.Update1.Manager"

struct Remote {
        sd_event *event;
        sd_bus *bus;
        int password_agent; /* a process; 0 none */
        bool interrupted;
        int shutdown_fd; /* logind's lock; -1 none */
};

int remote_message(Remote *remote, const char *member, sd_bus_message **ret, Why *why);
/* Takes m, sends it and waits for the answer, while signals of the bus are taken in. -EINTR with an empty Why: the person has
 * enough. */
int remote_call(Remote *remote, sd_bus_message *m, sd_bus_message **ret, Why *why);
int remote_broken(int r, Why *why);
/* What an error of the interface means, by its name on the bus. false: it is none of gybed's, so gybed is not there for us. */
bool remote_error(const char *name, WhyKind *ret_kind, const char **ret_code);

/* On a terminal polkit may ask who sits there; a text agent of polkit's own is started for that, and ends with us. */
bool remote_start_password_agent(Remote *remote);
void remote_stop_password_agent(Remote *remote);
