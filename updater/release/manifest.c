/* SPDX-License-Identifier: MIT */

/* The release manifest: every rule of formats.md section 3 that the document alone can keep or break. Whether it is meant for
 * this host, and newer, is judge.c's question. */

#include "release/release.h"
#include "base/str.h"
#include "release/doc.h"

#include <errno.h>

#define REVOKED_MAX   1024u
#define SALT_DIGITS   512u  /* dm-verity's superblock holds 256 bytes */
#define NOTES_MAX     4096u /* trust.md 3.2 */
#define OSTREE_COMMIT 64u   /* digits of a SHA-256 */
#define BLOCK         4096u
#define USR_SIZE_MAX  (UINT64_C(1) << 46) /* 64 TiB: far beyond any slot, and no sum of two overflows */
#define COSI_SIZE_MAX (UINT64_C(1) << 47) /* both images uncompressed */

static const char *const kind_names[_BOOT_KIND_MAX] = {
        [BOOT_UKI] = "uki",       [BOOT_ADDON] = "addon",   [BOOT_ADDON_TEMPLATE] = "addon-template",
        [BOOT_CRED] = "cred",     [BOOT_LOADER] = "loader", [BOOT_SHIM] = "shim",
        [BOOT_KERNEL] = "kernel",
};

/* Fields this version knows; a release may declare that a reader must know one. Inner ones are named with their object. */
static const char *const known_fields[] = {
        "schema",
        "product",
        "channel",
        "arch",
        "version",
        "serial",
        "floorSerial",
        "minimumSerial",
        "issued",
        "expires",
        "cosi",
        "cosi.name",
        "cosi.size",
        "cosi.metadataSha384",
        "usr",
        "usr.roothash",
        "usr.dataSize",
        "usr.hashSize",
        "usr.salt",
        "usr.uuid",
        "usr.ostreeCommit",
        "boot",
        "boot.path",
        "boot.kind",
        "boot.sha256",
        "revokes",
        "revokes.serials",
        "revokes.roothashes",
        "critical",
        "notes",
};

const char *boot_kind_name(BootKind kind)
{
        return kind >= 0 && kind < _BOOT_KIND_MAX ? kind_names[kind] : NULL;
}

BootKind boot_kind_from_name(const char *name)
{
        for (BootKind k = 0; k < _BOOT_KIND_MAX; k++)
                if (streq(kind_names[k], name))
                        return k;
        return _BOOT_KIND_INVALID;
}

void release_done(Release *r)
{
        free(r->product);
        free(r->arch);
        free(r->version);
        free(r->notes);
        strv_free(r->channels);
        free(r->cosi.name);
        free(r->usr.ostree_commit);
        for (size_t i = 0; i < r->n_boot; i++)
                free(r->boot[i].path);
        free(r->boot);
        free(r->revoked_serials);
        strv_free(r->revoked_roothashes);
        *r = (Release){ 0 };
}

void release_move(Release *dst, Release *src)
{
        release_done(dst);
        *dst = *src;
        *src = (Release){ 0 };
}

/* Before anything else is read: a field that must be understood and is not makes every other check meaningless. */
static int check_critical(const Doc *d)
{
        _cleanup_(strv_freep) char **critical = NULL;
        int r;

        if (!json_get(d->json, "critical"))
                return 0;
        r = doc_text_list(d, "critical", 0, DOC_LIST_MAX, &critical);
        if (r < 0)
                return r;
        for (char **c = critical; c && *c; c++) {
                bool known = false;

                for (size_t i = 0; i < ELEMENTSOF(known_fields); i++)
                        known |= streq(*c, known_fields[i]);
                if (known)
                        continue;
                (void) fail(d->why, -EPROTONOSUPPORT, WHY_TRUST, "critical-unknown",
                            "%s: it says that \"%.60s\" must be understood, and gybe %s does not", d->what,
                            *c, GYBE_VERSION);
                return fail_hint(d->why, -EPROTONOSUPPORT, "update gybe first");
        }
        return 0;
}

static int read_identity(const Doc *d, Release *r)
{
        int e;

        if ((e = doc_text(d, "product", DOC_TEXT_MAX, &r->product)) < 0 ||
            (e = doc_text_list(d, "channel", 1, DOC_LIST_MAX, &r->channels)) < 0 ||
            (e = doc_text(d, "arch", DOC_TEXT_MAX, &r->arch)) < 0 ||
            (e = doc_text(d, "version", DOC_TEXT_MAX, &r->version)) < 0)
                return e;
        if (!streq(r->arch, "x86_64") && !streq(r->arch, "aarch64"))
                return doc_fail(d, "arch", "is \"%.30s\"; it must be x86_64 or aarch64", r->arch);
        if (json_get(d->json, "notes"))
                return doc_text(d, "notes", NOTES_MAX, &r->notes);
        return 0;
}

