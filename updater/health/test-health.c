/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "health/watch.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define VENDOR "/usr/lib/gybe/health.d/"
#define ADMIN  "/etc/gybe/health.d/"

static uint64_t real_now(void *ctx _unused_)
{
        return (uint64_t) time(NULL);
}

static void put(const Env *env, const char *path, const char *text, unsigned mode)
{
        _cleanup_(free_charp) char *folder = strdup(path);
        _cleanup_(close_fdp) int fd = -1;
        char *slash = strrchr(folder, '/');

        *slash = 0;
        fd = env_make_dir(env, folder, 0755);
        assert(fd >= 0 && file_replace(fd, slash + 1, text, strlen(text), mode) >= 0);
        assert(fchmodat(fd, slash + 1, mode, 0) >= 0);
}

static void link_to(const Env *env, const char *target, const char *path)
{
        _cleanup_(free_charp) char *folder = strdup(path);
        _cleanup_(close_fdp) int fd = -1;
        char *slash = strrchr(folder, '/');

        *slash = 0;
        fd = env_make_dir(env, folder, 0755);
        assert(fd >= 0 && symlinkat(target, fd, slash + 1) >= 0);
}

static void clean(const Env *env)
{
        _cleanup_(close_fdp) int root = env_open_dir(env, "/");

        assert(dir_remove(root, "usr") >= 0 && dir_remove(root, "etc") >= 0);
}

static const HealthCheck *check(const HealthReport *r, const char *name)
{
        for (size_t i = 0; i < r->checks.n; i++)
                if (streq(r->checks.list[i].name, name))
                        return &r->checks.list[i];
        return NULL;
}

static int ask(const Env *env, char *const *extra, uint64_t timeout, HealthReport *ret, Why *why)
{
        static const HealthPlan plan;

        *ret = (HealthReport){ .passed = true };
        int r = health_run(env, extra, timeout, 3600, &ret->checks, why);
        return r < 0 ? r : health_judge_checks(&plan, ret);
}

static void test_none(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };

        assert(ask(env, NULL, 5, &r, NULL) >= 0);
        assert(r.passed && r.checks.n == 0 && !r.first_failure);
}

static void test_order_and_verdict(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(json_unrefp) Json *j = NULL;

        put(env, VENDOR "required.d/20-b", "#!/bin/sh\necho fine\n", 0755);
        put(env, ADMIN "required.d/10-a", "#!/bin/sh\necho one; echo; echo 'no route to host' >&2; exit 3\n",
            0755);
        put(env, ADMIN "required.d/30-c", "#!/bin/sh\nkill -TERM $$\n", 0755);
        put(env, VENDOR "wanted.d/05-w", "#!/bin/sh\nexit 1\n", 0755);
        put(env, ADMIN "required.d/.hidden", "#!/bin/sh\nexit 1\n", 0755);
        put(env, ADMIN "required.d/40-old~", "#!/bin/sh\nexit 1\n", 0755);
        assert(ask(env, NULL, 5, &r, NULL) >= 0);
        assert(r.checks.n == 4 && !r.passed); /* never stops at the first failure */
        assert(streq(r.checks.list[0].name, "required.d/10-a") &&
               streq(r.checks.list[1].name, "required.d/20-b"));
        assert(streq(r.checks.list[2].name, "required.d/30-c") &&
               streq(r.checks.list[3].name, "wanted.d/05-w"));
        assert(r.checks.list[0].exit_code == 3 && !r.checks.list[0].passed && r.checks.list[0].required);
        assert(r.checks.list[1].passed && streq(r.checks.list[1].output, "fine\n"));
        assert(r.checks.list[2].signal == 15 && !r.checks.list[2].passed);
        assert(!r.checks.list[3].required && !r.checks.list[3].passed);
        assert(streq(r.first_failure, "required.d/10-a: exit code 3: no route to host"));

        j = health_report_json(&r);
        text = json_format(j, false);
        assert(strstr(text, "\"firstFailure\":\"required.d/10-a: exit code 3: no route to host\""));
        assert(strstr(text, "\"exitCode\":3") && strstr(text, "\"signal\":15") && !strstr(text, "fine"));
        clean(env);

        /* wanted checks never decide */
        health_report_done(&r);
        put(env, VENDOR "wanted.d/05-w", "#!/bin/sh\nexit 1\n", 0755);
        assert(ask(env, NULL, 5, &r, NULL) >= 0 && r.passed && !r.first_failure && r.checks.n == 1);
        clean(env);
}

