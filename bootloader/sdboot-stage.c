/* SPDX-License-Identifier: MIT */

/* Files under names that no loader reads. Each is complete, synced and proved by its digest before it gets even that name,
 * so a name that is there means a file that is whole. */

#include "bootloader/sdboot.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define LOADERS_MAX (16u * 1024u) /* "loaders": a dozen names */

char *sd_staged_dir(int slot)
{
        return str_printf(GYBE_DIR "/%c.staged", 'a' + slot);
}

char *sd_loader_dir(int slot, unsigned os_index)
{
        return os_index == 0 ? str_printf("EFI/AZL%c", 'A' + slot)
                             : str_printf("EFI/AZL%u%c", os_index + 1, 'A' + slot);
}

void sd_file_done(SdFile *f)
{
        if (f->fd >= 0 && f->tmp)
                (void) unlinkat(f->dir_fd, f->tmp, 0); /* an unfinished file is nothing to anybody */
        close_fdp(&f->fd);
        close_fdp(&f->dir_fd);
        free(f->tmp);
        free(f->name);
        digest_free(f->digest);
        *f = (SdFile){ .dir_fd = -1, .fd = -1 };
}

static unsigned running_os_index(SdBoot *b)
{
        _cleanup_(view_done) View v = { 0 };
        const EspEntry *running;

        if (view_load(b, &v, NULL) < 0 || view_running(&v, 1 - b->target, &running, NULL) < 0)
                return 0;
        return running->parsed.os_index;
}

/* The folder a file of this kind waits in. */
static int place_of(SdBoot *b, BootKind kind, char **ret)
{
        _cleanup_(free_charp) char *staged = NULL;
        char *path = NULL;

        switch (kind) {
        case BOOT_UKI:
                path = strdup(ESP_ENTRIES);
                break;
        case BOOT_ADDON:
        case BOOT_CRED:
                path = strdup(ESP_ENTRIES "/" ESP_STAGED_D);
                break;
        case BOOT_ADDON_TEMPLATE:
                staged = sd_staged_dir(b->target);
                path = staged ? str_printf("%s/templates", staged) : NULL;
                break;
        case BOOT_LOADER:
        case BOOT_SHIM:
                path = sd_loader_dir(b->target, running_os_index(b));
                break;
        case BOOT_KERNEL: /* gptprio.c */
                path = strdup(FLATCAR_DIR);
                break;
        default:
                return -EINVAL;
        }
        if (!path)
                return -ENOMEM;
        *ret = path;
        return 0;
}

static int open_place(SdBoot *b, const BootFile *file, SdFile *f)
{
        _cleanup_(free_charp) char *place = NULL, *found = NULL;
        const char *name = file->kind == BOOT_UKI ? ESP_STAGED : file->name;
        int r;

        if (file->kind != BOOT_UKI && !plan_name_ok(name ? name : ""))
                return -EINVAL;
        r = place_of(b, file->kind, &place);
        if (r < 0)
                return r;
        f->dir_fd = esp_make_dir(b->esp.fd, place);
        if (f->dir_fd < 0)
                return f->dir_fd;
        r = esp_find(f->dir_fd, name, &found);
        if (r < 0)
                return r;
        f->name = found ? TAKE(found) : strdup(name);
        f->tmp = str_printf("%s.new", name);
        if (!f->name || !f->tmp)
                return -ENOMEM;
        r = esp_remove(f->dir_fd, f->tmp);
        if (r < 0)
                return r;
        f->fd = openat(f->dir_fd, f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        return f->fd < 0 ? -errno : 0;
}

static int begin(SdBoot *b, const BootFile *file, SdFile *f)
{
        _cleanup_(close_fdp) int addons = -1;
        int r;

        if (b->target < 0)
                return -EINVAL;
        if (file->kind == BOOT_UKI) {
                /* an entry always has its folder, if an empty one: publish() then knows what a missing one means */
                addons = esp_make_dir(b->esp.fd, ESP_ENTRIES "/" ESP_STAGED_D);
                if (addons < 0)
                        return addons;
        }
        r = open_place(b, file, f);
        if (r >= 0)
                r = digest_new(256, &f->digest);
        /* FAT can only reserve behind the end; where it cannot, the space was counted beforehand. */
        if (r >= 0 && file->size > 0 && fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t) file->size) < 0 &&
            errno == ENOSPC)
                r = -ENOSPC;
        f->size = file->size;
        f->kind = file->kind;
        memcpy(f->sha256, file->sha256, sizeof(f->sha256));
        return r;
}

static const char *label(const BootFile *file)
{
        return file->kind == BOOT_UKI || !file->name ? ESP_STAGED : file->name;
}

int sd_file_begin(Boot *boot, const BootFile *file, Why *why)
{
        SdBoot *b = sd(boot);
        int r;

        sd_file_done(&b->file);
        r = begin(b, file, &b->file);
        if (r < 0) {
                sd_file_done(&b->file);
                return fail_errno(why, r, WHY_HOST, "writing %s to the ESP %s", label(file), b->esp.path);
        }
        return 0;
}

