/* SPDX-License-Identifier: MIT */
#pragma once

/* Inside of the room: a few units of direct I/O on their way at the same time, so that a disk's latency is paid for once and not for
 * each unit (a cloud's disk takes a millisecond or two for one, a busy host's loop device more). Callers see a blocking file: a
 * write is copied and carried out behind their back, reads that follow each other are begun ahead. Knows one descriptor and
 * units; what was written is on its way until area_sync() asked. */

#include "base/mem.h"

#define QUEUE_UNIT  (128u * 1024u)
#define QUEUE_DEPTH 4u /* units: half a MiB that others may have to wait for */

typedef struct Queue Queue;

/* fd is borrowed and has O_DIRECT. Fails where the kernel has no asynchronous I/O to give: then things go one after the other. */
int queue_new(int fd, Queue **ret);
/* What was handed in is carried out before. */
Queue *queue_free(Queue *q);

/* At most QUEUE_UNIT bytes. Negative: an earlier write failed, and *ret_at (never touched otherwise) says where. */
int queue_write(Queue *q, uint64_t at, const void *data, size_t size, uint64_t *ret_at);
/* 1 read; 0 not begun ahead: the caller reads for itself, and nothing that it handed in is still on its way there. end: nothing
 * is read ahead from there on. */
int queue_read(Queue *q, uint64_t at, void *data, size_t size, uint64_t end);
/* Everything handed in was carried out. Negative as queue_write(). */
int queue_drain(Queue *q, uint64_t *ret_at);
