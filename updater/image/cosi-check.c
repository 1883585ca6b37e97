/* SPDX-License-Identifier: MIT */

/* What makes a COSI whole: every mount point once, every filesystem with its region, every region with its
 * partition, nothing larger than where it would lie. The rules are the format's (cosi.md section 4), in its
 * order. */

#include "base/str.h"
#include "image/cosi-rules.h"
#include "image/verity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

typedef struct Check {
        const Cosi *cosi;
        WhyKind kind;
        Why *why;
} Check;

/* "/usr" and "/usr/" are one place. */
static bool same_mount_point(const char *a, const char *b)
{
        size_t n = strlen(a), m = strlen(b);

        while (n > 1 && a[n - 1] == '/')
                n--;
        while (m > 1 && b[m - 1] == '/')
                m--;
        return n == m && memcmp(a, b, n) == 0;
}

/* Two filesystems of one UUID confuse whoever mounts by it; the two slots of one /usr image are the known
 * exception. */
static bool may_share_uuid(const CosiFilesystem *a, const CosiFilesystem *b)
{
        return a->has_verity && b->has_verity && streq(a->roothash, b->roothash);
}

static int check_unique(const Check *c)
{
        for (size_t i = 0; i < c->cosi->n_filesystems; i++)
                for (size_t k = 0; k < i; k++) {
                        const CosiFilesystem *a = &c->cosi->filesystems[i], *b = &c->cosi->filesystems[k];

                        if (same_mount_point(a->mount_point, b->mount_point))
                                return cosi_bad(c, "mount point %.128s occurs twice", a->mount_point);
                        if (str_fold_cmp(a->fs_uuid, b->fs_uuid) == 0 && !may_share_uuid(a, b))
                                return cosi_bad(c, "%.128s and %.128s have the same fsUuid %.64s",
                                                b->mount_point, a->mount_point, a->fs_uuid);
                }
        return 0;
}

static int check_usr(const Check *c)
{
        const CosiFilesystem *usr = c->cosi->usr, *esp = c->cosi->esp;

        if (esp->has_verity)
                return cosi_bad(c, "the ESP has a verity section");
        if (usr == esp)
                return cosi_bad(c, "the ESP is mounted at /usr");
        if (!usr->has_verity)
                return cosi_bad(c,
                                "/usr has no verity section, and only what dm-verity protects is installed");
        if (usr->image.uncompressed_size == 0 || usr->image.uncompressed_size % VERITY_BLOCK != 0)
                return cosi_bad(c, "%s: %" PRIu64 " bytes are no multiple of %u", usr->image.path,
                                usr->image.uncompressed_size, VERITY_BLOCK);
        if (!usr->inline_verity &&
            (usr->verity.uncompressed_size == 0 || usr->verity.uncompressed_size % VERITY_BLOCK != 0))
                return cosi_bad(c, "%s: %" PRIu64 " bytes are no multiple of %u", usr->verity.path,
                                usr->verity.uncompressed_size, VERITY_BLOCK);
        return 0;
}

static int check_regions(const Check *c)
{
        const Cosi *cosi = c->cosi;

        for (size_t i = 0; i < cosi->n_regions; i++) {
                const CosiRegion *region = &cosi->regions[i];

                if (i > 0 && region->is_gpt)
                        return cosi_bad(c, "the primary GPT occurs twice");
                if (region->image.uncompressed_size > cosi->disk_size)
                        return cosi_bad(c, "%s: %" PRIu64 " bytes, larger than the disk of %" PRIu64,
                                        region->image.path, region->image.uncompressed_size, cosi->disk_size);
                if (region->is_gpt)
                        continue;
                if (region->number == 0)
                        return cosi_bad(c, "%s: partition number 0", region->image.path);
                for (size_t k = 1; k < i; k++)
                        if (cosi->regions[k].number == region->number)
                                return cosi_bad(c, "partition number %u occurs twice", region->number);
        }
        return 0;
}

static int check_gpt_size(const Check *c)
{
        const CosiImage *gpt = &c->cosi->regions[0].image;

        if (gpt->uncompressed_size < 2 * (uint64_t) c->cosi->lba_size ||
            gpt->uncompressed_size > COSI_GPT_MAX)
                return cosi_bad(c,
                                "%s: a primary GPT of %" PRIu64
                                " bytes, neither two sectors nor %u bytes at most",
                                gpt->path, gpt->uncompressed_size, COSI_GPT_MAX);
        return 0;
}

/* A filesystem names an image, and so does the partition that it is for: they must say the same of it. */
static int check_image_region(const Check *c, const CosiImage *image)
{
        const CosiImage *found = NULL;

        for (size_t i = 1; i < c->cosi->n_regions; i++) {
                const CosiImage *other = &c->cosi->regions[i].image;

                if (!streq(other->path, image->path))
                        continue;
                if (found)
                        return cosi_bad(c, "%s: two partitions have this image", image->path);
                found = other;
        }
        if (!found)
                return cosi_bad(c, "%s: no partition has this image", image->path);
        if (found->compressed_size != image->compressed_size)
                return cosi_bad(c, "%s: compressedSize %" PRIu64 " in images and %" PRIu64 " in disk",
                                image->path, image->compressed_size, found->compressed_size);
        if (found->uncompressed_size != image->uncompressed_size)
                return cosi_bad(c, "%s: uncompressedSize %" PRIu64 " in images and %" PRIu64 " in disk",
                                image->path, image->uncompressed_size, found->uncompressed_size);
        if (!streq(found->sha384, image->sha384))
                return cosi_bad(c, "%s: sha384 differs between images and disk", image->path);
        return 0;
}

