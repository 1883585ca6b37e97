/* SPDX-License-Identifier: MIT */

/* The Secure Boot chain, before the flip: a stub that is refused an addon boots on without it and hangs for ever, so what
 * firmware, shim and stub will check after the reboot is checked here first. The rules are release/secureboot's; this file
 * brings the files to it, from the new image before anything is written and from the ESP before it is armed. */

#include "update.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>

static int check_file(const SecureBoot *sb, const ChainFile *f, char signer[65], Why *why)
{
        return secureboot_check(sb, f->what, f->pe->authenticode_sha256, f->pe->signatures,
                                f->pe->n_signatures, f->pe->sbat ? f->pe->sbat : "", signer, why);
}

/* Who signed the UKI that runs; "" when that cannot be said (not booted through Secure Boot, accepted by its hash). */
static int running_signer(Update *u, const SecureBoot *sb, char ret[65])
{
        const char *name = u->host.boot_state.selected[0] ? u->host.boot_state.selected
                                                          : u->host.boot_state.default_name;
        const BootEntry *entry = boot_entry_find(&u->host.boot_state, name);
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        _cleanup_(close_fdp) int fd = -1;
        Why ignored = { 0 };
        int r;

        ret[0] = 0;
        if (!entry)
                return 0;
        fd = u->host.boot->ops->open_file(u->host.boot, entry->name, BOOT_UKI, NULL, &ignored);
        r = fd < 0 ? fd : pe_parse_fd(fd, entry->name, WHY_HOST, &pe, &ignored);
        if (r >= 0) {
                ChainFile f = { .what = entry->name, .is_uki = true, .pe = &pe };
                r = check_file(sb, &f, ret, &ignored);
        }
        if (r < 0)
                ret[0] = 0;
        return r == -ENOMEM ? r : 0;
}

int update_check_chain(Update *u, const ChainFile *files, size_t n, Why *why)
{
        _cleanup_(secureboot_freep) SecureBoot *sb = NULL;
        char running[65], signer[65];
        int r;

        if (!(u->host.config.require & TRUST_SECUREBOOT))
                return 0;
        r = secureboot_open(u->env, &sb, why);
        if (r >= 0)
                r = running_signer(u, sb, running);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                signer[0] = 0;
                r = check_file(sb, &files[i], signer, why);
                if (r < 0 || !files[i].is_uki || !running[0] || streq(signer, running))
                        continue;
                (void) fail(why, -EKEYREJECTED, WHY_TRUST, "other-signer",
                            "%s: its signer is %.16s..., the running UKI's is %.16s...", files[i].what,
                            signer[0] ? signer : "only a listed hash", running);
                return fail_hint(why, -EKEYREJECTED, "sign it with the key of the running UKI");
        }
        return r;
}

static bool takes_part(const BootFile *f)
{
        /* A carried addon that firmware refuses is ignored today and will be tomorrow: no reason to refuse the update. */
        return !f->carried && (boot_kind_starts(f->kind) || f->kind == BOOT_ADDON);
}

static int read_staged(Update *u, const BootPlan *plan, PeSummary *pes, ChainFile *files, size_t *n, Why *why)
{
        for (size_t i = 0; i < plan->n_files; i++) {
                const BootFile *f = &plan->files[i];
                _cleanup_(close_fdp) int fd = -1;
                const char *what = f->name && f->name[0] ? f->name : "staged UKI";
                int r;

                if (!takes_part(f))
                        continue;
                fd = u->host.boot->ops->open_file(u->host.boot, NULL, f->kind, f->name, why);
                r = fd < 0 ? fd : pe_parse_fd(fd, what, WHY_TRUST, &pes[*n], why);
                if (r < 0)
                        return r;
                files[*n] = (ChainFile){ .what = what, .is_uki = boot_kind_starts(f->kind), .pe = &pes[*n] };
                (*n)++;
        }
        return 0;
}

int update_check_staged_chain(Update *u, const BootPlan *plan, Why *why)
{
        ChainFile *files;
        PeSummary *pes;
        size_t n = 0;
        int r;

        if (!(u->host.config.require & TRUST_SECUREBOOT))
                return 0;
        files = calloc(plan->n_files + 1, sizeof(*files));
        pes = calloc(plan->n_files + 1, sizeof(*pes));
        r = files && pes ? read_staged(u, plan, pes, files, &n, why) : -ENOMEM;
        if (r >= 0)
                r = update_check_chain(u, files, n, why);
        for (size_t i = 0; pes && i < n; i++)
                pe_summary_done(&pes[i]);
        free(files);
        free(pes);
        return r;
}
