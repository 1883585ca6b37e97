/* SPDX-License-Identifier: MIT */

/* Judges: the zstd program decompresses what we wrote, and every frame of the table alone gives its part of
 * the image.
 * --measure FILE prints size and time of several levels, which is where SEEKABLE_LEVEL_DEFAULT comes from. */

#undef NDEBUG
#include "publish/seekable.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"
#include "image/seektable.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <zstd.h>

static int temp_fd(void)
{
        int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        assert(fd >= 0);
        return fd;
}

/* text, noise, zeroes and a ragged end, as images have them; with a hole where want_hole */
static void fill(int fd, uint64_t size, bool want_hole)
{
        uint32_t seed = 7;

        assert(ftruncate(fd, (off_t) size) == 0);
        for (uint64_t at = 0; at < size; at += 4096) {
                uint8_t block[4096];
                size_t n = (size_t) MIN(size - at, (uint64_t) sizeof(block));
                unsigned kind = (unsigned) (at / 40960) % 3;

                for (size_t i = 0; i < sizeof(block); i++) {
                        seed = seed * 1103515245 + 12345;
                        block[i] = kind == 0   ? 0
                                   : kind == 1 ? (uint8_t) "the quick brown"[(seed >> 16) % 15]
                                               : (uint8_t) (seed >> 16);
                }
                if (kind == 0 && want_hole)
                        continue;
                assert(fd_pwrite_full(fd, block, n, at) == 0);
        }
}

static Bytes slurp(int fd)
{
        Bytes b = BYTES_NULL;
        off_t end = lseek(fd, 0, SEEK_END);

        b.data = malloc((size_t) end + 1);
        b.size = (size_t) end;
        assert(b.data && fd_pread_full(fd, b.data, b.size, 0) == end);
        return b;
}

static void run_zstd(int fd, const Bytes *expect)
{
        char path[64], command[512];
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", command, NULL };
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        _cleanup_(close_fdp) int out = temp_fd();
        _cleanup_(bytes_done) Bytes got = BYTES_NULL;
        RunResult r;

        (void) snprintf(path, sizeof(path), "/proc/%i/fd/%i", (int) getpid(), fd);
        (void) snprintf(command, sizeof(command), "zstd -qt <%s && zstd -qdc <%s >/proc/%i/fd/%i", path, path,
                        (int) getpid(), out);
        assert(run(argv, &o, &r) == 0);
        if (r.exit_code == 127) {
                printf("no zstd program: frames judged by libzstd only\n");
                run_result_done(&r);
                return;
        }
        if (r.exit_code != 0)
                fprintf(stderr, "zstd: %s\n", (const char *) r.output.data);
        assert(r.exit_code == 0);
        run_result_done(&r);
        got = slurp(out);
        assert(got.size == expect->size && memcmp(got.data, expect->data, got.size) == 0);
}

/* each frame on its own, found through the table */
static void check_frames(const Bytes *z, const Bytes *raw, size_t frame, bool checksum)
{
        _cleanup_(seektable_done) SeekTable t = { 0 };
        _cleanup_(free_charp) char *buf = malloc(frame);
        uint64_t size = 0, at = 0, raw_at = 0;
        Why why = { 0 };

        assert(buf && z->size >= SEEKTABLE_FOOTER);
        assert(seektable_footer(z->data + z->size - SEEKTABLE_FOOTER, &size) == 1 && size <= z->size);
        assert(seektable_parse(z->data + z->size - size, size, z->size, &t, &why) == 0);
        assert(t.checksums == checksum && t.raw == raw->size);
        assert(t.n_entries == (raw->size + frame - 1) / frame);
        for (uint32_t i = 0; i < t.n_entries; i++) {
                assert(ZSTD_findFrameCompressedSize(z->data + at, z->size - at) == t.entries[i].compressed);
                assert(ZSTD_decompress(buf, frame, z->data + at, t.entries[i].compressed) ==
                       t.entries[i].raw);
                assert(memcmp(buf, raw->data + raw_at, t.entries[i].raw) == 0);
                at += t.entries[i].compressed;
                raw_at += t.entries[i].raw;
        }
}

static Bytes compress(const ByteRange *in, const SeekableOptions *o, SeekableResult *ret)
{
        _cleanup_(close_fdp) int out = temp_fd();
        Why why = { 0 };
        Bytes z;

        assert(seekable_write(in, o, out, NULL, ret, &why) == 0);
        z = slurp(out);
        assert(ret->compressed_size == z.size && ret->raw_size == in->size);
        char hex[SHA384_HEX];
        assert(sha384_hex(z.data, z.size, hex) == 0 && streq(hex, ret->sha384));
        return z;
}

