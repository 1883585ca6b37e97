/* SPDX-License-Identifier: MIT */

#include "answer.h"
#include "base/log.h"
#include "base/run.h"
#include "base/str.h"
#include "control/event.h"
#include "control/systemd.h"

#include <errno.h>
#include <inttypes.h>

static int do_check(Update *u, Why *why)
{
        const SlotRecord *running;
        int r = update_check(u, why);

        if (r < 0)
                return update_told(u, r, why);
        running = host_running_record(&u->host);
        update_say(u, "%s (serial %" PRIu64 ") %s", u->release.version ? u->release.version : "a release",
                   u->release.serial,
                   running && running->has_serial && u->release.serial <= running->serial
                           ? "can be had; what runs is later"
                           : "is newer than what runs");
        return r;
}

static int do_stage(Update *u, Why *why)
{
        int r = update_stage(u, why);

        if (r >= 0)
                update_say(u, "%s is staged in slot %c", u->host.journal.version, u->host.journal.slot);
        return update_told(u, r, why);
}

static void say_finalized(Update *u)
{
        const Journal *j = &u->host.journal;

        update_say(u, "%s is finalized: slot %c, entry %s, attempt %u", j->version, j->slot, j->entry,
                   j->attempt);
}

static int do_finalize(Update *u, Why *why)
{
        int r = update_finalize(u, why);

        if (r >= 0)
                say_finalized(u);
        return update_told(u, r, why);
}

static int do_update(Update *u, Why *why)
{
        int r = update_both(u, why);

        if (r >= 0)
                say_finalized(u);
        return update_told(u, r, why);
}

static int do_commit(Update *u, Why *why)
{
        int r = update_commit(u, why);

        if (r >= 0)
                update_say(u, "%s is committed: slot %c is the default",
                           u->host.journal.version ? u->host.journal.version : "the update",
                           u->host.journal.slot);
        return update_told(u, r, why);
}

static int do_rollback(Update *u, Why *why)
{
        return update_told(u, update_rollback(u, why), why);
}

AnswerVerb answer_verb(const char *name)
{
        static const struct {
                const char *name;
                AnswerVerb verb;
        } verbs[] = {
                { "check", do_check },   { "stage", do_stage },   { "finalize", do_finalize },
                { "update", do_update }, { "commit", do_commit }, { "rollback", do_rollback },
        };

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return verbs[i].verb;
        return NULL;
}

/* What the source offers, so that whoever asked can ask the rules about it, and recognise it in quarantine. */
static Json *offer_json(const Release *rel)
{
        Json *o = json_new_object();

        json_set_str(o, "version", rel->version);
        json_set_u64(o, "serial", rel->serial);
        if (rel->issued > 0)
                json_set_time(o, "issued", rel->issued);
        json_set_str(o, "roothash", rel->usr.roothash);
        for (size_t i = 0; i < rel->n_boot; i++)
                if (boot_kind_starts(rel->boot[i].kind))
                        json_set_str(o, "ukiSha256", rel->boot[i].sha256);
        return o;
}

Json *answer_result(const Update *u, const char *verb)
{
        const Journal *j = &u->host.journal;
        Json *out = json_new_object();
        char slot[2] = { j->slot, 0 };

        json_set_str(out, "schema", "gybe.result/1");
        json_set_str(out, "verb", verb);
        json_set_str(out, "phase", phase_name(j->phase));
        json_set_str(out, "version", u->release.version ? u->release.version : j->version);
        if (u->release.serial > 0 || j->serial > 0)
                json_set_u64(out, "serial", u->release.serial > 0 ? u->release.serial : j->serial);
        json_set_str(out, "slot", slot[0] ? slot : NULL);
        if (j->outcome != OUTCOME_NONE)
                json_set_str(out, "outcome", outcome_name(j->outcome));
        if (j->reason != REASON_NONE)
                json_set_str(out, "reason", reason_name(j->reason));
        if (u->has_release && streq(verb, "check"))
                json_set(out, "offer", offer_json(&u->release));
        json_set_bool(out, "rebootDue", u->reboot_due);
        if (u->progress.total > 0) {
                Json *b = json_new_object();
                json_set_u64(b, "fetched", u->progress.fetched);
                json_set_u64(b, "skipped", u->progress.skipped);
                json_set_u64(b, "written", u->progress.written);
                json_set_u64(b, "copied", u->progress.copied);
                json_set_u64(b, "rebuilt", u->progress.rebuilt);
                json_set(out, "bytes", b);
        }
        if (u->missing) {
                Json *m = json_new_array();
                for (char **s = u->missing; *s; s++)
                        json_add_str(m, *s);
                json_set(out, "missingGuarantees", m);
        }
        return out;
}