static int check_image_regions(const Check *c)
{
        int r;

        for (size_t i = 0; i < c->cosi->n_filesystems; i++) {
                const CosiFilesystem *fs = &c->cosi->filesystems[i];

                r = check_image_region(c, &fs->image);
                if (r < 0)
                        return r;
                if (!fs->has_verity || fs->inline_verity)
                        continue;
                r = check_image_region(c, &fs->verity);
                if (r < 0)
                        return r;
        }
        return 0;
}

int cosi_check(const Cosi *cosi, WhyKind kind, Why *why)
{
        Check c = { .cosi = cosi, .kind = kind, .why = why };
        int r;

        r = check_unique(&c);
        if (r < 0)
                return r;
        if (cosi->n_regions > 0) {
                r = check_regions(&c);
                if (r < 0)
                        return r;
                r = check_gpt_size(&c);
                if (r < 0)
                        return r;
                r = check_image_regions(&c);
                if (r < 0)
                        return r;
        }
        return check_usr(&c);
}

static const Partition *find_number(const Partition *parts, size_t n, unsigned number)
{
        for (size_t i = 0; i < n; i++)
                if (parts[i].number == number)
                        return &parts[i];
        return NULL;
}

static const CosiRegion *find_region(const Cosi *cosi, unsigned number)
{
        for (size_t i = 0; i < cosi->n_regions; i++)
                if (!cosi->regions[i].is_gpt && cosi->regions[i].number == number)
                        return &cosi->regions[i];
        return NULL;
}

static int check_placement(const Check *c, const Partition *parts, size_t n)
{
        uint64_t last = 0;

        for (size_t i = 1; i < c->cosi->n_regions; i++) {
                const CosiRegion *region = &c->cosi->regions[i];
                const Partition *part = find_number(parts, n, region->number);

                if (!part)
                        return cosi_bad(c, "%s: the image's GPT has no partition %u", region->image.path,
                                        region->number);
                if (part->offset < last)
                        return cosi_bad(c, "%s: partition %u is not in the order of the disk",
                                        region->image.path, region->number);
                if (region->image.uncompressed_size > part->size)
                        return cosi_bad(c, "%s: %" PRIu64 " bytes for partition %u of %" PRIu64,
                                        region->image.path, region->image.uncompressed_size, region->number,
                                        part->size);
                if (part->size > c->cosi->disk_size || part->offset > c->cosi->disk_size - part->size)
                        return cosi_bad(c, "partition %u ends beyond the disk of %" PRIu64 " bytes",
                                        region->number, c->cosi->disk_size);
                last = part->offset;
        }
        for (size_t i = 0; i < n; i++)
                if (!find_region(c->cosi, parts[i].number))
                        return cosi_bad(c, "partition %u (%s) of the image's GPT has no region",
                                        parts[i].number, parts[i].label);
        return 0;
}

/* The signature partition of the slot that /usr was taken from: USR-A has HASH-SIG-A. Its use is decided
 * elsewhere (by what the slot addon asks for); here it is only found, and only when it is unmistakable. */
static int find_signature(const Check *c, const Partition *parts, size_t n, const CosiRegion **ret)
{
        const CosiRegion *usr = cosi_region_of(c->cosi, c->cosi->usr->image.path), *found = NULL;
        const Partition *source = usr ? find_number(parts, n, usr->number) : NULL;
        char label[DISK_LABEL_SIZE];

        *ret = NULL;
        if (!source || (!streq(source->label, "USR-A") && !streq(source->label, "USR-B")))
                return 0;
        (void) snprintf(label, sizeof(label), "HASH-SIG-%c", source->label[4]);
        for (size_t i = 0; i < n; i++) {
                if (!streq(parts[i].label, label))
                        continue;
                if (!streq(parts[i].type, DISK_TYPE_USR_VERITY_SIG_X86_64) &&
                    !streq(parts[i].type, DISK_TYPE_USR_VERITY_SIG_AARCH64))
                        return cosi_bad(c,
                                        "partition %s of the image has the type %s, no signature partition",
                                        label, parts[i].type);
                if (found)
                        return cosi_bad(c, "the image's GPT has two partitions named %s", label);
                found = find_region(c->cosi, parts[i].number);
        }
        *ret = found;
        return 0;
}

int cosi_check_gpt(const Cosi *cosi, const Partition *parts, size_t n, WhyKind kind,
                   const CosiRegion **ret_sig, Why *why)
{
        Check c = { .cosi = cosi, .kind = kind, .why = why };
        const CosiRegion *sig = NULL;
        int r;

        if (cosi->n_regions > 0) {
                r = check_placement(&c, parts, n);
                if (r < 0)
                        return r;
                r = find_signature(&c, parts, n, &sig);
                if (r < 0)
                        return r;
        }
        *ret_sig = sig;
        return 0;
}
