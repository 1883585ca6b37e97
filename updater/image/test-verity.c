/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* The judge is veritysetup: for many shapes of tree its hash area and ours must be the same bytes, and it
 * must accept ours. Nothing here needs device-mapper: format and verify work on files. */

#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"
#include "image/verity.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static char dir[] = "/tmp/gybe-test-verity-XXXXXX";
static const char *veritysetup;

static const char *find_veritysetup(void)
{
        static const char *const places[] = { "/usr/sbin/veritysetup", "/sbin/veritysetup",
                                              "/usr/bin/veritysetup" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (access(places[i], X_OK) == 0)
                        return places[i];
        return NULL;
}

static char *in_dir(const char *name)
{
        char *p = str_printf("%s/%s", dir, name);

        assert(p);
        return p;
}

static void write_file(const char *path, const void *data, size_t size)
{
        _cleanup_(close_fdp) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert(fd >= 0 && fd_write_full(fd, data, size) >= 0);
}

static Bytes read_file(const char *path)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        Bytes b = BYTES_NULL;

        assert(fd >= 0 && fd_read_all(fd, 512 * MIB, &b) >= 0);
        return b;
}

/* What the tree emits, and how often each place was written. */
typedef struct Area {
        uint8_t *bytes;
        unsigned *times;
        uint64_t size;
        uint64_t first;
        unsigned n;
} Area;

static int area_emit(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        Area *a = ctx;

        assert(offset % VERITY_BLOCK == 0 && offset + VERITY_BLOCK <= a->size);
        memcpy(a->bytes + offset, block, VERITY_BLOCK);
        a->times[offset / VERITY_BLOCK]++;
        if (a->n++ == 0)
                a->first = offset;
        return 0;
}

static void area_start(Area *a, uint64_t data_blocks)
{
        *a = (Area){ 0 };
        assert(verity_hash_size(data_blocks, &a->size) >= 0);
        a->bytes = calloc(1, a->size);
        a->times = calloc(a->size / VERITY_BLOCK, sizeof(*a->times));
        assert(a->bytes && a->times);
}

static void area_done(Area *a)
{
        free(a->bytes);
        free(a->times);
}

/* Deterministic bytes, with stretches of zero blocks in between. */
static uint8_t *make_data(uint64_t blocks)
{
        uint8_t *data = calloc(blocks, VERITY_BLOCK);
        uint32_t x = 0x9e3779b9u;

        assert(data);
        for (uint64_t b = 0; b < blocks; b++) {
                if (b % 7 == 3 || b % 301 > 280)
                        continue;
                for (size_t i = 0; i < VERITY_BLOCK; i += 64) { /* sparse is enough for a hash, and fast */
                        x = x * 1664525u + 1013904223u;
                        memcpy(data + b * VERITY_BLOCK + i, &x, sizeof(x));
                }
        }
        return data;
}

static void build(const VerityParams *p, const uint8_t *data, unsigned how, Area *ret, uint8_t root[32])
{
        _cleanup_(verity_freep) Verity *v = NULL;
        uint8_t hash[32];

        area_start(ret, p->data_blocks);
        assert(verity_new(p, area_emit, ret, &v) >= 0);
        for (uint64_t b = 0; b < p->data_blocks; b++) {
                const uint8_t *block = data + b * VERITY_BLOCK;

                if (how == 1 && verity_block_is_zero(block)) {
                        assert(verity_add_zero(v, 1) >= 0);
                } else if (how == 2) {
                        assert(verity_hash_block(v, block, hash) >= 0 && verity_add_leaf(v, hash) >= 0);
                } else {
                        assert(verity_add(v, block) >= 0);
                }
        }
        assert(verity_finish(v, root) >= 0);
        assert(ret->first == 0); /* the superblock comes first */
        for (uint64_t i = 0; i < ret->size / VERITY_BLOCK; i++)
                assert(ret->times[i] == 1);
}