Json *answer_error(const Why *why, int r)
{
        Json *out = json_new_object(), *e = json_new_object();

        json_set_str(e, "kind", why_kind_name(why->kind));
        json_set_str(e, "code", why->code[0] ? why->code : "failed");
        json_set_str(e, "message", why->text[0] ? why->text : strerror(-r));
        json_set_str(e, "hint", why->hint[0] ? why->hint : NULL);
        json_set(out, "error", e);
        return out;
}

const char *answer_reboot_text(const Update *u)
{
        if (!u->reboot_due)
                return NULL;
        return u->host.journal.phase != PHASE_FINALIZED
                       ? "A reboot is due: the next boot returns to the default slot."
               : u->host.journal.rollback ? "A reboot is due: the next boot returns to the other slot."
                                          : "A reboot is due: the next boot tries the new slot, once.";
}

/* Where no bus can be reached (rescue, early boot), systemctl knows other ways. */
static int reboot_by_program(Why *why)
{
        char *const argv[] = { (char *) "/usr/bin/systemctl", (char *) "reboot", NULL };
        /* a whole reboot: only firmware and boot loader try the new slot */
        char *const environ_kept[] = { (char *) "PATH=/usr/bin:/bin", (char *) "SYSTEMCTL_SKIP_AUTO_KEXEC=1",
                                       (char *) "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1", NULL };
        RunOptions o = {
                .exe_fd = -1, .cwd_fd = -1, .environ = environ_kept, .timeout_sec = 60, .output_max = 512
        };
        _cleanup_(run_result_done) RunResult result = { 0 };
        int r;

        r = run(argv, &o, &result);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reboot");
        if (result.exit_code != 0) {
                (void) fail(why, -EIO, WHY_HOST, "reboot", "reboot: systemctl reboot failed: %s",
                            result.output.data ? (char *) result.output.data : "");
                return fail_hint(why, -EIO, "reboot the machine by hand");
        }
        return 0;
}

/* Remembered before it is asked for, since nothing may be remembered after it: a reboot that never comes is noticed. */
static void remember_asking(Update *u)
{
        Why why = { 0 };

        if (update_asks_reboot(u, NULL, &why) < 0)
                log_warning("%s; that the reboot was asked for is not remembered", why.text);
}

static int reboot(Update *u, Why *why)
{
        Why no_bus = { 0 };
        int r;

        remember_asking(u);
        r = systemd_reboot(u->env, false, &no_bus);
        if (r == -ENOSYS && env_is_real(u->env))
                return reboot_by_program(why);
        if (r == -EBUSY)
                event_log(u->env, EVENT_REBOOT_INHIBITED, u->host.journal.version, no_bus.text, NULL, 0);
        if (r < 0 && update_reboot_blocked(u, no_bus.text, NULL) < 0)
                log_debug("what stands against the reboot is not remembered");
        if (r < 0 && why && why->kind == WHY_NONE)
                *why = no_bus;
        return r;
}

int answer_reboot(Update *u, Why *why)
{
        int r;

        if (!u->reboot_due || u->options.no_reboot || !systemd_may_ask(u->env))
                return 0;
        r = update_before_reboot(u, why);
        if (r < 0 && update_asks_reboot(u, why->text, NULL) < 0)
                log_debug("what stands against the reboot is not remembered");
        if (r <= 0)
                return r;
        r = reboot(u, why);
        if (r >= 0)
                return 1;
        update_reboot_failed(u);
        return r;
}
