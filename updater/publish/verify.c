/* SPDX-License-Identifier: MIT */

/* Everything a host would check of a release, and what it cannot check before it has written: signatures, times, the COSI's
 * size and metadata, its GPT, every image's digest by decompressing it, the hash tree computed again from /usr, the published
 * tree byte by byte, the boot files and the addons in them. The first fault is the answer. */

#include "publish/verify.h"
#include "base/fd.h"
#include "base/str.h"
#include "publish/gptwrite.h"
#include "publish/layout.h"
#include "publish/siblings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define GPT_MAX (4u * MIB)

static void check_done(Verification *c)
{
        cosi_view_done(&c->view);
        trust_anchor_done(&c->anchor);
        trust_verdict_done(&c->verdict);
        release_done(&c->release);
        free(c->parts);
        close_fdp(&c->tree_fd);
        strv_freep(&c->warnings);
}

static int refuse_number(Why *why, const char *what, uint64_t found, uint64_t expected)
{
        return fail(why, -EBADMSG, WHY_TRUST, "size",
                    "%s: the COSI has %" PRIu64 ", the release says %" PRIu64, what, found, expected);
}

/* --- signatures --- */

static int open_roots(Verification *c, Why *why)
{
        uint64_t now = env_now(c->env);

        if (!c->o->roots)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "verify: needs --root root.json");
        for (size_t i = 0; c->o->roots[i]; i++) {
                _cleanup_(envelope_done) Envelope e = { 0 };
                int r = fetch_envelope(c->view.fetch, c->o->roots[i], &e, NULL, why);

                if (r >= 0)
                        r = i == 0 ? trust_anchor_open(&e, "given", &c->anchor, why)
                                   : trust_anchor_advance(&c->anchor, &e, why);
                if (r < 0)
                        return r;
        }
        if (c->anchor.root.expires <= now)
                return fail(why, -EKEYEXPIRED, WHY_TRUST, "root-expired",
                            "root version %" PRIu64 ": has expired", c->anchor.root.version);
        return 0;
}

static int judge_release(Verification *c, Why *why)
{
        const Release *r = &c->release;
        ReleaseHost host = { .product = r->product,
                             .arch = r->arch,
                             .channel = r->channels ? r->channels[0] : "",
                             .running_roothash = "",
                             .now = env_now(c->env),
                             .time_floor = r->issued,
                             .clock_synchronised = true };

        return release_judge(r, &host, JUDGE_EXPLICIT, why);
}

static int check_release(Verification *c, const char *url, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        int r = fetch_envelope(c->view.fetch, url, &e, NULL, why);

        if (r < 0)
                return r;
        if (!streq(e.type, TYPE_RELEASE))
                return fail(why, -EBADMSG, WHY_TRUST, "payload-type", "%s: is of type %s, no release file",
                            url, e.type);
        r = trust_check(&c->anchor.root, ROLE_RELEASE, &e, url, &c->verdict, why);
        if (r >= 0)
                r = release_parse(e.payload.data, e.payload.size, url, &c->release, why);
        return r < 0 ? r : judge_release(c, why);
}

/* --- metadata and GPT --- */

static int check_usr_fields(Verification *c, Why *why)
{
        const CosiFilesystem *usr = c->view.cosi.usr;
        const Release *r = &c->release;

        if (!usr->has_verity)
                return fail(why, -EBADMSG, WHY_TRUST, "no-verity", "/usr has no verity in the COSI");
        if (!streq(usr->roothash, r->usr.roothash))
                return refuse_text(why, "roothash", "root hash", usr->roothash, r->usr.roothash);
        if (usr->image.uncompressed_size != r->usr.data_size)
                return refuse_number(why, "bytes of /usr", usr->image.uncompressed_size, r->usr.data_size);
        if (!usr->inline_verity && usr->verity.uncompressed_size != r->usr.hash_size)
                return refuse_number(why, "bytes of the hash tree", usr->verity.uncompressed_size,
                                     r->usr.hash_size);
        return 0;
}

static int check_metadata(Verification *c, const char *url, Why *why)
{
        const Release *r = &c->release;
        int e = fetch_cosi_open(c->view.fetch, url, r->cosi.size, &c->view.file, why);

        if (e >= 0)
                e = cosi_view_digest(&c->view, why);
        if (e < 0)
                return e;
        /* bytes first: nothing is parsed before its digest is known to be the signed one */
        if (!streq(c->view.metadata_sha384, r->cosi.metadata_sha384))
                return refuse_text(why, "metadata-digest", "SHA-384 of metadata.json",
                                   c->view.metadata_sha384, r->cosi.metadata_sha384);
        e = cosi_view_parse(&c->view, WHY_TRUST, why);
        if (e < 0)
                return e;
        if (!streq(c->view.cosi.arch, r->arch))
                return refuse_text(why, "arch", "architecture", c->view.cosi.arch, r->arch);
        return check_usr_fields(c, why);
}

