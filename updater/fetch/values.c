/* SPDX-License-Identifier: MIT */

#include "fetch/values.h"
#include "base/str.h"
#include "image/fat.h"

#include <errno.h>
#include <strings.h>

/* --- failures --- */

void value_put_why(WirePack *p, int r, const Why *why)
{
        wire_put_u32(p, (uint32_t) -r);
        wire_put_u32(p, (uint32_t) why->kind);
        wire_put_str(p, why->code);
        wire_put_str(p, why->text);
        wire_put_str(p, why->hint);
}

static void make_ascii(char *s)
{
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        *s = '?';
}

static bool code_is_clean(const char *code)
{
        return *code && strspn(code, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(code);
}

int value_get_why(WireUnpack *u, int *ret, Why *why)
{
        _cleanup_(free_charp) char *code = NULL, *text = NULL, *hint = NULL;
        uint32_t number = wire_get_u32(u);
        uint32_t kind = wire_get_u32(u);

        wire_get_raw(u, sizeof(why->code), &code);
        wire_get_raw(u, sizeof(why->text), &text);
        wire_get_raw(u, sizeof(why->hint), &hint);
        if (!wire_get_end(u) || !code || !text || !hint)
                return -EBADMSG;
        if (number == 0 || number > 4095)
                number = EPROTO;
        /* "there is nothing to do" or "another job runs" are not for the child to say */
        if (kind != WHY_NETWORK && kind != WHY_IMAGE && kind != WHY_TRUST && kind != WHY_USAGE)
                kind = WHY_HOST;
        make_ascii(text);
        make_ascii(hint);
        fail(why, -(int) number, (WhyKind) kind, code_is_clean(code) ? code : "fetch", "%s", text);
        if (*hint)
                fail_hint(why, 0, "%s", hint);
        *ret = -(int) number;
        return 0;
}

/* --- parts of an image --- */

void value_put_ranges(WirePack *p, const BlockRange *ranges, size_t n)
{
        wire_put_u32(p, (uint32_t) n);
        for (size_t i = 0; i < n; i++) {
                wire_put_u32(p, ranges[i].first);
                wire_put_u32(p, ranges[i].count);
        }
}

int value_get_ranges(WireUnpack *u, BlockRange **ret, size_t *ret_n)
{
        size_t n = wire_get_u32(u);
        uint64_t end = 0;
        BlockRange *ranges;

        if (u->failed || n == 0 || n > FETCH_RANGES_MAX)
                return -EBADMSG;
        ranges = calloc(n, sizeof(*ranges));
        if (!ranges)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                ranges[i].first = wire_get_u32(u);
                ranges[i].count = wire_get_u32(u);
                if (u->failed || ranges[i].count == 0 || ranges[i].first < end) {
                        free(ranges);
                        return -EBADMSG;
                }
                end = (uint64_t) ranges[i].first + ranges[i].count;
        }
        *ret = ranges;
        *ret_n = n;
        return 0;
}

void value_put_index(WirePack *p, const IndexHead *head, uint64_t size)
{
        uint8_t data[INDEX_HEAD_SIZE];

        index_head_format(head, data);
        wire_put_bytes(p, data, sizeof(data));
        wire_put_u64(p, size);
}

int value_get_index(WireUnpack *u, IndexHead *ret, uint64_t *ret_size)
{
        _cleanup_(bytes_done) Bytes data = BYTES_NULL;
        uint64_t size;

        wire_get_bytes(u, INDEX_HEAD_SIZE, &data);
        size = wire_get_u64(u);
        if (u->failed || data.size != INDEX_HEAD_SIZE || index_head_parse(data.data, size, ret, NULL) < 0)
                return -EBADMSG;
        *ret_size = size;
        return 0;
}

/* --- an HTTP request --- */

void value_http_done(ValueHttp *h)
{
        free(h->url);
        free(h->body);
        strv_free(h->headers);
        *h = (ValueHttp){ 0 };
}

static bool is_printable(const char *s, unsigned char first)
{
        for (; *s; s++)
                if ((unsigned char) *s < first || (unsigned char) *s > 0x7e)
                        return false;
        return true;
}

/* "Name: value", and not one that says where the message ends or who gets it. */
static bool header_is_good(const char *line)
{
        static const char *const framing[] = { "Host",   "Content-Length", "Transfer-Encoding", "Connection",
                                               "Expect", "Upgrade",        "Trailer",           "TE" };
        size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

        if (n == 0 || line[n] != ':' || line[n + 1] != ' ' || line[n + 2 + strspn(line + n + 2, " ")] == 0)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(framing); i++)
                if (strlen(framing[i]) == n && strncasecmp(line, framing[i], n) == 0)
                        return false;
        return strlen(line) <= WIRE_STRING_MAX && is_printable(line, 0x20);
}

