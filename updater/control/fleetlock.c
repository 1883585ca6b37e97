/* SPDX-License-Identifier: MIT */

#include "control/fleetlock.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define ID_MAX    256u
#define GROUP_MAX 256u
#define BODY_MAX  (16u * 1024u) /* an error object has a sentence */

char *fleetlock_url(const char *base, FleetlockAsk ask)
{
        static const char *const paths[_FLEETLOCK_MAX] = {
                [FLEETLOCK_PRE_REBOOT] = "v1/pre-reboot",
                [FLEETLOCK_STEADY_STATE] = "v1/steady-state",
        };

        return str_printf("%s%s%s", base, str_ends(base, "/") ? "" : "/", paths[ask]);
}

static bool group_is_good(const char *group)
{
        size_t n = strspn(group, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");

        return n > 0 && n <= GROUP_MAX && group[n] == 0;
}

int fleetlock_body(const char *id, const char *group, char **ret)
{
        _cleanup_(json_unrefp) Json *o = json_new_object();
        Json *params = json_sub(o, "client_params");

        if (!*id || strlen(id) > ID_MAX || !group_is_good(group))
                return -EINVAL;
        json_set_str(params, "id", id);
        json_set_str(params, "group", group);
        *ret = json_format(o, false);
        return *ret ? 0 : -ENOMEM;
}

/* Somebody else's words on our terminal. */
static void take_words(char out[FLEETLOCK_TEXT_MAX], const char *text)
{
        size_t n = 0;

        for (; text && text[n] && n < FLEETLOCK_TEXT_MAX - 1; n++)
                out[n] = text[n] < 0x20 || text[n] > 0x7e ? '?' : text[n];
        out[n] = 0;
}

/* {"kind": ..., "value": ...}; anything else says nothing. */
static void take_body(const void *body, size_t size, FleetlockReply *ret)
{
        _cleanup_(json_unrefp) Json *j = NULL;

        if (size == 0 || size > BODY_MAX ||
            json_parse(body, size, JSON_FRACTIONS, JSON_DEPTH_MAX, "FleetLock", WHY_NETWORK, &j, NULL) < 0)
                return;
        take_words(ret->kind, json_get_str(j, "kind"));
        take_words(ret->value, json_get_str(j, "value"));
}

/* The names that servers at large give to "others are rebooting". */
static bool means_taken(unsigned status, const char *kind)
{
        static const char *const kinds[] = { "failed_lock_semaphore_full", "failed_lock", "locked",
                                             "lock_held" };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (streq(kind, kinds[i]))
                        return true;
        return status == 423 || status == 409 || status == 429;
}

void fleetlock_judge(unsigned status, const void *body, size_t size, FleetlockReply *ret)
{
        *ret = (FleetlockReply){ .success = status >= 200 && status <= 299 };
        if (ret->success)
                return;
        take_body(body, size, ret);
        if (!ret->kind[0])
                (void) snprintf(ret->kind, sizeof(ret->kind), "generic_http_%u", status);
        ret->taken = means_taken(status, ret->kind);
}
