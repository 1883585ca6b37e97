/* SPDX-License-Identifier: MIT */

/* First byte: what the rest is. A superblock; or an unpacked part, worked off with an old object of its own bytes: no write beyond
 * the limit, no object under a name that its bytes do not have. */

#include "fetch/ostree-delta.h"
#include "base/fd.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LIMIT (64u * 1024u)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void superblock(const uint8_t *data, size_t size)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(delta_done) Delta d = { 0 };
        uint8_t from[OSTREE_ID], to[OSTREE_ID];

        /* the names stand somewhere in it: then they fit */
        memset(from, 'f', sizeof(from));
        memset(to, 't', sizeof(to));
        assert(bytes_copy(&b, data, size) == 0);
        if (delta_parse(&b, from, to, &d, NULL) < 0)
                return;
        for (size_t i = 0; i < d.n_parts; i++)
                assert(d.parts[i].n_objects == 0 ||
                       (d.parts[i].objects >= d.superblock.data &&
                        d.parts[i].objects + d.parts[i].n_objects * DELTA_OBJECT <=
                                d.superblock.data + d.superblock.size));
}

/* Two bytes: how many objects, of which every fourth is a folder; their names follow. */
static void part(const uint8_t *data, size_t size)
{
        _cleanup_(rebuilt_done) Rebuilt rebuilt = REBUILT_NULL;
        _cleanup_(delta_run_freep) DeltaRun *run = NULL;
        DeltaPart p = { .objects = data + 1 };
        const uint8_t *id = NULL;
        DeltaWant want;
        struct stat st;
        size_t head;

        if (size < 1)
                return;
        p.n_objects = data[0];
        head = 1 + p.n_objects * DELTA_OBJECT;
        if (size < head)
                return;
        rebuilt.fd = memfd_create("rebuilt", MFD_CLOEXEC);
        rebuilt.limit = LIMIT;
        assert(rebuilt.fd >= 0);
        if (delta_run_new(&p, data + head, size - head, &rebuilt, &run, NULL) < 0)
                return;
        while (delta_run(run, &want, &id, NULL) >= 0 && want == DELTA_WANT_SOURCE) {
                int fd = id[0] & 1 ? -1 : memfd_create("source", MFD_CLOEXEC);

                if (fd >= 0)
                        assert(fd_write_full(fd, data, MIN(size, (size_t) LIMIT)) == 0);
                delta_run_give(run, fd);
        }
        assert(rebuilt.at <= LIMIT + REBUILT_BLOCK && fstat(rebuilt.fd, &st) == 0);
        assert((uint64_t) st.st_size <= LIMIT + REBUILT_BLOCK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size > 0 && data[0] == 0)
                superblock(data + 1, size - 1);
        else if (size > 0)
                part(data + 1, size - 1);
        return 0;
}
