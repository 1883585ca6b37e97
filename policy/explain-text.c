/* SPDX-License-Identifier: MIT */

/* The explanation for a terminal of 80 columns: a row for each rule, then the three doors with their sentences. */

#include "base/str.h"
#include "policy/policy.h"

#include <stdio.h>

#define WIDTH  80u
#define FROM   15u
#define INDENT 11u /* of the doors' sentences */

/* Columns of a text, one for each character: what operators write into rules is rarely wider. */
static size_t columns(const char *s)
{
        size_t n = 0;

        for (; *s; s++)
                n += ((unsigned char) *s & 0xc0) != 0x80;
        return n;
}

/* Padded, or cut with "..." in the last columns. */
static void add_cell(Str *out, const char *s, size_t width)
{
        size_t n = columns(s), keep = n > width ? width - 3 : n;
        const char *p = s;

        for (size_t k = 0; *p; p++) {
                if (((unsigned char) *p & 0xc0) != 0x80 && k++ == keep)
                        break;
        }
        str_addn(out, s, (size_t) (p - s));
        if (n > width)
                str_add(out, "...");
        for (; n < width; n++)
                str_add(out, " ");
}

/* "/etc/gybe/policy.d/90-operator.json" is "etc/90-operator" here; the document has it whole. */
static char *short_source(const char *source)
{
        const char *name = strrchr(source, '/');
        size_t n = name ? strlen(name + 1) : 0;

        if (!name || *source != '/')
                return strdup(source);
        if (str_ends(name, ".json"))
                n -= strlen(".json");
        return str_printf("%.*s/%.*s", (int) strcspn(source + 1, "/"), source + 1, (int) n, name + 1);
}

static void add_window(Str *out, const Json *w)
{
        const char *start = json_get_str(w, "start"), *end = json_get_str(w, "end"),
                   *zone = json_get_str(w, "timezone"), *city = zone ? strrchr(zone, '/') : NULL;
        const Json *days = json_get(w, "days");

        for (size_t i = 0; i < json_len(days) && json_len(days) < 7; i++) {
                const char *day = json_str(json_at(days, i));
                str_addf(out, "%s%s", i > 0 ? "," : "", day ? day : "?");
        }
        if (json_len(days) == 7)
                str_add(out, "daily");
        str_addf(out, " %s-%s %s", start ? start : "?", end ? end : "?", city ? city + 1 : zone ? zone : "?");
}

/* Until when is told by the column beside it. */
static void add_hold(Str *out, const Json *hold)
{
        const char *by = json_get_str(hold, "by"), *reason = json_get_str(hold, "reason");

        str_addf(out, "%s%s%s%s", by ? "by " : "", by ? by : "", by && reason ? ": " : "",
                 reason ? reason : "");
        if (!by && !reason)
                str_add(out, json_get(hold, "until") ? "held" : "held for now");
}

static char *value_text(const char *rule, const Json *value)
{
        Str out = STR_NULL;
        uint64_t n = 0;

        if (streq0(json_str(value), "0s"))
                str_add(&out, "-");
        else if (json_str(value))
                str_add(&out,
                        streq(rule, "policy-file") ? "a file was left out, see below" : json_str(value));
        else if (streq(rule, "rollout")) {
                const char *ramp = json_get_str(value, "ramp");

                (void) json_get_u64(value, "percent", &n);
                str_addf(&out, "%llu %%", (unsigned long long) n);
                if (ramp && !streq(ramp, "0s"))
                        str_addf(&out, " over %s", ramp);
        } else if (streq(rule, "hold") && value)
                add_hold(&out, value);
        else
                for (size_t i = 0; i < json_len(value); i++) {
                        if (i > 0)
                                str_add(&out, ", ");
                        if (json_str(json_at(value, i)))
                                str_add(&out, json_str(json_at(value, i)));
                        else
                                add_window(&out, json_at(value, i));
                }
        if (out.size == 0)
                str_add(&out, streq(rule, "policy-file") ? "all files were read" : "-");
        return str_take(&out);
}

