/* SPDX-License-Identifier: MIT */

#include "fetch/reply.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>

static int feed(Reply *r, const char *text)
{
        while (*text) {
                size_t n = strcspn(text, "\n") + 1;
                int k = reply_line(r, text, n);

                if (k < 0)
                        return k;
                text += n;
        }
        return 0;
}

static void test_ranges(void)
{
        static const struct {
                const char *value;
                bool good, has_range, has_total;
                uint64_t first, last, total;
        } table[] = {
                { "bytes 0-0/1", true, true, true, 0, 0, 1 },
                { "bytes 100-199/1000", true, true, true, 100, 199, 1000 },
                { "Bytes 100-199/*", true, true, false, 100, 199, 0 },
                { "bytes */0", true, false, true, 0, 0, 0 },
                { "bytes */*", true, false, false, 0, 0, 0 },
                { "bytes 200-199/1000", false, false, false, 0, 0, 0 },
                { "bytes 100-1000/1000", false, false, false, 0, 0, 0 },
                { "bytes 100-199/", false, false, false, 0, 0, 0 },
                { "bytes 100-199", false, false, false, 0, 0, 0 },
                { "bytes -5-9/10", false, false, false, 0, 0, 0 },
                { "bytes 1-2/3x", false, false, false, 0, 0, 0 },
                { "bytes 0-18446744073709551615/*", false, false, false, 0, 0, 0 },
                { "bytes 0-99999999999999999999/*", false, false, false, 0, 0, 0 },
                { "items 0-0/1", false, false, false, 0, 0, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(free_charp) char *text =
                        str_printf("HTTP/1.1 206 Partial\r\nContent-Range: %s\r\n\r\n", table[i].value);
                Reply r = { 0 };

                assert((feed(&r, text) == 0) == table[i].good);
                if (!table[i].good)
                        continue;
                assert(r.complete && r.status == 206 && r.has_range == table[i].has_range &&
                       r.has_total == table[i].has_total);
                assert(!r.has_range || (r.first == table[i].first && r.last == table[i].last));
                assert(!r.has_total || r.total == table[i].total);
        }
}

static void test_heads(void)
{
        Reply r = { 0 };

        /* an interim answer says nothing about the final one */
        assert(feed(&r, "HTTP/1.1 103 Early Hints\r\nETag: \"no\"\r\nContent-Length: 5\r\n\r\n") == 0 &&
               !r.complete);
        assert(feed(&r, "HTTP/1.1 200 OK\r\ncontent-length:7 \r\nETAG: \"a b\"\r\nAccept-Ranges: "
                        "bytes\r\nX\r\n\r\n") == 0);
        assert(r.complete && r.status == 200 && r.length == 7 && streq(r.etag, "\"a b\"") &&
               r.accepts_ranges && !r.is_encoded);
        assert(feed(&r, "ETag: \"trailer\"\r\n") == 0 && streq(r.etag, "\"a b\""));
        assert(feed(&r, "HTTP/1.1 500 no: trailer\r\n\r\n") == 0 && r.complete && r.status == 200);

        /* one of several encodings is one */
        r = (Reply){ 0 };
        assert(feed(&r, "HTTP/1.1 200\r\nContent-Encoding: gzip\r\nContent-Encoding: identity\r\n") == 0 &&
               r.is_encoded);

        r = (Reply){ 0 };
        assert(feed(&r, "HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Length: 5\r\n") == 0);
        assert(feed(&r, "Content-Length: 6\r\n") == -EBADMSG);
        r = (Reply){ 0 };
        assert(feed(&r, "HTTP/1.1 20 OK\r\n") == -EBADMSG);
        r = (Reply){ 0 };
        assert(feed(&r, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n") == -EBADMSG);
        r = (Reply){ 0 };
        assert(reply_line(&r, "A: \0b\r\n", 7) == -EBADMSG);
}

static void test_flood(void)
{
        Reply r = { 0 };
        char line[1000];
        int k = 0;

        memset(line, 'x', sizeof(line));
        assert(feed(&r, "HTTP/1.1 200 OK\r\n") == 0);
        for (int i = 0; i < 100 && k == 0; i++)
                k = reply_line(&r, line, sizeof(line));
        assert(k == -EMSGSIZE);
}

static void test_identity(void)
{
        static const struct {
                const char *a_etag, *a_modified, *b_etag, *b_modified;
                bool same;
        } table[] = {
                { "\"1\"", "mon", "\"1\"", "mon", true },
                { "\"1\"", "mon", "\"2\"", "mon", false },
                { "\"1\"", "mon", "\"1\"", "tue", false },
                { "\"1\"", "", "", "tue", true },
                { "", "", "", "", true },
                { "W/\"1\"", "", "W/\"2\"", "", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Reply a = { 0 }, b = { 0 };

                strcpy(a.etag, table[i].a_etag);
                strcpy(a.modified, table[i].a_modified);
                strcpy(b.etag, table[i].b_etag);
                strcpy(b.modified, table[i].b_modified);
                assert(reply_same(&a, &b) == table[i].same && reply_same(&b, &a) == table[i].same);
        }
        assert(reply_has_strong_etag(&(Reply){ .etag = "\"1\"" }));
        assert(!reply_has_strong_etag(&(Reply){ .etag = "W/\"1\"" }) &&
               !reply_has_strong_etag(&(Reply){ 0 }));
}

int main(void)
{
        test_ranges();
        test_heads();
        test_flood();
        test_identity();
        return 0;
}
