/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* A slot is put together from what lies about, and veritysetup judges it. Then the ways in which a plan is wrong: sources that
 * lie, rot or cannot be read, an index that lies, frames that lie, blocks that would be overwritten before they are read. */

#include "slot/assemble.h"
#include "base/run.h"
#include "disk/test-disk.h"
#include "image/index.h"
#include "image/verity-tree.h"

#include <errno.h>
#include <stdio.h>

#define DISK_SIZE   (64 * MIB)
#define DATA_BLOCKS 4000u /* three levels; no multiple of a unit */
#define SLOT_BLOCKS 4096u
#define BLOCK       4096u

/* In memory where that can be: a dozen disks of 64 MiB, and direct I/O is test-writer's business. */
static char in_memory[] = "/dev/shm/gybe-test-assemble-XXXXXX", on_disk[] = "/tmp/gybe-test-assemble-XXXXXX";
static char *dir = in_memory;
static char *image;
static Env env = { .root_fd = -1 };

static const TestPart parts_list[] = {
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", 16 * MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 16 * MIB, 0 },
        { "HASH-B", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 0 },
};

/* What is on the disk, what is wanted, and everything on the way between. */
typedef struct Fixture {
        Disk *disk;
        SlotParts parts;
        const Partition *active;
        VerityParams params;
        uint8_t *old, *spare, *data; /* SLOT_BLOCKS, SLOT_BLOCKS, DATA_BLOCKS */
        uint8_t *tree;               /* hash image of data */
        uint64_t tree_size;
        uint8_t *leaves; /* 32 bytes each */
        uint32_t n_leaves, n_read;
        uint8_t root[32];
        Bytes index;
        SlotSource sources[2];
        SlotPlan *plan;
        SlotAssembly *assembly;
        uint32_t fetched;
        bool flip; /* what is fetched comes with a flipped bit, once */
} Fixture;

static void fill(uint8_t *block, uint32_t seed)
{
        for (size_t i = 0; i < BLOCK; i += 4) {
                seed = seed * 1664525u + 1013904223u;
                memcpy(block + i, &seed, 4);
        }
}

static int keep_tree(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        Fixture *f = ctx;

        memcpy(f->tree + offset, block, VERITY_BLOCK);
        return 0;
}

static void make_index(Fixture *f, const uint8_t *lie)
{
        uint8_t *cut = malloc((size_t) DATA_BLOCKS * INDEX_LEAF_SIZE);

        for (uint32_t i = 0; i < DATA_BLOCKS; i++)
                memcpy(cut + (size_t) i * INDEX_LEAF_SIZE, f->leaves + (size_t) i * 32, INDEX_LEAF_SIZE);
        if (lie)
                memcpy(cut + 100 * INDEX_LEAF_SIZE, lie, INDEX_LEAF_SIZE);
        bytes_done(&f->index);
        assert(index_build(f->root, cut, DATA_BLOCKS, 0, NULL, 0, &f->index) == 0);
        free(cut);
}

static void hash_image(Fixture *f)
{
        Verity *v = NULL;

        assert(verity_hash_size(DATA_BLOCKS, &f->tree_size) == 0);
        free(f->tree);
        free(f->leaves);
        f->tree = calloc(1, f->tree_size);
        f->leaves = calloc(DATA_BLOCKS, 32);
        assert(verity_new(&f->params, keep_tree, f, &v) == 0);
        for (uint32_t i = 0; i < DATA_BLOCKS; i++) {
                assert(verity_hash_block(v, f->data + (size_t) i * BLOCK, f->leaves + (size_t) i * 32) == 0);
                assert(verity_add_leaf(v, f->leaves + (size_t) i * 32) == 0);
        }
        assert(verity_finish(v, f->root) == 0);
        verity_free(v);
        make_index(f, NULL);
}

static void put(const Partition *p, const uint8_t *data, uint32_t blocks)
{
        _cleanup_(close_fdp) int fd = open(image, O_RDWR | O_CLOEXEC);

        assert(fd_pwrite_full(fd, data, (size_t) blocks * BLOCK, p->offset) >= 0);
}

