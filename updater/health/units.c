/* SPDX-License-Identifier: MIT */

/* What a unit's state means. Which units an image is judged by: those it ships, under names that stay the same from boot to
 * boot. What containers, users and crashes leave behind is not its work, and what only waits for a network must not decide:
 * the verdict is local. */

#include "health/watch.h"
#include "base/str.h"

#include <fnmatch.h>
#include <stdio.h>

/* Types that can fail by an image's fault. Scopes and slices are made by programs, devices by the kernel. */
static const char *const kinds[] = {
        ".service", ".socket", ".mount", ".timer", ".path", ".swap", ".automount"
};

static const char *const never[] = {
        "gybe-commit.service", /* that is us, judging */
        "gybe-job@*",
        "gybe-deadline.*",
        "systemd-networkd-wait-online*.service", /* no network is no verdict */
        "NetworkManager-wait-online.service",
        "user@*.service", /* what somebody runs who is logged in */
        "user-runtime-dir@*.service",
        "systemd-coredump@*", /* named by the crash; what crashed speaks for itself */
        "run-*",              /* transient units and mounts of containers */
        "var-lib-kubelet-*",
        "var-lib-containerd-*",
        "var-lib-containers-*",
        "var-lib-docker-*",
};

void health_unit_done(HealthUnit *u)
{
        free(u->name);
        free(u->load_state);
        free(u->active_state);
        free(u->sub_state);
        free(u->result);
        *u = (HealthUnit){ 0 };
}

void health_units_done(HealthUnits *units)
{
        for (size_t i = 0; i < units->n_units; i++)
                health_unit_done(&units->units[i]);
        free(units->units);
        *units = (HealthUnits){ 0 };
}

static int compare(const void *a, const void *b)
{
        return strcmp(((const HealthUnit *) a)->name, ((const HealthUnit *) b)->name);
}

/* By name, and without what has none. */
void health_units_sort(HealthUnits *units)
{
        size_t n = 0;

        for (size_t i = 0; i < units->n_units; i++) {
                HealthUnit u = units->units[i];

                if (u.name)
                        units->units[n++] = u;
                else
                        health_unit_done(&u);
        }
        units->n_units = n;
        if (n > 0)
                qsort(units->units, n, sizeof(*units->units), compare);
}

const HealthUnit *health_unit_find(const HealthUnits *sorted, const char *name)
{
        const HealthUnit key = { .name = (char *) name };

        return sorted->n_units > 0
                       ? bsearch(&key, sorted->units, sorted->n_units, sizeof(*sorted->units), compare)
                       : NULL;
}

bool health_unit_counts(const HealthUnit *u, const HealthConfig *config)
{
        bool known = false;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                known = known || str_ends(u->name, kinds[i]);
        for (size_t i = 0; known && i < ELEMENTSOF(never); i++)
                known = fnmatch(never[i], u->name, 0) != 0;
        for (char **m = config->masks; known && m && *m; m++)
                known = fnmatch(*m, u->name, 0) != 0;
        return known;
}

bool health_unit_failed(const HealthUnit *u)
{
        return streq0(u->active_state, "failed");
}

bool health_unit_active(const HealthUnit *u)
{
        return u && (streq0(u->active_state, "active") || streq0(u->active_state, "reloading") ||
                     streq0(u->active_state, "refreshing"));
}

/* "activating, auto-restart" */
void health_unit_state(const HealthUnit *u, char *out, size_t size)
{
        const char *active = u && u->active_state ? u->active_state : "unknown",
                   *sub = u && u->sub_state ? u->sub_state : "";

        if (!u || streq0(u->load_state, "not-found"))
                (void) snprintf(out, size, "there is no such unit");
        else if (streq0(u->load_state, "masked"))
                (void) snprintf(out, size, "masked");
        else if (health_unit_failed(u) && u->result)
                (void) snprintf(out, size, "failed, %.60s", u->result);
        else if (!*sub || streq(sub, active))
                (void) snprintf(out, size, "%.60s", active);
        else
                (void) snprintf(out, size, "%.60s, %.60s", active, sub);
}
