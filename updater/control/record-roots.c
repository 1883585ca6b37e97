/* SPDX-License-Identifier: MIT */

#include "control/record-roots.h"
#include "base/digest.h"
#include "base/str.h"
#include "release/release.h"
#include "state/state.h"

#include <errno.h>
#include <inttypes.h>

static Json *role_json(const RootRole *role)
{
        Json *j, *signers;

        if (!role->present)
                return NULL;
        j = json_new_object();
        signers = json_new_array();
        json_set_u64(j, "threshold", role->threshold);
        for (size_t i = 0; i < role->n_signers; i++) {
                Json *s = json_new_object(), *keys = json_new_array();

                json_set_str(s, "id", role->signers[i].id);
                for (char **k = role->signers[i].keyids; k && *k; k++)
                        json_add_str(keys, *k);
                json_set(s, "keys", keys);
                json_add(signers, s);
        }
        json_set(j, "signers", signers);
        return j;
}

static void describe_root(Json *j, const Root *root)
{
        static const char *const roles[_ROLE_MAX] = {
                [ROLE_ROOT] = "root", [ROLE_RELEASE] = "release", [ROLE_FEED] = "feed"
        };
        Json *keys = json_new_array(), *out = json_new_object();

        json_set_u64(j, "version", root->version);
        json_set_time(j, "issued", root->issued);
        json_set_time(j, "expires", root->expires);
        for (size_t i = 0; i < root->n_keys; i++) {
                Json *k = json_new_object();

                json_set_str(k, "keyid", root->keys[i].keyid);
                json_set_str(k, "alg", root->keys[i].alg_name);
                json_add(keys, k);
        }
        json_set(j, "keys", keys);
        for (RoleId r = 0; r < _ROLE_MAX; r++)
                json_set(out, roles[r], role_json(&root->roles[r]));
        json_set(j, "roles", out);
}

typedef struct Roots {
        const Env *env;
        Json *list, *problems;
        TrustAnchor anchors[2];
        size_t n_anchors;
} Roots;

static void roots_done(Roots *r)
{
        for (size_t i = 0; i < r->n_anchors; i++)
                trust_anchor_done(&r->anchors[i]);
}

/* Bytes of a root as a line of the list. 1 there is one and *ret is its envelope, 0 not. */
static int read_root(Roots *roots, const char *path, const char *name, Json **ret_entry, Envelope *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char digest[SHA256_HEX];
        Why why = { 0 };
        int r = env_read(roots->env, path, ENVELOPE_MAX, &b);

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                (void) fail_errno(&why, r, WHY_HOST, "%s", path);
        else
                r = envelope_parse(b.data ? (const void *) b.data : "", b.size, path, ret, &why);
        if (r < 0) {
                record_problem(roots->problems, &why);
                return r == -ENOMEM ? r : 0;
        }
        *ret_entry = json_new_object();
        json_set_str(*ret_entry, "name", name);
        json_set_str(*ret_entry, "path", path);
        if (sha256_hex(b.data, b.size, digest) >= 0)
                json_set_str(*ret_entry, "sha256", digest);
        json_add(roots->list, *ret_entry);
        return 1;
}

static int add_anchor(Roots *roots, const char *path, const char *name)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        TrustAnchor *anchor = &roots->anchors[roots->n_anchors];
        Json *entry;
        Why why = { 0 };
        int r = read_root(roots, path, name, &entry, &e);

        if (r <= 0)
                return r;
        r = trust_anchor_open(&e, name, anchor, &why);
        if (r < 0) {
                record_problem(roots->problems, &why);
                return r == -ENOMEM ? r : 0;
        }
        roots->n_anchors++;
        describe_root(entry, &anchor->root);
        return 0;
}

/* A root that was rotated in counts for an anchor whose chain reaches it. */
static int add_rotated(Roots *roots, uint64_t number)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(free_charp) char *path = str_printf("%s/root.%" PRIu64 ".json", STATE_DIR, number);
        Json *entry, *follows;
        int r = path ? read_root(roots, path, "rotated", &entry, &e) : -ENOMEM;

        if (r <= 0)
                return r;
        follows = json_new_array();
        for (size_t i = 0; i < roots->n_anchors; i++) {
                TrustAnchor *a = &roots->anchors[i];
                Why ignored = { 0 };

                if (trust_anchor_advance(a, &e, &ignored) < 0 || a->root.version != number)
                        continue;
                if (json_len(follows) == 0)
                        describe_root(entry, &a->root);
                json_add_str(follows, a->name);
        }
        json_set(entry, "followsFrom", follows);
        return 1;
}

int record_roots(const Env *env, Json *list, Json *problems)
{
        _cleanup_(roots_done) Roots roots = { .env = env, .list = list, .problems = problems };
        uint64_t next = UINT64_MAX;
        int r;

        if ((r = add_anchor(&roots, "/usr/lib/gybe/root.json", "factory")) < 0 ||
            (r = add_anchor(&roots, "/etc/gybe/root.json", "operator")) < 0)
                return r;
        for (size_t i = 0; i < roots.n_anchors; i++)
                next = MIN(next, roots.anchors[i].root.version);
        if (next == UINT64_MAX)
                return 0;
        do
                r = add_rotated(&roots, ++next);
        while (r > 0 && next < UINT64_MAX);
        return r;
}
