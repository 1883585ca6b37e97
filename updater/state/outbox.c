/* SPDX-License-Identifier: MIT */

/* Reports that wait for their receiver: outbox/NNNNNNNN.json, one an outcome, in the order in which things happened.
 *
 * {"schema": "gybe.report/1", "id": "...", "number": 17, "kind": "outcome", ...}
 *
 * A report is written before it is sent and removed after it was taken; killed in between, it is sent once more under the same
 * id, by which the receiver knows it. What is known about the receiver is in outbox-memory.c. Knows nothing of HTTP. */

#include "state/outbox-memory.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define NAME_SIZE 16u                      /* eight digits, ".json", NUL */
#define ENTRY_MAX (2u * OUTBOX_REPORT_MAX) /* with white space, and what a later version adds */

/* A host makes some four reports an update: a year of a dead receiver. Then progress makes way for outcomes. */
#define PENDING_MAX 256u
/* That many outcomes nobody wanted mean a loop in which this host is caught; the first ones tell how it began. */
#define PENDING_HARD_MAX 1024u
#define REJECTED_MAX     64u
#define ANSWER_MAX       512u

void outbox_entry_done(OutboxEntry *e)
{
        free(e->text);
        *e = (OutboxEntry){ 0 };
}

/* --- files --- */

static void name_of(uint64_t number, char ret[NAME_SIZE])
{
        (void) snprintf(ret, NAME_SIZE, "%08u.json", (unsigned) number);
}

/* 0: another file */
static uint64_t number_of(const char *name)
{
        char digits[9] = { 0 }, again[NAME_SIZE];
        uint64_t n;

        memcpy(digits, name, strnlen(name, 8));
        if (parse_u64(digits, &n) < 0 || n > OUTBOX_NUMBER_MAX)
                return 0;
        name_of(n, again);
        return streq(name, again) ? n : 0;
}

/* The numbers of a folder's entries, ascending. */
int outbox_list_numbers(int dir_fd, const char *path, uint64_t **ret, size_t *ret_n)
{
        _cleanup_(strv_freep) char **names = NULL;
        uint64_t *numbers;
        size_t n = 0;
        int r = dir_list(dir_fd, path, &names);

        if (r < 0 && r != -ENOENT)
                return r;
        numbers = calloc(strv_len(names) + 1, sizeof(*numbers));
        if (!numbers)
                return -ENOMEM;
        for (char **i = names; i && *i; i++)
                if (number_of(*i) > 0)
                        numbers[n++] = number_of(*i); /* names of one length sort as their numbers do */
        *ret = numbers;
        *ret_n = n;
        return 0;
}

void outbox_numbers_freep(uint64_t **p)
{
        free(*p);
}

static const char *rejected_dir(OutboxBox box)
{
        return box == OUTBOX_OMAHA ? "outbox-omaha/rejected" : "outbox/rejected";
}

int outbox_trouble(OutboxBox box, int r, Why *why)
{
        return fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, outbox_dir(box));
}

/* --- one entry --- */

int outbox_parse(const void *data, size_t size, OutboxEntry *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = NULL;
        _cleanup_(outbox_entry_done) OutboxEntry e = { 0 };
        const char *id, *kind;
        uint8_t uuid[16];
        int r;

        if (size > ENTRY_MAX)
                return fail(why, -EFBIG, WHY_HOST, "lost", "report: longer than %u bytes, so not ours",
                            ENTRY_MAX);
        r = document_parse(data, size, "report", &doc, why);
        if (r < 0)
                return r;
        id = json_get_str(doc, "id");
        kind = json_get_str(doc, "kind");
        if (!id || strlen(id) != OUTBOX_ID_SIZE - 1 || uuid_parse_text(id, uuid) < 0)
                return fail(why, -EBADMSG, WHY_HOST, "lost", "report: without an id");
        uuid_format_text(uuid, e.id); /* goes into a header: nothing but what it must be */
        e.progress = kind && streq(kind, "progress");
        e.text = json_format(doc, false);
        if (!e.text)
                return -ENOMEM;
        *ret = e;
        e = (OutboxEntry){ 0 };
        return 0;
}

static bool is_our_trouble(int r)
{
        return r == -ENOMEM || r == -EACCES || r == -EPERM || r == -EMFILE || r == -ENFILE || r == -EIO;
}

