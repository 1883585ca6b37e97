/* SPDX-License-Identifier: MIT */
#pragma once

/* For systemd*.c alone: the system bus, opened for one question. */

#include "base/env.h"

#include <systemd/sd-bus.h>

void systemd_bus_closep(sd_bus **bus);

/* -ENOSYS (code "no-systemd"): no bus is there, or this host must not ask one. */
int systemd_bus_open(const Env *env, sd_bus **ret, Why *why);

/* Sentences of others, cut where no character ends up in halves. */
void systemd_quote(char *out, size_t size, const char *text);

/* A call that was answered with an error, or with nothing. what begins the sentence. -ENOSYS where nobody serves the name. */
int systemd_bus_failed(int r, const sd_bus_error *error, const char *what, Why *why);
