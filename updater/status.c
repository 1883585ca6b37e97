/* SPDX-License-Identifier: MIT */

#include "status.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

/* What an operator wants to know of a slot, in one word. */
static const char *slot_state(const Host *h, SlotId s, const BootEntry *entry)
{
        const Journal *j = &h->journal;
        bool target = j->slot == *slot_name(s);

        if (h->running.known && h->running.slot == s)
                return j->phase == PHASE_PROBATION && target ? "running, on trial" : "running";
        if (target && j->slot_dirty)
                return "incomplete";
        if (target && j->phase == PHASE_FINALIZED)
                return "armed for the next boot";
        if (target && j->phase == PHASE_STAGED)
                return "staged";
        if (!h->running.known)
                return "unknown";
        return entry ? "ready to go back to" : "empty";
}

static const BootEntry *slot_entry(const Host *h, SlotId s)
{
        const BootEntry *best = NULL;

        for (size_t i = 0; i < h->boot_state.n_entries; i++) {
                const BootEntry *e = &h->boot_state.entries[i];

                if (e->slot == (int) s && (!best || e->is_default || e->is_selected))
                        best = e;
        }
        return best;
}

typedef struct SlotFacts {
        const char *state, *version, *roothash;
        bool has_serial;
        uint64_t serial, committed_at;
        const BootEntry *entry;
        const SlotParts *parts;
} SlotFacts;

static SlotFacts slot_facts(const Host *h, SlotId s)
{
        const Journal *j = &h->journal;
        SlotFacts f = { .entry = slot_entry(h, s), .parts = h->has_layout ? &h->layout.slot[s] : NULL };
        bool target = j->slot == *slot_name(s) && j->phase >= PHASE_TRUSTED;
        const SlotRecord *rec;

        f.state = slot_state(h, s, f.entry);
        if (h->running.known && h->running.slot == s && h->running.roothash[0])
                f.roothash = h->running.roothash;
        else if (target)
                f.roothash = j->roothash;
        else if (f.entry && f.entry->roothash[0])
                f.roothash = f.entry->roothash;
        rec = f.roothash ? trust_state_slot(&h->trust, f.roothash) : NULL;
        if (target && !rec) {
                f.version = j->version;
                f.has_serial = j->serial > 0;
                f.serial = j->serial;
        } else if (rec) {
                f.version = rec->version;
                f.has_serial = rec->has_serial;
                f.serial = rec->serial;
                f.committed_at = rec->committed_at;
        }
        if (!f.version && h->running.known && h->running.slot == s)
                f.version = h->version;
        if (!f.version && f.entry && f.entry->version[0])
                f.version = f.entry->version;
        return f;
}

static const char *next_action(const Host *h)
{
        switch (h->journal.phase) {
        case PHASE_STAGED:
                return "finalize";
        case PHASE_FINALIZED:
                return "reboot";
        case PHASE_PROBATION:
                return "commit";
        default:
                return h->config.source == SOURCE_NONE ? "none" : "check";
        }
}

static Json *partition_json(const Partition *p)
{
        Json *j;

        if (!p)
                return NULL;
        j = json_new_object();
        json_set_str(j, "label", p->label);
        json_set_str(j, "partuuid", p->partuuid);
        json_set_u64(j, "size", p->size);
        return j;
}

static Json *slot_json(const Host *h, SlotId s)
{
        SlotFacts f = slot_facts(h, s);
        Json *j = json_new_object();

        json_set_str(j, "state", f.state);
        json_set_bool(j, "running", h->running.known && h->running.slot == s);
        json_set_str(j, "version", f.version);
        if (f.has_serial)
                json_set_u64(j, "serial", f.serial);
        json_set_str(j, "roothash", f.roothash);
        json_set_str(j, "entry", f.entry ? f.entry->name : NULL);
        json_set_bool(j, "default", f.entry && f.entry->is_default);
        if (f.committed_at > 0)
                json_set_time(j, "committedAt", f.committed_at);
        if (f.parts) {
                json_set(j, "data", partition_json(f.parts->data));
                json_set(j, "hash", partition_json(f.parts->hash));
                json_set(j, "sig", partition_json(f.parts->sig));
        }
        return j;
}

