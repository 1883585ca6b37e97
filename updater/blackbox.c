/* SPDX-License-Identifier: MIT */

#include "blackbox.h"
#include "boot-journal.h"
#include "watchdog.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>

/* The trial as the journal remembers it, or where that is lost, the intent. Borrowed. */
typedef struct Trial {
        const char *update_id, *entry, *roothash;
        const char *boot_id;  /* of the last step that is remembered: arming, or within the trial */
        const char *armed_in; /* boot id of the boot that armed it; NULL unknown */
        unsigned attempt;
        uint64_t armed_at;
} Trial;

static bool trial_of(const Host *h, Trial *ret)
{
        const Journal *j = &h->journal;
        const Intent *i = h->has_intent ? &h->intent : NULL;

        if (j->phase >= PHASE_FINALIZED) {
                bool same = i && streq0(i->update_id, j->update_id);

                *ret = (Trial){ .update_id = j->update_id,
                                .entry = j->entry,
                                .roothash = j->roothash,
                                .boot_id = j->boot_id,
                                .armed_in = j->phase == PHASE_FINALIZED ? j->boot_id
                                            : same                      ? i->boot_id_before
                                                                        : NULL,
                                .attempt = j->attempt,
                                .armed_at = j->finalized_at == 0 && same ? i->written_at : j->finalized_at };
                return j->roothash[0];
        }
        if (!i || j->update_id)
                return false;
        *ret = (Trial){ .update_id = i->update_id,
                        .entry = i->entry,
                        .roothash = i->roothash,
                        .boot_id = i->boot_id_before,
                        .armed_in = i->boot_id_before,
                        .attempt = i->attempt,
                        .armed_at = i->written_at };
        return i->roothash[0];
}

bool blackbox_due(const Host *h)
{
        Trial t;

        if (!trial_of(h, &t) || !h->running.known || streq(h->running.roothash, t.roothash))
                return false;
        return !t.boot_id || !h->boot_id || !streq(t.boot_id, h->boot_id);
}

/* --- whose crash? --- */

/* uname -r of the target, as its UKI says; NULL unknown. */
static int target_kernel(const Host *h, const Trial *t, char **ret)
{
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!h->boot)
                return 0;
        if (t->entry)
                fd = h->boot->ops->open_file(h->boot, t->entry, BOOT_UKI, NULL, NULL);
        if (fd < 0)
                fd = h->boot->ops->open_file(h->boot, NULL, BOOT_UKI, NULL, NULL);
        if (fd < 0)
                return fd == -ENOMEM ? fd : 0;
        r = pe_texts_fd(fd, "UKI", WHY_HOST, &pe, NULL);
        if (r == -ENOMEM)
                return r;
        *ret = r >= 0 ? TAKE(pe.uname) : NULL;
        for (char *p = *ret ? *ret + strlen(*ret) : NULL; p && p > *ret && p[-1] == '\n'; p--)
                p[-1] = '\0';
        return 0;
}

/* When the boot that looks back began; 0 unknown. */
static int returned_at(const Host *h, uint64_t *ret)
{
        _cleanup_(free_charp) char *line = NULL;
        uint64_t now = env_now(h->env), up;
        int r = env_read_line(h->env, "/proc/uptime", &line);

        if (r >= 0) {
                line[strcspn(line, ".")] = '\0';
                if (parse_u64(line, &up) >= 0 && up < now)
                        *ret = now - up;
        }
        return r == -ENOMEM ? r : 0;
}

static int blame_all(const Host *h, const Trial *t, const BootJournal *journal, CrashDumps *dumps)
{
        _cleanup_(free_charp) char *kernel = NULL, *old_kernel = NULL;
        TrialBoot boot = { .roothash = t->roothash, .armed_at = t->armed_at };
        char own[64];
        int r;

        if ((r = target_kernel(h, t, &kernel)) < 0 || (r = returned_at(h, &boot.returned_at)) < 0 ||
            (r = env_read_line(h->env, "/proc/sys/kernel/osrelease", &old_kernel)) == -ENOMEM)
                return r;
        boot.kernel = kernel;
        boot.old_kernel = old_kernel;
        if (journal) {
                boot.others = journal->others;
                boot.n_others = journal->n_others;
        }
        evidence_name(t->update_id, t->attempt, own);
        for (size_t i = 0; i < dumps->n; i++) {
                CrashDump *d = &dumps->list[i];

                r = evidence_has_dump(h->env, d->sha256, own);
                if (r < 0)
                        return r;
                d->blame = r > 0 ? CRASH_OTHER : crash_blame(d, &boot); /* once is enough */
        }
        return 0;
}

/* A panic over a block that is not what was signed is the disk's: the same content may be good on another one. */
static bool proves_bad(const CrashDumps *dumps)
{
        for (size_t i = 0; i < dumps->n; i++) {
                const CrashDump *d = &dumps->list[i];

                if (d->blame > CRASH_OTHER && d->trace.panic[0] && !d->trace.verity[0])
                        return true;
        }
        return false;
}

int blackbox_panicked(const Host *h)
{
        _cleanup_(crash_dumps_done) CrashDumps dumps = { 0 };
        Trial t;
        int r;

        if (!blackbox_due(h) || !trial_of(h, &t))
                return 0;
        if ((r = crash_dumps_read(h->env, &dumps)) < 0 || (r = blame_all(h, &t, NULL, &dumps)) < 0)
                return r;
        return proves_bad(&dumps);
}

/* --- all of it --- */

/* The report of the verdict against this content. */
static int find_health(const Host *h, const Trial *t, Json **ret)
{
        _cleanup_(json_unrefp) Json *events = NULL;
        const Json *found = NULL;
        uint64_t broken;
        int r = history_read(h->env, &events, &broken, NULL);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        json_foreach (e, events)
                if (streq0(json_get_str(e, "event"), "health-failed") &&
                    streq0(json_get_str(e, "roothash"), t->roothash))
                        found = json_get(e, "health");
        *ret = found ? json_ref(found) : NULL;
        return 0;
}

int blackbox_collect(const Host *h, Evidence *ret, bool *ret_panicked)
{
        _cleanup_(evidence_done) Evidence e = { .found_at = env_now(h->env) };
        _cleanup_(boot_journal_done) BootJournal journal = { 0 };
        Watchdog watchdog;
        Trial t;
        int r;

        if (!trial_of(h, &t))
                return -EINVAL;
        if ((r = crash_dumps_read(h->env, &e.dumps)) < 0 ||
            (r = boot_journal_find(h->env, t.armed_in, h->boot_id, t.roothash, &journal)) < 0 ||
            (r = blame_all(h, &t, &journal, &e.dumps)) < 0 || (r = watchdog_look(h->env, &watchdog)) < 0 ||
            (r = find_health(h, &t, &e.health)) < 0 ||
            (r = deadline_fired(h->env, t.roothash, &e.deadline, NULL)) == -ENOMEM)
                return r;
        e.armed_at = t.armed_at;
        e.watchdog_reset = watchdog.ended_the_last;
        e.trace = journal.trace;
        e.journal = TAKE(journal.text);
        memcpy(e.boot_id, journal.boot_id, sizeof(e.boot_id));
        *ret_panicked = proves_bad(&e.dumps);
        *ret = e;
        e = (Evidence){ 0 };
        return 0;
}