static int check_gpt(Verification *c, Why *why)
{
        const Cosi *cosi = &c->view.cosi;
        _cleanup_(bytes_done) Bytes region = BYTES_NULL;
        int r;

        if (cosi->n_regions == 0)
                return 0; /* 1.0 and 1.1 have none */
        c->parts = calloc(DISK_PARTITIONS_MAX, sizeof(*c->parts));
        if (!c->parts)
                return fail_errno(why, -ENOMEM, WHY_HOST, "GPT");
        r = fetch_member_bytes(c->view.fetch, &cosi->regions[0].image, COSI_WINDOW_LIMIT, WHY_TRUST, GPT_MAX,
                               &region, why);
        if (r >= 0)
                r = gpt_parse_region(region.data, region.size, cosi->lba_size, c->parts, &c->n_parts, why);
        if (r >= 0)
                r = cosi_check_gpt(cosi, c->parts, c->n_parts, WHY_TRUST, &c->sig, why);
        return r;
}

/* --- boot files --- */

static const BootListFile *find_file(const BootList *list, const char *path)
{
        for (size_t i = 0; i < list->n_files; i++)
                if (str_fold_cmp(list->files[i].path, path) == 0)
                        return &list->files[i];
        return NULL;
}

static bool is_listed(const Release *r, const char *path)
{
        for (size_t i = 0; i < r->n_boot; i++)
                if (str_fold_cmp(r->boot[i].path, path) == 0)
                        return true;
        return false;
}

static int check_listed(Verification *c, Why *why)
{
        const Release *r = &c->release;

        for (size_t i = 0; i < r->n_boot; i++) {
                const BootListFile *file = find_file(&c->view.boot, r->boot[i].path);

                if (!file)
                        return fail(why, -EBADMSG, WHY_TRUST, "boot-file",
                                    "%s: listed in the release, missing in the COSI", r->boot[i].path);
                if (!streq(file->sha256, r->boot[i].sha256))
                        return refuse_text(why, "boot-file", r->boot[i].path, file->sha256,
                                           r->boot[i].sha256);
                if (file->kind != r->boot[i].kind)
                        return refuse_text(why, "boot-file", r->boot[i].path, boot_kind_name(file->kind),
                                           boot_kind_name(r->boot[i].kind));
        }
        for (size_t i = 0; i < c->view.boot.n_files; i++) {
                const BootListFile *file = &c->view.boot.files[i];

                bool needed = boot_kind_starts(file->kind) ||
                              (file->kind == BOOT_ADDON_TEMPLATE && boot_file_is_slot_addon(file));

                if (needed && !is_listed(r, file->path))
                        return fail(why, -EBADMSG, WHY_TRUST, "boot-file",
                                    "%s: in the COSI, but not listed in the release", file->path);
        }
        return 0;
}

/* ACL's constants, unless the COSI's own table says otherwise (1.0 and 1.1 have none). */
static void name_slots(const Verification *c, BootListFacts *facts)
{
        for (unsigned slot = 0; slot < 2; slot++)
                layout_slot_ids(slot, &facts->ids[slot]);
        for (size_t i = 0; i < c->n_parts; i++) {
                const Partition *p = &c->parts[i];
                LayoutPart part = layout_part_of_label(p->label);
                unsigned slot = part >= PART_USR_B && part <= PART_HASH_SIG_B;

                if (part == PART_USR_A || part == PART_USR_B)
                        (void) snprintf(facts->ids[slot].data_partuuid, 37, "%s", p->partuuid);
                else if (part == PART_HASH_A || part == PART_HASH_B)
                        (void) snprintf(facts->ids[slot].hash_partuuid, 37, "%s", p->partuuid);
                else if (part == PART_HASH_SIG_A || part == PART_HASH_SIG_B)
                        (void) snprintf(facts->ids[slot].sig_partuuid, 37, "%s", p->partuuid);
        }
}

static int check_boot(Verification *c, Why *why)
{
        BootListFacts facts = { .roothash = c->release.usr.roothash,
                                .arch = c->release.arch,
                                .kind = WHY_TRUST };
        _cleanup_(bytes_done) Bytes payload = BYTES_NULL;
        int r = cosi_view_boot(&c->view, WHY_TRUST, why);

        if (r >= 0)
                r = check_listed(c, why);
        if (r >= 0 && c->sig) {
                r = fetch_member_signature(c->view.fetch, &c->sig->image, COSI_WINDOW_LIMIT, WHY_TRUST,
                                           c->release.usr.roothash, &payload, why);
                facts.has_signature = r > 0;
        }
        if (r < 0)
                return r;
        name_slots(c, &facts);
        return boot_list_check(&c->view.boot, &facts, &c->warnings, why);
}

/* --- answers --- */

static Json *strings(char *const *v)
{
        Json *list = json_new_array();

        for (; v && *v; v++)
                json_add_str(list, *v);
        return list;
}

