/* SPDX-License-Identifier: MIT */

/* The file agent.json. Whatever is odd in it is left out: nothing in it is worth a failure. */

#include "control/memory.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "state/state.h"

#include <errno.h>
#include <stdio.h>

#define MEMORY_NAME     "agent.json"
#define MEMORY_FILE_MAX (64u * 1024u) /* a few sentences and the ids of some jobs */
#define COUNT_MAX       64u

static const char *const retry_names[_RETRY_MAX] = {
        [RETRY_NONE] = "none",   [RETRY_VANISHED] = "vanished", [RETRY_NETWORK] = "network",
        [RETRY_HOST] = "host",   [RETRY_IMAGE] = "image",       [RETRY_BUSY] = "busy",
        [RETRY_RULE] = "policy", [RETRY_TRUST] = "trust",
};

static int retry_from_name(const char *name)
{
        for (size_t i = 0; name && i < ELEMENTSOF(retry_names); i++)
                if (streq(retry_names[i], name))
                        return (int) i;
        return -EINVAL;
}

static void set_digest(Json *j, const char *key, const char *hex)
{
        json_set_str(j, key, hex[0] ? hex : NULL);
}

static Json *retries_json(const Memory *m)
{
        Json *out = json_new_object();

        for (Action a = 0; a < _ACTION_MAX; a++) {
                const Retry *r = &m->retry[a];
                Json *j;

                if (r->failures == 0)
                        continue;
                j = json_new_object();
                json_set_str(j, "kind", retry_names[r->kind]);
                json_set_u64(j, "failures", r->failures);
                json_set_time(j, "last", r->last);
                json_set_str(j, "text", r->text);
                json_set(out, action_name(a), j);
        }
        return out;
}

static Json *memory_json(const Memory *m)
{
        Json *j = json_new_object(), *ended = json_new_array();

        json_set_str(j, "schema", "gybe.agent/1");
        if (m->last_check > 0)
                json_set_time(j, "lastCheck", m->last_check);
        if (m->offer.version) {
                Json *o = json_new_object();

                json_set_str(o, "version", m->offer.version);
                json_set_u64(o, "serial", m->offer.serial);
                if (m->offer.issued > 0)
                        json_set_time(o, "issued", m->offer.issued);
                set_digest(o, "roothash", m->offer.roothash);
                set_digest(o, "ukiSha256", m->offer.uki_sha256);
                json_set(j, "offer", o);
        }
        json_set(j, "retries", retries_json(m));
        if (m->refused[0]) {
                Json *o = json_new_object();

                json_set_str(o, "roothash", m->refused);
                json_set_str(o, "code", m->refused_code);
                json_set_str(o, "message", m->refused_text);
                json_set(j, "refused", o);
        }
        if (m->n_spoiled > 0) {
                json_set_str(j, "spoiled", m->spoiled);
                json_set_u64(j, "spoiledTimes", m->n_spoiled);
        }
        for (char **id = m->ended; id && *id; id++)
                json_add_str(ended, *id);
        json_set(j, "ended", ended);
        return j;
}

static void get_text(const Json *j, const char *key, char *ret, size_t size)
{
        const char *s = json_get_str(j, key);

        (void) snprintf(ret, size, "%s", s ? s : "");
}

static void get_digest(const Json *j, const char *key, char ret[65])
{
        const char *s = json_get_str(j, key);

        if (!s || hex_normalize(s, 64, ret) < 0)
                ret[0] = 0;
}

static unsigned get_count(const Json *j, const char *key)
{
        uint64_t n = 0;

        (void) json_get_u64(j, key, &n);
        return (unsigned) MIN(n, (uint64_t) COUNT_MAX);
}

static int get_retry(void *ctx, const char *key, const Json *j)
{
        Memory *m = ctx;
        Action a = action_from_name(key);
        int kind = retry_from_name(json_get_str(j, "kind"));

        if ((int) a < 0 || kind <= 0)
                return 0;
        m->retry[a] = (Retry){ .kind = (RetryKind) kind, .failures = get_count(j, "failures") };
        (void) json_get_time(j, "last", &m->retry[a].last);
        get_text(j, "text", m->retry[a].text, sizeof(m->retry[a].text));
        return 0;
}

static int memory_take(const Json *j, Memory *m)
{
        const Json *o = json_get(j, "offer"), *ended = json_get(j, "ended");
        const char *version = json_get_str(o, "version");

        (void) json_get_time(j, "lastCheck", &m->last_check);
        if (version && !(m->offer.version = strdup(version)))
                return -ENOMEM;
        (void) json_get_u64(o, "serial", &m->offer.serial);
        (void) json_get_time(o, "issued", &m->offer.issued);
        get_digest(o, "roothash", m->offer.roothash);
        get_digest(o, "ukiSha256", m->offer.uki_sha256);
        (void) json_each(json_get(j, "retries"), get_retry, m);
        o = json_get(j, "refused");
        get_digest(o, "roothash", m->refused);
        get_text(o, "code", m->refused_code, sizeof(m->refused_code));
        get_text(o, "message", m->refused_text, sizeof(m->refused_text));
        get_digest(j, "spoiled", m->spoiled);
        m->n_spoiled = get_count(j, "spoiledTimes");
        json_foreach (id, ended) {
                _cleanup_(free_charp) char *evicted = NULL;

                if (json_str(id) && memory_add_ended(m, json_str(id), &evicted) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int memory_load(const Env *env, Memory *ret)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Memory m = { 0 };
        int r;

        r = env_read(env, STATE_DIR "/" MEMORY_NAME, MEMORY_FILE_MAX, &b);
        if (r >= 0)
                r = json_parse(b.data ? (const void *) b.data : "", b.size, 0, JSON_DEPTH_MAX, MEMORY_NAME,
                               WHY_HOST, &j, NULL);
        if (r == -ENOMEM)
                return r;
        if (r >= 0 && streq0(json_get_str(j, "schema"), "gybe.agent/1") && memory_take(j, &m) < 0) {
                memory_done(&m);
                return -ENOMEM;
        }
        *ret = m;
        return 0;
}

int memory_save(const Env *env, const Memory *m, Why *why)
{
        _cleanup_(json_unrefp) Json *j = memory_json(m);
        _cleanup_(free_charp) char *text = json_format(j, true);
        _cleanup_(close_fdp) int fd = -1;
        int r;

        if (!text)
                return -ENOMEM;
        fd = env_make_dir(env, STATE_DIR, 0700);
        r = fd < 0 ? fd : file_replace(fd, MEMORY_NAME, text, strlen(text), 0600);
        return r < 0 ? fail_errno(why, r, WHY_HOST, STATE_DIR "/" MEMORY_NAME) : 0;
}
