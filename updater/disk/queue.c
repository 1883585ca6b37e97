/* SPDX-License-Identifier: MIT */

/* Threads instead of an asynchronous interface: they need no system call that a sandbox might refuse, and block like everybody. One
 * lock guards all; a unit's buffer belongs to its thread while the unit runs, and to whoever holds the lock otherwise. Ranges
 * on their way never overlap: who hands in one that does waits for the other. */

#include "disk/queue.h"
#include "base/fd.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

typedef enum UnitState {
        UNIT_FREE,
        UNIT_WAITING,
        UNIT_RUNNING,
        UNIT_READ, /* a read ahead that has its bytes */
} UnitState;

typedef struct Unit {
        UnitState state;
        bool write;
        bool unwanted; /* a read ahead that nobody will ask for any more */
        uint64_t at;
        size_t size;
        uint64_t order; /* the oldest goes first */
        uint8_t *data;  /* QUEUE_UNIT bytes, aligned */
} Unit;

struct Queue {
        int fd;
        Unit unit[QUEUE_DEPTH];
        pthread_t thread[QUEUE_DEPTH];
        size_t n_threads;
        pthread_mutex_t lock;
        pthread_cond_t work, done;
        uint64_t order;
        uint64_t next; /* where the last read ended */
        int error;     /* of the first write that failed ... */
        uint64_t error_at;
        bool stop;
};

static bool overlaps(const Unit *u, uint64_t at, uint64_t size)
{
        return u->state != UNIT_FREE && at < u->at + u->size && u->at < at + size;
}

static Unit *oldest_waiting(Queue *q)
{
        Unit *found = NULL;

        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                if (q->unit[i].state == UNIT_WAITING && (!found || q->unit[i].order < found->order))
                        found = &q->unit[i];
        return found;
}

static Unit *free_unit(Queue *q)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                if (q->unit[i].state == UNIT_FREE)
                        return &q->unit[i];
        return NULL;
}

/* Without the lock. */
static int carry_out(const Queue *q, const Unit *u)
{
        ssize_t l;

        if (u->write)
                return fd_pwrite_full(q->fd, u->data, u->size, u->at);
        l = fd_pread_full(q->fd, u->data, u->size, u->at);
        return l < 0 ? (int) l : (size_t) l < u->size ? -ENODATA : 0;
}

/* With the lock. A read ahead that failed is as if it had never been: who wants these bytes reads them and hears why. */
static void finish(Queue *q, Unit *u, int r)
{
        u->state = !u->write && r >= 0 && !u->unwanted ? UNIT_READ : UNIT_FREE;
        if (!u->write || r >= 0 || q->error < 0)
                return;
        q->error = r;
        q->error_at = u->at;
}

static void *carry(void *ctx)
{
        Queue *q = ctx;

        (void) pthread_mutex_lock(&q->lock);
        for (;;) {
                Unit *u = oldest_waiting(q);
                int r;

                if (!u) {
                        if (q->stop)
                                break;
                        (void) pthread_cond_wait(&q->work, &q->lock);
                        continue;
                }
                u->state = UNIT_RUNNING;
                (void) pthread_mutex_unlock(&q->lock);
                r = carry_out(q, u);
                (void) pthread_mutex_lock(&q->lock);
                finish(q, u, r);
                (void) pthread_cond_broadcast(&q->done);
        }
        (void) pthread_mutex_unlock(&q->lock);
        return NULL;
}

Queue *queue_free(Queue *q)
{
        if (!q)
                return NULL;
        (void) pthread_mutex_lock(&q->lock);
        q->stop = true;
        (void) pthread_cond_broadcast(&q->work);
        (void) pthread_mutex_unlock(&q->lock);
        for (size_t i = 0; i < q->n_threads; i++)
                (void) pthread_join(q->thread[i], NULL);
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                free(q->unit[i].data);
        (void) pthread_cond_destroy(&q->work);
        (void) pthread_cond_destroy(&q->done);
        (void) pthread_mutex_destroy(&q->lock);
        free(q);
        return NULL;
}

int queue_new(int fd, Queue **ret)
{
        Queue *q = calloc(1, sizeof(*q));
        int r = 0;

        if (!q)
                return -ENOMEM;
        q->fd = fd;
        q->next = UINT64_MAX;
        (void) pthread_mutex_init(&q->lock, NULL); /* on Linux these three cannot fail */
        (void) pthread_cond_init(&q->work, NULL);
        (void) pthread_cond_init(&q->done, NULL);
        for (size_t i = 0; r == 0 && i < QUEUE_DEPTH; i++) {
                q->unit[i].data = aligned_alloc(4096, QUEUE_UNIT);
                r = q->unit[i].data ? -pthread_create(&q->thread[i], NULL, carry, q) : -ENOMEM;
                q->n_threads += r == 0;
        }
        if (r < 0) {
                (void) queue_free(q);
                return r;
        }
        *ret = q;
        return 0;
}

