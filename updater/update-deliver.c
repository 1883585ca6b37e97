/* SPDX-License-Identifier: MIT */

/* Reports: written to the outbox where history is written, sent by the job "deliver" or behind a verb whose outcome is certain.
 * Strictly in order: the first one that cannot be delivered now keeps the others waiting, so that whoever reads them reads a
 * story. A report never changes what a verb does or answers: what goes wrong here is a warning. */

#include "update.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/url.h"
#include "control/event.h"
#include "control/hostid.h"
#include "control/report.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#define SEND_SEC       20u /* one report */
#define RUN_SEC        60u /* all of them, then the agent may do something else */
#define AFTERWARDS_SEC 10u /* the same with a person waiting for the prompt */
#define NOW_SEC        5u  /* before a download that takes minutes */
#define ANSWER_MAX     (4u * 1024u)
#define TOKEN_MAX      (4u * 1024u)
#define NAME_MAX_BYTES 256u
#define STUCK_FAILURES 8u /* in a row: about two hours */

/* --- writing --- */

static void fill_host(const Update *u, char id[HOSTID_SIZE], char **name, ReportHost *ret)
{
        *ret = (ReportHost){ .product = u->host.config.product, .channel = u->host.config.channel };
        if (u->host.machine_id && hostid(u->host.machine_id, id) >= 0)
                ret->id = id;
        if (env_read_line(u->env, "/proc/sys/kernel/hostname", name) >= 0 && **name &&
            strlen(*name) < NAME_MAX_BYTES)
                ret->name = *name;
}

void update_report(Update *u, const Json *event)
{
        _cleanup_(report_done) Report report = { 0 };
        _cleanup_(free_charp) char *name = NULL;
        char id[HOSTID_SIZE];
        ReportHost host;
        Why why = { 0 };
        int r;

        if (!u->host.config.report_url)
                return;
        fill_host(u, id, &name, &host);
        r = report_make(event, &host, env_now(u->env), &report);
        if (r > 0)
                r = outbox_add(u->env, OUTBOX_REPORTS, report.id, report.document, report.progress, &why);
        if (r < 0)
                log_warning("%s; this is not reported to %s", why.text[0] ? why.text : strerror(-r),
                            "report.url");
}

/* --- sending --- */

/* This machine by its number, or by the one name that is reserved for it. */
static bool is_loopback(const char *url)
{
        const char *host = url + strlen("http://");
        size_t n;

        if (strncasecmp(url, "http://", strlen("http://")) != 0)
                return false;
        n = strcspn(host, "/?#");
        if (memchr(host, '@', n))
                return false;
        if (strncmp(host, "[::1]", 5) == 0)
                return n == 5 || host[5] == ':';
        n = strcspn(host, ":/?#");
        return (n == 9 && strncasecmp(host, "localhost", n) == 0) ||
               (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n);
}

/* "Authorization: Bearer ..."; NULL where no token is configured. */
static int make_authorization(const Update *u, char **ret, Why *why)
{
        const char *path = u->host.config.report_bearer_file, *url = u->host.config.report_url;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        size_t n;
        int r;

        if (!path)
                return 0;
        if (strncasecmp(url, "https://", 8) != 0 && !is_loopback(url))
                return fail(why, -EPERM, WHY_USAGE, "report-config",
                            "report.url: a token is sent to an https address only");
        r = env_read(u->env, path, TOKEN_MAX, &b);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "report.bearerFile: %.200s", path);
        for (n = b.size; n > 0 && strchr(" \t\r\n", b.data[n - 1]);)
                n--;
        for (size_t i = 0; i < n; i++)
                if (b.data[i] <= 0x20 || b.data[i] > 0x7e)
                        n = 0;
        if (n == 0)
                return fail(why, -EINVAL, WHY_HOST, "report-config",
                            "report.bearerFile: not one line with a token");
        *ret = str_printf("Authorization: Bearer %.*s", (int) n, (const char *) b.data);
        return *ret ? 0 : -ENOMEM;
}

static int send(Update *u, const OutboxEntry *e, uint64_t timeout_sec, FetchHttpReply *ret, Why *why)
{
        _cleanup_(free_charp) char *authorization = NULL, *key = NULL;
        char *headers[4] = { NULL };
        FetchHttp request = { .url = u->host.config.report_url,
                              .method = "POST",
                              .headers = headers,
                              .body = e->text,
                              .timeout_sec = timeout_sec,
                              .max = ANSWER_MAX };
        int r;

        key = str_printf("Idempotency-Key: %s", e->id);
        r = key ? make_authorization(u, &authorization, why) : -ENOMEM;
        if (r >= 0)
                r = update_fetch(u, why);
        if (r < 0)
                return r;
        headers[0] = key;
        headers[1] = (char *) "Content-Type: application/json";
        headers[2] = authorization;
        return fetch_http(u->fetch, &request, ret, why);
}

