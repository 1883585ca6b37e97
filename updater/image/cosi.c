/* SPDX-License-Identifier: MIT */

/* The finished value: what may be asked of a Cosi once it is parsed, and how it goes away. */

#include "base/str.h"
#include "image/cosi.h"

void cosi_done(Cosi *cosi)
{
        for (size_t i = 0; i < cosi->n_filesystems; i++) {
                free(cosi->filesystems[i].mount_point);
                free(cosi->filesystems[i].fs_type);
                free(cosi->filesystems[i].fs_uuid);
        }
        free(cosi->filesystems);
        free(cosi->regions);
        free(cosi->os_release);
        json_unref(cosi->packages);
        *cosi = (Cosi){ 0 };
}

const CosiRegion *cosi_region_of(const Cosi *cosi, const char *image_path)
{
        for (size_t i = 0; i < cosi->n_regions; i++)
                if (!cosi->regions[i].is_gpt && streq(cosi->regions[i].image.path, image_path))
                        return &cosi->regions[i];
        return NULL;
}

/* One value as a shell would read it: 'as is', "with \" escapes", or bare up to the first blank. */
static char *value_unquote(const char *p, const char *end)
{
        _cleanup_(str_done) Str out = STR_NULL;
        char quote = 0;

        for (; p < end; p++) {
                if (quote == 0 && (*p == '\'' || *p == '"')) {
                        quote = *p;
                } else if (quote != 0 && *p == quote) {
                        quote = 0;
                } else if (*p == '\\' && quote != '\'' && p + 1 < end &&
                           (quote == 0 || strchr("\"\\$`", p[1]))) {
                        p++;
                        str_addn(&out, p, 1);
                } else if (quote == 0 && (*p == ' ' || *p == '\t' || *p == '\r')) {
                        break;
                } else {
                        str_addn(&out, p, 1);
                }
        }
        return str_take(&out);
}

char *os_release_get(const char *text, const char *key)
{
        size_t key_len = strlen(key);
        char *value = NULL;

        while (*text) {
                const char *end = text + strcspn(text, "\n");

                text += strspn(text, " \t");
                if (text < end && strncmp(text, key, key_len) == 0 && text[key_len] == '=') {
                        free(value); /* the last one counts, as in a shell */
                        value = value_unquote(text + key_len + 1, end);
                }
                text = *end ? end + 1 : end;
        }
        return value;
}

char *cosi_os_release(const Cosi *cosi, const char *key)
{
        return os_release_get(cosi->os_release ? cosi->os_release : "", key);
}
