/* SPDX-License-Identifier: MIT */

/* A release in a registry. Every COSI is an artifact with one layer, which is the COSI (Trident reads such, too); its release
 * file is an artifact of its own that names the COSI's as its subject, so that a signature can be added later without a new
 * COSI. Tags come last: a host that reads at any moment finds everything that a tag leads to. */

#include "publish/ocipub.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/keys.h"
#include "publish/siblings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define CA_MAX (1024u * 1024u)

static void pub_done(OciPub *p)
{
        oci_ref_done(&p->ref);
        push_free(p->push);
        for (size_t i = 0; i < p->n_items; i++) {
                free(p->items[i].release_path);
                bytes_done(&p->items[i].release_file);
                release_done(&p->items[i].release);
        }
        root_done(&p->root);
        json_unrefp(&p->pushed);
        json_unrefp(&p->tags);
        json_unrefp(&p->artifacts);
        json_unrefp(&p->warnings);
}

static const char *base_name(const char *path)
{
        return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* --- who we are --- */

static int alive(void *ctx _unused_)
{
        return 0;
}

static int open_registry(OciPub *p, Why *why)
{
        _cleanup_(http_options_done) HttpOptions http = { 0 };
        _cleanup_(free_charp) char *path = NULL;
        _cleanup_(bytes_done) Bytes auth = BYTES_NULL;
        const OriginWatch watch = { .bytes = &p->bytes, .alive = alive, .ctx = p };
        int r = publish_auth_file(p->o->auth_file, &path, why);

        if (r < 0)
                return r;
        r = path ? file_read(AT_FDCWD, path, CA_MAX, &auth) : 0;
        if (r < 0)
                return fail_errno(why, r, WHY_USAGE, "%s", path);
        r = p->o->ca ? file_read(AT_FDCWD, p->o->ca, CA_MAX, &http.ca) : 0;
        if (r < 0)
                return fail_errno(why, r, WHY_USAGE, "%s", p->o->ca);
        return push_open(&http, &auth, &p->ref, &watch, &p->push, why);
}

/* --- what is to be published --- */

static int check_cosi(const Item *item, Why *why)
{
        struct stat st;

        if (stat(item->cosi, &st) < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", item->cosi);
        if (!streq(item->release.cosi.name, base_name(item->cosi)))
                return fail(why, -EINVAL, WHY_TRUST, "cosi-name", "%s: its release file is for %s",
                            item->cosi, item->release.cosi.name);
        if ((uint64_t) st.st_size != item->release.cosi.size)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_TRUST, "cosi-size",
                                      "%s: has %" PRIu64 " bytes, its release file says %" PRIu64, item->cosi,
                                      (uint64_t) st.st_size, item->release.cosi.size),
                                 "sign this COSI again");
        return 0;
}

/* What hosts would refuse is not published; without a root nobody here can tell. */
static int judge(const OciPub *p, const Envelope *e, const char *what, Why *why)
{
        TrustVerdict verdict = { 0 };
        int r = p->has_root ? trust_check(&p->root, ROLE_RELEASE, e, what, &verdict, why) : 0;

        trust_verdict_done(&verdict);
        return r;
}

static int open_item(OciPub *p, const char *cosi, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        Item *item = &p->items[p->n_items];
        int r;

        if (p->n_items >= COSIS_MAX)
                return fail(why, -E2BIG, WHY_USAGE, "usage", "publish: more than %u COSIs", COSIS_MAX);
        p->n_items++;
        item->cosi = cosi;
        if (url_is_oci(cosi) || sibling_release(cosi, &item->release_path) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "cosi-name", "%s: a COSI's name ends with .cosi", cosi);
        r = envelope_load(item->release_path, TYPE_RELEASE, &e, why);
        if (r < 0)
                return r == -ENOENT ? fail_hint(why, r, "gybe-release sign makes it") : r;
        if ((r = judge(p, &e, item->release_path, why)) < 0 ||
            (r = release_parse(e.payload.data, e.payload.size, item->release_path, &item->release, why)) <
                    0 ||
            (r = check_cosi(item, why)) < 0)
                return r;
        r = file_read(AT_FDCWD, item->release_path, ENVELOPE_MAX, &item->release_file);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s", item->release_path) : 0;
}

