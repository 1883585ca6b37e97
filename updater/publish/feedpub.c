/* SPDX-License-Identifier: MIT */

/* A feed is a folder behind any web server. Files come first and the index last, each under a temporary name and renamed,
 * so that a host that reads at any moment finds everything the index names. Publishing the same again changes nothing. */

#include "publish/publish.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/filecopy.h"
#include "publish/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#define INDEX_NAME      "index.json"
#define RELEASE_SUFFIX  ".release.json"
#define NAME_LENGTH_MAX 200u /* with suffixes still a file name everywhere */

typedef struct FeedPub {
        const Env *env;
        const FeedOptions *o;
        Meter *meter;
        int dir_fd;
        Json *doc;    /* the index's payload */
        char *before; /* its text when it was opened; NULL: there was none */
        Root root;    /* newest root served by the feed, for judging what hosts would say */
        bool has_root;
        Json *copied, *warnings;
} FeedPub;

static void feed_pub_done(FeedPub *f)
{
        close_fdp(&f->dir_fd);
        json_unrefp(&f->doc);
        free(f->before);
        root_done(&f->root);
        json_unrefp(&f->copied);
        json_unrefp(&f->warnings);
}

static const char *base_name(const char *path)
{
        return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* Becomes part of URLs: nothing that a server or a shell would take for something else */
static bool name_is_plain(const char *name)
{
        if (!*name || *name == '.' || *name == '-' || strlen(name) > NAME_LENGTH_MAX)
                return false;
        for (const char *p = name; *p; p++)
                if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-", *p))
                        return false;
        return true;
}

/* --- files --- */

/* Into the feed, unless it is there already. */
static int bring_file(FeedPub *f, const char *source, const char *name, Why *why)
{
        _cleanup_(close_fdp) int from = open(source, O_RDONLY | O_CLOEXEC), there = -1;
        struct stat st;
        int r;

        if (from < 0 || fstat(from, &st) < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", source);
        there = openat(f->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        r = there >= 0 ? file_same_bytes(from, there) : 0;
        if (r == 0) {
                r = file_copy_into(from, f->dir_fd, name, (uint64_t) st.st_size, f->meter);
                json_add_str(f->copied, name);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", f->o->dir, name) : 0;
}

/* --- roots --- */

static int bring_root(FeedPub *f, const char *path, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(root_done) Root root = { 0 };
        _cleanup_(free_charp) char *name = NULL;
        int r = envelope_load(path, TYPE_ROOT, &e, why);

        if (r >= 0)
                r = root_parse(e.payload.data, e.payload.size, path, &root, why);
        if (r < 0)
                return r;
        name = str_printf("root.%" PRIu64 ".json", root.version);
        return name ? bring_file(f, path, name, why) : fail_errno(why, -ENOMEM, WHY_HOST, "root");
}

/* The newest root.N.json of the feed. */
static int find_root(FeedPub *f, Why *why)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_list(f->dir_fd, ".", &names);

        for (char **n = names; r >= 0 && n && *n; n++) {
                _cleanup_(free_charp) char *path = str_printf("%s/%s", f->o->dir, *n);
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(root_done) Root root = { 0 };

                if (!str_starts(*n, "root.") || !str_ends(*n, ".json"))
                        continue;
                r = path ? envelope_load(path, TYPE_ROOT, &e, why) : -ENOMEM;
                if (r >= 0)
                        r = root_parse(e.payload.data, e.payload.size, *n, &root, why);
                if (r < 0 || (f->has_root && root.version < f->root.version))
                        continue;
                root_done(&f->root);
                f->root = root;
                root = (Root){ 0 };
                f->has_root = true;
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", f->o->dir) : 0;
}

/* --- one release --- */

/* What hosts would refuse is not published; without a root in the feed nobody here can tell. */
static int judge_release(FeedPub *f, const Envelope *e, const char *what, Why *why)
{
        TrustVerdict verdict = { 0 };
        int r = f->has_root ? trust_check(&f->root, ROLE_RELEASE, e, what, &verdict, why) : 0;

        trust_verdict_done(&verdict);
        return r < 0 ? fail_hint(why, r, "sign it first: gybe-release sign --add-signature --key K %s", what)
                     : 0;
}

static int check_cosi(const Release *release, const char *cosi, Why *why)
{
        struct stat st;

        if (stat(cosi, &st) < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", cosi);
        if (!streq(release->cosi.name, base_name(cosi)))
                return fail(why, -EINVAL, WHY_TRUST, "cosi-name", "%s: its release file is for %s", cosi,
                            release->cosi.name);
        if ((uint64_t) st.st_size != release->cosi.size)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_TRUST, "cosi-size",
                                      "%s: has %" PRIu64 " bytes, its release file says %" PRIu64, cosi,
                                      (uint64_t) st.st_size, release->cosi.size),
                                 "sign this COSI again");
        return 0;
}

static bool is_entry_of(const Json *entry, const Release *release)
{
        return streq0(json_get_str(entry, "version"), release->version) &&
               streq0(json_get_str(entry, "arch"), release->arch);
}

/* One entry a version and architecture, in the order in which they first came. */
static void put_entry(Json *doc, const Release *release, const char *path, const char *sha384)
{
        Json *list = json_new_array(), *entry = json_new_object();
        bool placed = false;

        json_set_str(entry, "version", release->version);
        json_set_u64(entry, "serial", release->serial);
        json_set_str(entry, "arch", release->arch);
        json_set_str(entry, "path", path);
        json_set_str(entry, "sha384", sha384);
        json_foreach (old, json_get(doc, "releases")) {
                bool same = is_entry_of(old, release);

                json_add(list, json_ref(same ? entry : old));
                placed = placed || same;
        }
        if (placed)
                (void) json_unref(entry);
        else
                json_add(list, entry);
        json_set(doc, "releases", list);
}

static uint64_t serial_of(const Json *doc, const char *version)
{
        uint64_t serial = 0;

        json_foreach (entry, json_get(doc, "releases"))
                if (streq0(json_get_str(entry, "version"), version))
                        (void) json_get_u64(entry, "serial", &serial);
        return serial;
}

static void point_channels(FeedPub *f, const Release *release)
{
        Json *channels = json_sub(f->doc, "channels");

        for (char **c = f->o->channels ?: release->channels; c && *c; c++) {
                const char *now = json_get_str(channels, *c);

                if (!strv_has(release->channels, *c)) {
                        _cleanup_(free_charp) char *text = str_printf(
                                "channel %s: release %s is not signed for it; hosts refuse it there", *c,
                                release->version);

                        json_add_str(f->warnings, text ?: "");
                }
                if (now && serial_of(f->doc, now) > release->serial) {
                        _cleanup_(free_charp) char *text =
                                str_printf("channel %s goes back from %s to %s; hosts that have "
                                           "it do not go back by themselves",
                                           *c, now, release->version);

                        json_add_str(f->warnings, text ?: "");
                }
                json_set_str(channels, *c, release->version);
        }
}

static int check_product(FeedPub *f, const Release *release, Why *why)
{
        const char *product = json_get_str(f->doc, "product");

        if (product && !streq(product, release->product))
                return fail(why, -EINVAL, WHY_USAGE, "product", "%s: a feed for %s, the release is for %s",
                            f->o->dir, product, release->product);
        json_set_str(f->doc, "product", release->product);
        return 0;
}

static int bring_release(FeedPub *f, const char *cosi, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(release_done) Release release = { 0 };
        _cleanup_(bytes_done) Bytes file = BYTES_NULL;
        _cleanup_(free_charp) char *path = NULL;
        char sha384[SHA384_HEX];
        int r;

        if (!str_ends(cosi, ".cosi") || !name_is_plain(base_name(cosi)))
                return fail(why, -EINVAL, WHY_USAGE, "cosi-name",
                            "%s: a published name has letters, digits and . _ + ~ - and ends with .cosi",
                            cosi);
        path = str_printf("%.*s" RELEASE_SUFFIX, (int) (strlen(cosi) - strlen(".cosi")), cosi);
        if (!path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "publish");
        r = envelope_load(path, TYPE_RELEASE, &e, why);
        if (r < 0)
                return r == -ENOENT ? fail_hint(why, r, "gybe-release sign makes it") : r;
        r = judge_release(f, &e, path, why);
        if (r >= 0)
                r = release_parse(e.payload.data, e.payload.size, path, &release, why);
        if (r >= 0)
                r = check_cosi(&release, cosi, why);
        if (r >= 0)
                r = check_product(f, &release, why);
        if (r >= 0)
                r = bring_file(f, cosi, base_name(cosi), why);
        if (r >= 0)
                r = bring_file(f, path, base_name(path), why);
        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, path, ENVELOPE_MAX, &file);
        if (r >= 0)
                r = sha384_hex(file.data, file.size, sha384);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        put_entry(f->doc, &release, base_name(path), sha384);
        point_channels(f, &release);
        return 0;
}

/* --- the index --- */

static int open_index(FeedPub *f, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("%s/" INDEX_NAME, f->o->dir);
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(feed_done) Feed check = { 0 };
        int r;

        if (!path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "feed");
        if (access(path, F_OK) < 0) {
                f->doc = json_new_object();
                json_set_str(f->doc, "schema", "gybe.feed/1");
                (void) json_sub(f->doc, "channels");
                json_set(f->doc, "releases", json_new_array());
                return 0;
        }
        r = envelope_load(path, TYPE_FEED, &e, why);
        if (r >= 0)
                r = feed_parse(e.payload.data, e.payload.size, path, &check, why);
        if (r >= 0)
                r = json_parse(e.payload.data, e.payload.size, 0, JSON_DEPTH_MAX, path, WHY_TRUST, &f->doc,
                               why);
        if (r < 0)
                return r;
        f->before = json_format(f->doc, false);
        return f->before ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "feed");
}

/* A version leaves the index; a channel that points to it must have moved on first. */
static int remove_version(FeedPub *f, const char *version, Why *why)
{
        Json *list = json_new_array();
        bool found = false;

        json_foreach (entry, json_get(f->doc, "releases")) {
                bool same = streq0(json_get_str(entry, "version"), version);

                if (!same)
                        json_add(list, json_ref(entry));
                found = found || same;
        }
        json_set(f->doc, "releases", list);
        return found ? 0 : fail(why, -ENOENT, WHY_USAGE, "version", "--remove %s: not in this feed", version);
}

static int check_channel(void *ctx, const char *channel _unused_, const Json *value)
{
        json_foreach (entry, json_get(ctx, "releases"))
                if (streq0(json_get_str(entry, "version"), json_str(value)))
                        return 0;
        return 1;
}

/* Hosts of that channel would look for a release that is not there. */
static int check_channels(FeedPub *f, Why *why)
{
        if (json_each(json_get(f->doc, "channels"), check_channel, f->doc) == 0)
                return 0;
        return fail_hint(why,
                         fail(why, -EINVAL, WHY_USAGE, "version",
                              "--remove: a channel still points to that version"),
                         "publish its successor first");
}

static bool is_changed(const FeedPub *f)
{
        _cleanup_(free_charp) char *now = json_format(f->doc, false);

        return !f->before || !now || !streq(now, f->before);
}

static void judge_index(FeedPub *f, const Envelope *e)
{
        TrustVerdict verdict = { 0 };
        Why missing = { 0 };

        if (f->has_root && trust_check(&f->root, ROLE_FEED, e, INDEX_NAME, &verdict, &missing) < 0)
                json_add_str(f->warnings, missing.text);
        trust_verdict_done(&verdict);
}

static int write_index(FeedPub *f, const KeyRing *ring, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("%s/" INDEX_NAME, f->o->dir), *text = NULL;
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(feed_done) Feed check = { 0 };
        uint64_t serial = 0, now = env_now(f->env);
        Why refusal = { 0 };
        int r;

        (void) json_get_u64(f->doc, "serial", &serial);
        json_set_u64(f->doc, "serial", serial + 1);
        json_set_time(f->doc, "issued", now);
        json_set_time(f->doc, "expires", now + f->o->valid);
        text = json_format(f->doc, true);
        if (!path || !text)
                return fail_errno(why, -ENOMEM, WHY_HOST, "feed");
        r = fail_own_document(why, feed_parse(text, strlen(text), "the new index", &check, &refusal),
                              &refusal);
        if (r >= 0)
                r = envelope_new(TYPE_FEED, text, &e, why);
        if (r >= 0)
                r = envelope_sign_all(&e, ring, why);
        if (r >= 0)
                judge_index(f, &e);
        return r < 0 ? r : envelope_save(path, &e, why);
}

static int open_feed(FeedPub *f, Why *why)
{
        f->dir_fd = dir_make(AT_FDCWD, f->o->dir, 0755);
        if (f->dir_fd < 0)
                return fail_errno(why, f->dir_fd, WHY_USAGE, "%s", f->o->dir);
        if (flock(f->dir_fd, LOCK_EX | LOCK_NB) < 0)
                return fail(why, -EBUSY, WHY_BUSY, "feed-busy", "%s: somebody else is publishing there",
                            f->o->dir);
        return open_index(f, why);
}

static Json *publish_result(FeedPub *f, bool changed)
{
        Json *j = json_new_object();
        uint64_t serial = 0;

        (void) json_get_u64(f->doc, "serial", &serial);
        json_set_str(j, "schema", "gybe.publish/1");
        json_set_str(j, "feed", f->o->dir);
        json_set_u64(j, "serial", serial);
        json_set_bool(j, "changed", changed);
        json_set(j, "channels", json_ref(json_get(f->doc, "channels")));
        json_set(j, "copied", TAKE(f->copied));
        json_set(j, "warnings", TAKE(f->warnings));
        return j;
}

int publish_feed(const Env *env, const FeedOptions *options, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(feed_pub_done) FeedPub f = { .env = env,
                                               .o = options,
                                               .meter = meter,
                                               .dir_fd = -1,
                                               .copied = json_new_array(),
                                               .warnings = json_new_array() };
        _cleanup_(keyring_done) KeyRing ring = { 0 };
        bool changed;
        int r = keyring_load(options->keys, &ring, why);

        if (r >= 0)
                r = open_feed(&f, why);
        for (char **p = options->roots; r >= 0 && p && *p; p++)
                r = bring_root(&f, *p, why);
        if (r >= 0)
                r = find_root(&f, why);
        for (char **c = options->cosis; r >= 0 && c && *c; c++)
                r = bring_release(&f, *c, why);
        for (char **v = options->remove; r >= 0 && v && *v; v++)
                r = remove_version(&f, *v, why);
        if (r >= 0)
                r = check_channels(&f, why);
        if (r < 0)
                return r;
        changed = is_changed(&f) || (!options->cosis && !options->roots);
        if (changed && ring.n_keys == 0)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_USAGE, "usage", "publish: the index must be signed"),
                                 "give --key");
        r = changed ? write_index(&f, &ring, why) : 0;
        if (r >= 0)
                *ret = publish_result(&f, changed);
        return r;
}
