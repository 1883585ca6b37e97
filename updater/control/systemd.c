/* SPDX-License-Identifier: MIT */

/* A connection lives as long as one question: nobody here waits for signals, and a bus that was restarted is no special
 * case. */

#include "control/systemd.h"
#include "control/systemd-bus.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define CALL_TIMEOUT_US (10u * 1000000u) /* PID 1 answers in milliseconds; a loaded one in a second */
#define UNITS_MAX       32768u           /* a node with hundreds of pods has some thousand mounts */
#define IN_FLIGHT_MAX                                                                                        \
        64u /* questions on the way at a time; dbus-daemon keeps 128 answers in mind for a client */
#define QUESTIONS_MAX 3u /* about one unit */

#define SYSTEMD     "org.freedesktop.systemd1"
#define MANAGER     "/org/freedesktop/systemd1", SYSTEMD ".Manager"
#define UNIT_PREFIX "/org/freedesktop/systemd1/unit"
#define REAL_SOCKET "run/dbus/system_bus_socket"

/* --- the bus --- */

void systemd_bus_closep(sd_bus **bus)
{
        (void) sd_bus_flush_close_unref(*bus);
}

static int no_systemd(Why *why, const char *because)
{
        return fail(why, -ENOSYS, WHY_HOST, "no-systemd", "systemd: %s", because);
}

/* A host made of files has no bus, whatever this program's own environment says: only a test that asks for it by name gets
 * one, and never the machine's own. */
bool systemd_may_ask(const Env *env)
{
        const char *test = secure_getenv("GYBE_TEST_BUS"),
                   *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");

        if (env_is_real(env))
                return true;
        return streq0(test, "1") && address && *address && !strstr(address, REAL_SOCKET);
}

int systemd_bus_open(const Env *env, sd_bus **ret, Why *why)
{
        _cleanup_(systemd_bus_closep) sd_bus *bus = NULL;
        int r;

        if (!systemd_may_ask(env))
                return no_systemd(why, "a host made of files has none");
        r = sd_bus_open_system(&bus);
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "systemd");
        if (r < 0)
                return no_systemd(why, "no system bus can be reached");
        r = sd_bus_set_method_call_timeout(bus, CALL_TIMEOUT_US);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "systemd");
        *ret = TAKE(bus);
        return 0;
}

static bool nobody_serves(const sd_bus_error *e)
{
        return sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                                      "org.freedesktop.DBus.Error.Spawn.ChildExited",
                                      "org.freedesktop.DBus.Error.Spawn.ServiceNotFound") > 0;
}

void systemd_quote(char *out, size_t size, const char *text)
{
        size_t n = strnlen(text, size - 1);

        if (text[n])
                while (n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
                        n--;
        memcpy(out, text, n);
        out[n] = 0;
}

int systemd_bus_failed(int r, const sd_bus_error *error, const char *what, Why *why)
{
        char text[200];

        if (sd_bus_error_is_set(error) && nobody_serves(error))
                return no_systemd(why, "it does not answer on the system bus");
        if (!sd_bus_error_is_set(error) &&
            (r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE || r == -ESHUTDOWN))
                return no_systemd(why, "the system bus has gone away");
        systemd_quote(text, sizeof(text),
                      sd_bus_error_is_set(error) && error->message ? error->message : strerror(-r));
        return fail(why, r, WHY_HOST, "systemd", "%s: %s", what, text);
}

/* --- units by name --- */

static bool is_no_such_unit(const sd_bus_error *e)
{
        return sd_bus_error_has_name(e, "org.freedesktop.systemd1.NoSuchUnit");
}

/* 1 done, 0 there is no such unit */
static int order(const Env *env, const char *method, const char *unit, Why *why)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(systemd_bus_closep) sd_bus *bus = NULL;
        char what[300];
        int r;

        r = systemd_bus_open(env, &bus, why);
        if (r < 0)
                return r;
        r = sd_bus_call_method(bus, SYSTEMD, MANAGER, method, &error, NULL, "ss", unit, "fail");
        if (r >= 0 || is_no_such_unit(&error))
                return r >= 0;
        (void) snprintf(what, sizeof(what), "systemd: %s: %.255s", method, unit);
        return systemd_bus_failed(r, &error, what, why);
}

