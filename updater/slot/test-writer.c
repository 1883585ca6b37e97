/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* A slot is filled, and veritysetup judges the partitions cut out of the disk. Then what must not happen: a second byte
 * written for an image that is there, a finished-looking slot in the middle of anything, a flipped bit that is missed. */

#include "base/digest.h"
#include "base/run.h"
#include "disk/test-disk.h"
#include "image/verity.h"
#include "slot/slot.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define DISK_SIZE   (32 * MIB)
#define DATA_BLOCKS 1000u /* two levels; no multiple of a unit */
#define DATA_SIZE   (DATA_BLOCKS * 4096u)

static char dir[] = "/tmp/gybe-test-writer-XXXXXX";
static char *image;
static Env env = { .root_fd = -1 };

static const TestPart separate_parts[] = {
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 6 * MIB, 0 },
        { "HASH-B", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 0 },
        { "HASH-SIG-B", DISK_TYPE_USR_VERITY_SIG_X86_64, "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4", MIB, 0 },
        { "ROOT", "0fc63daf-8483-4772-8e79-3d69d8477de4", "35bdf78b-c453-4661-98e6-f834f534ef5d", MIB, 0 },
};

typedef struct Fixture {
        Disk *disk;
        SlotParts parts;
        VerityParams params;
        uint8_t *data;
        uint8_t root[32];
} Fixture;

static uint64_t hash_base(const Fixture *f)
{
        return f->parts.hash ? f->parts.hash->offset : f->parts.data->offset + DATA_SIZE;
}

static uint8_t *make_data(uint32_t seed)
{
        uint8_t *data = calloc(1, DATA_SIZE);

        assert(data);
        for (size_t b = 0; b < DATA_BLOCKS; b++)
                for (size_t i = 0; i < 4096 && b % 9 != 4; i += 16) {
                        seed = seed * 1664525u + 1013904223u;
                        memcpy(data + b * 4096 + i, &seed, 4);
                }
        return data;
}

static void dirty_disk(void)
{
        _cleanup_(close_fdp) int fd = open(image, O_RDWR | O_CLOEXEC);
        uint8_t junk[4096];

        memset(junk, 0xa5, sizeof(junk));
        for (uint64_t at = MIB; at < 11 * MIB; at += 4096)
                assert(fd_pwrite_full(fd, junk, sizeof(junk), at) >= 0);
}

static void fixture_open(Fixture *f, bool separate, unsigned sector)
{
        *f = (Fixture){ .params = { .data_blocks = DATA_BLOCKS, .salt_size = 32 } };
        test_disk_make(image, DISK_SIZE, sector, separate_parts, ELEMENTSOF(separate_parts));
        dirty_disk();
        assert(disk_open(&env, image, true, &f->disk, NULL) >= 0);
        f->parts.data = disk_find_label(f->disk, "USR-B", NULL);
        f->parts.sig = disk_find_label(f->disk, "HASH-SIG-B", NULL);
        f->parts.hash = separate ? disk_find_label(f->disk, "HASH-B", NULL) : NULL;
        for (unsigned i = 0; i < 32; i++)
                f->params.salt[i] = (uint8_t) (i * 5 + 1);
        assert(uuid_parse_text("6d8a5e1c-93f4-4d0b-8a27-0c1d2e3f4a5b", f->params.uuid) >= 0);
        f->data = make_data(1);
}

static void fixture_done(Fixture *f)
{
        disk_free(f->disk);
        free(f->data);
}

/* In pieces of a size that suits nobody, runs of zero blocks as zeroes. */
static void put_all(Fixture *f, SlotWriter *w, size_t piece)
{
        static const uint8_t zeroes[4096];
        size_t at = 0;

        while (at < DATA_SIZE) {
                size_t n = MIN(piece, (size_t) (DATA_SIZE - at));

                if (at % 4096 == 0 && memcmp(f->data + at, zeroes, 4096) == 0) {
                        n = 4096;
                        assert(slot_writer_zero(w, n, NULL) >= 0);
                } else {
                        n = MIN(n, 4096 - at % 4096 + 8192);
                        for (size_t z = 1; z < n; z++) /* stop ahead of the next zero block */
                                if ((at + z) % 4096 == 0 && memcmp(f->data + at + z, zeroes, 4096) == 0)
                                        n = z;
                        assert(slot_writer_put(w, f->data + at, n, NULL) >= 0);
                }
                at += n;
        }
}

