/* SPDX-License-Identifier: MIT */

/* Does the sandbox hold, and does it hold only what it should? Each case is tried by a child of its own, inside. */

#include "fetch/sandbox.h"
#include "base/fd.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define DIES (-1000) /* killed by SIGSYS */

static int scratch_fd; /* opened before, as the ESP's scratch file is */

static int result(long r)
{
        return r < 0 ? -errno : 0;
}

/* --- what must go on working --- */

static int read_file(void)
{
        _cleanup_(close_fdp) int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
        char c;

        return fd < 0 ? -errno : result(read(fd, &c, 1));
}

static int write_scratch(void)
{
        int r = fd_pwrite_full(scratch_fd, "x", 1, 1000);

        return r < 0 ? r : result(ftruncate(scratch_fd, 5000));
}

static void *thread(void *arg)
{
        return arg;
}

static int make_thread(void)
{
        pthread_t t;
        void *back = NULL;
        int r = pthread_create(&t, NULL, thread, &scratch_fd);

        if (r == 0)
                r = pthread_join(t, &back);
        return r != 0 ? -r : back == &scratch_fd ? 0 : -EIO;
}

static int resolve(void)
{
        struct addrinfo *a = NULL;
        int r = getaddrinfo("localhost", "80", NULL, &a);

        if (r == 0)
                freeaddrinfo(a);
        return r == 0 ? 0 : -EIO;
}

static int tcp_socket(void)
{
        _cleanup_(close_fdp) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return result(fd);
}

static int allocate(void)
{
        void *p = malloc(300 * MIB);

        free(p);
        return p ? 0 : -ENOMEM;
}

static int wait_a_little(void)
{
        struct timespec ts = { 0, 1000 };

        return result(nanosleep(&ts, NULL));
}

/* --- what must fail --- */

static int try_open(int flags)
{
        _cleanup_(close_fdp) int fd = open("/tmp", flags | O_CLOEXEC, 0600);

        return result(fd);
}