static void test_masks(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };

        put(env, VENDOR "required.d/10-replaced", "#!/bin/sh\nexit 1\n", 0755);
        put(env, ADMIN "required.d/10-replaced", "#!/bin/sh\nexit 0\n", 0755);
        put(env, VENDOR "required.d/20-linked-off", "#!/bin/sh\nexit 1\n", 0755);
        link_to(env, "/dev/null", ADMIN "required.d/20-linked-off");
        put(env, VENDOR "required.d/30-emptied", "#!/bin/sh\nexit 1\n", 0755);
        put(env, ADMIN "required.d/30-emptied", "", 0644);
        put(env, VENDOR "required.d/40-other-folder", "#!/bin/sh\nexit 0\n", 0755);
        put(env, ADMIN "wanted.d/40-other-folder", "", 0644); /* masks nothing in required.d */
        assert(ask(env, NULL, 5, &r, NULL) >= 0);
        assert(r.passed && r.checks.n == 2);
        assert(check(&r, "required.d/10-replaced") && check(&r, "required.d/40-other-folder"));
        clean(env);
}

/* What cannot be run has not passed. */
static void test_not_runnable(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        const HealthCheck *c;

        put(env, ADMIN "required.d/10-no-bit", "#!/bin/sh\nexit 0\n", 0644);
        put(env, ADMIN "required.d/20-no-shell", "#!/nonexistent/shell\n", 0755);
        link_to(env, "/nowhere", ADMIN "required.d/30-dangling");
        put(env, ADMIN "required.d/40-folder/x", "x", 0644);
        put(env, ADMIN "wanted.d/50-no-bit", "#!/bin/sh\nexit 0\n", 0644);
        assert(ask(env, NULL, 5, &r, NULL) >= 0 && !r.passed && r.checks.n == 5);
        assert(streq(r.first_failure, "required.d/10-no-bit: not run: " ADMIN
                                      "required.d/10-no-bit is not an executable file"));
        c = check(&r, "required.d/20-no-shell");
        assert(!c->passed && c->exit_code == 127);
        assert(!check(&r, "required.d/30-dangling")->passed && !check(&r, "required.d/40-folder")->passed);
        assert(!check(&r, "wanted.d/50-no-bit")->passed);
        clean(env);
}

static void test_timeout(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        time_t start = time(NULL);

        put(env, ADMIN "required.d/10-hangs", "#!/bin/sh\necho waiting\ntrap '' TERM\nsleep 60 & sleep 60\n",
            0755);
        put(env, ADMIN "required.d/20-after", "#!/bin/sh\nexit 0\n", 0755);
        assert(ask(env, NULL, 1, &r, NULL) >= 0);
        assert(time(NULL) - start < 20);
        assert(!r.passed && r.checks.list[0].timed_out && r.checks.list[1].passed);
        assert(streq(r.first_failure, "required.d/10-hangs: no answer within 1 s: waiting"));
        clean(env);
}

/* What there is no time for is not run, and has not passed. */
static void test_budget(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { .passed = true };
        static const HealthPlan plan;

        put(env, ADMIN "required.d/10-slow", "#!/bin/sh\nsleep 1.5\n", 0755);
        put(env, ADMIN "required.d/20-late", "#!/bin/sh\nexit 0\n", 0755);
        put(env, ADMIN "wanted.d/30-late", "#!/bin/sh\nexit 0\n", 0755);
        assert(health_run(env, NULL, 60, 1, &r.checks, NULL) >= 0 && health_judge_checks(&plan, &r) >= 0);
        assert(r.checks.n == 3 && r.checks.list[0].timed_out && !r.passed);
        assert(r.checks.list[1].too_late && !r.checks.list[1].passed && r.checks.list[2].too_late);
        assert(r.n_findings == 3 && r.findings[1].weight == HEALTH_REGRESSION &&
               streq(r.findings[1].text,
                     "required.d/20-late: not run: no time was left before the deadline"));
        assert(r.findings[2].weight == HEALTH_WANTED);
        clean(env);
}

/* A name is somebody's bytes; a report is JSON. */
static void test_names(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL, *back = NULL;
        _cleanup_(free_charp) char *text = NULL;

        put(env, ADMIN "required.d/10-\xff\x1b", "#!/bin/sh\nexit 1\n", 0755);
        assert(ask(env, NULL, 5, &r, NULL) >= 0 && !r.passed);
        assert(streq(r.first_failure, "required.d/10-??: exit code 1"));
        j = health_report_json(&r);
        text = json_format(j, false);
        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "report", WHY_HOST, &back, NULL) >= 0);
        clean(env);
}

