/* SPDX-License-Identifier: MIT */

/* Three kinds of manifest: of a COSI, of a signed file that names the COSI's as its subject, and an index over several COSIs.
 * One process asks for the release and then for the COSI by the same address: a tag that moves in between must not part the two,
 * so what an address meant is kept. */

#include "fetch/oci.h"
#include "fetch/oci-manifest.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/utsname.h>

#define PAGES_MAX 16u /* of referrers: scanners and signers attach a few things to an image, not thousands */
#define NAME_SIZE 200u

/* One manifest: its bytes' digest, and what they say. */
typedef struct Node {
        char digest[OCI_DIGEST_SIZE];
        OciManifest manifest;
} Node;

struct Oci {
        Http *http;
        Registry *registry;
        char arch[32];
        /* the last address: */
        char *url;
        char name[NAME_SIZE]; /* for sentences */
        OciRef ref;
        const char *base;
        WhyKind kind; /* what a contradiction is: of an operator's digest, of trust */
        Node node;    /* of a COSI or a signed file; no index */
        bool is_blob; /* the digest is not a manifest's but the COSI's own */
};

static void node_done(Node *n)
{
        oci_manifest_done(&n->manifest);
        *n = (Node){ 0 };
}

static void node_move(Node *to, Node *from)
{
        node_done(to);
        *to = *from;
        *from = (Node){ 0 };
}

static void forget(Oci *o)
{
        free(o->url);
        o->url = NULL;
        oci_ref_done(&o->ref);
        node_done(&o->node);
        o->base = NULL;
        o->is_blob = false;
}

Oci *oci_free(Oci *o)
{
        if (!o)
                return NULL;
        forget(o);
        free(o);
        return NULL;
}

int oci_new(Http *http, Registry *registry, const char *arch, Oci **ret, Why *why)
{
        Oci *o = calloc(1, sizeof(*o));
        struct utsname u = { 0 };

        if (!o)
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        (void) uname(&u);
        o->http = http;
        o->registry = registry;
        (void) snprintf(o->arch, sizeof(o->arch), "%s", arch && *arch ? arch : u.machine);
        *ret = o;
        return 0;
}

/* --- documents --- */

static int no_memory(Why *why)
{
        return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
}

static int wrong_digest(const Oci *o, const char *what, const char *found, const char *wanted, Why *why)
{
        return fail(why, -EBADMSG, o->kind, "oci-digest", "%s: %s has the digest %.19s..., not %.19s...",
                    o->name, what, found, wanted);
}

/* A manifest by tag or digest. size: UINT64_MAX unknown. -ENOENT: there is none; once: a failing server has none either (to
 * docker's registry a blob that is asked for as a manifest is an error of its own). */
static int read_manifest_from(Oci *o, const char *reference, uint64_t size, bool once, Node *ret, Why *why)
{
        _cleanup_(free_charp) char *url = str_printf("%smanifests/%s", o->base, reference);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(node_done) Node n = { 0 };
        const DownloadAsk ask = {
                .url = url, .accept = OCI_ACCEPT, .max = OCI_MANIFEST_MAX, .kind = o->kind, .once = once
        };
        Reply *head = calloc(1, sizeof(*head));
        char type[sizeof(head->type)] = "", said[sizeof(head->digest)] = "";
        int r = url && head ? download_document(o->http, &ask, &b, head, why) : no_memory(why);

        if (head) {
                if (r == -EIO && once && head->status >= 500)
                        r = -ENOENT;
                memcpy(type, head->type, sizeof(type));
                memcpy(said, head->digest, sizeof(said));
                free(head);
        }
        if (r >= 0 && oci_digest(b.data ? (const void *) b.data : "", b.size, n.digest) < 0)
                r = no_memory(why);
        if (r < 0)
                return r;
        if (str_starts(reference, "sha256:") && !streq(reference, n.digest))
                return wrong_digest(o, "the manifest", n.digest, reference, why);
        if (str_starts(said, "sha256:") && !streq(said, n.digest))
                return wrong_digest(o, "the manifest", n.digest, said, why);
        if (size != UINT64_MAX && size != b.size)
                return fail(why, -EBADMSG, o->kind, "oci-digest",
                            "%s: a manifest has %zu bytes, not %" PRIu64, o->name, b.size, size);
        r = oci_manifest_parse(b.data ? (const void *) b.data : "", b.size, type, o->name, o->kind,
                               &n.manifest, why);
        if (r < 0)
                return r;
        node_move(ret, &n);
        return 0;
}

static int read_manifest(Oci *o, const char *reference, uint64_t size, Node *ret, Why *why)
{
        return read_manifest_from(o, reference, size, false, ret, why);
}

