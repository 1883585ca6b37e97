/* SPDX-License-Identifier: MIT */

#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

bool str_starts(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && strcmp(s + n - m, suffix) == 0;
}

bool str_ends_fold(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && str_fold_cmp(s + n - m, suffix) == 0;
}

static int fold(int c)
{
        return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

int str_fold_cmp(const char *a, const char *b)
{
        for (;; a++, b++) {
                int d = fold((unsigned char) *a) - fold((unsigned char) *b);
                if (d != 0 || !*a)
                        return d;
        }
}

void hex_encode(const uint8_t *data, size_t n, char *out)
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < n; i++) {
                out[2 * i] = digits[data[i] >> 4];
                out[2 * i + 1] = digits[data[i] & 15];
        }
        out[2 * n] = 0;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char) fold((unsigned char) c);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -EINVAL;
}

int hex_decode(const char *s, uint8_t *out, size_t n)
{
        if (strlen(s) != 2 * n)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);
                if (hi < 0 || lo < 0)
                        return -EINVAL;
                out[i] = (uint8_t) (hi << 4 | lo);
        }
        return 0;
}

int hex_normalize(const char *s, size_t digits, char *out)
{
        if (strlen(s) != digits)
                return -EINVAL;
        for (size_t i = 0; i < digits; i++)
                if (hex_value(s[i]) < 0)
                        return -EINVAL;
        for (size_t i = 0; i < digits; i++)
                out[i] = (char) fold((unsigned char) s[i]);
        out[digits] = 0;
        return 0;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_encode(const void *data, size_t n, char **ret)
{
        const uint8_t *p = data;
        char *out = malloc((n + 2) / 3 * 4 + 1), *o = out;

        if (!out)
                return -ENOMEM;
        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = (uint32_t) p[i] << 16 | (i + 1 < n ? (uint32_t) p[i + 1] << 8 : 0) |
                             (i + 2 < n ? p[i + 2] : 0);
                *o++ = base64_alphabet[v >> 18];
                *o++ = base64_alphabet[v >> 12 & 63];
                *o++ = i + 1 < n ? base64_alphabet[v >> 6 & 63] : '=';
                *o++ = i + 2 < n ? base64_alphabet[v & 63] : '=';
        }
        *o = 0;
        *ret = out;
        return 0;
}

static int base64_value(char c)
{
        const char *p = c ? strchr(base64_alphabet, c) : NULL;

        return p ? (int) (p - base64_alphabet) : -EINVAL;
}

