/* SPDX-License-Identifier: MIT */

/* What an update server is told: written to a box of its own before it is sent, sent in order, behind every grant a terminal
 * event. What is owed follows from omaha.json and the journal (state/omaha-grant.c), and is looked at whenever one of them has
 * changed; nothing here can make a verb fail, and no verdict about a slot waits for it. */

#include "update.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"

#include <errno.h>
#include <inttypes.h>

#define SEND_SEC 20u

/* --- writing --- */

/* The same report has the same id: written twice, because somebody was killed, it waits once. */
static int make_id(const OmahaGrant *g, OmahaEvent e, char ret[OUTBOX_ID_SIZE])
{
        _cleanup_(free_charp) char *text = str_printf("gybe.omaha/1\n%s\n%s\n", g->id, omaha_event_name(e));
        uint8_t digest[SHA256_SIZE];
        int r = text ? sha256(text, strlen(text), digest) : -ENOMEM;

        if (r < 0)
                return r;
        digest[6] = (uint8_t) ((digest[6] & 0x0f) | 0x80);
        digest[8] = (uint8_t) ((digest[8] & 0x3f) | 0x80);
        uuid_format_text(digest, ret);
        return 0;
}

static int write_report(Update *u, const OmahaGrant *g, OmahaEvent e, unsigned code, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        char id[OUTBOX_ID_SIZE];
        int r = make_id(g, e, id);

        if (r < 0)
                return r;
        json_set_str(doc, "event", omaha_event_name(e));
        json_set_str(doc, "url", g->url);
        json_set_str(doc, "app", g->app);
        json_set_str(doc, "track", g->track);
        json_set_str(doc, "version", g->version);
        json_set_str(doc, "previousVersion", g->from);
        if (e == OMAHA_ERROR)
                json_set_u64(doc, "errorCode", code);
        json_set_time(doc, "at", env_now(u->env));
        r = outbox_add(u->env, OUTBOX_OMAHA, id, doc, !omaha_event_is_terminal(e), why);
        return r < 0 ? r : 0;
}

static OmahaEvent event_of(OmahaStep s)
{
        return omaha_event_from_name(omaha_step_name(s));
}

/* Report first, memory second: killed in between, it is written again under the same id. */
static int report(Update *u, OmahaGrant *g, OmahaStep s, unsigned code, Why *why)
{
        int r = write_report(u, g, event_of(s), code, why);

        if (r < 0)
                return r;
        g->step = s;
        g->since = env_now(u->env);
        return omaha_grant_save(u->env, g, why);
}

static void warn(const Why *why, int r)
{
        log_warning("%s; the update server is told later", why->text[0] ? why->text : strerror(-r));
}

/* Why an update ended, where the journal knows. */
static unsigned code_of(const OmahaGrant *g, const Journal *j)
{
        if (!g->update_id)
                return OMAHA_ERROR_INCOMPLETE;
        if (!streq0(g->update_id, j->update_id))
                return OMAHA_ERROR_DEFERRED_BY_POLICY;
        if (j->outcome == OUTCOME_REJECTED && j->attempt == 0)
                return OMAHA_ERROR_ROOTFS_VERIFICATION;
        return OMAHA_ERROR_ROLLED_BACK;
}

void update_omaha_sync(Update *u)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        Why why = { 0 };
        OmahaStep owes;
        int r = omaha_grant_load(u->env, &g, &why);

        while (r >= 0 && (owes = omaha_grant_owes(&g, &u->host.journal, u->omaha_staging)) != OMAHA_STEP_NONE)
                r = report(u, &g, owes, code_of(&g, &u->host.journal), &why);
        if (r < 0)
                warn(&why, r);
}

int update_omaha_granted(Update *u, const char *url, const char *app, const char *track, const char *from,
                         Why *why)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 }, old = { 0 };
        char id[37];
        int r = omaha_grant_load(u->env, &old, why);

        if (r < 0)
                return r;
        /* The same package again, as long as nothing was told about it. */
        if (old.step == OMAHA_STEP_GRANTED && streq0(old.url, url) && streq0(old.app, app) &&
            streq0(old.track, track) && streq0(old.version, u->offer.omaha_version) && streq0(old.from, from))
                return 0;
        /* Another server still waits for the end of what it granted. */
        if (old.step != OMAHA_STEP_NONE && old.step < OMAHA_STEP_COMPLETE &&
            !(streq0(old.url, url) && streq0(old.app, app)) &&
            (r = report(u, &old, OMAHA_STEP_ERROR, OMAHA_ERROR_DEFERRED_BY_POLICY, why)) < 0)
                return r;
        r = uuid_random(id);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "random");
        g = (OmahaGrant){ .step = OMAHA_STEP_GRANTED,
                          .since = env_now(u->env),
                          .unknown = json_ref(old.unknown) };
        if (!(g.id = strdup(id)) || !(g.url = strdup(url)) || !(g.app = strdup(app)) ||
            !(g.track = strdup(track)) || !(g.version = strdup(u->offer.omaha_version)) ||
            !(g.from = strdup(from)))
                return -ENOMEM;
        return omaha_grant_save(u->env, &g, why);
}

int update_omaha_close(Update *u, Why *why)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        int r = omaha_grant_load(u->env, &g, why);

        if (r < 0 || g.step == OMAHA_STEP_NONE)
                return r;
        g.step = OMAHA_STEP_NONE;
        return omaha_grant_save(u->env, &g, why);
}

