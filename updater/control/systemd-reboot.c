/* SPDX-License-Identifier: MIT */

/* Reboots by logind, so that inhibitors are heard and delays given. Only a whole reboot tries the new slot: kexec and soft
 * reboots, which systemctl may choose by itself, would start what runs now once more. */

#include "control/systemd.h"
#include "control/systemd-bus.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define LOGIN         "org.freedesktop.login1"
#define LOGIN_MANAGER "/org/freedesktop/login1", LOGIN ".Manager"
#define ERROR_BLOCKED LOGIN ".BlockedByInhibitorLock" /* systemd 257 */
#define ERROR_BEGUN   LOGIN ".OperationInProgress"

/* sd-login.h has them only as comments of the interface: RebootWithFlags(t) */
#define ROOT_CHECK_INHIBITORS (UINT64_C(1) << 0)
#define SKIP_INHIBITORS                                                                                      \
        (UINT64_C(1) << 4) /* systemd 257; before, root was never held without the flag above */

static bool list_has(const char *colons, const char *word)
{
        size_t n = strlen(word);

        for (const char *p = colons; p; p = strchr(p, ':') ? strchr(p, ':') + 1 : NULL)
                if (strncmp(p, word, n) == 0 && (p[n] == 0 || p[n] == ':'))
                        return true;
        return false;
}

/* Others' words about themselves: one line, and no longer than somebody reads. */
static char *holder(const char *who, const char *because, uint32_t pid)
{
        char who_text[80], why_text[160];

        systemd_quote(who_text, sizeof(who_text), *who ? who : "somebody");
        systemd_quote(why_text, sizeof(why_text), *because ? because : "no reason given");
        return str_printf("%s (process %u): %s", who_text, (unsigned) pid, why_text);
}

/* Delay inhibitors are logind's business, and weak blocks are none for root. The number of those that hold. */
static int find_holders(sd_bus *bus, size_t *ret_n, char **ret_first, sd_bus_error *error)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *what, *who, *because, *mode;
        uint32_t pid;
        size_t n = 0;
        int r;

        r = sd_bus_call_method(bus, LOGIN, LOGIN_MANAGER, "ListInhibitors", error, &m, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(ssssuu)");
        while (r >= 0 &&
               (r = sd_bus_message_read(m, "(ssssuu)", &what, &who, &because, &mode, NULL, &pid)) > 0)
                if (streq(mode, "block") && list_has(what, "shutdown") && n++ == 0 &&
                    !(*ret_first = holder(who, because, pid)))
                        r = -ENOMEM;
        *ret_n = n;
        return r;
}

static int held(Why *why, const char *by, size_t n)
{
        char others[40] = "";

        if (n > 1)
                (void) snprintf(others, sizeof(others), ", and %zu more", n - 1);
        (void) fail(why, -EBUSY, WHY_BUSY, "inhibited", "reboot: held by %s%s", by, others);
        return fail_hint(why, -EBUSY, "systemd-inhibit --list shows them all; the reboot stays due");
}

static int check_inhibitors(sd_bus *bus, Why *why)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(free_charp) char *first = NULL;
        size_t n = 0;
        int r = find_holders(bus, &n, &first, &error);

        if (r < 0)
                return systemd_bus_failed(r, &error, "reboot: the inhibitors", why);
        return n > 0 ? held(why, first, n) : 0;
}

static bool is_unknown(const sd_bus_error *e)
{
        return sd_bus_error_has_names(e, SD_BUS_ERROR_UNKNOWN_METHOD, SD_BUS_ERROR_INVALID_ARGS) > 0;
}

/* Newest way first: what an older logind does not know it refuses, and nothing has happened. */
static int ask_for_reboot(sd_bus *bus, uint64_t flags, sd_bus_error *error)
{
        int r = sd_bus_call_method(bus, LOGIN, LOGIN_MANAGER, "RebootWithFlags", error, NULL, "t", flags);

        if (r < 0 && flags == SKIP_INHIBITORS && sd_bus_error_has_name(error, SD_BUS_ERROR_INVALID_ARGS)) {
                sd_bus_error_free(error);
                r = sd_bus_call_method(bus, LOGIN, LOGIN_MANAGER, "RebootWithFlags", error, NULL, "t",
                                       UINT64_C(0));
        }
        if (r < 0 && is_unknown(error)) {
                sd_bus_error_free(error);
                r = sd_bus_call_method(bus, LOGIN, LOGIN_MANAGER, "Reboot", error, NULL, "b", 0);
        }
        return r;
}

int systemd_reboot(const Env *env, bool override_inhibitors, Why *why)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(systemd_bus_closep) sd_bus *bus = NULL;
        int r;

        r = systemd_bus_open(env, &bus, why);
        if (r >= 0 && !override_inhibitors)
                r = check_inhibitors(bus, why);
        if (r < 0)
                return r;
        /* An inhibitor that was taken since we looked counts, too. */
        r = ask_for_reboot(bus, override_inhibitors ? SKIP_INHIBITORS : ROOT_CHECK_INHIBITORS, &error);
        if (r >= 0)
                return 0;
        if (sd_bus_error_has_name(&error, ERROR_BEGUN))
                return fail(why, -EBUSY, WHY_BUSY, "shutting-down",
                            "reboot: the machine is about to shut down or to sleep already");
        if (!override_inhibitors && (sd_bus_error_has_name(&error, ERROR_BLOCKED) ||
                                     (sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED) &&
                                      error.message && strstr(error.message, "inhibitor"))))
                return held(why, "an inhibitor that was taken just now", 1);
        return systemd_bus_failed(r, &error, "reboot", why);
}
