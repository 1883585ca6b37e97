/* SPDX-License-Identifier: MIT */

#include "fetch/frames.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAW_SIZE (3u * 1024u * 1024u + 1234u)

static char dir[] = "/tmp/gybe-frames-XXXXXX";
static uint8_t *raw;

/* Zero, text and noise blocks, in runs. */
static void make_raw(void)
{
        uint32_t x = 1;

        raw = calloc(1, RAW_SIZE);
        assert(raw);
        for (size_t i = 0; i < RAW_SIZE; i++) {
                unsigned kind = (unsigned) (i / 20480 * 2654435761u) >> 30;

                x = x * 1664525 + 1013904223;
                raw[i] = kind < 2 ? 0 : kind == 2 ? (uint8_t) "some text "[i % 10] : (uint8_t) (x >> 24);
        }
}

static void run_sh(const char *script, const char *arg)
{
        char *argv[] = {
                (char *) "/bin/sh", (char *) "-ec", (char *) script, (char *) "sh", dir, (char *) arg, NULL
        };
        const RunOptions options = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        _cleanup_(run_result_done) RunResult result = { 0 };

        assert(run(argv, &options, &result) == 0);
        if (result.exit_code != 0)
                printf("%s: %s\n", script, result.output.data ? (char *) result.output.data : "");
        assert(result.exit_code == 0);
}

static Bytes packed(const char *script)
{
        Bytes b = BYTES_NULL;
        _cleanup_(free_charp) char *path = str_printf("%s/out.zst", dir);
        _cleanup_(free_charp) char *full = str_printf("cd \"$1\"; rm -f out.zst; %s", script);
        _cleanup_(close_fdp) int fd = -1;

        run_sh(full, "");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert(fd >= 0 && fd_read_all(fd, 16 * MIB, &b) == 0);
        return b;
}

/* --- a reader that holds the decoder to its promises --- */

typedef struct Out {
        uint64_t at;
        size_t calls, zero_calls;
        bool odd; /* a piece that is no multiple of 4096 must be the last */
} Out;

static int take_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        Out *o = ctx;

        assert(size > 0 && size <= 128 * KIB && !o->odd && o->at + size <= RAW_SIZE);
        assert(memcmp(raw + o->at, data, size) == 0);
        o->at += size;
        o->odd = size % 4096 != 0;
        o->calls++;
        return 0;
}

static int take_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        Out *o = ctx;

        assert(size > 0 && !o->odd && o->at + size <= RAW_SIZE);
        for (uint64_t i = 0; i < size; i++)
                assert(raw[o->at + i] == 0);
        o->at += size;
        o->odd = size % 4096 != 0;
        o->zero_calls++;
        return 0;
}

static CosiImage image_of(const Bytes *b, uint64_t size)
{
        CosiImage image = { .path = "images/x.zst",
                            .compressed_size = b->size,
                            .uncompressed_size = size,
                            .has_sha384 = true };

        assert(sha384_hex(b->data, b->size, image.sha384) == 0);
        return image;
}

static int feed(const CosiImage *image, unsigned window, const Bytes *b, size_t portion, Out *out, Why *why)
{
        _cleanup_(frames_freep) Frames *f = NULL;
        const FetchSink sink = { take_data, take_zero, out };
        int r = frames_new(image, window, WHY_TRUST, &sink, &f, why);

        for (size_t at = 0; r >= 0 && at < b->size; at += portion)
                r = frames_feed(f, b->data + at, MIN(portion, b->size - at), why);
        return r < 0 ? r : frames_finish(f, why);
}

static void expect_good(const Bytes *b, unsigned window)
{
        static const size_t portions[] = { 128 * 1024, 1000, 17, 1 };
        CosiImage image = image_of(b, RAW_SIZE);

        for (size_t i = 0; i < ELEMENTSOF(portions); i++) {
                Out out = { 0 };
                Why why = { 0 };

                if (portions[i] < 100 && b->size > MIB)
                        continue;
                if (feed(&image, window, b, portions[i], &out, &why) < 0)
                        printf("%s\n", why.text);
                assert(why.kind == WHY_NONE && out.at == RAW_SIZE && out.zero_calls > 0);
        }
}

