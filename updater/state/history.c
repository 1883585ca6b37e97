/* SPDX-License-Identifier: MIT */

/* Who asked, what was verified, what flipped, what the verdict was: one JSON object a line, never rewritten.
 * Each line carries prev, the SHA-256 of the line before it (its bytes without the newline; 64 zeros in the
 * first line), so that a changed or missing line shows. That is a chain, not a signature: somebody who owns
 * the machine can rewrite all of it, and an end that was cut off whole is not noticed here.
 *
 * The newline ends a line. A power cut may leave a piece without one, or (delayed allocation) zeros: that
 * piece never was an event. The next append cuts it off and says so in its own line: "torn": <bytes>. */

#include "state/document.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define HISTORY_NAME "history.jsonl"
#define HISTORY_LINE_MAX                                                                                     \
        (256u * 1024u) /* an event with a health report's excerpts; the reports are evidence */
#define HISTORY_READ_MAX (8u * 1024u * 1024u) /* thousands of events: years */
#define CHUNK            (16u * 1024u)

static const char first_prev[] = "0000000000000000000000000000000000000000000000000000000000000000";

/* writing */

/* Offset just behind the last newline before end; 0 when there is none. */
static int line_end_before(int fd, uint64_t end, uint64_t *ret)
{
        uint8_t buf[CHUNK];

        while (end > 0) {
                size_t n = (size_t) MIN(end, (uint64_t) sizeof(buf));
                ssize_t l = fd_pread_full(fd, buf, n, end - n);

                if (l < 0)
                        return (int) l;
                if ((size_t) l != n)
                        return -EIO;
                for (size_t i = n; i > 0; i--)
                        if (buf[i - 1] == '\n') {
                                *ret = end - n + i;
                                return 0;
                        }
                end -= n;
        }
        *ret = 0;
        return 0;
}

static int hash_range(int fd, uint64_t start, uint64_t end, char ret[SHA256_HEX])
{
        _cleanup_(digest_freep) Digest *d = NULL;
        uint8_t buf[CHUNK], out[SHA256_SIZE];
        int r;

        r = digest_new(256, &d);
        while (r >= 0 && start < end) {
                size_t n = (size_t) MIN(end - start, (uint64_t) sizeof(buf));
                ssize_t l = fd_pread_full(fd, buf, n, start);

                if (l != (ssize_t) n)
                        return l < 0 ? (int) l : -EIO;
                r = digest_update(d, buf, n);
                start += n;
        }
        if (r >= 0)
                r = digest_final(d, out);
        if (r < 0)
                return r;
        hex_encode(out, sizeof(out), ret);
        return 0;
}

/* Cuts a torn end off; says where the file ends now, what hangs on its last line, and how much was cut. */
static int settle_end(int fd, uint64_t *ret_end, char ret_prev[SHA256_HEX], uint64_t *ret_torn)
{
        uint64_t end, start;
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0)
                return -errno;
        r = line_end_before(fd, (uint64_t) st.st_size, &end);
        if (r < 0)
                return r;
        if (end < (uint64_t) st.st_size && (ftruncate(fd, (off_t) end) < 0 || fsync(fd) < 0))
                return -errno;
        *ret_torn = (uint64_t) st.st_size - end;
        *ret_end = end;
        if (end == 0) {
                memcpy(ret_prev, first_prev, SHA256_HEX);
                return 0;
        }
        r = line_end_before(fd, end - 1, &start);
        return r < 0 ? r : hash_range(fd, start, end - 1, ret_prev);
}

