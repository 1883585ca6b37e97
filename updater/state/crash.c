/* SPDX-License-Identifier: MIT */

/* Crash dumps. A kernel that panics writes the end of its log to pstore in parts of a kilobyte or two, the newest first:
 * "dmesg-efi_pstore-173000000012001" is part 12 of the first dump of second 1730000000, and begins with "Panic#1 Part12". The
 * next boot's systemd-pstore moves them to /var/lib/systemd/pstore/1730000000/001/, where it joins them as dmesg.txt, too. */

#include "state/evidence.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PSTORE       "/sys/fs/pstore"
#define ARCHIVE      "/var/lib/systemd/pstore"
#define PARTS_MAX    256u          /* of all dumps together; an NVRAM of 256 KiB has room for a hundred */
#define DUMPS_MAX    32u           /* an archive that nobody cleans: the newest folders are the last */
#define PART_MAX     (64u * 1024u) /* efi 1 to 2 KiB, unpacked 10; ramoops up to a configured 64 KiB */
#define ARCHIVED_MAX (1024u * 1024u)
#define DEPTH_MAX    3u  /* TIME/COUNT/dmesg.txt */
#define SAME_DUMP    10u /* seconds in which the parts of one dump are written, where the name has no time */
#define TIME_MIN     1577836800u /* 2020: clocks that say less were never set */

static void dump_done(CrashDump *d)
{
        free(d->name);
        strv_free(d->files);
        free(d->text);
        *d = (CrashDump){ 0 };
}

void crash_dumps_done(CrashDumps *d)
{
        for (size_t i = 0; i < d->n; i++)
                dump_done(&d->list[i]);
        free(d->list);
        *d = (CrashDumps){ 0 };
}

/* --- parts --- */

typedef struct Part {
        char *name, *text; /* without its header */
        char group[80];    /* parts of one dump have the same */
        unsigned number;
        uint64_t time;
        bool taken;
} Part;

typedef struct Parts {
        Part *list;
        size_t n;
} Parts;

static void parts_done(Parts *p)
{
        for (size_t i = 0; i < p->n; i++) {
                free(p->list[i].name);
                free(p->list[i].text);
        }
        free(p->list);
        *p = (Parts){ 0 };
}

/* "Panic#1 Part12\n": its length, 0 when the line is something else. */
static size_t header_length(const char *text, char reason[32], unsigned *ret_part)
{
        size_t n = strcspn(text, "\n");
        unsigned count;
        char word[24];
        int used = 0;

        if (n > 60 || sscanf(text, "%23[A-Za-z ]#%9u Part%9u%n", word, &count, ret_part, &used) != 3 ||
            (size_t) used != n)
                return 0;
        (void) snprintf(reason, 32, "%s#%u", word, count);
        return n + (text[n] == '\n');
}

/* "efi_pstore-173000000012001": second, part, count. Other backends number their records and have the time on the file. */
static bool efi_name(const char *name, Part *p)
{
        static const char *const prefixes[] = { "dmesg-efi_pstore-", "dmesg-efi-pstore-", "dmesg-efi-" };
        uint64_t id;

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
                const char *rest = name + strlen(prefixes[i]);

                if (!str_starts(name, prefixes[i]) || parse_u64(rest, &id) < 0 || strlen(rest) < 6)
                        continue;
                p->number = (unsigned) (id / 1000 % 100);
                p->time = id / 100000;
                (void) snprintf(p->group, sizeof(p->group), "efi %llu %llu", (unsigned long long) p->time,
                                (unsigned long long) (id % 1000));
                return true;
        }
        return false;
}

static int read_part(int dir_fd, const char *name, Part *p)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        char reason[32] = "";
        unsigned number = 0;
        struct stat st;
        size_t skip;
        int r;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return -ENOENT;
        if ((r = file_read(dir_fd, name, PART_MAX, &b)) < 0)
                return r;
        p->name = strdup(name);
        p->text = evidence_tame(b.data, b.size, PART_MAX);
        if (!p->name || !p->text)
                return -ENOMEM;
        skip = header_length(p->text, reason, &number);
        if (!efi_name(name, p)) {
                const char *dash = strrchr(name, '-');

                p->number = number;
                p->time = st.st_mtim.tv_sec > 0 ? (uint64_t) st.st_mtim.tv_sec : 0;
                (void) snprintf(p->group, sizeof(p->group), "%.*s %s", (int) MIN(dash - name, (ptrdiff_t) 40),
                                name, reason);
        }
        memmove(p->text, p->text + skip, strlen(p->text + skip) + 1);
        return 0;
}

