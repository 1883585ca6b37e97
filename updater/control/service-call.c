/* SPDX-License-Identifier: MIT */

#include "control/service-call.h"
#include "control/operator.h"
#include "base/str.h"
#include "base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#define OPTIONS_MAX 16u
#define USEC        UINT64_C(1000000)

void call_done(Call *c)
{
        free(c->version);
        free(c->release);
        free(c->omaha_url);
        free(c->omaha_app);
        free(c->omaha_track);
        free(c->text);
        free(c->reason);
        free(c->user);
        *c = (Call){ 0 };
}

Call *call_free(Call *c)
{
        if (c)
                call_done(c);
        free(c);
        return NULL;
}

void call_freep(Call **c)
{
        *c = call_free(*c);
}

static int wrong(Why *why, const char *what, const char *problem)
{
        (void) fail(why, -EINVAL, WHY_USAGE, "usage", "%s: %s", what, problem);
        return fail_hint(why, -EINVAL, "see org.gybe.Update1.xml");
}

static int check_text(const char *what, const char *text, size_t min, size_t max, Why *why)
{
        char problem[64];
        size_t n = strlen(text);

        if (n < min)
                return wrong(why, what, "it is empty");
        if (n > max) {
                (void) snprintf(problem, sizeof(problem), "%zu bytes, at most %zu are taken", n, max);
                return wrong(why, what, problem);
        }
        for (const char *p = text; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        return wrong(why, what, "it has a control character");
        return 0;
}

int call_read_text(sd_bus_message *m, const char *what, size_t min, size_t max, char **ret, Why *why)
{
        const char *text;
        int r = sd_bus_message_read(m, "s", &text);

        if (r <= 0)
                return wrong(why, what, "a text is wanted");
        r = check_text(what, text, min, max, why);
        if (r < 0)
                return r;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

int call_read_until(sd_bus_message *m, uint64_t *ret, Why *why)
{
        uint64_t usec;

        if (sd_bus_message_read(m, "t", &usec) <= 0)
                return wrong(why, "until", "a time is wanted");
        *ret = usec == 0 || usec == UINT64_MAX ? UINT64_MAX : usec / USEC;
        return 0;
}

/* --- options --- */

static const struct {
        const char *name, *type;
        CallOption bit;
} known_options[] = {
        { "version", "s", CALL_OPTION_VERSION },          { "release", "s", CALL_OPTION_RELEASE },
        { "allowDowngrade", "b", CALL_OPTION_DOWNGRADE }, { "override", "b", CALL_OPTION_OVERRIDE },
        { "noReboot", "b", CALL_OPTION_NO_REBOOT },       { "at", "t", CALL_OPTION_AT },
        { "omaha-url", "s", CALL_OPTION_OMAHA_URL },      { "omaha-app", "s", CALL_OPTION_OMAHA_APP },
        { "omaha-track", "s", CALL_OPTION_OMAHA_TRACK },
};

static int read_value(sd_bus_message *m, CallOption bit, const char *name, Call *c, Why *why)
{
        uint64_t usec = 0;
        int flag = 0;

        switch (bit) {
        case CALL_OPTION_VERSION:
                return call_read_text(m, name, 1, CALL_VERSION_MAX, &c->version, why);
        case CALL_OPTION_RELEASE:
                return call_read_text(m, name, 1, CALL_RELEASE_MAX, &c->release, why);
        case CALL_OPTION_OMAHA_URL:
                return call_read_text(m, name, 1, CALL_RELEASE_MAX, &c->omaha_url, why);
        case CALL_OPTION_OMAHA_APP:
                return call_read_text(m, name, 1, CALL_NAME_MAX, &c->omaha_app, why);
        case CALL_OPTION_OMAHA_TRACK:
                return call_read_text(m, name, 1, CALL_NAME_MAX, &c->omaha_track, why);
        case CALL_OPTION_AT:
                if (sd_bus_message_read(m, "t", &usec) <= 0)
                        return wrong(why, name, "a time is wanted");
                c->at = usec / USEC;
                return 0;
        default:
                if (sd_bus_message_read(m, "b", &flag) <= 0)
                        return wrong(why, name, "yes or no is wanted");
        }
        if (bit == CALL_OPTION_DOWNGRADE)
                c->allow_downgrade = flag;
        else if (bit == CALL_OPTION_OVERRIDE)
                c->override = flag;
        else
                c->no_reboot = flag;
        return 0;
}

static int read_option(sd_bus_message *m, unsigned allowed, Call *c, Why *why)
{
        const char *name, *type = NULL;
        char shown[40];
        int r;

        if (sd_bus_message_read(m, "s", &name) <= 0)
                return wrong(why, "options", "they cannot be read");
        (void) snprintf(shown, sizeof(shown), "option %.30s", name);
        for (size_t i = 0; i < ELEMENTSOF(known_options); i++) {
                CallOption bit = known_options[i].bit;

                if (!streq(name, known_options[i].name) || !(allowed & bit))
                        continue;
                if (c->given & bit)
                        return wrong(why, shown, "it is given twice");
                if (sd_bus_message_peek_type(m, NULL, &type) <= 0 || !streq0(type, known_options[i].type))
                        return wrong(why, shown, "its value is of another type");
                if (sd_bus_message_enter_container(m, 'v', type) <= 0)
                        return wrong(why, shown, "it cannot be read");
                r = read_value(m, bit, name, c, why);
                if (r < 0)
                        return r;
                c->given |= bit;
                return sd_bus_message_exit_container(m);
        }
        return wrong(why, shown, "this method has no such option");
}

int call_read_options(sd_bus_message *m, unsigned allowed, Call *c, Why *why)
{
        int r;

        if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
                return wrong(why, "options", "they cannot be read");
        for (unsigned n = 0; (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0; n++) {
                if (n >= OPTIONS_MAX)
                        return wrong(why, "options", "there are too many");
                r = read_option(m, allowed, c, why);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return fail(why, r, WHY_USAGE, "usage", "options: they cannot be read");
        }
        if (r < 0 || sd_bus_message_exit_container(m) < 0)
                return wrong(why, "options", "they cannot be read");
        if (c->version && c->release)
                return wrong(why, "options", "name a release or a version, not both");
        return 0;
}

/* --- the caller --- */

int call_read_caller(sd_bus_message *m, const Env *env, Call *c, Why *why)
{
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        uid_t uid = (uid_t) -1;
        int r;

        /* From the bus, which knows who opened the connection; nothing out of /proc decides. */
        r = sd_bus_query_sender_creds(m, SD_BUS_CREDS_EUID, &creds);
        if (r >= 0)
                r = sd_bus_creds_get_euid(creds, &uid);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "asking the bus who called");
        c->uid = uid;
        c->user = operator_name(env, uid);
        return 0;
}

/* --- the answer of a failure --- */

static const char *error_name(int r, const Why *why)
{
        static const char *const names[_WHY_MAX] = {
                [WHY_TRUST] = "org.gybe.Update1.Error.Trust",
                [WHY_POLICY] = "org.gybe.Update1.Error.Policy",
                [WHY_BUSY] = "org.gybe.Update1.Error.Busy",
                [WHY_USAGE] = "org.gybe.Update1.Error.Usage",
                [WHY_NOTHING] = "org.gybe.Update1.Error.NothingToDo",
        };

        if (r == -EACCES)
                return streq(why->code, "password-wanted") ? SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED
                                                           : SD_BUS_ERROR_ACCESS_DENIED;
        return (unsigned) why->kind < _WHY_MAX && names[why->kind] ? names[why->kind]
                                                                   : "org.gybe.Update1.Error.Failed";
}

int call_refuse(sd_bus_message *m, int r, const Why *why)
{
        const char *text = why->text[0] ? why->text : strerror(-r);
        char line[sizeof(why->text) + sizeof(why->hint) + 4];

        (void) snprintf(line, sizeof(line), "%s%s%s", text, why->hint[0] ? "; " : "", why->hint);
        utf8_repair(line);
        return sd_bus_reply_method_error(m, &SD_BUS_ERROR_MAKE_CONST(error_name(r, why), line));
}
