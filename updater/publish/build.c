/* SPDX-License-Identifier: MIT */

/* One build: find the parts, make the tree, check what hosts will check, compress, describe, write. What
 * comes out is read again by the host's own reader before it gets its name: a COSI that our own parser
 * refuses never leaves this file. */

#include "publish/build.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "publish/fsprobe.h"
#include "publish/metadata.h"
#include "publish/packages.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define OS_RELEASE_MAX (64u * KIB)
/* Regions that no block update reads: large frames make blank gigabytes nearly free, a small window keeps
 * readers small. */
#define PLAIN_FRAME      (4u * MIB)
#define PLAIN_WINDOW_LOG 20u

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

/* --- verity --- */

static int parse_salt(const char *text, VerityParams *p, Why *why)
{
        size_t digits = strlen(text);

        if (streq(text, "-")) /* as veritysetup: none */
                digits = 0;
        p->salt_size = digits / 2;
        if (digits % 2 || p->salt_size > VERITY_SALT_MAX ||
            hex_decode(digits ? text : "", p->salt, p->salt_size) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "salt",
                            "--salt %s: not an even number of hex digits, at most %u bytes, or \"-\"", text,
                            VERITY_SALT_MAX);
        return 0;
}

static int choose_params(const ByteRange *usr, const char *salt, const char *uuid, unsigned workers,
                         Meter *meter, VerityParams *ret, Why *why)
{
        VerityParams p = { .data_blocks = usr->size / VERITY_BLOCK }, given = { 0 };
        uint8_t content[32];
        int r = 0;

        if (!salt || !uuid) {
                meter_begin(meter, "content", usr->size);
                r = tree_content_digest(usr, workers, meter, content, why);
                meter_end(meter);
                if (r < 0)
                        return r;
                tree_derive_params(content, &p);
        }
        if (salt) {
                r = parse_salt(salt, &given, why);
                if (r < 0)
                        return r;
                memcpy(p.salt, given.salt, sizeof(p.salt));
                p.salt_size = given.salt_size;
        }
        if (uuid && uuid_parse_text(uuid, p.uuid) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "uuid", "--uuid %s: no UUID", uuid);
        *ret = p;
        return r;
}

static int make_tree(const ByteRange *usr, const VerityParams *params, unsigned workers, int fd, Meter *meter,
                     char ret_roothash[65], Why *why)
{
        uint8_t root[VERITY_ROOT_SIZE];
        int r;

        meter_begin(meter, "verity tree", usr->size);
        r = tree_write(usr, params, workers, fd, meter, root, why);
        meter_end(meter);
        if (r >= 0)
                hex_encode(root, sizeof(root), ret_roothash);
        return r;
}

int build_verity(Build *b, Why *why)
{
        Pack temp = PACK_NULL;
        int r = choose_params(&b->usr, b->o->salt, b->o->uuid, b->o->workers, b->meter, &b->params, why);

        if (r >= 0)
                r = pack_open(b->work_dir, &temp, why);
        if (r < 0)
                return r;
        b->hash_fd = temp.fd;
        r = make_tree(&b->usr, &b->params, b->o->workers, b->hash_fd, b->meter, b->roothash, why);
        return r < 0 ? r : range_of_fd(b->hash_fd, "hash tree", &b->hash, why);
}

static Json *verity_json(const char *roothash, const VerityParams *p, uint64_t hash_size)
{
        Json *j = json_new_object();
        char salt[2 * VERITY_SALT_MAX + 1], uuid[37];

        hex_encode(p->salt, p->salt_size, salt);
        uuid_format_text(p->uuid, uuid);
        json_set_str(j, "roothash", roothash);
        json_set_str(j, "salt", salt);
        json_set_str(j, "uuid", uuid);
        json_set_u64(j, "dataSize", p->data_blocks * VERITY_BLOCK);
        json_set_u64(j, "hashSize", hash_size);
        return j;
}

