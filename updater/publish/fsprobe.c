/* SPDX-License-Identifier: MIT */

#include "publish/fsprobe.h"
#include "base/str.h"

#include <stdio.h>

#define EXT_SB        1024u
#define EXT_MAGIC     (EXT_SB + 0x38)
#define EXT_COMPAT    (EXT_SB + 0x5c)
#define EXT_INCOMPAT  (EXT_SB + 0x60)
#define EXT_UUID      (EXT_SB + 0x68)
#define EXT_JOURNAL   0x0004u /* compat: has_journal */
#define EXT4_FEATURES 0x02c0u /* incompat: extents, 64bit, flex_bg */
#define EXT4_RO       0x0478u /* ro_compat: huge_file ... metadata_csum */

static uint32_t get32(const uint8_t *p)
{
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void found(FsFacts *f, const char *type, const uint8_t *uuid)
{
        (void) snprintf(f->type, sizeof(f->type), "%s", type);
        if (uuid)
                uuid_format_text(uuid, f->uuid);
}

static void found_fat(FsFacts *f, const uint8_t *serial)
{
        found(f, "vfat", NULL);
        (void) snprintf(f->uuid, sizeof(f->uuid), "%02X%02X-%02X%02X", serial[3], serial[2], serial[1],
                        serial[0]);
}

static const char *ext_kind(const uint8_t *data)
{
        if ((get32(data + EXT_INCOMPAT) & EXT4_FEATURES) || (get32(data + EXT_INCOMPAT + 4) & EXT4_RO))
                return "ext4";
        return get32(data + EXT_COMPAT) & EXT_JOURNAL ? "ext3" : "ext2";
}

void fs_probe(const uint8_t *data, size_t size, FsFacts *ret)
{
        FsFacts f = { 0 };

        if (size >= EXT_SB + 1024 && data[EXT_MAGIC] == 0x53 && data[EXT_MAGIC + 1] == 0xef)
                found(&f, ext_kind(data), data + EXT_UUID);
        else if (size >= 0x10048 && memcmp(data + 0x10040, "_BHRfS_M", 8) == 0)
                found(&f, "btrfs", data + 0x10020);
        else if (size >= 1024 + 128 && get32(data + 1024) == 0xe0f5e1e2u)
                found(&f, "erofs", data + 1024 + 48);
        else if (size >= 512 && memcmp(data, "XFSB", 4) == 0)
                found(&f, "xfs", data + 32);
        else if (size >= 512 && memcmp(data, "hsqs", 4) == 0)
                found(&f, "squashfs", NULL);
        else if (size >= 512 && data[510] == 0x55 && data[511] == 0xaa &&
                 memcmp(data + 82, "FAT32   ", 8) == 0)
                found_fat(&f, data + 67);
        else if (size >= 512 && data[510] == 0x55 && data[511] == 0xaa && memcmp(data + 54, "FAT1", 4) == 0)
                found_fat(&f, data + 39);
        *ret = f;
}
