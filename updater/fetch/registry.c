/* SPDX-License-Identifier: MIT */

/* The dance is docker's (distribution/spec: token authentication): ask without anything, be told 401 and where tokens are
 * given, ask there (with the password, where there is one), ask again with the token. Tokens live for minutes: one that has
 * expired in the middle of a long download is a challenge like the first. */

#include "fetch/registry.h"
#include "fetch/authfile.h"
#include "fetch/challenge.h"
#include "fetch/exchange.h"
#include "base/json.h"
#include "base/str.h"
#include "base/url.h"

#include <errno.h>

#define SESSIONS_MAX  16u /* repositories that one process speaks to; a job speaks to one */
#define TOKEN_DEPTH   8u
#define TOKEN_SECONDS 30u

typedef struct Session {
        char *base;   /* "https://registry-1.docker.io/v2/library/os/" */
        char *origin; /* its first part, up to the third '/' */
        char *host;   /* with its port, of base */
        char *repository;
        char *name;    /* as auth.json calls the host */
        char *line;    /* what is said now; NULL nothing */
        bool is_basic; /* the password itself */
        bool plain, may_tell, push;
        struct Session *next;
} Session;

struct Registry {
        Http *http;
        Bytes auth_file;
        OciRef configured;
        Session *sessions;
        unsigned n_sessions;
};

static Session *session_free(Session *s)
{
        free(s->base);
        free(s->origin);
        free(s->host);
        free(s->repository);
        free(s->name);
        free(s->line);
        free(s);
        return NULL;
}

Registry *registry_free(Registry *r)
{
        static const HttpAuth nobody;

        if (!r)
                return NULL;
        http_set_auth(r->http, &nobody);
        for (Session *s = r->sessions, *next; s; s = next) {
                next = s->next;
                session_free(s);
        }
        bytes_done(&r->auth_file);
        oci_ref_done(&r->configured);
        free(r);
        return NULL;
}

void registry_freep(Registry **r)
{
        registry_free(*r);
}

/* A push may be led anywhere on its own server by the answer to its first request; everything else stays in the repository. */
static bool session_has(const Session *s, const char *url)
{
        return str_starts(url, s->push ? s->origin : s->base);
}

/* A repository may lie below another's name: the longest that fits is meant. */
static Session *find_session(Registry *r, const char *url)
{
        Session *found = NULL;

        for (Session *s = r->sessions; s; s = s->next)
                if (session_has(s, url) && (!found || strlen(s->base) > strlen(found->base)))
                        found = s;
        return found;
}

static const char *on_header(void *ctx, const char *url)
{
        const Session *s = find_session(ctx, url);

        return s ? s->line : NULL;
}

/* --- tokens --- */

static void add_escaped(Str *s, const char *text)
{
        for (; *text; text++)
                if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", *text))
                        str_addn(s, text, 1);
                else
                        str_addf(s, "%%%02X", (unsigned char) *text);
}

/* "service=...&scope=repository:os:pull". The scope is ours: a registry cannot have a token asked for that may do more. */
static void add_query(Str *s, const Session *session, const Challenge *c)
{
        if (c->service) {
                str_add(s, "service=");
                add_escaped(s, c->service);
                str_add(s, "&");
        }
        str_add(s, "scope=repository%3A");
        add_escaped(s, session->repository);
        str_add(s, session->push ? "%3Apull%2Cpush" : "%3Apull");
}

static int basic_line(const AuthEntry *e, char **ret)
{
        _cleanup_(free_charp) char *pair = str_printf("%s:%s", e->user, e->password), *code = NULL;
        int r = pair ? base64_encode(pair, strlen(pair), &code) : -ENOMEM;

        if (r < 0)
                return r;
        *ret = str_printf("Authorization: Basic %s", code);
        return *ret ? 0 : -ENOMEM;
}

static int bearer_line(const char *token, const char *what, char **ret, Why *why)
{
        size_t n = token ? strlen(token) : 0;

        for (size_t i = 0; i < n; i++)
                if (token[i] <= 0x20 || token[i] > 0x7e)
                        n = 0;
        if (n == 0 || n > HTTP_TOKEN_MAX)
                return fail(why, -EBADMSG, WHY_NETWORK, "token", "%s: what it gives is no token", what);
        *ret = str_printf("Authorization: Bearer %s", token);
        return *ret ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
}