static void tell_stuck(Update *u, OutboxBox box, const char *text)
{
        _cleanup_(outbox_state_done) OutboxState s = { 0 };

        if (outbox_state(u->env, box, &s, NULL) >= 0 && s.failures == STUCK_FAILURES)
                event_log(u->env, EVENT_OUTBOX_STUCK, NULL, text, NULL, 0);
}

/* Remembers the failure, so that the next try comes later and later. Always negative. */
static int later(Update *u, OutboxBox box, int r, uint64_t after_sec, const char *text)
{
        Why why = { 0 };

        if (outbox_failed(u->env, box, after_sec, text, &why) < 0)
                log_warning("%s; the pause before the next try is not remembered", why.text);
        else
                tell_stuck(u, box, text);
        return r;
}

static int rejected(Update *u, const OutboxEntry *e, const FetchHttpReply *reply, Why *why)
{
        int r = outbox_rejected(u->env, OUTBOX_REPORTS, e, reply->status, (const char *) reply->body.data,
                                why);

        if (r < 0)
                return r;
        log_warning(
                "report %s was rejected by its receiver (%u) and is not sent again; it is kept in " STATE_DIR
                "/outbox/rejected",
                e->id, reply->status);
        return 0;
}

/* 0 it is out of the way: delivered or rejected. */
static int deliver_report(Update *u, const OutboxEntry *e, uint64_t timeout_sec, Why *why)
{
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        char name[160];
        int r;

        r = send(u, e, timeout_sec, &reply, why);
        if (r < 0)
                return later(u, OUTBOX_REPORTS, r, 0, why->text);
        switch (report_judge(reply.status)) {
        case REPORT_DELIVERED:
                return outbox_delivered(u->env, OUTBOX_REPORTS, e, why);
        case REPORT_REJECTED:
                return rejected(u, e, &reply, why);
        default:
                url_redact(u->host.config.report_url, name, sizeof(name));
                r = fail(why, -EAGAIN, WHY_NETWORK, "report", "report: %s answers %u", name, reply.status);
                return later(u, OUTBOX_REPORTS, r, reply.retry_after_sec, why->text);
        }
}

/* A server that answers, and for days does not know what it is told about, will not. One that cannot be reached may come back. */
#define GIVE_UP_FAILURES 48u

static bool is_given_up(Update *u, const Why *why)
{
        _cleanup_(outbox_state_done) OutboxState s = { 0 };

        return str_starts(why->code, "omaha-") && !streq(why->code, "omaha-status") &&
               outbox_state(u->env, OUTBOX_OMAHA, &s, NULL) >= 0 && s.failures >= GIVE_UP_FAILURES;
}

static int put_aside(Update *u, const OutboxEntry *e, const char *because, Why *why)
{
        int r = outbox_rejected(u->env, OUTBOX_OMAHA, e, 0, because, why);

        if (r < 0)
                return r;
        log_warning("%s; report %s to an update server is put aside", because, e->id);
        return 0;
}

static int deliver_omaha(Update *u, const OutboxEntry *e, uint64_t timeout_sec, Why *why)
{
        uint64_t pause = 0;
        int r = update_omaha_send(u, e, timeout_sec, &pause, why);

        if (r >= 0)
                return outbox_delivered(u->env, OUTBOX_OMAHA, e, why);
        if (r == -EBADMSG || is_given_up(u, why)) {
                char because[sizeof(why->text)];

                memcpy(because, why->text, sizeof(because));
                *why = (Why){ 0 };
                return put_aside(u, e, because, why);
        }
        return later(u, OUTBOX_OMAHA, r, pause, why->text);
}

static uint64_t monotonic_sec(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec;
}

/* 1 delivered or put away, 0 nothing is left */
static int deliver_first(Update *u, OutboxBox box, uint64_t timeout_sec, Why *why)
{
        _cleanup_(outbox_entry_done) OutboxEntry e = { 0 };
        _cleanup_(free_charp) char *aside = NULL;
        int r = outbox_first(u->env, box, &e, &aside, why);

        if (aside)
                log_warning("%s; this report cannot be read and is put aside", aside);
        if (r <= 0)
                return r;
        r = box == OUTBOX_OMAHA ? deliver_omaha(u, &e, timeout_sec, why)
                                : deliver_report(u, &e, timeout_sec, why);
        return r < 0 ? r : 1;
}

