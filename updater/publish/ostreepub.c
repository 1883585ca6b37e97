/* SPDX-License-Identifier: MIT */

/* Objects and deltas first, the COSI beside them, the refs last: whoever reads at any moment finds everything that a ref
 * leads to. Publishing the same again makes nothing new. */

#include "publish/ostreepub.h"
#include "publish/filecopy.h"
#include "publish/keys.h"
#include "publish/ostree-blocks.h"
#include "publish/ostree-repo.h"
#include "publish/ostree-tree.h"
#include "publish/siblings.h"
#include "source/ostree.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define COSI_FOLDER "gybe"
#define DELTAS_MAX  64u

typedef struct OstreePub {
        const Env *env;
        const OstreeOptions *o;
        Meter *meter;
        OstreeRepo repo;
        KeyRing ring;
        Root root; /* the newest, for judging what hosts would say */
        bool has_root;
        Json *commits, *warnings;
} OstreePub;

static void ostree_pub_done(OstreePub *p)
{
        ostree_repo_done(&p->repo);
        keyring_done(&p->ring);
        root_done(&p->root);
        json_unrefp(&p->commits);
        json_unrefp(&p->warnings);
}

/* One release on its way into the repository. */
typedef struct OstreeItem {
        const char *cosi;
        char *release_path;
        Bytes file; /* the release file as it is */
        Release release;
        char **refs;
        CosiView view;
        uint8_t id[OSTREE_ID], parent[OSTREE_ID];
        bool has_parent, is_new;
        Json *said;
} OstreeItem;

static void ostree_item_done(OstreeItem *item)
{
        free(item->release_path);
        bytes_done(&item->file);
        release_done(&item->release);
        strv_freep(&item->refs);
        cosi_view_done(&item->view);
        json_unrefp(&item->said);
}

/* --- beside the commits --- */

static int copy_as(OstreePub *p, const char *path, const char *name, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = dir_make(p->repo.fd, COSI_FOLDER, 0755),
                                 from = open(path, O_RDONLY | O_CLOEXEC), there = -1;
        struct stat st;
        int r;

        if (dir_fd < 0 || from < 0 || fstat(from, &st) < 0)
                return fail_errno(why, dir_fd < 0 ? dir_fd : -errno, WHY_HOST, "%s", path);
        there = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        r = there >= 0 ? file_same_bytes(from, there) : 0;
        if (r == 0)
                r = file_copy_into(from, dir_fd, name, (uint64_t) st.st_size, p->meter);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/" COSI_FOLDER "/%s", p->o->repo, name) : 0;
}

static int copy_beside(OstreePub *p, const char *path, Why *why)
{
        return copy_as(p, path, strrchr(path, '/') ? strrchr(path, '/') + 1 : path, why);
}

/* --- roots --- */

static int load_root(OstreePub *p, const char *path, uint64_t *ret_version, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(root_done) Root root = { 0 };
        int r = envelope_load(path, TYPE_ROOT, &e, why);

        if (r >= 0)
                r = root_parse(e.payload.data, e.payload.size, path, &root, why);
        if (r < 0)
                return r;
        *ret_version = root.version;
        if (p->has_root && root.version < p->root.version)
                return 0;
        root_done(&p->root);
        p->root = root;
        root = (Root){ 0 };
        p->has_root = true;
        return 0;
}

