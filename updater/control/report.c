/* SPDX-License-Identifier: MIT */

#include "control/report.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define DAY_SEC     86400u /* what has no name of its own is told once a day, however often it is tried */
#define MESSAGE_MAX 1024u  /* the sentence; what a check printed stays on the host */

/* An empty column matches everything; the first match counts. */
static const struct {
        const char *event, *reason, *outcome; /* of history */
        const char *name;
        bool progress;
        bool once; /* in an update: recorded twice, it is the same */
} rows[] = {
        { "staged", NULL, NULL, "staged", true, false },
        { "finalized", NULL, NULL, "finalized", true, false },
        { "committed", NULL, "rolled-back", "rolled-back", false,
          true }, /* a rollback that somebody asked for */
        { "committed", NULL, NULL, "committed", false, true },
        { "health-failed", NULL, NULL, "rejected", false, true },
        { "finalize-refused", NULL, NULL, "rejected", false, true },
        { "stage-failed", NULL, "rejected", "rejected", false, true },
        { "refused", NULL, NULL, "rejected", false, true }, /* before anything was written: not in history */
        { "recovered", NULL, "rolled-back", "rolled-back", false, true },
        { "recovered", NULL, "rejected", "rejected", false, true },
        { "recovered", "target-booted", NULL, "recovered", true, false },
        { "recovered", NULL, NULL, "recovered", false, false },
};

void report_done(Report *r)
{
        json_unref(r->document);
        *r = (Report){ 0 };
}

static size_t find_row(const Json *event)
{
        const char *name = json_get_str(event, "event"), *reason = json_get_str(event, "reason"),
                   *outcome = json_get_str(event, "outcome");
        size_t i = 0;

        while (i < ELEMENTSOF(rows) &&
               !(streq0(rows[i].event, name) && (!rows[i].reason || streq0(rows[i].reason, reason)) &&
                 (!rows[i].outcome || streq0(rows[i].outcome, outcome))))
                i++;
        return i;
}

/* Whoever gets the same id twice knows that it is the same: made of what happened, not of when it was written down. What may
 * happen to one update several times has its time in it. */
static int make_id(const Json *event, const ReportHost *host, const char *name, bool once, uint64_t now,
                   char ret[REPORT_ID_SIZE])
{
        const char *parts[] = { host->id, json_get_str(event, "updateId"), json_get_str(event, "release"),
                                name,     json_get_str(event, "reason"),   json_get_str(event, "code") };
        bool is_refusal = streq(json_get_str(event, "event"), "refused");
        uint64_t moment = once && (parts[1] || parts[2]) ? 0 : is_refusal ? now / DAY_SEC : now;
        _cleanup_(free_charp) char *text = NULL;
        uint8_t digest[SHA256_SIZE];
        Str s = STR_NULL;
        int r;

        str_add(&s, "gybe.report/1\n");
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                str_addf(&s, "%s\n", parts[i] ? parts[i] : "");
        str_addf(&s, "%" PRIu64 "\n", moment);
        text = str_take(&s);
        r = text ? sha256(text, strlen(text), digest) : -ENOMEM;
        if (r < 0)
                return r;
        digest[6] = (uint8_t) ((digest[6] & 0x0f) | 0x80); /* RFC 9562: version 8, of our own making */
        digest[8] = (uint8_t) ((digest[8] & 0x3f) | 0x80);
        uuid_format_text(digest, ret);
        return 0;
}

/* Short facts only; what is not known is left out. */
static void copy_facts(Json *to, const Json *event)
{
        static const char *const texts[] = { "updateId", "version", "slot",    "roothash", "ukiSha256",
                                             "running",  "reason",  "outcome", "code",     "entry",
                                             "from",     "to",      "by",      "how",      "release" };
        static const char *const numbers[] = { "serial", "attempt" };
        uint64_t n;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                const char *s = json_get_str(event, texts[i]);

                if (s && strlen(s) <= MESSAGE_MAX)
                        json_set_str(to, texts[i], s);
        }
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (json_get_u64(event, numbers[i], &n) > 0)
                        json_set_u64(to, numbers[i], n);
}

/* Cut where no character ends up in halves. */
static void set_message(Json *to, const char *message)
{
        char text[MESSAGE_MAX + 1];
        size_t n;

        if (!message)
                return;
        n = strnlen(message, MESSAGE_MAX);
        if (message[n])
                while (n > 0 && ((unsigned char) message[n] & 0xc0) == 0x80)
                        n--;
        memcpy(text, message, n);
        text[n] = 0;
        json_set_str(to, "message", text);
}

int report_make(const Json *event, const ReportHost *host, uint64_t now, Report *ret)
{
        _cleanup_(report_done) Report r = { 0 };
        size_t i = find_row(event);
        bool quarantined = false;
        Json *who;
        int k;

        if (i == ELEMENTSOF(rows))
                return 0;
        k = make_id(event, host, rows[i].name, rows[i].once, now, r.id);
        if (k < 0)
                return k;
        r.progress = rows[i].progress;
        r.document = json_new_object();
        json_set_str(r.document, "event", rows[i].name);
        json_set_time(r.document, "at", now);
        who = json_sub(r.document, "host");
        json_set_str(who, "id", host->id);
        json_set_str(who, "name", host->name);
        json_set_str(who, "product", host->product);
        json_set_str(who, "channel", host->channel);
        copy_facts(r.document, event);
        set_message(r.document, json_get_str(event, "message"));
        if (json_get_bool(event, "quarantined", &quarantined) > 0 && quarantined)
                json_set_bool(r.document, "quarantined", true);
        if (!r.document || !who)
                return -ENOMEM;
        *ret = r;
        r = (Report){ 0 };
        return 1;
}

/* A receiver that does not know us (401, 403), or is not there yet, does not speak about the report: a token that has expired
 * must not cost a fleet its reports. */
ReportVerdict report_judge(unsigned status)
{
        if (status >= 200 && status <= 299)
                return REPORT_DELIVERED;
        if (status < 400 || status > 499)
                return REPORT_LATER;
        switch (status) {
        case 401:
        case 403:
        case 407:
        case 408:
        case 425:
        case 429:
                return REPORT_LATER;
        default:
                return REPORT_REJECTED;
        }
}