static SlotCount write_slot(Fixture *f, size_t piece)
{
        _cleanup_(slot_writer_freep) SlotWriter *w = NULL;
        Why why = { 0 };

        if (slot_writer_open(f->disk, &f->parts, &f->params, &w, &why) < 0)
                fprintf(stderr, "%s\n", why.text);
        assert(w);
        put_all(f, w, piece);
        assert(slot_writer_finish(w, NULL, f->root, &why) >= 0);
        return *slot_writer_count(w);
}

static uint8_t *read_disk(void)
{
        _cleanup_(close_fdp) int fd = open(image, O_RDONLY | O_CLOEXEC);
        uint8_t *all = malloc(DISK_SIZE);

        assert(all && fd_pread_full(fd, all, DISK_SIZE, 0) == (ssize_t) DISK_SIZE);
        return all;
}

static void cut_out(const char *name, uint64_t offset, uint64_t size)
{
        char *path = str_printf("%s/%s", dir, name);
        _cleanup_(close_fdp) int from = open(image, O_RDONLY | O_CLOEXEC);
        _cleanup_(close_fdp) int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        uint8_t *b = malloc(size);

        assert(fd_pread_full(from, b, size, offset) == (ssize_t) size && fd_write_full(to, b, size) >= 0);
        free(b);
        free(path);
}

/* veritysetup on what is in the partitions: 0 it is what the root says. */
static int judge(const Fixture *f)
{
        char root[65], offset[64];
        char *data = str_printf("%s/data", dir), *hash = str_printf("%s/hash", dir);
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        RunResult r = { 0 };
        int code;

        hex_encode(f->root, 32, root);
        cut_out("data", f->parts.data->offset, f->parts.data->size);
        if (f->parts.hash)
                cut_out("hash", f->parts.hash->offset, f->parts.hash->size);
        (void) snprintf(offset, sizeof(offset), "--hash-offset=%u", f->parts.hash ? 0 : DATA_SIZE);
        assert(run((char *const[]){ (char *) "/usr/sbin/veritysetup", (char *) "verify", offset, data,
                                    f->parts.hash ? hash : data, root, NULL },
                   &o, &r) >= 0);
        code = r.exit_code;
        run_result_done(&r);
        free(data);
        free(hash);
        return code;
}

static bool have_judge(void)
{
        return access("/usr/sbin/veritysetup", X_OK) == 0;
}

static int verify(Fixture *f, Why *why)
{
        *why = (Why){ 0 };
        return slot_verify(f->disk, &f->parts, f->root, NULL, NULL, why);
}

static void test_write(Fixture *f, size_t piece)
{
        uint8_t *before = read_disk(), *after, *again;
        const Partition *d = f->parts.data;
        uint64_t tree_end = hash_base(f);
        SlotCount c;
        VerityParams p;
        Why why;

        c = write_slot(f, piece);
        assert(c.skipped + c.written == DATA_SIZE && c.skipped == 0 && c.tree_written == 10 * 4096);
        assert(c.zero == DATA_BLOCKS / 9 * 4096);
        assert(!have_judge() || judge(f) == 0);
        assert(verify(f, &why) == 0 && !why.text[0]);
        assert(slot_superblock(f->disk, &f->parts, 0, &p, NULL) >= 0 &&
               memcmp(&p, &f->params, sizeof(p)) == 0);
        after = read_disk();
        assert(memcmp(after + d->offset, f->data, DATA_SIZE) == 0);
        /* nothing else has changed: ahead of the data, behind the image, behind the tree */
        tree_end += 10 * 4096;
        assert(memcmp(after, before, d->offset) == 0);
        if (f->parts.hash)
                assert(memcmp(after + d->offset + DATA_SIZE, before + d->offset + DATA_SIZE,
                              d->size - DATA_SIZE) == 0);
        assert(memcmp(after + tree_end, before + tree_end, DISK_SIZE - tree_end) == 0);

        /* the same again: not one byte, not even the same one */
        struct stat s1, s2;
        assert(stat(image, &s1) == 0);
        c = write_slot(f, 128 * 1024);
        assert(c.written == 0 && c.tree_written == 0 && c.skipped == DATA_SIZE);
        assert(stat(image, &s2) == 0 && memcmp(&s1.st_mtim, &s2.st_mtim, sizeof(s1.st_mtim)) == 0);
        again = read_disk();
        assert(memcmp(again, after, DISK_SIZE) == 0);
        free(before);
        free(after);
        free(again);
}

