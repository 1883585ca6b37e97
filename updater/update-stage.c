/* SPDX-License-Identifier: MIT */

/* Step stage: from a believed release to verified bytes in the spare slot and inert files on the ESP. Everything that can
 * be refused is refused above the line at which stage_begin() writes the journal; below it only the spare slot, its own
 * old boot files and names no loader looks at are touched. */

#include "update.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"

#include <errno.h>

#define GPT_REGION_MAX (256u * 1024u) /* 128 entries of 128 bytes with 4096-byte sectors are 24 KiB */
#define SIG_MAX        (1u * 1024u * 1024u) /* acl-disk-and-boot.md 3.1 */

/* One file of the image's ESP that the release lists. */
typedef struct StageFile {
        size_t at; /* index in esp */
        BootKind kind;
        char sha256[SHA256_HEX];
        bool is_pe;
        PeSummary pe;
} StageFile;

typedef struct Stage {
        Update *u;
        WhyKind kind; /* what a contradiction is called */
        SlotId target;
        const SlotParts *parts;
        FetchCosi container;
        Cosi cosi;
        Bytes signature; /* HASH-SIG payload, empty when the image has none */
        bool has_sig_region;
        FetchEsp esp;
        StageFile *files;
        size_t n_files;
        BootPlan plan;
        VerityParams verity;
        SlotWriter *writer;
} Stage;

static void stage_done(Stage *s)
{
        s->writer = slot_writer_free(s->writer);
        boot_plan_done(&s->plan);
        for (size_t i = 0; i < s->n_files; i++)
                pe_summary_done(&s->files[i].pe);
        free(s->files);
        fetch_esp_done(&s->esp);
        bytes_done(&s->signature);
        cosi_done(&s->cosi);
        fetch_cosi_done(&s->container);
}

/* --- checks before anything is written --- */

static int check_quarantine(Stage *s, const char *uki_sha256, Why *why)
{
        _cleanup_(free_charp) char *reason = NULL;
        char id[QUARANTINE_ID_SIZE];
        int r;

        r = quarantine_id(s->u->release.usr.roothash, uki_sha256, id);
        if (r >= 0)
                r = quarantine_has(s->u->env, id, &reason, why);
        if (r <= 0)
                return r;
        (void) fail(why, -EPERM, WHY_POLICY, "quarantined", "%s: this content is in quarantine: %s", s->u->release.version,
                    reason ? reason : "it failed here before");
        return fail_hint(why, -EPERM, "publish a repaired image, or gybe quarantine clear %s", id);
}

/* Is there anything to do at all? Asked before the COSI is opened. */
static int check_needed(Stage *s, Why *why)
{
        Update *u = s->u;
        const Journal *j = &u->host.journal;
        const char *uki = NULL;

        for (size_t i = 0; i < u->release.n_boot; i++)
                if (u->release.boot[i].kind == BOOT_UKI)
                        uki = u->release.boot[i].sha256;
        if (streq(u->release.usr.roothash, u->host.running.roothash))
                return fail(why, -ENODATA, WHY_NOTHING, "running", "%s: this is what runs", u->release.version);
        if ((j->phase == PHASE_STAGED || j->phase == PHASE_FINALIZED) && !j->rollback &&
            streq(j->roothash, u->release.usr.roothash) && uki && streq(j->uki_sha256, uki))
                return fail(why, -ENODATA, WHY_NOTHING, "staged", "%s: already %s in slot %c", u->release.version,
                            phase_name(j->phase), j->slot);
        return uki ? check_quarantine(s, uki, why) : 0;
}

static int check_metadata_digest(Stage *s, Why *why)
{
        char digest[SHA384_HEX];
        int r;

        if (!s->u->has_release)
                return 0;
        r = sha384_hex(s->container.metadata.data, s->container.metadata.size, digest);
        if (r < 0)
                return r;
        if (!streq(digest, s->u->release.cosi.metadata_sha384))
                return fail(why, -EBADMSG, WHY_TRUST, "metadata-digest",
                            "COSI: the SHA-384 of its metadata.json is %.16s..., the release file says %.16s...", digest,
                            s->u->release.cosi.metadata_sha384);
        return 0;
}

static int contradiction(Stage *s, const char *field, const char *cosi, const char *release, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "contradiction", "COSI: %s is %s, the release file of %s says %s", field, cosi,
                    s->u->release.version, release);
}

static int contradiction_size(Stage *s, const char *field, uint64_t cosi, uint64_t release, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "contradiction", "COSI: %s is %llu bytes, the release file of %s says %llu", field,
                    (unsigned long long) cosi, s->u->release.version, (unsigned long long) release);
}

