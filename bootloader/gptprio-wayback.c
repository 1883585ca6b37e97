/* SPDX-License-Identifier: MIT */

/* The guarantees of the way back that are GRUB's. Its command line comes from one configuration for both slots, so the one
 * that runs is what the new slot will get. */

#include "bootloader/gptprio.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

#include <errno.h>

#define CMDLINE_MAX (64u * 1024u)

static void check_default(const GptPrio *g, int running, Guarantees *list)
{
        Prio pair[2];
        int fallback;

        gptprio_read(g, pair);
        fallback = prio_default(pair, 2);
        if (fallback == running)
                guarantee_add(list, "default", GUARANTEE_YES, "slot %c boots by default (GPT priority %u)",
                              'a' + running, pair[running].priority);
        else if (fallback < 0)
                guarantee_add(list, "default", GUARANTEE_NO, "neither slot is marked successful");
        else
                guarantee_add(list, "default", GUARANTEE_NO, "slot %c boots by default, and slot %c runs",
                              'a' + fallback, 'a' + running);
}

/* The kernel that runs, against its digest at commit time. */
static int check_kernel(const GptPrio *g, int running, const Json *files, Guarantees *list, Why *why)
{
        _cleanup_(close_fdp) int dir = esp_dir(g->sd.esp.fd, FLATCAR_DIR);
        _cleanup_(free_charp) char *path = str_printf(FLATCAR_DIR "/%s", gptprio_entry(running));
        const char *want;
        char hex[65];
        int r;

        if (!path)
                return -ENOMEM;
        want = json_str(json_get(files, path));
        if (!want) {
                guarantee_add(list, "old-entry", GUARANTEE_UNKNOWN,
                              "what the way back consisted of when it was committed is not recorded");
                return 0;
        }
        r = dir < 0 ? dir : esp_file_digest(dir, gptprio_entry(running), hex, NULL);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s: part of the way back", path);
        if (str_fold_cmp(hex, want) != 0)
                return fail(
                        why, -EBADMSG, WHY_HOST, "way-back",
                        "%s: part of the way back, and not what was committed (SHA-256 %.16s..., recorded "
                        "%.16s...)",
                        path, hex, want);
        guarantee_add(list, "old-entry", GUARANTEE_YES, "%s is what was committed", path);
        return 0;
}

static void check_cmdline(const char *text, Guarantees *list)
{
        const char *missing = NULL;
        CmdlineArgs args;

        if (!text || cmdline_parse(text, &args) < 0) {
                guarantee_add(list, "new-panic", GUARANTEE_UNKNOWN, "the kernel command line cannot be read");
                guarantee_add(list, "new-initrd", GUARANTEE_UNKNOWN,
                              "the kernel command line cannot be read");
                return;
        }
        guarantee_add(list, "new-panic", args.panic_reboots ? GUARANTEE_YES : GUARANTEE_NO,
                      args.panic_reboots
                              ? "GRUB's command line reboots after a kernel panic (panic=)"
                              : "GRUB's command line does not reboot after a kernel panic: add panic= to "
                                "linux_append in the OEM's grub.cfg");
        if (cmdline_initrd_reboots(&args, &missing))
                guarantee_add(list, "new-initrd", GUARANTEE_YES,
                              "GRUB's command line reboots when the initrd fails");
        else
                guarantee_add(list, "new-initrd", GUARANTEE_NO,
                              "GRUB's command line does not reboot when the initrd fails: it needs %s",
                              missing);
}

/* That GRUB reads the attributes is certain where it counted a try for this boot; otherwise by what it is called on the command
 * line (BOOT_IMAGE=/flatcar/vmlinuz-a is GRUB's own word). */
static void check_oneshot(const char *text, Guarantees *list)
{
        if (text && strstr(text, "BOOT_IMAGE=") && strstr(text, "vmlinuz-"))
                guarantee_add(list, "one-shot", GUARANTEE_YES,
                              "GRUB started this system; it tries a slot as often as its GPT entry says");
        else
                guarantee_add(list, "one-shot", GUARANTEE_UNKNOWN,
                              "it is not known whether GRUB started this system");
}

static int check_table(GptPrio *g, bool prove, Guarantees *list, Why *why)
{
        Prio pair[2];
        int r;

        if (!prove) {
                guarantee_add(list, "nvram", GUARANTEE_UNKNOWN,
                              "whether the partition table can be written shows when finalize tries");
                return 0;
        }
        gptprio_read(g, pair);
        r = gptprio_write(g, pair, true, why);
        if (r >= 0)
                guarantee_add(list, "nvram", GUARANTEE_YES,
                              "the partition table was written once more, as it was");
        return r;
}

int gp_way_back(Boot *boot, int running_slot, const Json *files, const char *target _unused_, bool prove,
                Guarantees *ret, Why *why)
{
        GptPrio *g = gp(boot);
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        const char *cmdline;
        Why no = { 0 };
        int r;

        if (env_read(g->sd.env, "/proc/cmdline", CMDLINE_MAX, &text) == -ENOMEM)
                return -ENOMEM;
        cmdline = (const char *) text.data;
        check_default(g, running_slot, ret);
        r = check_kernel(g, running_slot, files, ret, prove ? why : &no);
        if (r == -ENOMEM || (r < 0 && prove))
                return r;
        if (r < 0)
                guarantee_add(ret, "old-entry", GUARANTEE_NO, "%s", no.text);
        check_oneshot(cmdline, ret);
        guarantee_add(
                ret, "firmware-return", GUARANTEE_UNKNOWN,
                "GRUB tries its default again when a kernel does not load, where its configuration says so "
                "(Flatcar's does)");
        check_cmdline(cmdline, ret);
        return check_table(g, prove, ret, why);
}
