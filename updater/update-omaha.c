/* SPDX-License-Identifier: MIT */

/* An update server is asked. Every question grants an update if there is one, so what is waiting to be told goes first, and what
 * was granted is written down before anything is done with it. update-omaha-tell.c sees to the rest. */

#include "update.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define ASK_SEC  30u /* an answer takes a few queries of its database */
#define TELL_SEC 10u /* what waits is told before, or the question waits */

/* Who is asked: named with the request, else as configured. */
typedef struct Target {
        const char *url, *app, *track;
} Target;

static int find_target(const Update *u, Target *ret, Why *why)
{
        const UpdateOptions *o = &u->options;
        const Config *c = &u->host.config;
        Target t = { c->source_url, c->omaha_app, c->omaha_track };

        if (o->omaha_url)
                t = (Target){ o->omaha_url, o->omaha_app, o->omaha_track };
        if (!t.track)
                t.track = c->channel;
        if (!t.url || !t.app || !t.track)
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "update server: an address and an application id are needed");
        if ((c->require & TRUST_SERVER) && strncasecmp(t.url, "https://", 8) != 0)
                return fail(why, -EPERM, WHY_TRUST, "server-not-authenticated",
                            "trust: \"server\" is required, and the update server's address is not https://");
        *ret = t;
        return 0;
}

bool update_asks_omaha(const Update *u)
{
        return u->options.omaha_url || (!u->options.release && u->host.config.source == SOURCE_OMAHA);
}

/* --- one question --- */

int update_omaha_self(Update *u, OmahaSelf *ret, OmahaAsk *ask, Why *why)
{
        const Config *c = &u->host.config;
        int r;

        if (!u->host.machine_id || omaha_machine_id(u->host.machine_id, ret->machine_id) < 0)
                return fail(why, -ENOENT, WHY_HOST, "no-machine-id",
                            "/etc/machine-id: an update server knows a host by it, and there is none");
        if (!u->host.version || omaha_version(u->host.version, ret->version) < 0) {
                log_warning("the version that runs, \"%s\", is none that an update server takes; it is "
                            "told " OMAHA_VERSION_UNKNOWN,
                            u->host.version ? u->host.version : "");
                (void) snprintf(ret->version, sizeof(ret->version), OMAHA_VERSION_UNKNOWN);
        }
        if ((r = uuid_random(ret->session_id)) < 0 || (r = uuid_random(ret->request_id)) < 0)
                return fail_errno(why, r, WHY_HOST, "random");
        *ask = (OmahaAsk){ .version = ret->version,
                           .machine_id = ret->machine_id,
                           .arch = u->host.arch,
                           .alias = c->omaha_alias,
                           .oem = c->omaha_oem,
                           .os_version = u->host.version,
                           .boot_id = u->host.boot_id,
                           .session_id = ret->session_id,
                           .request_id = ret->request_id,
                           .scheduled = u->options.unattended };
        return 0;
}

/* A verdict of omaha_judge(). */
int update_omaha_exchange(Update *u, const char *url, const OmahaAsk *ask, uint64_t timeout_sec,
                          OmahaReply *ret, Why *why)
{
        _cleanup_(omaha_reply_done) OmahaReply reply = { 0 };
        _cleanup_(free_charp) char *body = NULL;
        int r;

        if ((r = omaha_format(ask, &body)) < 0 || (r = update_fetch(u, why)) < 0 ||
            (r = fetch_omaha(u->fetch, url, body, timeout_sec, &reply, why)) < 0)
                return r;
        r = omaha_judge(&reply, ask, why);
        *ret = reply;
        reply = (OmahaReply){ 0 };
        return r;
}

/* --- the conversation --- */

typedef struct Talk {
        Target target;
        OmahaSelf self;
        OmahaAsk ask;
        OmahaReply reply;
} Talk;

static void talk_done(Talk *t)
{
        omaha_reply_done(&t->reply);
}

static int ask(Update *u, Talk *t, Why *why)
{
        int r = uuid_random(t->self.request_id);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "random");
        omaha_reply_done(&t->reply);
        *why = (Why){ 0 };
        return update_omaha_exchange(u, t->target.url, &t->ask, ASK_SEC, &t->reply, why);
}

static bool is_the_same(const OmahaGrant *g, const Target *t)
{
        return streq0(g->url, t->url) && streq0(g->app, t->app) && streq0(g->track, t->track);
}

static bool is_wanted(const Update *u, const char *version)
{
        char wanted[OMAHA_VERSION_SIZE];

        return !u->options.version ||
               (omaha_version(u->options.version, wanted) >= 0 && streq0(version, wanted));
}

/* What the server calls an update in progress is one: it lies staged here, or waits for its reboot. */
static bool is_under_way(const Update *u, const OmahaGrant *g, const Target *t)
{
        const Journal *j = &u->host.journal;

        return is_the_same(g, t) && g->update_id && streq0(g->update_id, j->update_id) &&
               j->phase >= PHASE_STAGED && is_wanted(u, g->version);
}

