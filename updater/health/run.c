/* SPDX-License-Identifier: MIT */

/* Runs the operator's and the vendor's checks and reports what they said. It knows exit codes and time limits; what a failure
 * means (roll back, or only a line in the history) is decided elsewhere.
 *
 *   /usr/lib/gybe/health.d/required.d/10-network     the vendor's
 *   /etc/gybe/health.d/required.d/10-network         replaces it; empty or a link to /dev/null switches it off
 *   /etc/gybe/health.d/wanted.d/50-disk-speed        reported, never decisive
 *
 * A required check that cannot be run has not passed: a missing execute bit must not be the way a bad image gets through. */

#include "health/health.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/run.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static const char *const folders[] = { "required.d", "wanted.d" };
/* later ones mask earlier ones */
static const char *const roots[] = { "/usr/lib/gybe/health.d", "/etc/gybe/health.d" };

/* text */

/* Length of the UTF-8 sequence at p, 0 when it is none. Overlong forms and surrogates are none. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
        size_t n = p[0] < 0x80                   ? 1
                   : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                   : (p[0] & 0xf0) == 0xe0       ? 3
                   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                 : 0;

        if (n == 0 || n > left)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
            (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
                return 0;
        return n;
}

/* What a program printed, or somebody called it, becomes text that may stand in JSON and on a terminal. */
static char *printable(const uint8_t *data, size_t size)
{
        char *text = malloc(size + 1);
        size_t n = 0;

        if (!text)
                return NULL;
        for (size_t i = 0; i < size;) {
                size_t l = utf8_length(data + i, size - i);
                bool control = data[i] < 0x20 || data[i] == 0x7f ||
                               (l == 2 && data[i] == 0xc2 && data[i + 1] < 0xa0);

                if (l == 0 || (control && data[i] != '\n' && data[i] != '\t')) {
                        text[n++] = '?';
                        i += MAX(l, (size_t) 1);
                        continue;
                }
                memcpy(text + n, data + i, l);
                n += l;
                i += l;
        }
        text[n] = 0;
        return text;
}

/* which programs */

static bool ignored_name(const char *name)
{
        /* what editors and package managers leave behind is nobody's check */
        return name[0] == '.' || str_ends(name, "~") || str_ends(name, ".rpmsave") ||
               str_ends(name, ".rpmnew") || str_ends(name, ".dpkg-old") || str_ends(name, ".dpkg-new") ||
               str_ends(name, ".dpkg-dist");
}

/* One name of one folder: from which root it comes. */
typedef struct Candidate {
        char *name;
        size_t root;
} Candidate;

typedef struct Candidates {
        Candidate *list;
        size_t n;
} Candidates;

static void candidates_done(Candidates *c)
{
        for (size_t i = 0; i < c->n; i++)
                free(c->list[i].name);
        free(c->list);
        *c = (Candidates){ 0 };
}

static int candidate_compare(const void *a, const void *b)
{
        return strcmp(((const Candidate *) a)->name, ((const Candidate *) b)->name);
}

