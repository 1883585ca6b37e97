/* SPDX-License-Identifier: MIT */

#include "fetch/sandbox.h"
#include "image/cosi.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES_MAX 64u /* sockets, pipes of the resolver, the files that came with requests */
#define MEMORY_MAX                                                                                           \
        ((UINT64_C(1) << COSI_WINDOW_LIMIT) +                                                                \
         256 * MIB) /* the largest window that may be configured, and us */

#define OPEN_WRITES (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))
#define NAMESPACES                                                                                           \
        (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |        \
         CLONE_NEWNET)

/* What curl, OpenSSL, the resolver, zstd and the C library need once they run. */
static const int allowed[] = {
        /* memory */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        /* files that are open, and looking at others */
        SCMP_SYS(read),
        SCMP_SYS(readv),
        SCMP_SYS(pread64),
        SCMP_SYS(write),
        SCMP_SYS(writev),
        SCMP_SYS(pwrite64),
        SCMP_SYS(lseek),
        SCMP_SYS(_llseek),
        SCMP_SYS(ftruncate),
        SCMP_SYS(ftruncate64),
        SCMP_SYS(close),
        SCMP_SYS(close_range),
        SCMP_SYS(dup),
        SCMP_SYS(dup2),
        SCMP_SYS(dup3),
        SCMP_SYS(fcntl),
        SCMP_SYS(fcntl64),
        SCMP_SYS(fstat),
        SCMP_SYS(fstat64),
        SCMP_SYS(stat),
        SCMP_SYS(stat64),
        SCMP_SYS(lstat),
        SCMP_SYS(lstat64),
        SCMP_SYS(newfstatat),
        SCMP_SYS(fstatat64),
        SCMP_SYS(statx),
        SCMP_SYS(access),
        SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2),
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),
        SCMP_SYS(getdents64),
        SCMP_SYS(getcwd),
        SCMP_SYS(pipe),
        SCMP_SYS(pipe2),
        SCMP_SYS(eventfd2),
        /* the network */
        SCMP_SYS(connect),
        SCMP_SYS(sendto),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendmmsg),
        SCMP_SYS(recvfrom),
        SCMP_SYS(recvmsg),
        SCMP_SYS(recvmmsg),
        SCMP_SYS(shutdown),
        SCMP_SYS(getsockname),
        SCMP_SYS(getpeername),
        SCMP_SYS(getsockopt),
        SCMP_SYS(setsockopt),
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(ppoll_time64),
        SCMP_SYS(select),
        SCMP_SYS(_newselect),
        SCMP_SYS(pselect6),
        SCMP_SYS(pselect6_time64),
        SCMP_SYS(epoll_create1),
        SCMP_SYS(epoll_ctl),
        SCMP_SYS(epoll_wait),
        SCMP_SYS(epoll_pwait),
        SCMP_SYS(epoll_pwait2),
        /* threads (the resolver has one), signals to itself, time, identity */
        SCMP_SYS(futex),
        SCMP_SYS(futex_time64),
        SCMP_SYS(futex_waitv),
        SCMP_SYS(set_robust_list),
        SCMP_SYS(get_robust_list),
        SCMP_SYS(set_tid_address),
        SCMP_SYS(rseq),
        SCMP_SYS(membarrier),
        SCMP_SYS(sched_yield),
        SCMP_SYS(sched_getaffinity),
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(rt_sigaction),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(sigreturn),
        SCMP_SYS(sigaltstack),
        SCMP_SYS(nanosleep),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(clock_nanosleep_time64),
        SCMP_SYS(clock_gettime),
        SCMP_SYS(clock_gettime64),
        SCMP_SYS(clock_getres),
        SCMP_SYS(clock_getres_time64),
        SCMP_SYS(gettimeofday),
        SCMP_SYS(time),
        SCMP_SYS(times),
        SCMP_SYS(getrusage),
        SCMP_SYS(getrandom),
        SCMP_SYS(uname),
        SCMP_SYS(sysinfo),
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),
        SCMP_SYS(getppid),
        SCMP_SYS(getuid),
        SCMP_SYS(geteuid),
        SCMP_SYS(getgid),
        SCMP_SYS(getegid),
        SCMP_SYS(getuid32),
        SCMP_SYS(geteuid32),
        SCMP_SYS(getgid32),
        SCMP_SYS(getegid32),
        SCMP_SYS(getrlimit),
        SCMP_SYS(ugetrlimit),
};

