/* SPDX-License-Identifier: MIT */

/* One build: find the parts, make the tree, check what hosts will check, compress, describe, write. What
 * comes out is read again by the host's own reader before it gets its name: a COSI that our own parser
 * refuses never leaves this file. */

#include "publish/build.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "fetch/fetch.h"
#include "image/index.h"
#include "publish/packages.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define OS_RELEASE_MAX (64u * KIB)
/* Regions that are read as a whole or not at all: large frames make blank gigabytes nearly free (of an ESP of 200 MB in frames
 * of 32 KiB, empty ones are most of what every update downloads), a small window keeps readers small. */
#define PLAIN_FRAME      (4u * MIB)
#define PLAIN_WINDOW_LOG 20u
/* Of an ESP with a large kernel a host may need no more than its tables, folders and small files. Blank stretches cost a frame each
 * and an entry of the table: who fetches all of it, as hosts do with a small one, would pay 100 kB for nothing. */
#define ESP_FRAME (64u * KIB)

void build_init(Build *b, const Env *env, const BuildOptions *options, Meter *meter)
{
        *b = (Build){ .env = env,
                      .o = options,
                      .meter = meter,
                      .lba_size = options->lba_size ?: 512,
                      .disk_fd = -1,
                      .usr_fd = -1,
                      .hash_fd = -1,
                      .usr = BYTE_RANGE_NULL,
                      .hash = BYTE_RANGE_NULL };
        for (size_t i = 0; i < GPT_ENTRIES; i++)
                b->regions[i] = (BuildRegion){ .role = _PART_MAX, .fd = -1, .range = BYTE_RANGE_NULL };
        (void) snprintf(b->arch, sizeof(b->arch), "%s", options->arch ?: "");
}

void build_done(Build *b)
{
        for (size_t i = 0; i < GPT_ENTRIES; i++)
                close_fdp(&b->regions[i].fd);
        close_fdp(&b->disk_fd);
        close_fdp(&b->usr_fd);
        close_fdp(&b->hash_fd);
        esp_tree_done(&b->tree);
        boot_list_done(&b->boot);
        bytes_done(&b->gpt);
        free(b->work_dir);
        free(b->os_release);
        json_unrefp(&b->packages);
        strv_freep(&b->warnings);
}

int build_add_warning(Build *b, const char *fmt, ...)
{
        char text[512];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return strv_add(&b->warnings, text);
}

BuildRegion *build_region(Build *b, LayoutPart role)
{
        for (size_t i = 0; i < b->n_regions; i++)
                if (b->regions[i].role == role)
                        return &b->regions[i];
        return NULL;
}

int read_text_file(const char *path, size_t max, Bytes *ret, Why *why)
{
        int r = file_read(AT_FDCWD, path, max, ret);

        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%s", path) : 0;
}

/* --- checks --- */

static int take_os_release(Build *b, Why *why)
{
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        int r = 0;

        if (b->o->os_release)
                r = read_text_file(b->o->os_release, OS_RELEASE_MAX, &text, why);
        else if (b->boot.uki->pe.osrel)
                r = bytes_copy(&text, b->boot.uki->pe.osrel, strlen(b->boot.uki->pe.osrel));
        if (r < 0)
                return r;
        while (text.size > 0 && text.data[text.size - 1] == 0)
                text.size--;
        b->os_release = strndup(text.data ? (const char *) text.data : "", text.size);
        if (!b->os_release)
                return fail_errno(why, -ENOMEM, WHY_HOST, "os-release");
        if (!*b->os_release)
                return fail_hint(why, fail(why, -EINVAL, WHY_USAGE, "os-release", "no os-release text"),
                                 "give it with --os-release");
        if (b->o->os_release && b->boot.uki->pe.osrel) {
                _cleanup_(free_charp) char *ours = os_release_get(b->os_release, "VERSION_ID");
                _cleanup_(free_charp) char *its = os_release_get(b->boot.uki->pe.osrel, "VERSION_ID");

                if (!streq0(ours, its))
                        return build_add_warning(b, "%s says VERSION_ID %s, the UKI's .osrel %s",
                                                 b->o->os_release, ours ?: "(none)", its ?: "(none)");
        }
        return 0;
}

