/* SPDX-License-Identifier: MIT */

/* gybe.status/1 as a picture for people: two boxes, what happens next, what is wrong. It knows the document only, so that
 * whoever may read the bus sees the same picture as root does on the machine. */

#include "status.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

#define BOX 36u /* columns inside a box; two boxes and the gap fit 80 */

typedef struct Box {
        char lines[7][BOX + 1];
} Box;

static const char *or_dash(const char *text)
{
        return text && text[0] ? text : "-";
}

static bool flag(const Json *j, const char *key)
{
        bool value = false;

        return json_get_bool(j, key, &value) > 0 && value;
}

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

static void rule(Str *out, bool first)
{
        for (unsigned k = 0; k < 2; k++) {
                str_add(out, k == 0 ? " " : "  ");
                str_add(out, first ? "╭" : "╰");
                for (unsigned i = 0; i < BOX + 2; i++)
                        str_add(out, "─");
                str_add(out, first ? "╮" : "╯");
        }
        str_add(out, "\n");
}

static void boxes(const Json *slots, bool colour, Str *out)
{
        const Json *slot[2] = { json_get(slots, "a"), json_get(slots, "b") };
        Box box[2] = { draw_slot(slot[0], 'A'), draw_slot(slot[1], 'B') };

        rule(out, true);
        for (unsigned i = 0; i < ELEMENTSOF(box[0].lines); i++) {
                for (unsigned k = 0; k < 2; k++) {
                        bool bright = colour && i == 0 && flag(slot[k], "running");

                        str_addf(out, "%s│ %s%-*s%s │", k == 0 ? " " : "  ", bright ? "\033[1;32m" : "",
                                 (int) BOX, box[k].lines[i], bright ? "\033[0m" : "");
                }
                str_add(out, "\n");
        }
        rule(out, false);
}

static bool is_incomplete(const Json *slots)
{
        return flag(json_get(slots, "a"), "incomplete") || flag(json_get(slots, "b"), "incomplete");
}

/* What is in progress. Without an agent the next step is somebody's who types. */
static void sentence(const Json *status, bool agent, Str *out)
{
        const Json *update = json_get(status, "update");
        const char *version = or_dash(json_get_str(update, "version")),
                   *slot = or_dash(json_get_str(update, "slot")), *phase = json_get_str(status, "phase");
        uint64_t attempt = 0;

        (void) json_get_u64(update, "attempt", &attempt);
        if (streq0(phase, "staged"))
                str_addf(out, " %s is staged in slot %s.%s\n", version, slot,
                         agent ? "" : " Next: gybe finalize");
        else if (streq0(phase, "finalized"))
                str_addf(out, " %s is tried at the next boot, once (attempt %" PRIu64 ").%s\n", version,
                         attempt, agent ? "" : " Next: reboot");
        else if (streq0(phase, "probation"))
                str_addf(out, " %s is on trial; the other slot is the way back.%s\n", version,
                         agent ? "" : " Next: gybe commit, or gybe rollback");
        else
                str_add(out, is_incomplete(json_get(status, "slots"))
                                     ? " The spare slot is incomplete; staging again completes it.\n"
                                     : " Nothing is in progress.\n");
}

/* What the agent will do, when, and why not now. */
static void forecast(const Json *status, uint64_t now, Str *out)
{
        const Json *next = json_get(status, "next"), *job = json_get(status, "job");
        const char *action = or_dash(json_get_str(next, "action")), *because = json_get_str(next, "because");
        char at[TIME_TEXT_SIZE] = "";
        uint64_t when = 0;

        if (job) {
                const char *pace = json_get_str(json_get(job, "progress"), "pace");

                str_addf(out, " Now: %s runs%s%s.\n", or_dash(json_get_str(job, "verb")), pace ? "; " : "",
                         pace ? pace : "");
        }
        if (json_get_time(next, "at", &when) > 0 && when > now)
                format_time(when, at);
        str_addf(out, " Next: %s%s%s%s%s\n", streq(action, "none") ? "nothing" : action, at[0] ? " at " : "",
                 at, because && because[0] ? "; " : "", because ? because : "");
}

/* The operator's rule that stands before the next step. */
static void in_the_way(const Json *status, Str *out)
{
        const char *because = json_get_str(json_get(status, "next"), "because");

        if (because)
                str_addf(out, " Not now: %s\n", because);
}

static void last_outcome(const Json *status, Str *out)
{
        const char *outcome = json_get_str(status, "outcome"), *reason = json_get_str(status, "reason"),
                   *message = json_get_str(status, "message");

        if (outcome)
                str_addf(out, " Last outcome: %s%s%s\n", outcome, reason ? ", " : "", reason ? reason : "");
        if (message && (!streq0(outcome, "committed") || !streq0(json_get_str(status, "phase"), "idle")))
                str_addf(out, " %s\n", message);
}

static void problems(const Json *list, Str *out)
{
        json_foreach (p, list) {
                const char *hint = json_get_str(p, "hint");

                str_addf(out, " ! %s%s%s\n", or_dash(json_get_str(p, "message")), hint ? "; " : "",
                         hint ? hint : "");
        }
}

/* What does not hold of the way back. What is not known yet is worth a line only when a trial is near. */
static void way_back(const Json *status, Str *out)
{
        const char *phase = json_get_str(status, "phase");
        bool near = streq0(phase, "staged") || streq0(phase, "finalized") || streq0(phase, "probation");

        json_foreach (g, json_get(status, "guarantees")) {
                const char *holds = json_get_str(g, "holds");

                if (streq0(holds, "no") || (near && streq0(holds, "unknown")))
                        str_addf(out, " - way back, %s: %s\n", or_dash(json_get_str(g, "name")),
                                 or_dash(json_get_str(g, "sentence")));
        }
        if (!near || json_len(json_get(status, "hangs")) == 0)
                return;
        str_add(out, " A hang is ended by");
        json_foreach (hang, json_get(status, "hangs")) {
                const char *owner = json_get_str(hang, "owner");

                str_addf(out, "%s %s: %s", hang == json_at(json_get(status, "hangs"), 0) ? "" : ",",
                         or_dash(json_get_str(hang, "stage")), owner ? owner : "nobody");
        }
        str_add(out, "\n");
}

char *status_picture(const Json *status, uint64_t now, bool colour)
{
        const char *product = json_get_str(status, "product"), *layout = json_get_str(status, "layout");
        Str out = STR_NULL;

        str_addf(&out, " %s · channel %s · %s%s%s%s\n", product ? product : "no product configured",
                 or_dash(json_get_str(status, "channel")), or_dash(json_get_str(status, "arch")),
                 layout ? " · " : "", layout ? layout : "",
                 flag(json_get(status, "boot"), "secureBoot") ? " · Secure Boot" : "");
        boxes(json_get(status, "slots"), colour, &out);
        sentence(status, now > 0, &out);
        if (now > 0)
                forecast(status, now, &out);
        else
                in_the_way(status, &out);
        last_outcome(status, &out);
        way_back(status, &out);
        problems(json_get(status, "problems"), &out);
        return str_take(&out);
}
