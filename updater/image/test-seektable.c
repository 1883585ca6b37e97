/* SPDX-License-Identifier: MIT */

#undef NDEBUG
#include "image/seektable.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>

/* two frames, 10 and 20 bytes of 4096 and 100 raw ones, as the specification writes them */
static const char plain[] = "5e2a4d18"
                            "19000000"
                            "0a000000"
                            "00100000"
                            "14000000"
                            "64000000"
                            "02000000"
                            "00"
                            "b1ea928f";

static void decode(const char *hex, Bytes *ret)
{
        ret->size = strlen(hex) / 2;
        ret->data = malloc(ret->size + 1);
        assert(ret->data && hex_decode(hex, ret->data, ret->size) == 0);
}

static void test_format(void)
{
        _cleanup_(seektable_done) SeekTable t = { 0 };
        _cleanup_(bytes_done) Bytes frame = BYTES_NULL, expect = BYTES_NULL, sums = BYTES_NULL;

        assert(seektable_add(&t, 10, 4096, 7) == 0 && seektable_add(&t, 20, 100, 9) == 0);
        assert(t.compressed == 30 && t.raw == 4196);
        decode(plain, &expect);
        assert(seektable_format(&t, &frame) == 0);
        assert(frame.size == expect.size && memcmp(frame.data, expect.data, frame.size) == 0);
        t.checksums = true;
        assert(seektable_format(&t, &sums) == 0 && sums.size == frame.size + 8);
        assert(sums.data[sums.size - 5] == 0x80);
}

static void test_parse(void)
{
        static const struct {
                const char *hex;
                uint64_t before; /* bytes of frames in front */
                int r;
        } cases[] = {
                { plain, 30, 0 },
                { plain, 31, -EBADMSG }, /* a byte that belongs to no frame */
                { "5e2a4d18"
                  "09000000"
                  "00000000"
                  "00"
                  "b1ea928f",
                  0, 0 }, /* an empty file has a table too */
                { "5e2a4d18"
                  "09000000"
                  "00000000"
                  "04"
                  "b1ea928f",
                  0, -EBADMSG }, /* reserved bit */
                { "5e2a4d18"
                  "09000000"
                  "00000000"
                  "03"
                  "b1ea928f",
                  0, 0 }, /* unused bits may be anything */
                { "5d2a4d18"
                  "09000000"
                  "00000000"
                  "00"
                  "b1ea928f",
                  0, -EBADMSG }, /* another skippable magic */
                { "5e2a4d18"
                  "0a000000"
                  "00000000"
                  "00"
                  "b1ea928f",
                  0, -EBADMSG }, /* wrong length */
                { "5e2a4d18"
                  "09000000"
                  "01000000"
                  "00"
                  "b1ea928f",
                  0, -EBADMSG }, /* one frame, no entry */
                { "5e2a4d18"
                  "09000000"
                  "010000080"
                  "0"
                  "b1ea928f",
                  0, -EBADMSG }, /* too many frames */
                { "5e2a4d18"
                  "11000000"
                  "00000000"
                  "01000000"
                  "01000000"
                  "00"
                  "b1ea928f",
                  0, -EBADMSG }, /* from nothing */
                { "5e2a4d18"
                  "11000000"
                  "01000000"
                  "01000040"
                  "01000000"
                  "00"
                  "b1ea928f",
                  1, -EBADMSG }, /* over 1 GiB */
                { "00000000"
                  "00"
                  "b1ea928f",
                  0, -EBADMSG }, /* only a footer */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(seektable_done) SeekTable t = { 0 };
                _cleanup_(bytes_done) Bytes frame = BYTES_NULL;
                Why why = { 0 };

                decode(cases[i].hex, &frame);
                assert(seektable_parse(frame.data, frame.size, frame.size + cases[i].before, &t, &why) ==
                       cases[i].r);
                assert(cases[i].r == 0 || why.kind == WHY_IMAGE);
        }
}

int main(void)
{
        test_format();
        test_parse();
        return 0;
}