int sd_file_write(Boot *boot, const void *data, size_t size, Why *why)
{
        SdBoot *b = sd(boot);
        SdFile *f = &b->file;
        int r;

        if (f->fd < 0)
                return fail(why, -EINVAL, WHY_HOST, "no-file", "boot file: bytes without a file");
        if (size > f->size - f->done)
                return fail(why, -EFBIG, WHY_TRUST, "file-size",
                            "%s: longer than the %llu bytes it should have", f->name,
                            (unsigned long long) f->size);
        r = fd_write_full(f->fd, data, size);
        if (r >= 0)
                r = digest_update(f->digest, data, size);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "writing %s to the ESP %s", f->name, b->esp.path);
        f->done += size;
        return 0;
}

/* The list of loader files the new image brought, in the order in which commit() will copy them: the second stage before
 * the shim that starts it. */
static int note_loader(SdBoot *b, const SdFile *f)
{
        _cleanup_(free_charp) char *staged = sd_staged_dir(b->target), *line = NULL, *all = NULL;
        _cleanup_(bytes_done) Bytes old = BYTES_NULL;
        _cleanup_(close_fdp) int dir = -1;
        const char *text;
        int r;

        if (!staged)
                return -ENOMEM;
        dir = esp_make_dir(b->esp.fd, staged);
        r = dir < 0 ? dir : file_read(dir, "loaders", LOADERS_MAX, &old);
        if (r < 0 && r != -ENOENT)
                return r;
        text = old.data ? (const char *) old.data : "";
        line = str_printf("%s %s\n", boot_kind_name(f->kind), f->name);
        if (!line)
                return -ENOMEM;
        if (strstr(text, line))
                return 0;
        all = f->kind == BOOT_SHIM ? str_printf("%s%s", text, line) : str_printf("%s%s", line, text);
        return all ? esp_replace(dir, "loaders", all, strlen(all)) : -ENOMEM;
}

static int finish(SdBoot *b, SdFile *f)
{
        int r;

        if (fsync(f->fd) < 0)
                return -errno;
        r = esp_rename(f->dir_fd, f->tmp, f->name);
        if (r < 0)
                return r;
        free(TAKE(f->tmp));
        return f->kind == BOOT_LOADER || f->kind == BOOT_SHIM ? note_loader(b, f) : 0;
}

static int end(SdBoot *b, SdFile *f, Why *why)
{
        uint8_t sum[SHA256_SIZE];
        char hex[SHA256_HEX];
        int r;

        if (f->fd < 0)
                return fail(why, -EINVAL, WHY_HOST, "no-file", "boot file: an end without a beginning");
        if (f->done != f->size)
                return fail(why, -EBADMSG, WHY_TRUST, "file-size", "%s: %llu bytes, it should have %llu",
                            f->name, (unsigned long long) f->done, (unsigned long long) f->size);
        r = digest_final(f->digest, sum);
        if (r < 0)
                return r;
        hex_encode(sum, sizeof(sum), hex);
        if (!streq(hex, f->sha256))
                return fail(why, -EBADMSG, WHY_TRUST, "file-digest",
                            "%s: its SHA-256 is %.16s..., it should be %.16s...", f->name, hex, f->sha256);
        r = finish(b, f);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "writing %s to the ESP %s", f->name, b->esp.path) : 0;
}

int sd_file_end(Boot *boot, Why *why)
{
        SdBoot *b = sd(boot);
        int r = end(b, &b->file, why);

        sd_file_done(&b->file);
        return r;
}

static int pump(Boot *boot, int from, uint64_t size, Why *why)
{
        uint8_t buf[32 * 1024];

        while (size > 0) {
                ssize_t l = fd_read_full(from, buf, (size_t) MIN(size, (uint64_t) sizeof(buf)));
                int r;

                if (l <= 0)
                        return fail_errno(why, l < 0 ? (int) l : -EIO, WHY_HOST,
                                          "reading an addon of the running entry");
                r = sd_file_write(boot, buf, (size_t) l, why);
                if (r < 0)
                        return r;
                size -= (uint64_t) l;
        }
        return 0;
}

int sd_copy_carried(Boot *boot, const BootFile *file, Why *why)
{
        SdBoot *b = sd(boot);
        _cleanup_(view_done) View v = { 0 };
        _cleanup_(close_fdp) int entries = -1, dir = -1, from = -1;
        char addons[ENTRY_ADDONS_MAX];
        const EspEntry *running;
        int r;

        if ((r = view_load(b, &v, why)) < 0 ||
            (r = view_running(&v, b->target < 0 ? -1 : 1 - b->target, &running, why)) < 0)
                return r;
        entry_addons_dir(running->name, addons);
        entries = esp_dir(b->esp.fd, ESP_ENTRIES);
        dir = entries < 0 ? entries : esp_dir(entries, addons);
        from = dir < 0 ? dir : esp_open_file(dir, file->name);
        if (from < 0)
                return fail_errno(why, from, WHY_HOST, "addon %s of the running entry", file->name);
        if ((r = sd_file_begin(boot, file, why)) < 0)
                return r;
        r = pump(boot, from, file->size, why);
        if (r >= 0)
                return sd_file_end(boot, why);
        sd_file_done(&b->file);
        return r;
}
