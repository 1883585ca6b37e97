/* SPDX-License-Identifier: MIT */

/* What is said to Nebraska. It answers a request that it cannot parse with nothing at all, and a word that it does not know
 * with "ok": so every word here is one that it knows. */

#include "source/omaha.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define COMPONENTS_MAX 4u
#define FOURTH_MAX     999999u /* six digits */

/* --- versions --- */

/* One number: at least a digit, leading zeroes are dropped. */
static int take_number(const char **p, uint64_t *ret)
{
        size_t n = strspn(*p, "0123456789");
        char digits[20] = { 0 };

        if (n == 0 || n >= sizeof(digits))
                return -EINVAL;
        memcpy(digits, *p, n);
        *p += n;
        return parse_u64(digits, ret);
}

/* What stands behind "-": identifiers with dots between, of which the numeric ones have no leading zeroes. */
static int add_identifiers(const char *s, Str *out)
{
        for (bool first = true;; first = false) {
                size_t n = strcspn(s, "."), zeroes = 0;

                if (n == 0 ||
                    strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") < n)
                        return -EINVAL;
                if (strspn(s, "0123456789") >= n)
                        while (zeroes + 1 < n && s[zeroes] == '0')
                                zeroes++;
                str_addf(out, "%s%.*s", first ? "-" : ".", (int) (n - zeroes), s + zeroes);
                s += n;
                if (!*s)
                        return 0;
                s++;
        }
}

static int add_numbers(const char **p, Str *out)
{
        uint64_t number[COMPONENTS_MAX] = { 0 };
        size_t n = 0;

        for (;;) {
                if (n == COMPONENTS_MAX || take_number(p, &number[n]) < 0)
                        return -EINVAL;
                n++;
                if (**p != '.')
                        break;
                (*p)++;
        }
        if (n == COMPONENTS_MAX &&
            (number[3] > FOURTH_MAX || __builtin_mul_overflow(number[2], FOURTH_MAX + 1, &number[2]) ||
             __builtin_add_overflow(number[2], number[3], &number[2])))
                return -EINVAL;
        str_addf(out, "%" PRIu64 ".%" PRIu64 ".%" PRIu64, number[0], number[1], number[2]);
        return 0;
}

int omaha_version(const char *version, char ret[OMAHA_VERSION_SIZE])
{
        _cleanup_(free_charp) char *text = NULL, *rest = NULL;
        const char *p = version;
        Str s = STR_NULL;
        int r;

        p += *p == 'v';
        r = add_numbers(&p, &s);
        if (r >= 0 && (*p == '-' || *p == '~')) {
                rest = strndup(p + 1, strcspn(p + 1, "+"));
                if (!rest)
                        r = -ENOMEM;
                else
                        r = add_identifiers(rest, &s);
                p += 1 + (rest ? strlen(rest) : 0);
        }
        text = str_take(&s);
        if (!text)
                return -ENOMEM;
        /* what is built differently is the same version to the server: it is not said */
        if (r < 0 || (*p && *p != '+') || strlen(text) >= OMAHA_VERSION_SIZE)
                return r < 0 ? r : -EINVAL;
        memcpy(ret, text, strlen(text) + 1);
        return 0;
}

int omaha_machine_id(const char *machine_id, char ret[OMAHA_ID_SIZE])
{
        uint8_t raw[16], digest[SHA384_SIZE];
        int r = hex_decode(machine_id, raw, sizeof(raw));

        if (r >= 0)
                r = sha384(raw, sizeof(raw), digest);
        if (r < 0)
                return r;
        uuid_format_text(digest, ret);
        return 0;
}

/* --- events --- */

static const struct {
        const char *name;
        unsigned type, result;
} events[_OMAHA_EVENT_MAX] = {
        [OMAHA_DOWNLOADING] = { "downloading", 13, 1 },
        [OMAHA_DOWNLOADED] = { "downloaded", 14, 1 },
        [OMAHA_INSTALLED] = { "installed", 800, 1 },
        [OMAHA_COMPLETE] = { "complete", 3, 2 },
        [OMAHA_ERROR] = { "error", 3, 0 },
};

const char *omaha_event_name(OmahaEvent e)
{
        return (unsigned) e < _OMAHA_EVENT_MAX ? events[e].name : NULL;
}

OmahaEvent omaha_event_from_name(const char *name)
{
        for (OmahaEvent e = 0; e < _OMAHA_EVENT_MAX; e++)
                if (streq0(name, events[e].name))
                        return e;
        return _OMAHA_EVENT_INVALID;
}

OmahaError omaha_error_of(const Why *why)
{
        switch (why->kind) {
        case WHY_NETWORK:
                return OMAHA_ERROR_TRANSFER;
        case WHY_TRUST:
                return streq(why->code, "root-hash") ? OMAHA_ERROR_ROOTFS_VERIFICATION
                                                     : OMAHA_ERROR_PAYLOAD_VERIFICATION;
        case WHY_IMAGE:
                return OMAHA_ERROR_MANIFEST;
        case WHY_POLICY:
        case WHY_NOTHING:
                return OMAHA_ERROR_IGNORED_BY_POLICY;
        default:
                return OMAHA_ERROR_GENERIC;
        }
}

/* --- the document --- */

/* A control byte has no place in XML 1.0, escaped or not. */
static void add_escaped(Str *s, const char *text)
{
        for (const char *p = text; *p; p++)
                switch (*p) {
                case '&':
                        str_add(s, "&amp;");
                        break;
                case '<':
                        str_add(s, "&lt;");
                        break;
                case '>':
                        str_add(s, "&gt;");
                        break;
                case '"':
                        str_add(s, "&quot;");
                        break;
                default:
                        str_addn(s, (unsigned char) *p < 0x20 || *p == 0x7f ? "?" : p, 1);
                }
}

/* Nothing where there is nothing to say: an empty value would be one. */
static void add_attribute(Str *s, const char *name, const char *value)
{
        if (!value || !*value)
                return;
        str_addf(s, " %s=\"", name);
        add_escaped(s, value);
        str_add(s, "\"");
}

static void add_report(Str *s, const OmahaReport *r)
{
        str_addf(s, "  <event eventtype=\"%u\" eventresult=\"%u\"", events[r->event].type,
                 events[r->event].result);
        if (r->event == OMAHA_ERROR)
                str_addf(s, " errorcode=\"%u\"", r->error_code);
        /* For the Flatcar application an empty one undoes the update instead of completing it. */
        add_attribute(s, "previousversion",
                      r->previous_version && *r->previous_version ? r->previous_version
                                                                  : OMAHA_VERSION_UNKNOWN);
        str_add(s, "/>\n");
}

static void add_app(Str *s, const OmahaAsk *ask, bool is_arm)
{
        str_add(s, " <app");
        add_attribute(s, "appid", ask->app);
        add_attribute(s, "version", ask->version);
        add_attribute(s, "track", ask->track);
        /* Either alone may be misread: "arm64" as an architecture is amd64 to the server. */
        add_attribute(s, "board", is_arm ? "arm64-usr" : "amd64-usr");
        add_attribute(s, "machineid", ask->machine_id);
        add_attribute(s, "bootid", ask->boot_id);
        add_attribute(s, "oem", ask->oem);
        add_attribute(s, "machinealias", ask->alias);
        str_add(s, " delta_okay=\"false\">\n");
        if (ask->report)
                add_report(s, ask->report);
        if (ask->ping)
                str_add(s, "  <ping active=\"1\"/>\n");
        if (ask->check)
                str_add(s, "  <updatecheck/>\n");
        str_add(s, " </app>\n");
}

int omaha_format(const OmahaAsk *ask, char **ret)
{
        bool is_arm = streq(ask->arch, "aarch64");
        Str s = STR_NULL;
        char *text;

        /* The name must not be that of a Nebraska that copies packages from another one: those get every floor at once. */
        str_addf(&s,
                 "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                 "<request protocol=\"3.0\" version=\"gybe-%s\" updaterversion=\"gybe-%s\" "
                 "installsource=\"%s\" "
                 "ismachine=\"1\"",
                 GYBE_VERSION, GYBE_VERSION, ask->scheduled ? "scheduler" : "ondemandupdate");
        str_addf(&s, " requestid=\"{%s}\" sessionid=\"{%s}\">\n", ask->request_id, ask->session_id);
        str_add(&s, " <os platform=\"linux\"");
        add_attribute(&s, "version", ask->os_version);
        add_attribute(&s, "arch", is_arm ? "aarch64" : "amd64");
        str_add(&s, "/>\n");
        add_app(&s, ask, is_arm);
        str_add(&s, "</request>\n");
        text = str_take(&s);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}
