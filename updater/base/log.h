/* SPDX-License-Identifier: MIT */
#pragma once

/* Rooms never log: they return and fill a Why. Only update.c, control/ and the mains say something; log_debug is for
 * everybody and shows with GYBE_DEBUG=1. */

#include "base/mem.h"

void log_debug(const char *fmt, ...) _printf_(1, 2);
void log_notice(const char *fmt, ...) _printf_(1, 2);
void log_warning(const char *fmt, ...) _printf_(1, 2);
void log_quiet(bool quiet);
