/* SPDX-License-Identifier: MIT */

/* Whatever order things are handed in, it is as if each were done before the next. */

#undef NDEBUG
#include "disk/queue.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK  4096u
#define BLOCKS 512u

static uint64_t seed = 88172645463325252u;

static uint32_t dice(uint32_t n)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (uint32_t) (seed % n);
}

static int make_file(void)
{
        char path[] = "/tmp/test-queue-XXXXXX";
        int fd = mkostemp(path, O_CLOEXEC);

        assert(fd >= 0 && unlink(path) == 0 && ftruncate(fd, BLOCKS * BLOCK) == 0);
        return fd;
}

static void read_like(Queue *q, int fd, uint64_t at, uint8_t *buf, size_t size)
{
        int r = queue_read(q, at, buf, size, BLOCKS * BLOCK);

        assert(r == 0 || r == 1);
        if (r == 0)
                assert(pread(fd, buf, size, (off_t) at) == (ssize_t) size);
}

/* Runs of reads and writes of any size, at any place or one after the other, against a copy in memory. */
static void test_model(void)
{
        static uint8_t model[BLOCKS * BLOCK], got[QUEUE_UNIT], data[QUEUE_UNIT];
        int fd = make_file();
        uint64_t at = 0, error_at;
        Queue *q = NULL;

        assert(queue_new(fd, &q) == 0);
        for (unsigned round = 0; round < 30000; round++) {
                size_t size = dice(4) > 0 ? QUEUE_UNIT / 4 : (1 + dice(QUEUE_UNIT / BLOCK)) * BLOCK;

                if (dice(8) == 0 || at + size > sizeof(model))
                        at = dice((uint32_t) ((sizeof(model) - size) / BLOCK) + 1) * (uint64_t) BLOCK;
                switch (dice(5)) {
                case 0:
                case 1:
                        memset(data, (int) dice(256), size);
                        memcpy(model + at, data, size);
                        assert(queue_write(q, at, data, size, &error_at) == 0);
                        memset(data, 0xee, size); /* the caller's buffer is the caller's again */
                        break;
                case 2:
                        if (dice(50) == 0) {
                                assert(queue_drain(q, &error_at) == 0);
                                assert(pread(fd, got, size, (off_t) at) == (ssize_t) size &&
                                       memcmp(got, model + at, size) == 0);
                        }
                        break;
                default:
                        read_like(q, fd, at, got, size);
                        assert(memcmp(got, model + at, size) == 0);
                        at += size;
                }
        }
        q = queue_free(q); /* carries out what is left */
        for (at = 0; at < sizeof(model); at += sizeof(got)) {
                assert(pread(fd, got, sizeof(got), (off_t) at) == (ssize_t) sizeof(got));
                assert(memcmp(got, model + at, sizeof(got)) == 0);
        }
        assert(close(fd) == 0);
}

static void test_reads_ahead(void)
{
        static uint8_t buf[QUEUE_UNIT];
        int fd = make_file(), ahead = 0;
        Queue *q = NULL;

        assert(queue_new(fd, &q) == 0);
        for (uint64_t at = 0; at < BLOCKS * BLOCK; at += sizeof(buf)) {
                int r = queue_read(q, at, buf, sizeof(buf), BLOCKS * BLOCK);

                assert(r == 0 || r == 1);
                ahead += r;
        }
        assert(ahead ==
               BLOCKS * BLOCK / QUEUE_UNIT - 2); /* the first, and the second, which showed the direction */
        q = queue_free(q);
        assert(close(fd) == 0);
}

/* A write that fails is told at the next opportunity, with its place, and for good. */
static void test_error(void)
{
        static uint8_t buf[QUEUE_UNIT];
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        uint64_t at = 0;
        Queue *q = NULL;

        assert(fd >= 0 && queue_new(fd, &q) == 0);
        (void) queue_write(q, 7 * BLOCK, buf, BLOCK, &at);
        assert(queue_drain(q, &at) == -EBADF && at == 7 * BLOCK);
        at = 0;
        assert(queue_write(q, 9 * BLOCK, buf, BLOCK, &at) == -EBADF && at == 7 * BLOCK);
        assert(queue_drain(q, &at) == -EBADF && at == 7 * BLOCK);
        assert(queue_read(q, 0, buf, BLOCK, BLOCK) == 0);
        q = queue_free(q);
        assert(close(fd) == 0);
        assert(!queue_free(NULL));
}

int main(void)
{
        test_model();
        test_reads_ahead();
        test_error();
        return 0;
}