static int open_for_append(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", true, why), fd = -1;

        if (dir_fd < 0)
                return dir_fd;
        fd = openat(dir_fd, HISTORY_NAME, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                    STATE_FILE_MODE);
        /* The chain needs its writers one behind the other, also those that hold no job lock (pin, hold). */
        if (fd < 0 || flock(fd, LOCK_EX) < 0 || fsync(dir_fd) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s/%s", STATE_DIR, HISTORY_NAME);
        return take_fd(&fd);
}

static int append_line(int fd, uint64_t end, const char *line, size_t size)
{
        int r = fd_write_full(fd, line, size);

        if (r >= 0 && fsync(fd) < 0)
                r = -errno;
        if (r < 0)
                (void) !ftruncate(fd, (off_t) end); /* else the next append cuts it */
        return r;
}

int history_append(const Env *env, Json *event, Why *why)
{
        _cleanup_(close_fdp) int fd = open_for_append(env, why);
        _cleanup_(free_charp) char *text = NULL, *line = NULL;
        char prev[SHA256_HEX];
        uint64_t end, torn;
        int r;

        if (fd < 0)
                return fd;
        r = settle_end(fd, &end, prev, &torn);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, HISTORY_NAME);
        json_set_time(event, "time", env_now(env));
        json_set_str(event, "prev", prev);
        json_remove(event, "torn");
        if (torn > 0)
                json_set_u64(event, "torn", torn);
        text = json_format(event, false);
        line = text ? str_printf("%s\n", text) : NULL;
        if (!line)
                return -ENOMEM;
        if (strlen(line) > HISTORY_LINE_MAX)
                return fail(why, -E2BIG, WHY_HOST, "bug", "%s/%s: an event of %zu bytes, at most %u fit",
                            STATE_DIR, HISTORY_NAME, strlen(line), HISTORY_LINE_MAX);
        r = append_line(fd, end, line, strlen(line));
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, HISTORY_NAME) : 0;
}

/* reading */

typedef struct Reader {
        int fd;
        uint64_t offset, size; /* of the next chunk; of the file when it was opened */
        Bytes rest;            /* begins with the first unread byte of a line */
        size_t used;           /* of rest */
} Reader;

static void reader_done(Reader *r)
{
        if (r->fd >= 0)
                (void) close(r->fd);
        bytes_done(&r->rest);
        *r = (Reader){ .fd = -1 };
}

/* 1 and the next whole line (borrowed until the next call), 0 at the end; a piece without newline is no line.
 * Lines longer than any of ours come in pieces, which cannot be events: the chain breaks there, as it should.
 */
static int reader_next(Reader *r, const uint8_t **ret, size_t *ret_size)
{
        for (;;) {
                const uint8_t *start = r->rest.data ? r->rest.data + r->used : NULL;
                size_t left = r->rest.size - r->used;
                const uint8_t *nl = left > 0 ? memchr(start, '\n', left) : NULL;
                uint8_t buf[CHUNK];
                ssize_t l;
                int e;

                if (nl || left > HISTORY_LINE_MAX) {
                        *ret = start;
                        *ret_size = nl ? (size_t) (nl - start) : left;
                        r->used += *ret_size + (nl ? 1 : 0);
                        return 1;
                }
                if (r->used > 0) {
                        memmove(r->rest.data, r->rest.data + r->used, left);
                        r->rest.size = left;
                        r->used = 0;
                }
                l = fd_pread_full(r->fd, buf, (size_t) MIN(r->size - r->offset, (uint64_t) sizeof(buf)),
                                  r->offset);
                if (l <= 0)
                        return (int) l;
                r->offset += (uint64_t) l;
                e = bytes_append(&r->rest, buf, (size_t) l);
                if (e < 0)
                        return e;
        }
}