int base64_decode(const char *s, size_t len, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        size_t pad = 0;

        if (len % 4 != 0)
                return -EINVAL;
        if (len > 0 && s[len - 1] == '=')
                pad = s[len - 2] == '=' ? 2 : 1;
        b.data = malloc(len / 4 * 3 + 1);
        if (!b.data)
                return -ENOMEM;
        for (size_t i = 0; i < len; i += 4) {
                size_t out = i + 4 == len ? 3 - pad : 3;
                uint32_t v = 0;

                for (size_t j = 0; j < 4; j++) {
                        int d = j > out ? 0 : base64_value(s[i + j]);
                        if (d < 0)
                                return -EINVAL;
                        v = v << 6 | (uint32_t) d;
                }
                /* Bits that no byte carries must be zero, or one value would have several spellings. */
                if ((out == 1 && (v & 0xffff)) || (out == 2 && (v & 0xff)))
                        return -EINVAL;
                for (size_t j = 0; j < out; j++)
                        b.data[b.size++] = (uint8_t) (v >> (16 - 8 * j));
        }
        b.data[b.size] = 0;
        *ret = b;
        b = BYTES_NULL;
        return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
        uint64_t v = 0;

        if (!*s)
                return -EINVAL;
        for (; *s; s++) {
                if (*s < '0' || *s > '9')
                        return -EINVAL;
                if (__builtin_mul_overflow(v, (uint64_t) 10, &v) ||
                    __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return -ERANGE;
        }
        *ret = v;
        return 0;
}

int parse_unsigned(const char *s, unsigned *ret)
{
        uint64_t v;
        int r = parse_u64(s, &v);

        if (r < 0)
                return r;
        if (v > UINT32_MAX)
                return -ERANGE;
        *ret = (unsigned) v;
        return 0;
}

int parse_duration(const char *s, uint64_t *ret_sec)
{
        static const struct {
                char unit;
                uint64_t sec;
        } units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };
        uint64_t total = 0;
        size_t next = 0; /* units go from large to small, each once */

        if (parse_u64(s, ret_sec) >= 0)
                return 0;
        if (!*s)
                return -EINVAL;
        while (*s) {
                uint64_t v = 0;
                size_t digits = 0;

                for (; *s >= '0' && *s <= '9'; s++, digits++)
                        if (__builtin_mul_overflow(v, (uint64_t) 10, &v) ||
                            __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                                return -ERANGE;
                if (digits == 0)
                        return -EINVAL;
                while (next < ELEMENTSOF(units) && units[next].unit != *s)
                        next++;
                if (next == ELEMENTSOF(units))
                        return -EINVAL;
                if (__builtin_mul_overflow(v, units[next].sec, &v) ||
                    __builtin_add_overflow(total, v, &total))
                        return -ERANGE;
                next++;
                s++;
        }
        *ret_sec = total;
        return 0;
}

static int two_digits(const char *s, int max, int *ret)
{
        if (!isdigit((unsigned char) s[0]) || !isdigit((unsigned char) s[1]))
                return -EINVAL;
        *ret = (s[0] - '0') * 10 + (s[1] - '0');
        return *ret > max ? -EINVAL : 0;
}

int parse_time(const char *s, uint64_t *ret_sec)
{
        int century, year, mon, day, hour, min, sec, oh = 0, om = 0, sign = 0;
        struct tm tm = { 0 };
        const char *p;
        int64_t t;

        /* "2026-11-04T06:00:00Z", "2026-11-04T06:00:00.123+01:00"; 't' and 'z' are legal in RFC 3339 */
        if (strlen(s) < 20)
                return -EINVAL;
        if (two_digits(s, 99, &century) < 0 || two_digits(s + 2, 99, &year) < 0 || s[4] != '-' ||
            two_digits(s + 5, 12, &mon) < 0 || s[7] != '-' || two_digits(s + 8, 31, &day) < 0 ||
            fold((unsigned char) s[10]) != 't' || two_digits(s + 11, 23, &hour) < 0 || s[13] != ':' ||
            two_digits(s + 14, 59, &min) < 0 || s[16] != ':' || two_digits(s + 17, 60, &sec) < 0)
                return -EINVAL;
        if (mon < 1 || day < 1)
                return -EINVAL;
        p = s + 19;
        if (*p == '.') {
                p++;
                if (!isdigit((unsigned char) *p))
                        return -EINVAL;
                while (isdigit((unsigned char) *p))
                        p++;
        }
        if (fold((unsigned char) *p) == 'z')
                p++;
        else if (*p == '+' || *p == '-') {
                sign = *p == '+' ? 1 : -1;
                if (two_digits(p + 1, 23, &oh) < 0 || p[3] != ':' || two_digits(p + 4, 59, &om) < 0)
                        return -EINVAL;
                p += 6;
        } else
                return -EINVAL;
        if (*p)
                return -EINVAL;
        tm.tm_year = century * 100 + year - 1900;
        tm.tm_mon = mon - 1;
        tm.tm_mday = day;
        tm.tm_hour = hour;
        tm.tm_min = min;
        tm.tm_sec = sec;
        t = timegm(&tm);
        /* timegm() normalises 31 February; a date that moved was none */
        if (tm.tm_mon != mon - 1 || tm.tm_mday != day + (sec == 60 && tm.tm_mday != day ? 1 : 0))
                return -EINVAL;
        t -= sign * (oh * 3600 + om * 60);
        if (t < 0)
                return -EINVAL;
        *ret_sec = (uint64_t) t;
        return 0;
}

void format_time(uint64_t sec, char out[TIME_TEXT_SIZE])
{
        time_t t = (time_t) MIN(sec, UINT64_C(253402300799)); /* 9999-12-31T23:59:59Z */
        struct tm tm;

        (void) gmtime_r(&t, &tm);
        (void) strftime(out, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void format_size(uint64_t bytes, char out[SIZE_TEXT_SIZE])
{
        static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
        double v = (double) bytes;
        size_t u = 0;

        while (v >= 1000.0 && u + 1 < ELEMENTSOF(units)) {
                v /= 1000.0;
                u++;
        }
        (void) snprintf(out, SIZE_TEXT_SIZE, u == 0 || v >= 100.0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void format_duration(uint64_t sec, char out[DURATION_TEXT_SIZE])
{
        static const struct {
                uint64_t sec;
                char unit;
        } units[] = { { 24 * 60 * 60, 'd' }, { 60 * 60, 'h' }, { 60, 'm' }, { 1, 's' } };
        int n = 0;

        if (sec == 0)
                n = snprintf(out, DURATION_TEXT_SIZE, "0s");
        for (size_t i = 0; i < ELEMENTSOF(units) && n < DURATION_TEXT_SIZE; i++) {
                if (sec >= units[i].sec)
                        n += snprintf(out + n, (size_t) (DURATION_TEXT_SIZE - n), "%llu%c",
                                      (unsigned long long) (sec / units[i].sec), units[i].unit);
                sec %= units[i].sec;
        }
}

int uuid_parse_text(const char *s, uint8_t out[16])
{
        char digits[33];
        size_t n = 0;

        if (strlen(s) != 36)
                return -EINVAL;
        for (size_t i = 0; i < 36; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                if (dash != (s[i] == '-'))
                        return -EINVAL;
                if (!dash)
                        digits[n++] = s[i];
        }
        digits[32] = 0;
        return hex_decode(digits, out, 16);
}

void uuid_format_text(const uint8_t in[16], char out[37])
{
        char hex[33];

        hex_encode(in, 16, hex);
        (void) snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

char *str_printf(const char *fmt, ...)
{
        char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&s, fmt, ap);
        va_end(ap);
        return n < 0 ? NULL : s;
}

void str_addn(Str *s, const char *text, size_t n)
{
        char *p;

        if (s->failed)
                return;
        p = realloc(s->text, s->size + n + 1);
        if (!p) {
                s->failed = true;
                return;
        }
        memcpy(p + s->size, text, n);
        s->size += n;
        p[s->size] = 0;
        s->text = p;
}

void str_add(Str *s, const char *text)
{
        str_addn(s, text, strlen(text));
}

void str_addf(Str *s, const char *fmt, ...)
{
        _cleanup_(free_charp) char *text = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                s->failed = true;
                return;
        }
        str_addn(s, text, (size_t) n);
}

char *str_take(Str *s)
{
        char *text;

        if (!s->text && !s->failed)
                str_addn(s, "", 0);
        if (s->failed) {
                str_done(s);
                return NULL;
        }
        text = s->text;
        *s = STR_NULL;
        return text;
}

void str_done(Str *s)
{
        free(s->text);
        *s = STR_NULL;
}

char **strv_free(char **v)
{
        if (!v)
                return NULL;
        for (char **p = v; *p; p++)
                free(*p);
        free(v);
        return NULL;
}

void strv_freep(char ***v)
{
        *v = strv_free(*v);
}

size_t strv_len(char *const *v)
{
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

int strv_add(char ***v, const char *s)
{
        size_t n = strv_len(*v);
        char *copy = strdup(s);
        char **w;

        if (!copy)
                return -ENOMEM;
        w = reallocarray(*v, n + 2, sizeof(char *));
        if (!w) {
                free(copy);
                return -ENOMEM;
        }
        w[n] = copy;
        w[n + 1] = NULL;
        *v = w;
        return 0;
}

bool strv_has(char *const *v, const char *s)
{
        for (; v && *v; v++)
                if (streq(*v, s))
                        return true;
        return false;
}

int strv_split_words(const char *s, char ***ret)
{
        _cleanup_(strv_freep) char **words = NULL;
        _cleanup_(free_charp) char *word = malloc(strlen(s) + 1);
        int r;

        if (!word)
                return -ENOMEM;
        for (;;) {
                bool quoted = false;
                size_t n = 0;

                while (*s && strchr(" \t\r\n", *s))
                        s++;
                if (!*s)
                        break;
                for (; *s && (quoted || !strchr(" \t\r\n", *s)); s++) {
                        if (*s == '"')
                                quoted = !quoted;
                        else
                                word[n++] = *s;
                }
                word[n] = 0;
                r = strv_add(&words, word);
                if (r < 0)
                        return r;
        }
        if (!words) {
                words = calloc(1, sizeof(char *));
                if (!words)
                        return -ENOMEM;
        }
        *ret = TAKE(words);
        return 0;
}
