/* SPDX-License-Identifier: MIT */

/* Between a request and its DONE every record of the other side is checked for type and length in wire.c, and once more
 * here against what was asked for: no answer can be larger than its request allows. */

#include "fetch/client.h"
#include "fetch/values.h"

#include <errno.h>
#include <time.h>

#define IDLE_MS     250 /* how late a tick may come while nothing arrives */
#define TICK_MS     100 /* ... and how often it comes while something does */
#define SILENCE_SEC 60  /* the child says something twice a second, whatever it waits for */

static uint64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

uint64_t fetch_bytes(const Fetch *f)
{
        return f->bytes;
}

void fetch_set_tick(Fetch *f, FetchTick tick, void *ctx)
{
        f->tick = tick;
        f->tick_ctx = ctx;
}

/* --- an answer --- */

int client_misbehaved(Fetch *f, Why *why, const char *how)
{
        f->broken = true;
        return fail_hint(why, fail(why, -EPROTO, WHY_HOST, "fetch-misbehaved", "gybe-fetch: %s", how),
                         "it may have been taken over by what it downloaded: please report it");
}

static int do_tick(Fetch *f)
{
        uint64_t now = now_ms();

        if (!f->tick || now - f->last_tick_ms < TICK_MS)
                return 0;
        f->last_tick_ms = now;
        return f->tick(f->tick_ctx);
}

static int on_idle(void *ctx)
{
        Fetch *f = ctx;
        int r = do_tick(f);

        if (r != 0)
                return r;
        f->silent = now_ms() - f->last_record_ms > SILENCE_SEC * 1000;
        return f->silent ? -ETIMEDOUT : 0;
}

/* The next record, whatever its type. */
static int next_record(Fetch *f, Why *why)
{
        const WireWait wait = { on_idle, f, IDLE_MS };
        int r = wire_receive(f->spawn.sock, false, &wait, &f->record);

        if (r == 1) {
                f->last_record_ms = now_ms();
                f->bytes = MAX(f->bytes, f->record.bytes); /* progress never goes back */
                r = do_tick(f);
                if (r == 0)
                        return 0;
        } else if (r == 0 || r == -ECONNRESET) {
                f->broken = true;
                return spawn_explain(&f->spawn, why);
        } else if (r == -EBADMSG) {
                return client_misbehaved(f, why, "what it sent is not a record");
        }
        f->broken = true;
        if (f->silent)
                return client_misbehaved(f, why, "has been silent for a minute");
        return fail_errno(why, r < 0 ? r : -ECANCELED, WHY_HOST, "stopped while bytes were coming in");
}

static int take_data(Fetch *f, Answer *a, Why *why)
{
        const WireRecord *rec = &f->record;
        int r;

        if (!a->sink || rec->size == 0 || rec->size > a->max - a->got ||
            (a->blocks && rec->size % WIRE_ALIGN != 0 && rec->size != a->max - a->got))
                return client_misbehaved(f, why, "sent more than was asked for");
        a->got += rec->size;
        r = a->sink->data(a->sink->ctx, rec->data, rec->size, why);
        f->broken = f->broken || r != 0;
        return r;
}

static int take_zero(Fetch *f, Answer *a, Why *why)
{
        WireUnpack u = wire_unpack(f->record.data, f->record.size);
        uint64_t size = wire_get_u64(&u);
        int r;

        if (!a->sink || !a->sink->zero || !wire_get_end(&u) || size == 0 || size > a->max - a->got ||
            (a->blocks && size % WIRE_ALIGN != 0 && size != a->max - a->got))
                return client_misbehaved(f, why, "sent more than was asked for");
        a->got += size;
        r = a->sink->zero(a->sink->ctx, size, why);
        f->broken = f->broken || r != 0;
        return r;
}

/* Until DONE, whose values *ret_done then points to. */
static int read_answer(Fetch *f, Answer *a, WireUnpack *ret_done, Why *why)
{
        for (;;) {
                WireUnpack u;
                int r = next_record(f, why);

                if (r < 0)
                        return r;
                u = wire_unpack(f->record.data, f->record.size);
                switch (f->record.type) {
                case WIRE_DATA:
                        r = take_data(f, a, why);
                        break;
                case WIRE_ZERO:
                        r = take_zero(f, a, why);
                        break;
                case WIRE_PROGRESS:
                        break;
                case WIRE_DONE:
                        *ret_done = u;
                        return 0;
                case WIRE_FAIL:
                        if (value_get_why(&u, &r, why) < 0)
                                return client_misbehaved(f, why, "failed without saying why");
                        return r;
                default:
                        return client_misbehaved(f, why, "answered with a request");
                }
                if (r != 0)
                        return r;
        }
}

/* --- a request --- */

/* One request and its whole answer. p is emptied. */
int client_ask(Fetch *f, WireType type, WirePack *p, const int *fds, size_t n_fds, Answer *a,
               WireUnpack *ret_done, Why *why)
{
        int r;

        if (f->broken)
                return fail(why, -EPIPE, WHY_HOST, "fetch-stopped", "gybe-fetch: was stopped before");
        if (p->failed || p->bytes.size > WIRE_RECORD_MAX) {
                wire_pack_done(p);
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        }
        f->last_record_ms = now_ms();
        r = wire_send(f->spawn.sock, type, 0, p->bytes.data, p->bytes.size, fds, n_fds);
        wire_pack_done(p);
        /* a child that ended early may have said why before it did */
        if (r < 0 && r != -EPIPE && r != -ECONNRESET) {
                f->broken = true;
                return fail_errno(why, r, WHY_HOST, "gybe-fetch");
        }
        return read_answer(f, a, ret_done, why);
}

int client_expect_end(Fetch *f, WireUnpack *done, Why *why)
{
        return wire_get_end(done) ? 0 : client_misbehaved(f, why, "answered something else than was asked");
}

/* --- life cycle --- */

int fetch_adopt(const Env *env, int sock, Fetch **ret)
{
        Fetch *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->env = env;
        f->spawn = (Spawn){ .sock = sock };
        f->record = WIRE_RECORD_NULL;
        *ret = f;
        return 0;
}

Fetch *fetch_stop(Fetch *f)
{
        if (!f)
                return NULL;
        spawn_stop(&f->spawn);
        wire_record_done(&f->record);
        free(f);
        return NULL;
}

void fetch_stopp(Fetch **f)
{
        fetch_stop(*f);
}
