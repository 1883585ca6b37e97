/* SPDX-License-Identifier: MIT */

/* X.cosi -> X.release.json. Everything that can be read from the COSI is read from it; what only people know
 * comes from the command line. The finished payload passes the hosts' own reader before anybody signs it. */

#include "publish/publish.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/keys.h"
#include "publish/cosiview.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static Json *strings(char *const *v)
{
        Json *list = json_new_array();

        for (; v && *v; v++)
                json_add_str(list, *v);
        return list;
}

static Json *cosi_json(const CosiView *v, const char *name)
{
        Json *j = json_new_object();

        json_set_str(j, "name", name);
        json_set_u64(j, "size", v->file.size);
        json_set_str(j, "metadataSha384", v->metadata_sha384);
        return j;
}

static Json *usr_json(const CosiView *v, const SignOptions *o)
{
        Json *j = json_new_object();
        char salt[2 * VERITY_SALT_MAX + 1], uuid[37];

        hex_encode(v->verity.salt, v->verity.salt_size, salt);
        uuid_format_text(v->verity.uuid, uuid);
        json_set_str(j, "roothash", v->cosi.usr->roothash);
        json_set_u64(j, "dataSize", v->cosi.usr->image.uncompressed_size);
        json_set_u64(j, "hashSize", v->cosi.usr->verity.uncompressed_size);
        json_set_str(j, "salt", salt);
        json_set_str(j, "uuid", uuid);
        json_set_str(j, "ostreeCommit", o->ostree_commit);
        return j;
}

static Json *boot_json(const BootList *boot)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < boot->n_files; i++) {
                Json *j = json_new_object();

                json_set_str(j, "path", boot->files[i].path);
                json_set_str(j, "kind", boot_kind_name(boot->files[i].kind));
                json_set_str(j, "sha256", boot->files[i].sha256);
                json_add(list, j);
        }
        return list;
}

static int revokes_json(const SignOptions *o, Json *doc, Why *why)
{
        Json *serials = json_new_array(), *hashes = json_new_array(), *revokes;
        int r = 0;

        for (char **s = o->revoke_serials; s && *s; s++) {
                uint64_t serial;

                if (parse_u64(*s, &serial) < 0)
                        r = fail(why, -EINVAL, WHY_USAGE, "usage", "--revoke-serial %s: not a number", *s);
                else
                        json_add_u64(serials, serial);
        }
        for (char **h = o->revoke_roothashes; h && *h; h++) {
                char hex[65];

                if (hex_normalize(*h, 64, hex) < 0)
                        r = fail(why, -EINVAL, WHY_USAGE, "usage", "--revoke-roothash %s: not 64 hex digits",
                                 *h);
                else
                        json_add_str(hashes, hex);
        }
        revokes = json_sub(doc, "revokes");
        json_set(revokes, "serials", serials);
        json_set(revokes, "roothashes", hashes);
        return r;
}

static int make_payload(const CosiView *v, const SignOptions *o, const char *name, uint64_t issued,
                        uint64_t expires, char **ret, Why *why)
{
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        _cleanup_(release_done) Release check = { 0 };
        Why refusal = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        int r;

        json_set_str(doc, "schema", "gybe.release/1");
        json_set_str(doc, "product", o->product);
        json_set(doc, "channel", strings(o->channels));
        json_set_str(doc, "arch", v->cosi.arch);
        json_set_str(doc, "version", o->version);
        json_set_u64(doc, "serial", o->serial);
        json_set_u64(doc, "floorSerial", o->floor_serial);
        if (o->minimum_serial)
                json_set_u64(doc, "minimumSerial", o->minimum_serial);
        json_set_time(doc, "issued", issued);
        json_set_time(doc, "expires", expires);
        json_set(doc, "cosi", cosi_json(v, name));
        json_set(doc, "usr", usr_json(v, o));
        json_set(doc, "boot", boot_json(&v->boot));
        r = o->revoke_serials || o->revoke_roothashes ? revokes_json(o, doc, why) : 0;
        if (r < 0)
                return r;
        json_set_str(doc, "notes", o->notes);
        json_set(doc, "critical", json_new_array());
        text = json_format(doc, true);
        if (!text)
                return fail_errno(why, -ENOMEM, WHY_HOST, "release");
        r = fail_own_document(why, release_parse(text, strlen(text), "the new release", &check, &refusal),
                              &refusal);
        if (r >= 0)
                *ret = TAKE(text);
        return r;
}

