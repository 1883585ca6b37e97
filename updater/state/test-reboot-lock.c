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

static RebootLock fleet(const char *url)
{
        return (RebootLock){ .coordinator = strdup("fleetlock"),
                             .url = strdup(url),
                             .group = strdup("workers"),
                             .id = strdup("abc") };
}

static RebootLock *ask(RebootLocks *l, const char *url, uint64_t now)
{
        RebootLock lock = fleet(url);
        RebootLock *r = reboot_locks_ask(l, &lock, now);

        assert(!lock.coordinator && r->state == LOCK_ASKED && r->since == now && r == reboot_locks_held(l));
        return r;
}

static void test_one_is_held(void)
{
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 };
        RebootLock *a;

        assert(!reboot_locks_held(&l) && !reboot_locks_unwant(&l, 1) &&
               reboot_locks_due(&l, 50) == UINT64_MAX);
        a = ask(&l, "http://a", 10);
        a->state = LOCK_GRANTED;
        assert(l.n == 1 && reboot_locks_due(&l, 50) == UINT64_MAX);
        a = ask(&l, "http://a", 20); /* again: the same lock */
        assert(l.n == 1);
        a->failures = 3;
        a->not_before = 99;
        assert(reboot_locks_unwant(&l, 30) && !reboot_locks_unwant(&l, 31) && !reboot_locks_held(&l));
        assert(l.locks[0].since == 30 && l.locks[0].failures == 0 && reboot_locks_due(&l, 50) == 0);
        l.locks[0].not_before = 77;
        assert(reboot_locks_due(&l, 50) == 77);
        l.locks[0].not_before = 50 + 48 * 3600; /* the clock was set back since */
        assert(reboot_locks_due(&l, 50) == 0);
        /* wanted once more before it was given back */
        (void) ask(&l, "http://a", 40);
        assert(l.n == 1 && reboot_locks_due(&l, 50) == UINT64_MAX);
        reboot_locks_forget(&l, &l.locks[0]);
        assert(l.n == 0);
}

static void test_others_are_given_back(void)
{
        static const char *const urls[] = { "http://a", "http://b", "http://c", "http://d", "http://e" };
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 };

        for (unsigned i = 0; i < ELEMENTSOF(urls); i++)
                (void) ask(&l, urls[i], i + 1);
        assert(l.n == REBOOT_LOCKS_MAX && streq(l.locks[0].url, "http://e") &&
               streq(l.locks[3].url, "http://b"));
        for (size_t i = 1; i < l.n; i++)
                assert(l.locks[i].state == LOCK_UNWANTED);
        assert(reboot_locks_due(&l, 50) == 0);
        (void) ask(&l, "http://c", 9);
        assert(l.n == 4 && streq(l.locks[0].url, "http://c") && streq(l.locks[1].url, "http://e"));
        reboot_locks_forget(&l, &l.locks[1]);
        assert(l.n == 3 && streq(l.locks[1].url, "http://d"));
}

static void test_file(const Env *env)
{
        static const char text[] =
                "{\"schema\":\"gybe.lock/1\",\"later\":{\"x\":1},\"locks\":[{\"coordinator\":\"fleetlock\","
                "\"url\":\"http://a\",\"state\":\"granted\",\"since\":\"2026-11-04T06:00:00Z\",\"more\":7}]}";
        _cleanup_(reboot_locks_done) RebootLocks l = { 0 }, back = { 0 };
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR, 0700);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        bool lost = true;

        assert(reboot_locks_load(env, &l, &lost, NULL) == 0 && l.n == 0 && !lost);
        assert(file_replace(fd, "lock.json", text, strlen(text), 0600) == 0);
        assert(reboot_locks_load(env, &l, &lost, NULL) == 0 && l.n == 1 && !lost);
        assert(l.locks[0].state == LOCK_GRANTED && l.locks[0].since == 1793772000);
        assert(reboot_locks_unwant(&l, 1793772001) && reboot_locks_save(env, &l, NULL) == 0);
        assert(env_read(env, STATE_DIR "/lock.json", 65536, &b) == 0);
        assert(strstr((char *) b.data, "\"later\"") && strstr((char *) b.data, "\"more\":7") &&
               strstr((char *) b.data, "\"unwanted\""));
        assert(reboot_locks_load(env, &back, &lost, NULL) == 0 && back.locks[0].since == 1793772001);
        reboot_locks_done(&back);
        /* what cannot be used is lost, said, and kept for an admin */
        assert(file_replace(fd, "lock.json", "{\"schema\":\"gybe.lock/2\"}", 24, 0600) == 0);
        assert(reboot_locks_load(env, &back, &lost, NULL) == 0 && lost && back.n == 0 &&
               strstr(back.lost_because, "newer gybe"));
        assert(reboot_locks_save(env, &back, NULL) == 0);
        assert(faccessat(fd, "lock.json.lost", F_OK, 0) == 0);
}

static void test_parse(void)
{
        static const struct {
                const char *locks;
                int r;
                const char *why;
        } table[] = {
                { "[]", 0, "none" },
                { "[{\"coordinator\":\"hook\",\"state\":\"asked\"}]", 0, "the least" },
                { "[{\"coordinator\":\"hook\"}]", 0, "no state: as if asked, so it is given back" },
                { "[{\"state\":\"asked\"}]", -EBADMSG, "whose?" },
                { "[{\"coordinator\":\"hook\",\"state\":\"mine\"}]", -EBADMSG, "no such state" },
                { "[7]", -EBADMSG, "no object" },
                { "{}", -EBADMSG, "no list" },
                { "[{\"coordinator\":\"a\"},{\"coordinator\":\"b\"},{\"coordinator\":\"c\"},{\"coordinator\":"
                  "\"d\"},"
                  "{\"coordinator\":\"e\"}]",
                  -EBADMSG, "too many" },
                { "[{\"coordinator\":\"a\",\"since\":\"yesterday\"}]", -EBADMSG, "no time" },
                { "[{\"coordinator\":\"a\",\"failures\":-1}]", -EBADMSG, "no number" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(free_charp) char *text =
                        str_printf("{\"schema\":\"gybe.lock/1\",\"locks\":%s}", table[i].locks);
                _cleanup_(reboot_locks_done) RebootLocks l = { 0 };

                assert(reboot_locks_parse(text, strlen(text), &l, NULL) == table[i].r);
                assert(table[i].r == 0 || l.n == 0);
        }
        {
                /* two that claim to be held: the first is */
                static const char two[] = "{\"schema\":\"gybe.lock/"
                                          "1\",\"locks\":[{\"coordinator\":\"a\",\"state\":\"granted\"},"
                                          "{\"coordinator\":\"b\",\"state\":\"granted\"}]}";
                _cleanup_(reboot_locks_done) RebootLocks l = { 0 };

                assert(reboot_locks_parse(two, strlen(two), &l, NULL) == 0 && l.n == 2);
                assert(streq(reboot_locks_held(&l)->coordinator, "a") && l.locks[1].state == LOCK_UNWANTED);
        }
}

int main(void)
{
        char dir[] = "/tmp/gybe-lock-XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;

        test_one_is_held();
        test_others_are_given_back();
        test_parse();
        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        test_file(&env);
        {
                _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");
                assert(dir_remove(tmp, dir + strlen("/tmp/")) == 0);
        }
        return 0;
}