/* A blob that is small enough to be looked at whole. */
static int read_blob(Oci *o, const OciDescriptor *d, size_t max, Bytes *ret, Why *why)
{
        _cleanup_(free_charp) char *url = str_printf("%sblobs/%s", o->base, d->digest);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char digest[OCI_DIGEST_SIZE];
        int r;

        if (!url)
                return no_memory(why);
        if (d->size > max)
                return fail(why, -EFBIG, WHY_TRUST, "too-large",
                            "%s: the signed file has more than %zu bytes", o->name, max);
        r = download_get(o->http, url, max, o->kind, &b, why);
        if (r == -ENOENT) /* not "there is no release": there is one, and it is broken */
                return -ENODATA;
        if (r >= 0 && oci_digest(b.data ? (const void *) b.data : "", b.size, digest) < 0)
                r = no_memory(why);
        if (r < 0)
                return r;
        if (!streq(digest, d->digest) || b.size != d->size)
                return wrong_digest(o, "the signed file", digest, d->digest, why);
        bytes_move(ret, &b);
        return 0;
}

/* --- an address --- */

/* An index is left for the manifest that it has for this architecture; one index, and no index in an index. */
static int leave_index(Oci *o, Node *n, Why *why)
{
        _cleanup_(node_done) Node inner = { 0 };
        ssize_t i;
        int r;

        if (!n->manifest.is_index)
                return 0;
        i = oci_index_for(&n->manifest, o->arch);
        if (i < 0)
                return fail(why, -ENODATA, WHY_NETWORK, "wrong-arch", "%s: has nothing for %s", o->name,
                            o->arch);
        r = read_manifest(o, n->manifest.items[i].digest, n->manifest.items[i].size, &inner, why);
        if (r < 0)
                return r == -ENOENT ? -ENODATA : r;
        if (inner.manifest.is_index)
                return fail(why, -ELOOP, o->kind, "oci-manifest", "%s: an index of indexes", o->name);
        node_move(n, &inner);
        return 0;
}

static int no_such_tag(const Oci *o, Why *why)
{
        *why = (Why){ 0 };
        return fail_hint(why,
                         fail(why, -ENODATA, WHY_NETWORK, "not-found",
                              "%s: the registry has no such artifact", o->name),
                         "tags are channels and versions: gybe-release publish --oci makes them");
}

static int look_for_blob(Oci *o, Why *why)
{
        _cleanup_(free_charp) char *url = str_printf("%sblobs/%s", o->base, o->ref.digest);
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        int r = url ? download_open(o->http, url, UINT64_MAX, &origin, why) : no_memory(why);

        o->is_blob = r >= 0;
        return r;
}

/* Trident takes the digest in an address as that of the COSI's blob: what is no manifest's may be one. With a tag its manifest
 * must have that blob, without one there is no manifest, and so no release file either. */
static int try_blob(Oci *o, Node *n, Why *why)
{
        ssize_t i;
        int r;

        if (!o->ref.tag)
                return look_for_blob(o, why);
        r = read_manifest(o, o->ref.tag, UINT64_MAX, n, why);
        if (r >= 0)
                r = leave_index(o, n, why);
        if (r < 0)
                return r;
        i = oci_manifest_cosi(&n->manifest);
        if (i < 0 || !streq(n->manifest.items[i].digest, o->ref.digest))
                return wrong_digest(o, "the artifact", n->digest, o->ref.digest, why);
        return 0;
}

static int read_pinned(Oci *o, Node *ret, Why *why)
{
        Why this = { 0 };
        int r = read_manifest_from(o, o->ref.digest, UINT64_MAX, true, ret, &this);

        if (r == -ENOENT) {
                this = (Why){ 0 };
                r = try_blob(o, ret, &this);
        }
        if (r == -ENOENT) { /* neither: what the registry says when it is asked patiently */
                this = (Why){ 0 };
                r = read_manifest(o, o->ref.digest, UINT64_MAX, ret, &this);
        }
        if (r < 0 && why->kind == WHY_NONE)
                *why = this;
        return r;
}

static int resolve(Oci *o, const char *url, Why *why)
{
        _cleanup_(node_done) Node n = { 0 };
        int r;

        if (o->url && streq(o->url, url))
                return 0;
        forget(o);
        url_redact(url, o->name, sizeof(o->name));
        r = oci_ref_parse(url, &o->ref, why);
        if (r >= 0)
                r = registry_open(o->registry, &o->ref, false, &o->base, why);
        if (r < 0)
                return r;
        o->kind = *o->ref.digest ? WHY_TRUST : WHY_NETWORK;
        if (*o->ref.digest)
                r = read_pinned(o, &n, why);
        else
                r = read_manifest(o, o->ref.tag ?: "latest", UINT64_MAX, &n, why);
        if (r == -ENOENT)
                r = no_such_tag(o, why);
        else if (r >= 0 && !o->is_blob)
                r = leave_index(o, &n, why);
        if (r < 0)
                return r;
        node_move(&o->node, &n);
        o->url = strdup(url);
        return o->url ? 0 : no_memory(why);
}