static bool headers_are_good(char *const *headers)
{
        size_t total = 0, n = 0;

        for (; headers && headers[n]; n++) {
                if (n == FETCH_HTTP_LINES_MAX || !header_is_good(headers[n]))
                        return false;
                total += strlen(headers[n]);
        }
        return total <= FETCH_HTTP_HEADERS_MAX;
}

int value_check_http(const FetchHttp *request, Why *why)
{
        const char *url = request->url, *problem = NULL;

        if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
                problem = "its address is not one of http:// and https://";
        else if (strlen(url) > WIRE_STRING_MAX || !is_printable(url, 0x21))
                problem = "its address is too long, or has bytes that no address has";
        else if (!streq(request->method, "GET") && !streq(request->method, "POST"))
                problem = "neither GET nor POST";
        else if (request->body && (streq(request->method, "GET") || strlen(request->body) > FETCH_HTTP_MAX))
                problem = "its body is too long, or it has one and should not";
        else if (!headers_are_good(request->headers))
                problem = "its headers are too long, or not headers";
        else if (request->max > FETCH_HTTP_MAX)
                problem = "too long an answer is asked for";
        return problem ? fail(why, -EINVAL, WHY_USAGE, "http-request", "http request: %s", problem) : 0;
}

void value_put_http(WirePack *p, const FetchHttp *request)
{
        size_t n = strv_len(request->headers);

        wire_put_str(p, request->url);
        wire_put_u32(p, streq(request->method, "POST"));
        wire_put_u32(p, (uint32_t) n);
        for (size_t i = 0; i < n; i++)
                wire_put_str(p, request->headers[i]);
        wire_put_str(p, request->body);
        wire_put_u64(p, request->timeout_sec);
        wire_put_u64(p, request->max);
}

static void get_headers(WireUnpack *u, char ***ret)
{
        uint32_t n = wire_get_u32(u);

        for (uint32_t i = 0; i < n && !u->failed; i++) {
                _cleanup_(free_charp) char *line = NULL;

                wire_get_raw(u, WIRE_STRING_MAX, &line);
                if (i >= FETCH_HTTP_LINES_MAX || !line || strv_add(ret, line) < 0)
                        u->failed = true;
        }
}

int value_get_http(WireUnpack *u, ValueHttp *ret)
{
        _cleanup_(value_http_done) ValueHttp h = { 0 };

        wire_get_raw(u, WIRE_STRING_MAX, &h.url);
        h.request.method = wire_get_u32(u) ? "POST" : "GET";
        get_headers(u, &h.headers);
        wire_get_raw(u, FETCH_HTTP_MAX, &h.body);
        h.request.timeout_sec = wire_get_u64(u);
        h.request.max = wire_get_u64(u);
        h.request.url = h.url;
        h.request.body = h.body;
        h.request.headers = h.headers;
        if (!wire_get_end(u) || !h.url || value_check_http(&h.request, NULL) < 0)
                return -EBADMSG;
        *ret = h;
        h = (ValueHttp){ 0 };
        return 0;
}

/* --- an answer of an update server --- */

void value_put_omaha(WirePack *p, const OmahaReply *r)
{
        const unsigned counts[] = { r->n_apps, r->n_checks, r->n_urls, r->n_manifests, r->n_events };
        const char *const texts[] = { r->protocol,     r->app,      r->app_status,
                                      r->check_status, r->codebase, r->version };

        for (size_t i = 0; i < ELEMENTSOF(counts); i++)
                wire_put_u32(p, counts[i]);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                wire_put_str(p, texts[i]);
        wire_put_u32(p, (uint32_t) r->n_packages);
        for (size_t i = 0; i < r->n_packages; i++) {
                wire_put_str(p, r->packages[i].name);
                wire_put_str(p, r->packages[i].hash);
                wire_put_str(p, r->packages[i].hash_sha256);
                wire_put_u64(p, r->packages[i].size);
        }
}

static int get_packages(WireUnpack *u, OmahaReply *r)
{
        uint32_t n = wire_get_u32(u);

        if (u->failed || n > OMAHA_PACKAGES_MAX)
                return -EBADMSG;
        r->packages = calloc(MAX(n, 1u), sizeof(*r->packages));
        if (!r->packages)
                return -ENOMEM;
        for (r->n_packages = 0; r->n_packages < n && !u->failed; r->n_packages++) {
                OmahaPackage *p = &r->packages[r->n_packages];

                wire_get_str(u, OMAHA_TEXT_MAX, &p->name);
                wire_get_str(u, OMAHA_TEXT_MAX, &p->hash);
                wire_get_str(u, OMAHA_TEXT_MAX, &p->hash_sha256);
                p->size = wire_get_u64(u);
                if (!p->name || !p->hash || !p->hash_sha256)
                        u->failed = true;
        }
        return wire_get_end(u) ? 0 : -EBADMSG;
}

