/* SPDX-License-Identifier: MIT */

/* Everything that a COSI or a signed document says, as one JSON document. Nothing here is verified but what a reader must
 * verify to read at all; the word "valid" belongs to verify. */

#include "publish/publish.h"
#include "base/fd.h"
#include "base/str.h"
#include "publish/cosiview.h"
#include "publish/keys.h"
#include "publish/members.h"
#include "publish/siblings.h"

#include <errno.h>
#include <fcntl.h>

static Json *table_json(const SeekTable *t)
{
        Json *j = json_new_object();

        json_set_u64(j, "frames", t->n_entries);
        json_set_u64(j, "frameSize", t->n_entries > 0 ? t->entries[0].raw : 0);
        json_set_bool(j, "checksums", t->checksums);
        return j;
}

static Json *image_json(int fd, const CosiImage *image)
{
        _cleanup_(seektable_done) SeekTable table = { 0 };
        Json *j = json_new_object();
        int has = fd >= 0 ? member_seek_table(fd, image->path, &table) : -ENOENT;

        json_set_str(j, "path", image->path);
        json_set_u64(j, "compressedSize", image->compressed_size);
        json_set_u64(j, "uncompressedSize", image->uncompressed_size);
        json_set_str(j, "sha384", image->has_sha384 ? image->sha384 : NULL);
        if (has > 0)
                json_set(j, "seekTable", table_json(&table));
        else if (has == 0)
                json_set_bool(j, "seekTable", false);
        return j;
}

static Json *partition_json(const Partition *p)
{
        Json *j = json_new_object();

        json_set_u64(j, "number", p->number);
        json_set_str(j, "label", p->label);
        json_set_str(j, "type", p->type);
        json_set_str(j, "partuuid", p->partuuid);
        json_set_u64(j, "offset", p->offset);
        json_set_u64(j, "size", p->size);
        json_set_u64(j, "attributes", p->attrs);
        return j;
}

static int add_gpt(CosiView *v, Json *doc, Why *why)
{
        Partition *parts = NULL;
        Json *list;
        size_t n = 0;
        int r;

        if (v->cosi.n_regions == 0)
                return 0;
        r = cosi_view_gpt(v, WHY_IMAGE, &parts, &n, why);
        list = json_new_array();
        for (size_t i = 0; r >= 0 && i < n; i++)
                json_add(list, partition_json(&parts[i]));
        json_set(doc, "partitions", list);
        free(parts);
        return r;
}

static void add_images(const CosiView *v, int fd, Json *doc)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < v->cosi.n_regions; i++)
                json_add(list, image_json(fd, &v->cosi.regions[i].image));
        for (size_t i = 0; v->cosi.n_regions == 0 && i < v->cosi.n_filesystems; i++) {
                const CosiFilesystem *fs = &v->cosi.filesystems[i];

                json_add(list, image_json(fd, &fs->image));
                if (fs->has_verity && !fs->inline_verity)
                        json_add(list, image_json(fd, &fs->verity));
        }
        json_set(doc, "images", list);
}

static void add_filesystems(const CosiView *v, Json *doc)
{
        Json *list = json_new_array();

        for (size_t i = 0; i < v->cosi.n_filesystems; i++) {
                const CosiFilesystem *fs = &v->cosi.filesystems[i];
                Json *j = json_new_object();

                json_set_str(j, "mountPoint", fs->mount_point);
                json_set_str(j, "image", fs->image.path);
                json_set_str(j, "fsType", fs->fs_type);
                json_set_str(j, "fsUuid", fs->fs_uuid);
                if (fs->has_verity)
                        json_set_str(j, "roothash", fs->roothash);
                if (fs->has_verity && !fs->inline_verity)
                        json_set_str(j, "hashImage", fs->verity.path);
                json_add(list, j);
        }
        json_set(doc, "filesystems", list);
}

static Json *pe_json(const PeSummary *pe)
{
        Json *j = json_new_object();
        char digest[65];

        hex_encode(pe->authenticode_sha256, 32, digest);
        json_set_str(j, "machine",
                     pe->machine == 0x8664   ? "x86_64"
                     : pe->machine == 0xaa64 ? "aarch64"
                                             : "unknown");
        json_set_str(j, "cmdline", pe->cmdline);
        json_set_str(j, "uname", pe->uname);
        json_set_str(j, "osrel", pe->osrel);
        json_set_str(j, "sbat", pe->sbat);
        json_set_bool(j, "kernel", pe->has_linux);
        json_set_bool(j, "initrd", pe->has_initrd);
        json_set_u64(j, "signatures", pe->n_signatures);
        json_set_str(j, "authenticodeSha256", digest);
        return j;
}

/* Files that an updater takes with digest and summary, the others by name and size. */
static int add_esp(CosiView *v, Json *doc, Why *why)
{
        Json *list = json_new_array();
        int r = cosi_view_boot(v, WHY_IMAGE, why);

        json_set(doc, "esp", list);
        for (size_t i = 0; r >= 0 && i < v->esp.n_files; i++) {
                Json *j = json_new_object();

                json_set_str(j, "path", v->esp.files[i].path);
                json_set_u64(j, "size", v->esp.files[i].size);
                for (size_t k = 0; k < v->boot.n_files; k++) {
                        const BootListFile *file = &v->boot.files[k];

                        if (!streq(file->path, v->esp.files[i].path))
                                continue;
                        json_set_str(j, "kind", boot_kind_name(file->kind));
                        json_set_str(j, "sha256", file->sha256);
                        if (boot_kind_is_pe(file->kind))
                                json_set(j, "pe", pe_json(&file->pe));
                }
                json_add(list, j);
        }
        return r;
}

