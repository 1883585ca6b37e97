/* SPDX-License-Identifier: MIT */

/* Blocks made out of an OSTree repository: gybe-fetch brings a static delta, the job hands it the old files that the delta names,
 * one descriptor at a time, and what comes of them is offered to the plan as one more source. Nothing here can fail an update:
 * what is not made is fetched as frames, and what is made wrongly is noticed by its hash. */

#include "stage.h"
#include "base/fd.h"
#include "slot/assemble.h"
#include "slot/objects.h"
#include "source/ostree.h"

#include <errno.h>

struct StageRebuilt {
        Stage *stage;
        int usr_fd;
        SlotObjects *objects; /* NULL: nobody has asked yet */
        bool scanned, failed;
        uint64_t read;
        SlotSource running; /* open from the first block on that is asked for */
        FetchRebuilt made;
        BlockSource source;
};

StageRebuilt *stage_rebuilt_free(StageRebuilt *b)
{
        if (!b)
                return NULL;
        slot_objects_free(b->objects);
        fetch_rebuilt_done(&b->made);
        slot_source_done(&b->running);
        close_fdp(&b->usr_fd);
        free(b);
        return NULL;
}

/* --- what runs here --- */

static int scan_tick(void *ctx, uint64_t bytes, Why *why)
{
        StageRebuilt *b = ctx;

        b->read += bytes;
        stage_show(b->stage, "planning", b->read, 0);
        return update_pace(b->stage->u, bytes, why);
}

/* Once, and only when the repository has something that needs it. */
static const SlotObjects *objects_here(StageRebuilt *b, Why *why)
{
        if (!b->scanned) {
                b->scanned = true;
                b->failed = slot_objects_scan(b->usr_fd, scan_tick, b, &b->objects, why) < 0;
        }
        return b->objects;
}

static int open_object(void *ctx, const uint8_t id[32])
{
        Why ignored = { 0 };
        const SlotObjects *here = objects_here(ctx, &ignored);

        return here ? slot_objects_open(here, id) : -1;
}

static int list_objects(void *ctx, const uint8_t **ret, size_t *ret_n, Why *why)
{
        const SlotObjects *here = objects_here(ctx, why);

        if (!here)
                return -EIO;
        *ret = slot_objects_list(here, ret_n);
        return 0;
}

static int copy_range(const BlockSource *from, BlockRange range, uint8_t *buf, int fd, uint64_t at)
{
        int r = 0;

        if ((uint64_t) range.first + range.count > from->n_blocks)
                return -ENODATA;
        for (uint32_t n; r >= 0 && range.count > 0; range.first += n, range.count -= n) {
                Why ignored = { 0 };

                n = MIN(range.count, BLOCK_SOURCE_UNIT);
                r = from->read(from->self, range.first, n, buf, &ignored);
                if (r >= 0)
                        r = fd_pwrite_full(fd, buf, (size_t) n * VERITY_BLOCK, at);
                at += (uint64_t) n * VERITY_BLOCK;
        }
        return r;
}

/* Of the slot that runs: what file systems keep about their files is in no file. */
static int copy_blocks(void *ctx, const BlockRange *ranges, size_t n, int fd)
{
        StageRebuilt *b = ctx;
        Update *u = b->stage->u;
        const Partition *running = u->host.layout.slot[slot_other(b->stage->target)].data;
        uint8_t *buf = area_buffer((size_t) BLOCK_SOURCE_UNIT * VERITY_BLOCK);
        Why ignored = { 0 };
        uint64_t at = 0;
        int r = buf ? 0 : -ENOMEM;

        if (r >= 0 && !b->running.area)
                r = slot_source_open(u->host.disk, running, 0, &b->running, &ignored);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = copy_range(&b->running.blocks, ranges[i], buf, fd, at);
                at += (uint64_t) ranges[i].count * VERITY_BLOCK;
        }
        free(buf);
        return r;
}

/* --- what was made --- */

static int read_made(void *self, uint32_t first, uint32_t count, void *buf, Why *why _unused_)
{
        const FetchRebuilt *made = self;
        size_t size = (size_t) count * VERITY_BLOCK;

        return fd_pread_full(made->fd, buf, size, (uint64_t) first * VERITY_BLOCK) == (ssize_t) size ? 0
                                                                                                     : -EIO;
}

static int rebuild(Stage *s, StageRebuilt *b, Why *why)
{
        const FetchObjects here = { open_object, list_objects, copy_blocks, b };
        Update *u = s->u;
        int r = fetch_rebuild(u->fetch, u->offer.release_url, u->release.usr.roothash,
                              u->host.running.roothash, u->release.usr.data_size, &here, &b->made, why);

        if (r < 0)
                return r;
        if (b->made.incomplete.kind != WHY_NONE)
                update_say(u, "%s; what it would have brought is fetched from the COSI",
                           b->made.incomplete.text);
        b->source = (BlockSource){ .name = b->made.is_delta ? "static delta" : "OSTree objects",
                                   .rebuilt = true,
                                   .n_blocks = b->made.n_blocks,
                                   .read = read_made,
                                   .self = &b->made };
        s->rebuilt = &b->source;
        s->n_rebuilt = b->source.n_blocks > 0;
        return 0;
}

int stage_rebuild(Stage *s, Why *why)
{
        Update *u = s->u;

        if (!u->has_release || !u->offer.release_url || !url_is_ostree(u->offer.release_url) ||
            !u->host.running.roothash[0] || !s->container.has_ranges || s->cosi.usr->inline_verity)
                return 0;
        s->rebuilding = calloc(1, sizeof(*s->rebuilding));
        if (!s->rebuilding)
                return fail_errno(why, -ENOMEM, WHY_HOST, "OSTree");
        s->rebuilding->stage = s;
        s->rebuilding->made = FETCH_REBUILT_NULL;
        s->rebuilding->usr_fd = env_open_dir(u->env, "/usr");
        if (s->rebuilding->usr_fd < 0)
                return 0; /* nothing to make anything of */
        return rebuild(s, s->rebuilding, why);
}
