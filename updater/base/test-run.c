/* SPDX-License-Identifier: MIT */

/* Running programs: exit, signal, time limit, the end of the output, and the way out of a sandbox. */

#include "base/run.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static RunResult sh(const char *script, const RunOptions *options)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-c", (char *) script, NULL };
        RunResult r = { 0 };

        assert(run(argv, options, &r) >= 0);
        return r;
}

static void test_plain(void)
{
        RunOptions o = { .exe_fd = -1, .cwd_fd = -1, .output_max = 8 };
        RunResult r;

        r = sh("echo 1234567890; exit 7", &o);
        assert(r.exit_code == 7 && !r.timed_out && streq((char *) r.output.data, "4567890\n"));
        run_result_done(&r);
        r = sh("kill -TERM $$", &o);
        assert(r.exit_code == -1 && r.signal == SIGTERM);
        run_result_done(&r);
        o.timeout_sec = 1;
        r = sh("sleep 60", &o);
        assert(r.timed_out);
        run_result_done(&r);
}

/* What a sandboxed unit names gets the whole command, and only it: its exit status and its output are the answer. */
static void test_outside(const char *dir)
{
        static const char starter_text[] =
                "#!/bin/sh\nfor w; do printf '%s|' \"$w\"; done\nprintf '%s\\n' \"${SECRET-none}\"\nexit 3\n";
        _cleanup_(free_charp) char *starter = str_printf("%s/starter", dir);
        char *environ_[] = { (char *) "A=b c", (char *) "SECRET=x", NULL };
        RunOptions o = { .exe_fd = -1,
                         .cwd_fd = -1,
                         .timeout_sec = 5,
                         .environ = environ_,
                         .output_max = 4096,
                         .outside = true };
        int dir_fd = dir_open(AT_FDCWD, dir);
        RunResult r;

        assert(dir_fd >= 0 && file_replace(dir_fd, "starter", starter_text, strlen(starter_text), 0755) >= 0);
        (void) close(dir_fd);
        assert(unsetenv(RUN_OUTSIDE) == 0);
        r = sh("echo here $A", &o);
        assert(r.exit_code == 0 && streq((char *) r.output.data, "here b c\n"));
        run_result_done(&r);
        assert(setenv(RUN_OUTSIDE, starter, 1) == 0);
        r = sh("exit 0", &o);
        assert(r.exit_code == 3);
        assert(streq((char *) r.output.data,
                     "--quiet|--wait|--pipe|--collect|--service-type=exec|"
                     "--property=RuntimeMaxSec=7s|--setenv=A=b c|--setenv=SECRET=x|--|"
                     "/bin/sh|-c|exit 0|none\n"));
        run_result_done(&r);
        o.outside = false;
        r = sh("exit 0", &o);
        assert(r.exit_code == 0);
        run_result_done(&r);
        assert(unsetenv(RUN_OUTSIDE) == 0);
}

int main(void)
{
        char dir[] = "/tmp/test-run.XXXXXX";
        int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(dir));
        test_plain();
        test_outside(dir);
        assert(dir_remove(tmp, dir + strlen("/tmp/")) >= 0);
        (void) close(tmp);
        return 0;
}
