/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A process that holds the lock until it is killed; the pipe says when it has it. */
static pid_t start_holder(const Env *env)
{
        int ready[2];
        pid_t pid;
        char c;

        assert(pipe2(ready, O_CLOEXEC) >= 0);
        pid = fork();
        assert(pid >= 0);
        if (pid == 0) {
                assert(state_lock(env, NULL) >= 0);
                assert(write(ready[1], "x", 1) == 1);
                for (;;)
                        (void) pause();
        }
        assert(read(ready[0], &c, 1) == 1);
        (void) close(ready[0]);
        (void) close(ready[1]);
        return pid;
}

static void test_lock(const Env *env)
{
        Why why = { 0 };
        uint64_t pid = 0;
        int status, fd;
        pid_t child;

        assert(state_lock_held(env, &pid) == 0); /* not even a file */
        child = start_holder(env);
        assert(state_lock_held(env, &pid) == 1 && pid == (uint64_t) child);
        assert(state_lock(env, &why) == -EBUSY && why.kind == WHY_BUSY);
        assert(state_lock_held(env, &pid) == 1); /* neither question took anything from it */

        /* whatever ends the holder ends the lock */
        assert(kill(child, SIGKILL) >= 0 && waitpid(child, &status, 0) == child);
        pid = 7;
        assert(state_lock_held(env, &pid) == 0 && pid == 7);
        fd = state_lock(env, NULL);
        assert(fd >= 0);
        assert(state_lock_held(env, &pid) == 1 && pid == (uint64_t) getpid());
        (void) close(fd);
        assert(state_lock_held(env, &pid) == 0);
}

int main(void)
{
        char dir[] = "/tmp/gybe-test-lock-XXXXXX";
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");
        Env env = ENV_NULL;

        assert(mkdtemp(dir));
        assert(env_open(dir, &env, NULL) >= 0);
        test_lock(&env);
        env_done(&env);
        assert(dir_remove(tmp, dir + strlen("/tmp/")) >= 0);
        return 0;
}
