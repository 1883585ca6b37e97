/* SPDX-License-Identifier: MIT */

/* Images made by mkfs.vfat and mtools, read back; and the same images with single bytes made hostile. */

#include "image/fat.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/gybe-fat-XXXXXX";

static char *run_sh(const char *script)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-ec", (char *) script, (char *) "sh", dir, NULL };
        char *envp[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *) "LC_ALL=C.UTF-8",
                         (char *) "MTOOLS_SKIP_CHECK=1", NULL };
        const RunOptions options = {
                .exe_fd = -1, .cwd_fd = -1, .environ = envp, .timeout_sec = 100, .output_max = MIB
        };
        _cleanup_(run_result_done) RunResult result = { 0 };
        char *text;

        assert(run(argv, &options, &result) == 0);
        if (result.exit_code != 0)
                (void) fprintf(stderr, "%s: %s\n", script,
                               result.output.data ? (char *) result.output.data : "");
        assert(result.exit_code == 0);
        text = strdup(result.output.data ? (char *) result.output.data : "");
        assert(text);
        return text;
}

/* --- reading --- */

typedef struct Image {
        Bytes bytes;
        unsigned reads;
} Image;

static int read_image(void *ctx, uint64_t offset, void *buf, size_t size)
{
        Image *image = ctx;

        /* the door promises that nothing is asked beyond the image */
        assert(offset <= image->bytes.size && size <= image->bytes.size - offset);
        memcpy(buf, image->bytes.data + offset, size);
        image->reads++;
        return 0;
}

static void image_done(Image *image)
{
        bytes_done(&image->bytes);
}

static Image load(void)
{
        _cleanup_(free_charp) char *path = str_printf("%s/fat.img", dir);
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        Image image = { 0 };
        struct stat st;

        assert(fd >= 0 && fstat(fd, &st) == 0);
        image.bytes.data = malloc((size_t) st.st_size);
        image.bytes.size = (size_t) st.st_size;
        assert(image.bytes.data &&
               fd_read_full(fd, image.bytes.data, image.bytes.size) == (ssize_t) image.bytes.size);
        return image;
}

static int add_to_digest(void *ctx, const void *data, size_t size)
{
        return digest_update(ctx, data, size);
}

static void file_digest(Fat *fat, const FatFile *f, char out[SHA256_HEX])
{
        _cleanup_(digest_freep) Digest *d = NULL;
        uint8_t bytes[SHA256_SIZE];
        Why why = { 0 };

        assert(digest_new(256, &d) == 0 && fat_read_file(fat, f, add_to_digest, d, &why) == 0);
        assert(digest_final(d, bytes) == 0);
        hex_encode(bytes, sizeof(bytes), out);
}

/* Any bytes, in any order, are what reading from the start gives. */
static void check_pread(Fat *fat, const FatFile *f)
{
        uint8_t *whole = malloc(f->size + 1), *part = malloc(f->size + 1);
        uint32_t x = 12345;
        Why why = { 0 };

        assert(whole && part && fat_pread(fat, f, 0, whole, f->size, &why) == 0);
        for (int i = 0; i < 200; i++) {
                uint32_t from, n;

                x = x * 1664525 + 1013904223;
                from = f->size ? (x >> 8) % f->size : 0;
                x = x * 1664525 + 1013904223;
                n = (x >> 8) % (f->size - from + 1);
                assert(fat_pread(fat, f, from, part, n, &why) == 0 && memcmp(part, whole + from, n) == 0);
        }
        assert(fat_pread(fat, f, f->size, part, 0, &why) == 0);
        assert(fat_pread(fat, f, f->size, part, 1, &why) == -EINVAL);
        why = (Why){ 0 };
        assert(fat_pread(fat, f, UINT64_MAX, part, 1, &why) == -EINVAL);
        free(whole);
        free(part);
}

/* --- file systems made by real tools --- */

/* Names of every kind: 8.3, its case bits, long, long beyond ASCII, 255 units; an empty file, a fragmented one, a deleted
 * one and a folder of several clusters. */