static Json *boot_json(const Host *h)
{
        Json *j = json_new_object();

        json_set_str(j, "default", h->boot_state.default_name[0] ? h->boot_state.default_name : NULL);
        json_set_str(j, "defaultBy", h->boot_state.default_by[0] ? h->boot_state.default_by : NULL);
        json_set_str(j, "selected", h->boot_state.selected[0] ? h->boot_state.selected : NULL);
        json_set_str(j, "oneShot", h->boot_state.oneshot[0] ? h->boot_state.oneshot : NULL);
        json_set_bool(j, "secureBoot", h->boot_state.secure_boot);
        return j;
}

static Json *update_json(const Journal *j)
{
        char slot[2] = { j->slot, 0 };
        Json *u;

        if (!j->update_id)
                return NULL;
        u = json_new_object();
        json_set_str(u, "id", j->update_id);
        json_set_str(u, "version", j->version);
        json_set_u64(u, "serial", j->serial);
        json_set_str(u, "slot", slot[0] ? slot : NULL);
        json_set_str(u, "roothash", j->roothash);
        json_set_str(u, "source", j->source);
        json_set_str(u, "entry", j->entry);
        json_set_u64(u, "attempt", j->attempt);
        json_set_bool(u, "rollback", j->rollback);
        if (j->deadline > 0)
                json_set_time(u, "deadline", j->deadline);
        return u;
}

static void add_problem(Json *problems, bool is, const Why *why)
{
        Json *p;

        if (!is || why->kind == WHY_NONE)
                return;
        p = json_new_object();
        json_set_str(p, "code", why->code);
        json_set_str(p, "message", why->text);
        json_set_str(p, "hint", why->hint[0] ? why->hint : NULL);
        json_add(problems, p);
}

/* What an auditor must not have to look for. */
static bool memory_problem(const Host *h, Why *ret)
{
        const SlotRecord *rec = host_running_record(h);

        *ret = (Why){ 0 };
        if (h->running.roothash[0] && trust_state_revoked(&h->trust, rec && rec->has_serial,
                                                          rec ? rec->serial : 0, h->running.roothash)) {
                (void) fail(ret, 0, WHY_TRUST, "runs-revoked", "what runs (%.16s...) has been revoked",
                            h->running.roothash);
                (void) fail_hint(ret, 0, "update this host");
        } else if (h->trust_lost)
                (void) fail(ret, 0, WHY_HOST, "trust-lost", "%s",
                            h->trust.lost_because ? h->trust.lost_because
                                                  : "trust.json was lost: floor and revocations are unknown");
        else if (h->journal_lost)
                (void) fail(ret, 0, WHY_HOST, "journal-lost", "%s",
                            h->journal.lost_because ? h->journal.lost_because : "the journal was lost");
        return ret->kind != WHY_NONE;
}

Json *status_json(const Host *h)
{
        Why memory;
        Json *j = json_new_object(), *slots = json_new_object(), *next = json_new_object(),
             *problems = json_new_array();

        json_set_str(j, "schema", "gybe.status/1");
        json_set_str(j, "product", h->config.product);
        json_set_str(j, "channel", h->config.channel);
        json_set_str(j, "arch", h->arch);
        json_set_str(j, "version", h->version);
        json_set_str(j, "phase", phase_name(h->journal.phase));
        if (h->journal.outcome != OUTCOME_NONE)
                json_set_str(j, "outcome", outcome_name(h->journal.outcome));
        if (h->journal.reason != REASON_NONE)
                json_set_str(j, "reason", reason_name(h->journal.reason));
        json_set_str(j, "message", h->journal.message);
        json_set_str(j, "running", h->running.known ? slot_name(h->running.slot) : NULL);
        json_set_str(j, "layout", h->has_layout ? h->layout.generation : NULL);
        json_set_str(j, "disk", h->disk ? disk_path(h->disk) : NULL);
        for (SlotId s = 0; s < _SLOT_MAX; s++)
                json_set(slots, slot_name(s), slot_json(h, s));
        json_set(j, "slots", slots);
        json_set(j, "boot", h->has_boot_state ? boot_json(h) : NULL);
        json_set(j, "update", update_json(&h->journal));
        json_set_u64(j, "highWaterSerial", h->trust.high_water_serial);
        json_set_str(next, "action", next_action(h));
        json_set(j, "next", next);
        add_problem(problems, true, &h->config_why);
        add_problem(problems, !h->has_layout, &h->disk_why);
        add_problem(problems, !h->running.known, &h->running_why);
        add_problem(problems, !h->has_boot_state, &h->boot_why);
        add_problem(problems, memory_problem(h, &memory), &memory);
        json_set(j, "problems", problems);
        return j;
}