/* A few blocks differ: those are written and no others. */
static void test_delta(Fixture *f)
{
        static const size_t changed[] = { 0, 1, 31, 32, 500, 999 };
        SlotCount c;
        Why why;

        for (size_t i = 0; i < ELEMENTSOF(changed); i++)
                f->data[changed[i] * 4096 + 77] ^= 1;
        c = write_slot(f, 5000);
        assert(c.written == ELEMENTSOF(changed) * 4096 && c.skipped == DATA_SIZE - c.written);
        /* leaf blocks 0, 3 and 7, the top, the superblock that had to go first */
        assert(c.tree_written == 5 * 4096);
        assert(verify(f, &why) == 0 && (!have_judge() || judge(f) == 0));
}

static void flip(uint64_t at)
{
        _cleanup_(close_fdp) int fd = open(image, O_RDWR | O_CLOEXEC);
        uint8_t b;

        assert(fd_pread_full(fd, &b, 1, at) == 1);
        b ^= 0x10;
        assert(fd_pwrite_full(fd, &b, 1, at) >= 0);
}

static void test_flips(Fixture *f)
{
        uint64_t d = f->parts.data->offset, h = hash_base(f);
        const struct {
                uint64_t at;
                const char *says;
        } cases[] = {
                { d, "data block 0 " },
                { d + 4095, "data block 0 " },
                { d + 555 * 4096 + 9, "data block 555 at byte 2273280" },
                { d + DATA_SIZE - 1, "data block 999 " },
                { h, "no verity superblock" }, /* signature */
                { h + 8, "version" },
                { h + 20, NULL },                      /* uuid: see below */
                { h + 72, NULL },                      /* data blocks */
                { h + 80, NULL },                      /* salt size */
                { h + 90, NULL },                      /* salt */
                { h + 400, "superblock" },             /* padding inside it */
                { h + 4096, NULL },                    /* top block */
                { h + 4096 + 4000, NULL },             /* padding of the top block */
                { h + 2 * 4096 + 5, "hash block" },    /* first leaf block */
                { h + 9 * 4096 + 5, "hash block" },    /* last leaf block */
                { h + 9 * 4096 + 4095, "hash block" }, /* its padding: 1000 hashes do not fill it */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why;
                int r;

                flip(cases[i].at);
                r = verify(f, &why);
                flip(cases[i].at);
                if (cases[i].at == h + 20) { /* the root does not cover the UUID: nothing hangs on it */
                        assert(r == 0);
                        continue;
                }
                if (r >= 0 || (cases[i].says && f->parts.hash && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(r == -EBADMSG && why.kind == WHY_TRUST && why.text[0]);
                assert(!cases[i].says || !f->parts.hash || strstr(why.text, cases[i].says));
        }
        Why why;
        assert(verify(f, &why) == 0);
        f->root[0] ^= 1; /* whole, but another image */
        assert(verify(f, &why) == -EBADMSG && why.kind == WHY_TRUST);
        f->root[0] ^= 1;
}

/* The medium gives back something else than was written: that is not the image's fault, and the other way round. */
static void test_medium(Fixture *f)
{
        static const struct {
                bool lies, lied_to;
                int r;
        } cases[] = { { false, false, 1 }, { true, false, -EIO }, { false, true, 0 }, { true, true, -EIO } };
        uint8_t root[32], got[32];
        Why why = { 0 };

        free(f->data);
        f->data = make_data(5);
        (void) write_slot(f, 65536);
        memcpy(root, f->root, 32);
        for (size_t i = 0; i < 2 * ELEMENTSOF(cases); i++) {
                _cleanup_(slot_writer_freep) SlotWriter *w = NULL;
                int r;

                why = (Why){ 0 };
                if (i < ELEMENTSOF(cases)) /* else it is what is there, and nothing is written */
                        dirty_disk();
                f->data[999 * 4096] ^= cases[i % 4].lied_to;
                assert(slot_writer_open(f->disk, &f->parts, &f->params, &w, NULL) >= 0);
                put_all(f, w, 65536);
                if (cases[i % 4].lies)
                        flip(f->parts.data->offset + 3 * 4096 + 7);
                r = slot_writer_finish(w, root, got, &why);
                f->data[999 * 4096] ^= cases[i % 4].lied_to;
                if (r != cases[i % 4].r)
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(r == cases[i % 4].r);
                assert(r >= 0 || (why.kind == WHY_HOST && strstr(why.text, "USR-B: the 128 KiB at byte 0 ")));
        }
        (void) write_slot(f, 65536);
        assert(verify(f, &why) == 0);
}

/* Cut anywhere between the first and the last call: nothing there may look finished. */
static void test_torn(Fixture *f, uint32_t seed)
{
        static const size_t stops[] = { 1, 130 * 1024, DATA_SIZE - 1, DATA_SIZE };
        VerityParams p;

        for (size_t i = 0; i < ELEMENTSOF(stops); i++) {
                SlotWriter *w = NULL;
                Why why;

                free(f->data);
                f->data = make_data(seed);
                (void) write_slot(f, 65536);
                assert(slot_superblock(f->disk, &f->parts, 0, &p, NULL) == 0);
                free(f->data);
                f->data = make_data(seed + 1);
                assert(slot_writer_open(f->disk, &f->parts, &f->params, &w, NULL) >= 0);
                assert(slot_writer_put(w, f->data, stops[i], NULL) >= 0);
                w = slot_writer_free(w);
                if (stops[i] == 1) { /* nothing reached the disk: the old image is whole */
                        assert(verify(f, &why) == 0);
                        continue;
                }
                assert(slot_superblock(f->disk, &f->parts, 0, &p, &why) == -ENOENT);
                assert(verify(f, &why) == -EBADMSG);
                (void) write_slot(f, 4096);
                assert(verify(f, &why) == 0);
        }
}

static void test_wrong_size(Fixture *f)
{
        SlotWriter *w = NULL;
        uint8_t root[32];
        Why why = { 0 };

        assert(slot_writer_open(f->disk, &f->parts, &f->params, &w, NULL) >= 0);
        put_all(f, w, 100000);
        assert(slot_writer_put(w, "x", 1, &why) == -EFBIG && why.kind == WHY_TRUST);
        assert(slot_writer_zero(w, UINT64_MAX, NULL) == -EFBIG);
        assert(slot_writer_finish(w, NULL, root, NULL) >= 0);
        w = slot_writer_free(w);
        assert(slot_writer_open(f->disk, &f->parts, &f->params, &w, NULL) >= 0);
        assert(slot_writer_put(w, f->data, DATA_SIZE - 1, NULL) >= 0);
        why = (Why){ 0 };
        assert(slot_writer_finish(w, NULL, root, &why) == -EBADMSG && why.kind == WHY_TRUST &&
               strstr(why.text, "4095999"));
        w = slot_writer_free(w);

        VerityParams p = f->params;
        static const uint64_t blocks[] = { 0, 6 * 256 + 1, UINT64_MAX };
        for (size_t i = 0; i < ELEMENTSOF(blocks); i++) {
                why = (Why){ 0 };
                p.data_blocks = blocks[i];
                assert(slot_writer_open(f->disk, &f->parts, &p, &w, &why) < 0 && why.text[0] && !w);
        }
        if (f->parts.hash) { /* the tree alone is too big */
                SlotParts swapped = { .data = f->parts.data, .hash = f->parts.sig };
                Partition small = *f->parts.sig;

                small.size = 9 * 4096;
                swapped.hash = &small;
                why = (Why){ 0 };
                assert(slot_writer_open(f->disk, &swapped, &f->params, &w, &why) == -ENOSPC &&
                       strstr(why.text, "hash tree"));
        } else { /* data fits, its tree does not */
                p.data_blocks = 6 * 256 - 5;
                why = (Why){ 0 };
                assert(slot_writer_open(f->disk, &f->parts, &p, &w, &why) == -ENOSPC &&
                       strstr(why.text, "hash tree"));
        }
}

/* Images of other sizes before this one left their superblocks elsewhere. */
static void test_inline_sizes(Fixture *f)
{
        VerityParams p;
        uint8_t root[32];
        Why why;

        (void) write_slot(f, 65536);
        memcpy(root, f->root, 32);
        assert(verify(f, &why) == 0);
        /* by place, as a journal knows it, and wrongly */
        f->parts.inline_offset = DATA_SIZE;
        assert(verify(f, &why) == 0);
        f->parts.inline_offset = DATA_SIZE - 4096;
        assert(verify(f, &why) == -EBADMSG);
        f->parts.inline_offset = 0;
        assert(slot_superblock(f->disk, &f->parts, DATA_SIZE, &p, NULL) == 0 && p.data_blocks == DATA_BLOCKS);
        assert(slot_superblock(f->disk, &f->parts, 4096, &p, NULL) == -ENOENT);

        SlotWriter *w = NULL;
        VerityParams smaller = f->params;
        smaller.data_blocks = 300;
        assert(slot_writer_open(f->disk, &f->parts, &smaller, &w, NULL) >= 0);
        assert(slot_writer_zero(w, 200 * 4096, NULL) >=
               0); /* differs: the old image's superblock must be gone */
        assert(slot_superblock(f->disk, &f->parts, DATA_SIZE, &p, NULL) == -ENOENT);
        assert(slot_writer_zero(w, 100 * 4096, NULL) >= 0 && slot_writer_finish(w, NULL, f->root, NULL) >= 0);
        slot_writer_free(w);
        assert(verify(f, &why) == 0 && slot_superblock(f->disk, &f->parts, 0, &p, NULL) == 0 &&
               p.data_blocks == 300);
        memcpy(f->root, root, 32);
        assert(verify(f, &why) == -EBADMSG && strstr(why.text, "hash tree"));
}

static void test_one_block(Fixture *f)
{
        VerityParams p = f->params;
        SlotWriter *w = NULL;
        Why why = { 0 };

        p.data_blocks = 1;
        assert(slot_writer_open(f->disk, &f->parts, &p, &w, NULL) >= 0);
        assert(slot_writer_put(w, f->data, 4096, NULL) >= 0 &&
               slot_writer_finish(w, NULL, f->root, NULL) >= 0);
        w = slot_writer_free(w);
        assert(verify(f, &why) == 0 && (!have_judge() || !f->parts.hash || judge(f) == 0));
        flip(f->parts.data->offset + 3);
        assert(verify(f, &why) == -EBADMSG && strstr(why.text, "root hash"));
}

static int count_progress(void *ctx, uint64_t done, uint64_t total)
{
        unsigned *calls = ctx;

        assert(done <= total && total == DATA_SIZE);
        return ++*calls == 5 ? -EINTR : 0;
}

static void test_progress(Fixture *f)
{
        unsigned calls = 0;

        (void) write_slot(f, 65536);
        assert(slot_verify(f->disk, &f->parts, f->root, count_progress, &calls, NULL) == -EINTR &&
               calls == 5);
        calls = 10;
        assert(slot_verify(f->disk, &f->parts, f->root, count_progress, &calls, NULL) == 0);
        assert(calls == 10 + (DATA_SIZE + 131071) / 131072);
}

static void test_sig(Fixture *f)
{
        const Partition *sig = f->parts.sig;
        uint8_t *before, *after, payload[5000];
        SlotParts none = { .data = f->parts.data };
        char digest[SHA256_HEX], judge[SHA256_HEX];
        struct stat s1, s2;
        Why why = { 0 };

        memset(payload, 'p', sizeof(payload));
        before = read_disk();
        assert(slot_write_sig(f->disk, &f->parts, payload, sizeof(payload), NULL) >= 0);
        after = read_disk();
        assert(memcmp(after + sig->offset, payload, sizeof(payload)) == 0);
        for (size_t i = sizeof(payload); i < sig->size; i++)
                assert(after[sig->offset + i] == 0);
        assert(memcmp(after, before, sig->offset) == 0);
        assert(memcmp(after + sig->offset + sig->size, before + sig->offset + sig->size,
                      DISK_SIZE - sig->offset - sig->size) == 0);
        assert(stat(image, &s1) == 0 &&
               slot_write_sig(f->disk, &f->parts, payload, sizeof(payload), NULL) >= 0);
        assert(stat(image, &s2) == 0 && memcmp(&s1.st_mtim, &s2.st_mtim, sizeof(s1.st_mtim)) == 0);
        assert(slot_sig_digest(&f->parts, payload, sizeof(payload), digest) >= 0);
        (void) sha256_hex(after + sig->offset, (size_t) sig->size, judge);
        assert(streq(digest, judge) && slot_check_sig(f->disk, &f->parts, digest, NULL) == 0);
        assert(slot_write_sig(f->disk, &f->parts, NULL, 0, NULL) >= 0);
        assert(slot_check_sig(f->disk, &f->parts, digest, &why) == -EBADMSG && why.kind == WHY_TRUST);
        assert(slot_sig_digest(&f->parts, NULL, 0, digest) >= 0 &&
               slot_check_sig(f->disk, &f->parts, digest, NULL) == 0);
        why = (Why){ 0 };
        free(after);
        after = read_disk();
        assert(after[sig->offset] == 0);
        assert(slot_write_sig(f->disk, &none, NULL, 0, NULL) == 0);
        assert(slot_write_sig(f->disk, &none, payload, 1, &why) < 0 && why.text[0]);
        why = (Why){ 0 };
        assert(slot_write_sig(f->disk, &f->parts, payload, MIB + 1, &why) == -ENOSPC && why.kind == WHY_HOST);
        free(before);
        free(after);
}

/* --- a large image, for which the disk is not looked at --- */

#define LARGE_SIZE   (40u * MIB)
#define LARGE_BLOCKS (LARGE_SIZE / 4096u)

static const TestPart large_parts[] = {
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", 41 * MIB, 0 },
        { "HASH-B", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 0 },
};

static uint8_t *make_large(uint32_t seed)
{
        uint8_t *data = calloc(1, LARGE_SIZE);

        assert(data);
        for (size_t b = 0; b < LARGE_BLOCKS; b++)
                for (size_t i = 0; i < 4096 && b % 9 != 4 && b / 1000 % 4 != 3; i += 512)
                        memcpy(data + b * 4096 + i, &(uint32_t){ seed = seed * 1664525u + 1013904223u }, 4);
        return data;
}

static SlotCount write_large(Fixture *f, const uint8_t *expect, int expect_r)
{
        static const uint8_t zeroes[4096];
        _cleanup_(slot_writer_freep) SlotWriter *w = NULL;

        assert(slot_writer_open(f->disk, &f->parts, &f->params, &w, NULL) >= 0);
        for (size_t at = 0, n; at < LARGE_SIZE; at += n) {
                bool zero = memcmp(f->data + at, zeroes, 4096) == 0;

                for (n = 4096; n < 32 * 4096 && at + n < LARGE_SIZE &&
                               (memcmp(f->data + at + n, zeroes, 4096) == 0) == zero;
                     n += 4096)
                        ;
                assert((zero ? slot_writer_zero(w, n, NULL) : slot_writer_put(w, f->data + at, n, NULL)) >=
                       0);
        }
        assert(slot_writer_finish(w, expect, f->root, NULL) == expect_r);
        return *slot_writer_count(w);
}

static void expect_large(Fixture *f)
{
        _cleanup_(close_fdp) int fd = open(image, O_RDONLY | O_CLOEXEC);
        uint8_t *got = malloc(LARGE_SIZE);
        Why why;

        assert(got && fd_pread_full(fd, got, LARGE_SIZE, f->parts.data->offset) == (ssize_t) LARGE_SIZE);
        assert(memcmp(got, f->data, LARGE_SIZE) == 0);
        free(got);
        assert(verify(f, &why) == 0);
}

static uint64_t zeroes_of(const uint8_t *data)
{
        static const uint8_t zeroes[4096];
        uint64_t n = 0;

        for (size_t at = 0; at < LARGE_SIZE; at += 4096)
                n += memcmp(data + at, zeroes, 4096) == 0 ? 4096 : 0;
        return n;
}

static void test_large(void)
{
        Fixture f = { .params = { .data_blocks = LARGE_BLOCKS, .salt_size = 8 } };
        uint8_t other[32] = { 1 };
        VerityParams p;
        SlotCount c;

        test_disk_make(image, 48 * MIB, 512, large_parts, ELEMENTSOF(large_parts));
        assert(disk_open(&env, image, true, &f.disk, NULL) >= 0);
        f.parts.data = disk_find_label(f.disk, "USR-B", NULL);
        f.parts.hash = disk_find_label(f.disk, "HASH-B", NULL);

        /* an empty slot: its zeroes are not written */
        f.data = make_large(1);
        c = write_large(&f, NULL, 1);
        assert(c.skipped == zeroes_of(f.data) && c.written == LARGE_SIZE - c.skipped && c.skipped == c.zero);
        assert(c.read_back == LARGE_SIZE);
        expect_large(&f);

        c = write_large(&f, f.root, 1);
        assert(c.written == 0 && c.tree_written == 0 && c.skipped == LARGE_SIZE);

        /* another image in it: where that has no zeroes, they are written */
        free(f.data);
        f.data = make_large(99);
        for (size_t at = 0; at < LARGE_SIZE / 2; at += 4096) /* the other way round */
                memset(f.data + at, at / 4096 / 1000 % 4 != 3 ? 0 : 7, 4096);
        c = write_large(&f, NULL, 1);
        assert(c.written + c.skipped == LARGE_SIZE && c.written > LARGE_SIZE / 2);
        expect_large(&f);
        c = write_large(&f, NULL, 1);
        assert(c.written == 0);

        /* another root than expected: nobody's, if anything was changed */
        f.data[LARGE_SIZE - 1] ^= 1;
        c = write_large(&f, other, 0);
        assert(c.written == 4096 && memcmp(f.root, other, 32) != 0);
        assert(slot_superblock(f.disk, &f.parts, 0, &p, NULL) == -ENOENT);
        c = write_large(&f, f.root, 1);
        assert(c.written == 0);
        expect_large(&f);
        fixture_done(&f);
}

int main(void)
{
        static const struct {
                bool separate;
                unsigned sector;
                size_t piece;
        } shapes[] = { { true, 512, 3333 }, { true, 4096, 1 << 20 }, { false, 512, 100000 } };

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        image = str_printf("%s/disk.raw", dir);
        if (!have_judge())
                printf("veritysetup is missing: only our own reader judges\n");
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++) {
                Fixture f;

                fixture_open(&f, shapes[i].separate, shapes[i].sector);
                test_write(&f, shapes[i].piece);
                test_delta(&f);
                test_flips(&f);
                test_torn(&f, 17);
                test_wrong_size(&f);
                test_progress(&f);
                test_sig(&f);
                if (f.parts.hash)
                        test_medium(&f);
                if (!f.parts.hash)
                        test_inline_sizes(&f);
                test_one_block(&f);
                fixture_done(&f);
        }
        test_large();
        static const char *const names[] = { "disk.raw", "data", "hash" };
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char *path = str_printf("%s/%s", dir, names[i]);
                (void) unlink(path);
                free(path);
        }
        env_done(&env);
        free(image);
        assert(rmdir(dir) == 0);
        return 0;
}