static int read_order(const Doc *d, Release *r)
{
        int e;

        if ((e = doc_u64(d, "serial", &r->serial)) < 0 ||
            (e = doc_u64(d, "floorSerial", &r->floor_serial)) < 0 ||
            (e = json_get(d->json, "minimumSerial") ? doc_u64(d, "minimumSerial", &r->minimum_serial) : 0) <
                    0 ||
            (e = doc_time(d, "issued", &r->issued)) < 0 || (e = doc_time(d, "expires", &r->expires)) < 0)
                return e;
        if (r->serial == 0)
                return doc_fail(d, "serial", "is 0; the first serial is 1");
        if (r->floor_serial > r->serial)
                return doc_fail(d, "floorSerial", "is %llu, above the serial %llu",
                                (unsigned long long) r->floor_serial, (unsigned long long) r->serial);
        if (r->expires < r->issued)
                return doc_fail(d, "expires", "is before issued");
        return 0;
}

static int read_cosi(const Doc *d, Release *r)
{
        Doc cosi;
        int e;

        if ((e = doc_object(d, "cosi", &cosi)) < 0 || (e = doc_path(&cosi, "name", &r->cosi.name)) < 0 ||
            (e = doc_u64(&cosi, "size", &r->cosi.size)) < 0 ||
            (e = doc_hex(&cosi, "metadataSha384", DOC_SHA384_HEX, r->cosi.metadata_sha384)) < 0)
                return e;
        if (r->cosi.size == 0 || r->cosi.size > COSI_SIZE_MAX)
                return doc_fail(&cosi, "size", "is %llu; it must be from 1 to %llu",
                                (unsigned long long) r->cosi.size, (unsigned long long) COSI_SIZE_MAX);
        return 0;
}

static int read_salt(const Doc *usr, Release *r)
{
        const char *s = json_get_str(usr->json, "salt");
        size_t n = s ? strlen(s) : 0;

        if (!s)
                return doc_fail(usr, "salt", "is missing or not a string (\"\" means none)");
        if (n % 2 != 0 || n > SALT_DIGITS || hex_normalize(s, n, r->usr.salt) < 0)
                return doc_fail(usr, "salt", "is not an even number of at most %u hex digits", SALT_DIGITS);
        return 0;
}

static int read_uuid(const Doc *usr, Release *r)
{
        const char *s = json_get_str(usr->json, "uuid");
        uint8_t raw[16];

        if (!json_get(usr->json, "uuid"))
                return 0;
        if (!s || uuid_parse_text(s, raw) < 0)
                return doc_fail(usr, "uuid", "is not a UUID");
        uuid_format_text(raw, r->usr.uuid);
        return 0;
}

/* The levels of a tree of 128 hashes a block. A larger hash image is fine (the superblock, padding), a smaller one cannot be.
 * The superblock is not demanded here: what the image holds decides that, and tools differ in whether they count it. */
static uint64_t smallest_hash_size(uint64_t data_size)
{
        uint64_t blocks = data_size / BLOCK, total = 0;

        while (blocks > 1) {
                blocks = (blocks + 127) / 128;
                total += blocks;
        }
        return MAX(total, UINT64_C(1)) * BLOCK;
}

static int read_ostree_commit(const Doc *usr, Release *r)
{
        char commit[OSTREE_COMMIT + 1];
        int e;

        if (!json_get(usr->json, "ostreeCommit"))
                return 0;
        e = doc_hex(usr, "ostreeCommit", OSTREE_COMMIT, commit);
        if (e < 0)
                return e;
        r->usr.ostree_commit = strdup(commit);
        return r->usr.ostree_commit ? 0 : -ENOMEM;
}

static int read_usr(const Doc *d, Release *r)
{
        Doc usr;
        int e;

        if ((e = doc_object(d, "usr", &usr)) < 0 ||
            (e = doc_hex(&usr, "roothash", DOC_SHA256_HEX, r->usr.roothash)) < 0 ||
            (e = doc_u64(&usr, "dataSize", &r->usr.data_size)) < 0 ||
            (e = doc_u64(&usr, "hashSize", &r->usr.hash_size)) < 0 || (e = read_salt(&usr, r)) < 0 ||
            (e = read_uuid(&usr, r)) < 0)
                return e;
        if (r->usr.data_size == 0 || r->usr.data_size % BLOCK != 0 || r->usr.data_size > USR_SIZE_MAX)
                return doc_fail(&usr, "dataSize", "is %llu; it must be a positive multiple of %u",
                                (unsigned long long) r->usr.data_size, BLOCK);
        if (r->usr.hash_size % BLOCK != 0 || r->usr.hash_size > USR_SIZE_MAX ||
            r->usr.hash_size < smallest_hash_size(r->usr.data_size))
                return doc_fail(&usr, "hashSize",
                                "is %llu; a tree over %llu bytes has at least %llu, in blocks of %u",
                                (unsigned long long) r->usr.hash_size, (unsigned long long) r->usr.data_size,
                                (unsigned long long) smallest_hash_size(r->usr.data_size), BLOCK);
        return read_ostree_commit(&usr, r);
}

/* FAT drops dots and blanks at the end of a name and folds more than ASCII, so that two such paths may be one file: what is
 * listed must be spelled in a way that has only one meaning. */
