/* SPDX-License-Identifier: MIT */
#pragma once

/* Rooms never log: they return and fill a Why. Only update.c, control/ and the mains say something; log_debug is for
 * everybody and shows with GYBE_DEBUG=1. */

#include "base/env.h"

void log_debug(const char *fmt, ...) _printf_(1, 2);
void log_notice(const char *fmt, ...) _printf_(1, 2);
void log_warning(const char *fmt, ...) _printf_(1, 2);
/* What ends a program: the sentence and what now, or what the error number means. */
void log_failure(const Why *why, int r);
void log_quiet(bool quiet);

/* One field of a journal entry: an upper-case name and any text. A NULL value is left out. */
typedef struct LogField {
        const char *name, *value;
} LogField;

#define LOG_VALUE_MAX (4u * 1024u) /* a message with its cause; longer texts are in files and in history */

/* One entry in the journal's own protocol, for what people and programs look up by MESSAGE_ID. Never fails and never waits: a
 * verdict does not depend on a log. Where no journal listens the message goes to stderr, and in a host made of files nowhere:
 * there the caller tells. */
void log_event(const Env *env, const char *message_id, unsigned priority, const char *message,
               const LogField *fields, size_t n_fields);