static int already(Update *u, Why *why)
{
        *why = (Why){ 0 };
        u->already_staged = true;
        return fail(why, -ENODATA, WHY_NOTHING, "staged", "%s: already %s in slot %c",
                    u->host.journal.version, phase_name(u->host.journal.phase), u->host.journal.slot);
}

/* It never gives up on an update that was begun, so it is told how this one ended, and asked in the same breath. It acknowledges
 * also what it then loses: an update that was told as complete is told so once more. Once, since the grant is closed by now: where
 * it does not take that, an error lets it go. */
static int clear_and_ask(Update *u, Talk *t, const OmahaGrant *g, Why *why)
{
        bool is_complete = g->step == OMAHA_STEP_COMPLETE && is_the_same(g, &t->target) &&
                           streq0(g->version, t->self.version);
        OmahaReport report = { .event = is_complete ? OMAHA_COMPLETE : OMAHA_ERROR,
                               .error_code = OMAHA_ERROR_INCOMPLETE,
                               .previous_version = is_complete ? g->from : t->self.version };
        int verdict;

        update_say(u, "%s: told that it is %s, and asked again", why->text, is_complete ? "complete" : "not");
        t->ask.report = &report;
        verdict = ask(u, t, why);
        t->ask.report = NULL;
        return verdict;
}

static int converse(Update *u, Talk *t, const OmahaGrant *g, Why *why)
{
        int verdict = ask(u, t, why);

        if (verdict == OMAHA_IN_PROGRESS) {
                if (is_under_way(u, g, &t->target))
                        return already(u, why);
                if ((verdict = update_omaha_close(u, why)) < 0)
                        return verdict;
                verdict = clear_and_ask(u, t, g, why);
        }
        /* It says so also when it has just noticed that what it granted before is done. */
        if (verdict == OMAHA_NOUPDATE && (u->options.version || g->step == OMAHA_STEP_GRANTED))
                verdict = ask(u, t, why);
        return verdict;
}

static int take_offer(Update *u, const Talk *t, Why *why)
{
        int r = omaha_offer(&t->reply, u->host.config.omaha_hash, &u->offer, why);

        if (r >= 0)
                r = update_omaha_granted(u, t->target.url, t->target.app, t->target.track, t->self.version,
                                         why);
        if (r < 0)
                return r;
        if (is_wanted(u, u->offer.omaha_version))
                return 0;
        (void) fail(why, -EPERM, WHY_POLICY, "other-version",
                    "update server: it offers %s, but %s is asked for", u->offer.omaha_version,
                    u->options.version);
        return fail_hint(why, -EPERM,
                         "a floor has to be taken first, or the track points to another version");
}

/* Nobody waits for an answer of a rule of the server but who wanted something definite. */
static int no_offer(const Update *u, int verdict, Why *why)
{
        if (verdict == OMAHA_NOUPDATE) {
                if (u->options.version && !u->options.unattended)
                        return fail(why, -ENOENT, WHY_NETWORK, "no-offer",
                                    "update server: it has nothing for this host, and %s is asked for",
                                    u->options.version);
                return fail(why, -ENODATA, WHY_NOTHING, "no-offer", "update server: nothing newer than %s",
                            u->host.version ? u->host.version : "what runs");
        }
        if (verdict == OMAHA_WAIT && !u->options.version)
                why->kind = WHY_NOTHING;
        if (verdict == OMAHA_IN_PROGRESS || verdict == OMAHA_NOTED)
                return fail(why, -EAGAIN, WHY_NETWORK, "omaha-in-progress",
                            "update server: it does not let go");
        return -EAGAIN;
}

int update_find_omaha(Update *u, Why *why)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        _cleanup_(talk_done) Talk t = { 0 };
        int r;

        if ((r = find_target(u, &t.target, why)) < 0 ||
            (r = update_omaha_self(u, &t.self, &t.ask, why)) < 0 ||
            (r = update_omaha_tell_first(u, t.target.url, TELL_SEC, why)) < 0 ||
            (r = omaha_grant_load(u->env, &g, why)) < 0)
                return r;
        t.ask.app = t.target.app;
        t.ask.track = t.target.track;
        t.ask.ping = t.ask.check = true;
        r = converse(u, &t, &g, why);
        if (r < 0)
                return r;
        return r == OMAHA_OFFER ? take_offer(u, &t, why) : no_offer(u, r, why);
}

int update_check_server(const Update *u, Why *why)
{
        if (!(u->host.config.require & TRUST_SERVER) || (u->offer.by_omaha && u->offer.metadata_sha384[0]))
                return 0;
        (void) fail(why, -EPERM, WHY_TRUST, "no-server-hash",
                    "trust: \"server\" is required, and no update server names the hash of this release");
        return fail_hint(
                why, -EPERM,
                "set source.packageHash to \"metadata-sha384\", and ask an update server over https");
}
