/* SPDX-License-Identifier: MIT */

/* gybe.status/1 as a picture for people: two boxes, what happens next, what is wrong. It knows the document only, so that
 * whoever may read the bus sees the same picture as root does on the machine. */

#include "status.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

#define BOX       34u /* columns inside a box; two boxes and the gap are 79 */
#define TWO_BOXES 80u
#define INDENT    3u

typedef struct Box {
        char lines[7][BOX + 1];
} Box;

typedef struct Picture {
        const PictureStyle style;
        Str text;
} Picture;

static const char *or_dash(const char *text)
{
        return text && text[0] ? text : "-";
}

static bool flag(const Json *j, const char *key)
{
        bool value = false;

        return json_get_bool(j, key, &value) > 0 && value;
}

/* --- sentences --- */

/* Columns of the first n bytes: what continues a character takes none. */
static unsigned columns_of(const char *text, size_t n)
{
        unsigned columns = 0;

        for (size_t i = 0; i < n; i++)
                columns += ((unsigned char) text[i] & 0xc0) != 0x80;
        return columns;
}

/* One sentence, broken between words where the terminal ends; what follows is indented. */
static void add_broken(Picture *p, const char *line)
{
        unsigned at = 0;

        for (const char *word = line; *word;) {
                size_t n = strcspn(word + 1, " ") + 1; /* with the space before it */
                unsigned wide = columns_of(word, n);

                if (p->style.columns > 0 && at + wide > p->style.columns - 1 && at > INDENT) {
                        str_addf(&p->text, "\n%*s", (int) INDENT, "");
                        at = INDENT;
                        if (word[0] == ' ') {
                                word++;
                                n--;
                                wide--;
                        }
                }
                str_addn(&p->text, word, n);
                at += wide;
                word += n;
        }
        str_add(&p->text, "\n");
}

static void say(Picture *p, const char *fmt, ...) _printf_(2, 3);
static void say(Picture *p, const char *fmt, ...)
{
        char line[1024];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(line, sizeof(line), fmt, ap);
        va_end(ap);
        add_broken(p, line);
}

/* --- the boxes --- */

static void box_line(Box *b, unsigned i, const char *fmt, ...) _printf_(3, 4);
static void box_line(Box *b, unsigned i, const char *fmt, ...)
{
        char text[160];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        (void) snprintf(b->lines[i], sizeof(b->lines[i]), "%.*s", (int) BOX, text);
}

static Box draw_slot(const Json *slot, char letter)
{
        const char *roothash = json_get_str(slot, "roothash");
        uint64_t serial;
        Box b = { 0 };

        box_line(&b, 0, "SLOT %c  %s", letter, or_dash(json_get_str(slot, "state")));
        box_line(&b, 1, "%s", or_dash(json_get_str(slot, "version")));
        if (json_get_u64(slot, "serial", &serial) > 0)
                box_line(&b, 2, "serial   %" PRIu64, serial);
        else
                box_line(&b, 2, "serial   unknown");
        box_line(&b, 3, "verity   %.16s%s", or_dash(roothash), roothash ? "..." : "");
        box_line(&b, 4, "entry    %s", or_dash(json_get_str(slot, "entry")));
        box_line(&b, 5, "since    %s", or_dash(json_get_str(slot, "committedAt")));
        box_line(&b, 6, "boots    %s",
                 flag(slot, "oneShot")   ? "next, once"
                 : flag(slot, "default") ? "by default"
                                         : "only when asked");
        return b;
}

static void rule(Picture *p, bool first)
{
        const bool ascii = p->style.ascii;

        str_add(&p->text, ascii ? "+" : first ? "╭" : "╰");
        for (unsigned i = 0; i < BOX + 2; i++)
                str_add(&p->text, ascii ? "-" : "─");
        str_add(&p->text, ascii ? "+" : first ? "╮" : "╯");
}

