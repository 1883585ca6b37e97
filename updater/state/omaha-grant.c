/* SPDX-License-Identifier: MIT */

/* An update server that granted an update waits for its end, without a time-out: this file remembers the grant, who gave it and
 * what it was told, across the reboot and whichever gybe version boots next. What it is owed follows from this and the journal
 * alone, so that being killed between any two writes loses no report.
 *
 * {"schema": "gybe.omaha/1", "step": "downloaded", "id": "...", "url": "...", "app": "...", "track": "...", "version": "3.0.2",
 *  "from": "3.0.1", "updateId": "...", "since": "..."} */

#include "state/document.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

#define FILE_NAME "omaha.json"
#define FILE_MAX  (32u * 1024u) /* an address of 4 KiB and a few words */

static const char *const step_names[_OMAHA_STEP_MAX] = {
        [OMAHA_STEP_NONE] = "none",
        [OMAHA_STEP_GRANTED] = "granted",
        [OMAHA_STEP_DOWNLOADING] = "downloading",
        [OMAHA_STEP_DOWNLOADED] = "downloaded",
        [OMAHA_STEP_INSTALLED] = "installed",
        [OMAHA_STEP_COMPLETE] = "complete",
        [OMAHA_STEP_ERROR] = "error",
};

const char *omaha_step_name(OmahaStep s)
{
        return (unsigned) s < _OMAHA_STEP_MAX ? step_names[s] : NULL;
}

OmahaStep omaha_step_from_name(const char *name)
{
        for (OmahaStep s = 0; s < _OMAHA_STEP_MAX; s++)
                if (streq0(name, step_names[s]))
                        return s;
        return _OMAHA_STEP_INVALID;
}

void omaha_grant_done(OmahaGrant *g)
{
        free(g->id);
        free(g->url);
        free(g->app);
        free(g->track);
        free(g->version);
        free(g->from);
        free(g->update_id);
        json_unref(g->unknown);
        *g = (OmahaGrant){ 0 };
}

int omaha_grant_parse(const void *data, size_t size, OmahaGrant *ret, Why *why)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        Fields f = { .what = "omaha.json", .why = why };
        const char *step;
        int r = document_parse(data, size, "omaha", &g.unknown, why);

        if (r < 0)
                return r;
        f.object = g.unknown;
        field_text(&f, "id", &g.id);
        field_text(&f, "url", &g.url);
        field_text(&f, "app", &g.app);
        field_text(&f, "track", &g.track);
        field_text(&f, "version", &g.version);
        field_text(&f, "from", &g.from);
        field_text(&f, "updateId", &g.update_id);
        field_time(&f, "since", &g.since);
        step = json_get_str(g.unknown, "step");
        g.step = omaha_step_from_name(step);
        if (f.r < 0)
                return f.r;
        if (g.step < 0 ||
            (g.step != OMAHA_STEP_NONE && (!g.id || !g.url || !g.app || !g.track || !g.version || !g.from)))
                return fail(why, -EBADMSG, WHY_HOST, "lost", "omaha.json: a field is missing or unknown");
        *ret = g;
        g = (OmahaGrant){ 0 };
        return 0;
}

int omaha_grant_load(const Env *env, OmahaGrant *ret, Why *why)
{
        _cleanup_(omaha_grant_done) OmahaGrant g = { 0 };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Why lost = { 0 };
        int r = document_read(env, FILE_NAME, FILE_MAX, &b, &lost, why);

        if (r < 0)
                return r;
        if (r == DOCUMENT_READ) {
                r = omaha_grant_parse(b.data ? (const void *) b.data : "", b.size, &g, &lost);
                if (r == -ENOMEM)
                        return r;
        }
        *ret = g;
        g = (OmahaGrant){ 0 };
        return 0;
}

int omaha_grant_save(const Env *env, const OmahaGrant *g, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = document_new("omaha", g->unknown);
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", true, why);
        _cleanup_(free_charp) char *text = NULL;
        int r;

        if (dir_fd < 0)
                return dir_fd;
        member_text(doc, "step", omaha_step_name(g->step));
        member_text(doc, "id", g->id);
        member_text(doc, "url", g->url);
        member_text(doc, "app", g->app);
        member_text(doc, "track", g->track);
        member_text(doc, "version", g->version);
        member_text(doc, "from", g->from);
        member_text(doc, "updateId", g->update_id);
        member_time(doc, "since", g->since);
        r = document_format(doc, &text);
        return r < 0 ? r : document_write(env, FILE_NAME, text, why);
}

/* --- what is owed --- */

/* How far the update is that the journal tells of. */
static OmahaStep step_of(const Journal *j)
{
        switch (j->phase) {
        case PHASE_STAGED:
                return OMAHA_STEP_DOWNLOADED;
        case PHASE_FINALIZED:
                return OMAHA_STEP_INSTALLED;
        case PHASE_PROBATION:
                /* the verdict has been spoken, only the reboot is missing */
                return j->reason == REASON_HEALTH_FALLBACK || j->reason == REASON_DEADLINE ||
                                       j->reason == REASON_OPERATOR
                               ? OMAHA_STEP_ERROR
                               : OMAHA_STEP_INSTALLED;
        default:
                return j->outcome == OUTCOME_COMMITTED ? OMAHA_STEP_COMPLETE : OMAHA_STEP_ERROR;
        }
}

OmahaStep omaha_grant_owes(const OmahaGrant *g, const Journal *j, bool staging)
{
        OmahaStep now;

        if (g->step == OMAHA_STEP_NONE || g->step >= OMAHA_STEP_COMPLETE || staging)
                return OMAHA_STEP_NONE;
        if (!g->update_id) /* killed while it downloaded; a grant alone waits for its time */
                return g->step == OMAHA_STEP_GRANTED ? OMAHA_STEP_NONE : OMAHA_STEP_ERROR;
        if (!streq0(g->update_id, j->update_id))
                return OMAHA_STEP_ERROR; /* another update took its place */
        now = step_of(j);
        if (now >= OMAHA_STEP_COMPLETE)
                return now;
        return now > g->step ? g->step + 1 : OMAHA_STEP_NONE;
}
