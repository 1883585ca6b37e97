/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* Reading and writing a range of an image file: nothing beyond it is touched, the page cache holds nothing of
 * it afterwards, and where direct I/O is refused the bytes are the same. And who is found to use a partition.
 */

#include "base/file.h"
#include "disk/test-disk.h"

#include <errno.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define USR_B "e03dd35c-7c2d-4a47-b3fe-27f15780a57c"

/* What the medium says of the next reads; 0: what is there. */
static int read_error;

static ssize_t read_or_fail(int fd, void *buf, size_t n, off_t at)
{
        if (read_error == 0)
                return (ssize_t) syscall(SYS_pread64, fd, buf, n, at);
        errno = read_error;
        return -1;
}

/* in front of the C library's, under both of its names */
ssize_t pread(int fd, void *buf, size_t n, off_t at) __attribute__((alias("read_or_fail")));
ssize_t pread64(int fd, void *buf, size_t n, off_t at) __attribute__((alias("read_or_fail")));

static char dir[] = "/tmp/gybe-test-area-XXXXXX";

static const TestPart aligned[] = {
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, USR_B, MIB, 0 },
        { "HASH-B", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 0 },
};

/* Starts at sector 4097 and has 5 sectors more than whole blocks. */
static const TestPart odd[] = {
        { "USR-A", DISK_TYPE_FLATCAR_ROOTFS, "7130c94a-213a-4e5a-8e26-6cce9662f132", MIB, 0 },
        { "USR-B", DISK_TYPE_FLATCAR_ROOTFS, USR_B, MIB + 5 * 512, 2 * MIB + 512 },
        { "HASH-B", DISK_TYPE_USR_VERITY_X86_64, "35bdf78b-c453-4661-98e6-f834f534ef5b", MIB, 4 * MIB },
};

static uint8_t *whole(const char *path, uint64_t size)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint8_t *data = malloc(size);

        assert(fd >= 0 && data && fd_pread_full(fd, data, size, 0) == (ssize_t) size);
        return data;
}

/* Pages of the range that are in the page cache. */
static size_t cached(const char *path, uint64_t offset, uint64_t size)
{
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        static unsigned char vec[4096];
        uint64_t start = offset / 4096 * 4096;
        size_t pages = (offset + size - start + 4095) / 4096, n = 0;
        void *p = mmap(NULL, pages * 4096, PROT_READ, MAP_SHARED, fd, (off_t) start);

        assert(p != MAP_FAILED && pages <= sizeof(vec) && mincore(p, pages * 4096, vec) == 0);
        for (size_t i = 0; i < pages; i++)
                n += vec[i] & 1;
        assert(munmap(p, pages * 4096) == 0);
        return n;
}

static void write_and_read(const char *path, const TestPart *parts, unsigned sector, bool on_disk)
{
        _cleanup_(disk_freep) Disk *disk = NULL;
        _cleanup_(area_freep) Area *area = NULL;
        Env env = ENV_NULL;
        uint8_t *before, *after, *buf = area_buffer(300 * KIB), *back = area_buffer(300 * KIB);
        const Partition *p;
        Why why = { 0 };

        test_disk_make(path, 8 * MIB, sector, parts, 3);
        before = whole(path, 8 * MIB);
        assert(env_open("/tmp", &env, NULL) >= 0);
        assert(disk_open(&env, path, true, &disk, &why) >= 0);
        p = disk_find_label(disk, "USR-B", NULL);
        assert(p && area_open(disk, p, true, &area, &why) >= 0);
        assert(area_size(area) == MIB && area_partition(area) == p); /* whole blocks only */
        for (size_t i = 0; i < 300 * KIB; i++)
                buf[i] = (uint8_t) (i / 4096 + i * 7 + 1);
        assert(area_write(area, 0, buf, 300 * KIB, &why) >= 0);
        assert(area_write(area, MIB - 8192, buf + 4096, 8192, &why) >= 0); /* the very end */
        assert(area_sync(area, &why) >= 0);
        if (on_disk)
                assert(cached(path, p->offset + 4096, 290 * KIB) == 0);
        assert(area_read(area, 0, back, 300 * KIB, &why) >= 0 && memcmp(buf, back, 300 * KIB) == 0);
        assert(area_read(area, MIB - 8192, back, 8192, &why) >= 0 && memcmp(buf + 4096, back, 8192) == 0);
        if (on_disk)
                assert(cached(path, p->offset + 4096, 290 * KIB) == 0); /* reading leaves nothing either */
        after = whole(path, 8 * MIB);
        assert(memcmp(after, before, p->offset) == 0);
        assert(memcmp(after + p->offset, buf, 300 * KIB) == 0);
        assert(memcmp(after + p->offset + 300 * KIB, before + p->offset + 300 * KIB,
                      MIB - 8192 - 300 * KIB) == 0);
        assert(memcmp(after + p->offset + MIB, before + p->offset + MIB, 8 * MIB - p->offset - MIB) == 0);
        free(before);
        free(after);
        free(buf);
        free(back);
        env_done(&env);
}