/* One tag means one release, for each architecture once. */
static int check_together(const OciPub *p, Why *why)
{
        for (size_t i = 1; i < p->n_items; i++) {
                const Release *a = &p->items[0].release, *b = &p->items[i].release;

                if (!streq(a->version, b->version) || !streq(a->product, b->product))
                        return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: is %s %s, the first one %s %s",
                                    p->items[i].cosi, b->product, b->version, a->product, a->version);
                for (size_t j = 0; j < i; j++)
                        if (streq(p->items[j].release.arch, b->arch))
                                return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: a second COSI for %s",
                                            p->items[i].cosi, b->arch);
        }
        return 0;
}

static int open_roots(OciPub *p, Why *why)
{
        for (char **path = p->o->roots; path && *path; path++) {
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(root_done) Root root = { 0 };
                int r = envelope_load(*path, TYPE_ROOT, &e, why);

                if (r >= 0)
                        r = root_parse(e.payload.data, e.payload.size, *path, &root, why);
                if (r < 0)
                        return r;
                if (p->has_root && root.version < p->root.version)
                        continue;
                root_done(&p->root);
                p->root = root;
                root = (Root){ 0 };
                p->has_root = true;
        }
        return 0;
}

static void told(OciPub *p, int sent, const char *name)
{
        if (sent > 0)
                json_add_str(p->pushed, name);
}

/* --- a COSI --- */

typedef struct CosiFile {
        int fd;
        Meter *meter;
        uint64_t told;
} CosiFile;

static int read_cosi(void *ctx, uint64_t offset, void *buf, size_t n)
{
        CosiFile *f = ctx;
        ssize_t l = fd_pread_full(f->fd, buf, n, offset);

        if (l < 0 || (size_t) l != n)
                return l < 0 ? (int) l : -EIO; /* it became shorter */
        if (offset + n > f->told) {
                meter_add(f->meter, offset + n - f->told, 0);
                f->told = offset + n;
        }
        return 0;
}

static int push_cosi_blob(OciPub *p, const Item *item, char digest[OCI_DIGEST_SIZE], Why *why)
{
        _cleanup_(close_fdp) int fd = open(item->cosi, O_RDONLY | O_CLOEXEC);
        CosiFile file = { .fd = fd, .meter = p->meter };
        int r;

        memcpy(digest, "sha256:", strlen("sha256:"));
        r = fd < 0 ? -errno : sha256_fd_hex(fd, digest + strlen("sha256:"));
        if (r < 0)
                return fail_errno(why, r, WHY_USAGE, "%s", item->cosi);
        meter_begin(p->meter, "sending", item->release.cosi.size);
        r = push_blob(p->push,
                      &(PushBlob){ .digest = digest,
                                   .size = item->release.cosi.size,
                                   .read = read_cosi,
                                   .ctx = &file },
                      why);
        told(p, r, base_name(item->cosi));
        return r;
}

static int push_cosi(OciPub *p, Item *item, Why *why)
{
        _cleanup_(json_unrefp) Json *manifest = oci_document(TYPE_MANIFEST);
        char digest[OCI_DIGEST_SIZE];
        Json *layer;
        int r = push_cosi_blob(p, item, digest, why);

        if (r < 0)
                return r;
        layer = oci_descriptor(OCI_TYPE_LAYER, digest, item->release.cosi.size);
        json_set_str(json_sub(layer, "annotations"), KEY_TITLE, base_name(item->cosi));
        oci_annotate(manifest, &item->release, 0);
        return oci_push_artifact(p, OCI_TYPE_COSI, layer, manifest, item->digest, &item->manifest_size, NULL,
                                 why);
}

/* --- its release file --- */

