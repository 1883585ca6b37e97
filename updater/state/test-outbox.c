/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static uint64_t now = 1793772000;

static uint64_t test_now(void *ctx _unused_)
{
        return now;
}

static const char *id_of(unsigned n)
{
        static char id[OUTBOX_ID_SIZE];

        (void) snprintf(id, sizeof(id), "00000000-0000-4000-8000-%012u", n);
        return id;
}

static int add(const Env *env, unsigned n, bool progress)
{
        _cleanup_(json_unrefp) Json *report = json_new_object();

        json_set_str(report, "event", progress ? "staged" : "committed");
        json_set_str(report, "id", "not-this-one"); /* what identifies an entry is not the caller's to say */
        json_set_u64(report, "number", 777);
        return outbox_add(env, OUTBOX_REPORTS, id_of(n), report, progress, NULL);
}

static OutboxEntry first(const Env *env)
{
        OutboxEntry e = { 0 };

        assert(outbox_first(env, OUTBOX_REPORTS, &e, NULL, NULL) == 1);
        return e;
}

static OutboxState state_of(const Env *env)
{
        OutboxState s = { 0 };

        assert(outbox_state(env, OUTBOX_REPORTS, &s, NULL) == 0);
        return s;
}

static uint64_t due(const Env *env)
{
        uint64_t at = 0;

        assert(outbox_due(env, OUTBOX_REPORTS, &at, NULL) == 0);
        return at;
}

/* As the room itself leaves one, without waiting for the disk. */
static void write_file(const Env *env, const char *name, const char *text)
{
        _cleanup_(close_fdp) int dir_fd = env_open_dir(env, STATE_DIR "/outbox");
        _cleanup_(close_fdp) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert(fd >= 0 && fd_write_full(fd, text, strlen(text)) == 0);
}

static void fill(const Env *env, unsigned from, unsigned to, bool (*is_progress)(unsigned n))
{
        for (unsigned n = from; n < to; n++) {
                _cleanup_(free_charp) char *text =
                        str_printf("{\"schema\":\"gybe.report/1\",\"id\":\"%s\",\"kind\":\"%s\"}", id_of(n),
                                   is_progress(n) ? "progress" : "outcome");
                char name[16];

                (void) snprintf(name, sizeof(name), "%08u.json", n + 1);
                write_file(env, name, text);
        }
}

static bool two_of_three(unsigned n)
{
        return n % 3 != 0;
}

static bool never(unsigned n _unused_)
{
        return false;
}

static bool has_file(const Env *env, const char *name)
{
        _cleanup_(free_charp) char *path = str_printf(STATE_DIR "/outbox/%s", name);
        _cleanup_(close_fdp) int fd = env_open_path(env, path, O_RDONLY, 0);

        return fd >= 0;
}

static void reset(const Env *env)
{
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR, 0700);

        assert(fd >= 0 && dir_remove(fd, "outbox") == 0);
}

static void test_order(const Env *env)
{
        OutboxEntry none = { 0 };

        assert(outbox_first(env, OUTBOX_REPORTS, &none, NULL, NULL) == 0 && due(env) == UINT64_MAX);
        for (unsigned i = 1; i <= 3; i++)
                assert(add(env, i, false) == 1);
        assert(add(env, 2, false) == 0); /* the same outcome, told again after a crash */
        assert(due(env) == 0 && state_of(env).pending == 3);
        for (unsigned i = 1; i <= 3; i++) {
                OutboxEntry e = first(env);

                assert(e.number == i && streq(e.id, id_of(i)) && !e.progress);
                assert(strstr(e.text, "\"schema\":\"gybe.report/1\"") &&
                       strstr(e.text, "\"event\":\"committed\"") && !strstr(e.text, "not-this-one") &&
                       !strstr(e.text, "777"));
                /* not removed: the same one again, under the same id */
                outbox_entry_done(&e);
                e = first(env);
                assert(e.number == i && streq(e.id, id_of(i)));
                assert(outbox_delivered(env, OUTBOX_REPORTS, &e, NULL) == 0);
                assert(outbox_delivered(env, OUTBOX_REPORTS, &e, NULL) ==
                       0); /* killed behind it, and done again */
                outbox_entry_done(&e);
        }
        assert(outbox_first(env, OUTBOX_REPORTS, &none, NULL, NULL) == 0 && due(env) == UINT64_MAX);
        /* numbers go on where they were, also when no file shows them */
        assert(add(env, 4, true) == 1);
        none = first(env);
        assert(none.number == 4 && none.progress);
        outbox_entry_done(&none);
        assert(state_of(env).last_delivered == now);
}

static void test_reject(const Env *env)
{
        _cleanup_(outbox_entry_done) OutboxEntry e = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        reset(env);
        assert(add(env, 1, false) == 1 && add(env, 2, false) == 1);
        e = first(env);
        assert(outbox_rejected(env, OUTBOX_REPORTS, &e, 422, "no\x1b[2J such \xff host", NULL) == 0);
        assert(state_of(env).pending == 1 && state_of(env).rejected == 1);
        assert(env_read(env, STATE_DIR "/outbox/rejected/00000001.json", 65536, &b) == 0);
        assert(strstr((char *) b.data, "\"status\":422") && strstr((char *) b.data, "no?[2J such ? host"));
        outbox_entry_done(&e);
        e = first(env);
        assert(e.number == 2);
        assert(outbox_delivered(env, OUTBOX_REPORTS, &e, NULL) == 0 && add(env, 3, false) == 1);
        for (unsigned i = 4; i < 80; i++) { /* only the newest few are kept */
                outbox_entry_done(&e);
                e = first(env);
                assert(e.number == i - 1 && outbox_rejected(env, OUTBOX_REPORTS, &e, 400, NULL, NULL) == 0);
                assert(add(env, i, false) == 1);
        }
        assert(state_of(env).rejected == 64 && !has_file(env, "rejected/00000001.json") &&
               has_file(env, "rejected/00000078.json"));
}