/* A bad sector is EIO, whatever the kernel calls it: its bytes are had from elsewhere. Where the disk is out of reach nothing is
 * known of the sector. */
static void test_read_failures(const char *path)
{
        static const struct {
                int error, r;
                bool unreached;
        } cases[] = {
                { EIO, -EIO, false },       { ENODATA, -EIO, false },        { EILSEQ, -EIO, false },
                { EREMOTEIO, -EIO, false }, { ETIMEDOUT, -ETIMEDOUT, true }, { ENOLINK, -ENOLINK, true },
                { EBADE, -EBADE, true },    { ENODEV, -ENODEV, false },
        };
        _cleanup_(disk_freep) Disk *disk = NULL;
        _cleanup_(area_freep) Area *area = NULL;
        Env env = ENV_NULL;
        uint8_t *buf = area_buffer(8192);

        test_disk_make(path, 8 * MIB, 512, aligned, 3);
        assert(env_open("/tmp", &env, NULL) >= 0 && disk_open(&env, path, false, &disk, NULL) >= 0);
        assert(area_open(disk, disk_find_label(disk, "USR-B", NULL), false, &area, NULL) >= 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why = { 0 };
                int r;

                read_error = cases[i].error;
                r = area_read(area, 4096, buf, 4096, &why);
                read_error = 0;
                assert(r == cases[i].r && why_exit_code(&why) == 1 && why.kind == WHY_HOST);
                assert(strstr(why.text, "USR-B at byte 4096: ") &&
                       (strstr(why.text, "out of reach") != NULL) == cases[i].unreached);
        }
        assert(area_read(area, 4096, buf, 4096, NULL) >= 0);
        free(buf);
        env_done(&env);
}

/* ramfs refuses O_DIRECT on every kernel. A mount needs a namespace of our own: in a child, and only where
 * allowed. */
static void test_refused(void)
{
        pid_t pid = fork();
        int status = 0;

        assert(pid >= 0);
        if (pid == 0) {
                char path[128];

                if ((unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) ||
                    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                    mount("ramfs", dir, "ramfs", 0, NULL) < 0)
                        _exit(77);
                (void) snprintf(path, sizeof(path), "%s/disk.raw", dir);
                test_disk_make(path, MIB, 512, NULL, 0);
                if (open(path, O_RDONLY | O_DIRECT | O_CLOEXEC) >= 0)
                        _exit(77);
                write_and_read(path, aligned, 512, false);
                write_and_read(path, odd, 512, false);
                _exit(0);
        }
        assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                printf("no mount namespace or ramfs here: refusal at open is not tried\n");
        else
                assert(WEXITSTATUS(status) == 0);
}