static int add_verity(CosiView *v, Json *doc, Why *why)
{
        char salt[2 * VERITY_SALT_MAX + 1], uuid[37];
        Json *j;
        int r;

        if (!v->cosi.usr->has_verity || v->cosi.usr->inline_verity)
                return 0;
        r = cosi_view_verity(v, WHY_IMAGE, why);
        if (r < 0)
                return r;
        hex_encode(v->verity.salt, v->verity.salt_size, salt);
        uuid_format_text(v->verity.uuid, uuid);
        j = json_sub(doc, "verity");
        json_set_str(j, "roothash", v->cosi.usr->roothash);
        json_set_str(j, "salt", salt);
        json_set_str(j, "uuid", uuid);
        json_set_u64(j, "dataBlocks", v->verity.data_blocks);
        return 0;
}

/* What makes small updates cheap. An index that is broken is said, since hosts will do without it. */
static int add_index(CosiView *v, Json *doc, Why *why)
{
        _cleanup_(fetch_index_done) FetchIndex index = { 0 };
        char root[2 * VERITY_ROOT_SIZE + 1];
        Why broken = { 0 };
        Json *j;
        int r = v->file.has_ranges ? fetch_index_open(v->fetch, &index, &broken) : 0;

        if (r == -EBADMSG)
                json_set_str(json_sub(doc, "index"), "problem", broken.text);
        else if (r < 0)
                *why = broken;
        if (r <= 0)
                return r == -EBADMSG ? 0 : r;
        hex_encode(index.head.root, sizeof(index.head.root), root);
        j = json_sub(doc, "index");
        json_set_u64(j, "size", index.size);
        json_set_u64(j, "blocks", index.head.n_blocks);
        json_set_u64(j, "groups", index.head.n_groups);
        json_set_u64(j, "groupsSize", index.groups.size);
        json_set_u64(j, "frames", index.head.n_frames);
        json_set_u64(j, "framesSize", (uint64_t) index.head.n_frames * index.head.frame_width);
        json_set_str(j, "roothash", root);
        return 0;
}

static int inspect_cosi(CosiView *v, const char *what, Json *doc, Why *why)
{
        _cleanup_(close_fdp) int fd = open(what, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        Json *metadata = NULL;
        int r = cosi_view_open(v, what, UINT64_MAX, WHY_IMAGE, why);

        if (r >= 0)
                r = json_parse(v->file.metadata.data, v->file.metadata.size, JSON_FRACTIONS, COSI_DEPTH_MAX,
                               what, WHY_IMAGE, &metadata, why);
        if (r < 0)
                return r;
        json_set_str(doc, "kind", "cosi");
        json_set_u64(doc, "size", v->file.size);
        json_set_str(doc, "metadataSha384", v->metadata_sha384);
        json_set_str(doc, "arch", v->cosi.arch);
        json_set_u64(doc, "packages", json_len(v->cosi.packages));
        add_images(v, fd, doc);
        add_filesystems(v, doc);
        json_set(doc, "metadata", metadata);
        r = add_gpt(v, doc, why);
        if (r >= 0)
                r = add_index(v, doc, why);
        if (r >= 0)
                r = add_verity(v, doc, why);
        return r < 0 ? r : add_esp(v, doc, why);
}

static int inspect_envelope(CosiView *v, const char *what, Json *doc, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        char sha384[97];
        Json *payload = NULL;
        int r = fetch_envelope(v->fetch, what, &e, sha384, why);

        if (r >= 0)
                r = json_parse(e.payload.data, e.payload.size, 0, JSON_DEPTH_MAX, what, WHY_TRUST, &payload,
                               why);
        if (r < 0)
                return r;
        json_set_str(doc, "kind",
                     streq(e.type, TYPE_RELEASE) ? "release"
                     : streq(e.type, TYPE_ROOT)  ? "root"
                     : streq(e.type, TYPE_FEED)  ? "feed"
                                                 : "unknown");
        json_set_str(doc, "payloadType", e.type);
        json_set_str(doc, "sha384", sha384);
        json_set(doc, "signatures", envelope_signatures_json(&e));
        json_set(doc, "payload", payload);
        return 0;
}

/* By name, else by the first byte of a local file. */
static bool is_envelope(const char *what)
{
        _cleanup_(close_fdp) int fd = -1;
        char first = 0;

        if (name_is_cosi(what))
                return false;
        fd = open(what, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return true;
        return fd_read_full(fd, &first, 1) == 1 && first == '{';
}

int publish_inspect(const Env *env, const char *what, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(cosi_view_done) CosiView v = { 0 };
        _cleanup_(json_unrefp) Json *doc = json_new_object();
        int r = cosi_view_start(env, meter, &v, why);

        json_set_str(doc, "schema", "gybe.inspect/1");
        json_set_str(doc, "what", what);
        if (r >= 0)
                r = is_envelope(what) ? inspect_envelope(&v, what, doc, why)
                                      : inspect_cosi(&v, what, doc, why);
        if (r >= 0)
                *ret = TAKE(doc);
        return r;
}
