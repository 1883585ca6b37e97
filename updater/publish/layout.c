/* SPDX-License-Identifier: MIT */

/* One table. HASH-SIG partitions are aligned to 1 MiB, everything else to 2 MiB: HASH-A and HASH-SIG-A are 9
 * + 1 MiB so that USR-B lies on 2 MiB again. */

#include "publish/layout.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define DISK_ALIGN (UINT64_C(258048) * 512) /* what ACL rounds its images to */

typedef enum PartType { GUID_ESP, GUID_USR, GUID_HASH, GUID_SIG, GUID_DATA, GUID_ROOT, _GUID_MAX } PartType;

/* x86_64, aarch64: the discoverable partitions of verity are per architecture */
static const char *const types[_GUID_MAX][2] = {
        [GUID_ESP] = { ESP_TYPE, ESP_TYPE },
        [GUID_USR] = { USR_TYPE, USR_TYPE },
        [GUID_HASH] = { "77ff5f63-e7b6-4633-acf4-1565b864c0e6", "6e11a4e7-fbca-4ded-b9e9-e1a512bb664e" },
        [GUID_SIG] = { "e7bb33fb-06cf-4e81-8273-e543b413e2e2", "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a" },
        [GUID_DATA] = { "0fc63daf-8483-4772-8e79-3d69d8477de4", "0fc63daf-8483-4772-8e79-3d69d8477de4" },
        [GUID_ROOT] = { "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "b921b045-1df0-41c3-af44-4c6f280d3fae" },
};

static const struct {
        const char *label, *partuuid;
        PartType type;
        uint64_t size, align;
} parts[_PART_MAX] = {
        [PART_ESP] = { "EFI-SYSTEM", NULL, GUID_ESP, 192 * MIB, 2 * MIB },
        [PART_USR_A] = { "USR-A", "7130c94a-213a-4e5a-8e26-6cce9662f132", GUID_USR, GIB, 2 * MIB },
        [PART_HASH_A] = { "HASH-A", "b736baf1-cdb4-4535-beba-ddaaa30ad7b7", GUID_HASH, 9 * MIB, 2 * MIB },
        [PART_HASH_SIG_A] = { "HASH-SIG-A", "3514648f-e3da-44ae-89ba-8d0552418f88", GUID_SIG, MIB, MIB },
        [PART_USR_B] = { "USR-B", "e03dd35c-7c2d-4a47-b3fe-27f15780a57c", GUID_USR, GIB, 2 * MIB },
        [PART_HASH_B] = { "HASH-B", "35bdf78b-c453-4661-98e6-f834f534ef5b", GUID_HASH, 9 * MIB, 2 * MIB },
        [PART_HASH_SIG_B] = { "HASH-SIG-B", "d8941eb2-f713-4bb6-b4ae-bd8350ca27d4", GUID_SIG, MIB, MIB },
        [PART_OEM] = { "OEM", NULL, GUID_DATA, 128 * MIB, 2 * MIB },
        [PART_ROOT] = { ROOT_LABEL, NULL, GUID_ROOT, UINT64_C(4427776) * 512, 2 * MIB },
};

static uint64_t align_up(uint64_t n, uint64_t to)
{
        return (n + to - 1) / to * to;
}

const char *layout_label(LayoutPart part)
{
        return parts[part].label;
}

void layout_slot_ids(unsigned slot, BootSlotIds *ret)
{
        LayoutPart usr = slot ? PART_USR_B : PART_USR_A;

        (void) snprintf(ret->data_partuuid, sizeof(ret->data_partuuid), "%s", parts[usr].partuuid);
        (void) snprintf(ret->hash_partuuid, sizeof(ret->hash_partuuid), "%s", parts[usr + 1].partuuid);
        (void) snprintf(ret->sig_partuuid, sizeof(ret->sig_partuuid), "%s", parts[usr + 2].partuuid);
}

uint64_t layout_default_size(LayoutPart part)
{
        return parts[part].size;
}

LayoutPart layout_part_of_label(const char *label)
{
        LayoutPart i = 0;

        while (i < _PART_MAX && !streq(parts[i].label, label))
                i++;
        return i;
}

void uuid_derive(const char *name, const uint8_t *seed, size_t seed_size, uint8_t out[16])
{
        uint8_t hash[SHA256_SIZE] = { 0 };
        Bytes text = BYTES_NULL;

        /* without memory the id is all zero; the build ends with the same lack a moment later */
        if (bytes_append(&text, name, strlen(name) + 1) >= 0 && bytes_append(&text, seed, seed_size) >= 0)
                (void) sha256(text.data, text.size, hash);
        bytes_done(&text);
        memcpy(out, hash, 16);
        out[6] = (uint8_t) ((out[6] & 0x0f) | 0x80); /* version 8: made as its maker likes */
        out[8] = (uint8_t) ((out[8] & 0x3f) | 0x80);
}

static int part_size(LayoutPart i, const LayoutSizes *sizes, uint64_t *ret, Why *why)
{
        uint64_t chosen = sizes->chosen[i], needed = align_up(sizes->needed[i], MIB);

        if (chosen % MIB)
                return fail(why, -EINVAL, WHY_USAGE, "layout",
                            "partition %s: %" PRIu64 " bytes are not a multiple of 1 MiB", parts[i].label,
                            chosen);
        if (chosen > 0 && chosen < sizes->needed[i])
                return fail(why, -EINVAL, WHY_USAGE, "layout",
                            "partition %s: %" PRIu64 " bytes were asked for, its image has %" PRIu64,
                            parts[i].label, chosen, sizes->needed[i]);
        *ret = chosen ?: MAX(parts[i].size, needed);
        return 0;
}

/* A slot that cannot take what the other holds is no slot. */
static void match_slots(uint64_t size[_PART_MAX], const LayoutSizes *sizes)
{
        for (LayoutPart i = PART_USR_A; i <= PART_HASH_SIG_A; i++) {
                LayoutPart b = i + (PART_USR_B - PART_USR_A);

                if (sizes->chosen[b] == 0)
                        size[b] = size[i];
        }
}

int layout_acl(const char *arch, uint32_t lba_size, const LayoutSizes *sizes, const uint8_t seed[32],
               GptLayout *ret, Why *why)
{
        GptLayout l = { .lba_size = lba_size, .n_parts = _PART_MAX };
        uint64_t size[_PART_MAX], at = LAYOUT_ALIGN;

        for (LayoutPart i = 0; i < _PART_MAX; i++) {
                int r = part_size(i, sizes, &size[i], why);

                if (r < 0)
                        return r;
        }
        match_slots(size, sizes);
        for (LayoutPart i = 0; i < _PART_MAX; i++) {
                Partition *p = &l.parts[i];
                uint8_t id[16];

                at = align_up(at, parts[i].align);
                *p = (Partition){ .number = i + 1, .offset = at, .size = size[i] };
                uuid_derive(parts[i].label, seed, 32, id);
                uuid_format_text(id, p->partuuid);
                if (parts[i].partuuid)
                        (void) snprintf(p->partuuid, sizeof(p->partuuid), "%s", parts[i].partuuid);
                (void) snprintf(p->label, sizeof(p->label), "%s", parts[i].label);
                (void) snprintf(p->type, sizeof(p->type), "%s", types[parts[i].type][streq(arch, "aarch64")]);
                at += size[i];
        }
        l.disk_size = align_up(at + gpt_region_size(lba_size), DISK_ALIGN);
        /* the placeholder of ACL's own image build; nothing keys on it */
        (void) snprintf(l.disk_guid, sizeof(l.disk_guid), "%s", "00000000-0000-0000-0000-000000000001");
        *ret = l;
        return 0;
}
