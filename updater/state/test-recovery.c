/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/str.h"

#include <assert.h>
#include <stdio.h>

#define T "7777777777777777777777777777777777777777777777777777777777777777" /* target, slot b */
#define O "0000000000000000000000000000000000000000000000000000000000000001" /* before, slot a */
#define X "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee" /* somebody else's */

/* One letter a fact, so that a scenario is one readable line. */
typedef struct Scene {
        Phase phase;
        const char *
                journal; /* L lost, M missing (empty), R rollback, D slot dirty, O operator's word, H failing verdict noted */
        const char *intent; /* "" none, I one for T in slot b */
        const char *
                runs; /* O old, T target, K another known one, X unknown content, t target's content in slot a, ? */
        const char *
                facts; /* n new boot, 1 one-shot set, e entry published, s staged files, v spare verifies, b it does not,
                                d deadline fired, h failed verdict, p panicked */
        unsigned attempt, attempts;
} Scene;

static void build(const Scene *s, Journal *j, Intent *i, RecoveryFacts *f)
{
        *j = (Journal){ .phase = s->phase,
                        .slot = 'b',
                        .attempt = s->attempt,
                        .slot_dirty = strchr(s->journal, 'D'),
                        .rollback = strchr(s->journal, 'R') };
        j->update_id = (char *) "u";
        j->entry = (char *) "vmlinuz-101-azlb0.efi";
        j->boot_id = (char *) "boot-1";
        memcpy(j->roothash, T, 65);
        memcpy(j->running_roothash, O, 65);
        if (strchr(s->journal, 'O'))
                j->reason = REASON_OPERATOR;
        if (strchr(s->journal, 'H'))
                j->reason = REASON_HEALTH_FALLBACK;
        if (strpbrk(s->journal, "LM"))
                *j = (Journal){ 0 };
        *i = (Intent){ .slot = 'b', .attempt = s->attempt };
        i->update_id = (char *) "u";
        i->boot_id_before = (char *) "boot-1";
        memcpy(i->roothash, T, 65);

        *f = (RecoveryFacts){ .running_slot = -1, .spare_verifies = -1 };
        switch (*s->runs) {
        case 'O':
                memcpy(f->running_roothash, O, 65);
                f->running_slot = 0;
                f->running_in_trust = true;
                break;
        case 'T':
                memcpy(f->running_roothash, T, 65);
                f->running_slot = 1;
                break;
        case 't':
                memcpy(f->running_roothash, T, 65);
                f->running_slot = 0;
                break;
        case 'K':
                memcpy(f->running_roothash, X, 65);
                f->running_slot = 0;
                f->running_in_trust = true;
                break;
        case 'X':
                memcpy(f->running_roothash, X, 65);
                f->running_slot = 0;
                break;
        }
        memcpy(f->boot_id, strchr(s->facts, 'n') ? "boot-2" : "boot-1", 7);
        f->oneshot_set = strchr(s->facts, '1');
        f->entry_published = strchr(s->facts, 'e');
        f->staged_files_present = strchr(s->facts, 's');
        f->spare_verifies = strchr(s->facts, 'v') ? 1 : strchr(s->facts, 'b') ? 0 : -1;
        f->deadline_fired = strchr(s->facts, 'd');
        f->failed_verdict = strchr(s->facts, 'h');
        f->panicked = strchr(s->facts, 'p');
}

static void decide(const Scene *s, Recovery *ret)
{
        RecoveryFacts f;
        Journal j;
        Intent i;

        build(s, &j, &i, &f);
        recovery_decide(&j, strchr(s->journal, 'L'), *s->intent ? &i : NULL, &f, s->attempts, ret);
}

static void describe(const Recovery *r, char ret[128])
{
        (void) snprintf(ret, 128, "%s %s%s%s%s%s%s %s", phase_name(r->phase), reason_name(r->reason),
                        r->close ? " close" : "", r->quarantine ? " quarantine" : "",
                        r->retry ? " retry" : "", r->counted ? " counted" : "", r->disarm ? " disarm" : "",
                        outcome_name(r->outcome));
}

