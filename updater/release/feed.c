/* SPDX-License-Identifier: MIT */

/* The feed index: what a folder on a web server offers. Only the document; which release is for us is source/offer.c's
 * question. formats.md section 4. */

#include "release/release.h"
#include "base/str.h"
#include "release/doc.h"

#include <errno.h>

#define FEED_CHANNELS_MAX 64u

void feed_done(Feed *f)
{
        free(f->product);
        for (size_t i = 0; i < f->n_channels; i++) {
                free(f->channels[i].channel);
                free(f->channels[i].version);
        }
        free(f->channels);
        for (size_t i = 0; i < f->n_releases; i++) {
                free(f->releases[i].version);
                free(f->releases[i].path);
        }
        free(f->releases);
        *f = (Feed){ 0 };
}

typedef struct ChannelWalk {
        const Doc *doc;
        Feed *feed;
} ChannelWalk;

static int add_channel(void *ctx, const char *name, const Json *value)
{
        ChannelWalk *w = ctx;
        const char *version = json_str(value), *reason = text_reason(name, DOC_TEXT_MAX);
        size_t n = w->feed->n_channels;

        if (reason)
                return doc_fail(w->doc, "channels", "has a name that %s", reason);
        if (!version || text_reason(version, DOC_TEXT_MAX))
                return doc_fail(w->doc, "channels", "names no version for \"%.60s\"", name);
        w->feed->channels[n].channel = strdup(name);
        w->feed->channels[n].version = strdup(version);
        w->feed->n_channels++;
        return w->feed->channels[n].channel && w->feed->channels[n].version ? 0 : -ENOMEM;
}

static int read_channels(const Doc *d, Feed *f)
{
        ChannelWalk walk = { .doc = d, .feed = f };
        Doc channels;
        int r;

        r = doc_object(d, "channels", &channels);
        if (r < 0)
                return r;
        if (json_members(channels.json) > FEED_CHANNELS_MAX)
                return doc_fail(d, "channels", "has %zu names, at most %u are allowed",
                                json_members(channels.json), FEED_CHANNELS_MAX);
        f->channels = calloc(MAX(json_members(channels.json), (size_t) 1), sizeof(*f->channels));
        return f->channels ? json_each(channels.json, add_channel, &walk) : -ENOMEM;
}

static int read_one(const Doc *item, const Feed *f, FeedRelease *rel)
{
        _cleanup_(free_charp) char *arch = NULL;
        int r;

        if ((r = doc_text(item, "version", DOC_TEXT_MAX, &rel->version)) < 0 ||
            (r = doc_u64(item, "serial", &rel->serial)) < 0 ||
            (r = doc_text(item, "arch", sizeof(rel->arch) - 1, &arch)) < 0 ||
            (r = doc_path(item, "path", &rel->path)) < 0 ||
            (r = doc_hex(item, "sha384", DOC_SHA384_HEX, rel->sha384)) < 0)
                return r;
        memcpy(rel->arch, arch, strlen(arch) + 1);
        for (size_t i = 0; i < f->n_releases; i++)
                if (streq(f->releases[i].version, rel->version) && streq(f->releases[i].arch, rel->arch))
                        return doc_fail(item, "version", "\"%.60s\" for %s is listed twice", rel->version,
                                        rel->arch);
        return 0;
}

static int read_releases(const Doc *d, Feed *f)
{
        const Json *list;
        int r;

        r = doc_array(d, "releases", 0, DOC_LIST_MAX, &list);
        if (r < 0)
                return r;
        f->releases = calloc(MAX(json_len(list), (size_t) 1), sizeof(*f->releases));
        if (!f->releases)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(list); i++) {
                FeedRelease rel = { 0 };
                Doc item;

                r = doc_item(d, "releases", list, i, &item);
                if (r >= 0)
                        r = read_one(&item, f, &rel);
                if (r < 0) {
                        free(rel.version);
                        free(rel.path);
                        return r;
                }
                f->releases[f->n_releases++] = rel;
        }
        return 0;
}

int feed_parse(const void *payload, size_t size, const char *what, Feed *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *json = NULL;
        _cleanup_(feed_done) Feed f = { 0 };
        Doc d;
        int r;

        if ((r = doc_open(payload, size, what, "gybe.feed/1", &json, &d, why)) < 0 ||
            (r = doc_text(&d, "product", DOC_TEXT_MAX, &f.product)) < 0 ||
            (r = doc_u64(&d, "serial", &f.serial)) < 0 || (r = doc_time(&d, "issued", &f.issued)) < 0 ||
            (r = doc_time(&d, "expires", &f.expires)) < 0 || (r = read_channels(&d, &f)) < 0 ||
            (r = read_releases(&d, &f)) < 0)
                return r;
        if (f.issued > f.expires)
                return doc_fail(&d, "expires", "is before issued");
        *ret = f;
        f = (Feed){ 0 };
        return 0;
}
