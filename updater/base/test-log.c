/* SPDX-License-Identifier: MIT */

/* What the journal gets: a socket of our own in a host made of files plays journald. */

#include "base/log.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test-journald.h"

#include <fcntl.h>

#define ID "0123456789abcdef0123456789abcdef"

static void test_lines(const Env *env, int fd)
{
        static const char expect[] =
                "MESSAGE=3.0 is committed\nMESSAGE_ID=" ID
                "\nPRIORITY=5\nSYSLOG_IDENTIFIER=test-log\nGYBE_VERSION=3.0\nGYBE_EMPTY=\n";
        const LogField fields[] = { { "GYBE_VERSION", "3.0" }, { "GYBE_SLOT", NULL }, { "GYBE_EMPTY", "" } };
        char buf[JOURNALD_ENTRY_MAX];

        log_event(env, ID, 5, "3.0 is committed", fields, ELEMENTSOF(fields));
        assert(journald_receive(fd, buf) == strlen(expect));
        assert(streq(buf, expect));
}

/* A line break in a value must not start a field of its own: what a failing check printed is in there. */
static void test_line_breaks(const Env *env, int fd)
{
        static const char expect[] = "GYBE_MESSAGE\n\x0c\0\0\0\0\0\0\0one\nPRIORITY\n";
        const LogField field = { "GYBE_MESSAGE", "one\nPRIORITY" };
        char buf[JOURNALD_ENTRY_MAX];
        size_t n;

        log_event(env, ID, 5, "m", &field, 1);
        n = journald_receive(fd, buf);
        assert(n > sizeof(expect) - 1);
        assert(memcmp(buf + n - (sizeof(expect) - 1), expect, sizeof(expect) - 1) == 0);
}

static void test_long(const Env *env, int fd)
{
        _cleanup_(free_charp) char *text = malloc(LOG_VALUE_MAX + 2);
        const LogField field = { "GYBE_LONG", text };
        char buf[JOURNALD_ENTRY_MAX];
        size_t n;

        assert(text);
        memset(text, 'x', LOG_VALUE_MAX + 1);
        text[LOG_VALUE_MAX + 1] = 0;
        log_event(env, ID, 5, "m", &field, 1);
        n = journald_receive(fd, buf);
        assert(buf[n - 1] == '\n' &&
               strlen(strstr(buf, "GYBE_LONG=")) == strlen("GYBE_LONG=") + LOG_VALUE_MAX + 1);
}

/* Nobody reads: the queue is full after a few, and nothing waits (the test's own limit is two minutes). */
static void test_full_queue(const Env *env)
{
        for (size_t i = 0; i < 10000; i++)
                log_event(env, ID, 5, "nobody listens", NULL, 0);
}

int main(void)
{
        char root[] = "/tmp/test-log.XXXXXX";
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp"), fd = -1;
        _cleanup_(env_done) Env env = ENV_NULL;

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        log_event(&env, ID, 5, "no journal at all", NULL, 0);
        fd = journald_listen(&env);
        test_lines(&env, fd);
        test_line_breaks(&env, fd);
        test_long(&env, fd);
        test_full_queue(&env);
        (void) close(take_fd(&fd));
        log_event(&env, ID, 5, "a journal that died", NULL, 0);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
