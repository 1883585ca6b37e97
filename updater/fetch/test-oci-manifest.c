/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/str.h"
#include "fetch/oci-manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define H   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define D0  "\"digest\": \"sha256:" H "0\", \"size\": 10"
#define D1  "\"digest\": \"sha256:" H "1\", \"size\": 11"
#define D9  "\"digest\": \"sha512:" H H "99\", \"size\": 12"
#define M   "{\"schemaVersion\": 2, "
#define L0  "{\"mediaType\": \"application/x\", " D0 "}"
#define L1  "{\"mediaType\": \"" OCI_TYPE_LAYER "\", " D1 "}"
#define L1T "{\"annotations\": {\"org.opencontainers.image.title\": \"x.cosi\"}, " D1 "}"
#define L9  "{\"mediaType\": \"" OCI_TYPE_LAYER "\", " D9 "}"
#define CFG "\"config\": {\"mediaType\": \"application/vnd.oci.empty.v1+json\", " D0 "}, "

static int parse(const char *text, const char *type, OciManifest *m)
{
        return oci_manifest_parse(text, strlen(text), type, "x", WHY_NETWORK, m, NULL);
}

static void test_types(void)
{
        static const struct {
                const char *text, *served;
                bool good, index;
        } cases[] = {
                { M CFG "\"layers\": [" L0 "]}", OCI_TYPE_MANIFEST, true, false },
                { M CFG "\"layers\": [" L0 "]}", OCI_TYPE_MANIFEST "; charset=utf-8", true, false },
                { M CFG "\"layers\": [" L0 "]}", "", true, false },
                { M CFG "\"layers\": [" L0 "]}", "application/json", true, false },
                { M CFG "\"layers\": [" L0 "]}", "application/vnd.docker.distribution.manifest.v2+json", true,
                  false },
                { M CFG "\"layers\": [" L0 "]}", OCI_TYPE_INDEX, false,
                  false }, /* one digest, two meanings */
                { M "\"manifests\": []}", OCI_TYPE_INDEX, true, true },
                { M "\"manifests\": []}", OCI_TYPE_MANIFEST, false, false },
                { M "\"manifests\": [], \"layers\": []}", "", false, false },
                { M "\"mediaType\": \"" OCI_TYPE_INDEX "\", \"manifests\": []}", OCI_TYPE_INDEX, true, true },
                { M "\"mediaType\": \"" OCI_TYPE_INDEX "\", \"manifests\": []}",
                  "application/vnd.docker.distribution.manifest.list.v2+json", false, false },
                { M "\"mediaType\": \"" OCI_TYPE_MANIFEST "\", \"manifests\": []}", "", false, false },
                { M "\"mediaType\": \"application/zip\", \"layers\": []}", "", false, false },
                { M "\"mediaType\": 7, \"layers\": []}", "", false, false },
                { M "\"layers\": null}", "", false, false },
                { M "\"layers\": {}}", "", false, false },
                { "{\"schemaVersion\": 1, \"layers\": []}", "", false, false },
                { "{\"layers\": []}", "", false, false },
                { "[]", "", false, false },
                { "", "", false, false },
                { M "\"layers\": [" L0 "]} x", "", false, false },
                { M "\"layers\": [{\"mediaType\": \"x\"}]}", "", false, false },
                { M "\"layers\": [7]}", "", false, false },
                { M "\"layers\": [{\"digest\": \"sha256:" H "0\", \"size\": -1}]}", "", false, false },
                { M "\"layers\": [{\"digest\": \"sha256:" H "0\", \"size\": 1.5}]}", "", false, false },
                { M "\"layers\": [{\"digest\": 7, \"size\": 1}]}", "", false, false },
                { M "\"layers\": [], \"subject\": {}}", "", false, false },
                { M "\"layers\": [], \"layers\": []}", "", false, false }, /* said twice */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(oci_manifest_done) OciManifest m = { 0 };
                int r = parse(cases[i].text, cases[i].served, &m);

                if ((r >= 0) != cases[i].good)
                        fprintf(stderr, "case %zu: %s\n", i, cases[i].text);
                assert((r >= 0) == cases[i].good);
                assert(r < 0 || m.is_index == cases[i].index);
        }
}