/* With the lock: forgets reads ahead, as far as they are not running. those: only where they overlap. */
static void forget_reads(Queue *q, uint64_t at, uint64_t size, bool everywhere)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++) {
                Unit *u = &q->unit[i];

                if (u->write || u->state == UNIT_FREE || (!everywhere && !overlaps(u, at, size)))
                        continue;
                if (u->state == UNIT_RUNNING)
                        u->unwanted = true;
                else
                        u->state = UNIT_FREE;
        }
}

/* With the lock: until nothing on its way touches these bytes. */
static void wait_clear(Queue *q, uint64_t at, uint64_t size)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                while (overlaps(&q->unit[i], at, size))
                        (void) pthread_cond_wait(&q->done, &q->lock);
}

static void hand_in(Queue *q, Unit *u, bool write, uint64_t at, size_t size)
{
        *u = (Unit){ .state = UNIT_WAITING,
                     .write = write,
                     .at = at,
                     .size = size,
                     .order = q->order++,
                     .data = u->data };
        (void) pthread_cond_signal(&q->work);
}

static int error_of(const Queue *q, uint64_t *ret_at)
{
        if (q->error < 0)
                *ret_at = q->error_at;
        return q->error;
}

int queue_write(Queue *q, uint64_t at, const void *data, size_t size, uint64_t *ret_at)
{
        Unit *u;
        int r;

        (void) pthread_mutex_lock(&q->lock);
        forget_reads(q, at, size, false);
        wait_clear(q, at, size);
        while (!(u = free_unit(q))) {
                bool busy = false;

                for (size_t i = 0; i < QUEUE_DEPTH; i++)
                        busy = busy || q->unit[i].state != UNIT_READ;
                if (!busy) /* all of them hold bytes that may never be asked for */
                        forget_reads(q, 0, 0, true);
                else
                        (void) pthread_cond_wait(&q->done, &q->lock);
        }
        memcpy(u->data, data, size);
        hand_in(q, u, true, at, size);
        r = error_of(q, ret_at);
        (void) pthread_mutex_unlock(&q->lock);
        return r;
}

/* With the lock: the units behind at, as far as there is room and nothing is on its way there. One unit stays free for a write. */
static void read_ahead(Queue *q, uint64_t at, size_t size, uint64_t end)
{
        for (size_t ahead = 0; ahead + 1 < QUEUE_DEPTH; ahead++, at += size) {
                size_t n = (size_t) MIN((uint64_t) size, end - MIN(at, end)), reads = 0;
                bool there = false;
                Unit *u = free_unit(q);

                for (size_t i = 0; i < QUEUE_DEPTH; i++) {
                        there = there || overlaps(&q->unit[i], at, n);
                        reads += q->unit[i].state != UNIT_FREE && !q->unit[i].write;
                }
                if (n == 0 || (!there && (!u || reads + 1 >= QUEUE_DEPTH)))
                        return;
                if (!there)
                        hand_in(q, u, false, at, n);
        }
}

/* With the lock. */
static Unit *read_of(Queue *q, uint64_t at, size_t size)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++) {
                Unit *u = &q->unit[i];

                if (u->state != UNIT_FREE && !u->write && !u->unwanted && u->at == at && u->size == size)
                        return u;
        }
        return NULL;
}

int queue_read(Queue *q, uint64_t at, void *data, size_t size, uint64_t end)
{
        bool follows;
        Unit *u;
        int r = 0;

        (void) pthread_mutex_lock(&q->lock);
        follows = at == q->next;
        q->next = at + size;
        while ((u = read_of(q, at, size)) && u->state != UNIT_READ)
                (void) pthread_cond_wait(&q->done, &q->lock);
        if (u) {
                memcpy(data, u->data, size);
                u->state = UNIT_FREE;
                r = 1;
        } else {
                forget_reads(q, 0, 0, true);
                wait_clear(q, at, size);
        }
        if (follows)
                read_ahead(q, at + size, size, end);
        (void) pthread_mutex_unlock(&q->lock);
        return r;
}

int queue_drain(Queue *q, uint64_t *ret_at)
{
        int r;

        (void) pthread_mutex_lock(&q->lock);
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                while (q->unit[i].write && q->unit[i].state != UNIT_FREE)
                        (void) pthread_cond_wait(&q->done, &q->lock);
        forget_reads(q, 0, 0, true); /* what is read from here on comes from the medium as it is now */
        r = error_of(q, ret_at);
        (void) pthread_mutex_unlock(&q->lock);
        return r;
}
