/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/job.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static uint64_t clock_at = 1800000000;

static uint64_t now(void *ctx _unused_)
{
        return clock_at;
}

static void test_orders(void)
{
        static const struct {
                JobOrder order;
                int r;
        } cases[] = {
                { { .verb = "check" }, 0 },
                { { .verb = "look" }, 0 },
                { { .verb = NULL }, -EINVAL },
                { { .verb = "format" }, -EINVAL },
                { { .verb = "stage", .release = "https://x/r.cosi" }, 0 },
                { { .verb = "stage", .version = "3.0.2", .override = true }, 0 },
                { { .verb = "stage", .version = "3.0.2", .release = "/r" }, -EINVAL },
                { { .verb = "finalize", .release = "/r" }, -EINVAL }, /* what is staged is finalized */
                { { .verb = "finalize", .no_reboot = true, .override = true }, 0 },
                { { .verb = "stage", .no_reboot = true }, -EINVAL }, /* says that nobody thought */
                { { .verb = "rollback", .allow_downgrade = true }, 0 },
                { { .verb = "commit", .allow_downgrade = true }, -EINVAL },
                { { .verb = "commit", .override = true }, -EINVAL },
                { { .verb = "stage", .unattended = true, .version = "3.0.2" }, 0 }, /* a pin */
                { { .verb = "stage", .unattended = true, .release = "/r" }, -EINVAL },
                { { .verb = "stage", .unattended = true, .override = true }, -EINVAL },
                { { .verb = "update", .unattended = true, .allow_downgrade = true }, -EINVAL },
                { { .verb = "stage",
                    .omaha_url = "https://h/",
                    .omaha_app = "a",
                    .omaha_track = "t",
                    .version = "3" },
                  0 },
                { { .verb = "check", .omaha_url = "https://h/", .omaha_app = "a" }, 0 },
                { { .verb = "stage", .omaha_url = "https://h/" }, -EINVAL },
                { { .verb = "stage", .omaha_app = "a", .omaha_track = "t" }, -EINVAL },
                { { .verb = "stage", .omaha_url = "https://h/", .omaha_app = "a", .release = "/r" },
                  -EINVAL },
                { { .verb = "stage", .omaha_url = "https://h/", .omaha_app = "a", .unattended = true },
                  -EINVAL },
                { { .verb = "finalize", .omaha_url = "https://h/", .omaha_app = "a" }, -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why = { 0 };

                assert(job_order_check(&cases[i].order, &why) == cases[i].r);
                assert((why.kind == WHY_USAGE) == (cases[i].r < 0));
        }
}

static void test_parse(void)
{
        static const struct {
                const char *text;
                int r;
        } cases[] = {
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a-1\",\"verb\":\"look\"}", 0 },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a-1\",\"verb\":\"look\",\"new\":{}}", 0 },
                { "{\"schema\":\"gybe.job/2\",\"id\":\"a-1\",\"verb\":\"look\"}", -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"../x\",\"verb\":\"look\"}", -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"\",\"verb\":\"look\"}", -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"verb\":\"look\"}", -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a\",\"verb\":7}", -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a\",\"verb\":\"look\",\"override\":\"yes\"}",
                  -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a\",\"verb\":\"dance\"}", -EINVAL },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a\",\"verb\":\"stage\",\"omaha\":{\"url\":\"https://h/"
                  "\",\"appId\":\"a\"}}",
                  0 },
                { "{\"schema\":\"gybe.job/"
                  "1\",\"id\":\"a\",\"verb\":\"stage\",\"omaha\":{\"url\":7,\"appId\":\"a\"}}",
                  -EBADMSG },
                { "{\"schema\":\"gybe.job/1\",\"id\":\"a\",\"verb\":\"stage\",\"omaha\":{\"track\":\"t\"}}",
                  -EINVAL },
                { "[]", -EBADMSG },
                { "", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(job_done) Job job = { 0 };

                assert(job_parse(cases[i].text, strlen(cases[i].text), &job, NULL) == cases[i].r);
        }
}

static void test_walk(const Env *env)
{
        JobOrder order = { .verb = "stage",
                           .version = "3.0.2",
                           .override = true,
                           .by = { .uid = 1000, .name = "ada", .how = "dbus" } };
        _cleanup_(strv_freep) char **ids = NULL;
        _cleanup_(json_unrefp) Json *answer = json_new_object(), *back = NULL;
        _cleanup_(job_done) Job job = { 0 };
        JobProgress p = { .what = "staging", .done = 3, .total = 9, .pid = 77 }, q = { 0 };
        char id[JOB_ID_SIZE], second[JOB_ID_SIZE], path[128];
        struct stat st;
        int code = -1;

        assert(job_list(env, &ids) >= 0 && strv_len(ids) == 0);
        ids = strv_free(ids);
        assert(job_submit(env, &order, id, NULL) >= 0);
        assert(job_load(env, id, &job, NULL) >= 0);
        assert(streq(job.id, id) && streq(job.order.verb, "stage") && streq(job.order.version, "3.0.2"));
        assert(job.order.override && !job.order.no_reboot && !job.order.release && job.at == clock_at);
        assert(job.order.by.uid == 1000 && streq(job.order.by.name, "ada") &&
               streq(job.order.by.how, "dbus"));
        (void) snprintf(path, sizeof(path), JOB_DIR "/%s.json", id);
        assert(fstatat(env->root_fd, path + 1, &st, 0) >= 0 && (st.st_mode & 0777) == 0600);
        assert(fstatat(env->root_fd, &JOB_DIR[1], &st, 0) >= 0 && (st.st_mode & 0777) == 0700);

        assert(job_progress_load(env, id, &q) == 0);
        assert(job_progress_save(env, id, &p) >= 0);
        assert(job_progress_load(env, id, &q) == 1);
        assert(streq(q.what, "staging") && q.done == 3 && q.total == 9 && q.pid == 77);

        assert(job_result_load(env, id, &back, &code) == 0);
        json_set_str(answer, "schema", "gybe.result/1");
        assert(job_result_save(env, id, answer, 10) >= 0);
        assert(job_result_load(env, id, &back, &code) == 1 && code == 10);
        assert(streq0(json_get_str(back, "schema"), "gybe.result/1"));

        /* oldest first, whatever the ids are; the boot's job is listed by what it leaves */
        clock_at += 5;
        order = (JobOrder){ .verb = "look" };
        assert(job_submit(env, &order, second, NULL) >= 0);
        assert(job_progress_save(env, JOB_BOOT_ID, &p) >= 0);
        assert(job_list(env, &ids) >= 0 && strv_len(ids) == 3);
        assert(streq(ids[0], JOB_BOOT_ID) && streq(ids[1], id) && streq(ids[2], second));

        assert(job_remove(env, id) >= 0 && job_remove(env, id) >= 0);
        ids = strv_free(ids);
        assert(job_list(env, &ids) >= 0 && strv_len(ids) == 2);
        assert(job_load(env, "../../etc/passwd", &job, NULL) == -EINVAL);
        assert(job_remove(env, "a/b") == -EINVAL);
}

int main(void)
{
        char dir[] = "/tmp/gybe-test-job-XXXXXX";
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");
        _cleanup_(env_done) Env env = ENV_NULL;

        assert(mkdtemp(dir));
        assert(env_open(dir, &env, NULL) >= 0);
        env.now = now;
        test_orders();
        test_parse();
        test_walk(&env);
        assert(dir_remove(tmp, dir + strlen("/tmp/")) >= 0);
        return 0;
}