static void content(Picture *p, const Box *box, unsigned i, bool running)
{
        const char *side = p->style.ascii ? "|" : "│";
        bool bright = p->style.colour && i == 0 && running;

        str_addf(&p->text, "%s %s%-*s%s %s", side, bright ? "\033[1;32m" : "", (int) BOX, box->lines[i],
                 bright ? "\033[0m" : "", side);
}

/* The boxes from the first to before the last, side by side. */
static void row(Picture *p, const Box *box, const bool *running, unsigned n)
{
        unsigned lines = ELEMENTSOF(box->lines);

        for (unsigned i = 0; i < lines + 2; i++) {
                for (unsigned k = 0; k < n; k++) {
                        str_add(&p->text, k == 0 ? " " : "  ");
                        if (i == 0 || i == lines + 1)
                                rule(p, i == 0);
                        else
                                content(p, &box[k], i - 1, running[k]);
                }
                str_add(&p->text, "\n");
        }
}

static void boxes(Picture *p, const Json *slots)
{
        const Json *slot[2] = { json_get(slots, "a"), json_get(slots, "b") };
        const Box box[2] = { draw_slot(slot[0], 'A'), draw_slot(slot[1], 'B') };
        const bool running[2] = { flag(slot[0], "running"), flag(slot[1], "running") };

        if (p->style.columns == 0 || p->style.columns >= TWO_BOXES) {
                row(p, box, running, 2);
                return;
        }
        for (unsigned k = 0; k < 2; k++)
                row(p, &box[k], &running[k], 1);
}

/* --- what is said below them --- */

static bool is_incomplete(const Json *slots)
{
        return flag(json_get(slots, "a"), "incomplete") || flag(json_get(slots, "b"), "incomplete");
}

/* The verdict against what runs is written; only the reboot is missing. */
static bool given_up(const Json *status)
{
        return streq0(json_get_str(status, "phase"), "probation") &&
               streq0(json_get_str(json_get(status, "next"), "action"), "reboot");
}

/* What is in progress. Without an agent the next step is somebody's who types. */
static void progress(Picture *p, const Json *status, bool agent)
{
        const Json *update = json_get(status, "update");
        const char *version = or_dash(json_get_str(update, "version")),
                   *slot = or_dash(json_get_str(update, "slot")), *phase = json_get_str(status, "phase");
        uint64_t attempt = 0;

        (void) json_get_u64(update, "attempt", &attempt);
        if (streq0(phase, "staged"))
                say(p, " %s is staged in slot %s.%s", version, slot, agent ? "" : " Next: gybe finalize");
        else if (streq0(phase, "finalized"))
                say(p, " %s is tried at the next boot, once (attempt %" PRIu64 ").%s", version, attempt,
                    agent ? "" : " Next: reboot");
        else if (given_up(status))
                say(p, " %s was given up; the next boot returns to the other slot.%s", version,
                    agent ? "" : " Next: reboot");
        else if (streq0(phase, "probation"))
                say(p, " %s is on trial; the other slot is the way back.%s", version,
                    agent ? "" : " Next: gybe commit, or gybe rollback");
        else
                say(p, "%s",
                    is_incomplete(json_get(status, "slots"))
                            ? " The spare slot is incomplete; staging again completes it."
                            : " Nothing is in progress.");
}

/* What the agent will do, when, and why not now. */
static void forecast(Picture *p, const Json *status, uint64_t now)
{
        const Json *next = json_get(status, "next"), *job = json_get(status, "job");
        const char *action = or_dash(json_get_str(next, "action")), *because = json_get_str(next, "because");
        char at[TIME_TEXT_SIZE] = "";
        uint64_t when = 0;

        if (job) {
                const char *pace = json_get_str(json_get(job, "progress"), "pace");

                say(p, " Now: %s runs%s%s.", or_dash(json_get_str(job, "verb")), pace ? "; " : "",
                    pace ? pace : "");
        }
        if (json_get_time(next, "at", &when) > 0 && when > now)
                format_time(when, at);
        say(p, " Next: %s%s%s%s%s", streq(action, "none") ? "nothing" : action, at[0] ? " at " : "", at,
            because && because[0] ? "; " : "", because ? because : "");
}