/* "2026-11-07 21:00Z": rules are written in minutes; a turn in a ramp is told to the second by its door. */
static void short_time(const char *time, char ret[18])
{
        ret[0] = 0;
        if (time && strlen(time) == TIME_TEXT_SIZE - 1)
                (void) snprintf(ret, 18, "%.10s %.5sZ", time, time + 11);
}

static void add_rule(Str *out, const Json *r)
{
        const char *rule = json_get_str(r, "rule"), *verdict = json_get_str(r, "verdict"),
                   *source = json_get_str(r, "source");
        _cleanup_(free_charp) char *value = value_text(rule ? rule : "", json_get(r, "value"));
        _cleanup_(free_charp) char *from = source ? short_source(source) : strdup("");
        Str line = STR_NULL;
        char changes[18];
        size_t n;

        short_time(json_get_str(r, "changes"), changes);
        str_add(&line, " ");
        add_cell(&line, verdict ? verdict : "?", 5);
        str_add(&line, " ");
        add_cell(&line, rule ? rule : "?", 11);
        str_add(&line, " ");
        add_cell(&line, value ? value : "", WIDTH - 1 - 5 - 1 - 11 - 1 - 1 - 17 - 1 - FROM);
        str_add(&line, " ");
        add_cell(&line, changes[0] ? changes : "-", 17);
        str_add(&line, " ");
        add_cell(&line, from ? from : "", FROM);
        for (n = line.text ? line.size : 0; n > 0 && line.text[n - 1] == ' ';)
                n--;
        str_addn(out, line.text ? line.text : "", n);
        str_add(out, "\n");
        str_done(&line);
}

/* Words, broken before the last column. */
static void add_wrapped(Str *out, const char *text, size_t at, size_t indent)
{
        while (*text) {
                size_t n = strcspn(text, " "), width = 0;

                for (size_t i = 0; i < n; i++)
                        width += ((unsigned char) text[i] & 0xc0) != 0x80;
                if (at > indent && at + 1 + width > WIDTH) {
                        str_addf(out, "\n%*s", (int) indent, "");
                        at = indent;
                } else if (at > indent) {
                        str_add(out, " ");
                        at++;
                }
                str_addn(out, text, n);
                at += width;
                text += n;
                text += strspn(text, " ");
        }
        str_add(out, "\n");
}

static int add_door(void *ctx, const char *door, const Json *d)
{
        const char *answer = json_get_str(d, "answer"), *until = json_get_str(d, "until"),
                   *because = json_get_str(d, "because");
        _cleanup_(free_charp) char *text =
                str_printf("%s%s%s%s%s", answer ? answer : "?", until ? " until " : "", until ? until : "",
                           because ? ": " : "", because ? because : "");
        Str *out = ctx;

        str_addf(out, " %-*s", (int) INDENT - 1, door);
        add_wrapped(out, text ? text : "", INDENT, INDENT);
        return 0;
}

char *policy_explain_text(const Json *e)
{
        const char *at = json_get_str(e, "at"), *next = json_get_str(e, "nextChange"),
                   *version = json_get_str(json_get(e, "subject"), "version");
        Str out = STR_NULL;

        str_addf(&out, " At %s", at ? at : "?");
        if (version)
                str_addf(&out, ", about %.40s", version);
        str_add(&out, "\n\n NOW   RULE        VALUE");
        str_addf(&out, "%*sCHANGES           FROM\n", (int) (WIDTH - 19 - 18 - FROM - 5), "");
        json_foreach (r, json_get(e, "rules"))
                add_rule(&out, r);
        str_add(&out, "\n");
        (void) json_each(json_get(e, "doors"), add_door, &out);
        if (next)
                str_addf(&out, "\n Next change: %s\n", next);
        json_foreach (p, json_get(e, "problems")) {
                str_add(&out, " ! ");
                add_wrapped(&out, json_str(p) ? json_str(p) : "", 3, 3);
        }
        return str_take(&out);
}
