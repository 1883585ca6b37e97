/* SPDX-License-Identifier: MIT */

/* Names, patterns and loader.conf come from a file system anybody may have written to. First line: a file name, second: a
 * pattern, the rest: loader.conf. */

#include "bootloader/entry.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_conf(const char *text)
{
        _cleanup_(free_charp) char *out = NULL, *value = NULL, *again = NULL;

        if (loader_conf_set_default(text, "x.efi", false, &out) < 0 || conf_get(out, "default", &value) < 0 ||
            loader_conf_set_default(out, "x.efi", false, &again) < 0)
                return;
        /* what was written is what is read, and writing it again changes nothing */
        if (!streq0(value, "x.efi") || !streq(out, again))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(free_charp) char *text = strndup((const char *) data, size);
        char *name, *pattern, *state = text;
        char addons[ENTRY_ADDONS_MAX];
        EntryName e, inner;

        if (!text)
                return 0;
        name = strsep(&state, "\n");
        pattern = state ? strsep(&state, "\n") : NULL;
        if (entry_name_parse(name, ".efi", &e) >= 0) {
                if (strlen(e.stem) > strlen(name) || (e.managed && e.factory))
                        abort();
                /* "a+1+2.efi" loses one counter only */
                if (entry_name_parse(e.stem, ".efi", &inner) >= 0 && !inner.counted &&
                    !boot_name_equal(e.stem, name))
                        abort();
                entry_addons_dir(name, addons);
                if (!str_ends(addons, ".extra.d"))
                        abort();
        }
        if (pattern) {
                bool hit = entry_glob(pattern, name);
                int r = version_compare(pattern, name);

                if (!hit && entry_name_literal(pattern) && str_fold_cmp(pattern, name) == 0)
                        abort();
                if ((r < 0) != (version_compare(name, pattern) > 0))
                        abort();
        }
        fuzz_conf(state ? state : "");
        return 0;
}
