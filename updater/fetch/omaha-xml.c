/* SPDX-License-Identifier: MIT */

/* <response protocol="3.0"><app appid="..." status="ok"><updatecheck status="ok"><urls><url codebase="..."/></urls>
 * <manifest version="..."><packages><package name="..." hash="..." size="..."/></packages></manifest></updatecheck>
 * <event status="ok"/></app></response>
 *
 * A path of these names from the root on means something, everything else is passed over with all that it holds. Text between
 * elements means nothing in Omaha. */

#include "fetch/omaha-xml.h"
#include "base/str.h"

#include <errno.h>
#include <expat.h>

#define DEPTH_MAX      16u   /* Omaha has six levels */
#define ELEMENTS_MAX   4096u /* an offer has three and one a package */
#define ATTRIBUTES_MAX 32u   /* an action has a dozen */

typedef enum Place {
        PLACE_NONE, /* below something that we do not know */
        PLACE_DOCUMENT,
        PLACE_RESPONSE,
        PLACE_APP,
        PLACE_CHECK,
        PLACE_URLS,
        PLACE_URL,
        PLACE_MANIFEST,
        PLACE_PACKAGES,
        PLACE_PACKAGE,
        PLACE_EVENT,
} Place;

static const struct {
        Place in;
        const char *name;
        Place place;
} places[] = {
        { PLACE_DOCUMENT, "response", PLACE_RESPONSE },
        { PLACE_RESPONSE, "app", PLACE_APP },
        { PLACE_APP, "updatecheck", PLACE_CHECK },
        { PLACE_APP, "event", PLACE_EVENT },
        { PLACE_CHECK, "urls", PLACE_URLS },
        { PLACE_URLS, "url", PLACE_URL },
        { PLACE_CHECK, "manifest", PLACE_MANIFEST },
        { PLACE_MANIFEST, "packages", PLACE_PACKAGES },
        { PLACE_PACKAGES, "package", PLACE_PACKAGE },
};

typedef struct Reader {
        XML_Parser parser;
        OmahaReply reply;
        Place path[DEPTH_MAX];
        unsigned depth, elements;
        int r; /* the first failure */
        const char *problem;
} Reader;

static void reader_done(Reader *r)
{
        if (r->parser)
                XML_ParserFree(r->parser);
        omaha_reply_done(&r->reply);
}

static void stop(Reader *r, int error, const char *problem)
{
        if (r->r == 0) {
                r->r = error;
                r->problem = problem;
        }
        (void) XML_StopParser(r->parser, XML_FALSE);
}

static void count(Reader *r, unsigned *n)
{
        if (++*n > OMAHA_COUNT_MAX)
                stop(r, -EBADMSG, "too many elements of a kind");
}

/* --- attributes --- */

static const char *attribute(const XML_Char **attributes, const char *name)
{
        for (; attributes[0]; attributes += 2)
                if (streq(attributes[0], name))
                        return attributes[1];
        return NULL;
}

