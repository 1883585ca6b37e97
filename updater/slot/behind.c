/* SPDX-License-Identifier: MIT */

#include "slot/behind.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#define CHUNK 32u /* units that one thread reads in order: 4 MiB */

typedef struct Lane {
        Behind *b;
        Area *area;
        Verity *verity;
        uint8_t *buf;
        pthread_t thread;
        bool has_thread;
        uint64_t next, end; /* units of the chunk that it reads */
} Lane;

struct Behind {
        uint64_t n_blocks, n_units;
        uint8_t zero[VERITY_ROOT_SIZE];
        Lane lanes[BEHIND_LANES];

        pthread_mutex_t lock;
        pthread_cond_t work, news;
        /* under the lock */
        bool stop, taker_waits;
        unsigned n_waiting;      /* threads */
        uint64_t allowed;        /* blocks */
        uint64_t claimed, taken; /* units */
        int error;
        Why why;
        bool ready[BEHIND_AHEAD]; /* the unit is the taker's; else its lane's */
        BehindUnit ring[BEHIND_AHEAD];
};

_Static_assert(BEHIND_AHEAD > BEHIND_LANES * CHUNK, "the lane that is behind can always go on");

/* Eight lanes at a time, for the processor's wide registers. A single word that changed always shows. */
uint64_t behind_sum(const uint8_t block[VERITY_BLOCK])
{
        uint64_t lane[8] = { 0 }, words[8], sum = 0;

        for (size_t at = 0; at < VERITY_BLOCK; at += sizeof(words)) {
                memcpy(words, block + at, sizeof(words));
                for (size_t i = 0; i < 8; i++)
                        lane[i] += words[i];
        }
        for (size_t i = 0; i < 8; i++)
                sum = (sum ^ lane[i]) * UINT64_C(0x9e3779b97f4a7c15);
        return sum;
}

/* --- the thread; without the lock --- */

/* One by one, so that a single bad block spoils no other. */
static int read_around(const Lane *l, BehindUnit *u, Why *why)
{
        for (uint32_t i = 0; i < u->count; i++) {
                uint8_t *block = l->buf + (size_t) i * VERITY_BLOCK;
                Why unread = { 0 };
                int r = area_read(l->area, (u->first + i) * VERITY_BLOCK, block, VERITY_BLOCK, &unread);

                if (r < 0 && r != -EIO)
                        return fail(why, r, unread.kind, unread.code, "%s", unread.text);
                if (r < 0) {
                        memset(block, 0xa5, VERITY_BLOCK);
                        u->unreadable |= UINT32_C(1) << i;
                }
        }
        return 0;
}