static int read_token(const Bytes *body, const char *what, char **ret, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        const char *token;
        int r = json_parse(body->data ? (const void *) body->data : "", body->size, JSON_FRACTIONS,
                           TOKEN_DEPTH, what, WHY_NETWORK, &j, why);

        if (r < 0)
                return r;
        token = json_get_str(j, "token");
        return bearer_line(token ? token : json_get_str(j, "access_token"), what, ret, why);
}

static int token_refused(unsigned status, const AuthEntry *e, const char *what, Why *why)
{
        bool known = e->user || e->identity_token;

        if (status == 429 || status >= 500 || status == 408)
                return fail(why, -EAGAIN, WHY_NETWORK, "token", "%s: answers %u", what, status);
        return fail_hint(why,
                         fail(why, -EACCES, WHY_NETWORK, "forbidden", "%s: gives no token, %u", what, status),
                         known ? "oci.authFile has another password, or this user may not"
                               : "name a user in oci.authFile");
}

/* Asks the realm. With an identity token by POST (OAuth 2), else by GET, with the password or as nobody. */
static int ask_realm(Registry *r, const Session *s, const Challenge *c, const AuthEntry *e, char **ret,
                     uint64_t *ret_after_sec, Why *why)
{
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        _cleanup_(free_charp) char *url = NULL, *body = NULL, *line = NULL;
        bool post = e->identity_token != NULL;
        char form[] = "Content-Type: application/x-www-form-urlencoded", what[200];
        char *headers[] = { NULL, NULL };
        Str query = STR_NULL;
        int k = 0;

        url_redact(c->realm, what, sizeof(what));
        if (post) {
                str_add(&query, "grant_type=refresh_token&client_id=gybe&refresh_token=");
                add_escaped(&query, e->identity_token);
                str_add(&query, "&");
                headers[0] = form;
        } else {
                str_addf(&query, "%s%s", c->realm, strchr(c->realm, '?') ? "&" : "?");
                k = e->user ? basic_line(e, &line) : 0;
                headers[0] = line;
        }
        add_query(&query, s, c);
        url = post ? strdup(c->realm) : str_take(&query);
        body = post ? str_take(&query) : NULL;
        if (k < 0 || !url || (post && !body)) {
                str_done(&query);
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        }
        k = exchange(r->http,
                     &(FetchHttp){ .url = url,
                                   .method = post ? "POST" : "GET",
                                   .headers = headers,
                                   .body = body,
                                   .timeout_sec = TOKEN_SECONDS,
                                   .max = FETCH_HTTP_MAX },
                     &reply, why);
        if (k < 0)
                return k;
        *ret_after_sec = reply.retry_after_sec;
        if (reply.status != 200)
                return token_refused(reply.status, e, what, why);
        return read_token(&reply.body, what, ret, why);
}

/* --- challenges --- */

static int find_entry(Registry *r, const Session *s, AuthEntry *ret, Why *why)
{
        if (r->auth_file.size == 0 || !s->may_tell)
                return 0;
        return authfile_find(r->auth_file.data, r->auth_file.size, s->name, s->repository, ret, why);
}

static int answer_bearer(Registry *r, Session *s, const Challenge *c, const AuthEntry *e, char **ret,
                         uint64_t *ret_after_sec, Why *why)
{
        Why wrong = { 0 };

        if (e->registry_token)
                return bearer_line(e->registry_token, "oci.authFile", ret, why);
        if (!c->realm || challenge_check_realm(c->realm, s->plain, s->host, &wrong) < 0)
                return fail(why, -EPERM, WHY_NETWORK, "realm", "%s: %s", s->host,
                            c->realm ? wrong.text : "wants a token, and does not say from where");
        return ask_realm(r, s, c, e, ret, ret_after_sec, why);
}

static int wants_user(const Registry *r, const Session *s, Why *why)
{
        (void) fail(why, -EACCES, WHY_NETWORK, "forbidden", "%s: wants a user and a password", s->host);
        if (!s->may_tell && r->auth_file.size > 0)
                return fail_hint(why, -EACCES, "they are not sent over plain http: use https");
        return fail_hint(why, -EACCES, "name them in oci.authFile (credential helpers are not asked)");
}