static const char fill[] =
        "cd \"$1\"; mkdir -p tree; cd tree; head -c 300000 /dev/urandom > big; head -c 70000 /dev/urandom > "
        "second; : > empty; "
        "echo lower > lower.txt; echo upper > UPPER.TXT; echo mixed > MiXed.Txt; cd ..; "
        "long=$(printf 'n%.0s' $(seq 251)).efi; cp tree/second tree/$long; cp tree/second "
        "\"tree/gr\303\274n \342\202\254.efi\"; "
        "mmd -i fat.img ::EFI ::EFI/Linux ::EFI/Linux/deep ::many; "
        "mcopy -i fat.img tree/second ::hole; mcopy -i fat.img tree/empty tree/lower.txt tree/UPPER.TXT "
        "tree/MiXed.Txt ::EFI/; "
        "mdel -i fat.img ::hole; mcopy -i fat.img tree/big \"::EFI/Linux/vmlinuz-6.6.121 (1).efi\"; "
        "mcopy -i fat.img tree/$long ::EFI/Linux/deep/; mcopy -i fat.img tree/gr* ::EFI/; "
        "for i in $(seq 60); do echo $i > tree/file-number-$i; done; mcopy -i fat.img tree/file-number-* "
        "::many/; "
        "cd tree; sha256sum big second lower.txt UPPER.TXT MiXed.Txt | cut -d' ' -f1";

static void check_file(Fat *fat, const char *path, const char *digest)
{
        const FatFile *f = fat_find(fat, path);
        char here[SHA256_HEX];

        if (!f)
                (void) fprintf(stderr, "%s is missing\n", path);
        assert(f && !f->is_dir && streq(f->path, path));
        file_digest(fat, f, here);
        assert(streq(here, digest));
        check_pread(fat, f);
}

static void check_tree(Fat *fat, char *digests)
{
        char *save = NULL, *big = strtok_r(digests, "\n", &save), *second = strtok_r(NULL, "\n", &save);
        char *lower = strtok_r(NULL, "\n", &save), *upper = strtok_r(NULL, "\n", &save),
             *mixed = strtok_r(NULL, "\n", &save);
        char path[400] = "EFI/Linux/deep/";
        const FatFile *f;

        check_file(fat, "EFI/Linux/vmlinuz-6.6.121 (1).efi", big);
        memset(path + 15, 'n', 251);
        memcpy(path + 15 + 251, ".efi", 5);
        check_file(fat, path, second);
        check_file(fat, "EFI/gr\xc3\xbcn \xe2\x82\xac.efi", second);
        check_file(fat, "EFI/lower.txt", lower);
        check_file(fat, "EFI/UPPER.TXT", upper);
        check_file(fat, "EFI/MiXed.Txt", mixed);
        f = fat_find(fat, "efi/EMPTY"); /* as FAT compares */
        assert(f && f->size == 0 && f->first_cluster == 0);
        check_pread(fat, f);
        assert(!fat_find(fat, "hole") && fat_find(fat, "/EFI/Linux")->is_dir);
        for (unsigned i = 1; i <= 60; i++) {
                (void) snprintf(path, sizeof(path), "many/file-number-%u", i);
                f = fat_find(fat, path);
                assert(f && f->size == (i < 10 ? 2 : 3));
        }
        assert(fat_n_files(fat) == 4 + 7 + 60);
}

