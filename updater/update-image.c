/* SPDX-License-Identifier: MIT */

/* The COSI of a believed release: opened, its metadata held to the signed digest, its facts to the signed facts. Nothing here
 * writes. The container itself is taken apart in gybe-fetch; what comes back is believed as far as a digest goes. */

#include "stage.h"
#include "base/str.h"

#include <errno.h>

#define OS_RELEASE_MAX (64u * 1024u)
#define GPT_REGION_MAX (256u * 1024u) /* 128 entries of 128 bytes with 4096-byte sectors are 24 KiB */

static int check_metadata_digest(Stage *s, Why *why)
{
        char digest[SHA384_HEX];
        int r;

        r = sha384_hex(s->container.metadata.data, s->container.metadata.size, digest);
        if (r < 0)
                return r;
        if (s->u->offer.metadata_sha384[0] && !streq(digest, s->u->offer.metadata_sha384))
                return fail(
                        why, -EBADMSG, WHY_TRUST, "metadata-digest",
                        "COSI: the SHA-384 of its metadata.json is %.16s..., the update server says %.16s...",
                        digest, s->u->offer.metadata_sha384);
        if (!s->u->has_release)
                return 0;
        if (!streq(digest, s->u->release.cosi.metadata_sha384))
                return fail(
                        why, -EBADMSG, WHY_TRUST, "metadata-digest",
                        "COSI: the SHA-384 of its metadata.json is %.16s..., the release file says %.16s...",
                        digest, s->u->release.cosi.metadata_sha384);
        return 0;
}

static int contradiction(Stage *s, const char *field, const char *cosi, const char *release, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                    "COSI: %s is %s, the release file of %s says %s", field, cosi, s->u->release.version,
                    release);
}

static int contradiction_size(Stage *s, const char *field, uint64_t cosi, uint64_t release, Why *why)
{
        return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                    "COSI: %s is %llu bytes, the release file of %s says %llu", field,
                    (unsigned long long) cosi, s->u->release.version, (unsigned long long) release);
}

static int check_agrees(Stage *s, Why *why)
{
        const Release *rel = &s->u->release;
        const CosiFilesystem *usr = s->cosi.usr;

        if (!streq(s->cosi.arch, rel->arch))
                return contradiction(s, "the architecture", s->cosi.arch, rel->arch, why);
        if (!streq(usr->roothash, rel->usr.roothash))
                return contradiction(s, "the root hash of /usr", usr->roothash, rel->usr.roothash, why);
        /* an inline image is data, tree, and perhaps the rest of its partition */
        if (usr->inline_verity ? usr->image.uncompressed_size < rel->usr.data_size
                               : usr->image.uncompressed_size != rel->usr.data_size)
                return contradiction_size(s, "/usr", usr->image.uncompressed_size, rel->usr.data_size, why);
        if (!usr->inline_verity && usr->verity.uncompressed_size != rel->usr.hash_size)
                return contradiction_size(s, "the hash image of /usr", usr->verity.uncompressed_size,
                                          rel->usr.hash_size, why);
        return 0;
}

static int check_variant(Stage *s, Why *why)
{
        _cleanup_(free_charp) char *theirs = cosi_os_release(&s->cosi, "VARIANT_ID"), *ours = NULL;
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = env_read(s->u->env, "/etc/os-release", OS_RELEASE_MAX, &b);

        if (r == -ENOMEM)
                return r;
        if (r >= 0 && b.size > 0)
                ours = os_release_get((const char *) b.data, "VARIANT_ID");
        if (!theirs || !ours || streq(theirs, ours))
                return 0;
        return fail(why, -EINVAL, WHY_TRUST, "wrong-variant",
                    "COSI: it is variant \"%s\", this host is \"%s\"", theirs, ours);
}

static int check_window(Stage *s, Why *why)
{
        if (s->cosi.max_window_log <= s->u->host.config.max_window_log)
                return 0;
        (void) fail(why, -EFBIG, WHY_IMAGE, "window-too-large",
                    "COSI: its compression.maxWindowLog is %u, this host allows %u", s->cosi.max_window_log,
                    s->u->host.config.max_window_log);
        return fail_hint(why, -EFBIG,
                         "rebuild the COSI with a smaller window, or raise image.maxWindowLog (at most %u)",
                         COSI_WINDOW_LIMIT);
}

