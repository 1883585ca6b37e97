/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define PATH  STATE_DIR "/history.jsonl"
#define NAME  "var/lib/gybe/history.jsonl"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static uint64_t fixed_now(void *ctx _unused_)
{
        return 1793772000;
}

static void append(const Env *env, const char *what)
{
        _cleanup_(json_unrefp) Json *event = json_new_object();

        json_set_str(event, "event", what);
        assert(history_append(env, event, NULL) >= 0);
}

static size_t read_events(const Env *env, uint64_t *ret_broken, Json **ret)
{
        assert(history_read(env, ret, ret_broken, NULL) >= 0);
        return json_len(*ret);
}

static Bytes raw(const Env *env)
{
        Bytes b = BYTES_NULL;

        assert(env_read(env, PATH, 64 << 20, &b) >= 0);
        return b;
}

static void put_raw(const Env *env, const void *data, size_t size)
{
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR, 0700);

        assert(fd >= 0 && file_replace(fd, "history.jsonl", data, size, 0600) >= 0);
}

static void test_chain(const Env *env)
{
        _cleanup_(json_unrefp) Json *events = NULL, *none = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char hex[SHA256_HEX], head[SHA256_HEX];
        uint64_t broken = 9;
        char *line;

        assert(history_read_newest(env, 1, &none, &broken, head, NULL) >= 0 && !head[0]); /* no file yet */
        none = json_unref(none);
        assert(read_events(env, &broken, &none) == 0 && broken == 0);
        append(env, "one");
        append(env, "two \xe2\x86\x92 \"quoted\"\nwith a newline");
        append(env, "three");
        assert(read_events(env, &broken, &events) == 3 && broken == 0);
        assert(streq(json_get_str(json_at(events, 0), "prev"), ZEROS));
        assert(streq(json_get_str(json_at(events, 0), "time"), "2026-11-04T06:00:00Z"));
        assert(streq(json_get_str(json_at(events, 2), "event"), "three"));

        /* as an auditor would: prev is the digest of the bytes between two newlines */
        b = raw(env);
        line = (char *) b.data;
        for (size_t i = 1; i < 3; i++) {
                size_t n = strcspn(line, "\n");
                assert(sha256_hex(line, n, hex) >= 0);
                assert(streq(json_get_str(json_at(events, i), "prev"), hex));
                line += n + 1;
        }
        assert(sha256_hex(line, strcspn(line, "\n"), hex) >= 0);
        events = json_unref(events);
        assert(history_read_newest(env, 1, &events, &broken, head, NULL) >= 0 && broken == 0);
        assert(streq(head, hex)); /* what the next line will name */
}

/* Every prefix of the file is a power cut: reading never fails, appending heals, the chain holds. */
static void test_torn_everywhere(const Env *env)
{
        _cleanup_(bytes_done) Bytes b = raw(env);

        for (size_t cut = 0; cut <= b.size; cut += cut + 40 > b.size ? 1 : 7) {
                _cleanup_(json_unrefp) Json *before = NULL, *after = NULL;
                size_t whole = 0, torn = cut, n;
                uint64_t broken, noted = 0;

                for (size_t i = 0; i < cut; i++)
                        if (b.data[i] == '\n') {
                                whole++;
                                torn = cut - i - 1;
                        }
                put_raw(env, b.data, cut);
                assert(read_events(env, &broken, &before) == whole && broken == 0);
                append(env, "after the cut");
                n = read_events(env, &broken, &after);
                assert(n == whole + 1 && broken == 0);
                (void) json_get_u64(json_at(after, n - 1), "torn", &noted);
                assert(noted == torn);
        }
}

static void test_zeros(const Env *env)
{
        _cleanup_(json_unrefp) Json *events = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        static const uint8_t zeros[100000];
        uint64_t broken, noted = 0;

        put_raw(env, "", 0);
        append(env, "one");
        b = raw(env);
        assert(bytes_append(&b, zeros, sizeof(zeros)) >= 0);
        put_raw(env, b.data, b.size);
        append(env, "two");
        assert(read_events(env, &broken, &events) == 2 && broken == 0);
        assert(json_get_u64(json_at(events, 1), "torn", &noted) == 1 && noted == sizeof(zeros));
        put_raw(env, zeros, sizeof(zeros)); /* nothing but zeros: the chain starts over, and says so */
        append(env, "first");
        json_unrefp(&events);
        assert(read_events(env, &broken, &events) == 1 && broken == 0);
}