/* The first one counts; that there are more is counted. Control characters have no place in a name. */
static void take(Reader *r, const XML_Char **attributes, const char *name, char **ret)
{
        const char *value = attribute(attributes, name);

        if (!value || *ret)
                return;
        for (const char *p = value; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        return stop(r, -EBADMSG, "a control character in a value");
        *ret = strdup(value);
        if (!*ret)
                stop(r, -ENOMEM, "no memory");
}

/* NULL means "" here: the other end would not tell them apart. */
static void take_or_empty(Reader *r, const XML_Char **attributes, const char *name, char **ret)
{
        take(r, attributes, name, ret);
        if (!*ret && !(*ret = strdup("")))
                stop(r, -ENOMEM, "no memory");
}

static void take_package(Reader *r, const XML_Char **attributes)
{
        const char *size = attribute(attributes, "size");
        OmahaPackage *list, *p;

        if (r->reply.n_manifests > 1)
                return; /* refused by its number */
        if (r->reply.n_packages == OMAHA_PACKAGES_MAX)
                return stop(r, -EBADMSG, "too many packages");
        list = reallocarray(r->reply.packages, r->reply.n_packages + 1, sizeof(*list));
        if (!list)
                return stop(r, -ENOMEM, "no memory");
        r->reply.packages = list;
        p = &list[r->reply.n_packages++];
        *p = (OmahaPackage){ 0 };
        take_or_empty(r, attributes, "name", &p->name);
        take_or_empty(r, attributes, "hash", &p->hash);
        take_or_empty(r, attributes, "hash_sha256", &p->hash_sha256);
        if (size && *size && parse_u64(size, &p->size) < 0)
                stop(r, -EBADMSG, "the size of a package is no number");
}

/* --- elements --- */

static void enter(Reader *r, Place place, const XML_Char **attributes)
{
        OmahaReply *o = &r->reply;

        switch (place) {
        case PLACE_RESPONSE:
                take(r, attributes, "protocol", &o->protocol);
                break;
        case PLACE_APP:
                count(r, &o->n_apps);
                if (o->n_apps == 1) {
                        take(r, attributes, "appid", &o->app);
                        take(r, attributes, "status", &o->app_status);
                }
                break;
        case PLACE_CHECK:
                count(r, &o->n_checks);
                take(r, attributes, "status", &o->check_status);
                break;
        case PLACE_EVENT:
                count(r, &o->n_events);
                break;
        case PLACE_URL:
                count(r, &o->n_urls);
                take(r, attributes, "codebase", &o->codebase);
                break;
        case PLACE_MANIFEST:
                count(r, &o->n_manifests);
                take(r, attributes, "version", &o->version);
                break;
        case PLACE_PACKAGE:
                take_package(r, attributes);
                break;
        default:
                break;
        }
}

static bool attributes_fit(const XML_Char **attributes)
{
        size_t n = 0;

        for (; attributes[n]; n++)
                if (n >= 2 * (size_t) ATTRIBUTES_MAX || strlen(attributes[n]) > OMAHA_TEXT_MAX)
                        return false;
        return true;
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
        Reader *r = ctx;
        Place in = r->depth == 0 ? PLACE_DOCUMENT : r->path[r->depth - 1], place = PLACE_NONE;

        if (r->depth == DEPTH_MAX || ++r->elements > ELEMENTS_MAX || !attributes_fit(attributes))
                return stop(r, -EBADMSG, "it is deeper, longer or wider than any answer");
        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (places[i].in == in && streq(places[i].name, name))
                        place = places[i].place;
        if (r->depth == 0 && place != PLACE_RESPONSE)
                return stop(r, -EBADMSG, "it is no Omaha response but another document");
        r->path[r->depth++] = place;
        enter(r, place, attributes);
}

static void on_end(void *ctx, const XML_Char *name _unused_)
{
        Reader *r = ctx;

        r->depth--;
}

static void on_doctype(void *ctx, const XML_Char *name _unused_, const XML_Char *system _unused_,
                       const XML_Char *public _unused_, int internal _unused_)
{
        stop(ctx, -EBADMSG, "it has a document type declaration");
}

int omaha_parse(const void *data, size_t size, OmahaReply *ret, Why *why)
{
        /* Whatever the document says of itself: UTF-8. */
        _cleanup_(reader_done) Reader r = { .parser = XML_ParserCreate("UTF-8") };

        if (!r.parser)
                return fail_errno(why, -ENOMEM, WHY_HOST, "update server");
        if (size == 0 || size > OMAHA_REPLY_MAX)
                return fail(why, -EBADMSG, WHY_NETWORK, "omaha-reply", "update server: its answer %s",
                            size == 0 ? "is empty: it did not understand the request" : "is too long");
        XML_SetUserData(r.parser, &r);
        XML_SetElementHandler(r.parser, on_start, on_end);
        XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
        if (XML_Parse(r.parser, data, (int) size, true) != XML_STATUS_OK) {
                int error = r.r < 0 ? r.r : -EBADMSG;

                if (error == -ENOMEM || XML_GetErrorCode(r.parser) == XML_ERROR_NO_MEMORY)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "update server");
                return fail(why, error, WHY_NETWORK, "omaha-reply",
                            "update server: its answer is not one of Omaha: %s (line %lu)",
                            r.problem ? r.problem : XML_ErrorString(XML_GetErrorCode(r.parser)),
                            (unsigned long) XML_GetCurrentLineNumber(r.parser));
        }
        *ret = r.reply;
        r.reply = (OmahaReply){ 0 };
        return 0;
}
