/* SPDX-License-Identifier: MIT */

/* Room in folders: the arithmetic against tables; the rest on a folder of any file system that can exchange names, behind
 * stand-ins for the system calls that matter. They show folders as fs/fat does (a size that only grows, offsets in bytes),
 * write down the order of what is made durable, and fail or damage on demand. What a real FAT and a real power cut make
 * of it is for the power-cut test. */

#undef NDEBUG
#include "bootloader/esp.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define CLUSTER 512u
#define ROOMY   4096u

/* --- what happened, in order --- */

typedef struct Event {
        char what; /* f: synced, S: file system synced, d: taken from the cache, X: exchanged, u: unlinked */
        ino_t ino; /* of f and d */
} Event;

static struct {
        Event events[512];
        unsigned n;
        bool fat;           /* show folders as FAT does */
        int exchange_fails; /* errno */
        ino_t fails_after;  /* after the exchange, syncing this fails with EIO */
        void (*at_sync)(void);
        struct {
                ino_t ino;
                uint64_t size;
        } grown[64];
} world;

static ino_t ino_of(int fd, const char *name)
{
        struct stat st;

        assert(fstatat(fd, name, &st, AT_EMPTY_PATH) == 0);
        return st.st_ino;
}

static void note(char what, ino_t ino)
{
        assert(world.n < ELEMENTSOF(world.events));
        world.events[world.n++] = (Event){ what, ino };
}

/* The first such event from there on; world.n: none. */
static unsigned event(char what, ino_t ino, unsigned from)
{
        while (from < world.n && (world.events[from].what != what || world.events[from].ino != ino))
                from++;
        return from;
}

static unsigned events(char what)
{
        unsigned count = 0;

        for (unsigned i = 0; i < world.n; i++)
                count += world.events[i].what == what;
        return count;
}

/* --- the stand-ins --- */

static struct dirent *next_entry(DIR *d)
{
        static struct dirent *(*real)(DIR *);

        if (!real)
                *(void **) &real = dlsym(RTLD_NEXT, "readdir64");
        return real(d);
}

static uint64_t bytes_of(const char *name)
{
        return 32u * (streq(name, ".") || streq(name, "..") ? 1 : esp_places(name));
}

/* Clusters that came stay. */
static uint64_t folder_size(int fd, ino_t ino)
{
        DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        uint64_t size = 0;
        size_t i = 0;

        assert(d);
        for (struct dirent *e = next_entry(d); e; e = next_entry(d))
                size += bytes_of(e->d_name);
        (void) closedir(d);
        size = (size + CLUSTER - 1) / CLUSTER * CLUSTER;
        while (i < ELEMENTSOF(world.grown) - 1 && world.grown[i].ino != ino && world.grown[i].ino != 0)
                i++;
        world.grown[i].ino = ino;
        return world.grown[i].size = MAX(world.grown[i].size, size);
}

int fstat(int fd, struct stat *st)
{
        if (fstatat(fd, "", st, AT_EMPTY_PATH) < 0)
                return -1;
        if (world.fat && S_ISDIR(st->st_mode))
                st->st_size = (off_t) folder_size(fd, st->st_ino);
        return 0;
}

struct dirent *readdir(DIR *d)
{
        static uint64_t at;
        static DIR *of;
        struct dirent *e = next_entry(d);

        if (!e || of != d)
                at = 0;
        of = e ? d : NULL;
        if (e && world.fat)
                e->d_off = (off_t) (at += bytes_of(e->d_name));
        return e;
}

int fsync(int fd)
{
        ino_t ino = ino_of(fd, "");

        if (ino == world.fails_after && events('X') > 0) {
                errno = EIO;
                return -1;
        }
        note('f', ino);
        return (int) syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
        (void) fd;
        note('S', 0);
        if (world.at_sync)
                world.at_sync();
        return 0;
}