static void fixture_open(Fixture *f)
{
        *f = (Fixture){ .params = { .data_blocks = DATA_BLOCKS, .salt_size = 32 } };
        for (unsigned i = 0; i < 32; i++)
                f->params.salt[i] = (uint8_t) (i * 5 + 1);
        assert(uuid_parse_text("6d8a5e1c-93f4-4d0b-8a27-0c1d2e3f4a5b", f->params.uuid) >= 0);
        test_disk_make(image, DISK_SIZE, 512, parts_list, ELEMENTSOF(parts_list));
        assert(disk_open(&env, image, true, &f->disk, NULL) >= 0);
        f->active = disk_find_label(f->disk, "USR-A", NULL);
        f->parts.data = disk_find_label(f->disk, "USR-B", NULL);
        f->parts.hash = disk_find_label(f->disk, "HASH-B", NULL);
        f->old = calloc(SLOT_BLOCKS, BLOCK);
        f->spare = calloc(SLOT_BLOCKS, BLOCK);
        f->data = calloc(DATA_BLOCKS, BLOCK);
}

/* Blocks of the image by number: 0-999 as in the spare slot, 1000-1999 elsewhere in the active one, 2000-2499 elsewhere in the
 * spare one (in reverse order: half of them would be gone), 2500-2999 zero, the rest new. */
static void fixture_fill(Fixture *f)
{
        for (uint32_t i = 0; i < SLOT_BLOCKS; i++) {
                fill(f->spare + (size_t) i * BLOCK, i);
                fill(f->old + (size_t) i * BLOCK, 100000 + i);
        }
        for (uint32_t i = 0; i < DATA_BLOCKS; i++) {
                uint8_t *block = f->data + (size_t) i * BLOCK;

                if (i < 1000)
                        memcpy(block, f->spare + (size_t) i * BLOCK, BLOCK);
                else if (i < 2000)
                        memcpy(block, f->old + (size_t) (i + 777) * BLOCK, BLOCK);
                else if (i < 2500)
                        memcpy(block, f->spare + (size_t) (4749 - i) * BLOCK, BLOCK);
                else if (i >= 3000)
                        fill(block, 200000 + i);
        }
        put(f->active, f->old, SLOT_BLOCKS);
        put(f->parts.data, f->spare, SLOT_BLOCKS);
        hash_image(f);
}

static void plan_close(Fixture *f)
{
        f->assembly = assembly_free(f->assembly);
        f->plan = plan_free(f->plan);
        slot_source_done(&f->sources[0]);
        slot_source_done(&f->sources[1]);
}

static void fixture_done(Fixture *f)
{
        plan_close(f);
        disk_free(f->disk);
        free(f->old);
        free(f->spare);
        free(f->data);
        free(f->tree);
        free(f->leaves);
        bytes_done(&f->index);
}

/* The leaves of groups that nobody here can make are given, as a server would. */
static void give_leaves(Fixture *f)
{
        IndexHead head;
        BlockRange ranges[3];
        uint32_t cursor = 0;
        size_t n;

        assert(index_head_parse(f->index.data, f->index.size, &head, NULL) == 0);
        assert(plan_groups(f->plan, f->index.data + index_groups_at(&head), head.n_groups, NULL) == 0);
        f->n_leaves = 0;
        while ((n = plan_unknown(f->plan, &cursor, ranges, ELEMENTSOF(ranges))) > 0) {
                Bytes b = BYTES_NULL;

                for (size_t i = 0; i < n; i++) {
                        assert(bytes_append(&b,
                                            f->index.data + index_leaves_at(&head) +
                                                    (size_t) ranges[i].first * INDEX_LEAF_SIZE,
                                            (size_t) ranges[i].count * INDEX_LEAF_SIZE) == 0);
                        f->n_leaves += ranges[i].count;
                }
                assert(plan_put_leaves(f->plan, ranges, n, b.data, b.size, NULL) == 0);
                b.data[0] ^= 1; /* one that is not what its group says */
                assert(plan_put_leaves(f->plan, ranges, n, b.data, b.size, NULL) == -EBADMSG);
                b.data[0] ^= 1;
                assert(plan_put_leaves(f->plan, ranges, n, b.data, b.size, NULL) == 0);
                bytes_done(&b);
        }
}

static int count_read(void *ctx, uint32_t blocks)
{
        ((Fixture *) ctx)->n_read += blocks;
        return 0;
}