/* Those that are served already count, too: hosts walk to the newest. */
static int find_roots(OstreePub *p, Why *why)
{
        _cleanup_(strv_freep) char **names = NULL;
        int r = dir_list(p->repo.fd, COSI_FOLDER, &names);

        if (r == -ENOENT)
                return 0;
        for (char **n = names; r >= 0 && n && *n; n++) {
                _cleanup_(free_charp) char *path = str_printf("%s/" COSI_FOLDER "/%s", p->o->repo, *n);
                uint64_t version;

                /* one that cannot be read says nothing to hosts either */
                if (path && str_starts(*n, "root.") && str_ends(*n, ".json"))
                        (void) load_root(p, path, &version, NULL);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/" COSI_FOLDER, p->o->repo) : 0;
}

static int bring_roots(OstreePub *p, Why *why)
{
        int r = find_roots(p, why);

        for (char **path = p->o->roots; r >= 0 && path && *path; path++) {
                _cleanup_(free_charp) char *name = NULL;
                uint64_t version = 0;

                r = load_root(p, *path, &version, why);
                if (r < 0)
                        return r;
                name = str_printf("root.%" PRIu64 ".json", version);
                r = name ? copy_as(p, *path, name, why) : fail_errno(why, -ENOMEM, WHY_HOST, "root");
        }
        return r;
}

/* What hosts would refuse is not published; without a root nobody here can tell. */
static int judge_release(OstreePub *p, const Envelope *e, const char *what, Why *why)
{
        TrustVerdict verdict = { 0 };
        int r = p->has_root ? trust_check(&p->root, ROLE_RELEASE, e, what, &verdict, why) : 0;

        trust_verdict_done(&verdict);
        return r < 0 ? fail_hint(why, r, "sign it first: gybe-release sign --add-signature --key K %s", what)
                     : 0;
}

/* --- what is published --- */

/* Refs are PRODUCT/ARCH/CHANNEL; hosts ask for their own. */
static int name_refs(OstreePub *p, OstreeItem *item, Why *why)
{
        const Release *rel = &item->release;

        for (char **c = p->o->channels ?: rel->channels; c && *c; c++) {
                _cleanup_(free_charp) char *ref = str_printf("%s/%s/%s", rel->product, rel->arch, *c);

                if (!ref)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "ref");
                if (!ostree_ref_is_valid(ref))
                        return fail(why, -EINVAL, WHY_USAGE, "ostree-ref",
                                    "%s: no name for an OSTree ref (letters, digits and - . _ in its parts)",
                                    ref);
                if (!strv_has(rel->channels, *c)) {
                        _cleanup_(free_charp) char *text = str_printf(
                                "channel %s: release %s is not signed for it; hosts refuse it there", *c,
                                rel->version);
                        json_add_str(p->warnings, text ?: "");
                }
                if (strv_add(&item->refs, ref) < 0)
                        return fail_errno(why, -ENOMEM, WHY_HOST, "ref");
        }
        return item->refs ? 0
                          : fail(why, -EINVAL, WHY_USAGE, "usage", "publish: the release names no channel");
}

static int load_release(OstreePub *p, OstreeItem *item, Why *why)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        int r = sibling_release(item->cosi, &item->release_path);

        if (r < 0)
                return fail(why, r, WHY_USAGE, "cosi-name", "%s: a published name ends with .cosi",
                            item->cosi);
        r = envelope_load(item->release_path, TYPE_RELEASE, &e, why);
        if (r < 0)
                return r == -ENOENT ? fail_hint(why, r, "gybe-release sign makes it") : r;
        if (e.n_signatures == 0)
                json_add_str(p->warnings, "the release file has no signature; hosts refuse it");
        r = judge_release(p, &e, item->release_path, why);
        if (r >= 0)
                r = release_parse(e.payload.data, e.payload.size, item->release_path, &item->release, why);
        if (r < 0)
                return r;
        r = file_read(AT_FDCWD, item->release_path, ENVELOPE_MAX, &item->file);
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%s", item->release_path) : name_refs(p, item, why);
}

