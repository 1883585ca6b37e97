/* SPDX-License-Identifier: MIT */

/* What is known about the receiver of reports: since nothing overtakes, its failures are those of the first in line, and one
 * small file for all entries is enough. */

#include "state/outbox-memory.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

#define STATE_MAX   (16u * 1024u)
#define MESSAGE_MAX 512u

/* The longest pause that anybody asks for is a day (Retry-After), ours is an hour: a later time was written under another
 * clock. */
#define LATEST_SEC (26u * 3600u)

const char *outbox_dir(OutboxBox box)
{
        return box == OUTBOX_OMAHA ? "outbox-omaha" : "outbox";
}

static const char *state_name(OutboxBox box)
{
        return box == OUTBOX_OMAHA ? "outbox-omaha/state.json" : "outbox/state.json";
}

void outbox_state_done(OutboxState *s)
{
        free(s->message);
        *s = (OutboxState){ 0 };
}

void outbox_memory_done(OutboxMemory *m)
{
        free(m->message);
        json_unref(m->unknown);
}

static int parse_memory(const Bytes *b, OutboxMemory *m)
{
        Fields f = { .what = "outbox" };
        int r = document_parse(b->data ? (const void *) b->data : "", b->size, "outbox", &m->unknown, NULL);

        if (r < 0)
                return r;
        f.object = m->unknown;
        field_unsigned(&f, "failures", &m->failures);
        field_time(&f, "notBefore", &m->not_before);
        field_time(&f, "lastDelivered", &m->last_delivered);
        field_u64(&f, "lastNumber", &m->last_number);
        field_text(&f, "message", &m->message);
        if (m->last_number > OUTBOX_NUMBER_MAX)
                m->last_number = 0;
        return f.r;
}

/* What cannot be read is forgotten: then the next try is now. */
int outbox_memory_load(const Env *env, OutboxBox box, OutboxMemory *ret, Why *why)
{
        _cleanup_(outbox_memory_done) OutboxMemory m = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = document_read(env, state_name(box), STATE_MAX, &b, NULL, why);

        if (r < 0)
                return r;
        if (r == DOCUMENT_READ) {
                r = parse_memory(&b, &m);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        outbox_memory_done(&m);
                        m = (OutboxMemory){ 0 };
                }
        }
        if (m.not_before > env_now(env) + LATEST_SEC)
                m.not_before = 0;
        *ret = m;
        m = (OutboxMemory){ 0 };
        return 0;
}

int outbox_memory_save(const Env *env, OutboxBox box, const OutboxMemory *m, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = document_new("outbox", m->unknown);
        _cleanup_(free_charp) char *text = NULL;
        int r;

        member_u64(doc, "failures", m->failures, m->failures > 0);
        member_time(doc, "notBefore", m->not_before);
        member_time(doc, "lastDelivered", m->last_delivered);
        member_u64(doc, "lastNumber", m->last_number, m->last_number > 0);
        member_text(doc, "message", m->message);
        r = document_format(doc, &text);
        return r < 0 ? r : document_write(env, state_name(box), text, why);
}

int outbox_failed(const Env *env, OutboxBox box, uint64_t after_sec, const char *message, Why *why)
{
        _cleanup_(outbox_memory_done) OutboxMemory m = { 0 };
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, outbox_dir(box), true, why);
        char words[MESSAGE_MAX];
        int r;

        if (dir_fd < 0)
                return dir_fd;
        r = outbox_memory_load(env, box, &m, why);
        if (r < 0)
                return r;
        m.failures += m.failures < UINT16_MAX;
        m.not_before = env_now(env) + MAX(backoff_sec(m.failures), after_sec);
        outbox_make_ascii(words, sizeof(words), message);
        free(m.message);
        m.message = strdup(words);
        return m.message ? outbox_memory_save(env, box, &m, why) : -ENOMEM;
}

/* --- questions --- */

int outbox_state(const Env *env, OutboxBox box, OutboxState *ret, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, outbox_dir(box), false, why);
        _cleanup_(outbox_numbers_freep) uint64_t *pending = NULL, *rejected = NULL;
        _cleanup_(outbox_memory_done) OutboxMemory m = { 0 };
        OutboxState s = { 0 };
        int r;

        if (dir_fd == -ENOENT) {
                *ret = s;
                return 0;
        }
        if (dir_fd < 0)
                return dir_fd;
        r = outbox_list_numbers(dir_fd, ".", &pending, &s.pending);
        if (r >= 0)
                r = outbox_list_numbers(dir_fd, "rejected", &rejected, &s.rejected);
        if (r < 0)
                return outbox_trouble(box, r, why);
        r = outbox_memory_load(env, box, &m, why);
        if (r < 0)
                return r;
        s.failures = m.failures;
        s.not_before = m.not_before;
        s.last_delivered = m.last_delivered;
        s.message = TAKE(m.message);
        *ret = s;
        return 0;
}

int outbox_due(const Env *env, OutboxBox box, uint64_t *ret, Why *why)
{
        _cleanup_(outbox_state_done) OutboxState s = { 0 };
        int r = outbox_state(env, box, &s, why);

        if (r < 0)
                return r;
        *ret = s.pending > 0 ? s.not_before : UINT64_MAX;
        return 0;
}