static int open_container(Stage *s, Why *why)
{
        Update *u = s->u;
        int r;

        if ((r = update_fetch(u, why)) < 0 ||
            (r = fetch_cosi_open(u->fetch, u->cosi_url, u->has_release ? u->release.cosi.size : UINT64_MAX,
                                 &s->container, why)) < 0 ||
            (r = check_metadata_digest(s, why)) < 0 ||
            (r = cosi_parse(s->container.metadata.data, s->container.metadata.size, s->kind, !u->has_release,
                            &s->cosi, why)) < 0 ||
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
        r = fetch_member_bytes(s->u->fetch, &s->cosi.regions[0].image, s->u->host.config.max_window_log,
                               s->kind, GPT_REGION_MAX, &gpt, why);
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
        if (sig->image.uncompressed_size != s->parts->sig->size)
                return fail(why, -EINVAL, WHY_HOST, "sig-size",
                            "COSI: its signature partition has %llu bytes, the one of slot %s has %llu",
                            (unsigned long long) sig->image.uncompressed_size, slot_name(s->target),
                            (unsigned long long) s->parts->sig->size);
        r = fetch_member_signature(s->u->fetch, &sig->image, s->u->host.config.max_window_log, s->kind,
                                   s->cosi.usr->roothash, &s->signature, why);
        return r < 0 ? r : 0;
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
        rel->cosi.size = s->container.size;
        if (sha384_hex(s->container.metadata.data, s->container.metadata.size, rel->cosi.metadata_sha384) < 0)
                return -ENOMEM;
        if (!streq(rel->arch, s->u->host.arch))
                return fail(why, -EINVAL, WHY_TRUST, "wrong-arch", "COSI: it is for %s, this host is %s",
                            rel->arch, s->u->host.arch);
        if (trust_state_revoked(&s->u->host.trust, false, 0, rel->usr.roothash))
                return fail(why, -EKEYREVOKED, WHY_TRUST, "revoked",
                            "COSI: its root hash %.16s... has been revoked", rel->usr.roothash);
        return omaha_offer_check(&s->u->offer, rel, why);
}

int stage_open_image(Stage *s, Why *why)
{
        int r;

        if ((r = open_container(s, why)) < 0 ||
            (!s->u->has_release && (r = synthesize_release(s, why)) < 0) || (r = check_agrees(s, why)) < 0)
                return r;
        return read_gpt(s, why);
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

        return fetch_member(s->u->fetch, usr->inline_verity ? &usr->image : &usr->verity,
                            s->u->host.config.max_window_log, s->kind, &sink, why);
}

static int verity_from_release(Stage *s, Why *why)
{
        const Release *rel = &s->u->release;
        uint64_t size;
        int r;

        s->verity = (VerityParams){ .data_blocks = rel->usr.data_size / VERITY_BLOCK,
                                    .salt_size = strlen(rel->usr.salt) / 2 };
        r = hex_decode(rel->usr.salt, s->verity.salt, s->verity.salt_size);
        if (r >= 0)
                r = uuid_parse_text(rel->usr.uuid, s->verity.uuid);
        if (r >= 0)
                r = verity_hash_size(s->verity.data_blocks, &size);
        if (r < 0 || size > rel->usr.hash_size)
                return fail(why, -EINVAL, WHY_TRUST, "bad-verity",
                            "release file: hashSize %llu is too small for dataSize %llu",
                            (unsigned long long) rel->usr.hash_size, (unsigned long long) rel->usr.data_size);
        return 0;
}

/* 1 the first frame of the hash image has it, 0 it must be read as a whole */
static int read_first_frame(Stage *s, Superblock *sb, Why *why)
{
        const FetchSink sink = { .data = superblock_data, .ctx = sb };
        const BlockRange first = { 0, 1 };
        Why because = { 0 };
        int r;

        if (!s->container.has_ranges || s->cosi.usr->inline_verity)
                return 0;
        r = fetch_blocks(s->u->fetch, &s->cosi.usr->verity, &first, 1, &sink, &because);
        if (r >= 0)
                return 1;
        if (because.kind != WHY_IMAGE && r != -EOPNOTSUPP) {
                *why = because;
                return r;
        }
        *sb = (Superblock){ .want = sb->want };
        return 0;
}

int stage_find_verity(Stage *s, Why *why)
{
        Superblock sb = { 0 };
        int r;

        if (s->u->has_release && s->u->release.usr.uuid[0])
                return verity_from_release(s, why);
        sb.want = s->cosi.usr->inline_verity ? s->u->release.usr.data_size : 0;
        r = read_first_frame(s, &sb, why);
        if (r == 0) {
                r = read_hash_image(s, &sb, why);
                s->hash_image_read = r >= 0;
        }
        if (r < 0)
                return r;
        r = verity_superblock_parse(sb.block, sb.have, &s->verity, why);
        if (r < 0)
                return r;
        if (s->u->has_release) {
                char salt[2 * VERITY_SALT_MAX + 1];

                hex_encode(s->verity.salt, s->verity.salt_size, salt);
                if (!streq(salt, s->u->release.usr.salt) ||
                    s->verity.data_blocks != s->u->release.usr.data_size / VERITY_BLOCK)
                        return fail(why, -EBADMSG, WHY_TRUST, "contradiction",
                                    "COSI: salt or size in its verity superblock are not those of the "
                                    "release file");
        }
        return 0;
}

int stage_check_hash_image(Stage *s, Why *why)
{
        Superblock nothing = { .want = UINT64_MAX - VERITY_BLOCK };
        int r;

        /* an inline tree lies in the data image, whose digest is checked when it is written */
        if (s->hash_image_read || s->cosi.usr->inline_verity)
                return 0;
        r = read_hash_image(s, &nothing, why);
        s->hash_image_read = r >= 0;
        return r;
}
