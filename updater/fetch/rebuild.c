/* SPDX-License-Identifier: MIT */

/* The job's half of an OSTree pull. The child makes files out of a delta and of old objects; it asks for those one at a time by
 * name and gets a descriptor, since it may open nothing that the job may. */

#include "fetch/client.h"
#include "base/fd.h"

#include <errno.h>
#include <sys/stat.h>

#define ID         32u
#define BLOCK      4096u
#define LIST_PIECE (WIRE_RECORD_MAX / ID / 2) /* names a record */

/* What the child wants next; the numbers are those of OstreeWant in ostree.h, where the child's half is. */
enum { WANT_NOTHING, WANT_OBJECT, WANT_LIST, WANT_BLOCKS };

typedef struct Want {
        uint32_t what;
        uint8_t id[ID];
        BlockRange ranges[FETCH_OLD_RANGES_MAX];
        size_t n_ranges;
} Want;

void fetch_rebuilt_done(FetchRebuilt *r)
{
        close_fdp(&r->fd);
        *r = FETCH_REBUILT_NULL;
}

static int begin(Fetch *f, const char *url, const char *to, const char *from, uint64_t limit, int fd,
                 FetchRebuilt *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(close_fdp) int part_fd = client_scratch(f->env, why);
        Answer none = { 0 };
        WireUnpack done;
        int r;

        if (part_fd < 0)
                return part_fd;
        wire_put_str(&p, url);
        wire_put_str(&p, to);
        wire_put_str(&p, from);
        wire_put_u64(&p, limit);
        r = client_ask(f, WIRE_REBUILD, &p, (int[]){ fd, part_fd }, 2, &none, &done, why);
        if (r < 0)
                return r;
        ret->is_delta = wire_get_u32(&done) != 0;
        return client_expect_end(f, &done, why);
}

static int send_list(Fetch *f, const FetchObjects *here, Why *why)
{
        const uint8_t *ids = NULL;
        size_t n = 0;
        int r = here->list(here->ctx, &ids, &n, why);

        while (r >= 0 && n > 0) {
                _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
                size_t m = MIN(n, (size_t) LIST_PIECE);
                Answer none = { 0 };
                WireUnpack done;

                wire_put_bytes(&p, ids, m * ID);
                r = client_ask(f, WIRE_REBUILD_LIST, &p, NULL, 0, &none, &done, why);
                if (r >= 0)
                        r = client_expect_end(f, &done, why);
                ids += m * ID;
                n -= m;
        }
        return r;
}

/* What the child names is looked at before anybody acts on it: as many as there may be, and in sum. */
static int get_ranges(WireUnpack *in, Want *ret)
{
        uint32_t n = wire_get_u32(in);
        uint64_t sum = 0;

        if (n == 0 || n > FETCH_OLD_RANGES_MAX)
                return -EPROTO;
        for (uint32_t i = 0; i < n; i++) {
                BlockRange range = { .first = wire_get_u32(in) };

                range.count = wire_get_u32(in);
                sum += range.count;
                if (in->failed || range.count == 0 || sum > FETCH_OLD_BLOCKS_MAX ||
                    (uint64_t) range.first + range.count > INDEX_BLOCKS_MAX)
                        return -EPROTO;
                ret->ranges[i] = range;
        }
        ret->n_ranges = n;
        return 0;
}

/* One step: *fd is the answer to what was wanted before (-1: nothing, or not here). */
static int next(Fetch *f, int *fd, Want *ret, Why *why)
{
        _cleanup_(wire_pack_done) WirePack p = WIRE_PACK_NULL;
        _cleanup_(bytes_done) Bytes id = BYTES_NULL;
        Answer none = { 0 };
        WireUnpack done;
        int r;

        r = client_ask(f, WIRE_REBUILD_NEXT, &p, fd, *fd >= 0, &none, &done, why);
        close_fdp(fd);
        *fd = -1;
        if (r < 0)
                return r;
        ret->what = wire_get_u32(&done);
        wire_get_bytes(&done, ID, &id);
        if (ret->what > WANT_BLOCKS || (ret->what == WANT_OBJECT) != (id.size == ID) ||
            (ret->what == WANT_BLOCKS && get_ranges(&done, ret) < 0))
                return client_misbehaved(f, why, "wants something that there is not");
        if (id.size == ID)
                memcpy(ret->id, id.data, ID);
        return client_expect_end(f, &done, why);
}

/* -1: they cannot be had, and what would be made of them is fetched instead. */
static int copy_blocks(Fetch *f, const FetchObjects *here, const Want *want)
{
        _cleanup_(close_fdp) int fd = client_scratch(f->env, NULL);

        if (fd < 0 || !here->blocks || here->blocks(here->ctx, want->ranges, want->n_ranges, fd) < 0)
                return -1;
        return take_fd(&fd);
}

static int work_off(Fetch *f, const FetchObjects *here, Why *why)
{
        _cleanup_(close_fdp) int fd = -1;
        Want want = { 0 };
        int r = 0;

        do {
                r = next(f, &fd, &want, why);
                if (r >= 0 && want.what == WANT_OBJECT)
                        fd = here->open(here->ctx, want.id);
                else if (r >= 0 && want.what == WANT_LIST)
                        r = send_list(f, here, why);
                else if (r >= 0 && want.what == WANT_BLOCKS)
                        fd = copy_blocks(f, here, &want);
        } while (r >= 0 && want.what != WANT_NOTHING);
        return r;
}

int fetch_rebuild(Fetch *f, const char *url, const char *to, const char *from, uint64_t limit,
                  const FetchObjects *here, FetchRebuilt *ret, Why *why)
{
        _cleanup_(fetch_rebuilt_done) FetchRebuilt b = FETCH_REBUILT_NULL;
        struct stat st;
        int r;

        b.fd = client_scratch(f->env, &b.incomplete);
        r = b.fd < 0 ? b.fd : begin(f, url, to, from, limit, b.fd, &b, &b.incomplete);
        if (r >= 0)
                r = work_off(f, here, &b.incomplete);
        if (f->broken) {
                *why = b.incomplete;
                return r < 0 ? r : -EPIPE;
        }
        if (r < 0 && b.incomplete.kind == WHY_NONE)
                fail_errno(&b.incomplete, r, WHY_HOST, "OSTree");
        /* what was made until it went wrong is as good as the rest */
        if (b.fd >= 0 && fstat(b.fd, &st) == 0)
                b.n_blocks = (uint32_t) (MIN((uint64_t) st.st_size, limit) / BLOCK);
        *ret = b;
        b = FETCH_REBUILT_NULL;
        return 0;
}
