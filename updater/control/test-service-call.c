/* SPDX-License-Identifier: MIT */
#undef NDEBUG

#include "base/str.h"
#include "control/service-call.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define ALL 0x3fu

/* A message that was never sent: what sd-bus hands to a method. */
static sd_bus *bus;

static void open_bus(void)
{
        int fds[2];

        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) >= 0);
        assert(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, fds[0], fds[0]) >= 0 && sd_bus_start(bus) >= 0);
        (void) close(fds[1]);
}

static sd_bus_message *message_new(void)
{
        sd_bus_message *m = NULL;

        assert(sd_bus_message_new_signal(bus, &m, "/a", "a.b", "C") >= 0);
        return m;
}

static sd_bus_message *ready(sd_bus_message *m)
{
        assert(sd_bus_message_seal(m, 1, 0) >= 0 && sd_bus_message_rewind(m, true) >= 0);
        return m;
}

typedef struct Case {
        const char *why; /* NULL: taken; else a word of the sentence */
        unsigned allowed;
        const char *key1, *type1, *text1;
        const char *key2, *type2, *text2;
} Case;

static void add(sd_bus_message *m, const char *key, const char *type, const char *text)
{
        if (!key)
                return;
        switch (type[0]) {
        case 's':
                assert(sd_bus_message_append(m, "{sv}", key, "s", text) >= 0);
                break;
        case 'b':
                assert(sd_bus_message_append(m, "{sv}", key, "b", streq(text, "yes")) >= 0);
                break;
        case 't':
                assert(sd_bus_message_append(m, "{sv}", key, "t", (uint64_t) strtoull(text, NULL, 10)) >= 0);
                break;
        default:
                assert(sd_bus_message_append(m, "{sv}", key, "as", 2, "x", "y") >= 0);
        }
}

static int read_case(const Case *c, Call *call, Why *why)
{
        sd_bus_message *m = message_new();
        int r;

        assert(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
        add(m, c->key1, c->type1, c->text1);
        add(m, c->key2, c->type2, c->text2);
        assert(sd_bus_message_close_container(m) >= 0);
        r = call_read_options(ready(m), c->allowed, call, why);
        assert(r < 0 || sd_bus_message_at_end(m, true) > 0);
        sd_bus_message_unref(m);
        return r;
}

static void test_options(void)
{
        static char longest[CALL_VERSION_MAX + 1], too_long[CALL_VERSION_MAX + 2], path[CALL_RELEASE_MAX + 2];
        static const Case cases[] = {
                { NULL, 0 },
                { NULL, ALL, "version", "s", "3.0.2", "override", "b", "yes" },
                { NULL, ALL, "release", "s", "/srv/x.release.json", "noReboot", "b", "yes" },
                { NULL, ALL, "version", "s", longest },
                { NULL, ALL, "at", "t", "1790000000000000" },
                { "no such option", 0, "version", "s", "3.0.2" },
                { "no such option", ALL, "colour", "s", "red" },
                { "no such option", ALL, "Version", "s", "3.0.2" }, /* names are exact */
                { "no such option", ALL, "", "s", "" },
                { "another type", ALL, "version", "b", "yes" },
                { "another type", ALL, "override", "s", "yes" },
                { "another type", ALL, "release", "as", "" },
                { "another type", ALL, "at", "s", "now" },
                { "given twice", ALL, "version", "s", "1", "version", "s", "2" },
                { "not both", ALL, "version", "s", "1", "release", "s", "/x" },
                { "empty", ALL, "version", "s", "" },
                { "129 bytes", ALL, "version", "s", too_long },
                { "4097 bytes", ALL, "release", "s", path },
                { "control", ALL, "version", "s", "3.0\n2" },
                { "control", ALL, "release", "s", "\033[2J" },
        };

        memset(longest, '1', CALL_VERSION_MAX);
        memset(too_long, '1', CALL_VERSION_MAX + 1);
        memset(path, '/', CALL_RELEASE_MAX + 1);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(call_done) Call call = { 0 };
                Why why = { 0 };
                int r = read_case(&cases[i], &call, &why);

                if (!cases[i].why) {
                        assert(r == 0 && why.kind == WHY_NONE);
                        continue;
                }
                assert(r < 0 && why.kind == WHY_USAGE && strstr(why.text, cases[i].why));
        }
}

static void test_values(void)
{
        static const Case c = { NULL, ALL, "version", "s", "3.0.2", "override", "b", "yes" };
        static const Case at = { NULL, ALL, "at", "t", "1790000000999999" };
        _cleanup_(call_done) Call call = { 0 }, when = { 0 };

        assert(read_case(&c, &call, NULL) == 0);
        assert(streq(call.version, "3.0.2") && call.override && !call.no_reboot && !call.allow_downgrade);
        assert(call.given == (CALL_OPTION_VERSION | CALL_OPTION_OVERRIDE));
        assert(read_case(&at, &when, NULL) == 0 && when.at == 1790000000);
}

static void test_many(void)
{
        _cleanup_(call_done) Call call = { 0 };
        sd_bus_message *m = message_new();
        Why why = { 0 };

        assert(sd_bus_message_open_container(m, 'a', "{sv}") >= 0);
        for (unsigned i = 0; i < 100000; i++)
                assert(sd_bus_message_append(m, "{sv}", "x", "s", "y") >= 0);
        assert(sd_bus_message_close_container(m) >= 0);
        assert(call_read_options(ready(m), ALL, &call, &why) < 0 && why.kind == WHY_USAGE);
        sd_bus_message_unref(m);
}

static void test_until(void)
{
        static const struct {
                uint64_t usec, sec;
        } cases[] = { { 0, UINT64_MAX }, { UINT64_MAX, UINT64_MAX }, { 1790000000000001, 1790000000 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                sd_bus_message *m = message_new();
                uint64_t sec = 7;

                assert(sd_bus_message_append(m, "t", cases[i].usec) >= 0);
                assert(call_read_until(ready(m), &sec, NULL) == 0 && sec == cases[i].sec);
                sd_bus_message_unref(m);
        }
}

int main(void)
{
        open_bus();
        test_options();
        test_values();
        test_many();
        test_until();
        sd_bus_unref(bus);
        return 0;
}