/* --- the picture --- */

#define BOX 36u /* columns inside a box; two boxes and the gap fit 80 */

typedef struct Box {
        char lines[7][BOX + 1];
} Box;

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

static Box draw_slot(const Host *h, SlotId s)
{
        SlotFacts f = slot_facts(h, s);
        char when[TIME_TEXT_SIZE] = "";
        Box b = { 0 };

        if (f.committed_at > 0)
                format_time(f.committed_at, when);
        box_line(&b, 0, "SLOT %c  %s", s == SLOT_A ? 'A' : 'B', f.state);
        box_line(&b, 1, "%s", f.version ? f.version : "-");
        if (f.has_serial)
                box_line(&b, 2, "serial   %" PRIu64, f.serial);
        else
                box_line(&b, 2, "serial   unknown");
        box_line(&b, 3, "verity   %.16s%s", f.roothash ? f.roothash : "-", f.roothash ? "..." : "");
        box_line(&b, 4, "entry    %s", f.entry ? f.entry->name : "-");
        box_line(&b, 5, "since    %s", when[0] ? when : "-");
        box_line(&b, 6, "boots    %s",
                 f.entry && f.entry->is_oneshot   ? "next, once"
                 : f.entry && f.entry->is_default ? "by default"
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

static void boxes(const Host *h, bool colour, Str *out)
{
        Box a = draw_slot(h, SLOT_A), b = draw_slot(h, SLOT_B);
        const Box *both[2] = { &a, &b };

        rule(out, true);
        for (unsigned i = 0; i < ELEMENTSOF(a.lines); i++) {
                for (unsigned k = 0; k < 2; k++) {
                        bool bright = colour && i == 0 && h->running.known && (unsigned) h->running.slot == k;

                        str_addf(out, "%s│ %s%-*s%s │", k == 0 ? " " : "  ", bright ? "\033[1;32m" : "",
                                 (int) BOX, both[k]->lines[i], bright ? "\033[0m" : "");
                }
                str_add(out, "\n");
        }
        rule(out, false);
}

static void sentence(const Host *h, Str *out)
{
        const Journal *j = &h->journal;
        const char *version = j->version ? j->version : "?";

        switch (j->phase) {
        case PHASE_STAGED:
                str_addf(out, " %s is staged in slot %c. Next: gybe finalize\n", version, j->slot);
                break;
        case PHASE_FINALIZED:
                str_addf(out, " %s is tried at the next boot, once (attempt %u). Next: reboot\n", version,
                         j->attempt);
                break;
        case PHASE_PROBATION:
                str_addf(out,
                         " %s is on trial; the other slot is the way back. Next: gybe commit, or gybe "
                         "rollback\n",
                         version);
                break;
        default:
                str_add(out, j->slot_dirty ? " The spare slot is incomplete; staging again completes it.\n"
                                           : " Nothing is in progress.\n");
        }
        if (j->outcome != OUTCOME_NONE)
                str_addf(out, " Last outcome: %s%s%s\n", outcome_name(j->outcome),
                         j->reason != REASON_NONE ? ", " : "",
                         j->reason != REASON_NONE ? reason_name(j->reason) : "");
        if (j->message && (j->outcome != OUTCOME_COMMITTED || j->phase != PHASE_IDLE))
                str_addf(out, " %s\n", j->message);
}

static void problem(Str *out, bool is, const Why *why)
{
        if (is && why->kind != WHY_NONE)
                str_addf(out, " ! %s%s%s\n", why->text, why->hint[0] ? "; " : "", why->hint);
}

char *status_picture(const Host *h, bool colour)
{
        Str out = STR_NULL;
        Why memory;

        str_addf(&out, " %s · channel %s · %s%s%s%s\n",
                 h->config.product ? h->config.product : "no product configured", h->config.channel, h->arch,
                 h->has_layout ? " · " : "", h->has_layout ? h->layout.generation : "",
                 h->boot_state.secure_boot ? " · Secure Boot" : "");
        boxes(h, colour, &out);
        sentence(h, &out);
        problem(&out, true, &h->config_why);
        problem(&out, !h->has_layout, &h->disk_why);
        problem(&out, !h->running.known, &h->running_why);
        problem(&out, !h->has_boot_state, &h->boot_why);
        problem(&out, memory_problem(h, &memory), &memory);
        return str_take(&out);
}