/* Walks the whole chain, keeps the events that begin at or behind from. */
static int read_chain(Reader *reader, uint64_t from, Json *events, uint64_t *ret_broken_at,
                      char ret_head[SHA256_HEX])
{
        char prev[SHA256_HEX];
        uint64_t number = 0, offset = 0, broken = 0;
        const uint8_t *line;
        size_t size;
        int r;

        memcpy(prev, first_prev, sizeof(prev));
        while ((r = reader_next(reader, &line, &size)) > 0) {
                _cleanup_(json_unrefp) Json *event = NULL;

                number++;
                r = json_parse(line, size, 0, JSON_DEPTH_MAX, "history", WHY_HOST, &event, NULL);
                if (r == -ENOMEM)
                        return r;
                if (!broken && (!json_is_object(event) || !streq0(json_get_str(event, "prev"), prev)))
                        broken = number;
                r = sha256_hex(line, size, prev);
                if (r < 0)
                        return r;
                if (offset >= from && json_is_object(event))
                        json_add(events, TAKE(event));
                offset += size + 1;
        }
        if (r < 0)
                return r;
        *ret_broken_at = broken;
        if (number > 0)
                memcpy(ret_head, prev, sizeof(prev));
        return 0;
}

static int open_for_reading(const Env *env, Reader *ret, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", false, why);
        struct stat st;

        if (dir_fd < 0)
                return dir_fd;
        ret->fd = openat(dir_fd, HISTORY_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (ret->fd < 0 && errno == ENOENT)
                return -ENOENT;
        /* shared: nobody is in the middle of a line */
        if (ret->fd < 0 || flock(ret->fd, LOCK_SH) < 0 || fstat(ret->fd, &st) < 0)
                return fail_errno(why, -errno, WHY_HOST, "%s/%s", STATE_DIR, HISTORY_NAME);
        ret->size = (uint64_t) st.st_size;
        return 0;
}

int history_read_newest(const Env *env, uint64_t max_bytes, Json **ret, uint64_t *ret_broken_at,
                        char ret_head[65], Why *why)
{
        _cleanup_(reader_done) Reader reader = { .fd = -1 };
        _cleanup_(json_unrefp) Json *events = json_new_array();
        char head[SHA256_HEX] = "";
        uint64_t broken = 0;
        int r;

        if (!events)
                return -ENOMEM;
        r = open_for_reading(env, &reader, why);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r >= 0) {
                r = read_chain(&reader, reader.size > max_bytes ? reader.size - max_bytes : 0, events,
                               &broken, head);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, HISTORY_NAME);
        }
        *ret = TAKE(events);
        *ret_broken_at = broken;
        if (ret_head)
                memcpy(ret_head, head, sizeof(head));
        return 0;
}

/* 1 and the event of that line, when it has the member. What is no event is passed over: the chain is checked elsewhere. */
static int event_with(int fd, uint64_t start, uint64_t end, const char *member, Json **ret)
{
        _cleanup_(bytes_done) Bytes line = BYTES_NULL;
        _cleanup_(json_unrefp) Json *event = NULL;
        size_t size = (size_t) (end - start);
        int r;

        if (end - start > HISTORY_LINE_MAX)
                return 0;
        line.data = malloc(size + 1);
        if (!line.data)
                return -ENOMEM;
        if (fd_pread_full(fd, line.data, size, start) != (ssize_t) size)
                return -EIO;
        r = json_parse(line.data, size, 0, JSON_DEPTH_MAX, "history", WHY_HOST, &event, NULL);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !json_get(event, member))
                return 0;
        *ret = TAKE(event);
        return 1;
}

int history_last(const Env *env, const char *member, Json **ret, Why *why)
{
        _cleanup_(reader_done) Reader reader = { .fd = -1 };
        uint64_t end = 0, start;
        int r = open_for_reading(env, &reader, why);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        r = line_end_before(reader.fd, reader.size, &end);
        while (r >= 0 && end > 0 && reader.size - end < HISTORY_READ_MAX) {
                r = line_end_before(reader.fd, end - 1, &start);
                if (r >= 0)
                        r = event_with(reader.fd, start, end - 1, member, ret);
                if (r > 0)
                        return 1;
                end = start;
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, HISTORY_NAME) : 0;
}

int history_read(const Env *env, Json **ret, uint64_t *ret_broken_at, Why *why)
{
        return history_read_newest(env, HISTORY_READ_MAX, ret, ret_broken_at, NULL, why);
}