static int check_agrees(Stage *s, Why *why)
{
        const Release *rel = &s->u->release;
        const CosiFilesystem *usr = s->cosi.usr;
        uint64_t have = usr->inline_verity ? usr->image.uncompressed_size - MIN(usr->image.uncompressed_size, rel->usr.hash_size) :
                                             usr->image.uncompressed_size;

        if (!streq(s->cosi.arch, rel->arch))
                return contradiction(s, "the architecture", s->cosi.arch, rel->arch, why);
        if (!streq(usr->roothash, rel->usr.roothash))
                return contradiction(s, "the root hash of /usr", usr->roothash, rel->usr.roothash, why);
        if (usr->inline_verity ? rel->usr.data_size > usr->image.uncompressed_size : have != rel->usr.data_size)
                return contradiction_size(s, "/usr", have, rel->usr.data_size, why);
        if (!usr->inline_verity && usr->verity.uncompressed_size != rel->usr.hash_size)
                return contradiction_size(s, "the hash image of /usr", usr->verity.uncompressed_size, rel->usr.hash_size, why);
        return 0;
}

static int check_variant(Stage *s, Why *why)
{
        _cleanup_(free_charp) char *theirs = cosi_os_release(&s->cosi, "VARIANT_ID"),
                                   *ours = s->u->host.os_release ?
                os_release_get(s->u->host.os_release, "VARIANT_ID") :
                NULL;

        if (!theirs || !ours || streq(theirs, ours))
                return 0;
        return fail(why, -EINVAL, WHY_TRUST, "wrong-variant", "COSI: it is variant \"%s\", this host is \"%s\"", theirs, ours);
}

static int check_window(Stage *s, Why *why)
{
        if (s->cosi.max_window_log <= s->u->host.config.max_window_log)
                return 0;
        (void) fail(why, -EFBIG, WHY_IMAGE, "window-too-large",
                    "COSI: its compression.maxWindowLog is %u, this host allows %u", s->cosi.max_window_log,
                    s->u->host.config.max_window_log);
        return fail_hint(why, -EFBIG, "rebuild the COSI with a smaller window, or raise image.maxWindowLog (at most %u)",
                         COSI_WINDOW_LIMIT);
}

static int open_cosi(Stage *s, Why *why)
{
        Update *u = s->u;
        int r;

        if ((r = update_fetch(u, why)) < 0 ||
            (r = fetch_cosi_open(u->fetch, u->cosi_url, u->has_release ? u->release.cosi.size : UINT64_MAX, &s->container,
                                 why)) < 0 ||
            (r = check_metadata_digest(s, why)) < 0 ||
            (r = cosi_parse(s->container.metadata.data, s->container.metadata.size, s->kind, !u->has_release, &s->cosi,
                            why)) < 0 ||
            (r = check_variant(s, why)) < 0 || (r = check_window(s, why)) < 0)
                return r;
        return 0;
}

static int read_gpt(Stage *s, Why *why)
{
        _cleanup_(bytes_done) Bytes gpt = BYTES_NULL;
        Partition *parts;
        const CosiRegion *sig = NULL;
        size_t n = DISK_PARTITIONS_MAX;
        int r;

        if (s->cosi.n_regions == 0)
                return 0;
        r = fetch_member_bytes(s->u->fetch, &s->cosi.regions[0].image, s->u->host.config.max_window_log, s->kind,
                               GPT_REGION_MAX, &gpt, why);
        if (r < 0)
                return r;
        parts = calloc(n, sizeof(*parts));
        if (!parts)
                return -ENOMEM;
        r = gpt_parse_region(gpt.data, gpt.size, s->cosi.lba_size, parts, &n, why);
        if (r >= 0)
                r = cosi_check_gpt(&s->cosi, parts, n, s->kind, &sig, why);
        free(parts);
        if (r < 0 || !sig || !s->parts->sig)
                return r;
        s->has_sig_region = true;
        if (sig->image.uncompressed_size != s->parts->sig->size)
                return fail(why, -EINVAL, WHY_HOST, "sig-size", "COSI: its signature partition has %llu bytes, the one of slot %s has %llu",
                            (unsigned long long) sig->image.uncompressed_size, slot_name(s->target),
                            (unsigned long long) s->parts->sig->size);
        r = fetch_member_signature(s->u->fetch, &sig->image, s->u->host.config.max_window_log, s->kind,
                                   s->cosi.usr->roothash, &s->signature, why);
        return r < 0 ? r : 0;
}

/* --- the ESP of the image against the signed list --- */