static int make_unit(const Lane *l, BehindUnit *u, Why *why)
{
        Why unread = { 0 };
        int r = area_read(l->area, u->first * VERITY_BLOCK, l->buf, (size_t) u->count * VERITY_BLOCK,
                          &unread);

        u->unreadable = 0;
        if (r == -EIO)
                r = read_around(l, u, why);
        else if (r < 0)
                return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        for (uint32_t i = 0; r >= 0 && i < u->count; i++) {
                const uint8_t *block = l->buf + (size_t) i * VERITY_BLOCK;

                u->sums[i] = 0;
                if (verity_block_is_zero(block)) {
                        memcpy(u->hashes[i], l->b->zero, VERITY_ROOT_SIZE);
                } else {
                        u->sums[i] = behind_sum(block);
                        r = verity_hash_block(l->verity, block, u->hashes[i]);
                }
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", area_partition(l->area)->label) : 0;
}

/* --- the thread; with the lock --- */

static uint64_t end_of(const Behind *b, uint64_t unit)
{
        return MIN((unit + 1) * BEHIND_BLOCKS, b->n_blocks);
}

/* A unit is read when all of it is finished and there is room for it, and nothing that is not finished is read ahead. */
static BehindUnit *next_unit(Lane *l)
{
        Behind *b = l->b;
        BehindUnit *u = &b->ring[l->next % BEHIND_AHEAD];

        if (b->allowed < end_of(b, l->next) || l->next >= b->taken + BEHIND_AHEAD)
                return NULL;
        u->first = l->next * BEHIND_BLOCKS;
        u->count = (uint32_t) (end_of(b, l->next) - u->first);
        area_set_end(l->area, MIN(b->allowed / BEHIND_BLOCKS, l->end) * SLOT_UNIT);
        return u;
}

static bool has_chunk(Lane *l)
{
        Behind *b = l->b;

        if (l->next == l->end) {
                l->next = b->claimed;
                l->end = b->claimed = MIN(b->claimed + CHUNK, b->n_units);
        }
        return l->next < l->end;
}

static void *read_behind(void *ctx)
{
        Lane *l = ctx;
        Behind *b = l->b;

        (void) pthread_mutex_lock(&b->lock);
        while (!b->stop && b->error >= 0 && has_chunk(l)) {
                BehindUnit *u = next_unit(l);
                Why why = { 0 };
                int r;

                if (!u) {
                        b->n_waiting++;
                        (void) pthread_cond_wait(&b->work, &b->lock);
                        b->n_waiting--;
                        continue;
                }
                (void) pthread_mutex_unlock(&b->lock);
                r = make_unit(l, u, &why);
                (void) pthread_mutex_lock(&b->lock);
                if (r < 0 && b->error >= 0) {
                        b->error = r;
                        b->why = why;
                } else if (r >= 0) {
                        b->ready[l->next++ % BEHIND_AHEAD] = true;
                }
                if (b->taker_waits)
                        (void) pthread_cond_signal(&b->news);
        }
        (void) pthread_mutex_unlock(&b->lock);
        return NULL;
}

/* --- life cycle --- */

Behind *behind_free(Behind *b)
{
        if (!b)
                return NULL;
        (void) pthread_mutex_lock(&b->lock);
        b->stop = true;
        (void) pthread_cond_broadcast(&b->work);
        (void) pthread_mutex_unlock(&b->lock);
        for (size_t i = 0; i < BEHIND_LANES; i++) {
                Lane *l = &b->lanes[i];

                if (l->has_thread)
                        (void) pthread_join(l->thread, NULL);
                area_free(l->area);
                verity_free(l->verity);
                free(l->buf);
        }
        (void) pthread_cond_destroy(&b->work);
        (void) pthread_cond_destroy(&b->news);
        (void) pthread_mutex_destroy(&b->lock);
        free(b);
        return NULL;
}

/* Signals are for the thread that walks: they interrupt what it waits for. */
static int start(Lane *l)
{
        sigset_t all, before;
        int r;

        (void) sigfillset(&all);
        r = -pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r < 0)
                return r;
        r = -pthread_create(&l->thread, NULL, read_behind, l);
        l->has_thread = r == 0;
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

static int lane_open(Lane *l, Disk *disk, const Partition *p, const VerityParams *params, Why *why)
{
        int r;

        l->buf = area_buffer(SLOT_UNIT);
        r = l->buf ? area_open(disk, p, false, &l->area, why) : -ENOMEM;
        return r < 0 ? r : verity_new(params, NULL, NULL, &l->verity);
}

int behind_open(Disk *disk, const Partition *p, const VerityParams *params, unsigned lanes, Behind **ret,
                Why *why)
{
        static const uint8_t zeroes[VERITY_BLOCK];
        Behind *b = calloc(1, sizeof(*b));
        int r = 0;

        if (!b)
                return -ENOMEM;
        assert(lanes > 0 && lanes <= BEHIND_LANES);
        b->n_blocks = params->data_blocks;
        b->n_units = (b->n_blocks + BEHIND_BLOCKS - 1) / BEHIND_BLOCKS;
        (void) pthread_mutex_init(&b->lock, NULL); /* on Linux these three cannot fail */
        (void) pthread_cond_init(&b->work, NULL);
        (void) pthread_cond_init(&b->news, NULL);
        for (size_t i = 0; r >= 0 && i < lanes; i++) {
                b->lanes[i].b = b;
                r = lane_open(&b->lanes[i], disk, p, params, why);
        }
        if (r >= 0)
                r = verity_hash_block(b->lanes[0].verity, zeroes, b->zero);
        for (size_t i = 0; r >= 0 && i < lanes; i++) {
                r = start(&b->lanes[i]);
                if (i > 0)
                        r = 0; /* one is enough */
        }
        if (r < 0) {
                (void) behind_free(b);
                return r;
        }
        *ret = b;
        return 0;
}

/* --- the other side --- */

void behind_allow(Behind *b, uint64_t blocks)
{
        (void) pthread_mutex_lock(&b->lock);
        assert(blocks >= b->allowed && blocks <= b->n_blocks);
        b->allowed = blocks;
        if (b->n_waiting > 0)
                (void) pthread_cond_broadcast(&b->work);
        (void) pthread_mutex_unlock(&b->lock);
}

/* With the lock. */
static int take(Behind *b, bool wait, BehindUnit *ret, Why *why)
{
        bool *ready = &b->ready[b->taken % BEHIND_AHEAD];

        while (!*ready && b->error >= 0) {
                if (!wait)
                        return 0;
                b->taker_waits = true;
                (void) pthread_cond_wait(&b->news, &b->lock);
                b->taker_waits = false;
        }
        if (!*ready)
                return fail(why, b->error, b->why.kind, b->why.code, "%s", b->why.text);
        *ret = b->ring[b->taken++ % BEHIND_AHEAD];
        *ready = false;
        if (b->n_waiting > 0)
                (void) pthread_cond_broadcast(&b->work);
        return 1;
}

int behind_take(Behind *b, bool wait, BehindUnit *ret, Why *why)
{
        int r;

        (void) pthread_mutex_lock(&b->lock);
        assert(!wait || b->allowed >= end_of(b, b->taken));
        r = take(b, wait, ret, why);
        (void) pthread_mutex_unlock(&b->lock);
        return r;
}
