/* SPDX-License-Identifier: MIT */

/* gybe diff: the two slots side by side, what is equal left out. */

#include "cli.h"
#include "slot-diff.h"
#include "base/str.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>

#define DIGEST_SHOWN 16u /* digits; --json has all of them */
#define COLUMN_MIN   20
#define COLUMN_MAX   44 /* what is longer stands out */

/* What came from the ESP may be anything: a terminal gets neither control characters nor halves of others. */
static char *plain(const char *text)
{
        char *copy = strdup(text ? text : "-");

        if (!copy)
                return NULL;
        utf8_repair(copy);
        for (char *p = copy; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
                else if ((unsigned char) p[0] == 0xc2 && (unsigned char) p[1] < 0xa0) /* C1 */
                        p[0] = p[1] = '?';
        return copy;
}

static char *short_digests(const char *list)
{
        Str s = STR_NULL;

        for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',') {
                size_t n = strcspn(p, ",");

                str_add(&s, p == list ? "" : ",");
                str_addn(&s, p, MIN(n, (size_t) DIGEST_SHOWN));
        }
        return str_take(&s);
}

static char *shown(SlotFactKind kind, const char *value)
{
        _cleanup_(free_charp) char *digests = NULL;
        char size[SIZE_TEXT_SIZE];
        uint64_t n;

        if (value && kind == SLOT_FACT_DIGESTS) {
                digests = short_digests(value);
                return digests ? plain(digests) : NULL;
        }
        if (value && kind == SLOT_FACT_SIZE && parse_u64(value, &n) >= 0) {
                format_size(n, size);
                return strdup(size);
        }
        return plain(value);
}

/* --- table --- */

typedef struct Row {
        char *label, *running, *other;
} Row;

typedef struct Table {
        Row *rows;
        size_t n;
        int label, column; /* widths */
} Table;

static void table_done(Table *t)
{
        for (size_t i = 0; i < t->n; i++) {
                free(t->rows[i].label);
                free(t->rows[i].running);
                free(t->rows[i].other);
        }
        free(t->rows);
}

static int add_row(Table *t, const char *prefix, const char *label, SlotFactKind kind, const Json *values)
{
        _cleanup_(free_charp) char *name = plain(label);
        Row *more = realloc(t->rows, (t->n + 1) * sizeof(*more)), *row;

        if (!more)
                return -ENOMEM;
        t->rows = more;
        row = &more[t->n++];
        *row = (Row){ .label = name ? str_printf("%s%s", prefix, name) : NULL,
                      .running = shown(kind, json_get_str(values, "running")),
                      .other = shown(kind, json_get_str(values, "other")) };
        if (!row->label || !row->running || !row->other)
                return -ENOMEM;
        t->label = MAX(t->label, (int) MIN(strlen(row->label), (size_t) COLUMN_MAX));
        t->column = MAX(t->column, (int) MIN(strlen(row->running), (size_t) COLUMN_MAX));
        return 0;
}

static int fill_table(const Json *differs, bool same, Table *t)
{
        int r = 0;

        json_foreach (f, json_get(differs, "facts")) {
                const char *name = json_get_str(f, "name");
                const SlotFact *fact = name ? slot_fact_find(name) : NULL;

                if (r >= 0 && fact)
                        r = add_row(t, "", fact->label, fact->kind, f);
        }
        if (same)
                return r; /* the addon that names the slot is all there can be */
        json_foreach (f, json_get(differs, "files"))
                if (r >= 0)
                        r = add_row(t, "addon ", json_get_str(f, "name"), SLOT_FACT_DIGESTS, f);
        return r;
}

static void print_table(Cli *cli, const Table *t)
{
        cli_say(cli, "%-*s  %-*s  %s", t->label, "", t->column, "running", "other");
        for (size_t i = 0; i < t->n; i++)
                cli_say(cli, "%-*s  %-*s  %s", t->label, t->rows[i].label, t->column, t->rows[i].running,
                        t->rows[i].other);
}

/* --- what has no columns --- */

static int print_words(Cli *cli, const Json *words, const char *title)
{
        if (json_len(words) > 0)
                cli_say(cli, "\n%s", title);
        json_foreach (w, words) {
                _cleanup_(free_charp) char *word = plain(json_str(w));

                if (!word)
                        return -ENOMEM;
                cli_say(cli, "  %s", word);
        }
        return 0;
}

static int print_not_as_recorded(Cli *cli, const Json *side)
{
        const char *slot = json_get_str(side, "slot"), *where = json_get_str(side, "recordedIn");
        const Json *list = json_get(side, "notAsRecorded");

        if (json_len(list) > 0)
                cli_say(cli,
                        "\nSlot %s: on the ESP there is something else than %s recorded:", slot ? slot : "?",
                        streq0(where, "journal") ? "journal.json has" : "trust.json has");
        json_foreach (f, list) {
                _cleanup_(free_charp) char *name = plain(json_get_str(f, "name"));
                const char *was = json_get_str(f, "recorded"), *is = json_get_str(f, "found");

                if (!name)
                        return -ENOMEM;
                cli_say(cli, "  %s  recorded %.16s  found %.16s", name, was ? was : "-", is ? is : "-");
        }
        return 0;
}

static int tell(Cli *cli, const Json *diff)
{
        const Json *differs = json_get(diff, "differs"), *cmdline = json_get(differs, "cmdline");
        _cleanup_(table_done) Table t = { .column = COLUMN_MIN };
        bool same = false;
        int r;

        (void) json_get_bool(diff, "same", &same);
        r = fill_table(differs, same, &t);
        if (r < 0)
                return r;
        print_table(cli, &t);
        if (same)
                cli_say(cli, "\nnothing differs");
        else if ((r = print_words(cli, json_get(cmdline, "running"),
                                  "kernel command line, only what runs has:")) < 0 ||
                 (r = print_words(cli, json_get(cmdline, "other"),
                                  "kernel command line, only the other has:")) < 0)
                return r;
        if ((r = print_not_as_recorded(cli, json_get(diff, "running"))) < 0 ||
            (r = print_not_as_recorded(cli, json_get(diff, "other"))) < 0)
                return r;
        json_foreach (p, json_get(diff, "problems")) {
                _cleanup_(free_charp) char *text = plain(json_get_str(p, "message"));

                cli_say(cli, "\n%s", text ? text : "");
        }
        return 0;
}

int verb_diff(Cli *cli, Why *why)
{
        _cleanup_(host_done) Host host = { 0 };
        _cleanup_(json_unrefp) Json *diff = NULL;
        int r = host_open(&cli->env, cli->disk, &host, why);

        if (r < 0 || (r = host_foresee(&host, why)) < 0 || (r = slot_diff(&host, &diff, why)) < 0)
                return r;
        return cli->json ? cli_print(cli, diff) : tell(cli, diff);
}