static int open_write(void)
{
        return result(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static int open_both(void)
{
        return result(open("/dev/null", O_RDWR | O_CLOEXEC));
}

static int open_append(void)
{
        return result(open("/dev/null", O_APPEND | O_CLOEXEC));
}

static int open_create(void)
{
        return result(open("/tmp/gybe-sandbox-test", O_CREAT | O_CLOEXEC, 0600));
}

static int open_truncate(void)
{
        return result(open("/dev/null", O_TRUNC | O_CLOEXEC));
}

static int open_tmpfile(void)
{
        return try_open(O_TMPFILE | O_RDWR);
}

static int open_how(void)
{
        struct open_how how = { .flags = O_RDWR | O_CLOEXEC };

        return result(syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof(how)));
}

static int do_unlink(void)
{
        return result(unlink("/tmp/gybe-none"));
}

static int do_rename(void)
{
        return result(rename("/tmp/gybe-none", "/tmp/gybe-none2"));
}

static int do_mkdir(void)
{
        return result(mkdir("/tmp/gybe-none", 0700));
}

static int do_symlink(void)
{
        return result(symlink("a", "/tmp/gybe-none"));
}

static int do_chmod(void)
{
        return result(fchmod(scratch_fd, 0777));
}

static int do_truncate(void)
{
        return result(truncate("/dev/null", 0));
}

static int do_kill(void)
{
        return result(kill(getppid(), 0));
}

static int do_bind(void)
{
        struct sockaddr any = { .sa_family = AF_INET };
        _cleanup_(close_fdp) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        return result(bind(fd, &any, sizeof(any)));
}

static int local_socket(void)
{
        return result(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int netlink_socket(void)
{
        return result(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int packet_socket(void)
{
        return result(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int make_executable(void)
{
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int map_executable(void)
{
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return p == MAP_FAILED ? -errno : 0;
}

static int push_character(void)
{
        return result(ioctl(0, TIOCSTI, "x"));
}

static int raise_limit(void)
{
        struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

        return result(syscall(SYS_prlimit64, 0, RLIMIT_CORE, &l, NULL));
}

static int be_dumpable(void)
{
        return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int too_much_memory(void)
{
        /* volatile: a compiler may leave out memory that nobody looks at, and clang does */
        void *volatile p = malloc(4 * GIB);

        free(p);
        return p ? 0 : -ENOMEM;
}

/* --- what must kill --- */

static int do_exec(void)
{
        char *argv[] = { (char *) "true", NULL };

        return result(execve("/bin/true", argv, argv + 1));
}

static int do_exec_fd(void)
{
        char *argv[] = { (char *) "true", NULL };

        return result(syscall(SYS_execveat, scratch_fd, "", argv, argv + 1, AT_EMPTY_PATH));
}

static int do_fork(void)
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(0);
        return result(pid);
}

static int do_ptrace(void)
{
        return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int do_mount(void)
{
        return result(syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL));
}

static int do_unshare(void)
{
        return result(unshare(CLONE_NEWUSER));
}

static int do_bpf(void)
{
        return result(syscall(SYS_bpf, 0, NULL, 0));
}

static int do_setuid(void)
{
        return result(syscall(SYS_setuid, getuid()));
}

static int do_io_uring(void)
{
        return result(syscall(SYS_io_uring_setup, 1, NULL));
}

static int do_keyctl(void)
{
        return result(syscall(SYS_keyctl, 0, 0, 0));
}

static int foreign_architecture(void)
{
#ifdef __x86_64__
        int r;

        /* getpid, as a 32-bit program asks for it: x86-64's number 20 is another call */
        __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory");
        return r < 0 ? r : 0;
#else
        raise(SIGSYS);
        return 0;
#endif
}

static const struct {
        const char *what;
        int (*try)(void);
        int expect;
} cases[] = {
        { "reading a file", read_file, 0 },
        { "writing to an open file", write_scratch, 0 },
        { "a thread (the resolver's)", make_thread, 0 },
        { "resolving a name", resolve, 0 },
        { "a TCP socket", tcp_socket, 0 },
        { "memory for the default zstd window", allocate, 0 },
        { "sleeping", wait_a_little, 0 },

        { "open for writing", open_write, -EPERM },
        { "open for both", open_both, -EPERM },
        { "open to append", open_append, -EPERM },
        { "open and create", open_create, -EPERM },
        { "open and truncate", open_truncate, -EPERM },
        { "a nameless file", open_tmpfile, -EPERM },
        { "openat2, whose flags cannot be seen", open_how, -ENOSYS },
        { "unlink", do_unlink, -EPERM },
        { "rename", do_rename, -EPERM },
        { "mkdir", do_mkdir, -EPERM },
        { "symlink", do_symlink, -EPERM },
        { "chmod", do_chmod, -EPERM },
        { "truncate by name", do_truncate, -EPERM },
        { "a signal to the job", do_kill, -EPERM },
        { "a listening port", do_bind, -EPERM },
        { "a local socket (D-Bus)", local_socket, -EAFNOSUPPORT },
        { "a netlink socket", netlink_socket, -EAFNOSUPPORT },
        { "a packet socket", packet_socket, -EAFNOSUPPORT },
        { "data become code", make_executable, -EPERM },
        { "memory both writable and executable", map_executable, -EPERM },
        { "a character for the terminal", push_character, -EPERM },
        { "raising a limit", raise_limit, -EPERM },
        { "becoming dumpable", be_dumpable, -EPERM },

        { "exec", do_exec, DIES },
        { "exec of a descriptor", do_exec_fd, DIES },
        { "fork", do_fork, DIES },
        { "ptrace", do_ptrace, DIES },
        { "mount", do_mount, DIES },
        { "a namespace", do_unshare, DIES },
        { "bpf", do_bpf, DIES },
        { "another user", do_setuid, DIES },
        { "io_uring", do_io_uring, DIES },
        { "the kernel's keys", do_keyctl, DIES },
        { "a call of another architecture", foreign_architecture, DIES },
};

static int try_inside(int (*try)(void))
{
        pid_t pid = fork();
        int status;

        assert(pid >= 0);
        if (pid == 0) {
                Why why = { 0 };

                if (sandbox_enter(&why) < 0)
                        _exit(255);
                _exit(-try());
        }
        assert(waitpid(pid, &status, 0) == pid);
        if (WIFSIGNALED(status))
                return WTERMSIG(status) == SIGSYS ? DIES : -2000;
        return -WEXITSTATUS(status);
}

/* gcc says it with a macro, clang with a feature. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#endif

static void check_memory_ceiling(void)
{
#if defined(UNDER_ASAN)
        printf("the memory ceiling is not checked: AddressSanitizer's shadow needs more address space than "
               "it allows\n");
        (void) too_much_memory;
#else
        assert(try_inside(too_much_memory) == -ENOMEM);
#endif
}

int main(void)
{
        Why why = { 0 };
        pid_t pid = fork();
        int status, bad = 0;

        assert(pid >= 0);
        if (pid == 0)
                _exit(sandbox_enter(&why) < 0);
        assert(waitpid(pid, &status, 0) == pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                printf("skipped: this kernel lets nobody install a system call filter\n");
                return 77;
        }
        scratch_fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        assert(scratch_fd >= 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int r = try_inside(cases[i].try);

                if (r == cases[i].expect)
                        continue;
                bad++;
                printf("%s: %i, expected %i\n", cases[i].what, r, cases[i].expect);
        }
        check_memory_ceiling();
        assert(bad == 0);
        (void) close(scratch_fd);
        return 0;
}
