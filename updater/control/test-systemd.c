/* SPDX-License-Identifier: MIT */

/* Without arguments: no bus is ever spoken to that must not be. With arguments a client for
 * integration-tests/walk/test-systemd.py, which puts a bus with a systemd of its own behind it:
 *
 *      test-systemd [--root DIR] units | start UNIT | stop UNIT | running UNIT | reboot | reboot-override
 */

#undef NDEBUG
#include "control/systemd.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int print_units(const Env *env, Why *why)
{
        _cleanup_(health_units_done) HealthUnits units = { 0 };
        int r = systemd_units(env, &units, why);

        for (size_t i = 0; r >= 0 && i < units.n_units; i++) {
                const HealthUnit *u = &units.units[i];

                printf("%s %s %s %s %llu %s %llu\n", u->name, u->load_state, u->active_state, u->sub_state,
                       (unsigned long long) u->restarts, u->result ? u->result : "-",
                       (unsigned long long) u->since_sec);
        }
        return r;
}

static int client_run(const Env *env, char *argv[], Why *why)
{
        int r;

        if (streq(argv[0], "units"))
                return print_units(env, why);
        if (streq(argv[0], "start"))
                return systemd_start_unit(env, argv[1], why);
        if (streq(argv[0], "stop"))
                return systemd_stop_unit(env, argv[1], why);
        if (streq(argv[0], "running")) {
                r = systemd_unit_is_running(env, argv[1], why);
                if (r >= 0)
                        printf("%i\n", r);
                return r;
        }
        assert(streq(argv[0], "reboot") || streq(argv[0], "reboot-override"));
        return systemd_reboot(env, streq(argv[0], "reboot-override"), why);
}

static int client(char *argv[])
{
        _cleanup_(env_done) Env env = ENV_NULL;
        const char *root = streq(argv[1], "--root") ? argv[2] : NULL;
        Why why = { 0 };
        int r;

        assert(env_open(root, &env, &why) >= 0);
        r = client_run(&env, argv + (root ? 3 : 1), &why);
        assert((r < 0) == (why.kind != WHY_NONE));
        if (r < 0)
                printf("%s %s %s: %s; %s\n", why_kind_name(why.kind), strerrorname_np(-r), why.code, why.text,
                       why.hint);
        return r < 0 ? why_exit_code(&why) : 0;
}

/* --- the unit test --- */

static int nobody_called(int listener)
{
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

        return fd < 0 && errno == EAGAIN;
}

static void expect_no_bus(const Env *env)
{
        HealthUnits units = { 0 };
        Why why[5] = { 0 };

        assert(systemd_units(env, &units, &why[0]) == -ENOSYS && units.n_units == 0);
        assert(systemd_start_unit(env, "x.service", &why[1]) == -ENOSYS);
        assert(systemd_stop_unit(env, "x.service", &why[2]) == -ENOSYS);
        assert(systemd_unit_is_running(env, "x.service", &why[3]) == -ENOSYS);
        assert(systemd_reboot(env, true, &why[4]) == -ENOSYS);
        for (size_t i = 0; i < ELEMENTSOF(why); i++)
                assert(why[i].kind == WHY_HOST && streq(why[i].code, "no-systemd"));
        assert(systemd_reboot(env, true, NULL) == -ENOSYS); /* a caller may not care why */
}

/* A socket where a bus would be, under a name that could be the machine's own. */
static int listen_at(const char *path)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        assert(fd >= 0 && bind(fd, (struct sockaddr *) &sa, sizeof(sa)) == 0 && listen(fd, 5) == 0);
        return fd;
}

static void test_files_have_no_bus(void)
{
        static const struct {
                const char *test, *name;
        } table[] = {
                { NULL, "bus" }, /* an address alone is everybody's environment */
                { "0", "bus" },  { "yes", "bus" },
                { "1", NULL }, /* no address: that would be the machine's */
                { "1", "" },     { "1", "run/dbus/system_bus_socket" }, /* the machine's own, by name */
        };
        char dir[] = "/tmp/gybe-systemd-XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(free_charp) char *run = NULL, *dbus = NULL, *bus = NULL, *own = NULL;
        int one, two;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        run = str_printf("%s/run", dir);
        dbus = str_printf("%s/run/dbus", dir);
        bus = str_printf("%s/bus", dir);
        own = str_printf("%s/run/dbus/system_bus_socket", dir);
        assert(mkdir(run, 0700) == 0 && mkdir(dbus, 0700) == 0);
        one = listen_at(bus);
        two = listen_at(own);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(free_charp) char *address =
                        str_printf("unix:path=%s/%s", dir, table[i].name ? table[i].name : "");
                const char *value = table[i].name && !*table[i].name ? "" : address;

                assert(unsetenv("GYBE_TEST_BUS") == 0 && unsetenv("DBUS_SYSTEM_BUS_ADDRESS") == 0);
                assert(!table[i].test || setenv("GYBE_TEST_BUS", table[i].test, 1) == 0);
                assert(!table[i].name || setenv("DBUS_SYSTEM_BUS_ADDRESS", value, 1) == 0);
                expect_no_bus(&env);
                assert(nobody_called(one) && nobody_called(two));
        }
        /* and where it may be asked, but is not there */
        (void) unlink(bus);
        assert(setenv("GYBE_TEST_BUS", "1", 1) == 0);
        (void) close(one);
        free(bus);
        bus = str_printf("unix:path=%s/bus", dir);
        assert(setenv("DBUS_SYSTEM_BUS_ADDRESS", bus, 1) == 0);
        expect_no_bus(&env);
        (void) close(two);
        (void) unlink(own);
        (void) rmdir(dbus);
        (void) rmdir(run);
        (void) rmdir(dir);
}

int main(int argc, char *argv[])
{
        if (argc > 1)
                return client(argv);
        test_files_have_no_bus();
        return 0;
}