static void test_failures(const Env *env)
{
        uint64_t last = 0;

        reset(env);
        assert(add(env, 1, false) == 1);
        for (unsigned i = 1; i < 20; i++) {
                OutboxState s;

                assert(outbox_failed(env, OUTBOX_REPORTS, 0, "http://x/: refused\n", NULL) == 0);
                s = state_of(env);
                assert(s.failures == i && streq(s.message, "http://x/: refused?"));
                assert(s.not_before > now && s.not_before <= now + 3600 && due(env) == s.not_before);
                if (i < 6)
                        assert(s.not_before - now >= 15u << (i - 1) && s.not_before - now <= 30u << (i - 1));
                last = s.not_before;
                outbox_state_done(&s);
        }
        assert(last >= now + 1800);
        assert(outbox_failed(env, OUTBOX_REPORTS, 86400, "later", NULL) == 0 &&
               due(env) == now + 86400); /* Retry-After */
        /* the clock was set back: nobody waits for years */
        now -= 365 * 86400u;
        assert(due(env) == 0);
        now += 365 * 86400u;
        assert(due(env) == now + 86400);
        {
                OutboxEntry e = first(env);
                OutboxState s;

                assert(add(env, 2, false) == 1 && outbox_delivered(env, OUTBOX_REPORTS, &e, NULL) == 0);
                s = state_of(env);
                assert(s.failures == 0 && !s.message && due(env) == 0);
                outbox_entry_done(&e);
        }
}

static void test_what_cannot_be_read(const Env *env)
{
        static const char *const bad[] = {
                "",
                "{",
                "[]",
                "{\"schema\":\"gybe.report/2\",\"id\":\"00000000-0000-4000-8000-000000000001\"}",
                "{\"schema\":\"gybe.journal/1\",\"id\":\"00000000-0000-4000-8000-000000000001\"}",
                "{\"schema\":\"gybe.report/1\"}",
                "{\"schema\":\"gybe.report/1\",\"id\":\"x\\r\\nEvil: 1\"}",
        };
        _cleanup_(outbox_entry_done) OutboxEntry e = { 0 };
        _cleanup_(free_charp) char *aside = NULL;

        reset(env);
        assert(add(env, 1, false) == 1);
        write_file(env, "state.json", "rubbish");
        assert(due(env) == 0 && state_of(env).failures == 0);
        for (unsigned i = 0; i < ELEMENTSOF(bad); i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "%08u.json", i + 2);
                write_file(env, name, bad[i]);
        }
        write_file(env, "12.json", "{}"); /* names that are not ours stay where they are */
        write_file(env, "00000000.json", "{}");
        write_file(env, "000000001.json", "{}");
        write_file(env, "00000099.json.new~", "{}");
        assert(add(env, 2, false) == 1);
        e = first(env);
        assert(e.number == 1 && outbox_delivered(env, OUTBOX_REPORTS, &e, NULL) == 0);
        outbox_entry_done(&e);
        assert(outbox_first(env, OUTBOX_REPORTS, &e, &aside, NULL) == 1);
        assert(e.number == ELEMENTSOF(bad) + 2 && streq(e.id, id_of(2)) && aside);
        assert(state_of(env).rejected == ELEMENTSOF(bad) && state_of(env).pending == 1);
        assert(has_file(env, "rejected/00000002.json") && has_file(env, "12.json"));
}

static void test_room(const Env *env)
{
        OutboxEntry e;
        unsigned n;

        reset(env);
        assert(add(env, 0, false) == 1);
        fill(env, 1, 256, two_of_three);
        for (n = 256; n < 266; n++)
                assert(add(env, n, true) == 1);
        assert(state_of(env).pending == 256);
        e = first(env);
        assert(e.number == 1 && !e.progress); /* the first outcome is still the first */
        outbox_entry_done(&e);
        assert(!has_file(env, "00000002.json") && !has_file(env, "00000003.json") &&
               has_file(env, "00000004.json") && !has_file(env, "00000014.json") &&
               has_file(env, "00000017.json"));
        /* outcomes alone are never dropped, until this host is certainly caught in a loop */
        reset(env);
        assert(add(env, 0, false) == 1);
        fill(env, 1, 1022, never);
        for (n = 1022; n < 1024; n++)
                assert(add(env, n, false) == 1);
        assert(add(env, n, false) == -EDQUOT && state_of(env).pending == 1024);
        assert(add(env, 5, false) == 0);
}

static void test_long(const Env *env)
{
        _cleanup_(json_unrefp) Json *report = json_new_object();
        _cleanup_(free_charp) char *text = malloc(OUTBOX_REPORT_MAX + 1);

        reset(env);
        assert(text);
        memset(text, 'x', OUTBOX_REPORT_MAX);
        text[OUTBOX_REPORT_MAX] = 0;
        json_set_str(report, "message", text);
        assert(outbox_add(env, OUTBOX_REPORTS, id_of(1), report, false, NULL) == -EMSGSIZE &&
               state_of(env).pending == 0);
}

int main(void)
{
        char dir[] = "/tmp/gybe-outbox-XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        env.now = test_now;
        test_order(&env);
        test_reject(&env);
        test_failures(&env);
        test_what_cannot_be_read(&env);
        test_room(&env);
        test_long(&env);
        assert(backoff_sec(0) == 0);
        {
                _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");
                assert(dir_remove(tmp, dir + strlen("/tmp/")) == 0);
        }
        return 0;
}