/* 1 read, 0 not there or not to be understood (*why says which), negative: nothing can be read now */
static int read_entry(int dir_fd, uint64_t number, OutboxEntry *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char name[NAME_SIZE];
        int r;

        name_of(number, name);
        r = file_read(dir_fd, name, ENTRY_MAX, &b);
        if (r >= 0)
                r = outbox_parse(b.data ? (const void *) b.data : "", b.size, ret, why);
        if (r < 0)
                return is_our_trouble(r) ? r : (fail_errno(why, r, WHY_HOST, "%s", name), 0);
        ret->number = number;
        return 1;
}

/* Moved as it is, so that an admin can look at it. */
static int put_aside(const Env *env, OutboxBox box, int dir_fd, uint64_t number, Why *why)
{
        _cleanup_(close_fdp) int rejected_fd = state_open_dir(env, rejected_dir(box), true, why);
        char name[NAME_SIZE];

        if (rejected_fd < 0)
                return rejected_fd;
        name_of(number, name);
        if (renameat(dir_fd, name, rejected_fd, name) < 0)
                return errno == ENOENT ? 0 : outbox_trouble(box, -errno, why);
        return fsync(rejected_fd) < 0 || fsync(dir_fd) < 0 ? outbox_trouble(box, -errno, why) : 0;
}

int outbox_first(const Env *env, OutboxBox box, OutboxEntry *ret, char **ret_aside, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, outbox_dir(box), false, why);
        _cleanup_(outbox_numbers_freep) uint64_t *numbers = NULL;
        size_t n = 0;
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        r = outbox_list_numbers(dir_fd, ".", &numbers, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                Why bad = { 0 };

                r = read_entry(dir_fd, numbers[i], ret, &bad);
                if (r > 0)
                        return 1;
                if (r < 0)
                        break;
                r = put_aside(env, box, dir_fd, numbers[i], why);
                if (r < 0)
                        return r;
                if (ret_aside && !*ret_aside)
                        *ret_aside = strdup(bad.text); /* without memory it is not said */
        }
        return r < 0 ? outbox_trouble(box, r, why) : 0;
}

/* The receiver has answered for this one, and is forgiven what was before. */
static int answered(const Env *env, OutboxBox box, const OutboxEntry *e, bool delivered, Why *why)
{
        _cleanup_(outbox_memory_done) OutboxMemory m = { 0 };
        int r = outbox_memory_load(env, box, &m, why);

        if (r < 0)
                return r;
        m.failures = 0;
        m.not_before = 0;
        m.last_number = MAX(m.last_number, e->number);
        if (delivered)
                m.last_delivered = env_now(env);
        free(m.message);
        m.message = NULL;
        return outbox_memory_save(env, box, &m, why);
}

static int remove_entry(const Env *env, OutboxBox box, const OutboxEntry *e, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, outbox_dir(box), false, why);
        char name[NAME_SIZE];
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        name_of(e->number, name);
        r = file_remove(dir_fd, name);
        return r < 0 ? outbox_trouble(box, r, why) : 0;
}

int outbox_delivered(const Env *env, OutboxBox box, const OutboxEntry *e, Why *why)
{
        /* Its number is never given again, so it is written down before the file that shows it is gone. */
        int r = answered(env, box, e, true, why);

        return r < 0 ? r : remove_entry(env, box, e, why);
}

static int prune_rejected(int dir_fd)
{
        _cleanup_(outbox_numbers_freep) uint64_t *numbers = NULL;
        size_t n = 0;
        int r = outbox_list_numbers(dir_fd, ".", &numbers, &n);

        for (size_t i = 0; r >= 0 && i + REJECTED_MAX < n; i++) {
                char name[NAME_SIZE];

                name_of(numbers[i], name);
                r = file_remove(dir_fd, name);
        }
        return r;
}

void outbox_make_ascii(char *out, size_t size, const char *text)
{
        size_t n = 0;

        for (; text[n] && n < size - 1; n++)
                out[n] = text[n] < 0x20 || text[n] > 0x7e ? '?' : text[n];
        out[n] = 0;
}

static int format_rejected(const Env *env, const OutboxEntry *e, unsigned status, const char *answer,
                           char **ret)
{
        _cleanup_(json_unrefp) Json *doc = NULL;
        char words[ANSWER_MAX];
        Json *because;
        int r = document_parse(e->text, strlen(e->text), "report", &doc, NULL);

        if (r < 0)
                return r;
        because = json_sub(doc, "rejected");
        json_set_u64(because, "status", status);
        outbox_make_ascii(words, sizeof(words), answer ? answer : "");
        member_text(because, "answer", words);
        json_set_time(because, "at", env_now(env));
        return document_format(doc, ret);
}

