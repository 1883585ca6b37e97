/* SPDX-License-Identifier: MIT */

#include "base/why.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
        const char *name;
        int exit_code;
} kinds[_WHY_MAX] = {
        [WHY_NONE] = { "failed", 1 }, [WHY_NETWORK] = { "network", 1 }, [WHY_HOST] = { "host", 1 },
        [WHY_IMAGE] = { "image", 1 }, [WHY_TRUST] = { "trust", 4 },     [WHY_POLICY] = { "policy", 3 },
        [WHY_BUSY] = { "busy", 5 },   [WHY_USAGE] = { "usage", 2 },     [WHY_NOTHING] = { "nothing", 10 },
};

const char *why_kind_name(WhyKind kind)
{
        return (unsigned) kind < _WHY_MAX ? kinds[kind].name : kinds[WHY_NONE].name;
}

int why_exit_code(const Why *why)
{
        return (unsigned) why->kind < _WHY_MAX ? kinds[why->kind].exit_code : 1;
}

WhyKind why_kind_from_name(const char *name)
{
        for (WhyKind k = WHY_NONE + 1; k < _WHY_MAX; k++)
                if (strcmp(kinds[k].name, name) == 0)
                        return k;
        return WHY_HOST;
}

/* Several kinds are exit 1: the host's, whom somebody has to look after. */
WhyKind why_kind_from_exit(int exit_code)
{
        for (WhyKind k = WHY_NONE + 1; k < _WHY_MAX; k++)
                if (kinds[k].exit_code == exit_code && exit_code != 1)
                        return k;
        return WHY_HOST;
}

/* Sentences carry bytes from outside (URLs, labels, file names). One line, no terminal control: */
static void make_printable(char *text)
{
        for (char *p = text; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
}

int fail(Why *why, int r, WhyKind kind, const char *code, const char *fmt, ...)
{
        va_list ap;

        if (!why || why->kind != WHY_NONE)
                return r;
        why->kind = kind;
        (void) snprintf(why->code, sizeof(why->code), "%s", code);
        va_start(ap, fmt);
        (void) vsnprintf(why->text, sizeof(why->text), fmt, ap);
        va_end(ap);
        make_printable(why->text);
        return r;
}

int fail_hint(Why *why, int r, const char *fmt, ...)
{
        va_list ap;

        if (!why || why->hint[0])
                return r;
        va_start(ap, fmt);
        (void) vsnprintf(why->hint, sizeof(why->hint), fmt, ap);
        va_end(ap);
        make_printable(why->hint);
        return r;
}

int fail_errno(Why *why, int r, WhyKind kind, const char *fmt, ...)
{
        char what[480];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(what, sizeof(what), fmt, ap);
        va_end(ap);
        return fail(why, r, kind,
                    r == -ENOSPC   ? "no-space"
                    : r == -ENOMEM ? "no-memory"
                                   : "system",
                    "%s: %s", what, strerror(-r));
}
