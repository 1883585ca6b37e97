/* SPDX-License-Identifier: MIT */

#undef NDEBUG

#include "bootloader/entry.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

static void test_names(void)
{
        static const struct {
                const char *name, *stem, *addons;
                bool counted, managed, factory;
                unsigned index, os, left, done;
                int slot;
        } cases[] = {
                { "vmlinuz-100-azla0.efi", "vmlinuz-100-azla0.efi", "vmlinuz-100-azla0.efi.extra.d", false,
                  true, false, 100, 0, 0, 0, 0 },
                { "VMLINUZ-101-AZLB2.EFI", "VMLINUZ-101-AZLB2.EFI", "VMLINUZ-101-AZLB2.EFI.extra.d", false,
                  true, false, 101, 2, 0, 0, 1 },
                /* a kernel version may have "-azl3" in it */
                { "vmlinuz-6.6.121.1-1.azl3.efi", "vmlinuz-6.6.121.1-1.azl3.efi",
                  "vmlinuz-6.6.121.1-1.azl3.efi.extra.d", false, false, true, 0, 0, 0, 0, -1 },
                { "vmlinuz-6.6-azlb0.efi", "vmlinuz-6.6-azlb0.efi", "vmlinuz-6.6-azlb0.efi.extra.d", false,
                  false, true, 0, 0, 0, 0, -1 },
                { "acl.efi", "acl.efi", "acl.efi.extra.d", false, false, true, 0, 0, 0, 0, -1 },
                { "foo.efi", "foo.efi", "foo.efi.extra.d", false, false, false, 0, 0, 0, 0, -1 },
                { "vmlinuz-100-azlc0.efi", "vmlinuz-100-azlc0.efi", "vmlinuz-100-azlc0.efi.extra.d", false,
                  false, false, 0, 0, 0, 0, -1 },
                { "vmlinuz-100-azla.efi", "vmlinuz-100-azla.efi", "vmlinuz-100-azla.efi.extra.d", false,
                  false, false, 0, 0, 0, 0, -1 },
                { "vmlinuz-1234567890-azla0.efi", "vmlinuz-1234567890-azla0.efi",
                  "vmlinuz-1234567890-azla0.efi.extra.d", false, false, false, 0, 0, 0, 0,
                  -1 }, /* ten digits: no index of ours */
                { "foo+3.efi", "foo.efi", "foo.efi.extra.d", true, false, false, 0, 0, 3, 0, -1 },
                { "foo+2-1.efi", "foo.efi", "foo.efi.extra.d", true, false, false, 0, 0, 2, 1, -1 },
                { "foo+0-3.efi", "foo.efi", "foo.efi.extra.d", true, false, false, 0, 0, 0, 3, -1 },
                { "foo+.efi", "foo+.efi", "foo+.efi.extra.d", false, false, false, 0, 0, 0, 0, -1 },
                { "foo+x.efi", "foo+x.efi", "foo+x.efi.extra.d", false, false, false, 0, 0, 0, 0, -1 },
                { "vmlinuz-100-azla0+3.efi", "vmlinuz-100-azla0.efi", "vmlinuz-100-azla0.efi.extra.d", true,
                  true, false, 100, 0, 3, 0, 0 },
                /* the loader looks at the last plus sign, the stub at the first */
                { "vmlinuz-6.6.1+rc1+3.efi", "vmlinuz-6.6.1+rc1.efi", "vmlinuz-6.6.1+rc1+3.efi.extra.d", true,
                  false, true, 0, 0, 3, 0, -1 },
        };
        static const char *const refused[] = {
                "",          ".efi",      "foo",      ".hidden.efi",  "auto-windows.efi",
                "foo.efi.x", "a/b.efi",   "a\\b.efi", "foo.conf",     "vmlinuz-0.efi.staged",
                "a*.efi",    "tab\t.efi", "+3.efi",   "f\xc3\xb6.efi"
        };
        char dir[ENTRY_ADDONS_MAX];
        EntryName e;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert(entry_name_parse(cases[i].name, ".efi", &e) == 0);
                entry_addons_dir(cases[i].name, dir);
                if (!streq(e.stem, cases[i].stem) || !streq(dir, cases[i].addons))
                        fprintf(stderr, "%s: %s %s\n", cases[i].name, e.stem, dir);
                assert(streq(e.stem, cases[i].stem) && streq(dir, cases[i].addons));
                assert(e.counted == cases[i].counted && e.managed == cases[i].managed &&
                       e.factory == cases[i].factory);
                assert(e.index == cases[i].index && e.os_index == cases[i].os && e.slot == cases[i].slot);
                assert(e.left == cases[i].left && e.done == cases[i].done);
        }
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                assert(entry_name_parse(refused[i], ".efi", &e) == -EINVAL);
        assert(entry_name_format(100, 1, 0, dir) == 0 && streq(dir, "vmlinuz-100-azlb0.efi"));
        assert(entry_name_format(ENTRY_INDEX_MAX + 1, 1, 0, dir) == -ERANGE);
}