static void plan_open_with(Fixture *f, int (*spy)(void *, uint32_t, uint32_t, void *, Why *))
{
        plan_close(f);
        assert(plan_new(&f->params, &f->plan) == 0);
        assert(slot_source_open(f->disk, f->parts.data, 0, &f->sources[0], NULL) == 0);
        assert(slot_source_open(f->disk, f->active, 0, &f->sources[1], NULL) == 0);
        if (spy) {
                f->sources[1].blocks.read = spy;
                f->sources[1].blocks.self = f;
        }
        if (spy) {
                assert(plan_add_source(f->plan, &f->sources[0].blocks, NULL, NULL, NULL) == 0);
                assert(plan_add_source(f->plan, &f->sources[1].blocks, NULL, NULL, NULL) == 0);
        } else {
                const SlotParts active = { .data = f->active };
                const SlotParts *const parts[] = { &f->parts, &active };

                f->n_read = 0;
                assert(slot_survey(f->disk, parts, f->sources, 2, &f->params, f->plan, count_read, f, NULL) ==
                       0);
        }
        give_leaves(f);
        assert(plan_decide(f->plan, NULL) == 0);
        assert(assembly_open(f->disk, &f->parts, &f->params, f->plan, &f->assembly, NULL) == 0);
}

static void fetch_all(Fixture *f)
{
        uint8_t *buf = aligned_alloc(BLOCK, (size_t) DATA_BLOCKS * BLOCK);
        BlockRange ranges[5];
        uint32_t cursor = 0;
        size_t n;

        while ((n = plan_next_range(f->plan, &cursor, ranges, ELEMENTSOF(ranges), 300)) > 0) {
                size_t blocks = 0;

                for (size_t i = 0; i < n; i++)
                        for (uint32_t k = 0; k < ranges[i].count; k++)
                                memcpy(buf + blocks++ * BLOCK,
                                       f->data + (size_t) (ranges[i].first + k) * BLOCK, BLOCK);
                assert(blocks <= 300);
                if (f->flip)
                        buf[7] ^= 4;
                f->flip = false;
                f->fetched += (uint32_t) blocks;
                assembly_expect(f->assembly, ranges, n);
                for (size_t at = 0; at < blocks; at += MIN(blocks - at, (size_t) 7))
                        assert(assembly_put(f->assembly, buf + at * BLOCK,
                                            MIN(blocks - at, (size_t) 7) * BLOCK, NULL) == 0);
        }
        free(buf);
}

static void expect_slot(Fixture *f)
{
        char *base = str_printf("%s/usr", dir), *hash = str_printf("%s/hash", dir), hex[65];
        _cleanup_(close_fdp) int fd = open(image, O_RDONLY | O_CLOEXEC);
        uint8_t *got = malloc((size_t) DATA_BLOCKS * BLOCK), *tree = malloc(f->tree_size);
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        RunResult r = { 0 };
        FILE *file;

        assert(fd_pread_full(fd, got, (size_t) DATA_BLOCKS * BLOCK, f->parts.data->offset) ==
               (ssize_t) ((size_t) DATA_BLOCKS * BLOCK));
        assert(fd_pread_full(fd, tree, f->tree_size, f->parts.hash->offset) == (ssize_t) f->tree_size);
        assert(memcmp(got, f->data, (size_t) DATA_BLOCKS * BLOCK) == 0);
        assert(memcmp(tree + BLOCK, f->tree + BLOCK, f->tree_size - BLOCK) == 0);
        file = fopen(base, "w");
        assert(file && fwrite(got, BLOCK, DATA_BLOCKS, file) == DATA_BLOCKS && fclose(file) == 0);
        file = fopen(hash, "w");
        assert(file && fwrite(tree, 1, f->tree_size, file) == f->tree_size && fclose(file) == 0);
        hex_encode(f->root, 32, hex);
        if (access("/usr/sbin/veritysetup", X_OK) == 0) {
                assert(run((char *const[]){ (char *) "/usr/sbin/veritysetup", (char *) "verify", base, hash,
                                            hex, NULL },
                           &o, &r) >= 0);
                assert(r.exit_code == 0);
                run_result_done(&r);
        }
        assert(slot_verify(f->disk, &f->parts, f->root, NULL, NULL, NULL) == 0);
        (void) unlink(base);
        (void) unlink(hash);
        free(got);
        free(tree);
        free(base);
        free(hash);
}