void update_omaha_downloads(Update *u)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        Why why = { 0 };
        int r;

        if (!u->offer.by_omaha)
                return;
        u->omaha_staging = true;
        r = omaha_grant_load(u->env, &g, &why);
        if (r >= 0 && g.step == OMAHA_STEP_GRANTED)
                r = report(u, &g, OMAHA_STEP_DOWNLOADING, 0, &why);
        if (r < 0)
                return warn(&why, r);
        (void) update_omaha_deliver_now(u);
}

/* From here on it is the journal's update that the grant is about. */
static void adopt(Update *u)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        Why why = { 0 };
        int r = omaha_grant_load(u->env, &g, &why);

        u->omaha_staging = false;
        if (r >= 0 && g.step != OMAHA_STEP_NONE && g.step < OMAHA_STEP_COMPLETE &&
            u->host.journal.update_id) {
                free(g.update_id);
                g.update_id = strdup(u->host.journal.update_id);
                r = g.update_id ? omaha_grant_save(u->env, &g, &why) : -ENOMEM;
        }
        if (r < 0)
                warn(&why, r);
}

void update_omaha_event(Update *u, const char *event)
{
        if (u->omaha_staging && streq(event, "staged"))
                adopt(u);
        if (!u->omaha_staging)
                update_omaha_sync(u);
}

/* Not this time, and perhaps later: the grant waits. Everything else that stands against an offer is final. */
static bool may_come(const Why *why)
{
        static const char *const waits[] = { "hold", "window", "rollout", "minimumAge", "automation" };

        if (why->kind == WHY_POLICY) {
                for (size_t i = 0; i < ELEMENTSOF(waits); i++)
                        if (streq(why->code, waits[i]))
                                return true;
                return false;
        }
        return why->kind == WHY_NETWORK || why->kind == WHY_HOST || why->kind == WHY_BUSY ||
               why->kind == WHY_USAGE;
}

void update_omaha_walked(Update *u, int r, const Why *why)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        Why late = { 0 };
        int k;

        u->omaha_staging = false;
        if (!u->offer.by_omaha)
                return;
        if (r < 0 && u->already_staged)
                adopt(u); /* what was granted lies here: by another hand, or before the server forgot */
        else if (r < 0) {
                k = omaha_grant_load(u->env, &g, &late);
                if (k >= 0 && !g.update_id &&
                    (g.step == OMAHA_STEP_DOWNLOADING || (g.step == OMAHA_STEP_GRANTED && !may_come(why))))
                        k = report(u, &g, OMAHA_STEP_ERROR, omaha_error_of(why), &late);
                if (k < 0)
                        warn(&late, k);
        }
        update_omaha_sync(u);
}

/* --- sending --- */

static int read_report(const OutboxEntry *e, Json **ret, OmahaReport *report_, Why *why)
{
        uint64_t code = OMAHA_ERROR_GENERIC;
        Json *doc = NULL;
        int r = json_parse(e->text, strlen(e->text), 0, JSON_DEPTH_MAX, "report", WHY_HOST, &doc, why);

        if (r < 0)
                return r;
        *ret = doc;
        (void) json_get_u64(doc, "errorCode", &code);
        *report_ = (OmahaReport){ .event = omaha_event_from_name(json_get_str(doc, "event")),
                                  .error_code = (unsigned) MIN(code, (uint64_t) UINT16_MAX),
                                  .previous_version = json_get_str(doc, "previousVersion") };
        if (report_->event < 0 || !json_get_str(doc, "url") || !json_get_str(doc, "app"))
                return fail(why, -EBADMSG, WHY_HOST, "lost", "report: not one for an update server");
        return 0;
}

char *update_omaha_url(const OutboxEntry *e)
{
        _cleanup_(json_unrefp) Json *doc = NULL;
        OmahaReport ignored;
        const char *url;

        if (read_report(e, &doc, &ignored, NULL) < 0)
                return NULL;
        url = json_get_str(doc, "url");
        return url ? strdup(url) : NULL;
}

int update_omaha_send(Update *u, const OutboxEntry *e, uint64_t timeout_sec, uint64_t *ret_pause, Why *why)
{
        _cleanup_(omaha_reply_done) OmahaReply reply = { 0 };
        _cleanup_(json_unrefp) Json *doc = NULL;
        OmahaReport said = { 0 };
        OmahaSelf self;
        OmahaAsk ask;
        int r;

        *ret_pause = 0;
        if ((r = read_report(e, &doc, &said, why)) < 0)
                return r;
        if ((r = update_omaha_self(u, &self, &ask, why)) < 0)
                return r;
        memcpy(self.request_id, e->id, sizeof(self.request_id));
        ask.app = json_get_str(doc, "app");
        ask.track = json_get_str(doc, "track");
        ask.report = &said;
        /* What runs now is registered with it, and not only at the next question. */
        ask.ping = said.event == OMAHA_COMPLETE;
        r = update_omaha_exchange(u, json_get_str(doc, "url"), &ask, MIN(timeout_sec, (uint64_t) SEND_SEC),
                                  &reply, why);
        *ret_pause = reply.retry_after_sec;
        if (r < 0 || r == OMAHA_NOTED)
                return r < 0 ? (r == -EBADMSG ? -EAGAIN : r) : 0;
        return -EAGAIN;
}