static void test_tamper(const Env *env)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        size_t second, third;

        put_raw(env, "", 0);
        for (unsigned i = 0; i < 5; i++)
                append(env, "event");
        b = raw(env);
        second = strcspn((char *) b.data, "\n") + 1;
        third = second + strcspn((char *) b.data + second, "\n") + 1;

        for (unsigned kind = 0; kind < 5; kind++) {
                _cleanup_(json_unrefp) Json *events = NULL;
                _cleanup_(bytes_done) Bytes t = BYTES_NULL;
                static const uint64_t expect[] = { 3, 2, 1, 3, 6 };
                uint64_t broken;

                if (kind == 0) { /* a word changed in line 2: line 3 no longer hangs on it */
                        assert(bytes_copy(&t, b.data, b.size) >= 0);
                        *(char *) memchr(t.data + second, 'v', t.size - second) = 'w';
                } else if (kind == 1) /* line 2 taken out */
                        assert(bytes_copy(&t, b.data, second) >= 0 &&
                               bytes_append(&t, b.data + third, b.size - third) >= 0);
                else if (kind == 2) /* the beginning taken out */
                        assert(bytes_copy(&t, b.data + second, b.size - second) >= 0);
                else if (kind == 3) /* a foreign line put in */
                        assert(bytes_copy(&t, b.data, third) >= 0 && bytes_append(&t, "rubbish\n", 8) >= 0 &&
                               bytes_append(&t, b.data + third, b.size - third) >= 0);
                else /* the last line doubled */
                        assert(bytes_copy(&t, b.data, b.size) >= 0 && bytes_append(&t, "{}\n", 3) >= 0);
                put_raw(env, t.data, t.size);
                (void) read_events(env, &broken, &events);
                assert(broken == expect[kind]);
                /* the break stays visible after more events */
                append(env, "later");
                json_unrefp(&events);
                (void) read_events(env, &broken, &events);
                assert(broken == expect[kind]);
        }
}

static void test_bounds(const Env *env)
{
        _cleanup_(json_unrefp) Json *event = json_new_object(), *events = NULL;
        _cleanup_(free_charp) char *big = malloc(300 * 1024), *medium = malloc(200 * 1024);
        uint64_t broken;
        Why why = { 0 };

        memset(big, 'x', 300 * 1024);
        big[300 * 1024 - 1] = 0;
        put_raw(env, "", 0);
        json_set_str(event, "event", big);
        assert(history_append(env, event, &why) == -E2BIG && why.kind == WHY_HOST);
        assert(read_events(env, &broken, &events) == 0);
        /* 10 MB of events: the newest come back, the chain is checked from the start */
        memset(medium, 'y', 200 * 1024);
        medium[200 * 1024 - 1] = 0;
        for (unsigned i = 0; i < 50; i++)
                append(env, medium);
        json_unrefp(&events);
        assert(read_events(env, &broken, &events) == 40 && broken == 0);
        /* an oversized foreign line breaks the chain and nothing else */
        put_raw(env, big, 300 * 1024 - 1);
        json_unrefp(&events);
        assert(read_events(env, &broken, &events) == 0);
        append(env, "small");
        json_unrefp(&events);
        assert(read_events(env, &broken, &events) == 1 && broken == 0);
}

static void test_no_space(const Env *env)
{
        /* /dev/full in its place: refused as a symbolic link; a folder: an error with a sentence, not a crash
         */
        _cleanup_(json_unrefp) Json *event = json_new_object();
        Why why = { 0 };

        assert(unlinkat(env->root_fd, NAME, 0) >= 0);
        assert(symlinkat("/dev/full", env->root_fd, NAME) >= 0);
        assert(history_append(env, event, &why) < 0 && why.text[0]);
        assert(unlinkat(env->root_fd, NAME, 0) >= 0);
}

/* The newest one that has it, whatever lies behind or is torn. */
static void test_last(const Env *env)
{
        _cleanup_(json_unrefp) Json *none = NULL, *found = NULL, *event = json_new_object(),
                                    *later = json_new_object();
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        static const char torn[] = "not json\n{\"health\":{},\"event\":\"torn";

        put_raw(env, "", 0);
        assert(history_last(env, "health", &none, NULL) == 0 && !none);
        append(env, "one");
        assert(history_last(env, "health", &none, NULL) == 0 && !none);
        json_set(event, "health", json_new_object());
        json_set_str(event, "event", "old");
        json_set(later, "health", json_new_object());
        json_set_str(later, "event", "new");
        assert(history_append(env, event, NULL) >= 0 && history_append(env, later, NULL) >= 0);
        for (unsigned i = 0; i < 200; i++)
                append(env, "something else");
        b = raw(env);
        assert(bytes_append(&b, torn, strlen(torn)) >= 0);
        put_raw(env, b.data, b.size);
        assert(history_last(env, "health", &found, NULL) == 1);
        assert(streq(json_get_str(found, "event"), "new"));
}

int main(void)
{
        char root[] = "/tmp/test-history.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        env.now = fixed_now;
        test_chain(&env);
        test_torn_everywhere(&env);
        test_zeros(&env);
        test_tamper(&env);
        test_bounds(&env);
        test_no_space(&env);
        test_last(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