static int check_cosi(OstreePub *p, OstreeItem *item, Why *why)
{
        const char *name = strrchr(item->cosi, '/') ? strrchr(item->cosi, '/') + 1 : item->cosi;
        int r;

        if (!streq(item->release.cosi.name, name))
                return fail(why, -EINVAL, WHY_TRUST, "cosi-name", "%s: its release file is for %s",
                            item->cosi, item->release.cosi.name);
        r = cosi_view_start(p->env, p->meter, &item->view, why);
        if (r >= 0)
                r = cosi_view_open(&item->view, item->cosi, item->release.cosi.size, WHY_TRUST, why);
        if (r < 0)
                return r;
        if (!streq(item->view.metadata_sha384, item->release.cosi.metadata_sha384))
                return fail_hint(why,
                                 fail(why, -EINVAL, WHY_TRUST, "cosi-digest",
                                      "%s: is not the COSI that its release file describes", item->cosi),
                                 "sign this COSI again");
        return 0;
}

/* --- the commit --- */

static int format_metadata(OstreeItem *item, GVariantBuild *dict)
{
        _cleanup_(gvariant_build_done) GVariantBuild refs = GVARIANT_ARRAY;
        _cleanup_(bytes_done) Bytes binding = BYTES_NULL;
        const Release *rel = &item->release;
        int r;

        for (char **ref = item->refs; *ref; ref++)
                gvariant_add_str(&refs, *ref);
        r = gvariant_build_take(&refs, &binding);
        if (r < 0)
                return r;
        /* in the order of their names, as libostree sorts them */
        gvariant_add_entry(dict, OSTREE_KEY_RELEASE, "ay", item->file.data, item->file.size, 1);
        gvariant_add_entry(dict, OSTREE_KEY_USRHASH, "s", rel->usr.roothash, strlen(rel->usr.roothash) + 1,
                           1);
        gvariant_add_entry(dict, OSTREE_KEY_BINDING, "as", binding.data, binding.size, 1);
        gvariant_add_entry(dict, OSTREE_KEY_VERSION, "s", rel->version, strlen(rel->version) + 1, 1);
        return 0;
}

static int format_commit(OstreeItem *item, const uint8_t tree[OSTREE_ID], const uint8_t meta[OSTREE_ID],
                         Bytes *ret)
{
        _cleanup_(gvariant_build_done) GVariantBuild b = GVARIANT_TUPLE, dict = GVARIANT_ARRAY;
        _cleanup_(free_charp) char *subject =
                str_printf("%s %s", item->release.product, item->release.version);
        int r = subject ? format_metadata(item, &dict) : -ENOMEM;

        if (r < 0)
                return r;
        gvariant_add_build(&b, &dict, 8);
        gvariant_add_bytes(&b, item->parent, item->has_parent ? OSTREE_ID : 0);
        gvariant_add_bytes(&b, NULL, 0); /* related */
        gvariant_add_str(&b, subject);
        gvariant_add_str(&b, "");
        gvariant_add_u64(&b, htobe64(item->release.issued));
        gvariant_add_bytes(&b, tree, OSTREE_ID);
        gvariant_add_bytes(&b, meta, OSTREE_ID);
        return gvariant_build_take(&b, ret);
}

static int sign_commit(OstreePub *p, const Bytes *commit, GVariantBuild *dict, Why *why)
{
        _cleanup_(gvariant_build_done) GVariantBuild list = GVARIANT_ARRAY;
        _cleanup_(bytes_done) Bytes all = BYTES_NULL;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < p->ring.n_keys; i++) {
                _cleanup_(bytes_done) Bytes sig = BYTES_NULL;

                r = key_sign(p->ring.keys[i], commit->data, commit->size, &sig, why);
                if (r >= 0)
                        gvariant_add_bytes(&list, sig.data, sig.size);
        }
        if (r >= 0 && p->ring.n_keys > 0) {
                r = gvariant_build_take(&list, &all);
                if (r >= 0)
                        gvariant_add_entry(dict, OSTREE_KEY_ED25519, "aay", all.data, all.size, 1);
        }
        return r < 0 ? fail_errno(why, r, WHY_HOST, "commit") : 0;
}