int systemd_start_unit(const Env *env, const char *unit, Why *why)
{
        int r = order(env, "StartUnit", unit, why);

        if (r != 0)
                return MIN(r, 0);
        return fail(why, -ENOENT, WHY_HOST, "no-unit", "systemd: %.255s: there is no such unit", unit);
}

int systemd_stop_unit(const Env *env, const char *unit, Why *why)
{
        int r = order(env, "StopUnit", unit, why);

        return MIN(r, 0); /* what is not loaded does not run */
}

/* A job that waits (to be started, most likely) is asked for before the state: the other way round, a unit that starts in
 * between would seem to be neither. */
static int path_is_running(sd_bus *bus, const char *path, sd_bus_error *error)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(free_charp) char *state = NULL;
        uint32_t job = 0;
        int r;

        r = sd_bus_get_property(bus, SYSTEMD, path, SYSTEMD ".Unit", "Job", error, &m, "(uo)");
        if (r >= 0)
                r = sd_bus_message_read(m, "(uo)", &job, NULL);
        if (r < 0 || job != 0)
                return r < 0 ? r : 1;
        r = sd_bus_get_property_string(bus, SYSTEMD, path, SYSTEMD ".Unit", "ActiveState", error, &state);
        if (r < 0)
                return r;
        return !streq(state, "inactive") && !streq(state, "failed");
}

int systemd_unit_is_running(const Env *env, const char *unit, Why *why)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(systemd_bus_closep) sd_bus *bus = NULL;
        const char *path = NULL;
        char what[300];
        int r;

        r = systemd_bus_open(env, &bus, why);
        if (r < 0)
                return r;
        r = sd_bus_call_method(bus, SYSTEMD, MANAGER, "GetUnit", &error, &m, "s", unit);
        if (r < 0 && is_no_such_unit(&error))
                return 0; /* not even loaded */
        if (r >= 0)
                r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = path_is_running(bus, path, &error);
        if (r >= 0)
                return r;
        if (sd_bus_error_has_names(&error, SD_BUS_ERROR_UNKNOWN_OBJECT,
                                   "org.freedesktop.systemd1.NoSuchUnit"))
                return 0; /* it ended while we asked */
        (void) snprintf(what, sizeof(what), "systemd: %.255s", unit);
        return systemd_bus_failed(r, &error, what, why);
}

/* --- all units --- */

static int add_unit(HealthUnits *units, size_t *room, const char *name, const char *load, const char *active,
                    const char *sub)
{
        HealthUnit *u;

        if (units->n_units == *room) {
                HealthUnit *more = reallocarray(units->units, *room * 2 + 64, sizeof(*more));
                if (!more)
                        return -ENOMEM;
                units->units = more;
                *room = *room * 2 + 64;
        }
        u = &units->units[units->n_units++];
        *u = (HealthUnit){ .name = strdup(name),
                           .load_state = strdup(load),
                           .active_state = strdup(active),
                           .sub_state = strdup(sub) };
        return u->name && u->load_state && u->active_state && u->sub_state ? 0 : -ENOMEM;
}

static int list_units(sd_bus *bus, HealthUnits *units, sd_bus_error *error)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *name, *load, *active, *sub;
        size_t room = 0;
        int r;

        r = sd_bus_call_method(bus, SYSTEMD, MANAGER, "ListUnits", error, &m, NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_read(m, "(ssssssouso)", &name, NULL, &load, &active, &sub, NULL,
                                                  NULL, NULL, NULL, NULL)) > 0)
                r = units->n_units < UNITS_MAX ? add_unit(units, &room, name, load, active, sub) : -EFBIG;
        return r;
}

/* Properties beyond the list: some hundred questions, but many on the way at the same time, so a few waits only. */
typedef struct Question {
        struct Questions *all;
        HealthUnit *unit;
        const char *interface, *property;
        void (*take)(HealthUnit *u, sd_bus_message *m);
} Question;

typedef struct Questions {
        sd_bus *bus;
        Question *list; /* QUESTIONS_MAX a unit; they must outlive the bus that has them on the way */
        size_t n, in_flight;
        int r;
} Questions;

static void questions_done(Questions *q)
{
        free(q->list);
}

static void take_restarts(HealthUnit *u, sd_bus_message *m)
{
        uint32_t n = 0;

        if (sd_bus_message_read(m, "v", "u", &n) >= 0)
                u->restarts = n;
}

