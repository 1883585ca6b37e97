/* SPDX-License-Identifier: MIT */

/* What the loader would find on the ESP: UKIs with the addons that systemd-stub would give them, and type-1 entries as far
 * as their place in the menu goes. A UKI that cannot be read is listed (it is in the way), but it belongs to no slot. */

#include "bootloader/esp.h"
#include "bootloader/uki.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/digest.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define TYPE1_MAX (16u * 1024u) /* a dozen lines */

static void entry_done(EspEntry *e)
{
        free(e->name);
        free(e->sort_key);
        free(e->machine_id);
        free(e->version);
        free(e->version_id);
        free(e->cmdline);
}

void esp_globals_done(GlobalAddon *globals, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                free(globals[i].name);
                free(globals[i].cmdline);
        }
        free(globals);
}

void esp_entries_done(EspEntries *entries)
{
        for (size_t i = 0; i < entries->n; i++)
                entry_done(entries->items + i);
        free(entries->items);
        esp_globals_done(entries->globals, entries->n_globals);
        *entries = (EspEntries){ 0 };
}

void esp_live_files_done(LiveFiles *files)
{
        for (size_t i = 0; i < files->n; i++) {
                free(files->items[i].name);
                free(files->items[i].cmdline);
        }
        free(files->items);
        *files = (LiveFiles){ 0 };
}

/* The texts of one PE; all absent when it cannot be read as one, be it for its contents or for a bad sector. */
static int read_texts(int dir_fd, const char *name, PeSummary *ret, bool *ret_readable)
{
        _cleanup_(close_fdp) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        int r;

        *ret_readable = false;
        if (fd < 0)
                return errno == EISDIR || errno == ELOOP || errno == ENOENT ? 0 : -errno;
        r = pe_texts_fd(fd, name, WHY_HOST, ret, NULL);
        if (r == -EBADMSG || r == -EIO)
                return 0;
        *ret_readable = r >= 0;
        return r;
}

/* --- addons --- */

static int join_addons(int dir_fd, const char *path, Str *out)
{
        _cleanup_(close_fdp) int fd = esp_dir(dir_fd, path);
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        if (fd == -ENOENT || fd == -ENOTDIR)
                return 0;
        r = fd < 0 ? fd : dir_list(fd, ".", &names);
        for (char **n = names; r >= 0 && *n; n++) {
                _cleanup_(pe_summary_done) PeSummary pe = { 0 };
                bool readable;

                if (!str_ends_fold(*n, ".addon.efi"))
                        continue;
                r = read_texts(fd, *n, &pe, &readable);
                if (r >= 0 && pe.cmdline)
                        str_addf(out, " %s", pe.cmdline);
        }
        return r;
}

static int add_global(GlobalAddon **list, size_t *n, const char *name, const char *cmdline)
{
        GlobalAddon *more = realloc(*list, (*n + 1) * sizeof(*more));

        if (!more)
                return -ENOMEM;
        *list = more;
        more[*n] = (GlobalAddon){ .name = strdup(name), .cmdline = cmdline ? strdup(cmdline) : NULL };
        (*n)++;
        return !more[*n - 1].name || (cmdline && !more[*n - 1].cmdline) ? -ENOMEM : 0;
}

