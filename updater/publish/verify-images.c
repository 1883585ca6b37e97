/* SPDX-License-Identifier: MIT */

/* The bytes of a release: each image flows by once, through whoever has to see it. */

#include "publish/verify.h"
#include "base/fd.h"
#include "base/str.h"
#include "publish/range.h"

#include <errno.h>
#include <inttypes.h>

int refuse_text(Why *why, const char *code, const char *what, const char *found, const char *expected)
{
        return fail(why, -EBADMSG, WHY_TRUST, code, "%s: the COSI has %s, the release says %s", what, found,
                    expected);
}

/* What flows by is counted; /usr also goes into a tree, the tree is compared with ours. */
typedef struct Flow {
        Verification *check;
        Verity *verity; /* /usr */
        int compare_fd; /* hash tree: what it must be; -1 */
        uint64_t at;
} Flow;

static int flow_compare(Flow *f, const uint8_t *data, size_t size, Why *why)
{
        uint8_t ours[65536];

        for (size_t done = 0; done < size;) {
                size_t n = MIN(size - done, sizeof(ours));
                ssize_t got = fd_pread_full(f->compare_fd, ours, n, f->at + done);

                if (got < 0)
                        return fail_errno(why, (int) got, WHY_HOST, "hash tree");
                if ((size_t) got != n || memcmp(ours, data + done, n) != 0)
                        return fail(why, -EBADMSG, WHY_TRUST, "tree",
                                    "hash tree: differs from the one computed from /usr, salt and UUID near "
                                    "byte %" PRIu64,
                                    f->at + done);
                done += n;
        }
        return 0;
}

static int flow_data(void *ctx, const void *data, size_t size, Why *why)
{
        Flow *f = ctx;
        int r = 0;

        for (size_t at = 0; r >= 0 && f->verity && at < size; at += VERITY_BLOCK)
                r = verity_add(f->verity, (const uint8_t *) data + at);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        if (f->compare_fd >= 0)
                r = flow_compare(f, data, size, why);
        f->at += size;
        meter_add(f->check->meter, size, 0);
        return r;
}

static int flow_zero(void *ctx, uint64_t size, Why *why)
{
        static const uint8_t zeroes[65536];
        Flow *f = ctx;
        int r = f->verity ? verity_add_zero(f->verity, size / VERITY_BLOCK) : 0;

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        for (uint64_t done = 0; f->compare_fd >= 0 && done < size;
             done += MIN(size - done, (uint64_t) sizeof(zeroes))) {
                r = flow_compare(f, zeroes, (size_t) MIN(size - done, (uint64_t) sizeof(zeroes)), why);
                if (r < 0)
                        return r;
                f->at += MIN(size - done, (uint64_t) sizeof(zeroes));
        }
        if (f->compare_fd < 0)
                f->at += size;
        meter_add(f->check->meter, size, 0);
        return 0;
}

static int stream_image(Verification *c, const CosiImage *image, Flow *flow, Why *why)
{
        FetchSink sink = { flow_data, flow_zero, flow };
        const char *name = strrchr(image->path, '/') + 1;
        int r;

        meter_begin(c->meter, name, image->uncompressed_size);
        r = fetch_member(c->view.fetch, image, COSI_WINDOW_LIMIT, WHY_TRUST, &sink, why);
        meter_end(c->meter);
        return r;
}

static int tree_emit(void *ctx, uint64_t offset, const uint8_t block[VERITY_BLOCK])
{
        return fd_pwrite_full(((Verification *) ctx)->tree_fd, block, VERITY_BLOCK, offset);
}

/* Salt and UUID are the release's; where it does not say the UUID, the superblock's. */
static int choose_params(Verification *c, VerityParams *ret, Why *why)
{
        const Release *r = &c->release;
        VerityParams p = { .data_blocks = r->usr.data_size / VERITY_BLOCK,
                           .salt_size = strlen(r->usr.salt) / 2 };
        int e = 0;

        if (p.salt_size > VERITY_SALT_MAX || hex_decode(r->usr.salt, p.salt, p.salt_size) < 0)
                return fail(why, -EBADMSG, WHY_TRUST, "salt",
                            "the release's salt is no hex of at most 256 bytes");
        if (*r->usr.uuid) {
                e = uuid_parse_text(r->usr.uuid, p.uuid);
        } else {
                e = cosi_view_verity(&c->view, WHY_TRUST, why);
                memcpy(p.uuid, c->view.verity.uuid, sizeof(p.uuid));
        }
        if (e >= 0)
                *ret = p;
        return e;
}

/* An inline tree follows the data in the same image; its root is what counts, and that follows from the data. */
static int check_usr(Verification *c, Why *why)
{
        const CosiFilesystem *usr = c->view.cosi.usr;
        _cleanup_(verity_freep) Verity *verity = NULL;
        Flow flow = { .check = c, .compare_fd = -1 };
        VerityParams params;
        uint8_t root[VERITY_ROOT_SIZE];
        char hex[2 * VERITY_ROOT_SIZE + 1];
        int r;

        if (usr->inline_verity)
                return fail(why, -EOPNOTSUPP, WHY_IMAGE, "inline-verity",
                            "/usr: an inline hash tree cannot be verified here; hosts read it back after "
                            "writing");
        r = choose_params(c, &params, why);
        if (r >= 0)
                r = c->tree_fd = bytes_as_file(&BYTES_NULL, why);
        if (r >= 0)
                r = verity_new(&params, tree_emit, c, &verity);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        flow.verity = verity;
        r = stream_image(c, &usr->image, &flow, why);
        if (r >= 0)
                r = verity_finish(verity, root);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "hash tree");
        hex_encode(root, sizeof(root), hex);
        if (!streq(hex, c->release.usr.roothash))
                return refuse_text(why, "roothash", "/usr: root hash", hex, c->release.usr.roothash);
        flow = (Flow){ .check = c, .compare_fd = c->tree_fd };
        return stream_image(c, &usr->verity, &flow, why);
}

static bool is_checked_elsewhere(const Cosi *cosi, const CosiImage *image)
{
        return streq(image->path, cosi->usr->image.path) || streq(image->path, cosi->usr->verity.path);
}

int verify_images(Verification *c, Why *why)
{
        const Cosi *cosi = &c->view.cosi;
        int r = check_usr(c, why);

        for (size_t i = 0; r >= 0 && i < cosi->n_regions; i++) {
                Flow flow = { .check = c, .compare_fd = -1 };

                if (!is_checked_elsewhere(cosi, &cosi->regions[i].image))
                        r = stream_image(c, &cosi->regions[i].image, &flow, why);
        }
        for (size_t i = 0; r >= 0 && cosi->n_regions == 0 && i < cosi->n_filesystems; i++) {
                Flow flow = { .check = c, .compare_fd = -1 };

                if (!is_checked_elsewhere(cosi, &cosi->filesystems[i].image))
                        r = stream_image(c, &cosi->filesystems[i].image, &flow, why);
        }
        return r;
}