static const char *fat_reason(const char *path)
{
        for (const char *p = path; *p; p++) {
                if ((unsigned char) *p >= 0x80)
                        return "has a character that is not ASCII";
                if (strchr("\"*:<>?|", *p))
                        return "has a character that FAT does not allow";
                if ((*p == '.' || *p == ' ') && (p[1] == '/' || !p[1]))
                        return "has a component that ends in a dot or a blank";
        }
        return NULL;
}

static int read_boot_file(const Doc *item, Release *r, ReleaseFile *f)
{
        _cleanup_(free_charp) char *kind = NULL;
        const char *reason;
        int e;

        if ((e = doc_path(item, "path", &f->path)) < 0 ||
            (e = doc_text(item, "kind", DOC_TEXT_MAX, &kind)) < 0 ||
            (e = doc_hex(item, "sha256", DOC_SHA256_HEX, f->sha256)) < 0)
                return e;
        f->kind = boot_kind_from_name(kind);
        if (f->kind < 0)
                return doc_fail(item, "kind", "is \"%.30s\", which gybe %s does not know", kind,
                                GYBE_VERSION);
        reason = fat_reason(f->path);
        if (reason)
                return doc_fail(item, "path", "%s (\"%.100s\")", reason, f->path);
        for (size_t i = 0; i < r->n_boot; i++)
                if (str_fold_cmp(r->boot[i].path, f->path) == 0)
                        return doc_fail(item, "path",
                                        "is \"%.100s\", as another file's (names compare as FAT does)",
                                        f->path);
        return 0;
}

static int read_boot(const Doc *d, Release *r)
{
        const Json *list;
        unsigned ukis = 0;
        int e;

        e = doc_array(d, "boot", 1, RELEASE_BOOT_MAX, &list);
        if (e < 0)
                return e;
        r->boot = calloc(json_len(list), sizeof(*r->boot));
        if (!r->boot)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(list); i++) {
                ReleaseFile f = { 0 };
                Doc item;

                e = doc_item(d, "boot", list, i, &item);
                if (e >= 0)
                        e = read_boot_file(&item, r, &f);
                if (e < 0) {
                        free(f.path);
                        return e;
                }
                ukis += boot_kind_starts(f.kind);
                r->boot[r->n_boot++] = f;
        }
        return ukis == 1 ? 0 : doc_fail(d, "boot", "lists %u UKIs, exactly one is needed", ukis);
}

static int read_revoked_serials(const Doc *revokes, Release *r)
{
        const Json *list;
        int e;

        if (!json_get(revokes->json, "serials"))
                return 0;
        e = doc_array(revokes, "serials", 0, REVOKED_MAX, &list);
        if (e < 0)
                return e;
        r->revoked_serials = calloc(MAX(json_len(list), (size_t) 1), sizeof(uint64_t));
        if (!r->revoked_serials)
                return -ENOMEM;
        for (size_t i = 0; i < json_len(list); i++) {
                uint64_t v;

                if (json_u64(json_at(list, i), &v) <= 0)
                        return doc_fail(revokes, "serials", "has an entry that is not a serial");
                if (v == r->serial)
                        return doc_fail(revokes, "serials", "names this release itself (%llu)",
                                        (unsigned long long) v);
                r->revoked_serials[r->n_revoked_serials++] = v;
        }
        return 0;
}

static int read_revoked_roothashes(const Doc *revokes, Release *r)
{
        const Json *list;
        int e;

        if (!json_get(revokes->json, "roothashes"))
                return 0;
        e = doc_array(revokes, "roothashes", 0, REVOKED_MAX, &list);
        for (size_t i = 0; e >= 0 && i < json_len(list); i++) {
                char hash[DOC_SHA256_HEX + 1];

                e = doc_hex_of(revokes, "roothashes", json_at(list, i), DOC_SHA256_HEX, hash);
                if (e >= 0 && streq(hash, r->usr.roothash))
                        e = doc_fail(revokes, "roothashes", "names this release's own root hash");
                if (e >= 0)
                        e = strv_add(&r->revoked_roothashes, hash);
        }
        return e < 0 ? e : 0;
}

static int read_revokes(const Doc *d, Release *r)
{
        Doc revokes;
        int e;

        if (!json_get(d->json, "revokes"))
                return 0;
        e = doc_object(d, "revokes", &revokes);
        if (e >= 0)
                e = read_revoked_serials(&revokes, r);
        return e < 0 ? e : read_revoked_roothashes(&revokes, r);
}

int release_parse(const void *payload, size_t size, const char *what, Release *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *json = NULL;
        _cleanup_(release_done) Release r = { 0 };
        Doc d;
        int e;

        if ((e = doc_open(payload, size, what, "gybe.release/1", &json, &d, why)) < 0 ||
            (e = check_critical(&d)) < 0 || (e = read_identity(&d, &r)) < 0 || (e = read_order(&d, &r)) < 0 ||
            (e = read_cosi(&d, &r)) < 0 || (e = read_usr(&d, &r)) < 0 || (e = read_boot(&d, &r)) < 0 ||
            (e = read_revokes(&d, &r)) < 0)
                return e;
        *ret = r;
        r = (Release){ 0 };
        return 0;
}
