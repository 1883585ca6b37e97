/* SPDX-License-Identifier: MIT */

/* Tags are what hosts follow: versions and channels. They are set last, and only where they do not lead there already. */

#include "publish/ocipub.h"
#include "base/str.h"

#include <errno.h>

/* What a tag leads to: the manifest, or an index over those of several architectures. */
static int make_target(OciPub *p, const char **ret_type, char **ret_text, Why *why)
{
        _cleanup_(json_unrefp) Json *index = oci_document(TYPE_INDEX);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        Json *list;
        int r;

        if (p->n_items == 1) {
                r = push_read_manifest(p->push, p->items[0].digest, &b, why);
                if (r <= 0)
                        return r < 0 ? r
                                     : fail(why, -EIO, WHY_NETWORK, "server", "the registry lost a manifest");
                *ret_type = TYPE_MANIFEST;
                *ret_text = strndup((const char *) b.data, b.size);
                return *ret_text ? 0 : oci_no_memory(why);
        }
        list = json_new_array();
        for (size_t i = 0; i < p->n_items; i++) {
                const Item *item = &p->items[i];
                Json *j = oci_descriptor(TYPE_MANIFEST, item->digest, item->manifest_size);

                json_set_str(j, "artifactType", OCI_TYPE_COSI);
                json_set_str(json_sub(j, "platform"), "architecture",
                             streq(item->release.arch, "aarch64") ? "arm64" : "amd64");
                json_set_str(json_sub(j, "platform"), "os", "linux");
                json_add(list, j);
        }
        json_set(index, "manifests", list);
        oci_annotate(index, &p->items[0].release, 0);
        *ret_type = TYPE_INDEX;
        *ret_text = json_format(index, false);
        return *ret_text ? 0 : oci_no_memory(why);
}

/* 1 the tag leads there already; says when it goes back */
static int look_at_tag(OciPub *p, const char *tag, const char *text, Why *why)
{
        _cleanup_(json_unrefp) Json *now = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        const char *serial_text;
        uint64_t serial = 0;
        int r = push_read_manifest(p->push, tag, &b, why);

        if (r <= 0)
                return r;
        if (b.size == strlen(text) && memcmp(b.data, text, b.size) == 0)
                return 1;
        if (json_parse(b.data, b.size, JSON_FRACTIONS, 32, tag, WHY_NETWORK, &now, NULL) < 0)
                return 0; /* something else was there */
        serial_text = json_get_str(json_get(now, "annotations"), KEY_SERIAL);
        if (serial_text && parse_u64(serial_text, &serial) >= 0 && serial > p->items[0].release.serial) {
                _cleanup_(free_charp) char *line = str_printf(
                        "tag %s goes back from %s to %s; hosts that have it do not go back by themselves",
                        tag, json_get_str(json_get(now, "annotations"), KEY_VERSION) ?: "a later one",
                        p->items[0].release.version);

                json_add_str(p->warnings, line ?: "");
        }
        return 0;
}

static int set_tag(OciPub *p, const char *name, const char *type, const char *text, Why *why)
{
        _cleanup_(free_charp) char *tag = NULL;
        int r = oci_tag_of(name, &tag);

        if (r < 0)
                return fail(why, r, WHY_USAGE, "bad-reference", "\"%.140s\": no tag can be named so", name);
        r = look_at_tag(p, tag, text, why);
        json_add_str(p->tags, tag);
        if (r != 0)
                return r < 0 ? r : 0;
        json_add_str(p->pushed, tag);
        return push_manifest(p->push, tag, type, text, NULL, why);
}

static void warn_channels(OciPub *p, char *const *channels)
{
        for (; channels && *channels; channels++) {
                _cleanup_(free_charp) char *line = NULL;

                if (strv_has(p->items[0].release.channels, *channels))
                        continue;
                line = str_printf("channel %s: release %s is not signed for it; hosts refuse it there",
                                  *channels, p->items[0].release.version);
                json_add_str(p->warnings, line ?: "");
        }
}

int oci_set_tags(OciPub *p, Why *why)
{
        const Release *release = &p->items[0].release;
        char **channels = p->o->channels ?: release->channels;
        _cleanup_(free_charp) char *text = NULL;
        const char *type = NULL;
        int r = make_target(p, &type, &text, why);

        if (r < 0)
                return r;
        warn_channels(p, p->o->channels);
        if (p->ref.tag)
                return set_tag(p, p->ref.tag, type, text, why);
        r = set_tag(p, release->version, type, text, why);
        for (; r >= 0 && channels && *channels; channels++)
                r = set_tag(p, *channels, type, text, why);
        return r;
}
