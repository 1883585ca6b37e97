/* SPDX-License-Identifier: MIT */

/* distribution-spec, "Push": a blob is asked for by its digest, and sent whole in one request behind the one that opens the
 * upload; a manifest is one request. Everything here may be done again without harm, so every request is, a few times. */

#include "fetch/push.h"
#include "fetch/oci-manifest.h"
#include "base/json.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define ATTEMPTS_MAX  5u
#define PAUSE_SEC     1u /* doubles */
#define PAUSE_SEC_MAX 60u
#define ERROR_MAX     4096u /* of what a registry says about a refusal */

struct Push {
        Http *http;
        Registry *registry;
        Oci *oci;
        const char *base;
};

Push *push_free(Push *p)
{
        if (!p)
                return NULL;
        oci_free(p->oci);
        registry_free(p->registry);
        http_free(p->http);
        free(p);
        return NULL;
}

void push_freep(Push **p)
{
        push_free(*p);
}

int push_open(HttpOptions *options, Bytes *auth_file, const OciRef *ref, const OriginWatch *watch, Push **ret,
              Why *why)
{
        _cleanup_(push_freep) Push *p = calloc(1, sizeof(*p));
        _cleanup_(free_charp) char *named = oci_ref_format(ref);
        int r = p && named ? http_init(why) : fail_errno(why, -ENOMEM, WHY_HOST, "push");

        if (r < 0) {
                http_options_done(options);
                bytes_done(auth_file);
                return r;
        }
        r = http_new(options, watch, &p->http, why);
        if (r >=
            0) /* who names the registry on the command line says himself whether it is asked in the clear */
                r = registry_new(p->http, auth_file, named, &p->registry, why);
        if (r >= 0)
                r = oci_new(p->http, p->registry, NULL, &p->oci, why);
        if (r >= 0)
                r = registry_open(p->registry, ref, true, &p->base, why);
        if (r < 0)
                return r;
        *ret = TAKE(p);
        return 0;
}

/* --- one request --- */

static void pause_sec(const Push *p, uint64_t sec)
{
        const OriginWatch *w = http_watch(p->http);

        for (uint64_t i = 0; i < 4 * sec; i++) {
                (void) nanosleep(&(struct timespec){ .tv_nsec = 250000000 }, NULL);
                (void) w->alive(w->ctx);
        }
}

/* The registry's own words, {"errors": [{"code": "DENIED", "message": "..."}]}: printable, or none. */
static void read_error(Transfer *t, char *out, size_t size)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        uint8_t body[ERROR_MAX];
        const Json *first;
        size_t n = 0;

        out[0] = 0;
        if (transfer_read(t, body, sizeof(body), &n, NULL) < 0 ||
            json_parse(body, n, JSON_FRACTIONS, 16, "", WHY_NETWORK, &j, NULL) < 0)
                return;
        first = json_at(json_get(j, "errors"), 0);
        if (!first)
                return;
        (void) snprintf(out, size, ": %s %s", json_get_str(first, "code") ?: "",
                        json_get_str(first, "message") ?: "");
        for (char *c = out; *c; c++)
                if (*c < 0x20 || *c > 0x7e)
                        *c = '?';
}

static int refused(const char *name, Transfer *t, Why *why)
{
        unsigned status = transfer_reply(t)->status;
        char said[300];

        read_error(t, said, sizeof(said));
        if (status == 429 || status >= 500 || status == 408)
                return fail(why, -EAGAIN, WHY_NETWORK, "server", "%s: the registry answers %u%s", name,
                            status, said);
        if (status == 401 || status == 403)
                return fail_hint(why,
                                 fail(why, -EACCES, WHY_NETWORK, "forbidden", "%s: the registry answers %u%s",
                                      name, status, said),
                                 "log in (podman login, oras login), or name a file with --authfile");
        return fail(why, -EIO, WHY_NETWORK, "server", "%s: the registry answers %u%s", name, status, said);
}

