/* SPDX-License-Identifier: MIT */

#include "status.h"
#include "wayback.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

/* What an operator wants to know of a slot, in one word. */
static const char *slot_state(const Host *h, SlotId s, const BootEntry *entry)
{
        const Journal *j = &h->journal;
        bool target = j->slot == *slot_name(s);

        if (h->running.known && h->running.slot == s)
                return j->phase != PHASE_PROBATION || !target ? "running"
                       : journal_given_up(j)                  ? "running, given up"
                                                              : "running, on trial";
        if (target && j->slot_dirty)
                return "incomplete";
        if (target && j->phase == PHASE_FINALIZED)
                return "armed for the next boot";
        if (target && j->phase == PHASE_STAGED)
                return "staged";
        if (entry && h->running.known)
                return "ready to go back to";
        /* without memory nobody knows what lies in a slot that has no entry */
        return h->running.known && !h->journal_lost ? "empty" : "unknown";
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

/* By its data alone: whatever kernel goes with it, this is what failed. */
static bool failed_here(const Host *h, const char *roothash)
{
        _cleanup_(json_unrefp) Json *list = NULL;

        if (!roothash)
                return false;
        if (h->quarantine_due && streq(roothash, h->journal.roothash))
                return true;
        if (quarantine_list(h->env, &list, NULL) < 0)
                return false;
        json_foreach (q, list)
                if (streq0(json_get_str(q, "roothash"), roothash))
                        return true;
        return false;
}

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
        /* also what was tried last and is given up: the journal keeps whose bytes those are */
        if (!rec && (target || (f.roothash && streq(f.roothash, j->roothash)))) {
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
        if (streq(f.state, "ready to go back to") && failed_here(h, f.roothash))
                f.state = "failed, in quarantine";
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
                return journal_given_up(&h->journal) ? "reboot" : "commit";
        default:
                return h->config.source == SOURCE_NONE ? "none" : "check";
        }
}

/* The next step, and the operator's rule that stands before it: with something under way the one of its door, else a hold. A
 * transaction that leads back is not asked about. */
static Json *next_json(const Host *h)
{
        const Journal *j = &h->journal;
        PolicySubject s = { .machine_id = h->machine_id };
        PolicyDoor door = POLICY_FINALIZE;
        Json *next = json_new_object();
        PolicyVerdict v;

        json_set_str(next, "action", next_action(h));
        if (j->rollback || j->phase == PHASE_PROBATION)
                return next;
        if (j->phase == PHASE_STAGED || j->phase == PHASE_FINALIZED) {
                s.version = j->version;
                s.serial = j->serial;
                s.issued = j->issued;
                door = j->phase == PHASE_FINALIZED ? POLICY_REBOOT : POLICY_FINALIZE;
        }
        policy_ask(&h->policy, door, &s, env_now(h->env), &v);
        if (v.answer == POLICY_GO || (!s.version && !streq(v.rule, policy_rule_name(POLICY_RULE_HOLD))))
                return next;
        if (v.answer == POLICY_WAIT && v.until != UINT64_MAX)
                json_set_time(next, "at", v.until);
        json_set_str(next, "rule", v.rule);
        json_set_str(next, "because", v.because);
        return next;
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

Json *status_slot_json(const Host *h, SlotId s)
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
        json_set_bool(j, "oneShot", f.entry && f.entry->is_oneshot);
        if (h->journal.slot == *slot_name(s) && h->journal.slot_dirty)
                json_set_bool(j, "incomplete", true);
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

/* The reboot that something waits for: whose it is, and whether it comes. */
static Json *reboot_json(const Host *h)
{
        const Journal *j = &h->journal;
        RebootWait wait;
        Json *r;

        if (j->phase < PHASE_FINALIZED || j->reboot_asks == 0)
                return NULL;
        reboot_wait(j, env_now(h->env), &wait);
        r = json_new_object();
        json_set_time(r, "askedAt", j->reboot_asked_at);
        json_set_u64(r, "asks", j->reboot_asks);
        json_set_str(r, "blockedBy", j->reboot_blocked);
        json_set_time(r, "againAt", wait.again_at);
        json_set_bool(r, "neverCame", wait.never);
        return r;
}

/* The attempt that failed last, until something was kept. */
static Json *failure_json(const Journal *j)
{
        Json *f;

        if (!j->cause || (j->phase == PHASE_IDLE && j->outcome == OUTCOME_COMMITTED))
                return NULL;
        f = json_new_object();
        json_set_str(f, "kind", j->failed_kind);
        json_set_str(f, "stage", j->failed_stage);
        json_set_str(f, "cause", j->cause);
        json_set_str(f, "evidence", j->evidence);
        return f;
}

/* What the last watch found, without the programs' output: that is for who may read history. */
static Json *verdict_json(const Host *h)
{
        _cleanup_(json_unrefp) Json *event = NULL;
        const Json *health;
        Json *verdict;

        if (history_last(h->env, "health", &event, NULL) <= 0)
                return NULL;
        health = json_get(event, "health");
        json_foreach (check, json_get(health, "checks"))
                json_remove((Json *) check, "output");
        verdict = json_new_object();
        json_merge(verdict, health);
        json_set_str(verdict, "schema", "gybe.health/1");
        json_set_str(verdict, "at", json_get_str(event, "time"));
        json_set_str(verdict, "version", json_get_str(event, "version"));
        json_set_str(verdict, "running", json_get_str(event, "running"));
        return verdict;
}

/* The way back as it is now, and who ends a hang in the boot that is ahead. */
static void add_way_back(Json *j, const Host *h)
{
        Guarantees g;

        if (way_back(h, false, &g, NULL) < 0)
                return; /* no memory, and then json_format() says so */
        json_set(j, "guarantees", way_back_json(&g));
        json_set(j, "hangs", way_back_hangs_json(&g));
}

Json *status_json(const Host *h)
{
        Why memory;
        Json *j = json_new_object(), *slots = json_new_object(), *problems = json_new_array(), *source;

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
                json_set(slots, slot_name(s), status_slot_json(h, s));
        json_set(j, "slots", slots);
        json_set(j, "boot", h->has_boot_state ? boot_json(h) : NULL);
        json_set(j, "update", update_json(&h->journal));
        json_set(j, "reboot", reboot_json(h));
        json_set(j, "locks", status_locks_json(h));
        json_set(j, "outbox", status_outbox_json(h, OUTBOX_REPORTS));
        json_set(j, "omahaOutbox", status_outbox_json(h, OUTBOX_OMAHA));
        json_set(j, "failure", failure_json(&h->journal));
        json_set(j, "health", verdict_json(h));
        source = json_new_object();
        json_set_str(source, "type", h->config.source_type);
        json_set(j, "source", source);
        json_set_u64(j, "highWaterSerial", h->trust.high_water_serial);
        json_set(j, "next", next_json(h));
        policy_choices_json(&h->policy, j);
        add_way_back(j, h);
        add_problem(problems, true, &h->config_why);
        add_problem(problems, !h->has_layout, &h->disk_why);
        add_problem(problems, !h->running.known, &h->running_why);
        add_problem(problems, !h->has_boot_state, &h->boot_why);
        add_problem(problems, memory_problem(h, &memory), &memory);
        json_set(j, "problems", problems);
        return j;
}
