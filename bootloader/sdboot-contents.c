/* SPDX-License-Identifier: MIT */

/* contents(): what an entry is made of, published or staged, as it lies on the ESP now. What cannot be read as a PE file still
 * has a name and a digest, and says nothing. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/str.h"

#include <errno.h>

void boot_contents_done(BootContents *c)
{
        for (size_t i = 0; i < c->n_files; i++)
                free(c->files[i].name);
        free(c->files);
        free(c->cmdline);
        free(c->version_id);
        free(c->uname);
        *c = (BootContents){ 0 };
}

/* Its texts: all absent where the file is no PE file. */
static int take_texts(int fd, const char *name, Str *cmdline, BootContents *c)
{
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        int r = pe_texts_fd(fd, name, WHY_HOST, &pe, NULL);

        if (r < 0)
                return r == -EBADMSG || r == -EIO ? 0 : r;
        str_add(cmdline, pe.cmdline ? pe.cmdline : "");
        c->uname = TAKE(pe.uname);
        return osrel_get(pe.osrel, "VERSION_ID", &c->version_id);
}

static int add_file(BootContents *c, BootKind kind, const LiveFile *f)
{
        BootFile *out = c->files + c->n_files;

        *out = (BootFile){ .kind = kind, .name = strdup(f->name), .size = f->size };
        if (!out->name)
                return -ENOMEM;
        memcpy(out->sha256, f->sha256, sizeof(out->sha256));
        c->n_files++;
        return 0;
}

static int take_uki(SdBoot *b, const char *name, Str *cmdline, BootContents *c)
{
        _cleanup_(close_fdp) int entries = esp_dir(b->esp.fd, ESP_ENTRIES), fd = -1;
        _cleanup_(free_charp) char *found = NULL;
        LiveFile f = { 0 };
        int r = entries < 0 ? entries : esp_find(entries, name, &found);

        if (r == 0)
                return -ENOENT;
        f.name = found;
        if (r > 0)
                r = esp_file_digest(entries, found, f.sha256, &f.size);
        if (r >= 0)
                r = fd = esp_open_file(entries, found);
        if (r >= 0)
                r = add_file(c, BOOT_UKI, &f);
        return r < 0 ? r : take_texts(fd, found, cmdline, c);
}

/* The stub joins command lines in this order: first the UKI's own (take_uki()), then the global addons', then those of its folder. */
static int take_addons(const LiveFiles *live, const GlobalAddon *globals, size_t n_globals, Str *cmdline,
                       BootContents *c)
{
        int r = 0;

        for (size_t i = 0; i < n_globals; i++)
                str_addf(cmdline, " %s", globals[i].cmdline ? globals[i].cmdline : "");
        for (size_t i = 0; r >= 0 && i < live->n; i++) {
                const LiveFile *f = live->items + i;

                if (f->cmdline)
                        str_addf(cmdline, " %s", f->cmdline);
                r = add_file(c, str_ends_fold(f->name, ".cred") ? BOOT_CRED : BOOT_ADDON, f);
        }
        return r;
}

int sd_contents(Boot *boot, const char *entry, BootContents *ret, Why *why)
{
        SdBoot *b = sd(boot);
        const char *uki = entry ? entry : ESP_STAGED;
        _cleanup_(boot_contents_done) BootContents c = { 0 };
        _cleanup_(esp_live_files_done) LiveFiles live = { 0 };
        _cleanup_(str_done) Str cmdline = STR_NULL;
        GlobalAddon *globals = NULL;
        size_t n_globals = 0;
        int r;

        if ((r = esp_live_files(&b->esp, uki, &live, why)) < 0 ||
            (r = esp_globals(&b->esp, &globals, &n_globals, why)) < 0)
                return r;
        c.files = calloc(live.n + 1, sizeof(*c.files));
        r = c.files ? take_uki(b, uki, &cmdline, &c) : -ENOMEM;
        if (r >= 0)
                r = take_addons(&live, globals, n_globals, &cmdline, &c);
        esp_globals_done(globals, n_globals);
        if (r >= 0 && !(c.cmdline = str_take(&cmdline)))
                r = -ENOMEM;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", uki);
        *ret = c;
        c = (BootContents){ 0 };
        return 0;
}
