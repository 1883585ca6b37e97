/* SPDX-License-Identifier: MIT */

/* The judge of endpoints. One that fails may do so for its retryFor, in a row; then it is a regression when it is required and
 * had answered before the update. Whoever failed before is asked all the same, and told, but not waited for. */

#include "health/watch.h"
#include "base/str.h"
#include "base/url.h"

#include <stdio.h>

void http_said(const char *shown, unsigned status, const char *because, char *out, size_t size)
{
        size_t n = strlen(shown);

        /* whoever failed to ask names the address, and so does our sentence */
        if (because && str_starts(because, shown) && str_starts(because + n, ": "))
                because += n + 2;
        if (status > 0)
                (void) snprintf(out, size, "answered %u", status);
        else
                (void) snprintf(out, size, "did not answer%s%.120s%s", because && *because ? " (" : "",
                                because ? because : "", because && *because ? ")" : "");
        /* it may be a server's or a library's words in any language */
        for (char *p = out; *p; p++)
                if (*p < 0x20 || *p > 0x7e)
                        *p = '?';
}

bool http_good(const HealthHttp *endpoint, unsigned status)
{
        return endpoint->status > 0 ? status == endpoint->status : status >= 200 && status <= 299;
}

void http_watch_init(HttpWatch *w, const HealthPlan *plan, uint64_t now)
{
        *w = (HttpWatch){ .plan = plan };
        for (size_t i = 0; i < plan->config->n_http && i < HEALTH_HTTP_MAX; i++) {
                const HealthHttp *h = &plan->config->http[i];
                const HealthSeen *old = plan->baseline ? health_seen(&plan->baseline->http, h->url) : NULL;
                EndpointWatch *e = &w->list[w->n++];

                e->endpoint = h;
                e->before = old && !old->passed;
                e->next = now;
                url_redact(h->url, e->shown, sizeof(e->shown));
        }
}

EndpointWatch *http_watch_due(HttpWatch *w, uint64_t now, uint64_t *ret_next)
{
        EndpointWatch *first = NULL;

        for (size_t i = 0; i < w->n; i++)
                if (!first || w->list[i].next < first->next)
                        first = &w->list[i];
        if (ret_next)
                *ret_next = first ? first->next : UINT64_MAX;
        return first && first->next <= now ? first : NULL;
}

/* What it had said before the update, where that explains something. */
static void before_clause(const HttpWatch *w, const EndpointWatch *e, char *out, size_t size)
{
        const HealthBaseline *b = w->plan->baseline;
        const HealthSeen *old = b ? health_seen(&b->http, e->endpoint->url) : NULL;

        *out = 0;
        if (old && old->said && old->passed)
                (void) snprintf(out, size, "; it %.160s before the update", old->said);
        else if (old && !old->passed)
                (void) snprintf(out, size, "; it failed before the update, too");
}

static int tell(const HttpWatch *w, EndpointWatch *e, uint64_t now, HealthReport *report)
{
        char before[256], span[DURATION_TEXT_SIZE];
        uint64_t took = now - e->failing_since;

        format_duration(took, span);
        before_clause(w, e, before, sizeof(before));
        e->told = true;
        return health_report_add(report,
                                 !e->endpoint->required ? HEALTH_WANTED
                                 : e->before            ? HEALTH_BEFORE
                                                        : HEALTH_REGRESSION,
                                 e->shown, "%s %s%s%s%s", e->shown, e->said, took > 0 ? " for " : "",
                                 took > 0 ? span : "", before);
}

static int answered_well(EndpointWatch *e, unsigned status, uint64_t now, HealthReport *report)
{
        bool healed = e->failing && e->seen_good && !e->told_healed;
        char span[DURATION_TEXT_SIZE];

        e->failing = false;
        e->seen_good = true;
        e->next = now + HEALTH_ASK_SEC;
        if (!healed)
                return 0;
        e->told_healed = true; /* one such line is enough */
        format_duration(now - e->failing_since, span);
        return health_report_add(report, HEALTH_HEALED, e->shown, "%s %s for %s, then %u again", e->shown,
                                 e->said, span, status);
}

int http_watch_answer(HttpWatch *w, EndpointWatch *e, unsigned status, const char *because, uint64_t asked_at,
                      uint64_t now, HealthReport *report)
{
        e->asked = true;
        if (http_good(e->endpoint, status))
                return answered_well(e, status, now, report);
        http_said(e->shown, status, because, e->said, sizeof(e->said));
        if (!e->failing)
                e->failing_since = asked_at;
        e->failing = true;
        e->next = now + (e->before || !e->endpoint->required ? HEALTH_ASK_SEC : HEALTH_SAMPLE_SEC);
        if (e->before || !e->endpoint->required || now - e->failing_since < e->endpoint->retry_for_sec)
                return 0;
        return tell(w, e, now, report);
}

bool http_watch_waits(const HttpWatch *w)
{
        for (size_t i = 0; i < w->n; i++) {
                const EndpointWatch *e = &w->list[i];

                if (!e->asked || (e->endpoint->required && !e->before && (e->failing || !e->seen_good)))
                        return true;
        }
        return false;
}

int http_watch_end(HttpWatch *w, bool cut, uint64_t now, HealthReport *report)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < w->n; i++) {
                EndpointWatch *e = &w->list[i];
                bool decides = e->endpoint->required && !e->before;

                if (!e->asked && cut) {
                        (void) snprintf(e->said, sizeof(e->said), "was not asked, no time was left");
                        e->failing = true;
                        e->failing_since = now;
                }
                if (e->failing && !e->told && (cut || !decides))
                        r = tell(w, e, now, report);
        }
        return r;
}