/* The times of an existing release file, so that a second signer gets the same bytes. */
static void times_of(const Envelope *e, uint64_t *issued, uint64_t *expires)
{
        _cleanup_(json_unrefp) Json *doc = NULL;

        if (!e->payload.data || json_parse(e->payload.data, e->payload.size, 0, JSON_DEPTH_MAX, "release",
                                           WHY_TRUST, &doc, NULL) < 0)
                return;
        (void) json_get_time(doc, "issued", issued);
        (void) json_get_time(doc, "expires", expires);
}

static bool same_payload(const Envelope *e, const char *payload)
{
        return e->payload.data && e->payload.size == strlen(payload) &&
               memcmp(e->payload.data, payload, e->payload.size) == 0;
}

static int open_existing(const char *path, Envelope *ret, Why *why)
{
        if (access(path, F_OK) < 0)
                return 0;
        return envelope_load(path, TYPE_RELEASE, ret, why);
}

/* With the existing file's times first; if that is not its payload, with new ones. 1: it is the same. */
static int choose_payload(const Env *env, const CosiView *v, const SignOptions *o, const char *name,
                          const Envelope *old, char **ret, Why *why)
{
        _cleanup_(free_charp) char *again = NULL, *fresh = NULL;
        uint64_t issued = 0, expires = 0;
        int r;

        times_of(old, &issued, &expires);
        if (issued > 0 && (!o->issued || o->issued == issued) && (!o->expires || o->expires == expires)) {
                r = make_payload(v, o, name, issued, expires, &again, why);
                if (r < 0)
                        return r;
                if (same_payload(old, again)) {
                        *ret = TAKE(again);
                        return 1;
                }
        }
        issued = o->issued ?: env_now(env);
        r = make_payload(v, o, name, issued, o->expires ?: issued + o->valid, &fresh, why);
        if (r < 0)
                return r;
        *ret = TAKE(fresh);
        return same_payload(old, *ret);
}

static Json *sign_result(const char *path, const Envelope *e, bool same, bool existed)
{
        Json *j = json_new_object(), *warnings = json_new_array();

        json_set_str(j, "schema", "gybe.sign/1");
        json_set_str(j, "file", path);
        json_set_str(j, "payload", same ? "unchanged" : existed ? "replaced" : "new");
        json_set(j, "signatures", envelope_signatures_json(e));
        if (existed && !same)
                json_add_str(warnings,
                             "the release file said something else before: its signatures are gone");
        json_set(j, "warnings", warnings);
        return j;
}

/* What only people know must be said. */
static int check_options(const SignOptions *o, Why *why)
{
        const char *missing = !o->product      ? "--product"
                              : !o->version    ? "--version"
                              : !o->has_serial ? "--serial"
                              : !o->channels   ? "--channel"
                                               : NULL;

        if (missing)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "sign: needs %s", missing);
        if (!str_ends(o->cosi, ".cosi"))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "sign: %s: the name of a COSI ends with .cosi",
                            o->cosi);
        return 0;
}

int publish_sign(const Env *env, const SignOptions *options, Json **ret, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(keyring_done) KeyRing ring = { 0 };
        _cleanup_(cosi_view_done) CosiView v = { 0 };
        _cleanup_(free_charp) char *payload = NULL, *path = NULL;
        const char *name = strrchr(options->cosi, '/') ? strrchr(options->cosi, '/') + 1 : options->cosi;
        bool existed;
        int r = check_options(options, why), same;

        if (r >= 0)
                r = keyring_load(options->keys, &ring, why);
        if (r < 0)
                return r;
        path = options->output ? strdup(options->output)
                               : str_printf("%.*s.release.json",
                                            (int) (strlen(options->cosi) - strlen(".cosi")), options->cosi);
        if (!path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "sign");
        r = open_existing(path, &e, why);
        if (r >= 0)
                r = cosi_view_start(env, NULL, &v, why);
        if (r >= 0)
                r = cosi_view_open(&v, options->cosi, UINT64_MAX, WHY_IMAGE, why);
        if (r >= 0)
                r = cosi_view_verity(&v, WHY_IMAGE, why);
        if (r >= 0)
                r = cosi_view_boot(&v, WHY_IMAGE, why);
        if (r >= 0)
                r = same = choose_payload(env, &v, options, name, &e, &payload, why);
        if (r < 0)
                return r;
        existed = e.payload.data;
        if (!same) {
                _cleanup_(envelope_done) Envelope fresh = { 0 };

                r = envelope_new(TYPE_RELEASE, payload, &fresh, why);
                if (r < 0)
                        return r;
                envelope_move(&e, &fresh);
        }
        r = envelope_sign_all(&e, &ring, why);
        if (r >= 0)
                r = envelope_save(path, &e, why);
        if (r >= 0)
                *ret = sign_result(path, &e, same, existed);
        return r;
}
