/* SPDX-License-Identifier: MIT */

/* Manifests as OCI 1.1 has them for artifacts: a type of their own, an empty configuration, one layer. */

#include "publish/ocipub.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int oci_no_memory(Why *why)
{
        return fail_errno(why, -ENOMEM, WHY_HOST, "publish");
}

Json *oci_descriptor(const char *type, const char *digest, uint64_t size)
{
        Json *j = json_new_object();

        json_set_str(j, "mediaType", type);
        json_set_str(j, "digest", digest);
        json_set_u64(j, "size", size);
        return j;
}

Json *oci_document(const char *type)
{
        Json *j = json_new_object();

        json_set_u64(j, "schemaVersion", 2);
        json_set_str(j, "mediaType", type);
        return j;
}

/* Two bytes that every artifact without a configuration has: "{}". */
static int push_empty(OciPub *p, Json **ret, Why *why)
{
        char digest[OCI_DIGEST_SIZE];
        int r = push_bytes(p->push, "{}", 2, digest, why);

        if (r < 0)
                return r;
        *ret = oci_descriptor(TYPE_EMPTY, digest, 2);
        json_set_str(*ret, "data", "e30=");
        return 0;
}

void oci_annotate(Json *manifest, const Release *release, uint64_t created)
{
        Json *a = json_sub(manifest, "annotations");
        char serial[24];

        (void) snprintf(serial, sizeof(serial), "%" PRIu64, release->serial);
        if (created > 0)
                json_set_time(a, KEY_CREATED, created);
        json_set_str(a, KEY_VERSION, release->version);
        json_set_str(a, KEY_SERIAL, serial);
        json_set_str(a, KEY_PRODUCT, release->product);
}

int oci_push_artifact(OciPub *p, const char *type, Json *layer, Json *manifest, char ret[OCI_DIGEST_SIZE],
                      size_t *ret_size, bool *ret_listed, Why *why)
{
        _cleanup_(free_charp) char *text = NULL;
        Json *config = NULL, *layers = json_new_array();
        int r = push_empty(p, &config, why);

        json_set_str(manifest, "artifactType", type);
        json_set(manifest, "config", config);
        json_add(layers, layer);
        json_set(manifest, "layers", layers);
        if (r < 0)
                return r;
        text = json_format(manifest, false);
        if (!text || oci_digest(text, strlen(text), ret) < 0)
                return oci_no_memory(why);
        *ret_size = strlen(text);
        return push_manifest(p->push, ret, TYPE_MANIFEST, text, ret_listed, why);
}