int value_get_omaha(WireUnpack *u, OmahaReply *ret)
{
        _cleanup_(omaha_reply_done) OmahaReply r = { 0 };
        unsigned *const counts[] = { &r.n_apps, &r.n_checks, &r.n_urls, &r.n_manifests, &r.n_events };
        char **const texts[] = {
                &r.protocol, &r.app, &r.app_status, &r.check_status, &r.codebase, &r.version
        };
        int k;

        for (size_t i = 0; i < ELEMENTSOF(counts); i++) {
                *counts[i] = wire_get_u32(u);
                if (*counts[i] > OMAHA_COUNT_MAX)
                        return -EBADMSG;
        }
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                wire_get_str(u, OMAHA_TEXT_MAX, texts[i]);
        k = get_packages(u, &r);
        if (k < 0)
                return k;
        *ret = r;
        r = (OmahaReply){ 0 };
        return 0;
}

/* --- a member of a COSI --- */

void value_put_image(WirePack *p, const CosiImage *image)
{
        wire_put_str(p, image->path);
        wire_put_u64(p, image->compressed_size);
        wire_put_u64(p, image->uncompressed_size);
        wire_put_u32(p, image->has_sha384);
        wire_put_str(p, image->sha384);
}

int value_get_image(WireUnpack *u, CosiImage *ret)
{
        CosiImage image = { 0 };

        wire_get_text(u, image.path, sizeof(image.path));
        image.compressed_size = wire_get_u64(u);
        image.uncompressed_size = wire_get_u64(u);
        image.has_sha384 = wire_get_u32(u) != 0;
        wire_get_text(u, image.sha384, sizeof(image.sha384));
        if (u->failed)
                return -EBADMSG;
        *ret = image;
        return 0;
}

/* --- envelope --- */

void value_put_envelope(WirePack *p, const Envelope *e)
{
        wire_put_str(p, e->type);
        wire_put_bytes(p, e->payload.data, e->payload.size);
        wire_put_u32(p, (uint32_t) e->n_signatures);
        for (size_t i = 0; i < e->n_signatures; i++) {
                wire_put_str(p, e->signatures[i].keyid);
                wire_put_str(p, e->signatures[i].alg);
                wire_put_bytes(p, e->signatures[i].sig.data, e->signatures[i].sig.size);
        }
}

/* A key that signed twice must not count twice; the child has refused that too. "" is a keyid that can be none. */
static bool keyid_is_new(const Envelope *e, const char *keyid)
{
        for (size_t i = 0; i < e->n_signatures; i++)
                if (*keyid && str_fold_cmp(e->signatures[i].keyid, keyid) == 0)
                        return false;
        return true;
}

int value_get_envelope(WireUnpack *u, Envelope *ret)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        uint32_t n;

        wire_get_text(u, e.type, sizeof(e.type));
        wire_get_bytes(u, ENVELOPE_MAX, &e.payload);
        n = wire_get_u32(u);
        if (n > ENVELOPE_SIGNATURES_MAX)
                return -EBADMSG;
        for (uint32_t i = 0; i < n && !u->failed; i++) {
                EnvelopeSignature *s = &e.signatures[i];
                char keyid[KEYID_SIZE];

                wire_get_text(u, keyid, sizeof(keyid));
                if (!keyid_is_new(&e, keyid))
                        return -EBADMSG;
                e.n_signatures = i + 1;
                memcpy(s->keyid, keyid, sizeof(keyid));
                wire_get_text(u, s->alg, sizeof(s->alg));
                wire_get_bytes(u, SIGNATURE_MAX, &s->sig);
        }
        if (!wire_get_end(u))
                return -EBADMSG;
        envelope_move(ret, &e);
        return 0;
}

/* --- files of an ESP --- */

void value_put_esp_file(WirePack *p, const char *path, uint32_t size)
{
        wire_put_str(p, path);
        wire_put_u32(p, size);
}

