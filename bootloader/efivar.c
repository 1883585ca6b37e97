/* SPDX-License-Identifier: MIT */

/* One file a variable: four bytes of attributes, then the value. On the kernel's efivarfs a variable changes by exactly one
 * write(2) and is protected by the immutable flag; on a host made of files the same folder holds plain files, which are
 * replaced atomically, and where an empty one means that somebody unset the variable. */

#include "bootloader/efivar.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#define EFIVARS_DIR    "/sys/firmware/efi/efivars"
#define ATTRIBUTE_SIZE 4u

int efivars_open(const Env *env, EfiVars *ret)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, EFIVARS_DIR);
        struct statfs fs;

        if (fd < 0)
                return fd;
        if (fstatfs(fd, &fs) < 0)
                return -errno;
        /* On the real machine the folder of sysfs is there even when nothing is mounted on it. */
        if (env_is_real(env) && fs.f_type != EFIVARFS_MAGIC)
                return -ENOENT;
        *ret = (EfiVars){ .dir_fd = take_fd(&fd), .kernel = fs.f_type == EFIVARFS_MAGIC };
        return 0;
}

void efivars_done(EfiVars *vars)
{
        close_fdp(&vars->dir_fd);
        *vars = EFIVARS_NULL;
}

bool efivars_present(const EfiVars *vars)
{
        return vars->dir_fd >= 0;
}

int efivars_room(const EfiVars *vars, uint64_t *ret_free)
{
        struct statfs fs;

        if (vars->dir_fd < 0)
                return -ENOENT;
        if (faccessat(vars->dir_fd, ".", W_OK, 0) < 0 || fstatfs(vars->dir_fd, &fs) < 0)
                return -errno;
        /* efivarfs knows since 6.6, and has the kernel's own reserve taken off already; a folder of files has a disk's room */
        *ret_free =
                vars->kernel && fs.f_blocks > 0 ? (uint64_t) fs.f_bavail * (uint64_t) fs.f_bsize : UINT64_MAX;
        return 0;
}

static char *variable_file(const char *guid, const char *name)
{
        return str_printf("%s-%s", name, guid);
}

static int read_value(const EfiVars *vars, const char *file, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        int r;

        r = file_read(vars->dir_fd, file, EFIVAR_MAX, &raw);
        if (r < 0)
                return r;
        if (raw.size == 0)
                return -ENOENT;
        if (raw.size < ATTRIBUTE_SIZE)
                return -EBADMSG;
        return bytes_copy(ret, raw.data + ATTRIBUTE_SIZE, raw.size - ATTRIBUTE_SIZE);
}

int efivar_get(const EfiVars *vars, const char *guid, const char *name, Bytes *ret)
{
        _cleanup_(free_charp) char *file = variable_file(guid, name);

        if (!file)
                return -ENOMEM;
        if (!efivars_present(vars))
                return -ENOENT;
        return read_value(vars, file, ret);
}

static int add_utf8(Str *out, uint32_t c)
{
        char buf[5] = { 0 };

        if (c < 0x80)
                buf[0] = (char) c;
        else if (c < 0x800) {
                buf[0] = (char) (0xc0 | c >> 6);
                buf[1] = (char) (0x80 | (c & 0x3f));
        } else if (c < 0x10000) {
                buf[0] = (char) (0xe0 | c >> 12);
                buf[1] = (char) (0x80 | (c >> 6 & 0x3f));
                buf[2] = (char) (0x80 | (c & 0x3f));
        } else {
                buf[0] = (char) (0xf0 | c >> 18);
                buf[1] = (char) (0x80 | (c >> 12 & 0x3f));
                buf[2] = (char) (0x80 | (c >> 6 & 0x3f));
                buf[3] = (char) (0x80 | (c & 0x3f));
        }
        str_add(out, buf);
        return 0;
}

