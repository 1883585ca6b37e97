/* SPDX-License-Identifier: MIT */

/* Somebody writes, and everything comes back as it was when it was finished: nothing that was read a moment too early, in order,
 * each block once. */

#undef NDEBUG
#include "slot/behind.h"
#include "disk/test-disk.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define DISK_SIZE (32 * MIB)
#define BLOCKS    5003u /* more units than may wait to be taken, and half a one */

static char dir[] = "/tmp/gybe-test-behind-XXXXXX";
static char *image;
static Env env = { .root_fd = -1 };

static const TestPart parts[] = {
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 24 * MIB, 0 },
};

typedef struct Fixture {
        Disk *disk;
        const Partition *part;
        VerityParams params;
        Verity *verity;
        Area *area;
        Behind *behind;
        uint8_t *data;
        uint64_t expect; /* the block that comes */
} Fixture;

static void fixture_open(Fixture *f, unsigned lanes)
{
        uint32_t seed = 7;

        *f = (Fixture){ .params = { .data_blocks = BLOCKS, .salt_size = 32 } };
        test_disk_make(image, DISK_SIZE, 512, parts, ELEMENTSOF(parts));
        assert(disk_open(&env, image, true, &f->disk, NULL) >= 0);
        f->part = disk_find_label(f->disk, "USR-B", NULL);
        assert(verity_new(&f->params, NULL, NULL, &f->verity) >= 0);
        assert(area_open(f->disk, f->part, true, &f->area, NULL) >= 0);
        f->data = area_buffer((size_t) BLOCKS * VERITY_BLOCK);
        memset(f->data, 0, (size_t) BLOCKS * VERITY_BLOCK);
        for (size_t i = 0; i < BLOCKS; i++)
                if (i % 7 != 3)
                        for (size_t k = 0; k < 64; k++)
                                f->data[i * VERITY_BLOCK + k * 64] =
                                        (uint8_t) (seed = seed * 1664525u + 1013904223u, seed >> 24);
        assert(behind_open(f->disk, f->part, &f->params, lanes, &f->behind, NULL) >= 0);
}

static void fixture_done(Fixture *f)
{
        behind_free(f->behind);
        area_free(f->area);
        verity_free(f->verity);
        disk_free(f->disk);
        free(f->data);
}

static void write_blocks(Fixture *f, uint64_t first, uint64_t count)
{
        assert(area_write(f->area, first * VERITY_BLOCK, f->data + first * VERITY_BLOCK,
                          (size_t) count * VERITY_BLOCK, NULL) >= 0);
        assert(area_sync(f->area, NULL) >= 0);
}

static void check(Fixture *f, const BehindUnit *u)
{
        assert(u->first == f->expect && u->count == MIN(BLOCKS - u->first, (uint64_t) BEHIND_BLOCKS));
        for (uint32_t i = 0; i < u->count; i++) {
                uint8_t hash[VERITY_ROOT_SIZE];

                assert(verity_hash_block(f->verity, f->data + (u->first + i) * VERITY_BLOCK, hash) >= 0);
                assert(memcmp(hash, u->hashes[i], sizeof(hash)) == 0);
        }
        f->expect += u->count;
}

static void test_follows(unsigned lanes, uint64_t step)
{
        BehindUnit *u = malloc(sizeof(*u));
        Fixture f;
        int r = 0;

        fixture_open(&f, lanes);
        assert(behind_take(f.behind, false, u, NULL) == 0);
        for (uint64_t at = 0; at < BLOCKS; at += step) {
                uint64_t n = MIN(step, BLOCKS - at);

                write_blocks(&f, at, n);
                behind_allow(f.behind, at + n);
                while ((r = behind_take(f.behind, false, u, NULL)) == 1)
                        check(&f, u);
                assert(r == 0);
        }
        while (f.expect < BLOCKS) {
                assert(behind_take(f.behind, true, u, NULL) == 1);
                check(&f, u);
        }
        assert(behind_take(f.behind, false, u, NULL) == 0);
        fixture_done(&f);
        free(u);
}

/* Freed while it reads, while it waits for leave, and while nobody takes what it has. */
static void test_left_alone(void)
{
        static const uint64_t allowed[] = { 0, 1, 32, 3000, BLOCKS };
        Fixture f;

        for (size_t i = 0; i < ELEMENTSOF(allowed); i++) {
                fixture_open(&f, 1 + i % 2);
                behind_allow(f.behind, allowed[i]);
                if (i % 2 == 0)
                        (void) usleep(20 * 1000);
                fixture_done(&f);
        }
        assert(!behind_free(NULL));
}

/* What cannot be read ends it, behind what could be. */
static void test_unreadable(void)
{
        BehindUnit *u = malloc(sizeof(*u));
        Why why = { 0 };
        Fixture f;

        fixture_open(&f, 1);
        write_blocks(&f, 0, BLOCKS);
        assert(truncate(image, (off_t) (f.part->offset + 1000u * VERITY_BLOCK)) == 0);
        behind_allow(f.behind, BLOCKS);
        while (f.expect + BEHIND_BLOCKS <= 1000) {
                assert(behind_take(f.behind, true, u, NULL) == 1);
                check(&f, u);
        }
        assert(behind_take(f.behind, true, u, &why) == -ENODATA && why.kind == WHY_HOST && why.text[0]);
        assert(behind_take(f.behind, true, u, NULL) == -ENODATA);
        fixture_done(&f);
        free(u);
}

int main(void)
{
        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        image = str_printf("%s/disk.raw", dir);
        for (unsigned lanes = 1; lanes <= BEHIND_LANES; lanes++) {
                test_follows(lanes, BEHIND_BLOCKS);
                test_follows(lanes, 45);
                test_follows(lanes, 2000);
                test_follows(lanes, BLOCKS);
        }
        test_left_alone();
        test_unreadable();
        assert(unlink(image) == 0 && rmdir(dir) == 0);
        env_done(&env);
        free(image);
        return 0;
}