/* All of it by one plan; says what was written. */
static SlotCount assemble(Fixture *f)
{
        f->fetched = 0;
        assert(assembly_copy(f->assembly, NULL) == 0);
        fetch_all(f);
        if (assembly_seal(f->assembly, f->root, NULL) == 0) { /* something that was copied had rotted */
                assert(assembly_n_stale(f->assembly) == 1);
                fetch_all(f);
                assert(assembly_seal(f->assembly, f->root, NULL) == 1);
        }
        expect_slot(f);
        return *assembly_count(f->assembly);
}

static void expect_nobodys(Fixture *f)
{
        VerityParams p;

        assert(slot_superblock(f->disk, &f->parts, 0, &p, NULL) == -ENOENT);
}

static void flip_disk(const Partition *p, uint32_t block)
{
        _cleanup_(close_fdp) int fd = open(image, O_RDWR | O_CLOEXEC);
        uint8_t byte;

        assert(fd_pread_full(fd, &byte, 1, p->offset + (uint64_t) block * BLOCK + 9) == 1);
        byte ^= 16;
        assert(fd_pwrite_full(fd, &byte, 1, p->offset + (uint64_t) block * BLOCK + 9) >= 0);
}

/* Everything is where it was planned to come from, and nothing is written twice. */
static void test_sources(void)
{
        Fixture f;
        uint32_t n[_PLAN_FROM_MAX];
        SlotCount c;

        fixture_open(&f);
        fixture_fill(&f);
        plan_open_with(&f, NULL);
        plan_count(f.plan, n);
        assert(n[PLAN_IN_PLACE] == 1000 && n[PLAN_COPIED] == 1500 && n[PLAN_ZERO] == 500);
        assert(n[PLAN_FETCHED] == 1000 && n[PLAN_REBUILT] == 0);
        assert(plan_n_stashed(f.plan) == 125);
        /* those in place and most of the copied ones are in groups that are known */
        assert(f.n_leaves >= 1000 && f.n_leaves < 2600);
        c = assemble(&f);
        assert(c.written == 3000u * BLOCK && c.skipped == 1000u * BLOCK && c.copied == 1500u * BLOCK);
        assert(c.zero == 500u * BLOCK && c.fetched == 1000u * BLOCK && c.rebuilt == 0 && c.tree_written > 0);

        plan_open_with(&f, NULL); /* once more: it is all there */
        assert(f.n_leaves == 0);
        c = assemble(&f);
        assert(c.written == 0 && c.tree_written == 0 && f.fetched == 0);
        fixture_done(&f);
}

/* Killed anywhere, it goes on: what was written is in place. */
static void test_resume(void)
{
        for (unsigned chunks = 0; chunks < 4; chunks++) {
                BlockRange ranges[5];
                uint32_t cursor = 0, before = 0;
                Fixture f;
                size_t n;

                fixture_open(&f);
                fixture_fill(&f);
                plan_open_with(&f, NULL);
                if (chunks > 0)
                        assert(assembly_copy(f.assembly, NULL) == 0);
                while (before < chunks * 100 &&
                       (n = plan_next_range(f.plan, &cursor, ranges, ELEMENTSOF(ranges), 100)) > 0) {
                        assembly_expect(f.assembly, ranges, n);
                        for (size_t i = 0; i < n; i++) {
                                uint8_t *p = aligned_alloc(BLOCK, (size_t) ranges[i].count * BLOCK);

                                memcpy(p, f.data + (size_t) ranges[i].first * BLOCK,
                                       (size_t) ranges[i].count * BLOCK);
                                assert(assembly_put(f.assembly, p, (size_t) ranges[i].count * BLOCK, NULL) ==
                                       0);
                                before += ranges[i].count;
                                free(p);
                        }
                }
                expect_nobodys(&f);
                plan_open_with(&f, NULL);
                (void) assemble(&f);
                /* the stash is lost with the process; its blocks were all copied before the first was fetched */
                assert(f.fetched == 1000 - before);
                fixture_done(&f);
        }
}