static void take_result(HealthUnit *u, sd_bus_message *m)
{
        const char *s = NULL;

        if (!u->result && sd_bus_message_read(m, "v", "s", &s) >= 0 && *s)
                u->result = strdup(s); /* without memory it stays unknown */
}

static void take_since(HealthUnit *u, sd_bus_message *m)
{
        uint64_t us = 0;

        if (sd_bus_message_read(m, "v", "t", &us) >= 0)
                u->since_sec = us / 1000000;
}

/* "org.freedesktop.systemd1.Service" for x.service; NULL for kinds that have no result. */
static const char *kind_interface(const char *name)
{
        static const char *const kinds[][2] = {
                { ".service", SYSTEMD ".Service" }, { ".socket", SYSTEMD ".Socket" },
                { ".mount", SYSTEMD ".Mount" },     { ".timer", SYSTEMD ".Timer" },
                { ".path", SYSTEMD ".Path" },       { ".swap", SYSTEMD ".Swap" },
                { ".scope", SYSTEMD ".Scope" },     { ".automount", SYSTEMD ".Automount" },
        };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (str_ends(name, kinds[i][0]))
                        return kinds[i][1];
        return NULL;
}

/* Restarts of services that do something, and of those that were given up; how and when something failed or hangs. Nothing
 * about the rest: it is well, or never ran. */
static void plan_questions(Questions *q, HealthUnit *u)
{
        bool failed = streq(u->active_state, "failed"), waits = streq(u->active_state, "activating");
        const char *kind = kind_interface(u->name);

        if (str_ends(u->name, ".service") && !streq(u->active_state, "inactive"))
                q->list[q->n++] = (Question){ q, u, kind, "NRestarts", take_restarts };
        if (failed && kind)
                q->list[q->n++] = (Question){ q, u, kind, "Result", take_result };
        if (failed || waits)
                q->list[q->n++] =
                        (Question){ q, u, SYSTEMD ".Unit", "StateChangeTimestampMonotonic", take_since };
}

/* A unit that went away in between keeps what the list said. */
static int on_answer(sd_bus_message *m, void *ctx, sd_bus_error *error _unused_)
{
        Question *q = ctx;

        q->all->in_flight--;
        if (!sd_bus_message_is_method_error(m, NULL))
                q->take(q->unit, m);
        else if (sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY))
                q->all->r = -ETIMEDOUT; /* the next ones would wait as long, one after the other */
        return 0;
}

static int wait_for(Questions *q, size_t most)
{
        while (q->r >= 0 && q->in_flight > most) {
                int r = sd_bus_process(q->bus, NULL);

                if (r == 0)
                        r = sd_bus_wait(q->bus, CALL_TIMEOUT_US);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return q->r;
}

static int ask(Questions *q, Question *one)
{
        _cleanup_(free_charp) char *path = NULL;
        int r = sd_bus_path_encode(UNIT_PREFIX, one->unit->name, &path);

        if (r >= 0)
                r = sd_bus_call_method_async(q->bus, NULL, SYSTEMD, path, "org.freedesktop.DBus.Properties",
                                             "Get", on_answer, one, "ss", one->interface, one->property);
        if (r < 0)
                return r;
        q->in_flight++;
        return wait_for(q, IN_FLIGHT_MAX - 1);
}

static int ask_all(Questions *q, HealthUnits *units)
{
        int r = 0;

        q->list = calloc(MAX(units->n_units, (size_t) 1), QUESTIONS_MAX * sizeof(*q->list));
        if (!q->list)
                return -ENOMEM;
        for (size_t i = 0; i < units->n_units; i++)
                plan_questions(q, &units->units[i]);
        for (size_t i = 0; r >= 0 && i < q->n; i++)
                r = ask(q, &q->list[i]);
        return r < 0 ? r : wait_for(q, 0);
}

int systemd_units(const Env *env, HealthUnits *ret, Why *why)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(health_units_done) HealthUnits units = { 0 };
        _cleanup_(questions_done) Questions questions = { 0 };
        _cleanup_(systemd_bus_closep) sd_bus *bus = NULL;
        int r;

        r = systemd_bus_open(env, &bus, why);
        if (r < 0)
                return r;
        questions.bus = bus;
        r = list_units(bus, &units, &error);
        if (r >= 0)
                r = ask_all(&questions, &units);
        if (r < 0)
                return systemd_bus_failed(r, &error, "systemd: units", why);
        *ret = units;
        units = (HealthUnits){ 0 };
        return 0;
}
