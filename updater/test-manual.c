/* SPDX-License-Identifier: MIT */

/* The tables of the manual against the program: recovery's rows (which scenario, which reason, what then) and events.
 * `test-manual --print` writes the tables as units/man/gybe.1 has to hold them. */

#include "base/file.h"
#include "base/str.h"
#include "control/event.h"
#include "state/state.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#define PAGE_MAX (256u * 1024u)

/* roff takes a hyphen for a place to break; in a word that people search for it is a minus. */
static void add_word(Str *s, const char *word)
{
        for (; *word; word++)
                str_addf(s, *word == '-' ? "\\-" : "%c", *word);
}

static void add_consequence(Str *s, const Recovery *r)
{
        add_word(s, phase_name(r->phase));
        if (r->close) {
                str_add(s, ", ");
                add_word(s, outcome_name(r->outcome));
        }
        if (r->quarantine)
                str_add(s, ", quarantined");
        if (r->retry)
                str_add(s, ", tried again");
}

/* Rows that differ only in what leads to them. */
static bool told_before(size_t n, const Recovery *r)
{
        Recovery other;

        for (size_t i = 0; i < n && recovery_row(i, &other); i++)
                if (other.reason == r->reason && other.phase == r->phase && other.outcome == r->outcome &&
                    other.quarantine == r->quarantine && other.retry == r->retry &&
                    streq(other.means, r->means))
                        return true;
        return false;
}

/* reason, then, scenario; rows in which nothing is unusual have no reason and are left out */
static char *recovery_table(void)
{
        Str s = STR_NULL;
        Recovery r;

        for (size_t i = 0; recovery_row(i, &r); i++) {
                if (r.reason == REASON_NONE || told_before(i, &r))
                        continue;
                add_word(&s, reason_name(r.reason));
                str_add(&s, "\tT{\n");
                add_consequence(&s, &r);
                str_add(&s, "\nT}\tT{\n");
                add_word(&s, r.means);
                str_add(&s, "\nT}\n");
        }
        return str_take(&s);
}

static char *event_table(void)
{
        Str s = STR_NULL;

        for (Event e = 0; e < _EVENT_MAX; e++) {
                add_word(&s, event_name(e));
                str_addf(&s, "\t%s\n", event_message_id(e));
        }
        return str_take(&s);
}

static void check(const char *page, const char *name, const char *expect)
{
        _cleanup_(free_charp) char *begin = str_printf(".\\\" BEGIN %s\n", name),
                                   *end = str_printf(".\\\" END %s\n", name);
        const char *from = strstr(page, begin), *to = from ? strstr(from, end) : NULL;

        assert(from && to);
        from += strlen(begin);
        if ((size_t) (to - from) != strlen(expect) || strncmp(from, expect, strlen(expect)) != 0) {
                fprintf(stderr, "units/man/gybe.1: the table \"%s\" is not the program's. It has to be:\n%s",
                        name, expect);
                abort();
        }
}

int main(int argc, char *argv[])
{
        _cleanup_(free_charp) char *recovery = recovery_table(), *events = event_table();
        _cleanup_(bytes_done) Bytes page = BYTES_NULL;

        assert(recovery && events);
        if (argc > 1 && streq(argv[1], "--print")) {
                printf(".\\\" BEGIN recovery\n%s.\\\" END recovery\n", recovery);
                printf(".\\\" BEGIN events\n%s.\\\" END events\n", events);
                return 0;
        }
        assert(file_read(AT_FDCWD, GYBE_SOURCE_DIR "/units/man/gybe.1", PAGE_MAX, &page) >= 0);
        check((const char *) page.data, "recovery", recovery);
        check((const char *) page.data, "events", events);
        return 0;
}