/* A disk that rots between planning and copying, in a copied block and in one that is kept. */
static void test_rot(void)
{
        Fixture f;

        fixture_open(&f);
        fixture_fill(&f);
        plan_open_with(&f, NULL);
        flip_disk(f.active, 1000 + 777 + 5);
        (void) assemble(&f);
        assert(f.fetched == 1001);
        fixture_done(&f);

        fixture_open(&f);
        fixture_fill(&f);
        flip_disk(f.active, 1000 + 777 + 5); /* before: it is just another block */
        plan_open_with(&f, NULL);
        (void) assemble(&f);
        assert(f.fetched == 1001);
        fixture_done(&f);
}

/* A slot with a tree of the same salt is not read to know what it holds; and when the tree says more than the data keep, reading back
 * finds that out, and nobody's tree is needed. */
static void test_own_tree(void)
{
        Fixture f;

        fixture_open(&f);
        fixture_fill(&f);
        plan_open_with(&f, NULL);
        assert(f.n_read == 2 * (f.active->size / BLOCK));
        (void) assemble(&f);

        flip_disk(f.parts.data, 17);
        flip_disk(f.parts.data, 3999);
        plan_open_with(&f, NULL);
        assert(f.n_read == f.active->size / BLOCK && f.n_leaves == 0);
        f.fetched = 0;
        assert(assembly_copy(f.assembly, NULL) == 0);
        fetch_all(&f);
        assert(f.fetched == 0);
        assert(assembly_seal(f.assembly, f.root, NULL) == 0 && assembly_n_stale(f.assembly) == 2);
        fetch_all(&f);
        assert(f.fetched == 2);
        assert(assembly_seal(f.assembly, f.root, NULL) == 1 && assembly_n_stale(f.assembly) == 0);
        expect_slot(&f);

        flip_disk(f.parts.hash, 2); /* a tree that is not whole is not asked */
        plan_open_with(&f, NULL);
        assert(f.n_read == 2 * (f.active->size / BLOCK));
        (void) assemble(&f);
        f.params.salt[3] ^= 1; /* nor one with another salt */
        hash_image(&f);
        plan_open_with(&f, NULL);
        assert(f.n_read == 2 * (f.active->size / BLOCK));
        (void) assemble(&f);
        fixture_done(&f);
}

/* The tree, as it is published, and what it finds. */
static void repair(Fixture *f, uint32_t wrong)
{
        VerityTree *tree = NULL;

        assert(assembly_seal(f->assembly, f->root, NULL) == 0);
        expect_nobodys(f);
        assert(verity_tree_new(&f->params, f->root, assembly_judge, f->assembly, &tree) == 0);
        for (size_t at = 0, n; at < f->tree_size; at += n) {
                n = MIN((size_t) 5000, (size_t) f->tree_size - at);
                assert(verity_tree_put(tree, f->tree + at, n, NULL) == 0);
        }
        assert(verity_tree_finish(tree, NULL) == 0);
        verity_tree_free(tree);
        assert(assembly_n_wrong(f->assembly) == wrong);
        f->fetched = 0;
        fetch_all(f);
        assert(f->fetched == wrong);
        assert(assembly_seal(f->assembly, f->root, NULL) == 1);
        expect_slot(f);
}

static void test_repair(void)
{
        Fixture f;

        fixture_open(&f); /* a block in place that rots after it was looked at */
        fixture_fill(&f);
        plan_open_with(&f, NULL);
        flip_disk(f.parts.data, 17);
        assert(assembly_copy(f.assembly, NULL) == 0);
        fetch_all(&f);
        repair(&f, 1);
        fixture_done(&f);

        fixture_open(&f); /* a frame that lies: noticed at once, believed by nobody */
        fixture_fill(&f);
        plan_open_with(&f, NULL);
        f.flip = true;
        assert(assembly_copy(f.assembly, NULL) == 0);
        fetch_all(&f);
        assert(assembly_n_contradictions(f.assembly) == 1);
        repair(&f, 1);
        fixture_done(&f);
}

