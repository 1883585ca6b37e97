/* SPDX-License-Identifier: MIT */

#include "wayback.h"
#include "watchdog.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

static int check_panic(const Host *h, Guarantees *g)
{
        _cleanup_(free_charp) char *panic = NULL;
        int r = env_read_line(h->env, "/proc/sys/kernel/panic", &panic);

        if (r == -ENOMEM)
                return r;
        if (r < 0)
                guarantee_add(g, "panic", GUARANTEE_UNKNOWN,
                              "it is not known whether the running kernel reboots after a panic");
        else if (streq(panic, "0"))
                guarantee_add(g, "panic", GUARANTEE_NO,
                              "the running kernel does not reboot after a panic (kernel.panic = 0)");
        else
                guarantee_add(g, "panic", GUARANTEE_YES,
                              "the running kernel reboots after a panic (kernel.panic = %.20s)", panic);
        return 0;
}

static int check_watchdog(const Host *h, Guarantees *g)
{
        GuaranteeHolds holds = GUARANTEE_UNKNOWN;
        char sentence[256];
        Watchdog w;
        int r = watchdog_look(h->env, &w);

        if (r < 0)
                return r;
        if (w.present == 0 || w.armed == 0 || w.software)
                holds = GUARANTEE_NO;
        else if (w.armed > 0)
                holds = GUARANTEE_YES;
        watchdog_tell(&w, sentence, sizeof(sentence));
        guarantee_add(g, "watchdog", holds, "%s", sentence);
        return 0;
}

static void check_deadline(const Host *h, Guarantees *g)
{
        uint64_t sec = h->policy.deadline_sec;
        int r;

        if (sec == 0) {
                guarantee_add(g, "deadline", GUARANTEE_NO,
                              "the policy sets no deadline: a trial boot that nobody commits stays");
                return;
        }
        if (h->journal.phase >= PHASE_FINALIZED) {
                r = deadline_armed(h->env, h->journal.roothash);
                guarantee_add(g, "deadline", r > 0 ? GUARANTEE_YES : GUARANTEE_NO,
                              r > 0 ? "the trial boot ends %" PRIu64 " s after its start if nobody commits it"
                                    : "no deadline of %" PRIu64 " s is in /etc/systemd/system",
                              sec);
                return;
        }
        r = deadline_possible(h->env);
        if (r < 0)
                guarantee_add(g, "deadline", GUARANTEE_NO,
                              "a deadline cannot be written to /etc/systemd/system: %s", strerror(-r));
        else
                guarantee_add(g, "deadline", GUARANTEE_YES,
                              "a trial boot that nobody commits will end %" PRIu64 " s after its start", sec);
}

/* What the next boot tries: the staged names, a published entry, or nothing yet. */
static const char *target_of(const Host *h)
{
        const Journal *j = &h->journal;

        return j->phase == PHASE_FINALIZED || j->rollback ? j->entry : NULL;
}

int way_back(const Host *h, bool prove, Guarantees *ret, Why *why)
{
        const SlotRecord *record = host_running_record(h);
        Guarantees g = { .n = 0 };
        int r = 0;

        if (h->boot && h->running.known && h->journal.phase != PHASE_PROBATION)
                r = h->boot->ops->way_back(h->boot, (int) h->running.slot, record ? record->files : NULL,
                                           target_of(h), prove, &g, why);
        if (r < 0 || (r = check_panic(h, &g)) < 0 || (r = check_watchdog(h, &g)) < 0)
                return r;
        check_deadline(h, &g);
        *ret = g;
        return 0;
}

Json *way_back_json(const Guarantees *g)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < g->n; i++) {
                Json *one = json_new_object();

                json_set_str(one, "name", g->list[i].name);
                json_set_str(one, "holds", guarantee_holds_name(g->list[i].holds));
                json_set_str(one, "sentence", g->list[i].sentence);
                json_add(list, one);
        }
        return list;
}

/* --- who ends a hang --- */

static bool holds(const Guarantees *g, const char *name)
{
        const Guarantee *one = guarantee_find(g, name);

        return one && one->holds == GUARANTEE_YES;
}

Json *way_back_hangs_json(const Guarantees *g)
{
        static const struct {
                const char *stage, *guarantee, *owner;
                const char *nobody; /* the stage has no owner; NULL: the next row is of the same stage */
        } rows[] = {
                { "loader", "firmware-return", "firmware",
                  "a UKI that cannot be started may end in the firmware's menu" },
                { "kernel", "watchdog", "watchdog", NULL },
                { "kernel", "new-panic", "panic", "a kernel that hangs or panics stays" },
                { "initrd", "new-initrd", "command-line", "an initrd that fails stays" },
                { "user-space", "deadline", "deadline", "a system that never gets ready stays" },
        };
        Json *list = json_new_array();

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const Guarantee *one = guarantee_find(g, rows[i].guarantee);
                bool owned = holds(g, rows[i].guarantee);
                Json *hang;

                if (!one || (!owned && !rows[i].nobody))
                        continue;
                hang = json_new_object();
                json_set_str(hang, "stage", rows[i].stage);
                json_set_str(hang, "owner", owned ? rows[i].owner : NULL);
                json_set_str(hang, "sentence", owned ? one->sentence : rows[i].nobody);
                json_add(list, hang);
                while (i + 1 < ELEMENTSOF(rows) && streq(rows[i + 1].stage, rows[i].stage))
                        i++;
        }
        return list;
}
