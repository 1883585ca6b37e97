/* SPDX-License-Identifier: MIT */

#include "slot/behind.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#define RING 128u /* units that nobody has taken yet: 128 KiB of hashes of 16 MiB */

struct Behind {
        Area *area;
        Verity *verity;
        uint8_t *buf;
        uint64_t n_blocks;
        bool tolerant;
        uint8_t zero[VERITY_ROOT_SIZE];

        pthread_t thread;
        bool has_thread;
        pthread_mutex_t lock;
        pthread_cond_t work, news;
        /* under the lock */
        bool stop, thread_waits, taker_waits;
        uint64_t allowed;     /* blocks */
        uint64_t made, taken; /* units */
        int error;
        Why why;
        BehindUnit ring[RING]; /* [taken, made) is the taker's, the next one the thread's */
};

static bool is_zero(const uint8_t *block)
{
        return block[0] == 0 && memcmp(block, block + 1, VERITY_BLOCK - 1) == 0;
}

static int no_tree(void *ctx _unused_, uint64_t offset _unused_, const uint8_t block[VERITY_BLOCK] _unused_)
{
        return 0;
}

/* --- the thread; without the lock --- */

/* One by one, so that a single bad block spoils no other. */
static int read_around(Behind *b, uint64_t first, uint32_t count, Why *why)
{
        for (uint32_t i = 0; i < count; i++) {
                uint8_t *block = b->buf + (size_t) i * VERITY_BLOCK;
                Why unread = { 0 };
                int r = area_read(b->area, (first + i) * VERITY_BLOCK, block, VERITY_BLOCK, &unread);

                if (r == -EIO && b->tolerant)
                        memset(block, 0xa5, VERITY_BLOCK);
                else if (r < 0)
                        return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        }
        return 0;
}

static int make_unit(Behind *b, BehindUnit *u, Why *why)
{
        Why unread = { 0 };
        int r = area_read(b->area, u->first * VERITY_BLOCK, b->buf, (size_t) u->count * VERITY_BLOCK,
                          &unread);

        if (r == -EIO)
                r = read_around(b, u->first, u->count, why);
        else if (r < 0)
                return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        for (uint32_t i = 0; r >= 0 && i < u->count; i++) {
                const uint8_t *block = b->buf + (size_t) i * VERITY_BLOCK;

                if (is_zero(block))
                        memcpy(u->hashes[i], b->zero, VERITY_ROOT_SIZE);
                else
                        r = verity_hash_block(b->verity, block, u->hashes[i]);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", area_partition(b->area)->label) : 0;
}

/* With the lock. A unit is read when all of it is finished, and nothing that is not is read ahead. */
static bool next_unit(const Behind *b, uint64_t *ret_first, uint32_t *ret_count)
{
        uint64_t first = b->made * BEHIND_BLOCKS, end = MIN(first + BEHIND_BLOCKS, b->n_blocks);

        if (first >= b->n_blocks || b->allowed < end || b->made - b->taken == RING)
                return false;
        *ret_first = first;
        *ret_count = (uint32_t) (end - first);
        area_set_end(b->area, b->allowed / BEHIND_BLOCKS * SLOT_UNIT);
        return true;
}

static void *read_behind(void *ctx)
{
        Behind *b = ctx;

        (void) pthread_mutex_lock(&b->lock);
        while (!b->stop && b->error >= 0) {
                BehindUnit *u = &b->ring[b->made % RING];
                Why why = { 0 };
                int r;

                if (!next_unit(b, &u->first, &u->count)) {
                        b->thread_waits = true;
                        (void) pthread_cond_wait(&b->work, &b->lock);
                        b->thread_waits = false;
                        continue;
                }
                (void) pthread_mutex_unlock(&b->lock);
                r = make_unit(b, u, &why);
                (void) pthread_mutex_lock(&b->lock);
                if (r < 0) {
                        b->error = r;
                        b->why = why;
                } else {
                        b->made++;
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
        if (b->has_thread) {
                (void) pthread_mutex_lock(&b->lock);
                b->stop = true;
                (void) pthread_cond_signal(&b->work);
                (void) pthread_mutex_unlock(&b->lock);
                (void) pthread_join(b->thread, NULL);
        }
        (void) pthread_cond_destroy(&b->work);
        (void) pthread_cond_destroy(&b->news);
        (void) pthread_mutex_destroy(&b->lock);
        area_free(b->area);
        verity_free(b->verity);
        free(b->buf);
        free(b);
        return NULL;
}

/* Signals are for the thread that walks: they interrupt what it waits for. */
static int start(Behind *b)
{
        sigset_t all, before;
        int r;

        (void) sigfillset(&all);
        r = -pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r < 0)
                return r;
        r = -pthread_create(&b->thread, NULL, read_behind, b);
        b->has_thread = r == 0;
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

int behind_open(Disk *disk, const Partition *p, const VerityParams *params, bool tolerant, Behind **ret,
                Why *why)
{
        static const uint8_t zeroes[VERITY_BLOCK];
        Behind *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->n_blocks = params->data_blocks;
        b->tolerant = tolerant;
        (void) pthread_mutex_init(&b->lock, NULL); /* on Linux these three cannot fail */
        (void) pthread_cond_init(&b->work, NULL);
        (void) pthread_cond_init(&b->news, NULL);
        b->buf = area_buffer(SLOT_UNIT);
        r = b->buf ? area_open(disk, p, false, &b->area, why) : -ENOMEM;
        if (r >= 0)
                r = verity_new(params, no_tree, NULL, &b->verity);
        if (r >= 0)
                r = verity_hash_block(b->verity, zeroes, b->zero);
        if (r >= 0)
                r = start(b);
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
        if (b->thread_waits)
                (void) pthread_cond_signal(&b->work);
        (void) pthread_mutex_unlock(&b->lock);
}

/* With the lock. */
static int take(Behind *b, bool wait, BehindUnit *ret, Why *why)
{
        while (b->made == b->taken && b->error >= 0) {
                if (!wait)
                        return 0;
                b->taker_waits = true;
                (void) pthread_cond_wait(&b->news, &b->lock);
                b->taker_waits = false;
        }
        if (b->made == b->taken)
                return fail(why, b->error, b->why.kind, b->why.code, "%s", b->why.text);
        *ret = b->ring[b->taken++ % RING];
        if (b->thread_waits)
                (void) pthread_cond_signal(&b->work);
        return 1;
}

int behind_take(Behind *b, bool wait, BehindUnit *ret, Why *why)
{
        int r;

        (void) pthread_mutex_lock(&b->lock);
        assert(!wait || b->made > b->taken || b->error < 0 ||
               b->allowed >= MIN((b->made + 1) * BEHIND_BLOCKS, b->n_blocks));
        r = take(b, wait, ret, why);
        (void) pthread_mutex_unlock(&b->lock);
        return r;
}