static void test_streams(void)
{
        static const struct {
                uint64_t size;
                size_t frame;
                int level;
                bool checksum;
        } cases[] = {
                { 1, 32768, 3, false },
                { 32768, 32768, 3, false },
                { 32769, 32768, 3, true }, /* a last frame of one byte */
                { 5 * MIB + 12345, 32768, 3, false },
                { 5 * MIB + 12345, 4096, 1, true },
                { 3 * MIB, 2 * MIB, 3, false },   /* frames larger than a piece; the second is short */
                { 2 * MIB, 48 * 1024, 3, false }, /* frames that do not divide a piece */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                SeekableOptions o = { .level = cases[i].level,
                                      .frame_size = cases[i].frame,
                                      .checksum = cases[i].checksum };
                _cleanup_(close_fdp) int fd = temp_fd();
                _cleanup_(bytes_done) Bytes raw = BYTES_NULL, one = BYTES_NULL, three = BYTES_NULL;
                SeekableResult result;
                ByteRange in;
                Why why = { 0 };

                fill(fd, cases[i].size, i % 2);
                assert(range_of_fd(fd, "image", &in, &why) == 0);
                raw = slurp(fd);
                o.workers = 1;
                one = compress(&in, &o, &result);
                o.workers = 3;
                three = compress(&in, &o, &result);
                /* the number of threads and the history of a compressor leave no trace */
                assert(one.size == three.size && memcmp(one.data, three.data, one.size) == 0);
                check_frames(&one, &raw, cases[i].frame, cases[i].checksum);
                _cleanup_(close_fdp) int z = temp_fd();
                assert(fd_write_full(z, one.data, one.size) == 0);
                run_zstd(z, &raw);
        }
}

/* a blank partition costs next to nothing, and a part of a file is just that part */
static void test_ranges(void)
{
        SeekableOptions o = { .level = SEEKABLE_LEVEL_DEFAULT, .frame_size = 4 * MIB, .window_log_max = 17 };
        ByteRange blank = { .fd = -1, .size = GIB, .what = "blank" };
        _cleanup_(bytes_done) Bytes z = BYTES_NULL, raw = BYTES_NULL, part = BYTES_NULL;
        _cleanup_(close_fdp) int fd = temp_fd();
        SeekableResult result;
        Why why = { 0 };

        z = compress(&blank, &o, &result);
        assert(z.size < 128 * 1024 && result.window_log == 17);

        fill(fd, 300000, false);
        raw = slurp(fd);
        o.frame_size = SEEKABLE_FRAME_DEFAULT;
        part = compress(&(ByteRange){ .fd = fd, .offset = 100001, .size = 150000, .what = "part" }, &o,
                        &result);
        raw.data += 100001;
        raw.size = 150000;
        check_frames(&part, &raw, o.frame_size, false);
        raw.data -= 100001;

        /* promised more than there is */
        ByteRange beyond = { .fd = fd, .offset = 250000, .size = 50001, .what = "beyond.img" };
        assert(seekable_write(&beyond, &o, fd, NULL, &result, &why) == -EIO);
        assert(streq(why.code, "short-read") && strstr(why.text, "beyond.img"));
}

static int measure(const char *path)
{
        static const int levels[] = { 3, 6, 9, 12, 15, 17, 19, 22 };
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ByteRange in;
        Why why = { 0 };

        if (fd < 0 || range_of_fd(fd, path, &in, &why) < 0)
                return 1;
        for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
                SeekableOptions o = { .level = levels[i],
                                      .frame_size = SEEKABLE_FRAME_DEFAULT,
                                      .workers = 1 };
                _cleanup_(close_fdp) int out = temp_fd();
                SeekableResult result;
                clock_t start = clock();

                if (seekable_write(&in, &o, out, NULL, &result, &why) < 0)
                        return 1;
                double seconds = (double) (clock() - start) / CLOCKS_PER_SEC;
                printf("level %2i: %10llu bytes, ratio %.3f, %.1f CPU s, %.1f MB/s\n", levels[i],
                       (unsigned long long) result.compressed_size,
                       (double) result.raw_size / (double) result.compressed_size, seconds,
                       (double) result.raw_size / seconds / 1e6);
        }
        return 0;
}

int main(int argc, char *argv[])
{
        if (argc == 3 && streq(argv[1], "--measure"))
                return measure(argv[2]);
        test_streams();
        test_ranges();
        return 0;
}