/* One attempt, and a second one behind a challenge. -EAGAIN: another may do better. */
static int attempt(Push *p, const char *url, const HttpAsk *ask, const char *name, Transfer **ret, Why *why)
{
        for (bool challenged = false;; challenged = true) {
                _cleanup_(transfer_freep) Transfer *t = NULL;
                TransferFault fault;
                uint64_t after_sec; /* who publishes pauses long enough as it is */
                int r = transfer_start(p->http, url, ask, &t, why);

                if (r < 0)
                        return r;
                if (!transfer_reply(t)->complete)
                        return transfer_failure(t, name, &fault, why);
                if (transfer_reply(t)->status == 401 && !challenged) {
                        r = http_challenged(p->http, url, transfer_reply(t), &after_sec, why);
                        if (r < 0)
                                return r;
                        if (r > 0)
                                continue;
                }
                *ret = TAKE(t);
                return 0;
        }
}

/* ok: the statuses that are no refusal, ended by 0 */
static int ask_until(Push *p, const char *url, const HttpAsk *ask, const unsigned *ok, Transfer **ret,
                     Why *why)
{
        uint64_t sec = PAUSE_SEC;
        char name[200];

        url_redact(url, name, sizeof(name));
        for (unsigned i = 1;; i++, sec *= 2) {
                _cleanup_(transfer_freep) Transfer *t = NULL;
                Why this = { 0 };
                uint64_t wait = 0;
                int r = attempt(p, url, ask, name, &t, &this);

                if (r >= 0) {
                        for (const unsigned *o = ok; *o; o++)
                                if (*o == transfer_reply(t)->status) {
                                        *ret = TAKE(t);
                                        return 0;
                                }
                        wait = transfer_retry_after_sec(t, PAUSE_SEC_MAX);
                        r = refused(name, t, &this);
                }
                if (r != -EAGAIN || i >= ATTEMPTS_MAX) {
                        if (why->kind == WHY_NONE)
                                *why = this;
                        return r == -EAGAIN ? -EIO : r;
                }
                pause_sec(p, MAX(wait, sec));
        }
}

/* --- blobs --- */

/* A registry redirects only to what it has. */
static int has_blob(Push *p, const char *digest, Why *why)
{
        static const unsigned ok[] = { 200, 307, 302, 301, 308, 404, 0 };
        _cleanup_(free_charp) char *url = str_printf("%sblobs/%s", p->base, digest);
        const HttpSend head = { .method = "HEAD" };
        _cleanup_(transfer_freep) Transfer *t = NULL;
        int r = url ? ask_until(p, url, &(HttpAsk){ .send = &head }, ok, &t, why)
                    : fail_errno(why, -ENOMEM, WHY_HOST, "push");

        return r < 0 ? r : transfer_reply(t)->status != 404;
}

/* Where the bytes are to go. */
static int open_upload(Push *p, const char *digest, char **ret, Why *why)
{
        static const unsigned ok[] = { 202, 0 };
        _cleanup_(free_charp) char *url = str_printf("%sblobs/uploads/", p->base), *to = NULL;
        const HttpSend post = { .method = "POST" };
        _cleanup_(transfer_freep) Transfer *t = NULL;
        char name[200];
        int r = url ? ask_until(p, url, &(HttpAsk){ .send = &post }, ok, &t, why)
                    : fail_errno(why, -ENOMEM, WHY_HOST, "push");

        if (r < 0)
                return r;
        url_redact(url, name, sizeof(name));
        r = http_redirect(url, transfer_reply(t)->location, name, &to, why);
        if (r < 0)
                return r;
        *ret = str_printf("%s%cdigest=sha256%%3A%s", to, strchr(to, '?') ? '&' : '?',
                          digest + strlen("sha256:"));
        return *ret ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "push");
}