static int judge(char *const argv[], char **ret_output)
{
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 16 * 1024 };
        RunResult result = { 0 };

        assert(run(argv, &o, &result) >= 0);
        if (ret_output)
                *ret_output = strdup(result.output.data ? (char *) result.output.data : "");
        int code = result.exit_code;
        run_result_done(&result);
        return code;
}

static void root_of_output(const char *output, char root[65])
{
        const char *p = strstr(output, "Root hash:");

        assert(p);
        p += strlen("Root hash:");
        p += strspn(p, " \t");
        assert(hex_normalize(strndupa(p, 64), 64, root) >= 0);
}

static void compare_with_judge(uint64_t blocks, size_t salt_size, const char *uuid)
{
        _cleanup_(free_charp) char *data_path = in_dir("data"), *hash_path = in_dir("hash"),
                                   *ours = in_dir("ours");
        _cleanup_(free_charp) char *output = NULL, *salt_arg = NULL, *uuid_arg = NULL;
        char salt[2 * VERITY_SALT_MAX + 1], root_hex[65], judge_root[65];
        VerityParams p = { .data_blocks = blocks, .salt_size = salt_size }, parsed;
        uint8_t root[32], *data = make_data(blocks);
        Area a[3];
        Bytes theirs;

        for (size_t i = 0; i < salt_size; i++)
                p.salt[i] = (uint8_t) (i * 37 + 11);
        assert(uuid_parse_text(uuid, p.uuid) >= 0);
        hex_encode(p.salt, salt_size, salt);
        salt_arg = str_printf("--salt=%s", salt_size ? salt : "-");
        uuid_arg = str_printf("--uuid=%s", uuid);

        write_file(data_path, data, blocks * VERITY_BLOCK);
        (void) unlink(hash_path);
        assert(judge((char *const[]){ (char *) veritysetup, (char *) "format", salt_arg, uuid_arg, data_path,
                                      hash_path, NULL },
                     &output) == 0);
        root_of_output(output, judge_root);
        theirs = read_file(hash_path);

        for (unsigned how = 0; how < ELEMENTSOF(a); how++) {
                build(&p, data, how, &a[how], root);
                hex_encode(root, 32, root_hex);
                assert(streq(root_hex, judge_root));
                /* veritysetup may leave the tail of the superblock's block unwritten: then the file is
                 * shorter */
                assert(theirs.size <= a[how].size && (theirs.size == a[how].size || blocks == 1));
                assert(memcmp(theirs.data, a[how].bytes, theirs.size) == 0);
                for (size_t i = theirs.size; i < a[how].size; i++)
                        assert(a[how].bytes[i] == 0);
        }
        write_file(ours, a[0].bytes, a[0].size);
        assert(judge((char *const[]){ (char *) veritysetup, (char *) "verify", data_path, ours, root_hex,
                                      NULL },
                     NULL) == 0);
        assert(verity_superblock_parse(theirs.data, theirs.size, &parsed, NULL) >= 0);
        assert(memcmp(&parsed, &p, sizeof(p)) == 0);
        for (unsigned how = 0; how < ELEMENTSOF(a); how++)
                area_done(&a[how]);
        bytes_done(&theirs);
        free(data);
}

static void test_judge(void)
{
        static const uint64_t sizes[] = { 1, 2, 3, 127, 128, 129, 255, 256, 257, 4096, 16383, 16384, 16385 };
        static const size_t salts[] = { 0, 1, 32, 64, 256 };
        static const char uuid[] = "6d8a5e1c-93f4-4d0b-8a27-0c1d2e3f4a5b";

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
                compare_with_judge(sizes[i], 32, uuid);
        for (size_t i = 0; i < ELEMENTSOF(salts); i++) {
                compare_with_judge(1, salts[i], uuid);
                compare_with_judge(300, salts[i], "00000000-0000-0000-0000-000000000001");
        }
}