static void test_equal(void)
{
        assert(boot_name_equal("foo+3.efi", "foo+2-1.efi") && boot_name_equal("FOO.EFI", "foo+1.efi"));
        assert(!boot_name_equal("foo1.efi", "foo.efi") && !boot_name_equal("foo.efi", "foo.conf"));
        assert(boot_name_equal("a.conf", "A+3.conf") && boot_name_equal("", "") &&
               !boot_name_equal("", "a.efi"));
        assert(entry_name_literal("vmlinuz-6.6.efi") && !entry_name_literal("@saved") &&
               !entry_name_literal("a*") && !entry_name_literal("") && !entry_name_literal("a[b]"));
}

static void test_versions(void)
{
        /* ascending, from the examples of the version format specification and real ones */
        static const char *const order[] = { "~",       "",        "122.1",  "123~rc1-1", "123",
                                             "123-a",   "123-a.1", "123-1",  "123-1.1",   "123^post1",
                                             "123.a-1", "123.1-1", "123a-1", "124-1" };
        static const char *const names[] = { "vmlinuz-6.6.9.efi", "vmlinuz-6.6.121.efi",
                                             "vmlinuz-99-azla0.efi", "vmlinuz-100-azla0.efi",
                                             "vmlinuz-101-azlb0.efi" };

        for (size_t i = 0; i < ELEMENTSOF(order); i++)
                for (size_t k = 0; k < ELEMENTSOF(order); k++) {
                        int r = version_compare(order[i], order[k]);

                        if ((r < 0) != (i < k) || (r == 0) != (i == k))
                                fprintf(stderr, "'%s' '%s': %d\n", order[i], order[k], r);
                        assert((r < 0) == (i < k) && (r == 0) == (i == k));
                }
        for (size_t i = 1; i < ELEMENTSOF(names); i++)
                assert(version_compare(names[i - 1], names[i]) < 0);
        assert(version_compare("01", "1") == 0 && version_compare(NULL, "") == 0 &&
               version_compare("a+b", "a b") == 0);
}