/* No honest library tries these behind our back: whoever does has been taken over, and dies. Everything that is named
 * nowhere fails with EPERM, so that a newer C library that tries a newer call falls back. */
static const int deadly[] = {
        SCMP_SYS(execve),
        SCMP_SYS(execveat),
        SCMP_SYS(fork),
        SCMP_SYS(vfork),
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(pidfd_getfd),
        SCMP_SYS(kcmp),
        SCMP_SYS(mount),
        SCMP_SYS(umount2),
        SCMP_SYS(pivot_root),
        SCMP_SYS(chroot),
        SCMP_SYS(move_mount),
        SCMP_SYS(fsopen),
        SCMP_SYS(fsconfig),
        SCMP_SYS(fsmount),
        SCMP_SYS(open_tree),
        SCMP_SYS(unshare),
        SCMP_SYS(setns),
        SCMP_SYS(bpf),
        SCMP_SYS(perf_event_open),
        SCMP_SYS(userfaultfd),
        SCMP_SYS(io_uring_setup),
        SCMP_SYS(io_uring_enter),
        SCMP_SYS(io_uring_register),
        SCMP_SYS(init_module),
        SCMP_SYS(finit_module),
        SCMP_SYS(delete_module),
        SCMP_SYS(kexec_load),
        SCMP_SYS(kexec_file_load),
        SCMP_SYS(reboot),
        SCMP_SYS(add_key),
        SCMP_SYS(keyctl),
        SCMP_SYS(request_key),
        SCMP_SYS(open_by_handle_at),
        SCMP_SYS(name_to_handle_at),
        SCMP_SYS(swapon),
        SCMP_SYS(swapoff),
        SCMP_SYS(acct),
        SCMP_SYS(quotactl),
        SCMP_SYS(settimeofday),
        SCMP_SYS(clock_settime),
        SCMP_SYS(adjtimex),
        SCMP_SYS(clock_adjtime),
        SCMP_SYS(iopl),
        SCMP_SYS(ioperm),
        SCMP_SYS(personality),
        SCMP_SYS(setuid),
        SCMP_SYS(setgid),
        SCMP_SYS(setreuid),
        SCMP_SYS(setregid),
        SCMP_SYS(setresuid),
        SCMP_SYS(setresgid),
        SCMP_SYS(setgroups),
        SCMP_SYS(capset),
};

static void filter_freep(scmp_filter_ctx *ctx)
{
        if (*ctx)
                seccomp_release(*ctx);
}

/* A call that another architecture has and this one has not is no rule here. */
static int rule(scmp_filter_ctx ctx, uint32_t action, int call, const struct scmp_arg_cmp *arg)
{
        int r = seccomp_rule_add_array(ctx, action, call, arg ? 1 : 0, arg);

        return r == -EDOM || (r == -EINVAL && call < 0) ? 0 : r;
}

/* Only if argument number arg, of which mask is looked at, has this value. */
static int rule_masked(scmp_filter_ctx ctx, uint32_t action, int call, unsigned arg, uint64_t mask,
                       uint64_t value)
{
        const struct scmp_arg_cmp c = { arg, SCMP_CMP_MASKED_EQ, mask, value };

        return rule(ctx, action, call, &c);
}

static int rule_equal(scmp_filter_ctx ctx, uint32_t action, int call, unsigned arg, uint64_t value)
{
        return rule_masked(ctx, action, call, arg, UINT32_MAX, value);
}

static int add_list(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = rule(ctx, action, calls[i], NULL);
        return r;
}

/* Reading is allowed, whatever the file's mode allows; with these flags clear nothing can be made or changed. */
static int add_open(scmp_filter_ctx ctx)
{
        int r = rule_masked(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 2, OPEN_WRITES, 0);

        if (r >= 0)
                r = rule_masked(ctx, SCMP_ACT_ALLOW, SCMP_SYS(open), 1, OPEN_WRITES, 0);
        /* its argument is in memory, where a filter cannot look: libraries fall back to what can be judged */
        return r >= 0 ? rule(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(openat2), NULL) : r;
}

/* Threads, but no processes and no namespaces. */
static int add_clone(scmp_filter_ctx ctx)
{
        int r = rule_masked(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 0, CLONE_VM | CLONE_THREAD | NAMESPACES,
                            CLONE_VM | CLONE_THREAD);

        if (r >= 0)
                r = rule_masked(ctx, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 0, CLONE_THREAD, 0);
        return r >= 0 ? rule(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), NULL) : r;
}

