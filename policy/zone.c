/* SPDX-License-Identifier: MIT */

/* A TZif file: a header and a block with 32-bit times, which nobody reads any more, then both again with 64-bit times, then
 * a line with the rule that goes on behind the table. All numbers are big-endian. */

#include "policy/zone.h"

#include <errno.h>

#define HEADER_SIZE 44u
#define TIMES_MAX   2000u /* TZ_MAX_TIMES of the reference code; a fat file has some 240 */
#define TYPES_MAX   256u  /* an index is one byte */
#define CHARS_MAX   2048u
#define FOOTER_MAX  128u
/* RFC 9636 3.2: no zone is further away from UTC */
#define OFFSET_MIN (-25 * 3600 + 1)
#define OFFSET_MAX (26 * 3600 - 1)

struct PolicyZone {
        char *name;
        int64_t *times;   /* ascending */
        int64_t *offsets; /* from times[i] on */
        size_t n_times;
        int64_t before; /* offset before the first of them */
        bool has_rule;  /* from the last of them on */
        ZoneRule rule;
};

typedef struct Counts {
        uint32_t isut, isstd, leap, time, type, chars;
} Counts;

typedef struct Reader {
        const uint8_t *p;
        size_t left;
} Reader;

PolicyZone *policy_zone_free(PolicyZone *z)
{
        if (!z)
                return NULL;
        free(z->name);
        free(z->times);
        free(z->offsets);
        free(z);
        return NULL;
}

void policy_zone_freep(PolicyZone **z)
{
        *z = policy_zone_free(*z);
}

const char *policy_zone_name(const PolicyZone *z)
{
        return z->name;
}

static PolicyZone *zone_new(const char *name, size_t n_times)
{
        PolicyZone *z = calloc(1, sizeof(*z));

        if (!z)
                return NULL;
        z->name = strdup(name);
        z->times = calloc(n_times + 1, sizeof(*z->times));
        z->offsets = calloc(n_times + 1, sizeof(*z->offsets));
        return z->name && z->times && z->offsets ? z : policy_zone_free(z);
}

int policy_zone_utc(const char *name, PolicyZone **ret)
{
        *ret = zone_new(name, 0);
        return *ret ? 0 : -ENOMEM;
}

/* --- bytes --- */

static const uint8_t *take(Reader *r, size_t n)
{
        const uint8_t *p = r->p;

        if (n > r->left)
                return NULL;
        r->p += n;
        r->left -= n;
        return p;
}

static uint64_t be(const uint8_t *p, unsigned n)
{
        uint64_t v = 0;

        for (unsigned i = 0; i < n; i++)
                v = v << 8 | p[i];
        return v;
}

static const char *read_header(Reader *r, Counts *ret)
{
        const uint8_t *p = take(r, HEADER_SIZE);

        if (!p || memcmp(p, "TZif", 4) != 0)
                return "it is not a time zone file";
        if (p[4] < '2' || p[4] > '9')
                return "a time zone file of version 1 knows no time after 2037";
        *ret = (Counts){
                .isut = (uint32_t) be(p + 20, 4),
                .isstd = (uint32_t) be(p + 24, 4),
                .leap = (uint32_t) be(p + 28, 4),
                .time = (uint32_t) be(p + 32, 4),
                .type = (uint32_t) be(p + 36, 4),
                .chars = (uint32_t) be(p + 40, 4),
        };
        if (ret->time > TIMES_MAX || ret->type == 0 || ret->type > TYPES_MAX || ret->chars > CHARS_MAX ||
            ret->isut > ret->type || ret->isstd > ret->type || ret->leap > TIMES_MAX)
                return "its counts are out of range";
        return NULL;
}

static const char *read_types(Reader *r, const Counts *c, int64_t offsets[TYPES_MAX])
{
        for (uint32_t i = 0; i < c->type; i++) {
                const uint8_t *p = take(r, 6);

                if (!p)
                        return "it is cut off";
                offsets[i] = (int32_t) (uint32_t) be(p, 4);
                if (offsets[i] < OFFSET_MIN || offsets[i] > OFFSET_MAX)
                        return "an offset from UTC is out of range";
        }
        return NULL;
}

static const char *read_table(Reader *r, const Counts *c, PolicyZone *z)
{
        const uint8_t *times = take(r, c->time * 8u), *indices = times ? take(r, c->time) : NULL;
        int64_t offsets[TYPES_MAX];
        const char *problem;

        if (!indices)
                return "it is cut off";
        problem = read_types(r, c, offsets);
        if (problem)
                return problem;
        for (uint32_t i = 0; i < c->time; i++) {
                int64_t t = (int64_t) be(times + i * 8u, 8);

                if (indices[i] >= c->type)
                        return "it names a type that it does not have";
                if (i > 0 && t <= z->times[i - 1])
                        return "its times are not in order";
                z->times[i] = t;
                z->offsets[i] = offsets[indices[i]];
        }
        z->n_times = c->time;
        z->before = offsets[0];
        return take(r, c->chars + c->isstd + c->isut) ? NULL : "it is cut off";
}

static const char *read_footer(Reader *r, PolicyZone *z)
{
        const uint8_t *end = r->left > 0 ? memchr(r->p + 1, '\n', r->left - 1) : NULL;
        size_t n;

        if (!end || *r->p != '\n')
                return "its footer is missing";
        n = (size_t) (end - r->p) - 1;
        if (n == 0)
                return NULL; /* what the table says last stays */
        if (n > FOOTER_MAX || zone_rule_parse((const char *) r->p + 1, n, &z->rule) < 0)
                return "its footer is not a rule";
        z->has_rule = true;
        return NULL;
}

int policy_zone_parse(const void *data, size_t size, const char *name, PolicyZone **ret, Why *why)
{
        _cleanup_(policy_zone_freep) PolicyZone *z = NULL;
        Reader r = { data, size };
        const char *problem;
        Counts c;

        problem = read_header(&r, &c);
        if (!problem && !take(&r, (size_t) c.time * 5 + c.type * 6 + c.chars + c.leap * 8 + c.isstd + c.isut))
                problem = "it is cut off";
        if (!problem)
                problem = read_header(&r, &c);
        if (!problem && c.leap > 0)
                problem = "it counts leap seconds, which this machine's clock does not";
        if (!problem) {
                z = zone_new(name, c.time);
                if (!z)
                        return -ENOMEM;
                problem = read_table(&r, &c, z);
        }
        if (!problem)
                problem = read_footer(&r, z);
        if (problem)
                return fail(why, -EINVAL, WHY_USAGE, "bad-policy", "policy: timezone \"%s\": %s", name,
                            problem);
        *ret = TAKE(z);
        return 0;
}

int64_t policy_zone_offset(const PolicyZone *z, uint64_t t, uint64_t *ret_until)
{
        int64_t at = t > ZONE_TIME_MAX ? ZONE_TIME_MAX : (int64_t) t, until = INT64_MAX, offset;
        size_t low = 0, high = z->n_times; /* the last transition that is not after t is low - 1 */

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (z->times[middle] <= at)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low == z->n_times && z->has_rule)
                offset = zone_rule_offset(&z->rule, at, &until);
        else {
                offset = low > 0 ? z->offsets[low - 1] : z->before;
                if (low < z->n_times)
                        until = z->times[low];
        }
        *ret_until = until > ZONE_TIME_MAX ? UINT64_MAX : (uint64_t) until;
        return offset;
}
