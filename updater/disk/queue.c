/* SPDX-License-Identifier: MIT */

/* The kernel's own asynchronous interface for direct I/O (io_submit), not threads: a unit that was handed to a thread costs three
 * or four switches between processors, which was more than the hashing beside it. A unit's buffer belongs to the kernel while the
 * unit runs. Ranges on their way never overlap: who hands in one that does waits for the other. */

#include "disk/queue.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum UnitState {
        UNIT_FREE,
        UNIT_RUNNING,
        UNIT_READ, /* a read ahead that has its bytes */
} UnitState;

typedef struct Unit {
        UnitState state;
        bool write;
        bool unwanted; /* a read ahead that nobody will ask for any more */
        uint64_t at;
        size_t size;
        uint8_t *data; /* QUEUE_UNIT bytes, aligned */
} Unit;

struct Queue {
        int fd;
        aio_context_t aio;
        Unit unit[QUEUE_DEPTH];
        uint64_t next; /* where the last read ended */
        int error;     /* of the first write that failed ... */
        uint64_t error_at;
};

static bool overlaps(const Unit *u, uint64_t at, uint64_t size)
{
        return u->state != UNIT_FREE && at < u->at + u->size && u->at < at + size;
}

static Unit *free_unit(Queue *q)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                if (q->unit[i].state == UNIT_FREE)
                        return &q->unit[i];
        return NULL;
}

static bool is_any_running(const Queue *q)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                if (q->unit[i].state == UNIT_RUNNING)
                        return true;
        return false;
}

/* A read ahead that failed is as if it had never been: who wants these bytes reads them and hears why. */
static void finish(Queue *q, Unit *u, int64_t result)
{
        int r;

        if (u->write && (result == -EINTR || result == -EAGAIN)) /* what a call would have tried again */
                result = 0;
        r = result < 0 ? (int) result : 0;
        u->state = !u->write && result == (int64_t) u->size && !u->unwanted ? UNIT_READ : UNIT_FREE;
        if (!u->write)
                return;
        if (result >= 0 && result < (int64_t) u->size)
                r = fd_pwrite_full(q->fd, u->data + result, u->size - (size_t) result,
                                   u->at + (uint64_t) result);
        if (r >= 0 || q->error < 0)
                return;
        q->error = r;
        q->error_at = u->at;
}

/* Some unit is on its way: until one of them has arrived. */
static void await(Queue *q)
{
        struct io_event events[QUEUE_DEPTH];
        long n;

        assert(is_any_running(q));
        do
                n = syscall(SYS_io_getevents, q->aio, 1L, (long) QUEUE_DEPTH, events, NULL);
        while (n < 0 && errno == EINTR);
        assert(n > 0); /* it fails for arguments that are none of ours */
        for (long i = 0; i < n; i++)
                finish(q, &q->unit[events[i].data], events[i].res);
}

/* What the kernel does not take is done here and now, and says by itself what is wrong with it. */
static void hand_in(Queue *q, Unit *u, bool write, uint64_t at, size_t size)
{
        struct iocb cb = { .aio_data = (uint64_t) (u - q->unit),
                           .aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                           .aio_fildes = (uint32_t) q->fd,
                           .aio_buf = (uint64_t) (uintptr_t) u->data,
                           .aio_nbytes = size,
                           .aio_offset = (int64_t) at };
        struct iocb *list[1] = { &cb };

        *u = (Unit){ .state = UNIT_RUNNING, .write = write, .at = at, .size = size, .data = u->data };
        if (syscall(SYS_io_submit, q->aio, 1L, list) == 1)
                return;
        finish(q, u, write ? 0 : -EAGAIN);
}

Queue *queue_free(Queue *q)
{
        if (!q)
                return NULL;
        while (is_any_running(q))
                await(q);
        if (q->aio)
                (void) syscall(SYS_io_destroy, q->aio);
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                free(q->unit[i].data);
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
        if (syscall(SYS_io_setup, (long) QUEUE_DEPTH, &q->aio) < 0)
                r = -errno;
        for (size_t i = 0; r == 0 && i < QUEUE_DEPTH; i++) {
                q->unit[i].data = aligned_alloc(4096, QUEUE_UNIT);
                r = q->unit[i].data ? 0 : -ENOMEM;
        }
        if (r < 0) {
                (void) queue_free(q);
                return r;
        }
        *ret = q;
        return 0;
}

/* Forgets reads ahead; those that are running, when they arrive. Only where they overlap, or everywhere. */
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

/* Until nothing on its way touches these bytes. */
static void wait_clear(Queue *q, uint64_t at, uint64_t size)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                while (overlaps(&q->unit[i], at, size))
                        await(q);
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

        forget_reads(q, at, size, false);
        wait_clear(q, at, size);
        while (!(u = free_unit(q))) {
                if (is_any_running(q))
                        await(q);
                else /* all of them hold bytes that may never be asked for */
                        forget_reads(q, 0, 0, true);
        }
        memcpy(u->data, data, size);
        hand_in(q, u, true, at, size);
        return error_of(q, ret_at);
}

/* The units behind at, as far as there is room and nothing is on its way there. One unit stays free for a write. */
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
        bool follows = at == q->next;
        Unit *u;
        int r = 0;

        q->next = at + size;
        while ((u = read_of(q, at, size)) && u->state != UNIT_READ)
                await(q);
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
        return r;
}

int queue_drain(Queue *q, uint64_t *ret_at)
{
        for (size_t i = 0; i < QUEUE_DEPTH; i++)
                while (q->unit[i].write && q->unit[i].state != UNIT_FREE)
                        await(q);
        forget_reads(q, 0, 0, true); /* what is read from here on comes from the medium as it is now */
        return error_of(q, ret_at);
}