int posix_fadvise(int fd, off_t at, off_t len, int advice)
{
        if (at == 0 && len == 0 && advice == POSIX_FADV_DONTNEED)
                note('d', ino_of(fd, ""));
        return 0;
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
        if (world.exchange_fails != 0) {
                errno = world.exchange_fails;
                return -1;
        }
        assert(flags == RENAME_EXCHANGE);
        note('X', 0);
        return (int) syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int unlinkat(int dir_fd, const char *name, int flags)
{
        struct stat st;

        note('u', 0);
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) /* its number may be given away again */
                for (size_t i = 0; i < ELEMENTSOF(world.grown); i++)
                        if (world.grown[i].ino == st.st_ino)
                                world.grown[i].size = 0;
        return (int) syscall(SYS_unlinkat, dir_fd, name, flags);
}

/* --- the arithmetic --- */

static void test_places(void)
{
        static const struct {
                const char *name;
                unsigned places;
        } cases[] = {
                { "a", 2 },
                { "thirteen.byte", 2 },
                { "fourteen.bytes", 3 },
                { "vmlinuz-0.efi.staged", 3 },
                { "vmlinuz-0.efi.staged.extra.d", 4 },
                { "vmlinuz-100-azlb0.efi", 3 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert(esp_places(cases[i].name) == cases[i].places);
}

static void test_room_of(void)
{
        static const struct {
                const char *about;
                EspPlace entries[5];
                size_t n;
                uint64_t size;
                unsigned room;
        } cases[] = {
                { "a folder of one cluster, dots only", { { 0, 1 }, { 32, 1 } }, 2, 512, 14 },
                { "as an image build leaves it", { { 0, 1 }, { 32, 1 }, { 64, 3 }, { 160, 4 } }, 4, 512, 7 },
                { "full to the last place", { { 0, 1 }, { 32, 1 }, { 64, 14 } }, 3, 512, 0 },
                { "a short name where a long one was assumed",
                  { { 0, 1 }, { 32, 2 }, { 64, 2 } },
                  3,
                  512,
                  12 },
                { "a hole larger than the end", { { 0, 1 }, { 32, 1 }, { 384, 3 } }, 3, 512, 10 },
                { "more than its clusters hold", { { 0, 1 }, { 480, 4 } }, 2, 512, 14 },
                { "the root, with dots that take nothing", { { 0, 1 }, { 1, 1 }, { 2, 1 } }, 3, 512, 14 },
                { "an empty root", { { 0, 1 }, { 1, 1 } }, 2, 512, 14 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                unsigned room = esp_room_of(cases[i].entries, cases[i].n, cases[i].size);

                if (room != cases[i].room)
                        fprintf(stderr, "%s: %u\n", cases[i].about, room);
                assert(room == cases[i].room);
        }
}

/* --- an ESP of its own for each case --- */

static Esp esp = { .fd = -1, .path = "/boot", .vfat = true };
static int efi = -1;
static Why why;

static void put(int dir, const char *folder, const char *name, const char *text)
{
        _cleanup_(close_fdp) int fd = dir_make(dir, folder, 0700);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0600) == 0);
}

static bool holds(int dir, const char *path, const char *text)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        return file_read(dir, path, 4096, &b) >= 0 && streq((const char *) b.data, text);
}

/* What was said, once. */
static bool said(const char *code, const char *word)
{
        bool is = why.kind == WHY_HOST && streq(why.code, code) && strstr(why.text, word) && *why.hint;

        why = (Why){ 0 };
        return is;
}

