/* SPDX-License-Identifier: MIT */

#include "fetch/reply.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

/* "HTTP/1.1 206 Partial Content" */
static int take_status(Reply *r, const char *line)
{
        size_t header_bytes = r->header_bytes;
        const char *p = strchr(line, ' ');
        unsigned status = 0;

        for (int i = 0; i < 3; i++) {
                if (!p || p[1 + i] < '0' || p[1 + i] > '9')
                        return -EBADMSG;
                status = status * 10 + (unsigned) (p[1 + i] - '0');
        }
        if (status < 100)
                return -EBADMSG;
        *r = (Reply){ .status = status, .header_bytes = header_bytes };
        return 0;
}

static const char *take_number(const char *p, uint64_t *ret)
{
        size_t n = strspn(p, "0123456789");
        char digits[21];

        if (n == 0 || n >= sizeof(digits))
                return NULL;
        memcpy(digits, p, n);
        digits[n] = 0;
        return parse_u64(digits, ret) < 0 ? NULL : p + n;
}

/* "bytes 100-199/1000", "bytes 100-199/" followed by a star, "bytes ", a star and "/1000" (with 416) */
static int take_range(Reply *r, const char *p)
{
        if (strncasecmp(p, "bytes ", 6) != 0 || r->has_range || r->has_total) /* said twice is contradicted */
                return -EBADMSG;
        p += 6;
        if (*p == '*') {
                p++;
        } else {
                p = take_number(p, &r->first);
                if (!p || *p != '-')
                        return -EBADMSG;
                p = take_number(p + 1, &r->last);
                if (!p || r->last < r->first || r->last == UINT64_MAX)
                        return -EBADMSG;
                r->has_range = true;
        }
        if (*p != '/')
                return -EBADMSG;
        if (streq(p + 1, "*"))
                return 0;
        p = take_number(p + 1, &r->total);
        if (!p || *p || (r->has_range && r->last >= r->total))
                return -EBADMSG;
        r->has_total = true;
        return 0;
}

static int take_length(Reply *r, const char *p)
{
        uint64_t length;

        if (parse_u64(p, &length) < 0 || (r->has_length && r->length != length))
                return -EBADMSG;
        r->length = length;
        r->has_length = true;
        return 0;
}

/* What does not fit is as good as absent: half a tag must not be compared. */
static void take_text(char *out, size_t size, const char *p)
{
        if (strlen(p) < size)
                (void) snprintf(out, size, "%s", p);
}

/* A list that may be said in several lines. */
static void take_more(char *out, size_t size, const char *p)
{
        size_t have = strlen(out), more = strlen(p);

        if (have + 2 + more < size)
                (void) snprintf(out + have, size - have, "%s%s", have > 0 ? ", " : "", p);
}

static int take_field(Reply *r, const char *name, const char *value)
{
        if (strcasecmp(name, "Content-Length") == 0)
                return take_length(r, value);
        if (strcasecmp(name, "Content-Range") == 0)
                return take_range(r, value);
        if (strcasecmp(name, "Content-Encoding") == 0)
                r->is_encoded = r->is_encoded || (*value && strcasecmp(value, "identity") != 0);
        else if (strcasecmp(name, "Accept-Ranges") == 0)
                r->accepts_ranges = strcasecmp(value, "bytes") == 0;
        else if (strcasecmp(name, "ETag") == 0)
                take_text(r->etag, sizeof(r->etag), value);
        else if (strcasecmp(name, "Last-Modified") == 0)
                take_text(r->modified, sizeof(r->modified), value);
        else if (strcasecmp(name, "Location") == 0)
                take_text(r->location, sizeof(r->location), value);
        else if (strcasecmp(name, "WWW-Authenticate") == 0)
                take_more(r->challenge, sizeof(r->challenge), value);
        else if (strcasecmp(name, "Link") == 0)
                take_more(r->link, sizeof(r->link), value);
        else if (strcasecmp(name, "Content-Type") == 0)
                take_text(r->type, sizeof(r->type), value);
        else if (strcasecmp(name, "Docker-Content-Digest") == 0)
                take_text(r->digest, sizeof(r->digest), value);
        else if (strcasecmp(name, "OCI-Subject") == 0)
                take_text(r->subject, sizeof(r->subject), value);
        return 0;
}

int reply_line(Reply *r, const char *line, size_t n)
{
        _cleanup_(free_charp) char *copy = NULL;
        char *colon;

        r->header_bytes += n;
        if (r->header_bytes > REPLY_HEADERS_MAX)
                return -EMSGSIZE;
        while (n > 0 && strchr(" \t\r\n", line[n - 1]))
                n--;
        if (n == 0) {
                r->complete = r->status >= 200;
                return 0;
        }
        if (memchr(line, 0, n))
                return -EBADMSG;
        copy = strndup(line, n);
        if (!copy)
                return -ENOMEM;
        if (r->complete) /* trailers behind a chunked body have nothing to say */
                return 0;
        if (str_starts(copy, "HTTP/"))
                return take_status(r, copy);
        colon = strchr(copy, ':');
        if (!colon)
                return 0;
        *colon++ = 0;
        return take_field(r, copy, colon + strspn(colon, " \t"));
}

bool reply_has_strong_etag(const Reply *r)
{
        return r->etag[0] == '"';
}

bool reply_same(const Reply *a, const Reply *b)
{
        if (a->etag[0] && b->etag[0] && !streq(a->etag, b->etag))
                return false;
        return !a->modified[0] || !b->modified[0] || streq(a->modified, b->modified);
}