static void test_real(void)
{
        static const struct {
                const char *make;
        } table[] = {
                { "-F 12 -C fat.img 4096" },
                { "-F 16 -C fat.img 20000" },
                { "-F 32 -C fat.img 40000" },
                { "-F 32 -S 4096 -C fat.img 300000" },
                { "-F 16 -S 2048 -s 1 -C fat.img 20000" },
                { "-F 32 -s 1 -f 1 -C fat.img 34000" },
                { "-F 12 -S 512 -s 8 -r 512 -C fat.img 8000" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(free_charp) char *make =
                        str_printf("cd \"$1\"; rm -rf fat.img tree; mkfs.vfat -i c3d4250d -n "
                                   "EFI-SYSTEM %s",
                                   table[i].make);
                _cleanup_(free_charp) char *made _unused_ = run_sh(make);
                _cleanup_(free_charp) char *digests = run_sh(fill);
                _cleanup_(image_done) Image image = load();
                _cleanup_(fat_freep) Fat *fat = NULL;
                Why why = { 0 };

                if (fat_open(read_image, &image, image.bytes.size, WHY_IMAGE, &fat, &why) < 0)
                        (void) fprintf(stderr, "%s: %s\n", table[i].make, why.text);
                assert(fat && streq(fat_serial(fat), "C3D4-250D"));
                check_tree(fat, digests);
        }
}

/* Too few clusters for a FAT32, as small ESPs are made: Linux and firmware look at the boot sector, not at the number. */
static void test_small_fat32(void)
{
        _cleanup_(image_done) Image image = { 0 };
        _cleanup_(fat_freep) Fat *fat = NULL;
        Why why = { 0 };

        free(run_sh("cd \"$1\"; rm -f fat.img; mkfs.vfat -F 32 -i c3d4250d -s 64 -C fat.img 40000"));
        image = load();
        assert(fat_open(read_image, &image, image.bytes.size, WHY_IMAGE, &fat, &why) == 0);
        assert(fat_n_files(fat) == 0 && streq(fat_serial(fat), "C3D4-250D"));
}

/* --- hostile ones --- */

#define AT_FAT                                                                                               \
        (1u * 512u) /* -F 12, 512-byte sectors, one reserved, one table of 3 sectors, 512-byte clusters */
#define N_TABLE 3u
#define AT_ROOT (AT_FAT + N_TABLE * 512u)
#define AT_DATA (AT_ROOT + 512u)
#define CLUSTER 512u

static void set_fat12(Image *image, unsigned cluster, unsigned value)
{
        uint8_t *p = image->bytes.data + AT_FAT + cluster + cluster / 2;

        if (cluster % 2) {
                p[0] = (uint8_t) ((p[0] & 0x0f) | value << 4);
                p[1] = (uint8_t) (value >> 4);
        } else {
                p[0] = (uint8_t) value;
                p[1] = (uint8_t) ((p[1] & 0xf0) | value >> 8);
        }
}

static uint8_t *entry(Image *image, size_t at, unsigned i)
{
        return image->bytes.data + at + 32 * i;
}

static void set_entry(uint8_t *e, const char *name, uint8_t attr, unsigned cluster, uint32_t size)
{
        memset(e, 0, 32);
        memcpy(e, name, 11);
        e[11] = attr;
        e[26] = (uint8_t) cluster;
        e[27] = (uint8_t) (cluster >> 8);
        memcpy(e + 28, &size, 4);
}

/* A: 1000 bytes in clusters 2, 3. DIR: cluster 4, in it B: 100 bytes in cluster 5. */
static Image make_small(void)
{
        Image image = { .bytes = { calloc(1, 64 * KIB), 64 * KIB } };
        static const uint8_t boot[] = { 0xeb, 0x3c, 0x90, 'g', 'y', 'b', 'e', ' ', ' ', ' ',  ' ',     0x00,
                                        0x02, 1,    1,    0,   1,   16,  0,   128, 0,   0xf8, N_TABLE, 0 };

        assert(image.bytes.data);
        memcpy(image.bytes.data, boot, sizeof(boot));
        set_fat12(&image, 0, 0xff8);
        set_fat12(&image, 1, 0xfff);
        set_fat12(&image, 2, 3);
        set_fat12(&image, 3, 0xfff);
        set_fat12(&image, 4, 0xfff);
        set_fat12(&image, 5, 0xfff);
        set_entry(entry(&image, AT_ROOT, 0), "A       TXT", 0, 2, 1000);
        set_entry(entry(&image, AT_ROOT, 1), "DIR        ", 0x10, 4, 0);
        set_entry(entry(&image, AT_DATA + 2 * CLUSTER, 0), ".          ", 0x10, 4, 0);
        set_entry(entry(&image, AT_DATA + 2 * CLUSTER, 1), "..         ", 0x10, 0, 0);
        set_entry(entry(&image, AT_DATA + 2 * CLUSTER, 2), "B          ", 0, 5, 100);
        return image;
}

static int open_image(Image *image, Fat **ret)
{
        Why why = { 0 };
        int r = fat_open(read_image, image, image->bytes.size, WHY_TRUST, ret, &why);

        assert((r < 0) == (why.kind == WHY_TRUST));
        return r;
}

/* A long name in front of entry i of the root: parts entries, which say the sum of the short name. */
static void set_long(uint8_t *e, const uint16_t *units, size_t n, const char *short_name)
{
        static const uint8_t at[] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
        uint8_t sum = 0;

        for (int i = 0; i < 11; i++)
                sum = (uint8_t) ((sum & 1 ? 0x80 : 0) + (sum >> 1) + (uint8_t) short_name[i]);
        memset(e, 0, 32);
        e[0] = 0x41;
        e[11] = 0x0f;
        e[13] = sum;
        for (size_t i = 0; i < 13; i++) {
                uint16_t u = i < n ? units[i] : i == n ? 0 : 0xffff;

                memcpy(e + at[i], &u, 2);
        }
}

static void test_small(void)
{
        _cleanup_(image_done) Image image = make_small();
        _cleanup_(fat_freep) Fat *fat = NULL;

        assert(open_image(&image, &fat) == 0 && fat_n_files(fat) == 3);
        assert(fat_find(fat, "a.txt")->size == 1000 && fat_find(fat, "DIR/B")->size == 100);
        assert(streq(fat_serial(fat), ""));
}

static void test_boot_sectors(void)
{
        static const struct {
                unsigned at;
                uint8_t value;
                const char *why;
        } table[] = {
                { 11, 1, "513-byte sectors" },
                { 12, 0, "no sector size" },
                { 12, 1, "256-byte sectors" },
                { 12, 32, "8192-byte sectors" },
                { 13, 0, "no clusters" },
                { 13, 3, "3 sectors a cluster" },
                { 14, 0, "nothing reserved" },
                { 15, 0x80, "reserved beyond the end" },
                { 16, 0, "no table" },
                { 16, 255, "255 tables: no room for data" },
                { 17, 15, "half a sector of root folder" },
                { 17, 0, "FAT12 without a root folder" },
                { 19, 0, "no size at all" },
                { 19, 129, "longer than the image" },
                { 19, 5, "ends where data begin" },
                { 21, 0x12, "media byte" },
                { 22, 0, "neither a FAT16 table nor a FAT32 one" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                image.bytes.data[table[i].at] = table[i].value;
                if (open_image(&image, &fat) >= 0)
                        (void) fprintf(stderr, "%s\n", table[i].why);
                assert(!fat);
        }
        for (size_t n = 0; n < 512; n += 51) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                image.bytes.size = n;
                assert(open_image(&image, &fat) < 0);
        }
        {
                /* a table too small for the clusters: one sector counts 341 of them, the image has 2,000 */
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                image.bytes.data = realloc(image.bytes.data, MIB);
                memset(image.bytes.data + image.bytes.size, 0, MIB - image.bytes.size);
                image.bytes.size = MIB;
                image.bytes.data[19] = 0x00;
                image.bytes.data[20] = 0x08;
                assert(open_image(&image, &fat) < 0);
        }
}

static void test_chains(void)
{
        static const struct {
                unsigned cluster, value;
                const char *why;
        } table[] = {
                { 3, 2, "a loop" },
                { 3, 3, "a loop of one" },
                { 3, 5, "crosses another file" },
                { 2, 4, "crosses a folder" },
                { 2, 0, "a free cluster" },
                { 2, 1, "cluster 1" },
                { 2, 0xff7, "a bad cluster" },
                { 2, 0xff0, "a cluster beyond the end" },
                { 2, 0xfff, "shorter than the file" },
                { 4, 4, "a folder that loops" },
                { 4, 2, "a folder made of a file" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                set_fat12(&image, table[i].cluster, table[i].value);
                if (open_image(&image, &fat) >= 0)
                        (void) fprintf(stderr, "%s\n", table[i].why);
                assert(!fat);
        }
}

static void test_entries(void)
{
        static const struct {
                const char *name;
                uint8_t attr;
                unsigned cluster;
                uint32_t size;
                const char *path; /* NULL: refused; "": not listed */
        } table[] = {
                { "NEW     EFI", 0x20, 6, 10, "NEW.EFI" },
                { "NEW        ", 0, 0, 0, "NEW" },
                { "EFI-SYSTEM ", 0x08, 0, 0, "" },
                { "\xe5"
                  "OLD    EFI",
                  0, 2, 10, "" },
                { "\x05LD     EFI", 0, 0, 0, "\xef\xbf\xbdLD.EFI" }, /* its first byte is 0xe5 */
                { "A       TXT", 0, 6, 10, NULL },                   /* twice */
                { "a       txt", 0, 6, 10, NULL },                   /* twice, as FAT compares */
                { "NEW     EFI", 0, 0, 10, NULL },                   /* bytes without a cluster */
                { "NEW     EFI", 0, 6, 513, NULL },                  /* more than its cluster holds */
                { "NEW     EFI", 0, 6, UINT32_MAX, NULL },
                { "NEW     EFI", 0, 1, 10, NULL },
                { "NEW     EFI", 0, 0xfff, 10, NULL },
                { "NEW     EFI", 0x10, 0, 0, NULL }, /* a folder without a cluster */
                { "A/B     EFI", 0, 0, 0, NULL },
                { "A\\B     EFI", 0, 0, 0, NULL },
                { "A\tB     EFI", 0, 0, 0, NULL },
                { "        EFI", 0, 0, 0, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                set_fat12(&image, 6, 0xfff);
                set_entry(entry(&image, AT_ROOT, 2), table[i].name, table[i].attr, table[i].cluster,
                          table[i].size);
                assert((open_image(&image, &fat) >= 0) == !!table[i].path);
                if (!table[i].path)
                        continue;
                assert(fat_n_files(fat) == (*table[i].path ? 4 : 3));
                assert(!*table[i].path || streq(fat_find(fat, table[i].path)->path, table[i].path));
        }
}

static void test_long_names(void)
{
        static const struct {
                uint16_t units[13];
                size_t n;
                const char *path; /* NULL: refused */
        } table[] = {
                { { 'l', 'o', 'n', 'g', '.', 'e', 'f', 'i' }, 8, "long.efi" },
                { { 0xe4, 0x20ac }, 2, "\xc3\xa4\xe2\x82\xac" },
                { { 0xd83d, 0xde00 }, 2, "\xf0\x9f\x98\x80" },
                { { 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm' }, 13, "abcdefghijklm" },
                { { 0xd83d }, 1, NULL },
                { { 0xde00, 0xd83d }, 2, NULL },
                { { 0xd83d, 'a' }, 2, NULL },
                { { 'a', '/', 'b' }, 3, NULL },
                { { 'a', '\\', 'b' }, 3, NULL },
                { { 'a', 0x1b, 'b' }, 3, NULL },
                { { 'a', 0x9b, 'b' }, 3, NULL },
                { { '.', '.' }, 2, NULL },
                { { '.' }, 1, NULL },
                { { 0 }, 0, NULL },
                { { 'A', '.', 't', 'x', 'T' }, 5, NULL }, /* twice */
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                set_long(entry(&image, AT_ROOT, 2), table[i].units, table[i].n, "LONG~1  EFI");
                set_entry(entry(&image, AT_ROOT, 3), "LONG~1  EFI", 0, 0, 0);
                assert((open_image(&image, &fat) >= 0) == !!table[i].path);
                assert(!table[i].path || fat_find(fat, table[i].path));
        }
}

/* A long name that does not belong is not believed: the short one stands. */
static void test_orphans(void)
{
        static const uint16_t units[] = { 'e', 'v', 'i', 'l' };

        for (int i = 0; i < 5; i++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;
                uint8_t *e = entry(&image, AT_ROOT, 2);

                set_long(e, units, 4, i == 0 ? "OTHER   EFI" : "GOOD    EFI"); /* wrong sum */
                if (i == 1)
                        e[0] = 0x42; /* its first part is missing */
                if (i == 2)
                        e[0] = 0x01; /* its last part is missing */
                if (i == 3)
                        e[0] = 0x40; /* part 0 */
                if (i == 4)
                        e[0] = 0x5f; /* part 31 */
                set_entry(entry(&image, AT_ROOT, 3), "GOOD    EFI", 0, 0, 0);
                assert(open_image(&image, &fat) == 0 && fat_find(fat, "GOOD.EFI") && !fat_find(fat, "evil"));
        }
}

/* DIR/DIR/DIR...: each in a cluster of its own. */
static void test_depth(void)
{
        for (unsigned depth = FAT_DEPTH_MAX; depth <= FAT_DEPTH_MAX + 1; depth++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;

                memset(entry(&image, AT_DATA + 2 * CLUSTER, 0), 0, CLUSTER);
                for (unsigned i = 0; i + 2 < depth; i++) {
                        set_fat12(&image, 5 + i, 0xfff);
                        set_entry(entry(&image, AT_DATA + (2 + i) * CLUSTER, 0), "DIR        ", 0x10, 5 + i,
                                  0);
                }
                assert((open_image(&image, &fat) == 0) == (depth == FAT_DEPTH_MAX));
        }
}

/* A folder may hold as many as the whole file system may, and not one more. */
static void test_many(void)
{
        for (unsigned extra = 0; extra < 2; extra++) {
                _cleanup_(image_done) Image image = make_small();
                _cleanup_(fat_freep) Fat *fat = NULL;
                unsigned clusters = (FAT_ENTRIES_MAX + 16) / 16, n = FAT_ENTRIES_MAX - 3 + extra;
                size_t size = AT_DATA + (clusters + 8) * CLUSTER;

                image.bytes.data = realloc(image.bytes.data, size);
                memset(image.bytes.data + AT_DATA + 4 * CLUSTER, 0, size - AT_DATA - 4 * CLUSTER);
                image.bytes.size = size;
                image.bytes.data[19] = (uint8_t) (size / 512);
                image.bytes.data[20] = (uint8_t) (size / 512 >> 8);
                set_entry(entry(&image, AT_ROOT, 2), "MANY       ", 0x10, 6, 0);
                memset(entry(&image, AT_ROOT, 1), 0xe5, 1); /* DIR and B are gone, A stays: 2 with MANY */
                n++;
                for (unsigned i = 0; i < clusters; i++)
                        set_fat12(&image, 6 + i, i + 1 < clusters ? 7 + i : 0xfff);
                for (unsigned i = 0; i < n; i++) {
                        char name[12];

                        (void) snprintf(name, sizeof(name), "F%07uTXT", i);
                        set_entry(entry(&image, AT_DATA + 4 * CLUSTER, i), name, 0, 0, 0);
                }
                assert((open_image(&image, &fat) == 0) == (extra == 0));
                assert(!fat || fat_n_files(fat) == FAT_ENTRIES_MAX);
        }
}

int main(void)
{
        test_small();
        test_boot_sectors();
        test_chains();
        test_entries();
        test_long_names();
        test_orphans();
        test_depth();
        test_many();
        if (access("/usr/sbin/mkfs.vfat", X_OK) < 0 || access("/usr/bin/mcopy", X_OK) < 0) {
                printf("skipped: needs mkfs.vfat and mtools\n");
                return 77;
        }
        assert(mkdtemp(dir));
        test_real();
        test_small_fat32();
        free(run_sh("rm -rf \"$1\""));
        return 0;
}
