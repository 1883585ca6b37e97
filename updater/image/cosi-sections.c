/* SPDX-License-Identifier: MIT */

/* The sections of metadata.json that came with 1.1 (bootloader) and 1.2 (compression, disk): demanded from
 * then on, unknown fields before. */

#include "base/str.h"
#include "image/cosi-rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define WINDOW_LOG_MAX 31u /* what zstd can express; larger is not a window but a mistake */

/* Returns 1 for a region to keep, 0 for one of a kind that is not known here. */
static int parse_region(const CosiParser *p, const Json *j, size_t index, CosiRegion *ret)
{
        CosiRegion region = { 0 };
        char where[48];
        const char *type = NULL;
        uint64_t number = 0;
        int r;

        (void) snprintf(where, sizeof(where), "disk.gptRegions[%zu]", index);
        if (!json_is_object(j))
                return cosi_bad(p, "%s is no object", where);
        r = cosi_get_str(p, j, "type", where, &type);
        if (r < 0)
                return r;
        region.is_gpt = streq(type, "primary-gpt");
        if (!region.is_gpt && !streq(type, "partition"))
                return 0;
        if (!region.is_gpt) {
                r = cosi_get_number(p, j, "number", where, UINT32_MAX, &number);
                if (r < 0)
                        return r;
        }
        region.number = (unsigned) number;
        r = cosi_parse_image(p, json_get(j, "image"), where, &region.image);
        if (r < 0)
                return r;
        *ret = region;
        return 1;
}

static int parse_regions(const CosiParser *p, const Json *j, Cosi *cosi)
{
        int r;

        if (!json_is_array(j) || json_len(j) == 0)
                return cosi_bad(p, "disk.gptRegions is missing, empty or no array");
        cosi->regions = calloc(COSI_REGIONS_MAX, sizeof(*cosi->regions));
        if (!cosi->regions)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(j); i++) {
                CosiRegion region;

                r = parse_region(p, json_at(j, i), i, &region);
                if (r < 0)
                        return r;
                if (i == 0 && (r == 0 || !region.is_gpt))
                        return cosi_bad(p, "the first region is not the primary GPT");
                if (r == 0)
                        continue;
                if (cosi->n_regions == COSI_REGIONS_MAX)
                        return cosi_bad(p, "more than %u regions", COSI_REGIONS_MAX);
                cosi->regions[cosi->n_regions++] = region;
        }
        return 0;
}

static int parse_disk(const CosiParser *p, const Json *j, Cosi *cosi)
{
        const char *type = NULL;
        uint64_t lba;
        int r;

        if (!json_is_object(j))
                return cosi_bad(p, "disk is missing or no object, version %u.%u needs it", cosi->major,
                                cosi->minor);
        r = cosi_get_str(p, j, "type", "disk", &type);
        if (r < 0)
                return r;
        if (!streq(type, "gpt"))
                return cosi_bad(p, "disk.type is \"%.32s\", only gpt is known", type);
        r = cosi_get_number(p, j, "lbaSize", "disk", UINT32_MAX, &lba);
        if (r < 0)
                return r;
        if (lba != 512 && lba != 4096)
                return cosi_bad(p, "disk.lbaSize is %" PRIu64 ", neither 512 nor 4096", lba);
        cosi->lba_size = (uint32_t) lba;
        r = cosi_get_number(p, j, "size", "disk", COSI_SIZE_MAX, &cosi->disk_size);
        if (r < 0)
                return r;
        if (cosi->disk_size == 0 || cosi->disk_size % lba != 0)
                return cosi_bad(p, "disk.size %" PRIu64 " is no multiple of the sector size %" PRIu64,
                                cosi->disk_size, lba);
        return parse_regions(p, json_get(j, "gptRegions"), cosi);
}

static int parse_boot_entries(const CosiParser *p, const Json *entries)
{
        static const char *const keys[] = { "type", "path", "cmdline", "kernel" };

        if (!json_is_array(entries) || json_len(entries) == 0)
                return cosi_bad(p, "bootloader.systemdBoot.entries is missing, empty or no array");
        for (size_t i = 0; i < json_len(entries); i++)
                for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                        if (!json_get_str(json_at(entries, i), keys[k]))
                                return cosi_bad(
                                        p, "bootloader.systemdBoot.entries[%zu]: %s is missing or no string",
                                        i, keys[k]);
        return 0;
}

/* Nothing of it is used here (the UKI is looked for in the ESP image): it must only not contradict itself. A
 * boot loader that is not known may have whatever it likes. */
static int parse_bootloader(const CosiParser *p, const Json *j)
{
        const Json *systemd_boot = json_get(j, "systemdBoot");
        const char *type = NULL;
        int r;

        if (!json_is_object(j))
                return cosi_bad(p, "bootloader is missing or no object");
        r = cosi_get_str(p, j, "type", "bootloader", &type);
        if (r < 0)
                return r;
        if (streq(type, "grub") && systemd_boot)
                return cosi_bad(p, "bootloader is grub and has systemdBoot");
        if (streq(type, "systemd-boot") && !json_is_object(systemd_boot))
                return cosi_bad(p, "bootloader is systemd-boot and has no systemdBoot");
        return streq(type, "systemd-boot") ? parse_boot_entries(p, json_get(systemd_boot, "entries")) : 0;
}

static int parse_compression(const CosiParser *p, const Json *j, Cosi *cosi)
{
        uint64_t window;
        int r;

        if (!json_is_object(j))
                return cosi_bad(p, "compression is missing or no object");
        r = cosi_get_number(p, j, "maxWindowLog", "compression", WINDOW_LOG_MAX, &window);
        if (r < 0)
                return r;
        cosi->max_window_log = (unsigned) window;
        return 0;
}

int cosi_parse_sections(const CosiParser *p, const Json *root, Cosi *cosi)
{
        int r;

        if (p->rules >= 1) {
                r = parse_bootloader(p, json_get(root, "bootloader"));
                if (r < 0)
                        return r;
        }
        if (p->rules >= 2) {
                r = parse_compression(p, json_get(root, "compression"), cosi);
                return r < 0 ? r : parse_disk(p, json_get(root, "disk"), cosi);
        }
        return 0;
}