static bool is_uki_path(const char *path)
{
        static const char dir[] = "EFI/Linux/";
        char head[sizeof(dir)];

        if (strlen(path) < sizeof(dir))
                return false;
        memcpy(head, path, sizeof(dir) - 1);
        head[sizeof(dir) - 1] = 0;
        return str_fold_cmp(head, dir) == 0 && !strchr(path + sizeof(dir) - 1, '/') && str_ends_fold(path, ".efi");
}

static bool is_target_template(const Stage *s, const char *path)
{
        _cleanup_(free_charp) char *slot = str_printf("acl/uki-addons/slot-%s.addon.efi", slot_name(s->target)),
                                   *verity = str_printf("acl/uki-addons/verity-%s.addon.efi", slot_name(s->target));

        return slot && verity && (str_fold_cmp(path, slot) == 0 || str_fold_cmp(path, verity) == 0);
}

static int hash_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        return digest_update(ctx, data, size);
}

static int hash_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        static const uint8_t zero[4096];

        for (; size > 0; size -= MIN(size, (uint64_t) sizeof(zero))) {
                int r = digest_update(ctx, zero, (size_t) MIN(size, (uint64_t) sizeof(zero)));
                if (r < 0)
                        return r;
        }
        return 0;
}

static int hash_esp_file(Stage *s, size_t at, char ret[SHA256_HEX], Why *why)
{
        _cleanup_(digest_freep) Digest *d = NULL;
        uint8_t sum[SHA256_SIZE];
        FetchSink sink;
        int r;

        r = digest_new(256, &d);
        if (r < 0)
                return r;
        sink = (FetchSink){ .data = hash_data, .zero = hash_zero, .ctx = d };
        r = fetch_esp_read(s->u->fetch, &s->esp, at, &sink, why);
        if (r >= 0)
                r = digest_final(d, sum);
        if (r < 0)
                return r;
        hex_encode(sum, sizeof(sum), ret);
        return 0;
}

static int check_pe(Stage *s, const StageFile *f, Why *why)
{
        const char *path = s->esp.files[f->at].path;
        uint16_t machine = streq(s->cosi.arch, "aarch64") ? 0xaa64 : 0x8664;

        if (f->pe.machine != machine)
                return fail(why, -EINVAL, s->kind, "wrong-machine", "%s: it is for PE machine 0x%04x, the image for 0x%04x", path,
                            f->pe.machine, machine);
        if (f->kind != BOOT_UKI)
                return 0;
        if (!f->pe.has_linux || !f->pe.has_osrel)
                return fail(why, -EINVAL, s->kind, "bad-uki", "%s: a UKI without %s; systemd-boot would not list it", path,
                            f->pe.has_linux ? ".osrel" : ".linux");
        return 0;
}

static int take_file(Stage *s, size_t at, BootKind kind, const char *expect_sha256, Why *why)
{
        StageFile *f = &s->files[s->n_files];
        int r;

        *f = (StageFile){ .at = at, .kind = kind };
        r = hash_esp_file(s, at, f->sha256, why);
        if (r < 0)
                return r;
        if (expect_sha256 && !streq(f->sha256, expect_sha256))
                return fail(why, -EBADMSG, WHY_TRUST, "file-digest", "%s: its SHA-256 is %.16s..., the release file says %.16s...",
                            s->esp.files[at].path, f->sha256, expect_sha256);
        s->n_files++;
        f->is_pe = kind == BOOT_UKI || kind == BOOT_ADDON || kind == BOOT_ADDON_TEMPLATE;
        if (!f->is_pe)
                return 0;
        r = fetch_esp_pe(s->u->fetch, &s->esp, at, &f->pe, why);
        return r < 0 ? r : check_pe(s, f, why);
}

/* Without a release file: what an updater may take is said by where it lies. */
static BootKind kind_of_path(const char *path)
{
        if (is_uki_path(path))
                return BOOT_UKI;
        if (strlen(path) > 10 && strcasestr(path, ".efi.extra.d/"))
                return str_ends_fold(path, ".addon.efi") ? BOOT_ADDON :
                       str_ends_fold(path, ".cred")      ? BOOT_CRED :
                                                           _BOOT_KIND_INVALID;
        if (strcasestr(path, "acl/uki-addons/") == path && str_ends_fold(path, ".addon.efi"))
                return BOOT_ADDON_TEMPLATE;
        return _BOOT_KIND_INVALID;
}