int utf16_decode(const uint8_t *data, size_t size, char **ret)
{
        _cleanup_(str_done) Str out = STR_NULL;
        char *text;

        if (size % 2 != 0)
                return -EBADMSG;
        for (size_t i = 0; i < size; i += 2) {
                uint32_t c = (uint32_t) (data[i] | data[i + 1] << 8);

                if (c == 0)
                        break;
                if (c >= 0xd800 && c < 0xe000) {
                        uint32_t low = i + 4 <= size ? (uint32_t) (data[i + 2] | data[i + 3] << 8) : 0;

                        if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
                                return -EBADMSG;
                        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                        i += 2;
                }
                add_utf8(&out, c);
        }
        text = str_take(&out);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int utf16_encode(const char *text, Bytes *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        for (const char *p = text;; p++) {
                uint8_t unit[2] = { (uint8_t) *p, 0 };

                if (unit[0] >= 0x80)
                        return -EINVAL;
                if (bytes_append(&b, unit, sizeof(unit)) < 0)
                        return -ENOMEM;
                if (!*p)
                        break;
        }
        *ret = b;
        b = BYTES_NULL;
        return 0;
}

int efivar_get_text(const EfiVars *vars, const char *guid, const char *name, char **ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(free_charp) char *text = NULL;
        int r;

        r = efivar_get(vars, guid, name, &b);
        if (r < 0)
                return r;
        r = utf16_decode(b.data, b.size, &text);
        if (r < 0)
                return r;
        /* Trident unsets a variable by writing an empty string. */
        if (!*text)
                return -ENOENT;
        *ret = TAKE(text);
        return 0;
}

static int get_number(const EfiVars *vars, const char *guid, const char *name, size_t size, uint64_t *ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        uint64_t value = 0;
        int r;

        r = efivar_get(vars, guid, name, &b);
        if (r < 0)
                return r;
        if (b.size != size)
                return -EBADMSG;
        for (size_t i = 0; i < size; i++)
                value |= (uint64_t) b.data[i] << (8 * i);
        *ret = value;
        return 0;
}

int efivar_get_u64(const EfiVars *vars, const char *guid, const char *name, uint64_t *ret)
{
        return get_number(vars, guid, name, 8, ret);
}

int efivar_get_u16(const EfiVars *vars, const char *guid, const char *name, uint16_t *ret)
{
        uint64_t value = 0;
        int r = get_number(vars, guid, name, 2, &value);

        if (r >= 0)
                *ret = (uint16_t) value;
        return r;
}

int efivar_get_u8(const EfiVars *vars, const char *guid, const char *name, uint8_t *ret)
{
        uint64_t value = 0;
        int r = get_number(vars, guid, name, 1, &value);

        if (r >= 0)
                *ret = (uint8_t) value;
        return r;
}

int efivar_list(const EfiVars *vars, const char *guid, const char *prefix, char ***ret)
{
        _cleanup_(strv_freep) char **files = NULL, **names = NULL;
        int r;

        if (!efivars_present(vars))
                return -ENOENT;
        r = dir_list(vars->dir_fd, ".", &files);
        for (char **f = files; r >= 0 && *f; f++) {
                size_t n = strlen(*f), tail = strlen(guid) + 1;

                if (!str_starts(*f, prefix) || n <= tail || strcasecmp(*f + n - tail + 1, guid) != 0)
                        continue;
                (*f)[n - tail] = '\0';
                r = strv_add(&names, *f);
        }
        if (r < 0)
                return r;
        if (!names && !(names = calloc(1, sizeof(char *))))
                return -ENOMEM;
        *ret = TAKE(names);
        return 0;
}

/* Clears the immutable flag; *ret_flags gets what there was, for protect(). A missing file has none. */
static int unprotect(const EfiVars *vars, const char *file, unsigned *ret_flags)
{
        _cleanup_(close_fdp) int fd = openat(vars->dir_fd, file, O_RDONLY | O_CLOEXEC);
        unsigned flags = 0, cleared;

        *ret_flags = 0;
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || !(flags & FS_IMMUTABLE_FL))
                return 0;
        cleared = flags & ~(unsigned) FS_IMMUTABLE_FL;
        if (ioctl(fd, FS_IOC_SETFLAGS, &cleared) < 0)
                return -errno;
        *ret_flags = flags;
        return 0;
}

static void protect(const EfiVars *vars, const char *file, unsigned flags)
{
        _cleanup_(close_fdp) int fd = -1;

        if (flags == 0)
                return;
        fd = openat(vars->dir_fd, file, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                (void) ioctl(fd, FS_IOC_SETFLAGS, &flags); /* a protection against accidents, not a promise */
}

/* The whole variable in one write(2): the kernel passes each write to the firmware as one SetVariable. */
static int write_kernel(const EfiVars *vars, const char *file, const Bytes *raw)
{
        _cleanup_(close_fdp) int fd = -1;
        unsigned flags;
        ssize_t l;
        int r;

        r = unprotect(vars, file, &flags);
        if (r < 0)
                return r;
        fd = openat(vars->dir_fd, file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                r = -errno;
        else {
                do
                        l = write(fd, raw->data, raw->size);
                while (l < 0 && errno == EINTR);
                r = l < 0 ? -errno : (size_t) l == raw->size ? 0 : -EIO;
        }
        protect(vars, file, flags);
        return r;
}

int efivar_set(const EfiVars *vars, const char *guid, const char *name, const void *data, size_t size,
               bool force)
{
        static const uint8_t attributes[ATTRIBUTE_SIZE] = { EFIVAR_NV_BS_RT };
        _cleanup_(free_charp) char *file = variable_file(guid, name);
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL, old = BYTES_NULL;
        int r;

        if (!file)
                return -ENOMEM;
        if (!efivars_present(vars))
                return -ENOENT;
        if (!force && read_value(vars, file, &old) >= 0 && old.size == size &&
            (size == 0 || memcmp(old.data, data, size) == 0))
                return 0;
        r = bytes_append(&raw, attributes, sizeof(attributes));
        if (r >= 0)
                r = bytes_append(&raw, data, size);
        if (r < 0)
                return r;
        if (vars->kernel)
                return write_kernel(vars, file, &raw);
        return file_replace(vars->dir_fd, file, raw.data, raw.size, 0644);
}

int efivar_set_text(const EfiVars *vars, const char *guid, const char *name, const char *text, bool force)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = utf16_encode(text, &b);

        return r < 0 ? r : efivar_set(vars, guid, name, b.data, b.size, force);
}

int efivar_set_u16(const EfiVars *vars, const char *guid, const char *name, uint16_t value)
{
        uint8_t b[2] = { (uint8_t) value, (uint8_t) (value >> 8) };

        return efivar_set(vars, guid, name, b, sizeof(b), false);
}

int efivar_delete(const EfiVars *vars, const char *guid, const char *name)
{
        _cleanup_(free_charp) char *file = variable_file(guid, name);
        unsigned flags;
        int r;

        if (!file)
                return -ENOMEM;
        if (!efivars_present(vars))
                return 0;
        if (!vars->kernel) {
                r = file_remove(vars->dir_fd, file);
                return r < 0 ? r : 0;
        }
        r = unprotect(vars, file, &flags);
        if (r < 0)
                return r;
        return unlinkat(vars->dir_fd, file, 0) < 0 && errno != ENOENT ? -errno : 0;
}
