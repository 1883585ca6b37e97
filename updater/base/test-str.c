/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"

#include <assert.h>

static void test_base64(void)
{
        static const struct {
                const char *plain, *text;
        } good[] = {
                { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }
        };
        static const char *const bad[] = { "Zg",   "Zg=",    "Zh==", "Zm9=",     "Z===",
                                           "====", "Zm9v\n", " Zg=", "Zg==Zg==", "Zm-v" };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                _cleanup_(free_charp) char *t = NULL;
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;

                assert(base64_encode(good[i].plain, strlen(good[i].plain), &t) >= 0 &&
                       streq(t, good[i].text));
                assert(base64_decode(t, strlen(t), &b) >= 0 && b.size == strlen(good[i].plain));
                assert(memcmp(b.data, good[i].plain, b.size) == 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(bytes_done) Bytes b = BYTES_NULL;
                assert(base64_decode(bad[i], strlen(bad[i]), &b) < 0);
        }
}

static void test_times(void)
{
        static const struct {
                const char *text;
                int64_t sec; /* -1: refused */
        } cases[] = {
                { "1970-01-01T00:00:00Z", 0 },
                { "2026-11-04T06:00:00Z", 1793772000 },
                { "2026-11-04T06:00:00.123456789Z", 1793772000 },
                { "2026-11-04T07:00:00+01:00", 1793772000 },
                { "2026-11-04t06:00:00z", 1793772000 },
                { "2024-02-29T00:00:00Z", 1709164800 },
                { "2026-02-29T00:00:00Z", -1 }, /* no leap year */
                { "2026-11-31T00:00:00Z", -1 },
                { "2026-11-04T06:00:00", -1 }, /* no zone */
                { "2026-11-04 06:00:00Z", -1 },
                { "2026-13-04T06:00:00Z", -1 },
                { "2026-11-04T24:00:00Z", -1 },
                { "2026-11-04T06:00:00Zx", -1 },
                { "1969-12-31T23:59:59Z", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t v = 0;
                int r = parse_time(cases[i].text, &v);
                assert(cases[i].sec < 0 ? r < 0 : r >= 0 && v == (uint64_t) cases[i].sec);
        }
        for (uint64_t t = 0; t < UINT64_C(4102444800); t += 86399 * 7) {
                char text[TIME_TEXT_SIZE];
                uint64_t back;
                format_time(t, text);
                assert(parse_time(text, &back) >= 0 && back == t);
        }
}

static void test_durations(void)
{
        static const struct {
                const char *text;
                int64_t sec;
        } cases[] = { { "90", 90 },     { "90s", 90 },
                      { "5m", 300 },    { "1h30m", 5400 },
                      { "2d", 172800 }, { "0", 0 },
                      { "", -1 },       { "m", -1 },
                      { "5x", -1 },     { "30m1h", -1 },
                      { "1h1h", -1 },   { "-5", -1 },
                      { "5m3", -1 },    { "99999999999999999999d", -1 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t v = 0;
                int r = parse_duration(cases[i].text, &v);
                assert(cases[i].sec < 0 ? r < 0 : r >= 0 && v == (uint64_t) cases[i].sec);
        }
}

static void test_durations_written(void)
{
        static const struct {
                uint64_t sec;
                const char *text;
        } cases[] = { { 0, "0s" },         { 59, "59s" },          { 60, "1m" },
                      { 90, "1m30s" },     { 3600, "1h" },         { 86400 + 61, "1d1m1s" },
                      { 5405, "1h30m5s" }, { 86399, "23h59m59s" }, { UINT64_MAX, "213503982334601d7h15s" } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[DURATION_TEXT_SIZE];
                uint64_t back;

                format_duration(cases[i].sec, text);
                assert(streq(text, cases[i].text));
                assert(parse_duration(text, &back) >= 0 && back == cases[i].sec);
        }
}

static void test_words(void)
{
        _cleanup_(strv_freep) char **v = NULL;

        assert(strv_split_words("  a=1 b=\"x y\"\tc\n", &v) >= 0);
        assert(strv_len(v) == 3 && streq(v[1], "b=x y") && streq(v[2], "c"));
}

int main(void)
{
        uint8_t u[16];
        char text[37];

        test_base64();
        test_times();
        test_durations();
        test_durations_written();
        test_words();
        assert(uuid_parse_text("7130C94A-213a-4e5a-8e26-6cce9662f132", u) >= 0);
        uuid_format_text(u, text);
        assert(streq(text, "7130c94a-213a-4e5a-8e26-6cce9662f132"));
        assert(uuid_parse_text("7130c94a213a-4e5a-8e26-6cce9662f1320", u) < 0);
        return 0;
}