/* The list that clients keep where the registry keeps none: everything else in it stays, an earlier release file leaves. */
static int list_referrer(OciPub *p, const Item *item, Json *entry, Why *why)
{
        _cleanup_(json_unrefp) Json *old = NULL, *list = oci_document(TYPE_INDEX);
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Json *manifests = json_new_array();
        char tag[OCI_DIGEST_SIZE];
        int r;

        memcpy(tag, item->digest, sizeof(tag));
        tag[strlen("sha256")] = '-';
        r = push_read_manifest(p->push, tag, &b, why);
        if (r > 0)
                r = json_parse(b.data, b.size, JSON_FRACTIONS, 32, tag, WHY_NETWORK, &old, why);
        if (r < 0) {
                json_unrefp(&manifests);
                return r;
        }
        json_foreach (other, json_get(old, "manifests"))
                if (!streq0(json_get_str(other, "artifactType"), OCI_TYPE_RELEASE))
                        json_add(manifests, json_ref(other));
        json_add(manifests, json_ref(entry));
        json_set(list, "manifests", manifests);
        text = json_format(list, false);
        return text ? push_manifest(p->push, tag, TYPE_INDEX, text, NULL, why) : oci_no_memory(why);
}

/* As a host would read it. 1 this release file is attached already. */
static int is_attached(OciPub *p, const Item *item, Why *why)
{
        _cleanup_(oci_ref_done) OciRef ref = { .host = strdup(p->ref.host),
                                               .repository = strdup(p->ref.repository),
                                               .plain = p->ref.plain,
                                               .loopback = p->ref.loopback };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(free_charp) char *url = NULL;
        Why this = { 0 };
        int r;

        memcpy(ref.digest, item->digest, sizeof(ref.digest));
        url = ref.host && ref.repository ? oci_ref_format(&ref) : NULL;
        if (!url)
                return oci_no_memory(why);
        r = push_read_envelope(p->push, url, &b, &this);
        if (r < 0 && r != -ENOENT) {
                *why = this;
                return r;
        }
        return r >= 0 && b.size == item->release_file.size &&
               memcmp(b.data, item->release_file.data, b.size) == 0;
}

static int attach(OciPub *p, Item *item, Why *why)
{
        _cleanup_(json_unrefp) Json *manifest = oci_document(TYPE_MANIFEST), *entry = NULL;
        const char *name = base_name(item->release_path);
        char digest[OCI_DIGEST_SIZE];
        bool listed = false;
        size_t size = 0;
        Json *layer;
        int r = push_bytes(p->push, item->release_file.data, item->release_file.size, digest, why);

        if (r < 0)
                return r;
        layer = oci_descriptor(OCI_TYPE_RELEASE, digest, item->release_file.size);
        json_set_str(json_sub(layer, "annotations"), KEY_TITLE, name);
        json_set(manifest, "subject", oci_descriptor(TYPE_MANIFEST, item->digest, item->manifest_size));
        /* when it was attached, not issued: of two with the same payload the one with more signatures came later */
        oci_annotate(manifest, &item->release, env_now(p->env));
        r = oci_push_artifact(p, OCI_TYPE_RELEASE, layer, manifest, item->release_digest, &size, &listed,
                              why);
        if (r < 0)
                return r;
        json_add_str(p->pushed, name);
        if (listed)
                return 0;
        entry = oci_descriptor(TYPE_MANIFEST, item->release_digest, size);
        json_set_str(entry, "artifactType", OCI_TYPE_RELEASE);
        json_set(entry, "annotations", json_ref(json_get(manifest, "annotations")));
        return list_referrer(p, item, entry, why);
}

static int push_release(OciPub *p, Item *item, Why *why)
{
        int r = is_attached(p, item, why);

        if (r != 0)
                return r;
        r = attach(p, item, why);
        if (r >= 0)
                r = is_attached(p, item, why);
        if (r == 0)
                return fail(why, -EIO, WHY_NETWORK, "referrers",
                            "%s: was sent, but the registry does not find it behind its COSI",
                            item->release_path);
        return r;
}

/* --- roots --- */

