/* SPDX-License-Identifier: MIT */

/* The inspect document for people. Strings come from files that nobody has verified: what could drive a terminal is
 * shown as '?'. */

#include "publish/publish.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t number(const Json *object, const char *key)
{
        uint64_t v = 0;

        (void) json_get_u64(object, key, &v);
        return v;
}

static const char *text(const Json *object, const char *key)
{
        return json_get_str(object, key) ?: "";
}

static void add_size(Str *s, uint64_t bytes)
{
        char size[SIZE_TEXT_SIZE];

        format_size(bytes, size);
        str_addf(s, "%10s", size);
}

static void add_image(Str *s, const Json *image)
{
        uint64_t raw = number(image, "uncompressedSize"), packed = number(image, "compressedSize");
        const Json *table = json_get(image, "seekTable");

        str_addf(s, "  %-24s", text(image, "path"));
        add_size(s, packed);
        str_add(s, "  of ");
        add_size(s, raw);
        if (packed > 0)
                str_addf(s, "  ratio %" PRIu64 ".%" PRIu64, raw / packed, raw * 10 / packed % 10);
        if (json_is_object(table))
                str_addf(s, "  %" PRIu64 " frames of %" PRIu64, number(table, "frames"),
                         number(table, "frameSize"));
        else if (table)
                str_add(s, "  no seek table");
        str_add(s, "\n");
}

static void add_partition(Str *s, const Json *p)
{
        str_addf(s, "  %3" PRIu64 "  %-12s", number(p, "number"), text(p, "label"));
        add_size(s, number(p, "size"));
        str_addf(s, "  at %12" PRIu64 "  %s\n", number(p, "offset"), text(p, "partuuid"));
}

static void add_esp_file(Str *s, const Json *file)
{
        const Json *pe = json_get(file, "pe");

        str_add(s, "  ");
        add_size(s, number(file, "size"));
        str_addf(s, "  %-15s %s\n", text(file, "kind"), text(file, "path"));
        if (!pe)
                return;
        if (*text(pe, "uname"))
                str_addf(s, "%31skernel %s\n", "", text(pe, "uname"));
        if (*text(pe, "cmdline"))
                str_addf(s, "%31s%s\n", "", text(pe, "cmdline"));
        str_addf(s, "%31s%s, %" PRIu64 " signature%s\n", "", text(pe, "machine"), number(pe, "signatures"),
                 number(pe, "signatures") == 1 ? "" : "s");
}

static void add_filesystem(Str *s, const Json *fs)
{
        str_addf(s, "  %-8s %-8s %-36s %s\n", text(fs, "mountPoint"), text(fs, "fsType"), text(fs, "fsUuid"),
                 text(fs, "image"));
}

static void add_index(Str *s, const Json *index)
{
        if (json_get_str(index, "problem")) {
                str_addf(s, "\nblock index: broken: %s\n", text(index, "problem"));
                return;
        }
        str_add(s, "\nblock index:\n  member  ");
        add_size(s, number(index, "size"));
        str_addf(s, "\n  groups  %10" PRIu64 "  of %" PRIu64 " blocks, ", number(index, "groups"),
                 number(index, "blocks"));
        add_size(s, number(index, "groupsSize"));
        str_addf(s, "\n  frames  %10" PRIu64 "  ", number(index, "frames"));
        add_size(s, number(index, "framesSize"));
        str_add(s, "\n");
}

static void add_cosi(Str *s, const Json *doc)
{
        const Json *metadata = json_get(doc, "metadata"), *verity = json_get(doc, "verity");
        char size[SIZE_TEXT_SIZE];

        format_size(number(doc, "size"), size);
        str_addf(s, "COSI %s, %s, %s, id %s\nmetadata SHA-384 %s\n", text(metadata, "version"),
                 text(doc, "arch"), size, text(metadata, "id"), text(doc, "metadataSha384"));
        str_addf(s, "\nos-release, %" PRIu64 " packages:\n%s\n", number(doc, "packages"),
                 text(metadata, "osRelease"));
        str_add(s, "\nimages:\n");
        json_foreach (image, json_get(doc, "images"))
                add_image(s, image);
        if (json_len(json_get(doc, "partitions")) > 0)
                str_add(s, "\npartitions:\n");
        json_foreach (p, json_get(doc, "partitions"))
                add_partition(s, p);
        str_add(s, "\nfile systems:\n");
        json_foreach (fs, json_get(doc, "filesystems"))
                add_filesystem(s, fs);
        if (verity)
                str_addf(s,
                         "\n/usr verity:\n  roothash %s\n  salt     %s\n  uuid     %s\n  blocks   %" PRIu64
                         "\n",
                         text(verity, "roothash"), text(verity, "salt"), text(verity, "uuid"),
                         number(verity, "dataBlocks"));
        if (json_get(doc, "index"))
                add_index(s, json_get(doc, "index"));
        str_add(s, "\nESP:\n");
        json_foreach (file, json_get(doc, "esp"))
                add_esp_file(s, file);
}

static void add_envelope(Str *s, const Json *doc)
{
        _cleanup_(free_charp) char *payload = json_format(json_get(doc, "payload"), true);

        str_addf(s, "%s (%s)\nfile SHA-384 %s\n\n%s\nsigned by:\n", text(doc, "kind"),
                 text(doc, "payloadType"), text(doc, "sha384"), payload ?: "");
        json_foreach (sig, json_get(doc, "signatures"))
                str_addf(s, "  %-10s %s\n", text(sig, "alg"), text(sig, "keyid"));
        if (json_len(json_get(doc, "signatures")) == 0)
                str_add(s, "  nobody\n");
}

char *inspect_text(const Json *doc)
{
        Str s = STR_NULL;
        char *all;

        if (streq(text(doc, "kind"), "cosi"))
                add_cosi(&s, doc);
        else
                add_envelope(&s, doc);
        all = str_take(&s);
        for (char *p = all; p && *p; p++)
                if (((unsigned char) *p < 0x20 && *p != '\n') || *p == 0x7f)
                        *p = '?';
        return all;
}