static int take_unlisted_files(Stage *s, Why *why)
{
        for (size_t i = 0; i < s->esp.n_files; i++) {
                BootKind kind = kind_of_path(s->esp.files[i].path);
                int r;

                if (kind < 0)
                        continue;
                if (s->n_files == RELEASE_BOOT_MAX)
                        return fail(why, -E2BIG, s->kind, "too-many-files", "ESP image: more than %u boot files", RELEASE_BOOT_MAX);
                r = take_file(s, i, kind, NULL, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int find_esp_file(const Stage *s, const char *path, size_t *ret)
{
        for (size_t i = 0; i < s->esp.n_files; i++)
                if (str_fold_cmp(s->esp.files[i].path, path) == 0) {
                        *ret = i;
                        return 1;
                }
        return 0;
}

static int take_listed_files(Stage *s, Why *why)
{
        const Release *rel = &s->u->release;

        for (size_t i = 0; i < s->esp.n_files; i++) {
                const char *path = s->esp.files[i].path;
                bool listed = false;

                for (size_t k = 0; k < rel->n_boot; k++)
                        listed |= str_fold_cmp(path, rel->boot[k].path) == 0;
                if (!listed && (is_uki_path(path) || is_target_template(s, path)))
                        return fail(why, -EBADMSG, WHY_TRUST, "unlisted-file", "%s: in the image's ESP but not in the release file",
                                    path);
        }
        for (size_t k = 0; k < rel->n_boot; k++) {
                size_t at;
                int r;

                if (!find_esp_file(s, rel->boot[k].path, &at))
                        return fail(why, -EBADMSG, WHY_TRUST, "missing-file", "%s: in the release file but not in the image's ESP",
                                    rel->boot[k].path);
                r = take_file(s, at, rel->boot[k].kind, rel->boot[k].sha256, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static const StageFile *stage_uki(const Stage *s)
{
        for (size_t i = 0; i < s->n_files; i++)
                if (s->files[i].kind == BOOT_UKI)
                        return &s->files[i];
        return NULL;
}

static int read_esp(Stage *s, Why *why)
{
        unsigned ukis = 0;
        int r;

        if (!s->cosi.esp)
                return fail(why, -EINVAL, s->kind, "no-esp", "COSI: it has no ESP image");
        r = fetch_esp_open(s->u->fetch, &s->cosi.esp->image, s->u->host.config.max_window_log, s->kind, &s->esp, why);
        if (r < 0)
                return r;
        s->files = calloc(RELEASE_BOOT_MAX, sizeof(*s->files));
        if (!s->files)
                return -ENOMEM;
        r = s->u->has_release ? take_listed_files(s, why) : take_unlisted_files(s, why);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->n_files; i++)
                ukis += s->files[i].kind == BOOT_UKI;
        if (ukis != 1)
                return fail(why, -EINVAL, s->kind, ukis == 0 ? "no-uki" : "two-ukis", "ESP image: %u UKIs in EFI/Linux, exactly one is needed",
                            ukis);
        return 0;
}

/* What would take part in the boot: the UKI, live addons, and the target's template. */
static int check_chain(Stage *s, Why *why)
{
        ChainFile files[RELEASE_BOOT_MAX];
        size_t n = 0;

        for (size_t i = 0; i < s->n_files; i++) {
                const StageFile *f = &s->files[i];
                const char *path = s->esp.files[f->at].path;

                if (f->is_pe && (f->kind != BOOT_ADDON_TEMPLATE || is_target_template(s, path)))
                        files[n++] = (ChainFile){ .what = path, .is_uki = f->kind == BOOT_UKI, .pe = &f->pe };
        }
        return update_check_chain(s->u, files, n, why);
}

/* --- what will be written --- */

static int plan_boot(Stage *s, Why *why)
{
        BootImageFile files[RELEASE_BOOT_MAX];

        for (size_t i = 0; i < s->n_files; i++)
                files[i] = (BootImageFile){
                        .path = s->esp.files[s->files[i].at].path,
                        .kind = s->files[i].kind,
                        .size = s->esp.files[s->files[i].at].size,
                        .sha256 = s->files[i].sha256,
                        .cmdline = s->files[i].pe.cmdline,
                };
        return s->u->host.boot->ops->plan(s->u->host.boot, (int) s->target, s->cosi.usr->roothash, s->cosi.usr->inline_verity,
                                          files, s->n_files, &s->plan, why);
}

/* Collects the superblock that the image brings, when the release file does not name salt and UUID. */
typedef struct Superblock {
        uint64_t at, want; /* position in the member; where the superblock begins */
        uint8_t block[VERITY_BLOCK];
        size_t have;
} Superblock;

static int superblock_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        Superblock *sb = ctx;
        uint64_t from = MAX(sb->at, sb->want + sb->have), end = sb->at + size;

        if (from < end && sb->have < sizeof(sb->block)) {
                size_t n = (size_t) MIN(end - from, (uint64_t) (sizeof(sb->block) - sb->have));

                memcpy(sb->block + sb->have, (const uint8_t *) data + (from - sb->at), n);
                sb->have += n;
        }
        sb->at = end;
        return 0;
}

static int superblock_zero(void *ctx, uint64_t size, Why *why _unused_)
{
        Superblock *sb = ctx;

        sb->at += size;
        return 0;
}

/* The image's own hash tree: its digest is checked by reading it, and where salt and UUID are not in the release file they
 * come from its superblock. The tree on the disk is always our own computation. */
static int read_hash_image(Stage *s, Superblock *sb, Why *why)
{
        const CosiFilesystem *usr = s->cosi.usr;
        FetchSink sink = { .data = superblock_data, .zero = superblock_zero, .ctx = sb };

        return fetch_member(s->u->fetch, usr->inline_verity ? &usr->image : &usr->verity, s->u->host.config.max_window_log,
                            s->kind, &sink, why);
}

static int verity_from_release(Stage *s, Why *why)
{
        const Release *rel = &s->u->release;
        uint64_t size;
        int r;

        s->verity = (VerityParams){ .data_blocks = rel->usr.data_size / VERITY_BLOCK, .salt_size = strlen(rel->usr.salt) / 2 };
        r = hex_decode(rel->usr.salt, s->verity.salt, s->verity.salt_size);
        if (r >= 0)
                r = uuid_parse_text(rel->usr.uuid, s->verity.uuid);
        if (r >= 0)
                r = verity_hash_size(s->verity.data_blocks, &size);
        if (r < 0 || size > rel->usr.hash_size)
                return fail(why, -EINVAL, WHY_TRUST, "bad-verity", "release file: hashSize %llu is too small for dataSize %llu",
                            (unsigned long long) rel->usr.hash_size, (unsigned long long) rel->usr.data_size);
        return 0;
}

static int find_verity(Stage *s, bool *ret_read, Why *why)
{
        Superblock sb = { 0 };
        int r;

        *ret_read = false;
        if (s->u->has_release && s->u->release.usr.uuid[0])
                return verity_from_release(s, why);
        sb.want = s->cosi.usr->inline_verity ? s->u->release.usr.data_size : 0;
        r = read_hash_image(s, &sb, why);
        if (r < 0)
                return r;
        *ret_read = true;
        r = verity_superblock_parse(sb.block, sb.have, &s->verity, why);
        if (r < 0)
                return r;
        if (s->u->has_release) {
                char salt[2 * VERITY_SALT_MAX + 1];

                hex_encode(s->verity.salt, s->verity.salt_size, salt);
                if (!streq(salt, s->u->release.usr.salt) || s->verity.data_blocks != s->u->release.usr.data_size / VERITY_BLOCK)
                        return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                                    "COSI: salt or size in its verity superblock are not those of the release file");
        }
        return 0;
}

/* Trust by the Secure Boot chain alone: the release file's facts come from the image. */
static int synthesize_release(Stage *s, Why *why)
{
        Release *rel = &s->u->release;
        char *version = cosi_os_release(&s->cosi, s->u->host.config.version_key);

        if (!version)
                version = strdup("unknown");
        rel->version = version;
        rel->arch = strdup(s->cosi.arch);
        rel->product = strdup(s->u->host.config.product);
        if (!rel->version || !rel->arch || !rel->product)
                return -ENOMEM;
        memcpy(rel->usr.roothash, s->cosi.usr->roothash, sizeof(rel->usr.roothash));
        rel->usr.data_size = s->cosi.usr->image.uncompressed_size;
        if (s->cosi.usr->inline_verity)
                return fail(why, -EOPNOTSUPP, WHY_TRUST, "no-release-file",
                            "trust: an image with an inline hash tree needs a release file");
        rel->usr.hash_size = s->cosi.usr->verity.uncompressed_size;
        return 0;
}

static int check_spare(Stage *s, Why *why)
{
        SlotNeed need = {
                .data_size = s->u->release.usr.data_size,
                .hash_size = s->u->release.usr.hash_size,
                .sig_size = s->signature.size,
                .inline_hash = s->cosi.usr->inline_verity,
        };

        return slot_check_spare(s->u->host.disk, &s->u->host.layout, &s->u->host.running, s->target, &need, why);
}

/* --- from here on something is written --- */

/* The slot that runs was never installed by us: what the way back consists of is recorded before we leave it. */
static int adopt_running(Update *u, Why *why)
{
        SlotRecord rec = { 0 };
        int r;

        if (host_running_record(&u->host) || !u->host.running.roothash[0] || !u->host.boot_state.default_name[0])
                return 0;
        memcpy(rec.roothash, u->host.running.roothash, sizeof(rec.roothash));
        rec.committed_at = env_now(u->env);
        rec.has_serial = u->host.trust.has_running_serial;
        rec.serial = u->host.trust.running_serial;
        r = u->host.boot->ops->digests(u->host.boot, u->host.boot_state.default_name, &rec.files, rec.uki_sha256, why);
        if (r >= 0 && u->host.version && !(rec.version = strdup(u->host.version)))
                r = -ENOMEM;
        if (r >= 0 && !(rec.entry = strdup(u->host.boot_state.default_name)))
                r = -ENOMEM;
        if (r >= 0)
                r = trust_state_put_slot(&u->host.trust, &rec);
        slot_record_done(&rec);
        return r;
}

static int copy_str(char **dst, const char *src)
{
        char *copy = src ? strdup(src) : NULL;

        if (src && !copy)
                return -ENOMEM;
        free(*dst);
        *dst = copy;
        return 0;
}

static int journal_files(Stage *s, Journal *j)
{
        j->files = calloc(MAX(s->plan.n_files, (size_t) 1), sizeof(*j->files));
        if (!j->files)
                return -ENOMEM;
        for (size_t i = 0; i < s->plan.n_files; i++) {
                const BootFile *f = &s->plan.files[i];
                JournalFile *jf = &j->files[i];

                jf->kind = strdup(boot_kind_name(f->kind));
                jf->name = strdup(f->name ? f->name : "");
                if (!jf->kind || !jf->name)
                        return -ENOMEM;
                jf->size = f->size;
                memcpy(jf->sha256, f->sha256, sizeof(jf->sha256));
                jf->carried = f->carried;
                j->n_files = i + 1;
        }
        return 0;
}

static int journal_revocations(Update *u, Journal *j)
{
        const Release *rel = &u->release;
        int r;

        if (rel->n_revoked_serials > 0) {
                j->revoked_serials = calloc(rel->n_revoked_serials, sizeof(uint64_t));
                if (!j->revoked_serials)
                        return -ENOMEM;
                memcpy(j->revoked_serials, rel->revoked_serials, rel->n_revoked_serials * sizeof(uint64_t));
                j->n_revoked_serials = rel->n_revoked_serials;
        }
        for (char **h = rel->revoked_roothashes; h && *h; h++) {
                r = strv_add(&j->revoked_roothashes, *h);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A new transaction replaces what the journal said; unknown fields of another gybe version survive. */
static int begin_journal(Stage *s, Journal *j)
{
        Update *u = s->u;
        const Release *rel = &u->release;
        char id[37];
        int r;

        journal_begin(j);
        r = uuid_random(id);
        if (r < 0 || (r = copy_str(&j->update_id, id)) < 0 || (r = copy_str(&j->version, rel->version)) < 0 ||
            (r = copy_str(&j->product, rel->product)) < 0 ||
            (r = copy_str(&j->release_sha256, u->has_release ? u->release_sha256 : NULL)) < 0 ||
            (r = copy_str(&j->source, u->source_text)) < 0 || (r = journal_files(s, j)) < 0 ||
            (r = journal_revocations(u, j)) < 0)
                return r;
        j->phase = PHASE_TRUSTED;
        j->slot_dirty = true;
        j->serial = rel->serial;
        j->floor_serial = rel->floor_serial;
        j->issued = rel->issued;
        j->slot = *slot_name(s->target);
        j->data_size = rel->usr.data_size;
        j->hash_size = rel->usr.hash_size;
        memcpy(j->roothash, rel->usr.roothash, sizeof(j->roothash));
        memcpy(j->uki_sha256, stage_uki(s)->sha256, sizeof(j->uki_sha256));
        memcpy(j->running_roothash, u->host.running.roothash, sizeof(j->running_roothash));
        return 0;
}

/* A staged or finalized update makes way. The order is: out of the boot loader's reach, journal, first block. */
static int supersede(Update *u, Why *why)
{
        _cleanup_(json_unrefp) Json *more = NULL;
        const Journal *j = &u->host.journal;
        int r;

        if (j->phase == PHASE_FINALIZED && (r = update_unarm(u, why)) < 0)
                return r;
        if (j->phase != PHASE_STAGED && j->phase != PHASE_FINALIZED)
                return 0;
        more = json_new_object();
        json_set_str(more, "outcome", outcome_name(OUTCOME_SUPERSEDED));
        json_set_str(more, "by", u->release.version);
        return update_record(u, "superseded", more, why);
}

static int stage_begin(Stage *s, Why *why)
{
        Update *u = s->u;
        int r;

        if ((r = supersede(u, why)) < 0 || (r = adopt_running(u, why)) < 0 || (r = trust_state_save(u->env, &u->host.trust, why)) < 0 ||
            (r = u->host.boot->ops->prove_default(u->host.boot, (int) u->host.running.slot, why)) < 0)
                return r;
        r = begin_journal(s, &u->host.journal);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "starting a transaction");
        r = update_save(u, why);
        return r < 0 ? r : u->host.boot->ops->retire(u->host.boot, (int) s->target, why);
}

/* --- bytes --- */

static void show(Stage *s, const char *what, uint64_t done, uint64_t total)
{
        Update *u = s->u;
        const SlotCount *c = s->writer ? slot_writer_count(s->writer) : NULL;

        u->progress.what = what;
        u->progress.done = done;
        u->progress.total = total;
        u->progress.fetched = fetch_bytes(u->fetch);
        if (c) {
                u->progress.skipped = c->skipped;
                u->progress.written = c->written;
        }
        if (u->options.progress)
                u->options.progress(u->options.ctx, &u->progress);
}

typedef struct UsrSink {
        Stage *stage;
        uint64_t at; /* of the data image; an inline tree behind it is not taken */
} UsrSink;

static int usr_data(void *ctx, const void *data, size_t size, Why *why)
{
        UsrSink *k = ctx;
        uint64_t total = k->stage->u->release.usr.data_size;
        size_t n = (size_t) MIN((uint64_t) size, total - MIN(k->at, total));
        int r = n > 0 ? slot_writer_put(k->stage->writer, data, n, why) : 0;

        k->at += size;
        show(k->stage, "staging", MIN(k->at, total), total);
        return r;
}

static int usr_zero(void *ctx, uint64_t size, Why *why)
{
        UsrSink *k = ctx;
        uint64_t total = k->stage->u->release.usr.data_size;
        uint64_t n = MIN(size, total - MIN(k->at, total));
        int r = n > 0 ? slot_writer_zero(k->stage->writer, n, why) : 0;

        k->at += size;
        show(k->stage, "staging", MIN(k->at, total), total);
        return r;
}

static int write_usr(Stage *s, Why *why)
{
        UsrSink usr = { .stage = s };
        FetchSink sink = { .data = usr_data, .zero = usr_zero, .ctx = &usr };
        uint8_t root[VERITY_ROOT_SIZE];
        char got[65];
        int r;

        if ((r = slot_writer_open(s->u->host.disk, s->parts, &s->verity, &s->writer, why)) < 0 ||
            (r = fetch_member(s->u->fetch, &s->cosi.usr->image, s->u->host.config.max_window_log, s->kind, &sink, why)) < 0 ||
            (r = slot_writer_finish(s->writer, root, why)) < 0)
                return r;
        hex_encode(root, sizeof(root), got);
        if (!streq(got, s->u->release.usr.roothash))
                return fail(why, -EBADMSG, WHY_TRUST, "root-hash", "/usr image: its root hash is %.16s..., the release says %.16s...", got,
                            s->u->release.usr.roothash);
        return 0;
}

typedef struct EspSink {
        Boot *boot;
} EspSink;

static int esp_data(void *ctx, const void *data, size_t size, Why *why)
{
        EspSink *k = ctx;

        return k->boot->ops->file_write(k->boot, data, size, why);
}

static int esp_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zero[4096];

        while (size > 0) {
                size_t n = (size_t) MIN(size, (uint64_t) sizeof(zero));
                int r = esp_data(ctx, zero, n, why);
                if (r < 0)
                        return r;
                size -= n;
        }
        return 0;
}

static int write_boot_files(Stage *s, Why *why)
{
        Boot *boot = s->u->host.boot;
        EspSink esp = { .boot = boot };
        FetchSink sink = { .data = esp_data, .zero = esp_zero, .ctx = &esp };

        for (size_t i = 0; i < s->plan.n_files; i++) {
                const BootFile *f = &s->plan.files[i];
                int r;

                if (f->carried)
                        r = boot->ops->copy_carried(boot, f, why);
                else if ((r = boot->ops->file_begin(boot, f, why)) >= 0 &&
                         (r = fetch_esp_read(s->u->fetch, &s->esp, s->files[f->source].at, &sink, why)) >= 0)
                        r = boot->ops->file_end(boot, why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int verify_progress(void *ctx, uint64_t done, uint64_t total)
{
        show(ctx, "verifying", done, total);
        return 0;
}

static int stage_bytes(Stage *s, bool hash_read, Why *why)
{
        Superblock discard = { .want = UINT64_MAX - VERITY_BLOCK };
        uint8_t expect[VERITY_ROOT_SIZE];
        int r;

        if ((r = write_usr(s, why)) < 0)
                return r;
        /* The hash image is not needed, but a COSI whose parts contradict its signed metadata is refused whole. */
        if (!hash_read && !s->cosi.usr->inline_verity && (r = read_hash_image(s, &discard, why)) < 0)
                return r;
        if ((r = fetch_cosi_finish(s->u->fetch, why)) < 0 ||
            (s->parts->sig && (r = slot_write_sig(s->u->host.disk, s->parts, s->signature.data, s->signature.size, why)) < 0) ||
            (r = write_boot_files(s, why)) < 0)
                return r;
        r = hex_decode(s->u->release.usr.roothash, expect, sizeof(expect));
        if (r < 0)
                return r;
        r = slot_verify(s->u->host.disk, s->parts, expect, verify_progress, s, why);
        if (r < 0)
                return r;
        return s->u->host.boot->ops->check(s->u->host.boot, (int) s->target, NULL, &s->plan, s->u->release.usr.roothash, why);
}

static Json *stage_story(const Stage *s)
{
        const SlotCount *c = slot_writer_count(s->writer);
        Json *more = json_new_object(), *keys = json_new_array(), *bytes = json_new_object();

        for (char **k = s->u->signed_by; k && *k; k++)
                json_add_str(keys, *k);
        json_set_str(more, "source", s->u->source_text);
        json_set_str(more, "anchor", s->u->anchor_name);
        json_set(more, "keys", keys);
        json_set_u64(bytes, "fetched", fetch_bytes(s->u->fetch));
        json_set_u64(bytes, "written", c->written);
        json_set_u64(bytes, "skipped", c->skipped);
        json_set(more, "bytes", bytes);
        if (s->u->options.allow_downgrade)
                json_set_bool(more, "allowDowngrade", true);
        return more;
}

/* A refusal after bytes were written: the slot stays marked unusable, the refusal is remembered. */
static int stage_refused(Stage *s, int error, const Why *why)
{
        _cleanup_(json_unrefp) Json *more = json_new_object();
        Update *u = s->u;
        Why ignored = { 0 };

        json_set_str(more, "code", why->code);
        json_set_str(more, "message", why->text);
        if (why->kind == WHY_TRUST || why->kind == WHY_IMAGE) {
                u->host.journal.phase = PHASE_IDLE;
                u->host.journal.outcome = OUTCOME_REJECTED;
                (void) copy_str(&u->host.journal.message, why->text);
                json_set_str(more, "outcome", outcome_name(OUTCOME_REJECTED));
        }
        /* The sentence that matters is the first one; when these fail too, recovery finds the slot dirty. */
        (void) update_record(u, "stage-failed", more, &ignored);
        (void) update_save(u, &ignored);
        return error;
}

int update_fill_slot(Update *u, Why *why)
{
        _cleanup_(stage_done) Stage s = { .u = u, .kind = u->has_release ? WHY_TRUST : WHY_IMAGE };
        _cleanup_(json_unrefp) Json *more = NULL;
        bool hash_read = false;
        int r;

        s.target = slot_other(u->host.running.slot);
        s.parts = &u->host.layout.slot[s.target];
        if ((u->has_release && (r = check_needed(&s, why)) < 0) || (r = open_cosi(&s, why)) < 0 ||
            (!u->has_release && ((r = synthesize_release(&s, why)) < 0 || (r = check_needed(&s, why)) < 0)) ||
            (r = check_agrees(&s, why)) < 0 || (r = read_gpt(&s, why)) < 0 || (r = check_spare(&s, why)) < 0 ||
            (r = read_esp(&s, why)) < 0 || (r = check_quarantine(&s, stage_uki(&s)->sha256, why)) < 0 ||
            (r = check_chain(&s, why)) < 0 || (r = plan_boot(&s, why)) < 0 || (r = find_verity(&s, &hash_read, why)) < 0)
                return r;
        if (!hash_read && s.container.has_ranges && !s.cosi.usr->inline_verity) {
                Superblock discard = { .want = UINT64_MAX - VERITY_BLOCK };

                if ((r = read_hash_image(&s, &discard, why)) < 0)
                        return r;
                hash_read = true;
        }

        r = stage_begin(&s, why);
        if (r >= 0)
                r = stage_bytes(&s, hash_read, why);
        if (r < 0)
                return stage_refused(&s, r, why);
        more = stage_story(&s);
        u->host.journal.slot_dirty = false;
        u->host.journal.phase = PHASE_STAGED;
        r = update_record(u, "staged", more, why);
        return r < 0 ? r : update_save(u, why);
}