static void test_lying_index(void)
{
        static const uint8_t nonsense[INDEX_LEAF_SIZE] = "gybe!";
        uint8_t other[INDEX_LEAF_SIZE];
        Fixture f;

        fixture_open(&f); /* a leaf that is nobody's: fetched for nothing, and right */
        fixture_fill(&f);
        make_index(&f, nonsense);
        plan_open_with(&f, NULL);
        (void) assemble(&f);
        assert(f.fetched == 1001 && assembly_n_contradictions(f.assembly) == 1);
        fixture_done(&f);

        fixture_open(&f); /* the leaf of another block, which is here: copied, and wrong */
        fixture_fill(&f);
        memcpy(other, f.leaves + (size_t) 1500 * 32, sizeof(other));
        make_index(&f, other);
        plan_open_with(&f, NULL);
        assert(assembly_copy(f.assembly, NULL) == 0);
        fetch_all(&f);
        repair(&f, 1);
        fixture_done(&f);
}

/* The active slot with bad sectors, some of them only later. */
static uint32_t bad_first, bad_count;

static int read_badly(void *self, uint32_t first, uint32_t count, void *buf, Why *why)
{
        Fixture *f = self;

        if (first < bad_first + bad_count && bad_first < first + count)
                return fail(why, -EIO, WHY_HOST, "system", "bad sector");
        return area_read(f->sources[1].area, (uint64_t) first * BLOCK, buf, (size_t) count * BLOCK, why);
}

static void test_bad_sectors(void)
{
        Fixture f;

        for (unsigned late = 0; late < 2; late++) {
                bad_first = 1000 + 777 + 40;
                bad_count = late ? 0 : 3;
                fixture_open(&f);
                fixture_fill(&f);
                plan_open_with(&f, read_badly);
                bad_count = 3;
                (void) assemble(&f);
                assert(f.fetched == 1003);
                fixture_done(&f);
        }
}

/* More blocks in the wrong order than are kept in memory: the rest is fetched. */
static void test_large_stash(void)
{
        uint32_t n[_PLAN_FROM_MAX];
        Fixture f;

        fixture_open(&f);
        for (uint32_t i = 0; i < SLOT_BLOCKS; i++) {
                fill(f.spare + (size_t) i * BLOCK, i);
                fill(f.old + (size_t) i * BLOCK, 100000 + i);
        }
        for (uint32_t i = 0; i < DATA_BLOCKS; i++) /* everything one block further, and turned around */
                memcpy(f.data + (size_t) i * BLOCK,
                       f.spare + (size_t) (i < 1500 ? DATA_BLOCKS - 1 - i : i - 1) * BLOCK, BLOCK);
        put(f.active, f.old, SLOT_BLOCKS);
        put(f.parts.data, f.spare, SLOT_BLOCKS);
        hash_image(&f);
        plan_open_with(&f, NULL);
        plan_count(f.plan, n);
        assert(plan_n_stashed(f.plan) == PLAN_STASH_MAX && n[PLAN_FETCHED] > 0);
        (void) assemble(&f);
        fixture_done(&f);
}

/* A published tree with a flipped bit, anywhere, is refused. */
static void test_bad_tree(void)
{
        Fixture f;

        fixture_open(&f);
        fixture_fill(&f);
        plan_open_with(&f, NULL);
        for (size_t at = BLOCK + 3; at < f.tree_size; at += 3 * BLOCK + 100) {
                VerityTree *tree = NULL;
                Why why = { 0 };

                f.tree[at] ^= 2;
                assert(verity_tree_new(&f.params, f.root, assembly_judge, f.assembly, &tree) == 0);
                assert(verity_tree_put(tree, f.tree, f.tree_size, &why) == -EBADMSG && why.kind == WHY_TRUST);
                verity_tree_free(tree);
                f.tree[at] ^= 2;
        }
        fixture_done(&f);
}

int main(void)
{
        char *path;

        if (!mkdtemp(dir))
                dir = mkdtemp(on_disk);
        assert(dir && env_open(dir, &env, NULL) >= 0);
        image = str_printf("%s/disk.raw", dir);
        test_sources();
        test_resume();
        test_rot();
        test_own_tree();
        test_repair();
        test_lying_index();
        test_bad_sectors();
        test_large_stash();
        test_bad_tree();
        path = TAKE(image);
        (void) unlink(path);
        free(path);
        env_done(&env);
        assert(rmdir(dir) == 0);
        return 0;
}