static int nothing(Why *why, const char *because)
{
        return fail(why, -ENODATA, WHY_NOTHING, "nothing-to-deliver", "deliver: %s", because);
}

/* 0, WHY_NOTHING, or what went wrong with the first that could not be delivered. */
static int deliver_box(Update *u, OutboxBox box, bool also_early, uint64_t budget_sec, Why *why)
{
        uint64_t until = monotonic_sec() + budget_sec, due = UINT64_MAX;
        size_t n = 0;
        int r = outbox_due(u->env, box, &due, why);

        if (r < 0)
                return r;
        if (due == UINT64_MAX)
                return nothing(why, "no report waits");
        if (box == OUTBOX_REPORTS && !u->host.config.report_url) {
                (void) later(u, box, 0, 0, "report.url is not set any more");
                return nothing(why, "reports wait, but report.url is not set any more");
        }
        if (!also_early && due > env_now(u->env))
                return nothing(why, "the next try comes later");
        while ((r = deliver_first(u, box, MIN((uint64_t) SEND_SEC, budget_sec), why)) > 0 &&
               monotonic_sec() < until)
                n++;
        if (n > 0)
                update_say(u, "%zu report%s delivered", n, n == 1 ? " was" : "s were");
        return MIN(r, 0);
}

/* One deliverer at a time: the order of the answers is the order of the reports. A box that is stuck does not keep the other. */
static int deliver(Update *u, bool also_early, uint64_t budget_sec, Why *why)
{
        _cleanup_(close_fdp) int fd = state_lock_other(u->env, "deliver", 0, why);
        bool delivered = false;
        Why first = { 0 };
        int failed = 0;

        if (fd < 0)
                return fd;
        for (OutboxBox box = 0; box < _OUTBOX_MAX; box++) {
                Why said = { 0 };
                int r = deliver_box(u, box, also_early, budget_sec, &said);

                delivered = delivered || r >= 0;
                if (r < 0 && (failed == 0 || (first.kind == WHY_NOTHING && said.kind != WHY_NOTHING) ||
                              (first.kind == WHY_NOTHING && streq(first.text, "deliver: no report waits")))) {
                        failed = r;
                        first = said;
                }
        }
        if (failed == 0 || (delivered && first.kind == WHY_NOTHING))
                return 0;
        *why = first;
        return failed;
}

int update_omaha_tell_first(Update *u, const char *url, uint64_t budget_sec, Why *why)
{
        _cleanup_(close_fdp) int fd = state_lock_other(u->env, "deliver", 1000 * budget_sec, why);
        uint64_t until = monotonic_sec() + budget_sec;

        if (fd < 0)
                return fd;
        for (;;) {
                _cleanup_(outbox_entry_done) OutboxEntry e = { 0 };
                _cleanup_(free_charp) char *to = NULL;
                Why said = { 0 };
                int r = outbox_first(u->env, OUTBOX_OMAHA, &e, NULL, why);

                if (r <= 0)
                        return r;
                to = update_omaha_url(&e);
                if (monotonic_sec() < until && deliver_omaha(u, &e, SEND_SEC / 2, &said) >= 0)
                        continue;
                if (streq0(to, url)) {
                        (void) fail(why, -EAGAIN, WHY_NETWORK, "omaha-waits", "%s",
                                    said.text[0] ? said.text
                                                 : "update server: it is slow to take what it is told");
                        return fail_hint(why, -EAGAIN, "it is asked when it has taken what waits for it");
                }
                r = put_aside(u, &e, "this host asks another update server now", why);
                if (r < 0)
                        return r;
        }
}

int update_omaha_deliver_now(Update *u)
{
        _cleanup_(close_fdp) int fd = state_lock_other(u->env, "deliver", 0, NULL);
        Why ignored = { 0 };

        return fd < 0 ? fd : deliver_box(u, OUTBOX_OMAHA, false, NOW_SEC, &ignored);
}

int update_deliver(Update *u, Why *why)
{
        update_let_go(u);
        return deliver(u, !u->options.unattended, RUN_SEC, why);
}

static bool is_due(const Update *u, OutboxBox box)
{
        uint64_t due = UINT64_MAX;

        return outbox_due(u->env, box, &due, NULL) >= 0 && due <= env_now(u->env);
}

void update_deliver_afterwards(Update *u)
{
        Why why = { 0 };

        if (!(u->host.config.report_url && is_due(u, OUTBOX_REPORTS)) && !is_due(u, OUTBOX_OMAHA))
                return;
        update_let_go(u);
        if (deliver(u, false, AFTERWARDS_SEC, &why) < 0 && why.kind != WHY_NOTHING)
                log_warning("%s; reports are delivered later", why.text);
}
