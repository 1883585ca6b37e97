/* SPDX-License-Identifier: MIT */

#include "control/lockhook.h"
#include "base/run.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static int make_environ(const Env *env, char *const *variables, char ***ret)
{
        _cleanup_(strv_freep) char **v = NULL;
        _cleanup_(free_charp) char *root = env->root ? realpath(env->root, NULL) : NULL,
                                   *line = env->root ? str_printf("GYBE_ROOT=%s", root ? root : env->root)
                                                     : NULL;
        int r;

        if (env->root && !line)
                return -ENOMEM;
        if ((r = strv_add(&v, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")) < 0 ||
            (r = strv_add(&v, "LANG=C.UTF-8")) < 0 || (line && (r = strv_add(&v, line)) < 0))
                return r;
        for (; variables && *variables; variables++)
                if ((r = strv_add(&v, *variables)) < 0)
                        return r;
        *ret = TAKE(v);
        return 0;
}

/* What it said last explains it. */
static void last_line(const Bytes *output, char out[LOCKHOOK_TEXT_MAX])
{
        const char *text = output->data ? (const char *) output->data : "";
        size_t end = output->size, begin, n = 0;

        while (end > 0 && strchr(" \t\r\n", text[end - 1]))
                end--;
        for (begin = end; begin > 0 && text[begin - 1] != '\n';)
                begin--;
        for (size_t i = begin; i < end && n < LOCKHOOK_TEXT_MAX - 1; i++)
                out[n++] = text[i] < 0x20 || text[i] > 0x7e ? '?' : text[i];
        out[n] = 0;
}

static void judge(const RunResult *result, uint64_t timeout_sec, LockhookReply *ret)
{
        LockhookReply reply = { .answer = LOCKHOOK_FAILED };

        if (result->timed_out)
                (void) snprintf(reply.how, sizeof(reply.how), "no answer within %llu s",
                                (unsigned long long) timeout_sec);
        else if (result->exit_code < 0)
                (void) snprintf(reply.how, sizeof(reply.how), "killed by signal %i", result->signal);
        else {
                (void) snprintf(reply.how, sizeof(reply.how), "exit code %i", result->exit_code);
                if (result->exit_code == 0)
                        reply.answer = LOCKHOOK_GRANTED;
                else if (result->exit_code == LOCKHOOK_WAIT)
                        reply.answer = LOCKHOOK_NOT_NOW;
        }
        last_line(&result->output, reply.text);
        *ret = reply;
}

int lockhook_run(const Env *env, const char *path, const char *word, char *const *variables,
                 uint64_t timeout_sec, LockhookReply *ret, Why *why)
{
        _cleanup_(free_charp) char *program = NULL;
        _cleanup_(strv_freep) char **environ_own = NULL;
        _cleanup_(run_result_done) RunResult result = { 0 };
        RunOptions options = { .exe_fd = -1,
                               .outside = true,
                               .cwd_fd = env->root_fd,
                               .timeout_sec = timeout_sec,
                               .output_max = LOCKHOOK_OUTPUT_MAX };
        char *argv[] = { NULL, (char *) word, NULL };
        int r;

        r = env_program(env, path, &program);
        if (r == -EACCES)
                return fail(why, r, WHY_HOST, "lock-hook", "%.200s: not an executable file", path);
        if (r >= 0)
                r = make_environ(env, variables, &environ_own);
        argv[0] = program;
        options.environ = environ_own;
        if (r >= 0)
                r = run(argv, &options, &result);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%.200s", path);
        judge(&result, timeout_sec, ret);
        return 0;
}