int publish_verity(const char *usr, const char *salt, const char *uuid, const char *tree, unsigned workers,
                   Meter *meter, Json **ret, Why *why)
{
        _cleanup_(close_fdp) int fd = open(usr, O_RDONLY | O_CLOEXEC), tree_fd = -1;
        VerityParams params;
        ByteRange range;
        char roothash[65];
        uint64_t hash_size = 0;
        int r;

        if (fd < 0)
                return fail_errno(why, -errno, WHY_USAGE, "%s", usr);
        r = range_of_fd(fd, usr, &range, why);
        if (r < 0)
                return r;
        if (range.size == 0 || range.size % VERITY_BLOCK)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_USAGE, "usr-size",
                                      "%s: %" PRIu64 " bytes are not a positive multiple of %u", usr,
                                      range.size, VERITY_BLOCK),
                                 "pad it: truncate -s %%%u %s", VERITY_BLOCK, usr);
        if (tree) {
                tree_fd = open(tree, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
                if (tree_fd < 0)
                        return fail_errno(why, -errno, WHY_USAGE, "%s", tree);
        }
        r = choose_params(&range, salt, uuid, workers, meter, &params, why);
        if (r >= 0)
                r = make_tree(&range, &params, workers, tree_fd, meter, roothash, why);
        if (r >= 0)
                r = verity_hash_size(params.data_blocks, &hash_size);
        if (r < 0)
                return r;
        *ret = verity_json(roothash, &params, hash_size);
        json_set_str(*ret, "schema", "gybe.verity/1");
        return 0;
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

static bool is_update_region(LayoutPart role)
{
        return role == PART_ESP || role == PART_USR_A || role == PART_HASH_A || role == PART_HASH_SIG_A;
}

static int compress_regions(Build *b, Pack *pack, int gpt_fd, Why *why)
{
        SeekableOptions fine = { .level = b->o->level ?: SEEKABLE_LEVEL_DEFAULT,
                                 .frame_size = b->o->frame_size ?: SEEKABLE_FRAME_DEFAULT,
                                 .checksum = b->o->checksum,
                                 .workers = b->o->workers };
        SeekableOptions plain = fine;
        ByteRange gpt = { .fd = gpt_fd, .size = b->gpt.size, .what = "GPT" };
        int r;

        plain.frame_size = PLAIN_FRAME;
        plain.window_log_max = PLAIN_WINDOW_LOG;
        r = pack_add(pack, "images/gpt.zst", 0, &gpt, &fine);
        for (size_t i = 0; r >= 0 && i < b->n_regions; i++) {
                BuildRegion *region = &b->regions[i];
                char path[COSI_PATH_MAX];

                region_path(region, path);
                r = pack_add(pack, path, region->part.number, &region->range,
                             is_update_region(region->role) ? &fine : &plain);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "regions") : pack_compress(pack, b->meter, why);
}

/* --- description --- */

static const char *mount_point_of(const Build *b, LayoutPart role)
{
        switch (role) {
        case PART_ESP:
                return b->o->esp_mount ?: "/boot";
        case PART_USR_A:
                return "/usr";
        case PART_OEM:
                return "/oem";
        case PART_ROOT:
                return "/";
        default:
                return NULL;
        }
}

static int probe_region(const Build *b, const BuildRegion *region, FsFacts *ret, Why *why)
{
        size_t n = (size_t) MIN(region->range.size, (uint64_t) FS_PROBE_SIZE);
        _cleanup_(bytes_done) Bytes head = { calloc(1, FS_PROBE_SIZE), n };
        uint8_t derived[16], seed[32];
        bool zero = false;
        int r;

        if (!head.data)
                return fail_errno(why, -ENOMEM, WHY_HOST, "file system probe");
        r = range_read(&region->range, 0, head.data, n, &zero, why);
        if (r < 0)
                return r;
        fs_probe(head.data, n, ret);
        if (region->role != PART_USR_A)
                return 0;
        if (b->o->fs_type && *b->o->fs_type)
                (void) snprintf(ret->type, sizeof(ret->type), "%s", b->o->fs_type);
        if (b->o->fs_uuid && *b->o->fs_uuid)
                (void) snprintf(ret->uuid, sizeof(ret->uuid), "%s", b->o->fs_uuid);
        if (!*ret->type)
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_USAGE, "fs-type", "%s: no known file system in it",
                                      region->range.what),
                                 "name it with --fs-type");
        if (!*ret->uuid) {
                r = hex_decode(b->roothash, seed, sizeof(seed));
                uuid_derive("gybe fs uuid", seed, sizeof(seed), derived);
                uuid_format_text(derived, ret->uuid);
        }
        return r;
}

static const CosiImage *packed_image(const Build *b, const Pack *pack, LayoutPart role)
{
        for (size_t i = 0; i < b->n_regions; i++)
                if (b->regions[i].role == role)
                        return &pack->regions[i + 1].cosi.image; /* the GPT is region 0 */
        return NULL;
}