static void test_open_failures(const char *path)
{
        _cleanup_(disk_freep) Disk *disk = NULL, *other = NULL;
        Area *area = NULL;
        Env env = ENV_NULL;
        Why why = { 0 };

        test_disk_make(path, 8 * MIB, 512, aligned, 3);
        assert(env_open("/tmp", &env, NULL) >= 0);
        assert(disk_open(&env, path, true, &disk, NULL) >= 0);
        assert(unlink(path) == 0);
        test_disk_make(path, 8 * MIB, 512, aligned, 3);
        /* another file took the name meanwhile */
        assert(area_open(disk, disk_partition(disk, 0), true, &area, &why) == -ESTALE && !area &&
               why.text[0]);
        why = (Why){ 0 };
        assert(disk_open(&env, path, false, &other, NULL) >= 0);
        assert(area_open(other, disk_partition(other, 0), false, &area, NULL) >= 0);
        uint8_t *buf = area_buffer(8192);
        assert(area_read(area, 0, buf + 512, 4096, NULL) ==
               -EINVAL); /* each is a bug, and none a crash or a write */
        assert(area_read(area, 512, buf, 4096, NULL) == -EINVAL);
        assert(area_read(area, 0, buf, 512, NULL) == -EINVAL);
        assert(area_read(area, MIB - 4096, buf, 8192, NULL) == -EINVAL);
        assert(area_read(area, UINT64_MAX - 4095, buf, 8192, NULL) == -EINVAL);
        assert(area_write(area, 0, buf, 4096, NULL) == -EINVAL); /* opened for reading */
        Area *denied = NULL;
        assert(area_open(other, disk_partition(other, 0), true, &denied, NULL) == -EROFS && !denied);
        assert(truncate(path, MIB) == 0);
        assert(area_read(area, 0, buf, 4096, &why) < 0 && why.kind == WHY_HOST && why.text[0]);
        assert(area_sync(area, NULL) == 0); /* nothing to do */
        free(buf);
        area_free(area);
        env_done(&env);
}

static void put(int root, const char *name, const char *text)
{
        char folder[256];
        char *slash;

        (void) snprintf(folder, sizeof(folder), "%s", name);
        slash = strrchr(folder, '/');
        *slash = 0;
        int fd = dir_make(root, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, text, strlen(text), 0644) >= 0);
        (void) close(fd);
}

static void test_in_use(const char *path)
{
        static const struct {
                const char *file, *text;
                int r;
                const char *says;
        } cases[] = {
                { NULL, NULL, 0, NULL }, /* nothing is known: nobody */
                { "proc/self/mountinfo", "30 1 8:4 / / rw - ext4 /dev/sda4 rw\n", 0, NULL },
                { "proc/self/mountinfo",
                  "31 30 8:5 / /mnt\\040x ro - btrfs "
                  "/dev/disk/by-partuuid/E03DD35C-7c2d-4a47-b3fe-27f15780a57c ro\n",
                  1, "/mnt" },
                { "proc/self/mountinfo",
                  "31 30 8:5 / /m ro shared:1 master:2 - ext4 /dev/disk/by-partlabel/USR-B ro\n", 1, "/m" },
                { "proc/self/mountinfo", "31 30 8:5 / /m ro - ext4 PARTUUID=" USR_B " ro\n", 1, "/m" },
                { "proc/self/mountinfo", "31 30 8:3 / /m ro - ext4 /dev/sda3 ro\n", 0,
                  NULL }, /* whose node is that? */
                { "sys/class/block/sda3/uevent", "MAJOR=8\nPARTUUID=" USR_B "\n", 1,
                  "/m" }, /* now it is known */
                { "proc/self/mountinfo", "31 30 8:3 / /n ro - ext4 /dev/root ro\n", 0, NULL },
                { "sys/class/block/sda3/dev", "8:3\n", 1, "/n" }, /* ... and by number too */
                { "proc/self/mountinfo", "31 30 0:40 / /o ro - btrfs /dev/sda3 ro\n", 1, "/o" },
                { "proc/self/mountinfo", "garbage\n\n- - - - - - - -\n", 0, NULL },
                { "sys/class/block/sda3/holders/dm-0/x", "", 1, "held by dm-0" },
                { "sys/class/block/dm-0/dm/name", "other\n", 1, "mapped as /dev/mapper/other" },
        };
        _cleanup_(disk_freep) Disk *disk = NULL;
        Env env = ENV_NULL;
        char *root = str_printf("%s/root", dir);
        const Partition *b;

        test_disk_make(path, 8 * MIB, 512, aligned, 3);
        assert(mkdir(root, 0755) == 0 && env_open(root, &env, NULL) >= 0);
        int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(disk_open(&env, path, false, &disk, NULL) >= 0);
        b = disk_find_label(disk, "USR-B", NULL);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why = { 0 };
                int r;

                if (cases[i].file)
                        put(root_fd, cases[i].file, cases[i].text);
                r = disk_in_use(disk, b, &why);
                if (r != cases[i].r)
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(r == cases[i].r &&
                       (r == 0 || (why.kind == WHY_BUSY && strstr(why.text, cases[i].says))));
                assert(disk_in_use(disk, disk_find_label(disk, "USR-A", NULL), NULL) == 0);
        }
        /* a link by PARTUUID is as good as sysfs */
        assert(dir_remove(root_fd, "sys") >= 0);
        put(root_fd, "proc/self/mountinfo", "31 30 0:40 / /o ro - btrfs /dev/nvme0n1p3 ro\n");
        assert(disk_in_use(disk, b, NULL) == 0);
        put(root_fd, "dev/disk/by-partuuid/x", "");
        assert(symlinkat("../../nvme0n1p3", root_fd, "dev/disk/by-partuuid/" USR_B) == 0);
        assert(disk_in_use(disk, b, NULL) == 1);
        (void) close(root_fd);
        free(root);
        env_done(&env);
}