static void expect_bad(const CosiImage *image, unsigned window, const Bytes *b, const char *code)
{
        Out out = { 0 };
        Why why = { 0 };

        assert(feed(image, window, b, 128 * 1024, &out, &why) < 0);
        if (!streq(why.code, code))
                printf("%s: %s, expected %s\n", why.code, why.text, code);
        assert(streq(why.code, code) && why.kind == WHY_TRUST);
        assert(out.at <= image->uncompressed_size);
}

/* --- what zstd makes --- */

static void test_real_zstd(void)
{
        static const char *const scripts[] = {
                "zstd -q raw -o out.zst", "zstd -q -1 --no-check raw -o out.zst",
                "zstd -q -19 raw -o out.zst", "zstd -q --long=27 raw -o out.zst",
                "zstd -q < raw > out.zst", /* no content size in the frame */
                "zstd -q --format=zstd -B100000 -T2 raw -o out.zst",
                /* several frames, as a COSI for ranges has them, with skippable ones in front, between and behind */
                "split -b 500000 raw part.; for p in part.*; do zstd -q -c $p; done > out.zst; rm part.*",
                "split -b 700000 raw part.; for p in part.*; do printf "
                "'\\120\\052\\115\\030\\004\\000\\000\\000abcd'; zstd -q -c "
                "$p; printf '\\137\\052\\115\\030\\000\\000\\000\\000'; done > out.zst; rm part.*",
                ": | zstd -q -c > out.zst; zstd -q -c raw >> out.zst; : | zstd -q -c >> out.zst", /* empty frames */
        };

        for (size_t i = 0; i < ELEMENTSOF(scripts); i++) {
                _cleanup_(bytes_done) Bytes b = packed(scripts[i]);

                expect_good(&b, COSI_WINDOW_DEFAULT);
        }
}

static void test_window(void)
{
        _cleanup_(bytes_done) Bytes large = packed("zstd -q --long=22 --zstd=wlog=22 < raw > out.zst");
        _cleanup_(bytes_done) Bytes absurd = packed("zstd -q --ultra --long=31 < raw > out.zst");
        _cleanup_(bytes_done) Bytes single = packed("zstd -q -1 raw -o out.zst");
        CosiImage image = image_of(&large, RAW_SIZE);
        Out out = { 0 };
        Why why = { 0 };

        expect_good(&large, 22);
        assert(feed(&image, 21, &large, 128 * 1024, &out, &why) == -E2BIG);
        assert(streq(why.text, "images/x.zst: needs a zstd window of 2^22 bytes, at most 2^21 is allowed "
                               "(image.maxWindowLog)"));
        image = image_of(&absurd, RAW_SIZE);
        why = (Why){ 0 };
        assert(feed(&image, 31, &absurd, 1, &out, &why) ==
               -E2BIG); /* 30 is the most that anybody may allow */
        assert(streq(why.text, "images/x.zst: needs a zstd window of 2^31 bytes, at most 2^30 is allowed "
                               "(image.maxWindowLog)"));
        /* a frame of one segment: its window is its content */
        image = image_of(&single, RAW_SIZE);
        why = (Why){ 0 };
        assert(single.data[4] & 0x20 ? feed(&image, 21, &single, 1, &out, &why) == -E2BIG : true);
        assert(out.at == 0);
}

static void test_contradictions(void)
{
        _cleanup_(bytes_done) Bytes b = packed("zstd -q raw -o out.zst");
        CosiImage image;
        Bytes shorter = { b.data, b.size - 1 };

        image = image_of(&b, RAW_SIZE - 1);
        expect_bad(&image, 27, &b, "too-long");
        image = image_of(&b, 0);
        expect_bad(&image, 27, &b, "too-long");
        image = image_of(&b, RAW_SIZE + 1);
        expect_bad(&image, 27, &b, "too-short");
        image = image_of(&b, RAW_SIZE);
        image.sha384[0] ^= 1;
        expect_bad(&image, 27, &b, "member-digest");
        image = image_of(&b, RAW_SIZE);
        image.compressed_size--;
        expect_bad(&image, 27, &b, "member-size");
        image = image_of(&b, RAW_SIZE);
        image.compressed_size++;
        expect_bad(&image, 27, &b, "member-size");
        image = image_of(&shorter, RAW_SIZE);
        expect_bad(&image, 27, &shorter, "zstd"); /* cut off, and the digest agrees */
        image = image_of(&b, RAW_SIZE);
        image.has_sha384 = false;
        image.sha384[0] ^= 1;
        {
                Out out = { 0 };
                Why why = { 0 };

                assert(feed(&image, 27, &b, 1000, &out, &why) == 0);
        }
}