int push_blob(Push *p, const PushBlob *blob, Why *why)
{
        static const unsigned ok[] = { 201, 204, 0 };
        const HttpSend put = { .method = "PUT",
                               .type = "application/octet-stream",
                               .size = blob->size,
                               .read = blob->read,
                               .ctx = blob->ctx };
        int r = has_blob(p, blob->digest, why);

        if (r != 0)
                return r < 0 ? r : 0;
        for (unsigned i = 1;; i++) {
                _cleanup_(transfer_freep) Transfer *t = NULL;
                _cleanup_(free_charp) char *url = NULL;
                Why this = { 0 };
                char name[200];

                r = open_upload(p, blob->digest, &url, why);
                if (r < 0)
                        return r;
                url_redact(url, name, sizeof(name));
                /* a broken upload is opened anew: what became of its first part only the registry knows */
                r = attempt(p, url, &(HttpAsk){ .send = &put }, name, &t, &this);
                if (r >= 0)
                        for (const unsigned *o = ok; *o; o++)
                                if (*o == transfer_reply(t)->status)
                                        return 1;
                if (r >= 0)
                        r = refused(name, t, &this);
                if (r != -EAGAIN || i >= ATTEMPTS_MAX) {
                        *why = this;
                        return r == -EAGAIN ? -EIO : r;
                }
                pause_sec(p, PAUSE_SEC << i);
        }
}

typedef struct Memory {
        const uint8_t *data;
} Memory;

static int read_memory(void *ctx, uint64_t offset, void *buf, size_t n)
{
        const Memory *m = ctx;

        memcpy(buf, m->data + offset, n);
        return 0;
}

int push_bytes(Push *p, const void *data, size_t size, char ret_digest[OCI_DIGEST_SIZE], Why *why)
{
        Memory m = { data };
        int r = oci_digest(data, size, ret_digest);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "SHA-256");
        return push_blob(p, &(PushBlob){ .digest = ret_digest, .size = size, .read = read_memory, .ctx = &m },
                         why);
}

/* --- manifests --- */

int push_manifest(Push *p, const char *reference, const char *type, const char *text, bool *ret_listed,
                  Why *why)
{
        static const unsigned ok[] = { 201, 200, 202, 0 };
        _cleanup_(free_charp) char *url = str_printf("%smanifests/%s", p->base, reference);
        Memory m = { (const uint8_t *) text };
        const HttpSend put = {
                .method = "PUT", .type = type, .size = strlen(text), .read = read_memory, .ctx = &m
        };
        _cleanup_(transfer_freep) Transfer *t = NULL;
        char digest[OCI_DIGEST_SIZE];
        const char *said;
        int r = url && oci_digest(text, strlen(text), digest) >= 0
                        ? ask_until(p, url, &(HttpAsk){ .send = &put }, ok, &t, why)
                        : fail_errno(why, -ENOMEM, WHY_HOST, "push");

        if (r < 0)
                return r;
        said = transfer_reply(t)->digest;
        if (str_starts(said, "sha256:") && !streq(said, digest))
                return fail(why, -EBADMSG, WHY_NETWORK, "oci-digest",
                            "%s: the registry keeps other bytes than were sent", reference);
        if (ret_listed)
                *ret_listed = *transfer_reply(t)->subject != 0;
        return 0;
}

int push_read_manifest(Push *p, const char *reference, Bytes *ret, Why *why)
{
        _cleanup_(free_charp) char *url = str_printf("%smanifests/%s", p->base, reference);
        Why this = { 0 };
        const DownloadAsk ask = {
                .url = url, .accept = OCI_ACCEPT, .max = OCI_MANIFEST_MAX, .kind = WHY_NETWORK
        };
        int r = url ? download_document(p->http, &ask, ret, NULL, &this) : -ENOMEM;

        if (r == -ENOENT)
                return 0;
        if (r < 0 && why->kind == WHY_NONE)
                *why = this;
        return r < 0 ? r : 1;
}

int push_read_envelope(Push *p, const char *url, Bytes *ret, Why *why)
{
        return oci_read_envelope(p->oci, url, ret, why);
}