static void test_cosi(void)
{
        static const struct {
                const char *layers;
                ssize_t at;
        } cases[] = {
                { L0, 0 }, /* whatever its type is: Trident does not ask either */
                { L0 ", " L1, 1 },  { L0 ", " L1T, 1 }, { L1 ", " L1T, -1 }, /* which of them? */
                { L0 ", " L0, -1 }, { L9, -1 }, /* a digest that cannot be checked */
                { L0 ", " L9, -1 }, { "", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(oci_manifest_done) OciManifest m = { 0 };
                _cleanup_(free_charp) char *text = str_printf(M CFG "\"layers\": [%s]}", cases[i].layers);

                assert(parse(text, "", &m) >= 0);
                assert(oci_manifest_cosi(&m) == cases[i].at);
                assert(!m.artifact_type);
        }
}

#define P(arch, os) "\"platform\": {\"architecture\": \"" arch "\", \"os\": \"" os "\"}"

static void test_index(void)
{
        static const char text[] = M "\"manifests\": [{" D9 ", " P("amd64", "linux") "}, {" D0 ", " P(
                "amd64", "windows") "}, {" D0 "}, {" D1
                                    ", " P("amd64", "linux") "}, {" D0 ", " P("arm64", "linux") "}]}";
        _cleanup_(oci_manifest_done) OciManifest m = { 0 };

        assert(parse(text, OCI_TYPE_INDEX, &m) >= 0 && m.n_items == 5);
        assert(oci_index_for(&m, "x86_64") == 3 && oci_index_for(&m, "aarch64") == 4 &&
               oci_index_for(&m, "riscv64") == -1);
        assert(oci_index_release(&m) == -1 && oci_manifest_cosi(&m) == -1);
}

#define REL(type, created)                                                                                   \
        "{" D0 ", \"artifactType\": \"" type                                                                 \
        "\", \"annotations\": {\"org.opencontainers.image.created\": \"" created "\"}}"

static void test_release(void)
{
        static const struct {
                const char *entries;
                ssize_t at;
        } cases[] = {
                { "", -1 },
                { REL("application/vnd.dev.cosign", "2030-01-01T00:00:00Z"), -1 },
                { REL(OCI_TYPE_ROOT, "2030-01-01T00:00:00Z"), -1 },
                { REL("application/vnd.gybe.release+json;v=1", "2026-01-01T00:00:00Z"), 0 },
                { REL(OCI_TYPE_RELEASE, "2026-01-01T00:00:00Z") ", " REL(OCI_TYPE_RELEASE,
                                                                         "2026-02-01T00:00:00Z"),
                  1 },
                { REL(OCI_TYPE_RELEASE, "2026-02-01T00:00:00Z") ", " REL(OCI_TYPE_RELEASE,
                                                                         "2026-01-01T00:00:00Z"),
                  0 },
                { REL(OCI_TYPE_RELEASE, "2026-02-01T00:00:00Z") ", " REL(OCI_TYPE_RELEASE, "yesterday"), 0 },
                { REL(OCI_TYPE_RELEASE, "") ", " REL(OCI_TYPE_RELEASE, ""), 1 },
                { "{" D9 ", \"artifactType\": \"" OCI_TYPE_RELEASE "\"}", -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(oci_manifest_done) OciManifest m = { 0 };
                _cleanup_(free_charp) char *text = str_printf(M "\"manifests\": [%s]}", cases[i].entries);

                assert(parse(text, "", &m) >= 0);
                if (oci_index_release(&m) != cases[i].at)
                        fprintf(stderr, "case %zu: %zd\n", i, oci_index_release(&m));
                assert(oci_index_release(&m) == cases[i].at);
        }
}

static void test_subject(void)
{
        _cleanup_(oci_manifest_done) OciManifest m = { 0 };

        assert(parse(M "\"artifactType\": \"" OCI_TYPE_RELEASE "\", " CFG "\"layers\": [" L0
                       "], \"subject\": {" D1 "}}",
                     OCI_TYPE_MANIFEST, &m) >= 0);
        assert(m.has_subject && streq(m.subject.digest, "sha256:" H "1") && m.subject.size == 11);
        assert(oci_type_is_signed_file(m.artifact_type) && !oci_type_is_signed_file(OCI_TYPE_COSI) &&
               !oci_type_is_signed_file(NULL));
}

static void test_too_many(void)
{
        _cleanup_(oci_manifest_done) OciManifest m = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        Str s = STR_NULL;

        str_add(&s, M "\"layers\": [");
        for (unsigned i = 0; i <= OCI_ITEMS_MAX; i++)
                str_addf(&s, "%s" L0, i ? "," : "");
        str_add(&s, "]}");
        text = str_take(&s);
        assert(text && parse(text, "", &m) == -EBADMSG);
}

static void test_link(void)
{
        static const struct {
                const char *link, *next;
                int r;
        } cases[] = {
                { "", NULL, 0 },
                { "</v2/x?n=1&last=2>; rel=\"next\"", "/v2/x?n=1&last=2", 1 },
                { "<a>; rel=prev, <b>;rel=next", "b", 1 },
                { "<a>; title=\"x\"; rel=next", "a", 1 },
                { "<a>; rel=nextish", NULL, 1 },
                { "<a>", NULL, 0 },
                { "<a", NULL, -EBADMSG },
                { "a; rel=next", NULL, -EBADMSG },
                { "<>; rel=next", "", 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *next = NULL;
                int r = oci_link_next(cases[i].link, &next);

                if (r != cases[i].r)
                        fprintf(stderr, "case %zu: %s -> %d\n", i, cases[i].link, r);
                assert(cases[i].next || cases[i].r <= 0 || r >= 0);
                assert(!cases[i].next || (r == 1 && streq(next, cases[i].next)));
                assert(cases[i].r > 0 || r == cases[i].r);
        }
}

int main(void)
{
        test_types();
        test_cosi();
        test_index();
        test_release();
        test_subject();
        test_too_many();
        test_link();
        return 0;
}
