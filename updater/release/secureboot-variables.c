/* SPDX-License-Identifier: MIT */

/* What this machine's firmware and shim trust, as the kernel shows it: files of efivarfs, four bytes of attributes and then
 * the value. A missing variable is an empty one (no shim, no Secure Boot, no EFI); one that cannot be read is a failure of
 * the host. What the values mean is secureboot.c's business. */

#include "release/release.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

#define VARIABLE_MAX                                                                                         \
        (1u * MIB)        /* a dbx has about 25 kB, and firmware rarely more than 64 kB for one variable */
#define MOK_PARTS_MAX 64u /* shim splits what is too large for one variable: MokListRT1, MokListRT2, ... */
#define GLOBAL_GUID   "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define DATABASE_GUID "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
#define SHIM_GUID     "605dab50-e046-4300-abb6-3dd810dd8b23"

void secureboot_variables_done(SecureBootVariables *v)
{
        bytes_done(&v->db);
        bytes_done(&v->dbx);
        bytes_done(&v->mok);
        bytes_done(&v->mokx);
        bytes_done(&v->sbat_level);
}

/* 1 and the bytes behind the four of attributes, 0 when there is no such variable. */
static int read_variable(const Env *env, const char *name, const char *guid, Bytes *ret, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("/sys/firmware/efi/efivars/%s-%s", name, guid);
        _cleanup_(bytes_done) Bytes raw = BYTES_NULL;
        int r;

        if (!path)
                return -ENOMEM;
        r = env_read(env, path, VARIABLE_MAX, &raw);
        if (r == -ENOENT || r == -ENOTDIR)
                return 0;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "EFI variable %s", name);
        if (raw.size < 4)
                return fail(why, -EBADMSG, WHY_HOST, "secureboot-variable",
                            "EFI variable %s: %zu bytes, attributes alone are 4", name, raw.size);
        r = bytes_append(ret, raw.data + 4, raw.size - 4);
        return r < 0 ? r : 1;
}

/* MokListRT, and its further parts when shim had to split it. */
static int read_mok(const Env *env, const char *name, Bytes *ret, Why *why)
{
        int r = read_variable(env, name, SHIM_GUID, ret, why);

        for (unsigned i = 1; r >= 0 && i <= MOK_PARTS_MAX; i++) {
                char part[32];

                (void) snprintf(part, sizeof(part), "%s%u", name, i);
                r = read_variable(env, part, SHIM_GUID, ret, why);
                if (r == 0)
                        return 0;
        }
        return r < 0 ? r : 0;
}

static int read_flag(const Env *env, const char *name, bool *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = read_variable(env, name, GLOBAL_GUID, &b, why);

        *ret = r > 0 && b.size > 0 && b.data[0] == 1;
        return r;
}

int secureboot_open(const Env *env, SecureBoot **ret, Why *why)
{
        _cleanup_(secureboot_variables_done) SecureBootVariables v = { 0 };
        bool on, setup;
        int r;

        if ((r = read_flag(env, "SecureBoot", &on, why)) < 0 ||
            (r = read_flag(env, "SetupMode", &setup, why)) < 0 ||
            (r = read_variable(env, "db", DATABASE_GUID, &v.db, why)) < 0 ||
            (r = read_variable(env, "dbx", DATABASE_GUID, &v.dbx, why)) < 0 ||
            (r = read_mok(env, "MokListRT", &v.mok, why)) < 0 ||
            (r = read_mok(env, "MokListXRT", &v.mokx, why)) < 0 ||
            (r = read_variable(env, "SbatLevelRT", SHIM_GUID, &v.sbat_level, why)) < 0)
                return r;
        v.enabled = on && !setup;
        return secureboot_new(&v, ret, why);
}
