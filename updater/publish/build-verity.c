/* SPDX-License-Identifier: MIT */

/* The hash tree of a build, and gybe-release verity, which says what that tree will be. The UUID follows from the content and the salt
 * is one for all, unless somebody chose them. */

#include "publish/build.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

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

Json *verity_json(const char *roothash, const VerityParams *p, uint64_t hash_size)
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