static void test_glob(void)
{
        static const struct {
                const char *pattern, *name;
                bool hit;
        } cases[] = {
                { "vmlinuz-6.6.efi", "VMLINUZ-6.6.EFI", true },
                { "foo*", "foo+3.efi", true },
                { "foo[.+]*", "foo.efi", true },
                { "foo[.+]*", "foo1.efi", false },
                { "*", "anything.conf", true },
                { "", "a", false },
                { "*", "", true },
                { "?oo.efi", "foo.efi", true },
                { "*-azl[ab]0.efi", "vmlinuz-100-azlb0.efi", true },
                { "*-azl[a-b]0.efi", "vmlinuz-100-azlc0.efi", false },
                { "a*b*c", "aXbXbXc", true },
                { "a*b*c", "aXbX", false },
                { "[a", "a", false },
                { "a\\*", "a*", true },
                { "a\\*", "ab", false },
                { "[]]x", "]x", true },
                { "foo.efi", "foo.efi2", false },
                { "*************************************************b", "aaaaaaaaaaaaaaaaaaaaaaaaa", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert(entry_glob(cases[i].pattern, cases[i].name) == cases[i].hit);
}

/* Two of the same OS: the version decides, not the file name. A bad one comes last; a counted one may be chosen. */
static void test_default(void)
{
        const EntryKey keys[] = {
                { "vmlinuz-100-azla0.efi", NULL, "azurelinux", NULL, "3.0.2", -1, -1 },
                { "vmlinuz-101-azlb0.efi", NULL, "azurelinux", NULL, "3.0.1", -1, -1 },
                { "zz.efi", NULL, NULL, NULL, "99", -1, -1 },
                { "vmlinuz-102-azlb0+0-3.efi", "vmlinuz-102-azlb0.efi", "azurelinux", NULL, "3.0.9", 0, 3 },
        };
        const struct {
                DefaultSources sources;
                int found;
                const char *by;
        } cases[] = {
                { { NULL, NULL, NULL, NULL }, 0, "sort order" },
                { { NULL, "vmlinuz-101-azlb0.efi", "zz.efi", NULL }, 1, "LoaderEntryDefault" },
                { { NULL, "VMLINUZ-101-AZLB0.EFI", NULL, NULL }, 1, "LoaderEntryDefault" },
                { { NULL, "gone.efi", "zz.efi", NULL }, 2, "loader.conf" },
                { { NULL, "gone.efi", "gone.efi", NULL }, 0, "sort order" },
                { { NULL, "vmlinuz-*", NULL, NULL }, 0, "LoaderEntryDefault" }, /* the best of the matches */
                { { NULL, "vmlinuz-102*", NULL, NULL }, 3, "LoaderEntryDefault" }, /* named: bad or not */
                { { NULL, "vmlinuz-102-azlb0.efi", NULL, NULL },
                  3,
                  "LoaderEntryDefault" }, /* newer loaders' id */
                { { "vmlinuz-102*", "zz.efi", NULL, NULL },
                  2,
                  "LoaderEntryDefault" }, /* preferred skips bad ones */
                { { "zz.efi", "vmlinuz-101*", NULL, NULL }, 2, "LoaderEntryPreferred" },
                { { NULL, "@saved", NULL, "zz.efi" }, 2, "LoaderEntryDefault" },
                { { NULL, "@saved", "zz.efi", NULL }, 2, "loader.conf" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *by = NULL;
                int found = entry_default(keys, ELEMENTSOF(keys), &cases[i].sources, &by);

                if (found != cases[i].found)
                        fprintf(stderr, "case %zu: %d\n", i, found);
                assert(found == cases[i].found && streq(by, cases[i].by));
        }
        assert(entry_default(keys, 0, &cases[0].sources, &(const char *){ NULL }) == -1);
        assert(entry_default(keys + 3, 1, &cases[0].sources, &(const char *){ NULL }) ==
               0); /* better a bad one than none */
}

static void test_conf(void)
{
        static const struct {
                const char *in, *out;
                bool drop;
        } cases[] = {
                { "", "default x.efi\n", false },
                { "timeout 0\ndefault old.efi\n", "timeout 0\ndefault x.efi\n", false },
                { "# default none\n  default\told.efi  \nother  thing\n",
                  "# default none\ndefault x.efi\nother  thing\n", false },
                { "default a\ndefault b\ntimeout 3", "default x.efi\ntimeout 3\n", false },
                { "preferred p\ndefault a\n", "preferred p\ndefault x.efi\n", false },
                { "preferred p\ndefault a\n", "default x.efi\n", true },
                { "defaults a\n\n", "defaults a\n\ndefault x.efi\n", false },
                { "timeout 0\r\ndefault a\r\n", "timeout 0\r\ndefault x.efi\n", false },
        };
        _cleanup_(free_charp) char *v = NULL, *w = NULL, *q = NULL;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(free_charp) char *out = NULL;

                assert(loader_conf_set_default(cases[i].in, "x.efi", cases[i].drop, &out) == 0);
                if (!streq(out, cases[i].out))
                        fprintf(stderr, "case %zu: %s\n", i, out);
                assert(streq(out, cases[i].out));
        }
        assert(conf_get("default a\ndefault  b c \r\n", "default", &v) == 0 && streq(v, "b c"));
        assert(conf_get("# default a\n", "default", &w) == 0 && !w);
        assert(conf_get("title \"My OS\"\n", "title", &q) == 0 && streq(q, "My OS"));
}

static void test_osrel(void)
{
        static const char text[] =
                "ID=azurelinux\nVERSION_ID=\"3.0.20261104\"\nVERSION='a b' \nXVERSION_ID=no\nEMPTY=\n";
        static const char *const pairs[][2] = { { "ID", "azurelinux" },
                                                { "VERSION_ID", "3.0.20261104" },
                                                { "VERSION", "a b" },
                                                { "EMPTY", "" },
                                                { "NONE", NULL } };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                _cleanup_(free_charp) char *v = NULL;

                assert(osrel_get(text, pairs[i][0], &v) == 0 && streq0(v, pairs[i][1]));
        }
}

int main(void)
{
        test_names();
        test_equal();
        test_versions();
        test_glob();
        test_default();
        test_conf();
        test_osrel();
        return 0;
}
