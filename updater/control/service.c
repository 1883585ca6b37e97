/* SPDX-License-Identifier: MIT */

#include "base/str.h"
#include "control/service-parts.h"

#include <errno.h>
#include <time.h>

#define PROGRESS_EVERY_US 450000u /* at most two signals a second, with room for a timer that is early */

/* sd-bus would ask for privileges by itself; here everybody may call, and polkit is asked where it matters. */
#define ANYBODY SD_BUS_VTABLE_UNPRIVILEGED
#define VALUE(name, type)                                                                                    \
        SD_BUS_PROPERTY(name, type, service_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

/* The same as org.gybe.Update1.xml; a test compares them. */
/* clang-format off */
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Check", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Stage", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Finalize", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Update", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Commit", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Rollback", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", id),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("JobResult", SD_BUS_ARGS("s", id), SD_BUS_RESULT("b", ended, "i", exit, "s", result),
                                service_reading_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Pin", SD_BUS_ARGS("s", version), SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Unpin", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Hold", SD_BUS_ARGS("t", until, "s", reason), SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Unhold", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Skip", SD_BUS_ARGS("s", version), SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Unskip", SD_BUS_ARGS("s", version), SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ClearQuarantine", SD_BUS_ARGS("s", id), SD_BUS_RESULT("u", cleared),
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                                service_changing_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Describe", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", status),
                                service_reading_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("s", policy),
                                service_reading_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ListQuarantine", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", quarantine),
                                service_reading_call, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Audit", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", audit),
                                service_changing_call, ANYBODY),
        SD_BUS_SIGNAL_WITH_ARGS("JobFinished", SD_BUS_ARGS("s", id, "s", verb, "i", exit, "s", result), 0),
        SD_BUS_PROPERTY("Version", "s", service_property, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        VALUE("Phase", "s"),
        VALUE("RunningSlot", "s"),
        VALUE("RunningVersion", "s"),
        VALUE("TargetVersion", "s"),
        VALUE("OfferedVersion", "s"),
        VALUE("Slots", "a{sa{sv}}"),
        VALUE("Progress", "a{sv}"),
        VALUE("NextAction", "s"),
        VALUE("NextActionTime", "t"),
        VALUE("NextActionBecause", "s"),
        VALUE("LastOutcome", "s"),
        VALUE("LastReason", "s"),
        VALUE("LastMessage", "s"),
        VALUE("LastError", "s"),
        VALUE("LastCheck", "t"),
        VALUE("JobId", "s"),
        VALUE("JobVerb", "s"),
        VALUE("Automation", "s"),
        VALUE("Pin", "s"),
        VALUE("Skip", "as"),
        VALUE("Held", "b"),
        VALUE("HoldUntil", "t"),
        VALUE("HoldReason", "s"),
        VALUE("HoldBy", "s"),
        SD_BUS_VTABLE_END
};
/* clang-format on */

static int claim(Service *s, Why *why)
{
        int r = sd_bus_request_name(s->bus, SERVICE_NAME, 0);

        if (r == -EEXIST || r == -EALREADY) {
                (void) fail(why, -EEXIST, WHY_BUSY, "busy", "%s: another agent has this name", SERVICE_NAME);
                return fail_hint(why, -EEXIST, "systemctl status gybed says which");
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s: asking the bus for this name", SERVICE_NAME) : 0;
}

int service_open(const ServiceOptions *options, Service **ret, Why *why)
{
        _cleanup_(service_freep) Service *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->env = options->env;
        s->agent = options->agent;
        s->bus = options->bus;
        s->kick = options->kick;
        s->ctx = options->ctx;
        r = polkit_open(s->bus, &s->polkit);
        if (r >= 0)
                r = sd_bus_add_object_vtable(s->bus, &s->object, SERVICE_PATH, SERVICE_INTERFACE, vtable, s);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", SERVICE_PATH);
        r = claim(s, why);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

Service *service_free(Service *s)
{
        if (!s)
                return NULL;
        s->polkit = polkit_free(s->polkit);
        s->object = sd_bus_slot_unref(s->object);
        free(s);
        return NULL;
}

void service_freep(Service **s)
{
        *s = service_free(*s);
}

/* --- signals: whoever does not get one asks again, so a failure is not one --- */

static uint64_t monotonic_us(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

void service_changed(Service *s, unsigned change_bits)
{
        char *names[SERVICE_PROPERTIES_MAX];
        uint64_t now = monotonic_us();

        /* The next progress is never far, and the end of a job is told in any case. */
        if (change_bits == AGENT_CHANGED_PROGRESS && now - s->progress_told_us < PROGRESS_EVERY_US)
                return;
        if (change_bits & AGENT_CHANGED_PROGRESS)
                s->progress_told_us = now;
        service_touched(change_bits, names);
        if (names[0])
                (void) sd_bus_emit_properties_changed_strv(s->bus, SERVICE_PATH, SERVICE_INTERFACE, names);
}

void service_job_ended(Service *s, const char *id, const char *verb, int exit_code, const Json *result)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = sd_bus_message_new_signal(s->bus, &m, SERVICE_PATH, SERVICE_INTERFACE, "JobFinished");

        if (r >= 0)
                r = sd_bus_message_append(m, "ssi", id, verb, (int32_t) exit_code);
        if (r >= 0)
                r = result ? service_append_json(m, result) : sd_bus_message_append(m, "s", "");
        if (r >= 0)
                (void) sd_bus_send(s->bus, m, NULL);
}