/* Code may be mapped (the resolver loads its modules late) but never made: nothing writable becomes executable. */
static int add_memory(scmp_filter_ctx ctx)
{
        static const int maps[] = { SCMP_SYS(mmap), SCMP_SYS(mmap2) };
        int r = rule_masked(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(maps); i++) {
                r = rule_masked(ctx, SCMP_ACT_ALLOW, maps[i], 2, PROT_EXEC, 0);
                if (r >= 0)
                        r = rule_masked(ctx, SCMP_ACT_ALLOW, maps[i], 2, PROT_WRITE | PROT_EXEC, PROT_EXEC);
        }
        return r;
}

/* TCP and UDP. No local sockets: D-Bus and every other privileged neighbour is out of reach, and name service modules that
 * would ask one fall back to DNS. The resolver's wake-up pair leads only to ourselves. */
static int add_sockets(scmp_filter_ctx ctx)
{
        int r = 0;

        for (unsigned family = 0; r >= 0 && family < AF_MAX; family++)
                r = rule_equal(ctx,
                               family == AF_INET || family == AF_INET6 ? SCMP_ACT_ALLOW
                                                                       : SCMP_ACT_ERRNO(EAFNOSUPPORT),
                               SCMP_SYS(socket), 0, family);
        if (r >= 0)
                r = rule_equal(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 0, AF_UNIX);
        if (r >= 0)
                r = rule_equal(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, FIONREAD);
        return r >= 0 ? rule_equal(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, FIONBIO) : r;
}

/* Signals go to itself (abort); limits may be read. */
static int add_self(scmp_filter_ctx ctx)
{
        const struct scmp_arg_cmp no_new_limit = { 2, SCMP_CMP_EQ, 0, 0 };
        int r = rule_equal(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 0, (uint64_t) getpid());

        return r >= 0 ? rule(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), &no_new_limit) : r;
}

static int install_filter(void)
{
        _cleanup_(filter_freep) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        int r;

        if (!ctx)
                return -ENOMEM;
        /* calls of a foreign architecture (32-bit on 64-bit) would pass by all rules */
        r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        /* also the threads that a library may have started already */
        if (r >= 0)
                r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r >= 0)
                r = add_list(ctx, SCMP_ACT_ALLOW, allowed, ELEMENTSOF(allowed));
        if (r >= 0)
                r = add_list(ctx, SCMP_ACT_KILL_PROCESS, deadly, ELEMENTSOF(deadly));
        if (r >= 0)
                r = add_open(ctx);
        if (r >= 0)
                r = add_clone(ctx);
        if (r >= 0)
                r = add_memory(ctx);
        if (r >= 0)
                r = add_sockets(ctx);
        if (r >= 0)
                r = add_self(ctx);
        return r >= 0 ? seccomp_load(ctx) : r;
}

/* --- the rest --- */

static int limit(int resource, uint64_t max)
{
        struct rlimit l;

        if (getrlimit(resource, &l) < 0)
                return -errno;
        l.rlim_cur = l.rlim_max = MIN(l.rlim_max, (rlim_t) max);
        return setrlimit(resource, &l) < 0 ? -errno : 0;
}

/* AddressSanitizer maps terabytes of shadow. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_SHADOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SHADOW 1
#endif
#endif
#ifndef HAS_SHADOW
#define HAS_SHADOW 0
#endif

static int set_limits(void)
{
        int r = limit(RLIMIT_CORE, 0);

        if (r >= 0)
                r = limit(RLIMIT_NOFILE, FILES_MAX);
        if (r >= 0 && !HAS_SHADOW)
                r = limit(RLIMIT_DATA, MEMORY_MAX);
        return r;
}

/* The user change has cleared them already, where there was one. */
static int drop_capabilities(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

        (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* an old kernel has none */
        return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int sandbox_enter(Why *why)
{
        int r = set_limits();

        if (r >= 0)
                r = drop_capabilities();
        if (r >= 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0))
                r = -errno;
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "gybe-fetch: sandbox");
        r = install_filter();
        if (r < 0)
                return fail_hint(why, fail_errno(why, r, WHY_HOST, "gybe-fetch: system call filter"),
                                 "the kernel must allow seccomp filters");
        return 0;
}
