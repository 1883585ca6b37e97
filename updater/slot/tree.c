/* SPDX-License-Identifier: MIT */

/* Finding a slot's superblock, and patching an area so that it holds what it should. */

#include "slot/tree.h"

#include <errno.h>
#include <inttypes.h>

void slot_areas_done(SlotAreas *a)
{
        if (a->hash != a->data)
                area_free(a->hash);
        area_free(a->data);
        *a = (SlotAreas){ 0 };
}

int slot_areas_open(Disk *disk, const SlotParts *parts, uint64_t inline_offset, bool writable, SlotAreas *ret,
                    Why *why)
{
        _cleanup_(slot_areas_done) SlotAreas a = { 0 };
        int r;

        r = area_open(disk, parts->data, writable, &a.data, why);
        if (r < 0)
                return r;
        if (parts->hash) {
                r = area_open(disk, parts->hash, writable, &a.hash, why);
                if (r < 0)
                        return r;
        } else {
                a.hash = a.data;
                a.hash_offset = inline_offset;
        }
        *ret = a;
        a = (SlotAreas){ 0 };
        return 0;
}

int slot_areas_fit(const SlotAreas *a, const VerityParams *p, Why *why)
{
        uint64_t hash_size, data_size;
        int r;

        r = verity_hash_size(p->data_blocks, &hash_size);
        if (r < 0)
                return fail(why, r, WHY_IMAGE, "size", "an image of %" PRIu64 " blocks cannot be",
                            p->data_blocks);
        data_size = p->data_blocks * VERITY_BLOCK;
        if (data_size > area_size(a->data))
                return fail(why, -ENOSPC, WHY_HOST, "too-big",
                            "%s: the image has %" PRIu64 " bytes, the partition %" PRIu64,
                            area_partition(a->data)->label, data_size, area_size(a->data));
        if (a->hash_offset > area_size(a->hash) || hash_size > area_size(a->hash) - a->hash_offset)
                return fail(why, -ENOSPC, WHY_HOST, "too-big",
                            "%s: the hash tree has %" PRIu64 " bytes, the partition %" PRIu64
                            " behind byte %" PRIu64,
                            area_partition(a->hash)->label, hash_size, area_size(a->hash), a->hash_offset);
        return 0;
}

int superblock_read(Area *area, uint64_t offset, VerityParams *ret, uint8_t *ret_block, Why *why)
{
        int r;

        if (offset % VERITY_BLOCK != 0 || area_size(area) < VERITY_BLOCK ||
            offset > area_size(area) - VERITY_BLOCK)
                return 0;
        r = area_read(area, offset, ret_block, VERITY_BLOCK, why);
        if (r < 0)
                return r;
        if (memcmp(ret_block, "verity\0\0", 8) != 0)
                return 0;
        r = verity_superblock_parse(ret_block, VERITY_BLOCK, ret, why);
        return r < 0 ? r : 1;
}

int superblock_scan(Area *area, SuperblockFound found, void *ctx, Why *why)
{
        _cleanup_(free_bufferp) uint8_t *buf = area_buffer(SLOT_UNIT);
        int r;

        if (!buf)
                return -ENOMEM;
        for (uint64_t at = 0; at < area_size(area); at += SLOT_UNIT) {
                size_t size = (size_t) MIN((uint64_t) SLOT_UNIT, area_size(area) - at);

                r = area_read(area, at, buf, size, why);
                if (r < 0)
                        return r;
                for (size_t i = 0; i < size; i += VERITY_BLOCK) {
                        VerityParams p;

                        if (verity_superblock_parse(buf + i, VERITY_BLOCK, &p, NULL) < 0 ||
                            p.data_blocks != (at + i) / VERITY_BLOCK)
                                continue;
                        r = found(ctx, at + i, why);
                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

int patch_area(Area *area, uint64_t offset, const uint8_t *want, uint8_t *scratch, size_t size,
               PatchBefore before, void *ctx, uint64_t *ret_written, Why *why)
{
        uint64_t written = 0;
        Why unread = { 0 };
        bool blind;
        int r;

        r = area_read(area, offset, scratch, size, &unread);
        blind = r == -EIO;
        if (r < 0 && !blind)
                return fail(why, r, unread.kind, unread.code, "%s", unread.text);
        for (size_t at = 0, run; at < size; at += run) {
                bool differs = blind || memcmp(want + at, scratch + at, VERITY_BLOCK) != 0;

                for (run = VERITY_BLOCK; at + run < size; run += VERITY_BLOCK)
                        if ((blind || memcmp(want + at + run, scratch + at + run, VERITY_BLOCK) != 0) !=
                            differs)
                                break;
                if (!differs)
                        continue;
                r = before ? before(ctx, why) : 0;
                if (r < 0)
                        return r;
                r = area_write(area, offset + at, want + at, run, why);
                if (r < 0)
                        return r;
                written += run;
        }
        *ret_written = written;
        return 0;
}

static int take_first(void *ctx, uint64_t offset, Why *why _unused_)
{
        *(uint64_t *) ctx = offset;
        return 1;
}

int slot_superblock(Disk *disk, const SlotParts *parts, uint64_t inline_offset, VerityParams *ret, Why *why)
{
        _cleanup_(slot_areas_done) SlotAreas a = { 0 };
        _cleanup_(free_bufferp) uint8_t *block = area_buffer(VERITY_BLOCK);
        SlotParts where = *parts;
        int r;

        if (!block)
                return -ENOMEM;
        if (inline_offset != 0)
                where.hash = NULL; /* asked for by place, whatever other partitions there are */
        else
                inline_offset = parts->inline_offset;
        r = slot_areas_open(disk, &where, inline_offset, false, &a, why);
        if (r < 0)
                return r;
        if (!where.hash && inline_offset == 0) {
                r = superblock_scan(a.data, take_first, &a.hash_offset, why);
                if (r < 0)
                        return r;
        }
        r = superblock_read(a.hash, a.hash_offset, ret, block, why);
        if (r == 0)
                return fail(why, -ENOENT, WHY_HOST, "no-superblock", "%s: has no verity superblock",
                            area_partition(a.hash)->label);
        return r < 0 ? r : 0;
}
