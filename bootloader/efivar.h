/* SPDX-License-Identifier: MIT */
#pragma once

/* EFI variables as files below /sys/firmware/efi/efivars, and the load options (Boot####) among them. For siblings and
 * tests. Facts: acl-disk-and-boot.md 5. */

#include "base/env.h"

#define EFI_LOADER "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
#define EFI_GLOBAL "8be4df61-93ca-11d2-aa0d-00e098032b8c"

#define EFIVAR_MAX           (64u * 1024u) /* dbx has 20 KiB; the kernel refuses more than 64 KiB at once */
#define EFIVAR_NV_BS_RT      7u
#define BOOT_ORDER_MAX       128u /* firmware menus have a dozen */
#define BOOT_OPTION_PATH_MAX 512u

typedef struct EfiVars {
        int dir_fd;
        bool kernel; /* efivarfs, not a folder of files that stands for it */
} EfiVars;

#define EFIVARS_NULL                                                                                         \
        (EfiVars)                                                                                            \
        {                                                                                                    \
                .dir_fd = -1                                                                                 \
        }

/* life cycle. -ENOENT: this host has none. */
int efivars_open(const Env *env, EfiVars *ret);
void efivars_done(EfiVars *vars);
bool efivars_present(const EfiVars *vars);

/* questions: -ENOENT when unset, or when there are no variables at all */
int efivar_get(const EfiVars *vars, const char *guid, const char *name, Bytes *ret);
/* A string as UTF-8; -EBADMSG when it is not UTF-16. */
int efivar_get_text(const EfiVars *vars, const char *guid, const char *name, char **ret);
int efivar_get_u64(const EfiVars *vars, const char *guid, const char *name, uint64_t *ret);
int efivar_get_u16(const EfiVars *vars, const char *guid, const char *name, uint16_t *ret);
int efivar_get_u8(const EfiVars *vars, const char *guid, const char *name, uint8_t *ret);
/* Variables of this vendor whose names start with prefix; NULL-terminated. */
int efivar_list(const EfiVars *vars, const char *guid, const char *prefix, char ***ret);

/* May variables be written, and how many bytes are left? 0 and *ret_free (UINT64_MAX: the kernel does not say), -EROFS,
 * -EACCES, -ENOENT. Writes nothing. */
int efivars_room(const EfiVars *vars, uint64_t *ret_free);

/* changes. An equal value is not written again unless force says so (flash wears out; a proof wants the write). */
int efivar_set(const EfiVars *vars, const char *guid, const char *name, const void *data, size_t size,
               bool force);
int efivar_set_text(const EfiVars *vars, const char *guid, const char *name, const char *text, bool force);
int efivar_set_u16(const EfiVars *vars, const char *guid, const char *name, uint16_t value);
/* A variable that is not there is deleted already. */
int efivar_delete(const EfiVars *vars, const char *guid, const char *name);

/* UTF-16LE text, up to its NUL if there is one, to UTF-8. Pure. -EBADMSG: odd length, half of a pair. */
int utf16_decode(const uint8_t *data, size_t size, char **ret);
/* ASCII to UTF-16LE with its NUL. -EINVAL for anything else: nothing we write has other characters. */
int utf16_encode(const char *text, Bytes *ret);

/* --- load options: pure --- */

typedef struct EfiDisk { /* the HD() node: a partition of a GPT */
        uint32_t number;
        uint64_t start_lba, size_lba;
        char partuuid[37];
} EfiDisk;

typedef struct BootOption {
        bool active;
        char *description;
        bool has_disk;
        EfiDisk disk;
        char *path; /* "\EFI\BOOT\BOOTX64.EFI"; NULL: the medium's default */
} BootOption;

int boot_option_parse(const uint8_t *data, size_t size, BootOption *ret);
int boot_option_format(const char *description, const EfiDisk *disk, const char *path, Bytes *ret);
void boot_option_done(BootOption *option);