int outbox_rejected(const Env *env, OutboxBox box, const OutboxEntry *e, unsigned status, const char *answer,
                    Why *why)
{
        _cleanup_(close_fdp) int rejected_fd = state_open_dir(env, rejected_dir(box), true, why);
        _cleanup_(free_charp) char *text = NULL;
        char name[NAME_SIZE];
        int r;

        if (rejected_fd < 0)
                return rejected_fd;
        name_of(e->number, name);
        r = format_rejected(env, e, status, answer, &text);
        if (r >= 0)
                r = file_replace(rejected_fd, name, text, strlen(text), STATE_FILE_MODE);
        if (r >= 0)
                r = prune_rejected(rejected_fd);
        if (r < 0)
                return outbox_trouble(box, r, why);
        r = answered(env, box, e, false, why);
        return r < 0 ? r : remove_entry(env, box, e, why);
}

/* --- adding --- */

static int next_number(const Env *env, OutboxBox box, int dir_fd, const uint64_t *numbers, size_t n,
                       uint64_t *ret, Why *why)
{
        _cleanup_(outbox_numbers_freep) uint64_t *rejected = NULL;
        _cleanup_(outbox_memory_done) OutboxMemory m = { 0 };
        uint64_t last = n > 0 ? numbers[n - 1] : 0;
        size_t n_rejected = 0;
        int r;

        r = outbox_memory_load(env, box, &m, why);
        if (r >= 0)
                r = outbox_list_numbers(dir_fd, "rejected", &rejected, &n_rejected);
        if (r < 0)
                return r;
        last = MAX(last, m.last_number);
        if (n_rejected > 0)
                last = MAX(last, rejected[n_rejected - 1]);
        if (last >= OUTBOX_NUMBER_MAX)
                return -EOVERFLOW;
        *ret = last + 1;
        return 0;
}

/* 1 there is one with this id, 0 none. Makes room on the way: what is too much and only progress goes. */
static int look_through(int dir_fd, const char *id, const uint64_t *numbers, size_t n)
{
        size_t too_many = n >= PENDING_MAX ? n - PENDING_MAX + 1 : 0;

        for (size_t i = 0; i < n; i++) {
                _cleanup_(outbox_entry_done) OutboxEntry e = { 0 };
                int r = read_entry(dir_fd, numbers[i], &e, NULL);

                if (r < 0)
                        return r;
                if (r > 0 && streq(e.id, id))
                        return 1;
                if (r > 0 && e.progress && too_many > 0) {
                        char name[NAME_SIZE];

                        name_of(numbers[i], name);
                        r = file_remove(dir_fd, name);
                        if (r < 0)
                                return r;
                        too_many--;
                }
        }
        return n >= PENDING_HARD_MAX ? -EDQUOT : 0;
}

static int format_entry(const char *id, uint64_t number, const Json *report, bool progress, char **ret)
{
        _cleanup_(json_unrefp) Json *doc = document_new("report", report);
        int r;

        json_set_str(doc, "id", id);
        json_set_u64(doc, "number", number);
        json_set_str(doc, "kind", progress ? "progress" : "outcome");
        r = document_format(doc, ret);
        return r < 0 ? r : strlen(*ret) > OUTBOX_REPORT_MAX ? -EMSGSIZE : 0;
}

int outbox_add(const Env *env, OutboxBox box, const char *id, const Json *report, bool progress, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, outbox_dir(box), true, why);
        _cleanup_(outbox_numbers_freep) uint64_t *numbers = NULL;
        _cleanup_(free_charp) char *text = NULL;
        char name[NAME_SIZE];
        uint64_t number = 0;
        size_t n = 0;
        int r;

        if (dir_fd < 0)
                return dir_fd;
        r = outbox_list_numbers(dir_fd, ".", &numbers, &n);
        if (r >= 0)
                r = look_through(dir_fd, id, numbers, n);
        if (r > 0)
                return 0;
        if (r >= 0)
                r = next_number(env, box, dir_fd, numbers, n, &number, why);
        if (r >= 0)
                r = format_entry(id, number, report, progress, &text);
        if (r < 0)
                return outbox_trouble(box, r, why);
        name_of(number, name);
        r = file_replace(dir_fd, name, text, strlen(text), STATE_FILE_MODE);
        return r < 0 ? outbox_trouble(box, r, why) : 1;
}