static void test_lock(const char *path)
{
        _cleanup_(disk_freep) Disk *a = NULL;
        Env env = ENV_NULL;

        assert(env_open("/tmp", &env, NULL) >= 0);
        assert(disk_open(&env, path, false, &a, NULL) >= 0 && disk_lock(a, NULL) >= 0);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert(disk_lock(a, NULL) >= 0); /* again is fine */
        pid_t pid = fork();
        assert(pid >= 0);
        if (pid == 0) {
                Disk *b = NULL;

                a = disk_free(a); /* the child's half of the same lock */
                /* freed by the parent in the meantime: the second taker waits for it */
                _exit(disk_open(&env, path, false, &b, NULL) >= 0 && disk_lock(b, NULL) >= 0 ? 0 : 1);
        }
        (void) usleep(300000);
        a = disk_free(a);
        int status;
        assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
        (void) close(fd);
        env_done(&env);
}

static void test_real_machine(void)
{
        Env env = ENV_NULL, files = ENV_NULL;
        char *path = NULL;
        Why why = { 0 };

        assert(env_open(NULL, &env, NULL) >= 0 && env_open("/tmp", &files, NULL) >= 0);
        assert(disk_path_of_partuuid(&env, "00000000-1111-2222-3333-444444444444", &path, &why) < 0 && !path);
        assert(why.kind == WHY_HOST);
        why = (Why){ 0 };
        assert(disk_path_of_partuuid(&files, USR_B, &path, &why) < 0 && why.kind == WHY_USAGE && why.hint[0]);
        env_done(&env);
        env_done(&files);
}

int main(void)
{
        char *path;

        struct statfs fs;
        bool on_disk; /* tmpfs is nothing but page cache */

        assert(mkdtemp(dir) && statfs(dir, &fs) == 0);
        on_disk = fs.f_type != TMPFS_MAGIC;
        path = str_printf("%s/disk.raw", dir);
        write_and_read(path, aligned, 512, on_disk);
        write_and_read(path, aligned, 4096, on_disk);
        write_and_read(path, odd, 512, on_disk);
        test_read_failures(path);
        test_refused();
        test_open_failures(path);
        test_in_use(path);
        test_lock(path);
        test_real_machine();
        int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(dir_remove(fd, dir + strlen("/tmp/")) >= 0);
        (void) close(fd);
        free(path);
        return 0;
}