int build_check_boot(Build *b, Why *why)
{
        BootListFacts facts = {
                .roothash = b->roothash, .arch = b->arch, .has_signature = b->has_signature, .kind = WHY_USAGE
        };
        int r;

        memcpy(facts.ids, b->ids, sizeof(facts.ids));
        r = boot_list_check(&b->boot, &facts, &b->warnings, why);
        if (r < 0)
                return r;
        (void) snprintf(b->arch, sizeof(b->arch), "%s",
                        b->boot.uki->pe.machine == 0xaa64 ? "aarch64" : "x86_64");
        return take_os_release(b, why);
}

static int take_packages(Build *b, Why *why)
{
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        int r;

        if (!b->o->packages)
                return 0;
        r = read_text_file(b->o->packages, PACKAGES_TEXT_MAX, &text, why);
        return r < 0 ? r : packages_parse(text.data, text.size, b->o->packages, &b->packages, why);
}

/* --- packing --- */

static void region_path(const BuildRegion *region, char out[COSI_PATH_MAX])
{
        const char *label = region->role == PART_ESP   ? "esp"
                            : region->role < _PART_MAX ? layout_label(region->role)
                                                       : NULL;

        if (label)
                (void) snprintf(out, COSI_PATH_MAX, "images/%s.zst", label);
        else
                (void) snprintf(out, COSI_PATH_MAX, "images/part-%u.zst", region->part.number);
        for (char *p = out; *p; p++)
                *p = (char) tolower((unsigned char) *p);
}

static bool is_worth_parts(const Build *b)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < b->boot.n_files; i++)
                sum += b->boot.files[i].size;
        return sum >= FETCH_ESP_PARTS_MIN;
}

static int compress_regions(Build *b, Pack *pack, int gpt_fd, Why *why)
{
        SeekableOptions fine = { .level = b->o->level ?: SEEKABLE_LEVEL_DEFAULT,
                                 .frame_size = b->o->frame_size ?: SEEKABLE_FRAME_DEFAULT,
                                 .checksum = b->o->checksum,
                                 .workers = b->o->workers };
        SeekableOptions plain = fine, esp;
        ByteRange gpt = { .fd = gpt_fd, .size = b->gpt.size, .what = "GPT" };
        int r;

        plain.frame_size = PLAIN_FRAME;
        plain.window_log_max = PLAIN_WINDOW_LOG;
        esp = plain;
        if (is_worth_parts(b)) {
                esp.frame_size = ESP_FRAME;
                esp.checksum = true; /* by which a host knows what it has */
        }
        r = pack_add(pack, "images/gpt.zst", 0, &gpt, &fine);
        for (size_t i = 0; r >= 0 && i < b->n_regions; i++) {
                BuildRegion *region = &b->regions[i];
                char path[COSI_PATH_MAX];

                region_path(region, path);
                r = pack_add(pack, path, region->part.number, &region->range,
                             region->role == PART_USR_A || region->role == PART_HASH_A ? &fine
                             : region->role == PART_ESP                                ? &esp
                                                                                       : &plain);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "regions") : pack_compress(pack, b->meter, why);
}

/* By the reader that hosts use. */
static int check_metadata(const Build *b, const char *metadata, Why *why)
{
        _cleanup_(cosi_done) Cosi cosi = { 0 };
        Partition *parts = calloc(DISK_PARTITIONS_MAX, sizeof(*parts));
        const CosiRegion *sig = NULL;
        size_t n = 0;
        int r = parts ? cosi_parse(metadata, strlen(metadata), WHY_IMAGE, true, &cosi, why) : -ENOMEM;

        if (r >= 0)
                r = gpt_parse_region(b->gpt.data, b->gpt.size, b->lba_size, parts, &n, why);
        if (r >= 0)
                r = cosi_check_gpt(&cosi, parts, n, WHY_IMAGE, &sig, why);
        free(parts);
        return r;
}

