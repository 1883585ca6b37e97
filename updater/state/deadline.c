/* SPDX-License-Identifier: MIT */

/* The deadline of a trial boot, kept by systemd alone. The target may hold an image without gybe, or one in which gybe does
 * not start: so the slot that runs now writes a timer into /etc/systemd/system, which both slots share, before it sets the
 * one-shot. In the target the timer runs from the start of the boot; the service it starts leaves a mark and reboots. In every
 * other slot the kernel command line does not carry the root hash and neither unit does anything.
 *
 *   gybe-deadline.service   the mark and the reboot
 *   gybe-deadline.timer     its existence is the deadline: the service looks for this file before it acts, so removing it
 *                           disarms a boot that is already running, without a word to systemd
 *   sysinit.target.wants/   earlier than anything that may hang in user space, and kept through emergency mode
 *
 * Written service, timer, link; removed timer, link, service: after every prefix of either there is a whole deadline or none.
 * The reboot is PID 1's own (SuccessAction, FailureAction), so it needs no program of an image that may be broken; the mark is
 * the file that PID 1 opens as standard output (StandardOutput=append:), so it is there even when the shell is not. */

#include "state/document.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define UNIT_DIR     "/etc/systemd/system"
#define WANTS        "sysinit.target.wants"
#define TIMER        "gybe-deadline.timer"
#define SERVICE      "gybe-deadline.service"
#define MARK_DIR     "deadline"
#define EVIDENCE_MAX (4u * 1024u)         /* a dozen stuck jobs and failed units */
#define MARK_MAX     (1u * 1024u * 1024u) /* what is read to find the end of it */

/* How the verity root may be spelled on a command line: /usr of ACL, /usr of Flatcar, a whole root. */
static const char *const spellings[] = { "usrhash", "verity.usrhash", "roothash" };

static void add_conditions(Str *s, const char *roothash)
{
        /* "|": one of these is enough */
        for (size_t i = 0; i < ELEMENTSOF(spellings); i++)
                str_addf(s, "ConditionKernelCommandLine=|%s=%s\n", spellings[i], roothash);
}

static char *timer_text(const char *roothash, uint64_t seconds)
{
        _cleanup_(str_done) Str s = STR_NULL;

        str_add(&s, "# Written by gybe before a trial boot and removed by it when the boot is committed.\n"
                    "[Unit]\n"
                    "Description=Deadline of a trial boot\n"
                    "Documentation=man:gybe(1)\n"
                    "DefaultDependencies=no\n"
                    "IgnoreOnIsolate=yes\n");
        add_conditions(&s, roothash);
        str_addf(&s,
                 "\n[Timer]\n"
                 "OnBootSec=%llus\n"
                 "AccuracySec=1s\n",
                 (unsigned long long) seconds);
        return str_take(&s);
}

static char *service_text(const char *roothash, uint64_t seconds)
{
        _cleanup_(str_done) Str s = STR_NULL;

        str_add(&s, "# Written by gybe before a trial boot and removed by it when the boot is committed.\n"
                    "[Unit]\n"
                    "Description=Return to the previous system, the trial boot was not committed in time\n"
                    "Documentation=man:gybe(1)\n"
                    "DefaultDependencies=no\n"
                    "IgnoreOnIsolate=yes\n"
                    "ConditionPathExists=" UNIT_DIR "/" TIMER "\n");
        add_conditions(&s, roothash);
        str_addf(&s,
                 "SuccessAction=reboot-force\n"
                 "FailureAction=reboot-force\n"
                 "\n[Service]\n"
                 "Type=oneshot\n"
                 "TimeoutStartSec=30s\n"
                 "TimeoutStopSec=10s\n"
                 "StandardOutput=append:" STATE_DIR "/" MARK_DIR "/%s\n"
                 "StandardError=inherit\n"
                 "ExecStart=-/bin/sh -c \"echo not committed within %llu s of boot, waiting jobs and failed "
                 "units:; "
                 "systemctl --no-pager --plain --no-legend list-jobs; "
                 "systemctl --no-pager --plain --no-legend --failed list-units\"\n",
                 roothash, (unsigned long long) seconds);
        return str_take(&s);
}

static int write_unit(int dir_fd, const char *name, const char *text, Why *why)
{
        int r = text ? file_replace(dir_fd, name, text, strlen(text), 0644) : -ENOMEM;

        return r < 0 ? fail_errno(why, r, WHY_HOST, "deadline: %s/%s", UNIT_DIR, name) : 0;
}