/* --- the release of a COSI --- */

/* 1 the address of the next page, 0 this was the last */
static int next_page(const Oci *o, const char *url, const Reply *head, char **ret, Why *why)
{
        _cleanup_(free_charp) char *link = NULL;
        int r = oci_link_next(head->link, &link);

        if (r == 0)
                return 0;
        if (r == -ENOMEM)
                return no_memory(why);
        if (r > 0)
                r = http_redirect(url, link, o->name, ret, why);
        if (r < 0 || !str_starts(*ret, o->base))
                return fail(why, -EBADMSG, WHY_NETWORK, "referrers",
                            "%s: the list of referrers leads elsewhere", o->name);
        return 1;
}

static int keep_youngest(const OciManifest *page, OciDescriptor *found)
{
        ssize_t i = oci_index_release(page);
        char *created = NULL;

        if (i < 0 || (*found->digest && !oci_is_younger(&page->items[i], found)))
                return 0;
        if (page->items[i].created && !(created = strdup(page->items[i].created)))
                return -ENOMEM;
        free(found->created);
        *found = (OciDescriptor){ .size = page->items[i].size, .created = created };
        memcpy(found->digest, page->items[i].digest, sizeof(found->digest));
        return 0;
}

/* The status of a registry that has never heard of referrers. */
static bool is_unknown_api(unsigned status)
{
        return status == 400 || status == 404 || status == 405 || status == 406 || status == 410 ||
               status == 501;
}

/* One page. 1 there is another, *url is then its address; 0 that was the last, or the registry has no such API. */
static int ask_page(Oci *o, char **url, OciDescriptor *found, Reply *head, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(oci_manifest_done) OciManifest page = { 0 };
        _cleanup_(free_charp) char *next = NULL;
        const DownloadAsk ask = {
                .url = *url, .accept = OCI_TYPE_INDEX, .max = OCI_MANIFEST_MAX, .kind = WHY_NETWORK
        };
        Why this = { 0 };
        int r;

        *head = (Reply){ 0 };
        r = download_document(o->http, &ask, &b, head, &this);
        if (r < 0 && is_unknown_api(head->status))
                return 0;
        if (r < 0) {
                *why = this;
                return r;
        }
        r = oci_manifest_parse(b.data ? (const void *) b.data : "", b.size, head->type, o->name, WHY_NETWORK,
                               &page, why);
        if (r < 0)
                return r;
        if (!page.is_index)
                return fail(why, -EBADMSG, WHY_NETWORK, "referrers", "%s: the referrers are no list",
                            o->name);
        if (keep_youngest(&page, found) < 0)
                return no_memory(why);
        r = next_page(o, *url, head, &next, why);
        if (r > 0) {
                free(*url);
                *url = TAKE(next);
        }
        return r;
}

static int ask_referrers(Oci *o, OciDescriptor *found, Why *why)
{
        _cleanup_(free_charp) char *url = str_printf("%sreferrers/%s", o->base, o->node.digest);
        Reply *head = calloc(1, sizeof(*head));
        int r = url && head ? 1 : no_memory(why);

        for (unsigned pages = 0; r > 0 && pages < PAGES_MAX; pages++)
                r = ask_page(o, &url, found, head, why);
        free(head);
        if (r > 0)
                return fail(why, -E2BIG, WHY_NETWORK, "referrers", "%s: more than %u pages of referrers",
                            o->name, PAGES_MAX);
        return r;
}

/* Where the registry has no such API (or learnt it later), clients keep the list themselves, under a tag: "sha256-HEX". */
static int ask_tag_schema(Oci *o, OciDescriptor *found, Why *why)
{
        char tag[OCI_DIGEST_SIZE];
        _cleanup_(node_done) Node n = { 0 };
        Why this = { 0 };
        int r;

        memcpy(tag, o->node.digest, sizeof(tag));
        tag[strlen("sha256")] = '-';
        r = read_manifest(o, tag, UINT64_MAX, &n, &this);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                *why = this;
                return r;
        }
        return keep_youngest(&n.manifest, found) < 0 ? no_memory(why) : 0;
}

static int read_signed_layer(Oci *o, const OciManifest *m, Bytes *ret, Why *why)
{
        if (m->is_index || m->n_items != 1 || !*m->items[0].digest)
                return fail(why, -EBADMSG, o->kind, "oci-manifest",
                            "%s: the signed file is not the only layer", o->name);
        return read_blob(o, &m->items[0], ENVELOPE_MAX, ret, why);
}