static Json *result_json(const Build *b, const Pack *pack, const char *metadata, uint64_t size)
{
        Json *j = json_new_object(), *images = json_new_array(), *warnings = json_new_array();
        char digest[SHA384_HEX] = "";

        (void) sha384_hex(metadata, strlen(metadata), digest);
        json_set_str(j, "schema", "gybe.build/1");
        json_set_str(j, "cosi", b->o->output);
        json_set_u64(j, "size", size);
        json_set_str(j, "metadataSha384", digest);
        json_set_str(j, "arch", b->arch);
        json_set(j, "usr", verity_json(b->roothash, &b->params, b->hash.size));
        for (size_t i = 0; i < pack->n_regions; i++) {
                const PackRegion *p = &pack->regions[i];
                Json *image = json_new_object();

                json_set_str(image, "path", p->cosi.image.path);
                json_set_u64(image, "compressedSize", p->cosi.image.compressed_size);
                json_set_u64(image, "uncompressedSize", p->cosi.image.uncompressed_size);
                json_set_u64(image, "frames", p->n_frames);
                json_add(images, image);
        }
        for (char **w = b->warnings; w && *w; w++)
                json_add_str(warnings, *w);
        json_set(j, "images", images);
        json_set(j, "warnings", warnings);
        return j;
}

static int pack_everything(Build *b, Json **ret, Why *why)
{
        _cleanup_(pack_done) Pack pack = PACK_NULL;
        _cleanup_(cosi_done) Cosi cosi = { 0 };
        _cleanup_(free_charp) char *metadata = NULL;
        _cleanup_(bytes_done) Bytes index = BYTES_NULL;
        _cleanup_(close_fdp) int gpt_fd = -1;
        PackExtra extra = { .name = INDEX_MEMBER };
        uint64_t size = 0;
        int r = pack_open(b->work_dir, &pack, why);

        if (r >= 0)
                r = gpt_fd = bytes_as_file(&b->gpt, why);
        if (r >= 0)
                r = compress_regions(b, &pack, gpt_fd, why);
        if (r >= 0)
                r = build_describe(b, &pack, &cosi, why);
        if (r >= 0)
                r = build_format_metadata(b, &cosi, &metadata, why);
        if (r >= 0)
                r = check_metadata(b, metadata, why);
        if (r >= 0)
                r = build_index(b, &pack, &index, why);
        if (r < 0)
                return r;
        extra.data = index.data;
        extra.size = index.size;
        r = pack_write(&pack, metadata, &extra, index.size > 0, b->o->epoch, b->o->output, &size, why);
        if (r < 0)
                return r;
        *ret = result_json(b, &pack, metadata, size);
        json_set_u64(*ret, "indexSize", index.size);
        return 0;
}

static int check_options(const BuildOptions *o, Why *why)
{
        if (!o->usr == !o->disk)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "build: needs either --usr IMG or --disk DISK");
        if (o->disk && (o->esp || o->uki || o->addons || o->templates || o->creds || o->esp_files ||
                        o->shim || o->loader || o->hash_sig || o->oem || o->root))
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "build: with --disk every part comes from the disk");
        if (!o->output && !o->print_verity)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "build: needs -o X.cosi");
        if (o->lba_size && o->lba_size != 512 && o->lba_size != 4096)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--lba-size: 512 or 4096");
        if (o->level < 0 || o->level > SEEKABLE_LEVEL_MAX)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--level: 1 to %u", SEEKABLE_LEVEL_MAX);
        if (o->frame_size && (o->frame_size < SEEKABLE_FRAME_MIN || o->frame_size > SEEKABLE_FRAME_MAX ||
                              o->frame_size % VERITY_BLOCK))
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "--frame-size: a multiple of 4096 from %u to %u bytes", SEEKABLE_FRAME_MIN,
                            SEEKABLE_FRAME_MAX);
        if (o->arch && !streq(o->arch, "x86_64") && !streq(o->arch, "aarch64"))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "--arch %s: x86_64 or aarch64", o->arch);
        return 0;
}

int publish_build(const Env *env, const BuildOptions *options, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(build_done) Build b;
        const char *slash = options->output ? strrchr(options->output, '/') : NULL;
        int r;

        build_init(&b, env, options, meter);
        r = check_options(options, why);
        if (r < 0)
                return r;
        b.work_dir = slash ? strndup(options->output, (size_t) (slash - options->output) + 1) : strdup(".");
        if (!b.work_dir)
                return fail_errno(why, -ENOMEM, WHY_HOST, "build");
        r = take_packages(&b, why);
        if (r >= 0)
                r = options->disk ? build_from_disk(&b, why) : build_from_parts(&b, why);
        if (r >= 0 && options->print_verity) {
                *ret = verity_json(b.roothash, &b.params, b.hash.size);
                json_set_str(*ret, "schema", "gybe.verity/1");
                return 0;
        }
        return r < 0 ? r : pack_everything(&b, ret, why);
}