/* What was in it and is not ours stays, and signatures stay where nobody signs anew. */
static int keep_detached(const Bytes *before, bool release, bool signatures, GVariantBuild *dict)
{
        GVariant v, entry, key, value;
        size_t n = 0;
        int r = gvariant_open("a{sv}", before->data, before->size, &v);

        if (r >= 0)
                r = gvariant_n_children(&v, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                const char *name;

                if ((r = gvariant_child(&v, i, &entry)) < 0 || (r = gvariant_child(&entry, 0, &key)) < 0 ||
                    (r = gvariant_str(&key, &name)) < 0 || (r = gvariant_child(&entry, 1, &value)) < 0)
                        return r;
                if ((release && streq(name, OSTREE_KEY_RELEASE)) ||
                    (signatures && streq(name, OSTREE_KEY_ED25519)))
                        continue;
                gvariant_add(dict, entry.data, entry.size, 8, false);
        }
        return r;
}

/* Signatures, and the release file where it names this commit: it cannot lie inside. */
static int write_detached(OstreePub *p, OstreeItem *item, const Bytes *commit, Why *why)
{
        _cleanup_(gvariant_build_done) GVariantBuild dict = GVARIANT_ARRAY;
        _cleanup_(bytes_done) Bytes before = BYTES_NULL, after = BYTES_NULL;
        bool attach = item->release.usr.ostree_commit != NULL;
        int r = ostree_repo_read(&p->repo, item->id, "commitmeta", &before, why);

        if (r < 0)
                return r;
        if (r > 0 && keep_detached(&before, attach, p->ring.n_keys > 0, &dict) < 0)
                return fail(why, -EBADMSG, WHY_USAGE, "ostree-metadata",
                            "%s: the detached metadata of the commit cannot be read", p->o->repo);
        if (attach)
                gvariant_add_entry(&dict, OSTREE_KEY_RELEASE, "ay", item->file.data, item->file.size, 1);
        r = sign_commit(p, commit, &dict, why);
        if (r >= 0 && gvariant_build_take(&dict, &after) < 0)
                r = fail_errno(why, -ENOMEM, WHY_HOST, "commit");
        if (r < 0 || after.size == 0 ||
            (after.size == before.size && memcmp(after.data, before.data, after.size) == 0))
                return r;
        return ostree_repo_write(&p->repo, item->id, "commitmeta", &after, why);
}

static int make_commit(OstreePub *p, OstreeItem *item, const char *folder, Bytes *ret, Why *why)
{
        uint8_t tree[OSTREE_ID], meta[OSTREE_ID];
        int r = ostree_repo_add_tree(&p->repo, folder, tree, meta, why);

        if (r < 0)
                return r;
        if ((r = format_commit(item, tree, meta, ret)) < 0 ||
            (r = sha256(ret->data, ret->size, item->id)) < 0)
                return fail_errno(why, r, WHY_HOST, "commit");
        item->is_new = true;
        return ostree_repo_write(&p->repo, item->id, "commit", ret, why);
}

static int commit_tree(OstreePub *p, OstreeItem *item, Bytes *ret, Why *why)
{
        _cleanup_(ostree_tree_done) OstreeTree tree = { 0 };
        _cleanup_(free_charp) char *parent = str_printf("%s/tmp", p->o->repo);
        int r = parent ? 0 : fail_errno(why, -ENOMEM, WHY_HOST, "tree");

        if (r >= 0 && !p->o->tree)
                r = ostree_tree_unpack(&item->view, parent, &tree, why);
        return r < 0 ? r : make_commit(p, item, p->o->tree ?: tree.folder, ret, why);
}