static int count_data(void *ctx, const void *data _unused_, size_t size, Why *why _unused_)
{
        *(uint64_t *) ctx += size;
        return 0;
}

static int count_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        *(uint64_t *) ctx += size;
        return 0;
}

/* A flipped byte anywhere is refused by the decoder or, at the latest, by the digest; and never makes it say more. */
static void test_broken_data(void)
{
        _cleanup_(bytes_done) Bytes b = packed("zstd -q raw -o out.zst");
        CosiImage image = image_of(&b, RAW_SIZE);

        for (size_t at = 0; at < b.size; at += at < 32 ? 1 : b.size / 50) {
                _cleanup_(frames_freep) Frames *f = NULL;
                uint64_t said = 0;
                const FetchSink count = { count_data, count_zero, &said };
                Why why = { 0 };
                int r;

                b.data[at] ^= 0x55;
                assert(frames_new(&image, 27, WHY_TRUST, &count, &f, &why) == 0);
                r = frames_feed(f, b.data, b.size, &why);
                if (r >= 0)
                        r = frames_finish(f, &why);
                assert(r < 0 && why.kind == WHY_TRUST && said <= RAW_SIZE);
                b.data[at] ^= 0x55;
        }
}

static void test_garbage_behind(void)
{
        _cleanup_(bytes_done) Bytes b = packed("zstd -q raw -o out.zst");
        CosiImage image;

        assert(bytes_append(&b, "behind it", 9) == 0);
        image = image_of(&b, RAW_SIZE);
        expect_bad(&image, 27, &b, "zstd");
        b.size -= 6; /* less than a magic number */
        image = image_of(&b, RAW_SIZE);
        expect_bad(&image, 27, &b, "zstd");
}

static int stop(void *ctx _unused_, const void *data _unused_, size_t size _unused_, Why *why)
{
        return fail(why, -ENOSPC, WHY_HOST, "full", "full");
}

static void test_sink_fails(void)
{
        _cleanup_(bytes_done) Bytes b = packed("zstd -q raw -o out.zst");
        _cleanup_(frames_freep) Frames *f = NULL;
        CosiImage image = image_of(&b, RAW_SIZE);
        Out out = { 0 };
        const FetchSink sink = { stop, take_zero, &out };
        Why why = { 0 };

        assert(frames_new(&image, 27, WHY_TRUST, &sink, &f, &why) == 0);
        assert(frames_feed(f, b.data, b.size, &why) == -ENOSPC && streq(why.code, "full"));
}

static void test_empty(void)
{
        const Bytes none = BYTES_NULL;
        CosiImage image = image_of(&none, 0);
        Out out = { 0 };
        Why why = { 0 };

        assert(feed(&image, 27, &none, 1, &out, &why) == 0 && out.at == 0);
        image.uncompressed_size = 1;
        assert(feed(&image, 27, &none, 1, &out, &why) < 0 && streq(why.code, "too-short"));
}

int main(void)
{
        _cleanup_(free_charp) char *path = NULL;
        int fd;

        if (access("/usr/bin/zstd", X_OK) < 0) {
                printf("skipped: needs zstd\n");
                return 77;
        }
        assert(mkdtemp(dir));
        make_raw();
        path = str_printf("%s/raw", dir);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert(fd >= 0 && fd_write_full(fd, raw, RAW_SIZE) == 0);
        (void) close(fd);
        test_real_zstd();
        test_window();
        test_contradictions();
        test_broken_data();
        test_garbage_behind();
        test_sink_fails();
        test_empty();
        run_sh("rm -rf \"$1\"", "");
        free(raw);
        return 0;
}