static Json *verify_result(const Verification *c, const char *kind, const char *what)
{
        Json *j = json_new_object();

        json_set_str(j, "schema", "gybe.verify/1");
        json_set_str(j, "what", what);
        json_set_str(j, "kind", kind);
        json_set_bool(j, "valid", true);
        json_set_u64(j, "rootVersion", c->anchor.root.version);
        json_set(j, "signers", strings(c->verdict.signers));
        json_set(j, "keyids", strings(c->verdict.good));
        if (c->release.version) {
                json_set_str(j, "product", c->release.product);
                json_set_str(j, "version", c->release.version);
                json_set_u64(j, "serial", c->release.serial);
                json_set_str(j, "roothash", c->release.usr.roothash);
        }
        json_set(j, "warnings", strings(c->warnings));
        return j;
}

static int find_pair(Verification *c, char **ret_cosi, Why *why)
{
        _cleanup_(free_charp) char *release = NULL, *cosi = NULL;
        bool is_cosi = name_is_cosi(c->o->what);
        int r;

        if (c->o->release)
                release = strdup(c->o->release);
        else if (is_cosi)
                (void) sibling_release(c->o->what, &release);
        else
                release = strdup(c->o->what);
        if (!release)
                return fail_errno(why, -ENOMEM, WHY_HOST, "verify");
        r = check_release(c, release, why);
        if (r < 0)
                return r;
        if (is_cosi)
                cosi = strdup(c->o->what);
        else
                (void) sibling_named(c->o->what, c->release.cosi.name, &cosi);
        *ret_cosi = TAKE(cosi);
        return *ret_cosi ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "verify");
}

static int verify_release(Verification *c, Json **ret, Why *why)
{
        _cleanup_(free_charp) char *cosi = NULL;
        int r = find_pair(c, &cosi, why);

        if (r >= 0)
                r = check_metadata(c, cosi, why);
        if (r >= 0)
                r = check_gpt(c, why);
        if (r >= 0)
                r = verify_images(c, why);
        if (r >= 0)
                r = check_boot(c, why);
        if (r >= 0)
                r = fetch_cosi_finish(c->view.fetch, why);
        if (r >= 0)
                *ret = verify_result(c, "release", cosi);
        return r;
}

static int verify_root(Verification *c, const Envelope *e, Json **ret, Why *why)
{
        int r = trust_anchor_advance(&c->anchor, e, why);

        if (r == 0)
                r = trust_check(&c->anchor.root, ROLE_ROOT, e, c->o->what, &c->verdict, why);
        if (r >= 0)
                *ret = verify_result(c, "root", c->o->what);
        return r < 0 ? r : 0;
}

/* Every release file of the index: there, and with the digest it names. */
static int check_feed_files(Verification *c, const Feed *feed, Why *why)
{
        for (size_t i = 0; i < feed->n_releases; i++) {
                _cleanup_(envelope_done) Envelope e = { 0 };
                _cleanup_(free_charp) char *url = NULL;
                char sha384[97];
                int r = sibling_named(c->o->what, feed->releases[i].path, &url);

                if (r >= 0)
                        r = fetch_envelope(c->view.fetch, url, &e, sha384, why);
                if (r < 0)
                        return r;
                if (!streq(sha384, feed->releases[i].sha384))
                        return fail(why, -EBADMSG, WHY_TRUST, "feed-digest",
                                    "%s: is not the file that the index names", url);
        }
        return 0;
}

static int verify_feed(Verification *c, const Envelope *e, Json **ret, Why *why)
{
        _cleanup_(feed_done) Feed feed = { 0 };
        int r = trust_check(&c->anchor.root, ROLE_FEED, e, c->o->what, &c->verdict, why);

        if (r >= 0)
                r = feed_parse(e->payload.data, e->payload.size, c->o->what, &feed, why);
        if (r < 0)
                return r;
        if (feed.expires <= env_now(c->env))
                return fail_hint(why,
                                 fail(why, -EKEYEXPIRED, WHY_TRUST, "feed-expired", "%s: has expired",
                                      c->o->what),
                                 "gybe-release publish --feed DIR --key K signs it anew");
        r = check_feed_files(c, &feed, why);
        if (r >= 0)
                *ret = verify_result(c, "feed", c->o->what);
        return r;
}

int publish_verify(const Env *env, const VerifyOptions *options, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(check_done) Verification c = { .env = env, .o = options, .meter = meter, .tree_fd = -1 };
        _cleanup_(envelope_done) Envelope e = { 0 };
        int r = cosi_view_start(env, meter, &c.view, why);

        if (r >= 0)
                r = open_roots(&c, why);
        if (r < 0 || name_is_cosi(options->what))
                return r < 0 ? r : verify_release(&c, ret, why);
        r = fetch_envelope(c.view.fetch, options->what, &e, NULL, why);
        if (r < 0)
                return r;
        if (streq(e.type, TYPE_ROOT))
                return verify_root(&c, &e, ret, why);
        return streq(e.type, TYPE_FEED) ? verify_feed(&c, &e, ret, why) : verify_release(&c, ret, why);
}
