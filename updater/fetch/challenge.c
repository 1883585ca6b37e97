/* SPDX-License-Identifier: MIT */

/* RFC 9110 section 11: a list of challenges, each a scheme with parameters, all parted by commas:
 *
 *      Bearer realm="https://auth.example/token",service="registry",scope="repository:os:pull", Basic realm="x"
 *
 * Whether a word begins a challenge or is a parameter's name shows only behind it: a parameter has its '='. */

#include "fetch/challenge.h"
#include "base/str.h"

#include <errno.h>
#include <strings.h>

void challenge_done(Challenge *c)
{
        free(c->realm);
        free(c->service);
        *c = (Challenge){ 0 };
}

static bool is_token_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_length(const char *p)
{
        size_t n = 0;

        while (is_token_char(p[n]))
                n++;
        return n;
}

static const char *skip_blanks(const char *p)
{
        return p + strspn(p, " \t");
}

/* A quoted string or a token. What is behind it, or NULL. */
static const char *take_value(const char *p, Str *value)
{
        size_t n;

        if (*p != '"') {
                n = token_length(p);
                str_addn(value, p, n);
                return n > 0 ? p + n : NULL;
        }
        for (p++; *p && *p != '"'; p++) {
                if (*p == '\\' && !*++p)
                        return NULL;
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        return NULL;
                str_addn(value, p, 1);
        }
        return *p == '"' ? p + 1 : NULL;
}

/* The other form of what may stand behind a scheme: one word, as "Negotiate YWJj==" has it. Skipped. */
static const char *skip_token68(const char *p)
{
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/");

        n += strspn(p + n, "=");
        return n > 0 && (*skip_blanks(p + n) == 0 || *skip_blanks(p + n) == ',') ? p + n : p;
}

typedef struct Reader {
        Challenge *c;
        bool in_bearer; /* the parameters that come belong to the first Bearer */
        bool has_scheme;
        unsigned parts;
} Reader;

static const char *take_scheme(Reader *r, const char *name, size_t n, const char *p)
{
        bool bearer = n == strlen("Bearer") && strncasecmp(name, "Bearer", n) == 0;

        r->has_scheme = true;
        r->c->basic = r->c->basic || (n == strlen("Basic") && strncasecmp(name, "Basic", n) == 0);
        r->in_bearer = bearer && !r->c->bearer;
        r->c->bearer = r->c->bearer || bearer;
        if (*p && !strchr(" \t,", *p))
                return NULL;
        return skip_token68(skip_blanks(p));
}

static const char *take_parameter(Reader *r, const char *name, size_t n, const char *p, int *ret_error)
{
        Str s = STR_NULL;
        _cleanup_(free_charp) char *value = NULL;
        char **slot = NULL;

        p = take_value(p, &s);
        value = str_take(&s);
        if (!value)
                *ret_error = -ENOMEM;
        if (!p || !value || !r->has_scheme)
                return NULL;
        if (r->in_bearer && n == strlen("realm") && strncasecmp(name, "realm", n) == 0)
                slot = &r->c->realm;
        else if (r->in_bearer && n == strlen("service") && strncasecmp(name, "service", n) == 0)
                slot = &r->c->service;
        if (slot && *slot) /* said twice: which one is meant nobody knows */
                return NULL;
        if (slot)
                *slot = TAKE(value);
        return p;
}

/* One challenge's beginning or one parameter; what is behind it, or NULL. */
static const char *take_part(Reader *r, const char *p, int *ret_error)
{
        size_t n = token_length(p);
        const char *behind = skip_blanks(p + n);

        if (n == 0 || ++r->parts > CHALLENGE_PARTS_MAX)
                return NULL;
        if (*behind == '=' && r->has_scheme)
                return take_parameter(r, p, n, skip_blanks(behind + 1), ret_error);
        return take_scheme(r, p, n, p + n);
}

int challenge_parse(const char *header, Challenge *ret, Why *why)
{
        _cleanup_(challenge_done) Challenge c = { 0 };
        Reader reader = { .c = &c };
        int error = -EBADMSG;

        if (strlen(header) > CHALLENGE_HEADER_MAX)
                return fail(why, -EBADMSG, WHY_NETWORK, "challenge", "WWW-Authenticate: too long");
        for (const char *p = header + strspn(header, " \t,"); *p; p += strspn(p, " \t,")) {
                p = take_part(&reader, p, &error);
                if (!p && error == -ENOMEM)
                        return fail_errno(why, error, WHY_HOST, "gybe-fetch");
                if (!p)
                        return fail(why, error, WHY_NETWORK, "challenge", "WWW-Authenticate: cannot be read");
        }
        *ret = c;
        c = (Challenge){ 0 };
        return 0;
}

/* --- where to ask for a token --- */

static size_t host_length(const char *host)
{
        return *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
}

int challenge_check_realm(const char *realm, bool plain, const char *host, Why *why)
{
        bool secure = strncasecmp(realm, "https://", 8) == 0;
        const char *authority = realm + (secure ? 8 : 7);
        size_t n;

        if (strlen(realm) > CHALLENGE_REALM_MAX || (!secure && strncasecmp(realm, "http://", 7) != 0))
                return fail(why, -EPERM, WHY_NETWORK, "realm", "its realm is not an https address");
        for (const char *p = realm; *p; p++)
                if (*p <= 0x20 || *p > 0x7e || strchr("\\#\"<>", *p))
                        return fail(why, -EPERM, WHY_NETWORK, "realm", "its realm is no plain address");
        n = strcspn(authority, "/?");
        if (n == 0 || memchr(authority, '@', n))
                return fail(why, -EPERM, WHY_NETWORK, "realm", "its realm names no host");
        if (secure)
                return 0;
        n = MIN(host_length(authority), n);
        if (!plain || n != host_length(host) || strncasecmp(authority, host, n) != 0)
                return fail(why, -EPERM, WHY_NETWORK, "realm",
                            "its realm is asked by plain http%s; no token is asked for there",
                            plain ? ", on another host" : "");
        return 0;
}