static int candidate_put(Candidates *c, const char *name, size_t root)
{
        Candidate *list;

        for (size_t i = 0; i < c->n; i++)
                if (streq(c->list[i].name, name)) {
                        c->list[i].root = root;
                        return 0;
                }
        list = reallocarray(c->list, c->n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;
        c->list = list;
        list[c->n].root = root;
        list[c->n].name = strdup(name);
        if (!list[c->n].name)
                return -ENOMEM;
        c->n++;
        return 0;
}

static int folder_open(const Env *env, size_t root, const char *folder, Why *why)
{
        _cleanup_(free_charp) char *path = str_printf("%s/%s", roots[root], folder);
        int fd;

        if (!path)
                return -ENOMEM;
        fd = env_open_dir(env, path);
        return fd >= 0 || fd == -ENOENT ? fd : fail_errno(why, fd, WHY_HOST, "%s", path);
}

static int collect(const Env *env, const char *folder, Candidates *ret, Why *why)
{
        for (size_t root = 0; root < ELEMENTSOF(roots); root++) {
                _cleanup_(close_fdp) int fd = folder_open(env, root, folder, why);
                _cleanup_(strv_freep) char **names = NULL;
                int r = fd;

                if (r == -ENOENT)
                        continue;
                if (r >= 0)
                        r = dir_list(fd, ".", &names);
                for (char **n = names; r >= 0 && *n; n++)
                        if (!ignored_name(*n))
                                r = candidate_put(ret, *n, root);
                if (r < 0)
                        return fail_errno(why, r, WHY_HOST, "%s/%s", roots[root], folder);
        }
        if (ret->n > HEALTH_CHECKS_MAX)
                return fail(why, -E2BIG, WHY_HOST, "too-many-checks",
                            "%s: %zu health checks, at most %u are run", folder, ret->n, HEALTH_CHECKS_MAX);
        if (ret->n > 0)
                qsort(ret->list, ret->n, sizeof(*ret->list), candidate_compare);
        return 0;
}

/* Before anything is followed: a link to /dev/null means off in a host made of files too, which has no devices. */
static bool is_off(int dir_fd, const char *name)
{
        char target[sizeof("/dev/null")] = { 0 };
        struct stat st;

        if (readlinkat(dir_fd, name, target, sizeof(target)) == (ssize_t) strlen("/dev/null") &&
            memcmp(target, "/dev/null", strlen("/dev/null")) == 0)
                return true;
        if (fstatat(dir_fd, name, &st, 0) < 0)
                return false;
        return (S_ISREG(st.st_mode) && st.st_size == 0) ||
               (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
}

/* running */

static uint64_t monotonic_sec(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec;
}

static int environment(const Env *env, char *const *extra, char ***ret)
{
        _cleanup_(strv_freep) char **v = NULL;
        _cleanup_(free_charp) char *root = env->root ? realpath(env->root, NULL) : NULL, *line = NULL;
        int r;

        if ((r = strv_add(&v, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")) < 0 ||
            (r = strv_add(&v, "LANG=C.UTF-8")) < 0)
                return r;
        if (env->root) {
                line = str_printf("GYBE_ROOT=%s", root ? root : env->root);
                r = line ? strv_add(&v, line) : -ENOMEM;
        }
        for (; extra && *extra && r >= 0; extra++)
                r = strv_add(&v, *extra);
        if (r < 0)
                return r;
        *ret = TAKE(v);
        return 0;
}

static int run_program(const Env *env, char *const *program_env, uint64_t timeout_sec, char *program,
                       HealthCheck *c)
{
        _cleanup_(run_result_done) RunResult result = { 0 };
        char *argv[] = { program, NULL };
        RunOptions options = { .exe_fd = -1,
                               .outside = true,
                               .cwd_fd = env->root_fd,
                               .environ = program_env,
                               .timeout_sec = timeout_sec,
                               .output_max = HEALTH_OUTPUT_MAX };
        uint64_t start = monotonic_sec();
        int r;

        r = run(argv, &options, &result);
        if (r < 0)
                return r;
        c->seconds = result.timed_out ? timeout_sec : monotonic_sec() - start;
        c->timed_out = result.timed_out;
        c->exit_code = result.exit_code;
        c->signal = result.signal;
        c->passed = !result.timed_out && result.exit_code == 0;
        c->output = printable(result.output.data, result.output.size);
        return c->output ? 0 : -ENOMEM;
}

static int run_check(const Env *env, char *const *program_env, uint64_t timeout_sec, const char *path,
                     HealthCheck *c)
{
        _cleanup_(free_charp) char *program = NULL;
        int r;

        r = env_program(env, path, &program);
        if (r == -ENOMEM)
                return r;
        if (r >= 0)
                return run_program(env, program_env, timeout_sec, program, c);
        c->output = r == -EACCES ? str_printf("%s is not an executable file", path)
                                 : str_printf("%s: %s", path, strerror(-r));
        return c->output ? 0 : -ENOMEM;
}

static int check_room(HealthChecks *checks, HealthCheck **ret)
{
        HealthCheck *list = reallocarray(checks->list, checks->n + 1, sizeof(*list));

        if (!list)
                return -ENOMEM;
        checks->list = list;
        *ret = &list[checks->n++];
        **ret = (HealthCheck){ .exit_code = -1 };
        return 0;
}

/* One round through all folders. */
typedef struct Round {
        const Env *env;
        char *const *program_env;
        uint64_t timeout_sec, budget_sec, started;
        HealthChecks checks;
} Round;

static int run_candidate(Round *round, const char *folder, const Candidate *candidate, bool required,
                         Why *why)
{
        _cleanup_(close_fdp) int dir_fd = folder_open(round->env, candidate->root, folder, why);
        _cleanup_(free_charp) char *path = NULL, *name = NULL;
        uint64_t spent = monotonic_sec() - round->started;
        HealthCheck *c;
        int r;

        if (dir_fd < 0)
                return dir_fd;
        if (is_off(dir_fd, candidate->name))
                return 0;
        r = check_room(&round->checks, &c);
        if (r < 0)
                return r;
        c->required = required;
        name = str_printf("%s/%s", folder, candidate->name);
        c->name = name ? printable((const uint8_t *) name, strlen(name)) : NULL;
        path = str_printf("%s/%s/%s", roots[candidate->root], folder, candidate->name);
        if (!c->name || !path)
                return -ENOMEM;
        if (spent >= round->budget_sec) {
                c->too_late = true;
                return 0;
        }
        r = run_check(round->env, round->program_env, MIN(round->timeout_sec, round->budget_sec - spent),
                      path, c);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "health check %s", c->name) : 0;
}

void health_checks_done(HealthChecks *checks)
{
        for (size_t i = 0; i < checks->n; i++) {
                free(checks->list[i].name);
                free(checks->list[i].output);
        }
        free(checks->list);
        *checks = (HealthChecks){ 0 };
}

int health_run(const Env *env, char *const *env_extra, uint64_t timeout_sec, uint64_t budget_sec,
               HealthChecks *ret, Why *why)
{
        _cleanup_(strv_freep) char **program_env = NULL;
        Round round = { .env = env,
                        .timeout_sec = timeout_sec > 0 ? timeout_sec : HEALTH_TIMEOUT_SEC,
                        .budget_sec = budget_sec,
                        .started = monotonic_sec() };
        int r;

        r = environment(env, env_extra, &program_env);
        round.program_env = program_env;
        for (size_t folder = 0; r >= 0 && folder < ELEMENTSOF(folders); folder++) {
                _cleanup_(candidates_done) Candidates list = { 0 };

                r = collect(env, folders[folder], &list, why);
                for (size_t i = 0; r >= 0 && i < list.n; i++)
                        r = run_candidate(&round, folders[folder], &list.list[i], folder == 0, why);
        }
        if (r < 0)
                health_checks_done(&round.checks);
        else
                *ret = round.checks;
        return r;
}
