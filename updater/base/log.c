/* SPDX-License-Identifier: MIT */

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

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

void log_quiet(bool quiet)
{
        quiet_mode = quiet;
}
