/* SPDX-License-Identifier: MIT */

#include "boot-journal.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/run.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define PROGRAM     "/usr/bin/journalctl"
#define JOURNAL_DIR "/var/log/journal"
#define BOOTS_MAX   64u           /* that are listed; a trial is two or three boots back */
#define LOOK_AT_MAX 4u            /* whose kernel messages are read */
#define LIST_MAX    (64u * 1024u) /* a hundred bytes a boot */
#define KERNEL_MAX                                                                                           \
        (2u * 1024u *                                                                                        \
         1024u) /* the command line is at its beginning: a chatty kernel writes some 300 KiB a boot */
#define TAIL_MAX (64u * 1024u)
#define ONE_SEC  15u /* a journal of gigabytes on a slow disk */
#define ALL_SEC  45u

typedef struct Reader {
        const Env *env;
        char *folder; /* --directory=..., NULL on the real machine */
        int exe_fd;
        int64_t until; /* monotonic seconds */
} Reader;

static int64_t now_sec(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return ts.tv_sec;
}

static void reader_done(Reader *r)
{
        free(r->folder);
        close_fdp(&r->exe_fd);
}

/* 1 it can be asked, 0 there is no journalctl */
static int reader_open(const Env *env, Reader *ret)
{
        Reader r = { .env = env,
                     .exe_fd = env_open_path(env, PROGRAM, O_PATH, 0),
                     .until = now_sec() + ALL_SEC };

        if (r.exe_fd < 0)
                return 0;
        if (!env_is_real(env)) {
                _cleanup_(free_charp) char *path = env_host_path(env, JOURNAL_DIR);

                r.folder = path ? str_printf("--directory=%s", path) : NULL;
                if (!r.folder) {
                        reader_done(&r);
                        return -ENOMEM;
                }
        }
        *ret = r;
        return 1;
}

/* Up to five words beside what is always said. *ret is tame, "" when nothing was answered. */
static int ask(const Reader *r, size_t max, char **ret, const char *const words[5])
{
        char *const kept[] = { (char *) "PATH=/usr/bin:/bin", (char *) "LANG=C.UTF-8",
                               (char *) "SYSTEMD_COLORS=0", (char *) "SYSTEMD_PAGER=cat", NULL };
        char *argv[10] = { (char *) PROGRAM, (char *) "--no-pager", (char *) "--quiet" };
        RunOptions o = { .exe_fd = r->exe_fd, .cwd_fd = -1, .environ = kept, .output_max = max };
        _cleanup_(run_result_done) RunResult result = { 0 };
        int64_t left = r->until - now_sec();
        size_t n = 3;
        int e;

        if (r->folder)
                argv[n++] = r->folder;
        for (size_t i = 0; i < 5 && words[i]; i++)
                argv[n++] = (char *) words[i];
        o.timeout_sec = (uint64_t) MIN(left, (int64_t) ONE_SEC);
        e = left > 0 ? run(argv, &o, &result) : 0;
        if (e == -ENOMEM)
                return e;
        if (e >= 0 && result.exit_code != 0) {
                log_debug("%s %s: exit %i%s", PROGRAM, words[0], result.exit_code,
                          result.timed_out ? ", timed out" : "");
                bytes_done(&result.output);
        }
        *ret = evidence_tame(result.output.data, result.output.size, max);
        return *ret ? 0 : -ENOMEM;
}

/* Boot ids are written with dashes by the kernel, and without by systemd. */
static void plain_id(const char *id, char ret[33])
{
        size_t n = 0;

        for (; id && *id && n < 32; id++)
                if (*id != '-')
                        ret[n++] = *id;
        ret[n] = '\0';
}

/* The second of the first line of -o short-unix; 0 unknown. */
static uint64_t first_second(const char *text)
{
        size_t n = strspn(text, "0123456789");
        char word[16];
        uint64_t sec;

        if (n == 0 || n >= sizeof(word) || text[n] != '.')
                return 0;
        memcpy(word, text, n);
        word[n] = '\0';
        return parse_u64(word, &sec) >= 0 ? sec : 0;
}

/* What its kernel said: 1 it is the target's boot, and *ret tells of it. */
static int look_at(const Reader *r, const char *id, const char *roothash, BootJournal *j, BootTrace *ret)
{
        _cleanup_(free_charp) char *text = NULL, *boot = str_printf("--boot=%s", id);
        BootTrace trace = { 0 };
        int e;

        if (!boot)
                return -ENOMEM;
        e = ask(r, KERNEL_MAX, &text, (const char *[5]){ boot, "--dmesg", "--output=short-unix" });
        if (e < 0)
                return e;
        boot_trace_scan(&trace, text);
        if (!trace.usrhash[0])
                return 0;
        if (!streq(trace.usrhash, roothash)) {
                uint64_t start = first_second(text);

                if (start > 0 && j->n_others < BOOT_JOURNAL_OTHERS)
                        j->others[j->n_others++] = start;
                return 0;
        }
        *ret = trace;
        return 1;
}

/* How far it got is said by PID 1; what people want to read are the last lines of everybody. */
static int read_boot(const Reader *r, const char *id, BootJournal *j)
{
        _cleanup_(free_charp) char *boot = str_printf("--boot=%s", id), *manager = NULL, *tail = NULL;
        int e;

        if (!boot)
                return -ENOMEM;
        if ((e = ask(r, KERNEL_MAX, &manager, (const char *[5]){ boot, "--output=cat", "_PID=1" })) < 0 ||
            (e = ask(r, TAIL_MAX, &tail,
                     (const char *[5]){ boot, "--output=short-monotonic", "--lines=200" })) < 0)
                return e;
        boot_trace_scan(&j->trace, manager);
        boot_trace_scan(&j->trace, tail);
        (void) snprintf(j->boot_id, sizeof(j->boot_id), "%s", id);
        j->text = TAKE(tail);
        return 0;
}

/* The boots between the one that armed the trial and this one, newest first. */
static int search(const Reader *r, const char *before, const char *now, const char *roothash, BootJournal *j)
{
        char ids[BOOTS_MAX][33], first[33], last[33];
        _cleanup_(free_charp) char *list = NULL;
        const char *found = NULL;
        unsigned looked = 0;
        BootTrace ignored;
        size_t n;
        int e = ask(r, LIST_MAX, &list, (const char *[5]){ "--list-boots" });

        if (e < 0)
                return e;
        n = boot_list_parse(list, ids, BOOTS_MAX);
        plain_id(before, first);
        plain_id(now, last);
        for (size_t i = n; i > 0 && looked < LOOK_AT_MAX; i--) {
                if (streq(ids[i - 1], last))
                        continue;
                if (streq(ids[i - 1], first))
                        break;
                looked++;
                e = look_at(r, ids[i - 1], roothash, j, found ? &ignored : &j->trace);
                if (e < 0)
                        return e;
                if (e > 0 && !found)
                        found = ids[i - 1];
        }
        return found ? read_boot(r, found, j) : 0;
}

int boot_journal_find(const Env *env, const char *before, const char *now, const char *roothash,
                      BootJournal *ret)
{
        _cleanup_(boot_journal_done) BootJournal j = { 0 };
        _cleanup_(reader_done) Reader reader = { .exe_fd = -1 };
        int r = reader_open(env, &reader);

        if (r > 0)
                r = search(&reader, before, now, roothash, &j);
        if (r < 0)
                return r;
        *ret = j;
        j = (BootJournal){ 0 };
        return 0;
}

void boot_journal_done(BootJournal *j)
{
        free(j->text);
        *j = (BootJournal){ 0 };
}
