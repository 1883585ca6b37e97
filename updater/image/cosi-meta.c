/* SPDX-License-Identifier: MIT */

/* metadata.json into a Cosi: each field on its own, by the table of the format. Unknown fields are nobody's
 * business. What needs two fields to be judged is in cosi-check.c.
 *
 * Files say "1.0", "1.1", "1.2" or later: a field is demanded from the version on that introduced it; a field
 * of a later version in an earlier file is an unknown field. */

#include "base/str.h"
#include "image/cosi-rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int cosi_get_str(const CosiParser *p, const Json *object, const char *key, const char *where,
                 const char **ret)
{
        const char *s = json_get_str(object, key);

        if (!s)
                return cosi_bad(p, "%s: %s is missing or no string", where, key);
        *ret = s;
        return 0;
}

static int copy_str(const CosiParser *p, const Json *object, const char *key, const char *where, char **ret)
{
        const char *s = NULL;
        char *copy;
        int r;

        r = cosi_get_str(p, object, key, where, &s);
        if (r < 0)
                return r;
        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int cosi_get_number(const CosiParser *p, const Json *object, const char *key, const char *where, uint64_t max,
                    uint64_t *ret)
{
        uint64_t v;

        if (json_get_u64(object, key, &v) != 1)
                return cosi_bad(p, "%s: %s is missing or no non-negative integer", where, key);
        if (v > max)
                return cosi_bad(p, "%s: %s is %" PRIu64 ", more than %" PRIu64, where, key, v, max);
        *ret = v;
        return 0;
}

/* Member names of the tar: "images/" and something behind it, no way up, nothing a terminal would act on. */
static bool path_is_good(const char *path)
{
        if (!str_starts(path, "images/") || strlen(path) >= COSI_PATH_MAX)
                return false;
        for (const char *c = path; *c; c++)
                if ((unsigned char) *c < 0x20 || *c == 0x7f)
                        return false;
        for (const char *c = path; c; c = strchr(c, '/')) {
                c += *c == '/';
                size_t n = strcspn(c, "/");
                if (n == 0 || (n == 1 && c[0] == '.') || (n == 2 && c[0] == '.' && c[1] == '.'))
                        return false;
        }
        return true;
}

static int parse_sha384(const CosiParser *p, const Json *j, CosiImage *image)
{
        const Json *sum = json_get(j, "sha384");

        if (!sum && p->rules == 0 && !p->need_sha384)
                return 0;
        if (!sum)
                return cosi_bad(p, "%s: sha384 is missing", image->path);
        if (!json_str(sum) || hex_normalize(json_str(sum), 96, image->sha384) < 0)
                return cosi_bad(p, "%s: sha384 is not 96 hex digits", image->path);
        image->has_sha384 = true;
        return 0;
}

int cosi_parse_image(const CosiParser *p, const Json *j, const char *where, CosiImage *ret)
{
        CosiImage image = { 0 };
        const char *path = NULL;
        int r;

        if (!json_is_object(j))
                return cosi_bad(p, "%s: image is missing or no object", where);
        r = cosi_get_str(p, j, "path", where, &path);
        if (r < 0)
                return r;
        if (!path_is_good(path))
                return cosi_bad(p, "%s: \"%s\" is no path below images/ of less than %u bytes", where, path,
                                COSI_PATH_MAX);
        memcpy(image.path, path, strlen(path) + 1);
        r = cosi_get_number(p, j, "compressedSize", path, COSI_SIZE_MAX, &image.compressed_size);
        if (r < 0)
                return r;
        r = cosi_get_number(p, j, "uncompressedSize", path, COSI_SIZE_MAX, &image.uncompressed_size);
        if (r < 0)
                return r;
        r = parse_sha384(p, j, &image);
        if (r < 0)
                return r;
        *ret = image;
        return 0;
}

static int parse_verity(const CosiParser *p, const Json *j, const char *where, CosiFilesystem *fs)
{
        CosiImage image;
        const char *root = NULL;
        int r;

        if (!json_is_object(j))
                return cosi_bad(p, "%s: verity is no object", where);
        r = cosi_get_str(p, j, "roothash", where, &root);
        if (r < 0)
                return r;
        if (hex_normalize(root, 64, fs->roothash) < 0)
                return cosi_bad(p, "%s: roothash is not 64 hex digits", where);
        r = cosi_parse_image(p, json_get(j, "image"), where, &image);
        if (r < 0)
                return r;
        fs->has_verity = true;
        /* The tree stands behind the data in one image: then it is that image which is named again. */
        fs->inline_verity = streq(image.path, fs->image.path);
        if (!fs->inline_verity)
                fs->verity = image;
        else if (image.compressed_size != fs->image.compressed_size ||
                 image.uncompressed_size != fs->image.uncompressed_size ||
                 !streq(image.sha384, fs->image.sha384))
                return cosi_bad(p, "%s: verity names the same image with other sizes or another digest",
                                where);
        return 0;
}

static int parse_filesystem(const CosiParser *p, const Json *j, size_t index, CosiFilesystem *fs)
{
        char where[32];
        const char *type = NULL;
        uint8_t uuid[16];
        int r;

        (void) snprintf(where, sizeof(where), "images[%zu]", index);
        if (!json_is_object(j))
                return cosi_bad(p, "%s is no object", where);
        r = cosi_parse_image(p, json_get(j, "image"), where, &fs->image);
        if (r < 0)
                return r;
        r = copy_str(p, j, "mountPoint", where, &fs->mount_point);
        if (r < 0)
                return r;
        r = copy_str(p, j, "fsType", where, &fs->fs_type);
        if (r < 0)
                return r;
        r = copy_str(p, j, "fsUuid", where, &fs->fs_uuid);
        if (r < 0)
                return r;
        if (!*fs->mount_point || !*fs->fs_type || !*fs->fs_uuid)
                return cosi_bad(p, "%s: mountPoint, fsType or fsUuid is empty", where);
        r = cosi_get_str(p, j, "partType", where, &type);
        if (r < 0)
                return r;
        if (uuid_parse_text(type, uuid) < 0)
                return cosi_bad(p, "%s: partType \"%.64s\" is no UUID", where, type);
        uuid_format_text(uuid, fs->part_type);
        return json_get(j, "verity") ? parse_verity(p, json_get(j, "verity"), where, fs) : 0;
}

static int parse_filesystems(const CosiParser *p, const Json *j, Cosi *cosi)
{
        int r;

        if (!json_is_array(j))
                return cosi_bad(p, "images is missing or no array");
        if (json_len(j) > COSI_REGIONS_MAX)
                return cosi_bad(p, "%zu images, more than %u partitions", json_len(j), COSI_REGIONS_MAX - 1);
        cosi->filesystems = calloc(json_len(j) + 1, sizeof(*cosi->filesystems));
        if (!cosi->filesystems)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(j); i++) {
                r = parse_filesystem(p, json_at(j, i), cosi->n_filesystems++, &cosi->filesystems[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Incomplete package lists are common and nobody's safety hangs on them: kept as they are for people to look
 * at. */
static int parse_packages(const CosiParser *p, const Json *j, Cosi *cosi)
{
        if (!j)
                return 0;
        if (!json_is_array(j))
                return cosi_bad(p, "osPackages is no array");
        for (size_t i = 0; i < json_len(j); i++)
                if (!json_is_object(json_at(j, i)))
                        return cosi_bad(p, "osPackages[%zu] is no object", i);
        cosi->packages = json_ref(j);
        return 0;
}

static int parse_version(const CosiParser *p, const Json *root, Cosi *cosi)
{
        _cleanup_(free_charp) char *major = NULL;
        const char *version = NULL, *dot;
        int r;

        r = cosi_get_str(p, root, "version", "COSI", &version);
        if (r < 0)
                return r;
        dot = strchr(version, '.');
        major = dot ? strndup(version, (size_t) (dot - version)) : NULL;
        if (dot && !major)
                return -ENOMEM;
        if (!dot || parse_unsigned(major, &cosi->major) < 0 || parse_unsigned(dot + 1, &cosi->minor) < 0)
                return cosi_bad(p, "version \"%.32s\" is not MAJOR.MINOR", version);
        if (cosi->major != 1)
                return fail(p->why, -EBADMSG, p->kind, "cosi-version",
                            "metadata.json: COSI version %u.%u is not supported, only 1.x is", cosi->major,
                            cosi->minor);
        return 0;
}

static int parse_arch(const CosiParser *p, const Json *root, Cosi *cosi)
{
        static const struct {
                const char *said, *meant;
        } names[] = { { "x86_64", "x86_64" },
                      { "amd64", "x86_64" },
                      { "x64", "x86_64" },
                      { "arm64", "aarch64" },
                      { "aarch64", "aarch64" } };
        const char *arch = NULL;
        int r;

        r = cosi_get_str(p, root, "osArch", "COSI", &arch);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (str_fold_cmp(arch, names[i].said) == 0) {
                        (void) snprintf(cosi->arch, sizeof(cosi->arch), "%s", names[i].meant);
                        return 0;
                }
        return cosi_bad(p, "osArch \"%.32s\" is not known", arch);
}

static int parse_id(const CosiParser *p, const Json *j)
{
        uint8_t uuid[16];

        if (j && (!json_str(j) || uuid_parse_text(json_str(j), uuid) < 0))
                return cosi_bad(p, "id is no UUID");
        return 0;
}

static int parse_root(CosiParser *p, const Json *root, Cosi *cosi)
{
        int r;

        if (!json_is_object(root))
                return cosi_bad(p, "not a JSON object");
        r = parse_version(p, root, cosi);
        if (r < 0)
                return r;
        p->rules = MIN(cosi->minor, COSI_MINOR_KNOWN);
        r = parse_arch(p, root, cosi);
        if (r < 0)
                return r;
        r = copy_str(p, root, "osRelease", "COSI", &cosi->os_release);
        if (r < 0)
                return r;
        r = parse_filesystems(p, json_get(root, "images"), cosi);
        if (r < 0)
                return r;
        r = parse_packages(p, json_get(root, "osPackages"), cosi);
        if (r < 0)
                return r;
        r = parse_id(p, json_get(root, "id"));
        return r < 0 ? r : cosi_parse_sections(p, root, cosi);
}

/* /usr is what gets written, the ESP is where the boot files are: exactly one of each. */
static int choose_filesystems(const CosiParser *p, Cosi *cosi)
{
        unsigned n_esp = 0;

        for (size_t i = 0; i < cosi->n_filesystems; i++) {
                const CosiFilesystem *fs = &cosi->filesystems[i];

                if (streq(fs->part_type, DISK_TYPE_ESP)) {
                        cosi->esp = fs;
                        n_esp++;
                }
                if (streq(fs->mount_point, "/usr") || streq(fs->mount_point, "/usr/"))
                        cosi->usr = fs;
        }
        if (n_esp != 1)
                return cosi_bad(p, "%u filesystems have the partition type of an ESP, exactly one must",
                                n_esp);
        if (!cosi->usr)
                return cosi_bad(p, "no filesystem is mounted at /usr");
        return 0;
}

int cosi_parse(const void *data, size_t size, WhyKind kind, bool need_sha384, Cosi *ret, Why *why)
{
        _cleanup_(cosi_done) Cosi cosi = { .max_window_log = COSI_WINDOW_DEFAULT, .lba_size = 512 };
        _cleanup_(json_unrefp) Json *root = NULL;
        CosiParser p = { .kind = kind, .why = why, .need_sha384 = need_sha384 };
        int r;

        if (size > COSI_METADATA_MAX)
                return fail(why, -EFBIG, kind, "cosi-metadata", "metadata.json: %zu bytes, more than %u",
                            size, COSI_METADATA_MAX);
        r = json_parse(data, size, JSON_FRACTIONS, COSI_DEPTH_MAX, "metadata.json", kind, &root, why);
        if (r < 0)
                return r;
        r = parse_root(&p, root, &cosi);
        if (r < 0)
                return r;
        r = choose_filesystems(&p, &cosi);
        if (r < 0)
                return r;
        r = cosi_check(&cosi, kind, why);
        if (r < 0)
                return r;
        *ret = cosi;
        cosi = (Cosi){ 0 };
        return 0;
}
