/* SPDX-License-Identifier: MIT */

#include "fetch/oci-manifest.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>
#include <strings.h>

#define TYPE_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define TYPE_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define TYPE_EMPTY           "application/vnd.oci.empty.v1+json" /* of a config that says nothing */
#define TYPE_PAYLOAD         "application/vnd.gybe.release+json;v=1" /* what the envelope calls it (trust.md 3.7) */

#define TEXT_MAX 1024u /* of a media type, title or platform */

static void descriptor_done(OciDescriptor *d)
{
        free(d->media_type);
        free(d->artifact_type);
        free(d->title);
        free(d->created);
        free(d->arch);
        free(d->os);
        *d = (OciDescriptor){ 0 };
}

void oci_manifest_done(OciManifest *m)
{
        for (size_t i = 0; i < m->n_items; i++)
                descriptor_done(&m->items[i]);
        free(m->items);
        free(m->artifact_type);
        descriptor_done(&m->subject);
        *m = (OciManifest){ 0 };
}

/* --- descriptors --- */

/* Absent is NULL; what is no text, or too much of it, is malformed. */
static int take_text(const Json *object, const char *key, char **ret)
{
        const Json *j = json_get(object, key);
        const char *s = json_str(j);

        if (!j)
                return 0;
        if (!s || strlen(s) > TEXT_MAX)
                return -EBADMSG;
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int take_descriptor(const Json *j, OciDescriptor *d)
{
        const char *digest = json_get_str(j, "digest");
        const Json *annotations = json_get(j, "annotations"), *platform = json_get(j, "platform");
        int r;

        if (!json_is_object(j) || !digest || json_get_u64(j, "size", &d->size) != 1)
                return -EBADMSG;
        if (oci_digest_is_valid(digest))
                memcpy(d->digest, digest, OCI_DIGEST_SIZE);
        if ((r = take_text(j, "mediaType", &d->media_type)) < 0 ||
            (r = take_text(j, "artifactType", &d->artifact_type)) < 0 ||
            (r = take_text(annotations, "org.opencontainers.image.title", &d->title)) < 0 ||
            (r = take_text(annotations, "org.opencontainers.image.created", &d->created)) < 0 ||
            (r = take_text(platform, "architecture", &d->arch)) < 0 ||
            (r = take_text(platform, "os", &d->os)) < 0)
                return r;
        if (!d->media_type && !(d->media_type = strdup("")))
                return -ENOMEM;
        return 0;
}

static int take_items(const Json *list, OciManifest *m)
{
        size_t n = json_len(list);

        if (!json_is_array(list) || n > OCI_ITEMS_MAX)
                return -EBADMSG;
        m->items = calloc(n > 0 ? n : 1, sizeof(*m->items));
        if (!m->items)
                return -ENOMEM;
        for (; m->n_items < n; m->n_items++) {
                int r = take_descriptor(json_at(list, m->n_items), &m->items[m->n_items]);

                if (r < 0) {
                        descriptor_done(&m->items[m->n_items]);
                        return r;
                }
        }
        return 0;
}

/* --- the document --- */

static bool type_is_manifest(const char *type)
{
        return strcasecmp(type, OCI_TYPE_MANIFEST) == 0 || strcasecmp(type, TYPE_DOCKER_MANIFEST) == 0;
}

static bool type_is_index(const char *type)
{
        return strcasecmp(type, OCI_TYPE_INDEX) == 0 || strcasecmp(type, TYPE_DOCKER_LIST) == 0;
}

/* Old artifacts said in the type of their config what they are. */
static int take_artifact_type(const Json *j, OciManifest *m)
{
        int r = take_text(j, "artifactType", &m->artifact_type);

        if (r < 0 || m->artifact_type)
                return r;
        r = take_text(json_get(j, "config"), "mediaType", &m->artifact_type);
        if (m->artifact_type && streq(m->artifact_type, TYPE_EMPTY)) {
                free(m->artifact_type);
                m->artifact_type = NULL;
        }
        return r;
}

/* Which of the two it is: three voices, of which none may contradict. NULL, or what is wrong. */
static const char *judge_type(const Json *j, const char *content_type, bool *ret_is_index)
{
        const char *said = json_get_str(j, "mediaType");
        bool layers = json_has(j, "layers"), manifests = json_has(j, "manifests");
        size_t n = strcspn(content_type, "; \t");
        char served[128] = "";

        if (n < sizeof(served))
                memcpy(served, content_type, n);
        if (json_has(j, "mediaType") && !said)
                return "its mediaType is no text";
        if (layers == manifests)
                return layers ? "it claims to be a manifest and an index at once"
                              : "neither a manifest nor an index";
        /* an artifact registry's or a proxy's "application/json" says nothing */
        if (type_is_manifest(served) || type_is_index(served)) {
                if (said && strcasecmp(said, served) != 0)
                        return "it is not of the type that the registry says";
                said = served;
        }
        if (said && !type_is_manifest(said) && !type_is_index(said))
                return "of a type that is not known";
        if (said && type_is_index(said) != manifests)
                return "its content is not what its type says";
        *ret_is_index = manifests;
        return NULL;
}

int oci_manifest_parse(const void *data, size_t size, const char *content_type, const char *what,
                       WhyKind kind, OciManifest *ret, Why *why)
{
        _cleanup_(oci_manifest_done) OciManifest m = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL;
        const char *wrong;
        uint64_t version = 0;
        int r = json_parse(data, size, JSON_FRACTIONS, OCI_DEPTH_MAX, what, kind, &j, why);

        if (r < 0)
                return r;
        if (!json_is_object(j) || json_get_u64(j, "schemaVersion", &version) != 1 || version != 2)
                return fail(why, -EBADMSG, kind, "oci-manifest", "%s: not a manifest of version 2", what);
        wrong = judge_type(j, content_type, &m.is_index);
        if (wrong)
                return fail(why, -EBADMSG, kind, "oci-manifest", "%s: %s", what, wrong);
        r = take_artifact_type(j, &m);
        if (r >= 0)
                r = take_items(json_get(j, m.is_index ? "manifests" : "layers"), &m);
        m.has_subject = json_get(j, "subject") != NULL;
        if (r >= 0 && m.has_subject)
                r = take_descriptor(json_get(j, "subject"), &m.subject);
        if (r == -ENOMEM)
                return fail_errno(why, r, WHY_HOST, "%s", what);
        if (r < 0)
                return fail(why, r, kind, "oci-manifest", "%s: a descriptor in it is malformed", what);
        *ret = m;
        m = (OciManifest){ 0 };
        return 0;
}

/* --- questions --- */

ssize_t oci_manifest_cosi(const OciManifest *m)
{
        ssize_t found = -1;

        if (m->is_index)
                return -1;
        if (m->n_items == 1)
                return *m->items[0].digest ? 0 : -1;
        for (size_t i = 0; i < m->n_items; i++) {
                const OciDescriptor *d = &m->items[i];

                if (!streq(d->media_type, OCI_TYPE_LAYER) && !(d->title && str_ends(d->title, ".cosi")))
                        continue;
                if (found >= 0 || !*d->digest)
                        return -1;
                found = (ssize_t) i;
        }
        return found;
}

ssize_t oci_index_for(const OciManifest *m, const char *arch)
{
        const char *name = streq(arch, "aarch64") ? "arm64" : streq(arch, "x86_64") ? "amd64" : arch;

        for (size_t i = 0; m->is_index && i < m->n_items; i++) {
                const OciDescriptor *d = &m->items[i];

                if (*d->digest && d->arch && streq(d->arch, name) && (!d->os || streq(d->os, "linux")))
                        return (ssize_t) i;
        }
        return -1;
}

bool oci_type_is_signed_file(const char *type)
{
        return type &&
               (streq(type, OCI_TYPE_RELEASE) || streq(type, OCI_TYPE_ROOT) || streq(type, TYPE_PAYLOAD));
}

static bool is_release(const OciDescriptor *d)
{
        return *d->digest && d->artifact_type &&
               (streq(d->artifact_type, OCI_TYPE_RELEASE) || streq(d->artifact_type, TYPE_PAYLOAD));
}

/* A release that was signed again is pushed again: by when it was made, and where nobody says, the later in the list. */
bool oci_is_younger(const OciDescriptor *a, const OciDescriptor *b)
{
        uint64_t at_a = 0, at_b = 0;

        if (a->created)
                (void) parse_time(a->created, &at_a);
        if (b->created)
                (void) parse_time(b->created, &at_b);
        return at_a >= at_b;
}

ssize_t oci_index_release(const OciManifest *m)
{
        ssize_t found = -1;

        for (size_t i = 0; m->is_index && i < m->n_items; i++)
                if (is_release(&m->items[i]) && (found < 0 || oci_is_younger(&m->items[i], &m->items[found])))
                        found = (ssize_t) i;
        return found;
}

/* --- pages --- */

/* <URL>; rel="next", <URL2>; rel=prev */
int oci_link_next(const char *link, char **ret)
{
        const char *p = link + strspn(link, " \t,");

        while (*p) {
                const char *url = p + 1, *end = *p == '<' ? strchr(url, '>') : NULL, *stop;

                if (!end)
                        return -EBADMSG;
                stop = end + 1 + strcspn(end + 1, ",");
                for (p = end + 1; p < stop; p++) {
                        p += strspn(p, "; \t");
                        if (strncasecmp(p, "rel=next", 8) == 0 || strncasecmp(p, "rel=\"next\"", 10) == 0) {
                                *ret = strndup(url, (size_t) (end - url));
                                return *ret ? 1 : -ENOMEM;
                        }
                        p += strcspn(p, ";,");
                        if (*p != ';')
                                break;
                }
                p = stop + strspn(stop, " \t,");
        }
        return 0;
}
