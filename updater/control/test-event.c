/* SPDX-License-Identifier: MIT */

/* Events and the journal catalog: one entry for each, and the fields that the entry's text names. */

#include "control/event.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test-journald.h"

#include <fcntl.h>

#define CATALOG_MAX (256u * 1024u)

static void read_catalog(Bytes *ret)
{
        assert(file_read(AT_FDCWD, GYBE_SOURCE_DIR "/units/gybe.catalog", CATALOG_MAX, ret) >= 0);
}

/* What the catalog may name: always there, or of the update (updater/update-tell.c). */
static void check_fields(const char *text, const char *end)
{
        static const char *const known[] = { "@GYBE_VERSION@", "@GYBE_MESSAGE@", "@GYBE_SLOT@",
                                             "@GYBE_ROOTHASH@" };

        for (const char *at = memchr(text, '@', (size_t) (end - text)); at && at < end;) {
                const char *close_at = memchr(at + 1, '@', (size_t) (end - at - 1));
                bool found = false;

                assert(close_at);
                for (size_t i = 0; i < ELEMENTSOF(known); i++)
                        found |= strncmp(at, known[i], strlen(known[i])) == 0;
                assert(found);
                at = memchr(close_at + 1, '@', (size_t) (end - close_at - 1));
        }
}

static void test_catalog(void)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const char *text;
        size_t entries = 0;

        read_catalog(&b);
        text = (const char *) b.data;
        for (const char *at = text; (at = strstr(at, "\n-- ")); at++)
                entries++;
        assert(entries == _EVENT_MAX);
        for (Event e = 0; e < _EVENT_MAX; e++) {
                _cleanup_(free_charp) char *head = str_printf("\n-- %s\nSubject: ", event_message_id(e));
                const char *at, *next;

                assert(event_name(e) && strlen(event_message_id(e)) == 32);
                at = strstr(text, head);
                assert(at && !strstr(at + 1, head));
                next = strstr(at + 1, "\n-- ");
                check_fields(at, next ? next : text + b.size);
        }
        assert(!event_name(_EVENT_MAX) && !event_message_id(_EVENT_INVALID));
}

static void test_log(const Env *env, int fd)
{
        const LogField fields[] = { { "GYBE_SLOT", "b" } };
        char buf[JOURNALD_ENTRY_MAX];

        event_log(env, EVENT_COMMITTED, "3.0.1", NULL, fields, ELEMENTSOF(fields));
        assert(journald_receive(fd, buf) > 0);
        assert(str_starts(buf, "MESSAGE=3.0.1: is kept: it is the default from now on\n"));
        assert(strstr(buf, "\nMESSAGE_ID=b6d64dd557ff4bd484f3706e558d0778\nPRIORITY=5\n"));
        assert(strstr(buf, "\nGYBE_EVENT=committed\nGYBE_VERSION=3.0.1\n"));
        assert(strstr(buf, "\nGYBE_SLOT=b\n"));

        event_log(env, EVENT_SOURCE_UNREACHABLE, NULL, "feed: no route", NULL, 0);
        assert(journald_receive(fd, buf) > 0);
        assert(str_starts(buf, "MESSAGE=gybe: the source of releases cannot be reached: feed: no route\n"));
        assert(!strstr(buf, "GYBE_VERSION") && strstr(buf, "\nGYBE_MESSAGE=feed: no route\n"));

        event_log(env, _EVENT_MAX, "3.0.1", NULL, NULL, 0);
        assert(journald_receive(fd, buf) == 0);
}

int main(void)
{
        char root[] = "/tmp/test-event.XXXXXX";
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp"), fd = -1;
        _cleanup_(env_done) Env env = ENV_NULL;

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        fd = journald_listen(&env);
        test_catalog();
        test_log(&env, fd);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