/* Relative, and no component that means something else than itself. */
static bool path_is_plain(const char *path)
{
        for (const char *p = path;; p++) {
                size_t n = strcspn(p, "/\\");

                if (n == 0 || p[n] == '\\' || (n == 1 && p[0] == '.') ||
                    (n == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += n;
                if (!*p)
                        return true;
        }
}

int value_get_esp(WireUnpack *u, FetchEsp *ret)
{
        _cleanup_(fetch_esp_done) FetchEsp esp = { 0 };

        while (u->size > 0 && !u->failed) {
                FetchEspFile *files, file = { 0 };

                if (esp.n_files == FAT_ENTRIES_MAX)
                        return -EBADMSG;
                wire_get_str(u, FAT_PATH_MAX - 1, &file.path);
                file.size = wire_get_u32(u);
                files = realloc(esp.files, (esp.n_files + 1) * sizeof(*files));
                if (!files) {
                        free(file.path);
                        return -ENOMEM;
                }
                esp.files = files;
                esp.files[esp.n_files++] = file;
                if (!file.path || !path_is_plain(file.path))
                        return -EBADMSG;
        }
        if (!wire_get_end(u))
                return -EBADMSG;
        *ret = esp;
        esp = (FetchEsp){ 0 };
        return 0;
}

/* --- PE --- */

enum {
        PE_LINUX = 1 << 0,
        PE_INITRD = 1 << 1,
        PE_ADDON = 1 << 2,
        PE_CMDLINE = 1 << 3,
        PE_OSREL = 1 << 4,
        PE_AUTHENTICODE = 1 << 5,
};

/* What does not cross is silently lost on the other side: a new field belongs into both functions below. */
_Static_assert(sizeof(PeSummary) == 8 + 6 * sizeof(char *) + 104 + UKI_SIGNATURES_MAX * sizeof(Bytes) + 8,
               "PeSummary has changed");

void value_put_pe(WirePack *p, const PeSummary *s)
{
        wire_put_u32(p, (s->has_linux ? PE_LINUX : 0u) | (s->has_initrd ? PE_INITRD : 0u) |
                                (s->is_addon ? PE_ADDON : 0u) | (s->has_cmdline ? PE_CMDLINE : 0u) |
                                (s->has_osrel ? PE_OSREL : 0u) |
                                (s->has_authenticode ? PE_AUTHENTICODE : 0u));
        wire_put_u32(p, s->machine);
        wire_put_str(p, s->embedded_roothash);
        wire_put_bytes(p, s->authenticode_sha256, sizeof(s->authenticode_sha256));
        wire_put_str(p, s->cmdline);
        wire_put_str(p, s->osrel);
        wire_put_str(p, s->uname);
        wire_put_str(p, s->sbat);
        wire_put_str(p, s->sdmagic);
        wire_put_str(p, s->profile_cmdlines);
        wire_put_u32(p, (uint32_t) s->n_signatures);
        for (size_t i = 0; i < s->n_signatures; i++)
                wire_put_bytes(p, s->signatures[i].data, s->signatures[i].size);
}

int value_get_pe(WireUnpack *u, PeSummary *ret)
{
        _cleanup_(pe_summary_done) PeSummary s = { 0 };
        _cleanup_(bytes_done) Bytes digest = BYTES_NULL;
        uint32_t flags = wire_get_u32(u);
        uint32_t n;

        s.has_linux = flags & PE_LINUX;
        s.has_initrd = flags & PE_INITRD;
        s.is_addon = flags & PE_ADDON;
        s.has_cmdline = flags & PE_CMDLINE;
        s.has_osrel = flags & PE_OSREL;
        s.has_authenticode = flags & PE_AUTHENTICODE;
        s.machine = (uint16_t) wire_get_u32(u);
        wire_get_text(u, s.embedded_roothash, sizeof(s.embedded_roothash));
        wire_get_bytes(u, sizeof(s.authenticode_sha256), &digest);
        wire_get_raw(u, UKI_CMDLINE_MAX, &s.cmdline);
        wire_get_raw(u, UKI_TEXT_MAX, &s.osrel);
        wire_get_raw(u, UKI_TEXT_MAX, &s.uname);
        wire_get_raw(u, UKI_TEXT_MAX, &s.sbat);
        wire_get_raw(u, UKI_TEXT_MAX, &s.sdmagic);
        wire_get_raw(u, VALUE_PE_PROFILES_MAX, &s.profile_cmdlines);
        n = wire_get_u32(u);
        if (u->failed || digest.size != sizeof(s.authenticode_sha256) || n > UKI_SIGNATURES_MAX)
                return -EBADMSG;
        memcpy(s.authenticode_sha256, digest.data, digest.size);
        for (s.n_signatures = 0; s.n_signatures < n && !u->failed; s.n_signatures++)
                wire_get_bytes(u, VALUE_PE_SIG_MAX, &s.signatures[s.n_signatures]);
        if (!wire_get_end(u))
                return -EBADMSG;
        pe_summary_move(ret, &s);
        return 0;
}