static int write_link(int dir_fd, Why *why)
{
        _cleanup_(close_fdp) int wants_fd = dir_make(dir_fd, WANTS, 0755);
        char target[64] = { 0 };
        int r = wants_fd;

        if (r >= 0 && readlinkat(wants_fd, TIMER, target, sizeof(target) - 1) > 0 &&
            streq(target, "../" TIMER))
                return 0;
        if (r >= 0)
                r = file_remove(wants_fd, TIMER);
        if (r >= 0 && (symlinkat("../" TIMER, wants_fd, TIMER) < 0 || fsync(wants_fd) < 0))
                r = -errno;
        return r < 0 ? fail_errno(why, r, WHY_HOST, "deadline: %s/%s/%s", UNIT_DIR, WANTS, TIMER) : 0;
}

int deadline_arm(const Env *env, const char *roothash, uint64_t seconds, Why *why)
{
        _cleanup_(free_charp) char *timer = NULL, *service = NULL;
        _cleanup_(close_fdp) int mark_fd = -1, dir_fd = -1;
        char hex[65];
        int r;

        if (seconds == 0 || hex_normalize(roothash, 64, hex) < 0)
                return fail(why, -EINVAL, WHY_HOST, "bug", "deadline: %llu seconds for \"%.80s\"",
                            (unsigned long long) seconds, roothash);
        /* a mark of an earlier attempt would be a verdict on this one */
        r = deadline_forget(env, why);
        if (r < 0)
                return r;
        mark_fd = state_open_dir(env, MARK_DIR, true, why);
        if (mark_fd < 0)
                return mark_fd;
        dir_fd = env_make_dir(env, UNIT_DIR, 0755);
        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_HOST, "deadline: %s", UNIT_DIR);
        timer = timer_text(hex, seconds);
        service = service_text(hex, seconds);
        if ((r = write_unit(dir_fd, SERVICE, service, why)) < 0 ||
            (r = write_unit(dir_fd, TIMER, timer, why)) < 0)
                return r;
        return write_link(dir_fd, why);
}

int deadline_disarm(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = env_open_dir(env, UNIT_DIR), wants_fd = -1;
        int r, n = 0;

        if (dir_fd == -ENOENT)
                return 0;
        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_HOST, "deadline: %s", UNIT_DIR);
        n = r = file_remove(dir_fd, TIMER);
        wants_fd = dir_open(dir_fd, WANTS);
        if (r >= 0 && wants_fd >= 0)
                r = file_remove(wants_fd, TIMER);
        else if (r >= 0 && wants_fd != -ENOENT)
                r = wants_fd;
        if (r >= 0)
                r = file_remove(dir_fd, SERVICE);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "deadline: %s/%s", UNIT_DIR, TIMER) : n;
}

int deadline_possible(const Env *env)
{
        static const char *const folders[] = { UNIT_DIR, "/etc/systemd", "/etc" };

        /* the first that is there: what is missing below it can be made */
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                _cleanup_(close_fdp) int fd = env_open_dir(env, folders[i]);

                if (fd == -ENOENT)
                        continue;
                if (fd < 0)
                        return fd;
                return faccessat(fd, ".", W_OK, AT_EACCESS) < 0 ? -errno : 0;
        }
        return -ENOENT;
}

int deadline_armed(const Env *env, const char *roothash)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char hex[65];

        if (hex_normalize(roothash, 64, hex) < 0 || env_read(env, UNIT_DIR "/" TIMER, MARK_MAX, &b) < 0)
                return 0;
        return b.data && strstr((char *) b.data, hex) != NULL;
}

/* The mark was written by the image that did not hold: its text is shown, so it has to be tame. */
static char *tame(const Bytes *b)
{
        size_t skip = b->size > EVIDENCE_MAX ? b->size - EVIDENCE_MAX : 0;
        char *text = b->size > 0 ? strndup((const char *) b->data + skip, b->size - skip) : strdup("");

        for (char *p = text; p && *p; p++)
                if ((*p < 0x20 || *p > 0x7e) && *p != '\n')
                        *p = '?';
        return text;
}

int deadline_fired(const Env *env, const char *roothash, char **ret_evidence, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, MARK_DIR, false, why);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char hex[65];
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        if (hex_normalize(roothash, 64, hex) < 0 || faccessat(dir_fd, hex, F_OK, 0) < 0)
                return 0;
        if (!ret_evidence)
                return 1;
        /* the name is the mark; what stands in it is a help */
        r = file_read(dir_fd, hex, MARK_MAX, &b);
        if (r == -ENOMEM)
                return r;
        *ret_evidence = tame(&b);
        return *ret_evidence ? 1 : -ENOMEM;
}

int deadline_forget(const Env *env, Why *why)
{
        _cleanup_(close_fdp) int dir_fd = state_open_dir(env, "", false, why);
        int r;

        if (dir_fd < 0)
                return dir_fd == -ENOENT ? 0 : dir_fd;
        r = dir_remove(dir_fd, MARK_DIR);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s", STATE_DIR, MARK_DIR) : 0;
}