/* Scenario -> reason: the table of the man page, told by what happened. */
static void test_scenarios(void)
{
        static const struct {
                const char *happened;
                Scene s;
                const char *expect; /* phase reason [close] [quarantine] [retry] [counted] [disarm] outcome */
        } cases[] = {
                { "never used", { PHASE_IDLE, "M", "", "O", "", 0, 2 }, "idle none none" },
                { "never used, nothing known", { PHASE_IDLE, "M", "", "?", "", 0, 2 }, "idle none none" },
                { "at rest after a commit", { PHASE_IDLE, "", "", "T", "e", 1, 2 }, "idle none none" },
                { "at rest after a rollback", { PHASE_IDLE, "", "", "O", "", 1, 2 }, "idle none none" },
                { "at rest, a one-shot left by hand",
                  { PHASE_IDLE, "", "", "O", "1", 1, 2 },
                  "idle none disarm none" },
                { "disk replaced at rest", { PHASE_IDLE, "", "", "X", "", 1, 2 }, "idle reimaged none" },
                { "another agent's older slot at rest",
                  { PHASE_IDLE, "", "", "K", "", 1, 2 },
                  "idle wrong-slot none" },
                { "killed between check and trust",
                  { PHASE_OFFERED, "", "", "O", "", 0, 2 },
                  "idle none none" },

                { "killed while writing blocks",
                  { PHASE_TRUSTED, "D", "", "O", "", 0, 2 },
                  "trusted interrupted-stage none" },
                { "power cut while writing blocks",
                  { PHASE_TRUSTED, "D", "", "O", "n", 0, 2 },
                  "trusted interrupted-stage none" },
                { "cut after read-back, before boot files",
                  { PHASE_TRUSTED, "", "", "O", "nv", 0, 2 },
                  "trusted interrupted-stage none" },
                { "incomplete slot, one-shot by hand",
                  { PHASE_TRUSTED, "D", "", "O", "1e", 0, 2 },
                  "trusted interrupted-stage disarm none" },
                { "somebody booted the slot being written",
                  { PHASE_TRUSTED, "D", "", "T", "n", 0, 2 },
                  "idle wrong-slot close disarm superseded" },
                { "disk replaced while staging",
                  { PHASE_TRUSTED, "D", "", "X", "n", 0, 2 },
                  "idle reimaged close disarm superseded" },

                { "staged", { PHASE_STAGED, "", "", "O", "s", 0, 2 }, "staged none none" },
                { "staged, rebooted for another reason",
                  { PHASE_STAGED, "", "", "O", "ns", 0, 2 },
                  "staged none none" },
                { "cut after the intent", { PHASE_STAGED, "", "I", "O", "ns", 0, 2 }, "staged none none" },
                { "cut in the middle of publishing",
                  { PHASE_STAGED, "", "I", "O", "nse", 0, 2 },
                  "staged none none" },
                { "cut after publishing", { PHASE_STAGED, "", "I", "O", "ne", 0, 2 }, "staged none none" },
                { "published, started from the loader's menu",
                  { PHASE_STAGED, "", "I", "T", "ne", 0, 2 },
                  "probation target-booted none" },
                { "published, armed with another tool",
                  { PHASE_STAGED, "", "I", "O", "1e", 0, 2 },
                  "staged none disarm none" },
                { "staged slot overwritten by somebody",
                  { PHASE_STAGED, "", "", "O", "sb", 0, 2 },
                  "trusted interrupted-stage disarm none" },
                { "staged files deleted",
                  { PHASE_STAGED, "", "", "O", "v", 0, 2 },
                  "trusted interrupted-stage disarm none" },
                { "staged, another slot booted",
                  { PHASE_STAGED, "", "", "K", "ns", 0, 2 },
                  "idle wrong-slot close disarm rolled-back" },
                { "staged, same content but in the other slot",
                  { PHASE_STAGED, "", "", "t", "ns", 0, 2 },
                  "idle reimaged close disarm superseded" },
                { "rollback begun, not armed",
                  { PHASE_STAGED, "R", "", "O", "e", 0, 2 },
                  "staged none none" },
                { "rollback begun, its slot rotten",
                  { PHASE_STAGED, "R", "", "O", "eb", 0, 2 },
                  "idle interrupted-stage close disarm rejected" },
                { "rollback begun, its entry gone",
                  { PHASE_STAGED, "R", "", "O", "v", 0, 2 },
                  "idle interrupted-stage close disarm rejected" },

                { "killed before the one-shot",
                  { PHASE_FINALIZED, "", "I", "O", "e", 1, 2 },
                  "staged never-rebooted counted disarm none" },
                { "the same on the last attempt",
                  { PHASE_FINALIZED, "", "I", "O", "e", 2, 2 },
                  "staged never-rebooted counted disarm none" },
                { "armed, reboot due",
                  { PHASE_FINALIZED, "", "I", "O", "1e", 1, 2 },
                  "finalized never-rebooted none" },
                { "armed, kexec past the loader",
                  { PHASE_FINALIZED, "", "I", "O", "n1e", 2, 2 },
                  "finalized never-rebooted none" },
                { "armed, slot overwritten by somebody",
                  { PHASE_FINALIZED, "", "I", "O", "1eb", 1, 2 },
                  "trusted interrupted-stage counted disarm none" },
                { "armed, kexec, slot overwritten",
                  { PHASE_FINALIZED, "", "I", "O", "n1eb", 1, 2 },
                  "trusted interrupted-stage counted disarm none" },
                { "armed, entry taken away",
                  { PHASE_FINALIZED, "", "I", "O", "1s", 1, 2 },
                  "staged never-rebooted counted disarm none" },
                { "armed, all files deleted",
                  { PHASE_FINALIZED, "", "I", "O", "1", 1, 2 },
                  "trusted interrupted-stage counted disarm none" },
                { "armed, kexec, all files deleted",
                  { PHASE_FINALIZED, "", "I", "O", "n1", 1, 2 },
                  "trusted interrupted-stage counted disarm none" },
                { "not armed, all files deleted",
                  { PHASE_FINALIZED, "", "I", "O", "", 1, 2 },
                  "trusted interrupted-stage counted disarm none" },
                { "operator took it back, interrupted",
                  { PHASE_FINALIZED, "O", "I", "O", "e", 1, 2 },
                  "staged operator counted disarm none" },
                { "operator took it back, then a power cut",
                  { PHASE_FINALIZED, "O", "I", "O", "ne", 1, 2 },
                  "staged operator disarm none" },
                { "operator took the rollback back",
                  { PHASE_FINALIZED, "RO", "I", "O", "1e", 1, 2 },
                  "idle operator close disarm rolled-back" },
                { "operator's word came too late",
                  { PHASE_FINALIZED, "O", "I", "T", "ne", 1, 2 },
                  "probation operator none" },
                { "rollback killed before the one-shot",
                  { PHASE_FINALIZED, "R", "I", "O", "e", 1, 2 },
                  "staged never-rebooted counted disarm none" },
                { "rollback armed, its slot rotten",
                  { PHASE_FINALIZED, "R", "I", "O", "1eb", 1, 2 },
                  "idle interrupted-stage close disarm rejected" },
                { "rollback not armed, its entry gone",
                  { PHASE_FINALIZED, "R", "I", "O", "", 1, 2 },
                  "idle interrupted-stage close disarm rejected" },
                { "rollback armed, its entry gone",
                  { PHASE_FINALIZED, "R", "I", "O", "n1", 1, 2 },
                  "idle interrupted-stage close disarm rejected" },
                { "rollback armed, kexec, its slot rotten",
                  { PHASE_FINALIZED, "R", "I", "O", "n1eb", 1, 2 },
                  "idle interrupted-stage close disarm rejected" },

                { "the target came up",
                  { PHASE_FINALIZED, "", "I", "T", "ne", 1, 2 },
                  "probation target-booted none" },
                { "the target came up, slot unknown",
                  { PHASE_FINALIZED, "", "I", "T", "ne", 2, 2 },
                  "probation target-booted none" },
                { "power cut or refused by the firmware, first attempt",
                  { PHASE_FINALIZED, "", "I", "O", "ne", 1, 2 },
                  "staged power-loss-retry retry disarm none" },
                { "the same, last attempt",
                  { PHASE_FINALIZED, "", "I", "O", "ne", 2, 2 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "the same, only one attempt by policy",
                  { PHASE_FINALIZED, "", "I", "O", "ne", 1, 1 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "the same, policy of none is one",
                  { PHASE_FINALIZED, "", "I", "O", "ne", 1, 0 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "the same, and its slot is rotten",
                  { PHASE_FINALIZED, "", "I", "O", "neb", 1, 2 },
                  "trusted power-loss-retry retry disarm none" },
                { "the same, and its files are gone",
                  { PHASE_FINALIZED, "", "I", "O", "n", 1, 2 },
                  "trusted power-loss-retry retry disarm none" },
                { "panicked",
                  { PHASE_FINALIZED, "", "I", "O", "nep", 1, 2 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "hung, the deadline rebooted it",
                  { PHASE_FINALIZED, "", "I", "O", "ned", 1, 2 },
                  "idle deadline close quarantine disarm rolled-back" },
                { "the deadline fired and the reboot hangs",
                  { PHASE_FINALIZED, "", "I", "T", "ned", 1, 2 },
                  "probation deadline none" },
                { "neither old nor target came up",
                  { PHASE_FINALIZED, "", "I", "K", "ne", 1, 2 },
                  "idle wrong-slot close disarm rolled-back" },
                { "panicked, and neither came up",
                  { PHASE_FINALIZED, "", "I", "K", "nep", 1, 2 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "disk replaced while finalized",
                  { PHASE_FINALIZED, "", "I", "X", "n", 1, 2 },
                  "idle reimaged close disarm superseded" },
                { "rollback did not come up",
                  { PHASE_FINALIZED, "R", "I", "O", "ne", 1, 2 },
                  "staged power-loss-retry retry disarm none" },
                { "rollback did not come up, rotten",
                  { PHASE_FINALIZED, "R", "I", "O", "neb", 1, 2 },
                  "idle firmware-fallback close disarm rejected" },
                { "rollback did not come up, entry gone",
                  { PHASE_PROBATION, "R", "I", "O", "n", 1, 2 },
                  "idle firmware-fallback close disarm rejected" },

                { "on trial", { PHASE_PROBATION, "", "I", "T", "e", 1, 2 }, "probation target-booted none" },
                { "cut in the middle of the commit",
                  { PHASE_PROBATION, "", "I", "T", "ne", 1, 2 },
                  "probation target-booted none" },
                { "verdict written, reboot due",
                  { PHASE_PROBATION, "H", "I", "T", "eh", 1, 2 },
                  "probation health-fallback none" },
                { "operator gave up, reboot due",
                  { PHASE_PROBATION, "O", "I", "T", "e", 1, 2 },
                  "probation operator none" },
                { "back after a failing verdict",
                  { PHASE_PROBATION, "H", "I", "O", "ne", 1, 2 },
                  "idle health-fallback close quarantine disarm rolled-back" },
                { "the same, known from evidence only",
                  { PHASE_PROBATION, "", "I", "O", "neh", 1, 2 },
                  "idle health-fallback close quarantine disarm rolled-back" },
                { "back after the operator's word",
                  { PHASE_PROBATION, "O", "I", "O", "ne", 1, 2 },
                  "idle operator close disarm rolled-back" },
                { "back after the deadline",
                  { PHASE_PROBATION, "", "I", "O", "ned", 1, 2 },
                  "idle deadline close quarantine disarm rolled-back" },
                { "back without a word",
                  { PHASE_PROBATION, "", "I", "O", "ne", 1, 2 },
                  "staged power-loss-retry retry disarm none" },
                { "back without a word, last attempt",
                  { PHASE_PROBATION, "", "I", "O", "ne", 2, 2 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "back, and its slot is rotten",
                  { PHASE_PROBATION, "", "I", "O", "neb", 1, 2 },
                  "trusted power-loss-retry retry disarm none" },

                { "nothing remembers",
                  { PHASE_IDLE, "L", "", "O", "", 0, 2 },
                  "idle journal-lost disarm none" },
                { "nothing remembers, target runs",
                  { PHASE_IDLE, "L", "", "T", "ne", 0, 2 },
                  "idle journal-lost disarm none" },
                { "journal lost on trial",
                  { PHASE_IDLE, "L", "I", "T", "ne", 1, 2 },
                  "probation journal-lost none" },
                { "a new /var, intent from the ESP",
                  { PHASE_IDLE, "M", "I", "T", "ne", 1, 2 },
                  "probation journal-lost none" },
                { "journal lost, beyond the deadline",
                  { PHASE_IDLE, "L", "I", "T", "ned", 1, 2 },
                  "probation deadline none" },
                { "journal lost while armed",
                  { PHASE_IDLE, "L", "I", "O", "1e", 1, 2 },
                  "idle journal-lost close disarm rolled-back" },
                { "journal lost, came back",
                  { PHASE_IDLE, "L", "I", "O", "ne", 1, 2 },
                  "idle journal-lost close disarm rolled-back" },
                { "journal lost, came back, last attempt",
                  { PHASE_IDLE, "L", "I", "O", "ne", 2, 2 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "journal lost, panicked",
                  { PHASE_IDLE, "L", "I", "O", "nep", 1, 2 },
                  "idle firmware-fallback close quarantine disarm rolled-back" },
                { "journal lost, deadline",
                  { PHASE_IDLE, "L", "I", "O", "ned", 1, 2 },
                  "idle deadline close quarantine disarm rolled-back" },
                { "journal lost, failing verdict known",
                  { PHASE_IDLE, "L", "I", "O", "neh", 1, 2 },
                  "idle health-fallback close quarantine disarm rolled-back" },
                { "journal lost, running slot unknown",
                  { PHASE_IDLE, "L", "I", "?", "ne", 1, 2 },
                  "idle journal-lost none" },

                { "running slot unknown while staging",
                  { PHASE_TRUSTED, "D", "", "?", "n", 0, 2 },
                  "trusted none none" },
                { "running slot unknown while staged",
                  { PHASE_STAGED, "", "", "?", "s", 0, 2 },
                  "staged none none" },
                { "running slot unknown while armed",
                  { PHASE_FINALIZED, "", "I", "?", "ned", 2, 2 },
                  "finalized none none" },
                { "running slot unknown on trial",
                  { PHASE_PROBATION, "H", "I", "?", "nep", 2, 2 },
                  "probation none none" },
                { "operator took it back, slot rotten",
                  { PHASE_FINALIZED, "O", "I", "O", "eb", 1, 2 },
                  "trusted operator disarm none" },
                { "operator took it back, files gone",
                  { PHASE_FINALIZED, "O", "I", "O", "", 1, 2 },
                  "trusted operator disarm none" },
        };
        unsigned wrong = 0;

        for (size_t n = 0; n < ELEMENTSOF(cases); n++) {
                char got[128];
                Recovery r;

                decide(&cases[n].s, &r);
                describe(&r, got);
                if (!streq(got, cases[n].expect)) {
                        fprintf(stderr, "%s:\n  got    %s\n  expect %s\n", cases[n].happened, got,
                                cases[n].expect);
                        wrong++;
                }
        }
        assert(wrong == 0);
}

/* What must hold in every situation there is, told or not. */
static void check(const Scene *s, const Recovery *r)
{
        bool lost = strpbrk(s->journal, "LM"), remembers = !lost || *s->intent;
        bool target = *s->runs == 'T', unknown = *s->runs == '?', fresh = strchr(s->facts, 'n');
        bool noted = !lost && s->phase >= PHASE_FINALIZED && strchr(s->journal, 'H');
        bool given_up = !lost && s->phase >= PHASE_FINALIZED && strchr(s->journal, 'O');
        bool proof = noted || (strpbrk(s->facts, "dhp") && !given_up);
        bool tried = lost ? *s->intent : s->phase >= PHASE_FINALIZED;
        bool broken = !lost && (strchr(s->facts, 'b') || strchr(s->journal, 'D'));
        Recovery again;
        Scene next = *s;
        char facts[16], journal[16];
        size_t n = 0;

        assert(r->means && *r->means);
        assert(r->close == (r->outcome != OUTCOME_NONE));
        /* what is condemned or closed has a name: the journal's or the intent's */
        assert(r->by_intent == (*s->intent && lost));
        assert(!r->close || (r->phase == PHASE_IDLE && r->disarm && !r->retry));
        assert(!(r->retry && r->counted));
        /* P6: nothing is condemned without proof or spent attempts, and what is proved bad is always condemned */
        assert(!r->quarantine ||
               (r->close && r->outcome == OUTCOME_ROLLED_BACK && tried && !target && !unknown));
        assert(!r->quarantine || proof ||
               (s->attempt >= s->attempts && (fresh || s->phase == PHASE_PROBATION)));
        assert(!(proof && tried && !target && !unknown) || r->quarantine);
        assert(!r->retry || s->attempt < s->attempts);
        /* P1: who does not know what runs decides nothing */
        assert(!unknown ||
               (!r->close && !r->retry && (lost || r->phase == s->phase || s->phase == PHASE_OFFERED)));
        /* what runs is on trial or nothing of ours, never staged over */
        assert(!target || r->phase == PHASE_PROBATION || r->phase == PHASE_IDLE);
        assert(r->phase != PHASE_PROBATION || target || unknown);
        assert(r->phase != PHASE_FINALIZED || unknown || strchr(s->facts, '1'));
        assert(unknown || target || !broken || (r->phase != PHASE_STAGED && r->phase != PHASE_FINALIZED));
        /* P2: no one-shot survives but that of a finalized update */
        assert(!strchr(s->facts, '1') || unknown || target || r->disarm || r->phase == PHASE_FINALIZED ||
               !remembers || (lost && !*s->intent) || *s->runs == 'K' || *s->runs == 'X' || *s->runs == 't');
        if (unknown || lost || r->close)
                return;

        /* P4: done and asked again it says the same, and closes nothing a second time */
        for (const char *p = s->facts; *p; p++)
                if (!(r->disarm && *p == '1') && !(r->phase < PHASE_FINALIZED && strchr("dhp", *p)))
                        facts[n++] = *p;
        facts[n] = 0;
        next.phase = r->phase;
        next.facts = facts;
        (void) snprintf(journal, sizeof(journal), "%s%s%s%s", strchr(s->journal, 'R') ? "R" : "",
                        strchr(s->journal, 'D') ? "D" : "", r->reason == REASON_OPERATOR ? "O" : "",
                        r->reason == REASON_HEALTH_FALLBACK ? "H" : "");
        next.journal = journal;
        decide(&next, &again);
        assert(again.phase == r->phase && !again.close && !again.quarantine);
}

static void test_every_situation(void)
{
        static const char *const journals[] = { "", "R", "D", "RD", "O", "RO", "H", "L", "M" };
        static const char *const words[] = { "", "d", "h", "p" };
        static const char *const files[] = { "", "s", "e", "se" };
        static const char *const slots[] = { "", "v", "b" };
        const char *reached[128] = { 0 };
        size_t n_reached = 0, n = 0;
        Recovery row;

        for (Phase phase = 0; phase < _PHASE_MAX; phase++)
                for (unsigned bits = 0; bits < ELEMENTSOF(journals) * 2 * 6 * 4 * 4 * 3 * 2 * 2 * 3; bits++) {
                        unsigned b = bits;
                        char facts[16], runs[2] = { 0 };
                        Scene s = { .phase = phase, .attempts = 2, .facts = facts, .runs = runs };
                        Recovery r;
                        size_t i;

#define PICK(k)                                                                                              \
        ({                                                                                                   \
                unsigned _v = b % (k);                                                                       \
                b /= (k);                                                                                    \
                _v;                                                                                          \
        })
                        s.journal = journals[PICK(ELEMENTSOF(journals))];
                        s.intent = PICK(2) ? "I" : "";
                        runs[0] = "OTKXt?"[PICK(6)];
                        (void) snprintf(facts, sizeof(facts), "%s%s%s%s%s", words[PICK(4)], files[PICK(4)],
                                        slots[PICK(3)], PICK(2) ? "n" : "", PICK(2) ? "1" : "");
                        s.attempt = PICK(3);
                        decide(&s, &r);
                        check(&s, &r);
                        for (i = 0; i < n_reached && reached[i] != r.means; i++)
                                ;
                        if (i == n_reached)
                                reached[n_reached++] = r.means;
                        n++;
                }
        /* no row is dead */
        for (size_t k = 0; recovery_row(k, &row); k++) {
                size_t i;

                for (i = 0; i < n_reached && reached[i] != row.means; i++)
                        ;
                if (i == n_reached)
                        fprintf(stderr, "row %zu is never reached: %s\n", k, row.means);
                assert(i < n_reached);
        }
        printf("%zu situations, %zu different answers\n", n, n_reached);
}

/* The closed list: each reason that recovery can give is given by some row, and no other. */
static void test_closed_list(void)
{
        bool seen[_REASON_MAX] = { false };
        Recovery r;

        for (size_t i = 0; recovery_row(i, &r); i++) {
                assert((unsigned) r.reason < _REASON_MAX && phase_name(r.phase));
                seen[r.reason] = true;
        }
        for (Reason i = 0; i < _REASON_MAX; i++)
                assert(seen[i]);
}

/* Identity questions that one letter cannot ask. */
static void test_who_runs(void)
{
        Scene s = { PHASE_FINALIZED, "", "I", "T", "ne", 1, 2 };
        RecoveryFacts f;
        Recovery r;
        Journal j;
        Intent i;

        build(&s, &j, &i, &f);
        f.running_slot = -1; /* a root hash is enough */
        recovery_decide(&j, false, &i, &f, 2, &r);
        assert(r.phase == PHASE_PROBATION);
        f.running_slot = 1;
        f.running_roothash[0] = 0; /* a slot alone is not: anything may be in it */
        recovery_decide(&j, false, &i, &f, 2, &r);
        assert(r.phase == PHASE_FINALIZED && r.reason == REASON_NONE);
        f.running_slot = 0; /* but it is enough to know that the target does not run */
        recovery_decide(&j, false, &i, &f, 2, &r);
        assert(r.reason == REASON_POWER_LOSS_RETRY);
        /* both slots hold the same image: the slot decides */
        build(&s, &j, &i, &f);
        memcpy(j.running_roothash, T, 65);
        f.running_slot = 0;
        recovery_decide(&j, false, &i, &f, 2, &r);
        assert(r.reason == REASON_POWER_LOSS_RETRY);
        f.running_slot = 1;
        recovery_decide(&j, false, &i, &f, 2, &r);
        assert(r.reason == REASON_TARGET_BOOTED);
        /* a boot id nobody wrote down: it may have been tried */
        build(&s, &j, &i, &f);
        memcpy(f.running_roothash, O, 65);
        f.running_slot = 0;
        j.boot_id = NULL;
        memcpy(f.boot_id, "", 1);
        recovery_decide(&j, false, &i, &f, 2, &r);
        assert(r.reason == REASON_POWER_LOSS_RETRY);
}

int main(void)
{
        test_closed_list();
        test_who_runs();
        test_scenarios();
        test_every_situation();
        return 0;
}