static int push_root(OciPub *p, const char *path, Why *why)
{
        _cleanup_(json_unrefp) Json *manifest = oci_document(TYPE_MANIFEST);
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(bytes_done) Bytes file = BYTES_NULL, now = BYTES_NULL;
        _cleanup_(root_done) Root root = { 0 };
        _cleanup_(free_charp) char *tag = NULL;
        char digest[OCI_DIGEST_SIZE];
        size_t size;
        Json *layer;
        int r = envelope_load(path, TYPE_ROOT, &e, why);

        if (r >= 0)
                r = root_parse(e.payload.data, e.payload.size, path, &root, why);
        if (r < 0)
                return r;
        tag = str_printf("root.%" PRIu64, root.version);
        r = tag ? file_read(AT_FDCWD, path, ENVELOPE_MAX, &file) : -ENOMEM;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", path);
        r = push_bytes(p->push, file.data, file.size, digest, why);
        if (r < 0)
                return r;
        told(p, r, tag);
        layer = oci_descriptor(OCI_TYPE_ROOT, digest, file.size);
        json_set_str(json_sub(layer, "annotations"), KEY_TITLE, base_name(path));
        r = oci_push_artifact(p, OCI_TYPE_ROOT, layer, manifest, digest, &size, NULL, why);
        if (r >= 0)
                r = push_read_manifest(p->push, digest, &now, why);
        if (r <= 0)
                return r < 0 ? r : fail(why, -EIO, WHY_NETWORK, "server", "the registry lost a manifest");
        json_add_str(p->tags, tag);
        return push_manifest(p->push, tag, TYPE_MANIFEST, (const char *) now.data, NULL, why);
}

/* --- all of it --- */

static void add_artifact(OciPub *p, const Item *item)
{
        Json *j = json_new_object();

        json_set_str(j, "cosi", item->cosi);
        json_set_str(j, "arch", item->release.arch);
        json_set_str(j, "manifest", item->digest);
        json_set_str(j, "release", *item->release_digest ? item->release_digest : NULL);
        json_add(p->artifacts, j);
}

static Json *result(OciPub *p)
{
        Json *j = json_new_object();

        json_set_str(j, "schema", "gybe.publish/1");
        json_set_str(j, "oci", p->o->ref);
        json_set(j, "pushed", TAKE(p->pushed));
        json_set(j, "tags", TAKE(p->tags));
        json_set(j, "artifacts", TAKE(p->artifacts));
        json_set(j, "warnings", TAKE(p->warnings));
        return j;
}

static int open_all(OciPub *p, Why *why)
{
        int r = oci_ref_parse(p->o->ref, &p->ref, why);

        if (r >= 0 && *p->ref.digest)
                return fail(why, -EINVAL, WHY_USAGE, "bad-reference",
                            "%s: what is published gets a digest, it cannot be given one", p->o->ref);
        if (r >= 0)
                r = open_roots(p, why);
        for (char **c = p->o->cosis; r >= 0 && c && *c; c++)
                r = open_item(p, *c, why);
        if (r >= 0)
                r = check_together(p, why);
        return r < 0 ? r : open_registry(p, why);
}

int publish_oci(const Env *env, const OciOptions *options, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(pub_done) OciPub p = { .env = env,
                                         .o = options,
                                         .meter = meter,
                                         .pushed = json_new_array(),
                                         .tags = json_new_array(),
                                         .artifacts = json_new_array(),
                                         .warnings = json_new_array() };
        int r = open_all(&p, why);

        for (char **root = options->roots; r >= 0 && root && *root; root++)
                r = push_root(&p, *root, why);
        for (size_t i = 0; r >= 0 && i < p.n_items; i++) {
                r = push_cosi(&p, &p.items[i], why);
                if (r >= 0)
                        r = push_release(&p, &p.items[i], why);
                if (r >= 0)
                        add_artifact(&p, &p.items[i]);
        }
        if (r >= 0 && p.n_items > 0)
                r = oci_set_tags(&p, why);
        if (r < 0)
                return r;
        *ret = result(&p);
        return 0;
}
