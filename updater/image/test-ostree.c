/* SPDX-License-Identifier: MIT */

/* Names and bytes were made by ostree 2022.7: `ostree commit` of a file "hi\n" of root with mode 0644, and so on. */

#undef NDEBUG
#include <assert.h>
#include <errno.h>

#include "image/ostree.h"
#include "base/str.h"

static void name_of(const OstreeFile *file, const char *content, char out[65])
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        assert(ostree_file_header(file, &b) == 0);
        assert(bytes_append(&b, content, strlen(content)) == 0);
        assert(sha256_hex(b.data, b.size, out) == 0);
}

static void test_files(void)
{
        static const OstreeXattr xattrs[] = { { "user.a", "1", 1 }, { "user.b", "two", 3 } };
        static const struct {
                OstreeFile file;
                const char *content, *name;
        } cases[] = {
                { { .mode = 0100644 },
                  "hi\n",
                  "fbf7cf77a1b50d9f074cb6e9ef6ddb65b6532ea89e4f4ca1b07a05b4cd1be259" },
                { { .mode = 0100755, .uid = 1000, .gid = 7 },
                  "",
                  "87293833bf48241cac5fb0711dae681960a5822a5b2e22fc59100eaef774e788" },
                { { .mode = 0120777, .target = "a" },
                  "",
                  "438802d990f25270d36f902bc9ce9d0737b88f9ae0b41ed59ec9e47c28523e0a" },
                { { .mode = 0100644, .xattrs = xattrs, .n_xattrs = 2 },
                  "hi\n",
                  "230fef63d68cbf33c83dd58ec8d789423e2c7d831eff6c1a523e7ce6f8e34792" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char hex[65];

                name_of(&cases[i].file, cases[i].content, hex);
                assert(streq(hex, cases[i].name));
        }
}

static void test_paths(void)
{
        uint8_t a[OSTREE_ID], b[OSTREE_ID];
        char path[OSTREE_PATH_SIZE], delta[OSTREE_DELTA_PATH_SIZE];

        assert(hex_decode("a9f85e587dc03d29f31f8575dc86abb00fda214f5fa74df1a37114c943b893cf", a, OSTREE_ID) ==
               0);
        assert(hex_decode("a86d40694f98623fd1cdf0b1e2c0e467b9f743c63fd70e1b7cf4fc87834f9e83", b, OSTREE_ID) ==
               0);
        ostree_object_path(a, "commit", path);
        assert(streq(path,
                     "objects/a9/f85e587dc03d29f31f8575dc86abb00fda214f5fa74df1a37114c943b893cf.commit"));
        ostree_delta_path(a, b, "superblock", delta);
        assert(streq(delta, "deltas/qf/"
                            "heWH3APSnzH4V13IarsA_aIU9fp03xo3EUyUO4k88-qG1AaU+YYj_RzfCx4sDkZ7n3Q8Y_"
                            "1w4bfPT8h4NPnoM/superblock"));
}

int main(void)
{
        test_files();
        test_paths();
        return 0;
}