static bool is_there(const char *name)
{
        return faccessat(efi, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool live_is_whole(void)
{
        return holds(efi, "Linux/vmlinuz-1.efi", "the running one") &&
               holds(efi, "Linux/vmlinuz-1.efi.extra.d/slot-a.addon.efi", "its addon");
}

/* The running entry: 2 dots, 2 + 3 places of 16. */
static void fresh(int top, const char *name)
{
        close_fdp(&esp.fd);
        close_fdp(&efi);
        memset(&world, 0, sizeof(world));
        esp.fd = dir_make(top, name, 0700);
        efi = dir_make(esp.fd, "EFI", 0700);
        put(efi, "Linux", "vmlinuz-1.efi", "the running one");
        put(efi, "Linux/vmlinuz-1.efi.extra.d", "slot-a.addon.efi", "its addon");
        world.fat = true;
        world.n = 0;
}

static unsigned room_in(const char *path)
{
        _cleanup_(close_fdp) int dir = esp_dir(esp.fd, path);
        unsigned room = 0;

        assert(dir >= 0 && esp_room(&esp, dir, &room) == 0);
        return room;
}

static void test_room(int top)
{
        fresh(top, "room");
        assert(room_in("EFI/Linux") == 16 - 2 - 2 - 3);
        put(efi, "Linux", "one-more-of-four-places.efi.staged.new~", "x");
        assert(room_in("EFI/Linux") == 16 - 2 - 2 - 3 - 4);
        esp.vfat = false;
        assert(room_in("EFI/Linux") >= 1000);
        esp.vfat = true;
}

/* --- the same folder once more --- */

static void test_rebuild(int top)
{
        _cleanup_(close_fdp) int before = -1, after = -1;
        _cleanup_(strv_freep) char **names = NULL;

        fresh(top, "rebuild");
        put(efi, ESP_SPARE "/deep", "half", "what a power cut left");
        before = dir_open(efi, "Linux");
        assert(esp_rebuild(&esp, efi, "Linux") == 0);
        after = dir_open(efi, "Linux");
        assert(ino_of(before, "") != ino_of(after, ""));
        assert(live_is_whole() && !is_there(ESP_SPARE));
        assert(dir_list(after, ".", &names) == 0 && names[0] && names[1] && !names[2]);
        assert(room_in("EFI/Linux") >= ROOMY / 32 - 7);
        assert(esp_rebuild(&esp, efi, "Nothing") == -ENOENT);
}

/* What cannot be copied leaves the old one, and nothing beside it; nobody flushed a disk for it. */
static void test_too_deep(int top)
{
        fresh(top, "deep");
        put(efi, "Linux/1/2/3/4/5", "deep", "");
        world.n = 0;
        assert(esp_rebuild(&esp, efi, "Linux") == -ELOOP);
        assert(live_is_whole() && !is_there(ESP_SPARE));
        assert(events('X') == 0 && events('S') == 1);
}

/* Everything in the copy is on the disk, and was read from there, before a name leads to it; the exchange is on the disk
 * before a cluster of the old one is free. */
static void test_order(int top)
{
        static const char *const paths[] = { "Linux", "Linux/vmlinuz-1.efi.extra.d", "Linux/vmlinuz-1.efi",
                                             "Linux/vmlinuz-1.efi.extra.d/slot-a.addon.efi" };
        unsigned x, flushed = 0, next, last = 0;
        ino_t old, around[3];

        fresh(top, "order");
        old = ino_of(efi, "Linux");
        assert(esp_rebuild(&esp, efi, "Linux") == 0);
        x = event('X', 0, 0);
        assert(x < world.n && event('X', 0, x + 1) == world.n);
        for (unsigned s = event('S', 0, 0); s < x; s = event('S', 0, s + 1))
                flushed = s;
        assert(world.events[flushed].what == 'S');
        assert(world.events[flushed + 1].what == 'f' && world.events[flushed + 1].ino == ino_of(esp.fd, ""));
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                ino_t ino = ino_of(efi, paths[i]);
                unsigned synced = event('f', ino, 0);

                assert(synced < flushed);
                assert(i < 2 || event('d', ino, synced) < flushed);
        }

        around[0] = ino_of(efi, "Linux"), around[1] = old, around[2] = ino_of(efi, "");
        for (size_t i = 0; i < ELEMENTSOF(around); i++) {
                next = event('f', around[i], x);
                last = MAX(last, next);
        }
        next = event('S', 0, last);
        assert(next < world.n && world.events[next + 1].ino == ino_of(esp.fd, ""));
        assert(event('u', 0, x) > next + 1 && event('u', 0, x) < world.n);
        /* and once more when the old one is gone */
        assert(event('S', 0, event('u', 0, x)) < world.n);
}

static void tear_byte(void)
{
        int fd = openat(efi, ESP_SPARE "/vmlinuz-1.efi", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
                assert(pwrite(fd, "T", 1, 0) == 1);
                (void) close(fd);
        }
}

static void tear_addon(void)
{
        int fd = openat(efi, ESP_SPARE "/vmlinuz-1.efi.extra.d/slot-a.addon.efi",
                        O_WRONLY | O_TRUNC | O_CLOEXEC);

        if (fd >= 0)
                (void) close(fd);
}

static void add_name(void)
{
        int fd = openat(efi, ESP_SPARE "/zzz", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        if (fd >= 0)
                (void) close(fd);
}

static void lose_name(void)
{
        int r = renameat(efi, ESP_SPARE "/vmlinuz-1.efi", efi, ESP_SPARE "/vmlinux-1.efi");

        assert(r == 0 || errno == ENOENT);
}

/* What came back from the disk is not what went there: nothing leads to it. */
static void test_damage(int top)
{
        static void (*const damages[])(void) = { tear_byte, tear_addon, add_name, lose_name };

        for (size_t i = 0; i < ELEMENTSOF(damages); i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "damage-%zu", i);
                fresh(top, name);
                world.at_sync = damages[i];
                assert(esp_rebuild(&esp, efi, "Linux") == -EUCLEAN);
                assert(events('X') == 0 && live_is_whole() && !is_there(ESP_SPARE));
        }
}

/* After an error of the disk nobody knows which name leads where, so both folders keep their clusters. */
static void test_errors(int top)
{
        fresh(top, "eio");
        world.exchange_fails = EIO;
        assert(esp_rebuild(&esp, efi, "Linux") == -EIO);
        assert(live_is_whole() && is_there(ESP_SPARE "/vmlinuz-1.efi"));

        fresh(top, "eio-after");
        world.fails_after = ino_of(efi, "");
        assert(esp_rebuild(&esp, efi, "Linux") == -EIO);
        assert(live_is_whole() && is_there(ESP_SPARE "/vmlinuz-1.efi"));

        fresh(top, "no-exchange");
        world.exchange_fails = EINVAL;
        assert(esp_rebuild(&esp, efi, "Linux") == -EOPNOTSUPP);
        assert(live_is_whole() && !is_there(ESP_SPARE));
        world.exchange_fails = ENOSYS;
        assert(esp_make_room(&esp, "EFI/Linux", 24, &why) == -EOPNOTSUPP);
        assert(said("esp-folder-full", "this kernel"));
        assert(live_is_whole() && !is_there(ESP_SPARE));
}

/* Both names on the same folder, as a cut inside the exchange can leave them: here by a symbolic link. */
static void test_twins(int top)
{
        fresh(top, "twins");
        assert(symlinkat("Linux", efi, ESP_SPARE) == 0);
        assert(esp_rebuild(&esp, efi, "Linux") == -EEXIST);
        assert(live_is_whole() && !is_there("Linux/GYBE.TMP"));
        assert(esp_make_room(&esp, "EFI/Linux", 1, &why) == -EEXIST);
        assert(said("esp-damaged", "EFI/Linux") && live_is_whole());
}

/* --- the door --- */

static void test_make_room(int top)
{
        ino_t live;

        fresh(top, "make-room");
        live = ino_of(efi, "Linux");
        assert(esp_make_room(&esp, "EFI/Linux", 9, &why) == 0 && ino_of(efi, "Linux") == live);
        assert(events('X') == 0);
        /* one place too few; the path as FAT would find it */
        assert(esp_make_room(&esp, "efi/LINUX", 10, &why) == 0 && ino_of(efi, "Linux") != live);
        assert(live_is_whole() && !is_there(ESP_SPARE) && room_in("EFI/Linux") >= 24);
        live = ino_of(efi, "Linux");
        put(efi, ESP_SPARE, "left", "by a power cut");
        assert(esp_make_room(&esp, "EFI/Linux", 24, &why) == 0 && ino_of(efi, "Linux") == live);
        assert(!is_there(ESP_SPARE));
        assert(esp_make_room(&esp, "loader", 6, &why) == 0);
        assert(esp_make_room(&esp, "nothing/loader", 6, &why) == 0);

        fresh(top, "not-fat");
        esp.vfat = false;
        live = ino_of(efi, "Linux");
        assert(esp_make_room(&esp, "EFI/Linux", 1000, &why) == 0 && ino_of(efi, "Linux") == live);
        esp.vfat = true;
}

/* The copy's own name needs a place, and the volume label may take one that nobody lists: one is not enough. */
static void test_full_parent(int top)
{
        ino_t live;

        fresh(top, "full");
        live = ino_of(efi, "Linux");
        put(efi, "fourteen.bytes", "x", "");
        for (char name[] = "A"; name[0] < 'E'; name[0]++)
                put(efi, name, "x", "");
        assert(room_in("EFI") == 16 - 2 - 2 - 3 - 4 * 2);
        assert(esp_make_room(&esp, "EFI/Linux", 9, &why) == 0);
        assert(esp_make_room(&esp, "EFI/Linux", 10, &why) == -ENFILE && said("esp-folder-full", "EFI/Linux"));
        assert(ino_of(efi, "Linux") == live && live_is_whole() && !is_there(ESP_SPARE) && events('X') == 0);
        assert(dir_remove(efi, "A") == 0);
        assert(esp_make_room(&esp, "EFI/Linux", 10, &why) == 0 && live_is_whole());
}

static void test_check_room(int top)
{
        fresh(top, "check");
        assert(esp_check_room(&esp, "EFI/Linux", 9, &why) == 0);
        assert(esp_check_room(&esp, "EFI/Linux", 10, &why) == -ENFILE);
        assert(said("esp-folder-full", "EFI/Linux"));
        assert(esp_check_room(&esp, "/", 12, &why) == 0 && esp_check_room(&esp, "/", 13, &why) == -ENFILE);
        assert(esp_check_room(&esp, "loader", 100, &why) == 0);
        assert(events('X') == 0 && events('u') == 0);
}

static void test_rebuild_size(int top)
{
        uint64_t size = 1;

        fresh(top, "size");
        assert(esp_rebuild_size(&esp, "EFI/Linux", 9, CLUSTER, &size) == 0 && size == 0);
        /* two files and two folders */
        assert(esp_rebuild_size(&esp, "EFI/Linux", 10, CLUSTER, &size) == 0 && size == 4 * CLUSTER + ROOMY);
        assert(esp_rebuild_size(&esp, "loader", 10, CLUSTER, &size) == 0 && size == 0);
        esp.vfat = false;
        assert(esp_rebuild_size(&esp, "EFI/Linux", 1000, CLUSTER, &size) == 0 && size == 0);
        esp.vfat = true;
}

int main(void)
{
        char path[] = "/tmp/test-esproom.XXXXXX";
        _cleanup_(close_fdp) int top = -1;

        test_places();
        test_room_of();
        assert(mkdtemp(path));
        top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(top >= 0);
        test_room(top);
        test_rebuild(top);
        test_too_deep(top);
        test_order(top);
        test_damage(top);
        test_errors(top);
        test_twins(top);
        test_make_room(top);
        test_full_parent(top);
        test_check_room(top);
        test_rebuild_size(top);
        close_fdp(&esp.fd);
        close_fdp(&efi);
        (void) dir_remove(AT_FDCWD, path); /* the working directory cannot be synced */
        return 0;
}