static int find_release(Oci *o, Node *ret, Why *why)
{
        _cleanup_(node_done) Node n = { 0 };
        OciDescriptor found = { 0 };
        int r = ask_referrers(o, &found, why);

        if (r >= 0 && !*found.digest)
                r = ask_tag_schema(o, &found, why);
        free(found.created);
        if (r < 0)
                return r;
        if (!*found.digest)
                return fail(why, -ENOENT, WHY_NETWORK, "no-release-file",
                            "%s: no release file is attached to it", o->name);
        r = read_manifest(o, found.digest, found.size, &n, why);
        if (r < 0)
                return r == -ENOENT ? -ENODATA : r;
        if (!n.manifest.has_subject || !streq(n.manifest.subject.digest, o->node.digest))
                return fail(why, -EBADMSG, o->kind, "referrers",
                            "%s: the release file is attached to something else", o->name);
        node_move(ret, &n);
        return 0;
}

/* What was found by a list says nothing about an operator's digest: a fault there may be gone tomorrow. */
static int read_attached(Oci *o, Bytes *ret, Why *why)
{
        _cleanup_(node_done) Node found = { 0 };
        int r = find_release(o, &found, why);

        return r < 0 ? r : read_signed_layer(o, &found.manifest, ret, why);
}

int oci_read_envelope(Oci *o, const char *url, Bytes *ret, Why *why)
{
        int r = resolve(o, url, why);
        WhyKind kind = o->kind;

        if (r < 0)
                return r;
        if (o->is_blob)
                return fail(why, -ENOENT, WHY_NETWORK, "no-release-file", "%s: a blob has no release file",
                            o->name);
        if (oci_type_is_signed_file(o->node.manifest.artifact_type))
                return read_signed_layer(o, &o->node.manifest, ret, why);
        o->kind = WHY_NETWORK;
        r = read_attached(o, ret, why);
        o->kind = kind;
        return r;
}

/* --- the COSI --- */

/* An address of the release file leads to the COSI that it is attached to. */
static int go_to_subject(Oci *o, Why *why)
{
        _cleanup_(node_done) Node n = { 0 };
        const OciManifest *m = &o->node.manifest;
        int r;

        if (!oci_type_is_signed_file(m->artifact_type))
                return 0;
        if (!m->has_subject || !*m->subject.digest)
                return fail(why, -EBADMSG, o->kind, "oci-manifest", "%s: is attached to no COSI", o->name);
        r = read_manifest(o, m->subject.digest, m->subject.size, &n, why);
        if (r < 0)
                return r;
        if (oci_type_is_signed_file(n.manifest.artifact_type))
                return fail(why, -ELOOP, o->kind, "oci-manifest", "%s: is attached to a signed file",
                            o->name);
        node_move(&o->node, &n);
        return 0;
}

static int find_blob(Oci *o, OciDescriptor *ret, Why *why)
{
        ssize_t i;

        if (o->is_blob) {
                ret->size = UINT64_MAX;
                memcpy(ret->digest, o->ref.digest, sizeof(ret->digest));
                return 0;
        }
        i = oci_manifest_cosi(&o->node.manifest);
        if (i < 0)
                return fail_hint(why,
                                 fail(why, -EBADMSG, WHY_IMAGE, "oci-manifest",
                                      "%s: has %zu layers, of which %s", o->name, o->node.manifest.n_items,
                                      "none can be told to be the COSI"),
                                 "a COSI is the only layer of its artifact");
        ret->size = o->node.manifest.items[i].size;
        memcpy(ret->digest, o->node.manifest.items[i].digest, sizeof(ret->digest));
        return 0;
}

int oci_open_cosi(Oci *o, const char *url, uint64_t expect_size, Origin *ret, Why *why)
{
        _cleanup_(free_charp) char *blob = NULL;
        _cleanup_(origin_done) Origin origin = ORIGIN_NULL;
        OciDescriptor d = { 0 };
        int r;

        if ((r = resolve(o, url, why)) < 0 || (r = go_to_subject(o, why)) < 0 ||
            (r = find_blob(o, &d, why)) < 0)
                return r;
        if (expect_size != UINT64_MAX && d.size != UINT64_MAX && d.size != expect_size)
                return fail(why, -EBADMSG, WHY_TRUST, "cosi-size",
                            "%s: has %" PRIu64 " bytes, the signed release says %" PRIu64, o->name, d.size,
                            expect_size);
        blob = str_printf("%sblobs/%s", o->base, d.digest);
        r = blob ? download_open_parts(o->http, blob, expect_size, &origin, why) : no_memory(why);
        if (r < 0)
                return r;
        if (d.size != UINT64_MAX && origin.size != d.size)
                return fail(why, -EBADMSG, o->kind, "cosi-size",
                            "%s: the blob has %" PRIu64 " bytes, its manifest says %" PRIu64, o->name,
                            origin.size, d.size);
        *ret = origin;
        origin = ORIGIN_NULL;
        return 0;
}