/* What an operator has decided, as long as it counts. */
static void decisions(Picture *p, const Json *status, bool agent)
{
        const char *because = json_get_str(json_get(status, "next"), "because"),
                   *pin = json_get_str(status, "pin");

        if (because && !agent)
                say(p, " Not now: %s", because);
        if (pin)
                say(p, " Pinned to %s: no other version is taken until gybe unpin.", pin);
        json_foreach (v, json_get(status, "skip"))
                say(p, " Skipped: %s, until gybe unskip.", or_dash(json_str(v)));
}

static void last_outcome(Picture *p, const Json *status)
{
        const char *outcome = json_get_str(status, "outcome"), *reason = json_get_str(status, "reason"),
                   *message = json_get_str(status, "message");

        if (outcome)
                say(p, " Last outcome: %s%s%s", outcome, reason ? ", " : "", reason ? reason : "");
        if (message && (!streq0(outcome, "committed") || !streq0(json_get_str(status, "phase"), "idle")))
                say(p, " %s", message);
}

static void problems(Picture *p, const Json *list)
{
        json_foreach (problem, list) {
                const char *hint = json_get_str(problem, "hint");

                say(p, " ! %s%s%s", or_dash(json_get_str(problem, "message")), hint ? "; " : "",
                    hint ? hint : "");
        }
}

/* "Who ends a hang of the loader: firmware; the kernel: panic; the initrd: nobody; user space: deadline" */
static void hangs(Picture *p, const Json *list)
{
        _cleanup_(free_charp) char *line = NULL;
        Str text = STR_NULL;

        if (json_len(list) == 0)
                return;
        str_add(&text, " Who ends a hang of");
        json_foreach (hang, list) {
                const char *owner = json_get_str(hang, "owner"), *stage = json_get_str(hang, "stage");
                bool user = streq0(stage, "user-space");

                str_addf(&text, "%s %s%s: %s", hang == json_at(list, 0) ? "" : ";", user ? "" : "the ",
                         user ? "user space" : or_dash(stage), owner ? owner : "nobody");
        }
        line = str_take(&text);
        if (line)
                add_broken(p, line);
}

/* What does not hold of the way back. What is not known yet is worth a line only when a trial is near. */
static void way_back(Picture *p, const Json *status)
{
        const char *phase = json_get_str(status, "phase");
        bool near = streq0(phase, "staged") || streq0(phase, "finalized") || streq0(phase, "probation");

        json_foreach (g, json_get(status, "guarantees")) {
                const char *holds = json_get_str(g, "holds");

                if (streq0(holds, "no") || (near && streq0(holds, "unknown")))
                        say(p, " - way back, %s: %s", or_dash(json_get_str(g, "name")),
                            or_dash(json_get_str(g, "sentence")));
        }
        if (near)
                hangs(p, json_get(status, "hangs"));
}

static void headline(Picture *p, const Json *status)
{
        const char *product = json_get_str(status, "product"), *layout = json_get_str(status, "layout"),
                   *dot = p->style.ascii ? "," : " ·";

        say(p, " %s%s channel %s%s %s%s%s%s", product ? product : "no product configured", dot,
            or_dash(json_get_str(status, "channel")), dot, or_dash(json_get_str(status, "arch")),
            layout ? dot : "", layout ? " " : "", layout ? layout : "");
        if (flag(json_get(status, "boot"), "secureBoot"))
                say(p, " Secure Boot is on.");
}

char *status_picture(const Json *status, uint64_t now, PictureStyle style)
{
        Picture p = { .style = style, .text = STR_NULL };
        bool agent = now > 0;

        headline(&p, status);
        boxes(&p, json_get(status, "slots"));
        progress(&p, status, agent);
        if (agent)
                forecast(&p, status, now);
        decisions(&p, status, agent);
        last_outcome(&p, status);
        way_back(&p, status);
        problems(&p, json_get(status, "problems"));
        return str_take(&p.text);
}