/* Is the release there already? Its own commit, or the ref's newest one about the same image. */
static int find_commit(OstreePub *p, OstreeItem *item, Bytes *ret, Why *why)
{
        const char *named = item->release.usr.ostree_commit;
        _cleanup_(ostree_commit_done) OstreeCommit c = { 0 };
        int r;

        item->has_parent = false;
        if (named && hex_decode(named, item->id, OSTREE_ID) < 0)
                return fail(why, -EINVAL, WHY_TRUST, "ostree-commit", "%s: usr.ostreeCommit is no commit",
                            item->release_path);
        r = named ? 1 : ostree_repo_ref(&p->repo, item->refs[0], item->id, why);
        if (r <= 0)
                return r;
        r = ostree_repo_read(&p->repo, item->id, "commit", ret, why);
        if (r < 0)
                return r;
        if (r > 0 && ostree_commit_parse(ret->data, ret->size, &c) >= 0 &&
            streq(c.usrhash, item->release.usr.roothash) && streq(c.version, item->release.version)) {
                item->has_parent = c.has_parent;
                memcpy(item->parent, c.parent, OSTREE_ID);
                return 1;
        }
        if (named)
                return fail_hint(
                        why,
                        fail(why, -ENOENT, WHY_TRUST, "ostree-commit",
                             "%s: usr.ostreeCommit names no commit of this image in %s", item->release_path,
                             p->o->repo),
                        "publish it without the name first, then sign with the commit that was made");
        item->has_parent = r > 0;
        memcpy(item->parent, item->id, OSTREE_ID);
        return 0;
}

/* --- deltas --- */

/* Where the COSI of an older commit would be; its release file says the name. NULL: nobody knows. */
static char *cosi_of(const OstreeCommit *c)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(release_done) Release release = { 0 };

        if (c->release.size == 0 ||
            envelope_parse(c->release.data, c->release.size, "commit", &e, NULL) < 0 ||
            release_parse(e.payload.data, e.payload.size, "commit", &release, NULL) < 0 ||
            strchr(release.cosi.name, '/'))
                return NULL;
        return str_printf(COSI_FOLDER "/%s", release.cosi.name);
}

static int make_delta(OstreePub *p, OstreeBlocks *blocks, const uint8_t from[OSTREE_ID],
                      const OstreeCommit *c, Json *list, Why *why)
{
        _cleanup_(free_charp) char *cosi = cosi_of(c);
        uint64_t size = 0, beside = 0;
        Json *one;
        int made, r;

        r = made = ostree_repo_delta(&p->repo, from, blocks->to, &size, why);
        if (r >= 0 && cosi)
                r = ostree_blocks_make(blocks, from, cosi, &beside, why);
        if (r < 0)
                return r;
        one = json_new_object();
        json_set_str(one, "from", c->version);
        json_set_u64(one, "size", size);
        if (beside > 0)
                json_set_u64(one, "blocks", beside);
        json_set_bool(one, "made", made > 0);
        json_add(list, one);
        return 0;
}

/* From the releases before, as far as the history and --deltas go. */
static int make_deltas(OstreePub *p, OstreeItem *item, Why *why)
{
        _cleanup_(ostree_blocks_done) OstreeBlocks blocks = {
                .repo = &p->repo, .env = p->env, .meter = p->meter, .view = &item->view, .image = -1
        };
        Json *list = json_new_array();
        uint8_t from[OSTREE_ID];
        bool more = item->has_parent;
        int r = 0;

        json_set(item->said, "deltas", list);
        memcpy(from, item->parent, OSTREE_ID);
        memcpy(blocks.to, item->id, OSTREE_ID);
        for (uint64_t i = 0; more && i < p->o->deltas; i++) {
                _cleanup_(ostree_commit_done) OstreeCommit c = { 0 };
                _cleanup_(bytes_done) Bytes data = BYTES_NULL;

                /* history may have been pruned */
                r = ostree_repo_read(&p->repo, from, "commit", &data, why);
                if (r <= 0 || ostree_commit_parse(data.data, data.size, &c) < 0)
                        return r;
                r = make_delta(p, &blocks, from, &c, list, why);
                if (r < 0)
                        return r;
                more = c.has_parent;
                memcpy(from, c.parent, OSTREE_ID);
        }
        return 0;
}