static void test_output(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        _cleanup_(json_unrefp) Json *j = NULL, *back = NULL;
        _cleanup_(free_charp) char *text = NULL;
        const HealthCheck *c;

        put(env, ADMIN "required.d/10-long",
            "#!/bin/sh\ni=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; exit 1\n", 0755);
        put(env, ADMIN "required.d/20-bytes",
            "#!/bin/sh\nprintf 'a\\033[2J\\000\\377\\303\\274\\302\\233\\355\\240\\200z\\n'; exit 1\n", 0755);
        for (unsigned i = 30; i < 60; i++) {
                char name[64];

                (void) snprintf(name, sizeof(name), ADMIN "required.d/%u-many", i);
                put(env, name, "#!/bin/sh\nhead -c 20000 /dev/zero | tr '\\0' '\"'; exit 1\n", 0755);
        }
        assert(ask(env, NULL, 10, &r, NULL) >= 0);
        c = check(&r, "required.d/10-long");
        assert(strlen(c->output) == HEALTH_OUTPUT_MAX && str_ends(c->output, "line 2999\n"));
        c = check(&r, "required.d/20-bytes");
        assert(streq(c->output, "a?[2J??\xc3\xbc????z\n"));
        assert(streq(r.first_failure, "required.d/10-long: exit code 1: line 2999"));
        /* a report is JSON that our own reader takes, and fits into a history line */
        j = health_report_json(&r);
        text = json_format(j, false);
        assert(strlen(text) < 128 * 1024);
        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "report", WHY_HOST, &back, NULL) >= 0);
        clean(env);
}

/* The worst that 256 programs can do still fits into a line of history (256 KiB) with room for the rest. */
static void test_worst(const Env *env _unused_)
{
        _cleanup_(health_report_done) HealthReport r = { .passed = true };
        _cleanup_(json_unrefp) Json *j = NULL;
        _cleanup_(free_charp) char *text = NULL;
        static const HealthPlan plan;
        char name[266], output[HEALTH_OUTPUT_MAX + 1];

        memset(name, '"', sizeof(name) - 1);
        memset(output, '"', sizeof(output) - 1);
        name[sizeof(name) - 1] = output[sizeof(output) - 1] = 0;
        r.checks.list = calloc(2 * HEALTH_CHECKS_MAX, sizeof(*r.checks.list));
        for (r.checks.n = 0; r.checks.n < 2 * HEALTH_CHECKS_MAX; r.checks.n++) {
                (void) snprintf(name, 4, "%03zu", r.checks.n);
                name[3] = '"';
                r.checks.list[r.checks.n] = (HealthCheck){
                        .name = strdup(name), .required = true, .exit_code = 1, .output = strdup(output)
                };
        }
        assert(health_judge_checks(&plan, &r) >= 0 && !r.passed && r.n_findings == HEALTH_FINDINGS_MAX);
        j = health_report_json(&r);
        text = json_format(j, false);
        assert(strlen(text) < 200 * 1024 && strstr(text, "\"moreChecks\":"));
}

static void test_environment(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        char *extra[] = { (char *) "GYBE_SLOT=b", (char *) "GYBE_VERSION=3.0", NULL };
        _cleanup_(free_charp) char *expect = str_printf("%s|b|3.0|%s|\n", env->root, env->root);

        assert(setenv("SECRET", "leaked", 1) >= 0);
        put(env, ADMIN "required.d/10-env",
            "#!/bin/sh\necho \"$GYBE_ROOT|$GYBE_SLOT|$GYBE_VERSION|$(pwd)|$SECRET\"\n", 0755);
        /* an absolute link is resolved inside the root, never on the machine that tests */
        put(env, "/usr/libexec/inside", "#!/bin/sh\necho inside\n", 0755);
        link_to(env, "/usr/libexec/inside", ADMIN "required.d/20-linked");
        link_to(env, "/bin/true", ADMIN "required.d/30-outside");
        assert(ask(env, extra, 5, &r, NULL) >= 0);
        assert(streq(check(&r, "required.d/10-env")->output, expect));
        assert(streq(check(&r, "required.d/20-linked")->output, "inside\n"));
        assert(!check(&r, "required.d/30-outside")->passed);
        clean(env);
}

static void test_bounds(const Env *env)
{
        _cleanup_(health_report_done) HealthReport r = { 0 };
        Why why = { 0 };

        for (unsigned i = 0; i <= HEALTH_CHECKS_MAX; i++) {
                char name[64];

                (void) snprintf(name, sizeof(name), ADMIN "wanted.d/%u", i);
                put(env, name, "", 0644);
        }
        assert(ask(env, NULL, 5, &r, &why) < 0 && why.kind == WHY_HOST && streq(why.code, "too-many-checks"));
        clean(env);
}

int main(void)
{
        char root[] = "/tmp/test-health.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        env.now = real_now;
        test_none(&env);
        test_order_and_verdict(&env);
        test_masks(&env);
        test_not_runnable(&env);
        test_timeout(&env);
        test_budget(&env);
        test_names(&env);
        test_output(&env);
        test_worst(&env);
        test_environment(&env);
        test_bounds(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