static int read_parts(int dir_fd, char **names, Parts *ret)
{
        _cleanup_(parts_done) Parts parts = { .list = calloc(PARTS_MAX, sizeof(Part)) };

        if (!parts.list)
                return -ENOMEM;
        for (char **n = names; n && *n && parts.n < PARTS_MAX; n++) {
                Part *p = &parts.list[parts.n];
                int r;

                if (!str_starts(*n, "dmesg-") || str_ends(*n, ".enc.z"))
                        continue;
                r = read_part(dir_fd, *n, p);
                if (r >= 0)
                        parts.n++;
                else {
                        free(p->name);
                        free(p->text);
                        *p = (Part){ 0 };
                        if (r == -ENOMEM)
                                return r;
                }
        }
        *ret = parts;
        parts = (Parts){ 0 };
        return 0;
}

/* --- dumps --- */

static int add_dump(CrashDumps *d, CrashDump *dump)
{
        CrashDump *list;

        if (sha256_hex(dump->text, strlen(dump->text), dump->sha256) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < d->n; i++)
                if (streq(d->list[i].sha256, dump->sha256))
                        return 0; /* kept by systemd-pstore and in pstore both */
        if (dump->time < TIME_MIN)
                dump->time = 0;
        boot_trace_scan(&dump->trace, dump->text);
        list = reallocarray(d->list, d->n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        d->list = list;
        d->list[d->n++] = *dump;
        *dump = (CrashDump){ 0 };
        return 0;
}

static Part *next_part(Parts *parts, const Part *first, unsigned below)
{
        Part *best = NULL;

        for (size_t i = 0; i < parts->n; i++) {
                Part *p = &parts->list[i];
                uint64_t apart = p->time > first->time ? p->time - first->time : first->time - p->time;

                if (!p->taken && p->number < below && streq(p->group, first->group) && apart <= SAME_DUMP &&
                    (!best || p->number > best->number))
                        best = p;
        }
        return best;
}

/* The highest part number is the oldest text. */
static int join(Parts *parts, const Part *first, bool removable, const char *where, CrashDumps *d)
{
        CrashDump dump = { .name = str_printf("%s/%s", where, first->name), .time = first->time };
        _cleanup_(str_done) Str text = STR_NULL;
        _cleanup_(free_charp) char *all = NULL;
        int r = dump.name ? 0 : -ENOMEM;

        for (unsigned below = UINT32_MAX; r >= 0;) {
                Part *p = next_part(parts, first, below);
                size_t n;

                if (!p)
                        break;
                p->taken = true;
                below = p->number;
                n = strlen(p->text);
                str_addn(&text, p->text, n);
                if (n > 0 && p->text[n - 1] != '\n')
                        str_add(&text, "\n");
                if (removable)
                        r = strv_add(&dump.files, p->name);
        }
        all = r >= 0 ? str_take(&text) : NULL;
        if (r >= 0 && (!all || !(dump.text = evidence_tame(all, strlen(all), EVIDENCE_TEXT_MAX))))
                r = -ENOMEM;
        if (r >= 0)
                r = add_dump(d, &dump);
        dump_done(&dump);
        return r;
}

static int add_parts(int dir_fd, char **names, bool removable, const char *where, CrashDumps *d)
{
        _cleanup_(parts_done) Parts parts = { 0 };
        int r = read_parts(dir_fd, names, &parts);

        for (size_t i = 0; r >= 0 && i < parts.n && d->n < DUMPS_MAX; i++)
                if (!parts.list[i].taken)
                        r = join(&parts, &parts.list[i], removable, where, d);
        return r;
}

/* --- what systemd-pstore has archived --- */

static void drop_headers(char *text)
{
        char *out = text;

        for (const char *in = text; *in;) {
                size_t n = strcspn(in, "\n"), skip;
                char reason[32];
                unsigned part;

                skip = header_length(in, reason, &part);
                if (skip == 0) {
                        n += in[n] == '\n';
                        memmove(out, in, n);
                        out += n;
                        in += n;
                } else
                        in += skip;
        }
        *out = '\0';
}

/* The second in which it was written is the name of the folder: 1730000000/001, or 173000000001 of older versions. */
static uint64_t folder_time(const char *where)
{
        for (const char *p = where; *p;) {
                size_t n = strspn(p, "0123456789");
                char word[11];
                uint64_t t;

                if (n >= 10 && n <= 15) {
                        memcpy(word, p, 10);
                        word[10] = '\0';
                        return parse_u64(word, &t) >= 0 ? t : 0;
                }
                p += n > 0 ? n : 1;
        }
        return 0;
}

static int add_archived(int dir_fd, const char *where, CrashDumps *d)
{
        CrashDump dump = { .name = str_printf("%s/dmesg.txt", where), .time = folder_time(where) };
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(free_charp) char *text = NULL;
        struct stat st;
        int r = dump.name ? file_read(dir_fd, "dmesg.txt", ARCHIVED_MAX, &b) : -ENOMEM;

        if (r >= 0 && dump.time == 0 && fstatat(dir_fd, "dmesg.txt", &st, 0) >= 0 && st.st_mtim.tv_sec > 0)
                dump.time = (uint64_t) st.st_mtim.tv_sec;
        if (r >= 0 && !(text = evidence_tame(b.data, b.size, ARCHIVED_MAX)))
                r = -ENOMEM;
        if (r >= 0) {
                drop_headers(text);
                dump.text = evidence_tame(text, strlen(text), EVIDENCE_TEXT_MAX);
                r = dump.text ? add_dump(d, &dump) : -ENOMEM;
        }
        dump_done(&dump);
        return r == -ENOMEM ? r : 0;
}

/* Backwards, so that the newest are among the first. */
static int read_archive(int dir_fd, const char *where, unsigned depth, CrashDumps *d)
{
        _cleanup_(strv_freep) char **names = NULL;
        bool joined;
        int r = dir_list(dir_fd, ".", &names);

        if (r < 0)
                return r == -ENOMEM ? r : 0;
        joined = strv_has(names, "dmesg.txt");
        r = joined ? add_archived(dir_fd, where, d) : add_parts(dir_fd, names, false, where, d);
        for (size_t i = strv_len(names); r >= 0 && i > 0 && depth > 0 && d->n < DUMPS_MAX; i--) {
                _cleanup_(free_charp) char *path = NULL;
                _cleanup_(close_fdp) int fd = -1;

                fd = openat(dir_fd, names[i - 1], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        continue;
                path = str_printf("%s/%s", where, names[i - 1]);
                r = path ? read_archive(fd, path, depth - 1, d) : -ENOMEM;
        }
        return r;
}

int crash_dumps_read(const Env *env, CrashDumps *ret)
{
        _cleanup_(crash_dumps_done) CrashDumps d = { 0 };
        _cleanup_(close_fdp) int pstore = env_open_dir(env, PSTORE), archive = env_open_dir(env, ARCHIVE);
        _cleanup_(strv_freep) char **names = NULL;
        int r = 0;

        if (pstore >= 0 && (r = dir_list(pstore, ".", &names)) >= 0)
                r = add_parts(pstore, names, true, PSTORE, &d);
        if (r != -ENOMEM && archive >= 0)
                r = read_archive(archive, ARCHIVE, DEPTH_MAX, &d);
        if (r == -ENOMEM)
                return r;
        *ret = d;
        d = (CrashDumps){ 0 };
        return 0;
}

int crash_dump_remove(const Env *env, const CrashDump *dump)
{
        _cleanup_(close_fdp) int fd = dump->files ? env_open_dir(env, PSTORE) : -1;
        int r = 0;

        if (!dump->files)
                return 0;
        if (fd < 0)
                return fd;
        for (char **f = dump->files; *f; f++)
                if (unlinkat(fd, *f, 0) < 0 && errno != ENOENT && r == 0)
                        r = -errno;
        return r;
}