static int publish_one(OstreePub *p, const char *cosi, Why *why)
{
        _cleanup_(ostree_item_done) OstreeItem item = { .cosi = cosi, .said = json_new_object() };
        _cleanup_(bytes_done) Bytes commit = BYTES_NULL;
        char hex[OSTREE_ID_HEX];
        Json *refs;
        int r;

        if ((r = load_release(p, &item, why)) < 0 || (r = check_cosi(p, &item, why)) < 0 ||
            (r = find_commit(p, &item, &commit, why)) < 0)
                return r;
        if (r == 0) {
                bytes_done(&commit);
                r = commit_tree(p, &item, &commit, why);
        }
        if (r < 0 || (r = write_detached(p, &item, &commit, why)) < 0 ||
            (r = copy_beside(p, cosi, why)) < 0 || (r = copy_beside(p, item.release_path, why)) < 0 ||
            (r = make_deltas(p, &item, why)) < 0)
                return r;
        hex_encode(item.id, OSTREE_ID, hex);
        json_set_str(item.said, "version", item.release.version);
        json_set_str(item.said, "commit", hex);
        json_set_bool(item.said, "made", item.is_new);
        refs = json_new_array();
        for (char **ref = item.refs; *ref; ref++)
                json_add_str(refs, *ref);
        json_set(item.said, "refs", refs);
        json_add(p->commits, TAKE(item.said));
        for (char **ref = item.refs; r >= 0 && *ref; ref++)
                r = ostree_repo_set_ref(&p->repo, *ref, item.id, why);
        return r;
}

static int check_options(const OstreePub *p, Why *why)
{
        if (!p->o->cosis && !p->o->roots)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "publish --ostree: needs a COSI or --root");
        if (p->o->tree && strv_len(p->o->cosis) != 1)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "publish --ostree: --tree belongs to one COSI");
        if (p->o->deltas > DELTAS_MAX)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "publish --ostree: --deltas is at most %u",
                            DELTAS_MAX);
        for (size_t i = 0; i < p->ring.n_keys; i++)
                if (key_alg(p->ring.keys[i]) != KEY_ED25519)
                        return fail_hint(
                                why,
                                fail(why, -EINVAL, WHY_USAGE, "key-alg",
                                     "publish --ostree: OSTree commits are signed with ed25519 keys, not %s",
                                     key_alg_name(key_alg(p->ring.keys[i]))),
                                "gybe-release keygen --alg ed25519 makes one; the release file "
                                "keeps its own signatures");
        return 0;
}

int publish_ostree(const Env *env, const OstreeOptions *options, Meter *meter, Json **ret, Why *why)
{
        _cleanup_(ostree_pub_done) OstreePub p = { .env = env,
                                                   .o = options,
                                                   .meter = meter,
                                                   .repo = OSTREE_REPO_NULL,
                                                   .commits = json_new_array(),
                                                   .warnings = json_new_array() };
        Json *j;
        int r = keyring_load(options->keys, &p.ring, why);

        if (r >= 0)
                r = check_options(&p, why);
        if (r >= 0)
                r = ostree_repo_open(options->repo, &p.repo, why);
        if (r >= 0 && p.ring.n_keys == 0)
                json_add_str(p.warnings,
                             "no --key: the commits are not signed; ostree's own clients may want that, "
                             "gybe's hosts judge the release file");
        if (r >= 0)
                r = bring_roots(&p, why);
        for (char **c = options->cosis; r >= 0 && c && *c; c++)
                r = publish_one(&p, *c, why);
        if (r >= 0)
                r = ostree_repo_summary(&p.repo, why);
        if (r < 0)
                return r;
        j = json_new_object();
        json_set_str(j, "schema", "gybe.publish-ostree/1");
        json_set_str(j, "repo", options->repo);
        json_set(j, "commits", TAKE(p.commits));
        json_set(j, "warnings", TAKE(p.warnings));
        *ret = j;
        return 0;
}