static void test_sizes(void)
{
        static const struct {
                uint64_t blocks;
                int r;
                uint64_t size_blocks;
        } cases[] = {
                { 0, -ERANGE, 0 },
                { 1, 0, 1 }, /* no tree: the leaf is the root */
                { 2, 0, 2 },
                { 128, 0, 2 },
                { 129, 0, 4 },
                { 262144, 0, 2066 },         /* a full slot of 1 GiB: 8.07 MiB */
                { UINT64_C(1) << 51, 0, 0 }, /* only that it can be said */
                { (UINT64_C(1) << 51) + 1, -ERANGE, 0 },
                { UINT64_MAX, -ERANGE, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t size = 77;

                assert(verity_hash_size(cases[i].blocks, &size) == cases[i].r);
                if (cases[i].r < 0)
                        assert(size == 77);
                else if (cases[i].blocks < UINT64_C(1) << 50)
                        assert(size == cases[i].size_blocks * VERITY_BLOCK);
        }
}

static void test_counting(void)
{
        VerityParams p = { .data_blocks = 3 };
        _cleanup_(verity_freep) Verity *v = NULL;
        uint8_t block[VERITY_BLOCK] = { 1 }, root[32];
        Area a;

        area_start(&a, 3);
        assert(verity_new(&p, area_emit, &a, &v) >= 0);
        assert(verity_add(v, block) >= 0);
        assert(verity_finish(v, root) == -EINVAL); /* too early */
        assert(verity_add_zero(v, 3) == -ERANGE);  /* one too many: nothing is added */
        assert(verity_add_zero(v, 2) >= 0);
        assert(verity_add(v, block) == -ERANGE);
        assert(verity_finish(v, root) >= 0);
        area_done(&a);
        p.salt_size = VERITY_SALT_MAX + 1;
        assert(verity_new(&p, area_emit, NULL, &v) == -EINVAL);
}

static void test_superblock_refused(void)
{
        static const struct {
                size_t at;
                uint8_t value;
                const char *reason;
        } cases[] = {
                { 0, 'V', "signature" },  { 7, 1, "signature's tail" }, { 8, 2, "version" },
                { 12, 0, "hash type 0" }, { 37, '1', "sha251" },        { 38, 'x', "sha256x" },
                { 65, 0x20, "8K data" },  { 69, 0x08, "2K hash" },      { 79, 1, "2^56 data blocks" },
                { 81, 2, "salt 512" },
        };
        VerityParams p = { .data_blocks = 5, .salt_size = 0 }, q = { .data_blocks = 99 };
        uint8_t block[VERITY_BLOCK];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why = { 0 };

                verity_superblock_format(&p, block);
                assert(verity_superblock_parse(block, sizeof(block), &q, NULL) >= 0);
                block[cases[i].at] = cases[i].value;
                q.data_blocks = 99;
                assert(verity_superblock_parse(block, sizeof(block), &q, &why) == -EBADMSG);
                assert(why.kind == WHY_IMAGE && why.text[0] && q.data_blocks == 99);
        }
        verity_superblock_format(&p, block);
        assert(verity_superblock_parse(block, 512, &q, NULL) >= 0);
        assert(verity_superblock_parse(block, 511, &q, NULL) == -EBADMSG);
        p.data_blocks = 0;
        verity_superblock_format(&p, block);
        assert(verity_superblock_parse(block, 512, &q, NULL) == -EBADMSG);
}

int main(void)
{
        test_sizes();
        test_counting();
        test_superblock_refused();
        veritysetup = find_veritysetup();
        if (!veritysetup) {
                printf("veritysetup is missing (cryptsetup-bin): nobody to judge the trees\n");
                return 77;
        }
        assert(mkdtemp(dir));
        test_judge();
        for (size_t i = 0; i < 3; i++) {
                static const char *const names[] = { "data", "hash", "ours" };
                _cleanup_(free_charp) char *p = in_dir(names[i]);
                (void) unlink(p);
        }
        assert(rmdir(dir) >= 0);
        return 0;
}