int esp_globals(const Esp *esp, GlobalAddon **ret, size_t *ret_n, Why *why)
{
        _cleanup_(close_fdp) int fd = esp_dir(esp->fd, ESP_GLOBALS);
        _cleanup_(strv_freep) char **names = NULL;
        GlobalAddon *list = NULL;
        size_t n = 0;
        int r = fd == -ENOENT ? 0 : fd < 0 ? fd : dir_list(fd, ".", &names);

        for (char **p = names; p && r >= 0 && *p; p++) {
                _cleanup_(pe_summary_done) PeSummary pe = { 0 };
                bool readable;

                if (!str_ends_fold(*p, ".addon.efi"))
                        continue;
                r = n < ESP_ADDONS_MAX ? read_texts(fd, *p, &pe, &readable) : -E2BIG;
                if (r >= 0)
                        r = add_global(&list, &n, *p, pe.cmdline);
        }
        if (r < 0) {
                esp_globals_done(list, n);
                return fail_errno(why, r, WHY_HOST, "reading %s on the ESP", ESP_GLOBALS);
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

static int read_live_file(int fd, const char *name, LiveFile *ret)
{
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        LiveFile f = { 0 };
        bool readable = false;
        int r;

        r = esp_file_digest(fd, name, f.sha256, &f.size);
        if (r < 0)
                return r;
        if (str_ends_fold(name, ".addon.efi")) {
                r = read_texts(fd, name, &pe, &readable);
                if (r < 0)
                        return r;
                if (readable && !(f.cmdline = strdup(pe.cmdline ? pe.cmdline : "")))
                        return -ENOMEM;
        }
        f.name = strdup(name);
        if (!f.name) {
                free(f.cmdline);
                return -ENOMEM;
        }
        *ret = f;
        return 0;
}

int esp_live_files(const Esp *esp, const char *entry, LiveFiles *ret, Why *why)
{
        _cleanup_(esp_live_files_done) LiveFiles files = { 0 };
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(close_fdp) int entries = esp_dir(esp->fd, ESP_ENTRIES), fd = -1;
        char dir[ENTRY_ADDONS_MAX];
        int r;

        entry_addons_dir(entry, dir);
        fd = entries < 0 ? entries : esp_dir(entries, dir);
        if (fd == -ENOENT) {
                *ret = (LiveFiles){ 0 };
                return 0;
        }
        r = fd < 0 ? fd : dir_list(fd, ".", &names);
        if (r >= 0 && strv_len(names) > ESP_ADDONS_MAX)
                r = -E2BIG;
        if (r >= 0 && !(files.items = calloc(strv_len(names) + 1, sizeof(LiveFile))))
                r = -ENOMEM;
        for (char **n = names; r >= 0 && *n; n++) {
                r = read_live_file(fd, *n, files.items + files.n);
                if (r == -EISDIR) {
                        r = 0; /* a folder is nothing the stub reads */
                        continue;
                }
                files.n += r >= 0;
        }
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading %s/%s on the ESP", ESP_ENTRIES, dir);
        *ret = files;
        files = (LiveFiles){ 0 };
        return 0;
}

/* --- entries --- */

static int first_osrel(const char *osrel, const char *const *keys, char **ret)
{
        int r = 0;

        for (; r >= 0 && *keys && !*ret; keys++)
                r = osrel_get(osrel, *keys, ret);
        return r;
}

static int take_osrel(const char *osrel, EspEntry *e)
{
        static const char *const sort_keys[] = { "IMAGE_ID", "ID", NULL };
        static const char *const versions[] = { "IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID", NULL };
        int r;

        if ((r = first_osrel(osrel, sort_keys, &e->sort_key)) < 0 ||
            (r = first_osrel(osrel, versions, &e->version)) < 0)
                return r;
        return osrel_get(osrel, "VERSION_ID", &e->version_id);
}

static int take_slot(const char *effective, const BootSlotIds ids[2], EspEntry *e)
{
        CmdlineArgs args;
        int r;

        r = cmdline_parse(effective, &args);
        if (r < 0)
                return r;
        e->slot = cmdline_slot(&args, ids);
        memcpy(e->roothash, args.bad ? "" : args.usrhash, args.bad ? 1 : sizeof(e->roothash));
        return 0;
}

/* 1 an entry, 0 the loader would not list it */
static int read_uki(const Esp *esp, int dir_fd, const char *name, const BootSlotIds ids[2], EspEntry *e)
{
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        _cleanup_(free_charp) char *effective = NULL;
        _cleanup_(str_done) Str text = STR_NULL;
        char dir[ENTRY_ADDONS_MAX];
        int r;

        r = read_texts(dir_fd, name, &pe, &e->readable);
        if (r < 0 || !e->readable)
                return r < 0 ? r : 1;
        if (!pe.osrel)
                e->readable = false;
        str_add(&text, pe.cmdline ? pe.cmdline : "");
        entry_addons_dir(name, dir);
        r = join_addons(esp->fd, ESP_GLOBALS, &text);
        if (r >= 0)
                r = join_addons(dir_fd, dir, &text);
        if (r < 0)
                return r;
        effective = str_take(&text);
        if (!effective)
                return -ENOMEM;
        r = take_osrel(pe.osrel, e);
        if (r >= 0)
                r = take_slot(effective, ids, e);
        e->cmdline = TAKE(pe.cmdline);
        return r < 0 ? r : 1;
}

static int read_type1(int dir_fd, const char *name, EspEntry *e)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(free_charp) char *linux_ = NULL, *efi = NULL;
        const char *text;
        int r;

        r = file_read(dir_fd, name, TYPE1_MAX, &b);
        if (r == -EFBIG || r == -EISDIR)
                return 0;
        if (r < 0)
                return r;
        text = b.data ? (const char *) b.data : "";
        e->type1 = e->readable = true;
        if ((r = conf_get(text, "sort-key", &e->sort_key)) < 0 ||
            (r = conf_get(text, "machine-id", &e->machine_id)) < 0 ||
            (r = conf_get(text, "version", &e->version)) < 0 || (r = conf_get(text, "linux", &linux_)) < 0 ||
            (r = conf_get(text, "efi", &efi)) < 0)
                return r;
        return linux_ || efi;
}

static int add_entry(EspEntries *list, EspEntry *e)
{
        EspEntry *more;

        if (list->n == BOOT_ENTRIES_MAX)
                return -E2BIG;
        more = realloc(list->items, (list->n + 1) * sizeof(*more));
        if (!more)
                return -ENOMEM;
        list->items = more;
        more[list->n++] = *e;
        *e = (EspEntry){ 0 };
        return 0;
}

static int read_folder(const Esp *esp, const char *path, const char *suffix, const BootSlotIds ids[2],
                       EspEntries *list)
{
        _cleanup_(close_fdp) int fd = esp_dir(esp->fd, path);
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        if (fd == -ENOENT)
                return 0;
        r = fd < 0 ? fd : dir_list(fd, ".", &names);
        for (char **n = names; r >= 0 && *n; n++) {
                EspEntry e = { .slot = -1 };
                struct stat st;

                if (entry_name_parse(*n, suffix, &e.parsed) < 0 || fstatat(fd, *n, &st, 0) < 0 ||
                    !S_ISREG(st.st_mode))
                        continue;
                r = streq(suffix, ".efi") ? read_uki(esp, fd, *n, ids, &e) : read_type1(fd, *n, &e);
                if (r > 0)
                        r = (e.name = strdup(*n)) ? add_entry(list, &e) : -ENOMEM;
                entry_done(&e);
        }
        return r < 0 ? r : 0;
}

int esp_entries(const Esp *esp, const BootSlotIds ids[2], EspEntries *ret, Why *why)
{
        _cleanup_(esp_entries_done) EspEntries list = { 0 };
        int r;

        r = read_folder(esp, ESP_ENTRIES, ".efi", ids, &list);
        if (r >= 0)
                r = read_folder(esp, "loader/entries", ".conf", ids, &list);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "reading the boot entries on the ESP %s", esp->path);
        r = esp_globals(esp, &list.globals, &list.n_globals, why);
        if (r < 0)
                return r;
        *ret = list;
        list = (EspEntries){ 0 };
        return 0;
}

const EspEntry *esp_entry_find(const EspEntries *entries, const char *name)
{
        for (size_t i = 0; name && *name && i < entries->n; i++)
                if (boot_name_equal(entries->items[i].name, name))
                        return entries->items + i;
        return NULL;
}

EntryKey esp_entry_key(const EspEntry *e)
{
        return (EntryKey){
                .id = e->name,
                .stem = e->parsed.stem,
                .sort_key = e->sort_key,
                .machine_id = e->machine_id,
                .version = e->version,
                .left = e->parsed.counted ? (int) e->parsed.left : -1,
                .done = e->parsed.counted ? (int) e->parsed.done : -1,
        };
}