static int add_filesystem(Build *b, const Pack *pack, size_t i, Cosi *cosi, Why *why)
{
        const BuildRegion *region = &b->regions[i];
        const char *mount_point = mount_point_of(b, region->role);
        CosiFilesystem *fs = &cosi->filesystems[cosi->n_filesystems];
        FsFacts facts = { 0 };
        int r;

        if (!mount_point)
                return 0;
        r = probe_region(b, region, &facts, why);
        if (r < 0)
                return r;
        if (!*facts.type || !*facts.uuid)
                return 0; /* a blank partition */
        fs->image = pack->regions[i + 1].cosi.image;
        fs->mount_point = strdup(mount_point);
        fs->fs_type = strdup(facts.type);
        fs->fs_uuid = strdup(facts.uuid);
        cosi->n_filesystems++;
        if (!fs->mount_point || !fs->fs_type || !fs->fs_uuid)
                return fail_errno(why, -ENOMEM, WHY_HOST, "metadata");
        (void) snprintf(fs->part_type, sizeof(fs->part_type), "%s", region->part.type);
        if (region->role == PART_USR_A) {
                fs->has_verity = true;
                fs->verity = *packed_image(b, pack, PART_HASH_A);
                (void) snprintf(fs->roothash, sizeof(fs->roothash), "%s", b->roothash);
        }
        return 0;
}

static int describe(Build *b, const Pack *pack, Cosi *cosi, Why *why)
{
        int r = 0;

        cosi->lba_size = b->lba_size;
        (void) snprintf(cosi->arch, sizeof(cosi->arch), "%s", b->arch);
        cosi->os_release = strdup(b->os_release);
        cosi->packages = b->packages ? json_ref(b->packages) : NULL;
        cosi->regions = calloc(pack->n_regions, sizeof(*cosi->regions));
        cosi->filesystems = calloc(_PART_MAX, sizeof(*cosi->filesystems));
        if (!cosi->os_release || !cosi->regions || !cosi->filesystems)
                return fail_errno(why, -ENOMEM, WHY_HOST, "metadata");
        for (size_t i = 0; i < pack->n_regions; i++) {
                cosi->regions[cosi->n_regions++] = pack->regions[i].cosi;
                cosi->max_window_log = MAX(cosi->max_window_log, pack->regions[i].window_log);
        }
        for (size_t i = 0; r >= 0 && i < b->n_regions; i++)
                r = add_filesystem(b, pack, i, cosi, why);
        return r;
}

/* .uname, else what vmlinuz-<version>.efi says */
static char *kernel_of(const BootListFile *uki)
{
        const char *name = strrchr(uki->path, '/') ? strrchr(uki->path, '/') + 1 : uki->path;

        if (uki->pe.uname && *uki->pe.uname)
                return strdup(uki->pe.uname);
        if (str_starts(name, "vmlinuz-") && str_ends_fold(name, ".efi"))
                return strndup(name + 8, strlen(name) - 12);
        return strdup("");
}

/* The id names the content: a UUID from the metadata without it, unless the engineer gave one. */
static int format_metadata(Build *b, const Cosi *cosi, char **ret, Why *why)
{
        const char *esp_mount = b->o->esp_mount ?: "/boot";
        _cleanup_(free_charp) char *kernel = kernel_of(b->boot.uki), *text = NULL;
        _cleanup_(free_charp) char *path =
                str_printf("%s/%s", streq(esp_mount, "/") ? "" : esp_mount, b->boot.uki->path);
        MetadataBoot boot = { path, kernel, b->boot.uki->pe.cmdline ?: "" };
        uint8_t id[16];
        char id_text[37] = "";
        int r;

        if (!kernel || !path)
                return fail_errno(why, -ENOMEM, WHY_HOST, "metadata");
        r = metadata_format(cosi, b->disk_size, &boot, "", &text);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "metadata");
        uuid_derive("gybe cosi id", (const uint8_t *) text, strlen(text), id);
        if (b->o->id && uuid_parse_text(b->o->id, id) < 0)
                return fail(why, -EINVAL, WHY_USAGE, "id", "--id %s: no UUID", b->o->id);
        uuid_format_text(id, id_text);
        r = metadata_format(cosi, b->disk_size, &boot, id_text, ret);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "metadata") : 0;
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
        _cleanup_(close_fdp) int gpt_fd = -1;
        uint64_t size = 0;
        int r = pack_open(b->work_dir, &pack, why);

        if (r >= 0)
                r = gpt_fd = bytes_as_file(&b->gpt, why);
        if (r >= 0)
                r = compress_regions(b, &pack, gpt_fd, why);
        if (r >= 0)
                r = describe(b, &pack, &cosi, why);
        if (r >= 0)
                r = format_metadata(b, &cosi, &metadata, why);
        if (r >= 0)
                r = check_metadata(b, metadata, why);
        if (r >= 0)
                r = pack_write(&pack, metadata, NULL, 0, b->o->epoch, b->o->output, &size, why);
        if (r >= 0)
                *ret = result_json(b, &pack, metadata, size);
        return r;
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
