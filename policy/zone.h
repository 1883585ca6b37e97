/* SPDX-License-Identifier: MIT */
#pragma once

/* What a clock on the wall shows: a time zone from the bytes of a TZif file (RFC 9636), version 2 or later, with the rule of
 * its footer for the times behind its table. Pure; used inside this room only. libc's own reader goes by the environment and
 * by global state, and reads the running machine's files, never those of a host made of files. */

#include "policy/policy.h"

/* 9999-12-31: nothing of ours is later, and no calendar is reckoned beyond it. */
#define ZONE_TIME_MAX 253402300799

PolicyZone *policy_zone_free(PolicyZone *zone);
void policy_zone_freep(PolicyZone **zone);
int policy_zone_utc(const char *name, PolicyZone **ret);
/* -EINVAL and a sentence for what is not a zone that this code can tell the time by. Fuzzed. */
int policy_zone_parse(const void *data, size_t size, const char *name, PolicyZone **ret, Why *why);

/* Seconds that a clock is ahead of UTC at t; *ret_until: the first later instant at which that may change, UINT64_MAX
 * when it never does. */
int64_t policy_zone_offset(const PolicyZone *zone, uint64_t t, uint64_t *ret_until);
const char *policy_zone_name(const PolicyZone *zone);

/* --- the footer: a POSIX TZ string without a file behind it --- */

typedef struct ZoneDate {
        enum {
                ZONE_JULIAN,  /* Jn: 1 to 365, 29 February is not counted */
                ZONE_DAY,     /* n: 0 to 365, it is */
                ZONE_WEEKDAY, /* Mm.w.d */
        } kind;
        int month, week, day;
        int64_t time_sec; /* local; -167 to 167 hours */
} ZoneDate;

typedef struct ZoneRule {
        bool has_dst;
        int64_t std, dst; /* seconds ahead of UTC */
        ZoneDate start, end;
} ZoneRule;

/* All n bytes or -EINVAL. */
int zone_rule_parse(const char *s, size_t n, ZoneRule *ret);
int64_t zone_rule_offset(const ZoneRule *rule, int64_t t, int64_t *ret_until /* INT64_MAX never */);