static int on_challenged(void *ctx, const char *url, const Reply *reply, uint64_t *ret_after_sec, Why *why)
{
        Registry *r = ctx;
        Session *s = find_session(r, url);
        _cleanup_(auth_entry_done) AuthEntry e = { 0 };
        _cleanup_(challenge_done) Challenge c = { 0 };
        _cleanup_(free_charp) char *line = NULL;
        int k;

        if (!s || !*reply->challenge)
                return 0;
        if ((k = challenge_parse(reply->challenge, &c, why)) < 0 || (k = find_entry(r, s, &e, why)) < 0)
                return k;
        if (c.bearer) {
                k = answer_bearer(r, s, &c, &e, &line, ret_after_sec, why);
        } else if (c.basic && s->line && s->is_basic) {
                return 0; /* said already, and it is wrong */
        } else if (c.basic) {
                if (!e.user)
                        return wants_user(r, s, why);
                k = basic_line(&e, &line);
                if (k < 0)
                        return fail_errno(why, k, WHY_HOST, "gybe-fetch");
        } else {
                return 0;
        }
        if (k < 0)
                return k;
        free(s->line);
        s->line = TAKE(line);
        s->is_basic = !c.bearer;
        return 1;
}

/* --- sessions --- */

/* docker.io is a name for people: what answers has another one. */
static const char *api_host(const OciRef *ref)
{
        return streq(ref->host, "docker.io") ? "registry-1.docker.io" : ref->host;
}

int registry_origin(const OciRef *ref, char **ret)
{
        *ret = str_printf("%s://%s/", ref->plain ? "http" : "https", api_host(ref));
        return *ret ? 0 : -ENOMEM;
}

/* Passwords in the clear: on this machine, or where the configuration says so itself. */
static bool may_tell(const Registry *r, const OciRef *ref)
{
        return !ref->plain || ref->loopback ||
               (r->configured.host && r->configured.plain && streq(r->configured.host, ref->host));
}

static int session_new(const Registry *r, const OciRef *ref, bool push, Session **ret)
{
        bool short_name = streq(ref->host, "docker.io") && !strchr(ref->repository, '/');
        Session *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->plain = ref->plain;
        s->push = push;
        s->may_tell = may_tell(r, ref);
        s->host = strdup(api_host(ref));
        s->name = strdup(ref->host);
        s->repository = str_printf("%s%s", short_name ? "library/" : "", ref->repository);
        if (registry_origin(ref, &s->origin) < 0 || !s->host || !s->name || !s->repository ||
            !(s->base = str_printf("%sv2/%s/", s->origin, s->repository))) {
                session_free(s);
                return -ENOMEM;
        }
        *ret = s;
        return 0;
}

int registry_open(Registry *r, const OciRef *ref, bool push, const char **ret_base, Why *why)
{
        Session *s = NULL;

        if (session_new(r, ref, push, &s) < 0)
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        for (Session *known = r->sessions; known; known = known->next)
                if (streq(known->base, s->base) && (known->push || !push)) { /* who may push may pull */
                        session_free(s);
                        *ret_base = known->base;
                        return 0;
                }
        if (r->n_sessions >= SESSIONS_MAX) {
                session_free(s);
                return fail(why, -EMFILE, WHY_HOST, "oci", "gybe-fetch: more than %u repositories",
                            SESSIONS_MAX);
        }
        s->next = r->sessions;
        r->sessions = s;
        r->n_sessions++;
        *ret_base = s->base;
        return 0;
}

int registry_new(Http *http, Bytes *auth_file, const char *configured, Registry **ret, Why *why)
{
        Registry *r = calloc(1, sizeof(*r));
        HttpAuth auth = { .header = on_header, .challenged = on_challenged, .ctx = r };

        if (!r) {
                bytes_done(auth_file);
                return fail_errno(why, -ENOMEM, WHY_HOST, "gybe-fetch");
        }
        r->http = http;
        bytes_move(&r->auth_file, auth_file);
        if (configured && url_is_oci(configured))
                (void) oci_ref_parse(configured, &r->configured, NULL); /* what it is not, nobody is told */
        http_set_auth(http, &auth);
        *ret = r;
        return 0;
}
