/* SPDX-License-Identifier: MIT */

#include "base/log.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

static bool quiet_mode;

static void _printf_(2, 0) emit(const char *prefix, const char *fmt, va_list ap)
{
        char line[1024];

        (void) vsnprintf(line, sizeof(line), fmt, ap);
        for (char *p = line; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
        (void) fprintf(stderr, "gybe: %s%s\n", prefix, line);
}

void log_debug(const char *fmt, ...)
{
        va_list ap;

        if (!getenv("GYBE_DEBUG"))
                return;
        va_start(ap, fmt);
        emit("debug: ", fmt, ap);
        va_end(ap);
}

void log_notice(const char *fmt, ...)
{
        va_list ap;

        if (quiet_mode)
                return;
        va_start(ap, fmt);
        emit("", fmt, ap);
        va_end(ap);
}

void log_warning(const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        emit("warning: ", fmt, ap);
        va_end(ap);
}

void log_failure(const Why *why, int r)
{
        (void) fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name,
                       why->text[0] ? why->text : strerror(-r), why->hint[0] ? "; " : "", why->hint);
}

void log_quiet(bool quiet)
{
        quiet_mode = quiet;
}

/* --- the journal --- */

/* NAME=text for a line, NAME, a length and the bytes for what has line breaks. */
static void add_field(Bytes *entry, const char *name, const char *value, bool *failed)
{
        size_t size = value ? strnlen(value, LOG_VALUE_MAX) : 0;
        bool lines = value && memchr(value, '\n', size);
        uint8_t length[8];

        if (!value)
                return;
        for (size_t i = 0; i < sizeof(length); i++)
                length[i] = (uint8_t) ((uint64_t) size >> (8 * i));
        *failed |= bytes_append(entry, name, strlen(name)) < 0 ||
                   bytes_append(entry, lines ? "\n" : "=", 1) < 0 ||
                   (lines && bytes_append(entry, length, sizeof(length)) < 0) ||
                   bytes_append(entry, value, size) < 0 || bytes_append(entry, "\n", 1) < 0;
}

static int send_entry(const Env *env, const Bytes *entry)
{
        _cleanup_(close_fdp) int where = env_open_path(env, JOURNAL_SOCKET, O_PATH, 0), fd = -1;
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (where < 0)
                return where;
        /* through the descriptor, so that a root folder's link cannot lead to the real journal */
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%i", where);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        return sendto(fd, entry->data, entry->size, MSG_NOSIGNAL | MSG_DONTWAIT,
                      (const struct sockaddr *) &address, sizeof(address)) < 0
                       ? -errno
                       : 0;
}

void log_event(const Env *env, const char *message_id, unsigned priority, const char *message,
               const LogField *fields, size_t n_fields)
{
        _cleanup_(bytes_done) Bytes entry = BYTES_NULL;
        char number[] = { (char) ('0' + priority % 8), 0 };
        bool failed = false;
        int r;

        add_field(&entry, "MESSAGE", message, &failed);
        add_field(&entry, "MESSAGE_ID", message_id, &failed);
        add_field(&entry, "PRIORITY", number, &failed);
        add_field(&entry, "SYSLOG_IDENTIFIER", program_invocation_short_name, &failed);
        for (size_t i = 0; i < n_fields; i++)
                add_field(&entry, fields[i].name, fields[i].value, &failed);
        r = failed ? -ENOMEM : send_entry(env, &entry);
        if (r < 0 && env_is_real(env))
                log_notice("%s", message);
}
