/* SPDX-License-Identifier: MIT */

#include "control/job.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define JOB_FILE_MAX  (64u * 1024u)  /* a request: an address of 4 KiB and a few words */
#define JOB_REPLY_MAX (256u * 1024u) /* a result: health checks with the ends of their output */
#define JOB_TEXT_MAX  4096u          /* an address */
#define JOB_NAME_MAX  256u           /* of an application or a track */
#define JOB_LIST_MAX  256u           /* far more than are ever kept; the rest is somebody else's mess */

typedef enum JobTakes {
        TAKES_RELEASE = 1 << 0, /* may name what to take */
        TAKES_REBOOT = 1 << 1,  /* may end in a reboot */
        TAKES_DOORS = 1 << 2,   /* asks rules that can be overridden */
} JobTakes;

static const struct {
        const char *name;
        unsigned takes;
} verbs[] = {
        { "check", TAKES_RELEASE | TAKES_DOORS },
        { "stage", TAKES_RELEASE | TAKES_DOORS },
        { "finalize", TAKES_REBOOT | TAKES_DOORS },
        { "update", TAKES_RELEASE | TAKES_REBOOT | TAKES_DOORS },
        { "commit", TAKES_REBOOT },
        { "rollback", TAKES_REBOOT },
        { "reboot", TAKES_DOORS },
        { "deliver", 0 },
        { "unlock", 0 },
        { "look", 0 },
};

static int verb_takes(const char *name, unsigned *ret)
{
        for (size_t i = 0; name && i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name)) {
                        *ret = verbs[i].takes;
                        return 1;
                }
        return 0;
}

bool job_verb_known(const char *verb)
{
        unsigned takes;

        return verb_takes(verb, &takes) > 0;
}

void job_done(Job *job)
{
        job->text = strv_free(job->text);
        *job = (Job){ 0 };
}

static int usage(Why *why, const char *verb, const char *problem)
{
        return fail(why, -EINVAL, WHY_USAGE, "usage", "%s: %s", verb, problem);
}

int job_order_check(const JobOrder *o, Why *why)
{
        unsigned takes;

        if (!verb_takes(o->verb, &takes))
                return fail(why, -EINVAL, WHY_USAGE, "usage", "unknown verb \"%s\"", o->verb ? o->verb : "");
        if ((o->release || o->version || o->allow_downgrade) && !(takes & TAKES_RELEASE) &&
            !(o->allow_downgrade && streq(o->verb, "rollback")))
                return usage(why, o->verb, "it takes no release");
        if ((o->omaha_url || o->omaha_app || o->omaha_track) && !(takes & TAKES_RELEASE))
                return usage(why, o->verb, "it asks no update server");
        if ((!o->omaha_url != !o->omaha_app) || (o->omaha_track && !o->omaha_url))
                return usage(why, o->verb, "an update server is named by its address and an application id");
        if (o->omaha_url && o->release)
                return usage(why, o->verb, "name a RELEASE or an update server, not both");
        if (o->release && o->version)
                return usage(why, o->verb, "name a RELEASE or --version, not both");
        if (o->no_reboot && !(takes & TAKES_REBOOT))
                return usage(why, o->verb, "it reboots nothing");
        if (o->override && !(takes & TAKES_DOORS))
                return usage(why, o->verb, "no rule stands in its way");
        if ((o->release && strlen(o->release) > JOB_TEXT_MAX) ||
            (o->version && strlen(o->version) > JOB_TEXT_MAX))
                return usage(why, o->verb, "this name is too long");
        if ((o->omaha_url && strlen(o->omaha_url) > JOB_TEXT_MAX) ||
            (o->omaha_app && strlen(o->omaha_app) > JOB_NAME_MAX) ||
            (o->omaha_track && strlen(o->omaha_track) > JOB_NAME_MAX))
                return usage(why, o->verb, "this name is too long");
        if (o->unattended && (o->release || o->omaha_url || o->override || o->allow_downgrade))
                return usage(why, o->verb, "only a person may ask for this");
        return 0;
}

/* --- places --- */

/* Ids become file names and unit names. */
static bool id_good(const char *id)
{
        size_t n = strlen(id);

        return n > 0 && n < JOB_ID_SIZE && strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz-") == n;
}

static int read_file(const Env *env, const char *id, const char *suffix, size_t max, Bytes *ret)
{
        char path[128];

        if (!id_good(id))
                return -EINVAL;
        (void) snprintf(path, sizeof(path), JOB_DIR "/%s%s", id, suffix);
        return env_read(env, path, max, ret);
}

static int write_file(const Env *env, const char *id, const char *suffix, const Json *document)
{
        _cleanup_(free_charp) char *text = json_format(document, true);
        _cleanup_(close_fdp) int fd = -1;
        char name[64];

        if (!id_good(id))
                return -EINVAL;
        if (!text)
                return -ENOMEM;
        fd = env_make_dir(env, JOB_DIR, 0700);
        if (fd < 0)
                return fd;
        (void) snprintf(name, sizeof(name), "%s%s", id, suffix);
        return file_replace(fd, name, text, strlen(text), 0600);
}

/* --- requests --- */

static Json *job_json(const char *id, const JobOrder *o, uint64_t at)
{
        Json *j = json_new_object(), *by = json_new_object();

        json_set_str(j, "schema", "gybe.job/1");
        json_set_str(j, "id", id);
        json_set_str(j, "verb", o->verb);
        json_set_str(j, "release", o->release);
        json_set_str(j, "version", o->version);
        if (o->omaha_url) {
                json_set_str(json_sub(j, "omaha"), "url", o->omaha_url);
                json_set_str(json_sub(j, "omaha"), "appId", o->omaha_app);
                json_set_str(json_sub(j, "omaha"), "track", o->omaha_track);
        }
        json_set_bool(j, "allowDowngrade", o->allow_downgrade);
        json_set_bool(j, "noReboot", o->no_reboot);
        json_set_bool(j, "override", o->override);
        json_set_bool(j, "unattended", o->unattended);
        json_set_u64(by, "uid", o->by.uid);
        json_set_str(by, "name", o->by.name);
        json_set_str(by, "how", o->by.how);
        json_set(j, "requestedBy", by);
        json_set_time(j, "at", at);
        return j;
}

int job_submit(const Env *env, const JobOrder *order, char ret_id[JOB_ID_SIZE], Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        char id[JOB_ID_SIZE];
        int r;

        if ((r = job_order_check(order, why)) < 0)
                return r;
        r = uuid_random(id);
        if (r >= 0) {
                j = job_json(id, order, env_now(env));
                r = write_file(env, id, ".json", j);
        }
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", JOB_DIR);
        memcpy(ret_id, id, JOB_ID_SIZE);
        return 0;
}

/* A string that the job owns; NULL when absent. */
static int take(Job *job, const Json *object, const char *key, const char **ret)
{
        const Json *member = json_get(object, key);
        const char *s = json_str(member);
        int r;

        if (!member)
                return 0;
        if (!s || strlen(s) > JOB_TEXT_MAX)
                return -EINVAL;
        r = strv_add(&job->text, s);
        if (r >= 0)
                *ret = job->text[strv_len(job->text) - 1];
        return r;
}

static int take_bool(const Json *object, const char *key, bool *ret)
{
        return json_get_bool(object, key, ret);
}

int job_parse(const void *data, size_t size, Job *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        _cleanup_(job_done) Job job = { 0 };
        JobOrder *o = &job.order;
        const char *id = NULL;
        const Json *by;
        int r;

        r = json_parse(data, size, 0, JSON_DEPTH_MAX, "job", WHY_HOST, &j, why);
        if (r < 0)
                return r;
        by = json_get(j, "requestedBy");
        if (!streq0(json_get_str(j, "schema"), "gybe.job/1"))
                return fail(why, -EBADMSG, WHY_HOST, "bad-job", "job: not a gybe.job/1 document");
        if ((r = take(&job, j, "id", &id)) < 0 || (r = take(&job, j, "verb", &o->verb)) < 0 ||
            (r = take(&job, j, "release", &o->release)) < 0 ||
            (r = take(&job, j, "version", &o->version)) < 0 ||
            (r = take(&job, json_get(j, "omaha"), "url", &o->omaha_url)) < 0 ||
            (r = take(&job, json_get(j, "omaha"), "appId", &o->omaha_app)) < 0 ||
            (r = take(&job, json_get(j, "omaha"), "track", &o->omaha_track)) < 0 ||
            (r = take_bool(j, "allowDowngrade", &o->allow_downgrade)) < 0 ||
            (r = take_bool(j, "noReboot", &o->no_reboot)) < 0 ||
            (r = take_bool(j, "override", &o->override)) < 0 ||
            (r = take_bool(j, "unattended", &o->unattended)) < 0 ||
            (r = json_get_time(j, "at", &job.at)) < 0 || (r = json_get_u64(by, "uid", &o->by.uid)) < 0 ||
            (r = take(&job, by, "name", &o->by.name)) < 0 || (r = take(&job, by, "how", &o->by.how)) < 0)
                return r == -ENOMEM ? r
                                    : fail(why, -EBADMSG, WHY_HOST, "bad-job", "job: a field is malformed");
        if (!id || !id_good(id))
                return fail(why, -EBADMSG, WHY_HOST, "bad-job", "job: no usable id");
        r = job_order_check(o, why);
        if (r < 0)
                return r;
        (void) snprintf(job.id, sizeof(job.id), "%s", id);
        *ret = job;
        job = (Job){ 0 };
        return 0;
}

int job_load(const Env *env, const char *id, Job *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        _cleanup_(job_done) Job job = { 0 };
        int r;

        r = read_file(env, id, ".json", JOB_FILE_MAX, &b);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "job %s", id);
        r = job_parse(b.data ? (const void *) b.data : "", b.size, &job, why);
        if (r < 0)
                return r;
        if (!streq(job.id, id))
                return fail(why, -EBADMSG, WHY_HOST, "bad-job", "job %s: the file says it is %s", id, job.id);
        *ret = job;
        job = (Job){ 0 };
        return 0;
}

/* --- progress and result --- */

static int read_document(const Env *env, const char *id, const char *suffix, Json **ret)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = read_file(env, id, suffix, JOB_REPLY_MAX, &b);

        if (r == -ENOENT)
                return 0;
        if (r >= 0)
                r = json_parse(b.data ? (const void *) b.data : "", b.size, 0, JSON_DEPTH_MAX, "job",
                               WHY_HOST, ret, NULL);
        return r < 0 ? r : 1;
}

int job_progress_load(const Env *env, const char *id, JobProgress *ret)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        JobProgress p = { 0 };
        const char *what, *pace;
        int r;

        r = read_document(env, id, ".progress.json", &j);
        if (r <= 0)
                return r == -ENOMEM ? r : 0;
        what = json_get_str(j, "what");
        (void) snprintf(p.what, sizeof(p.what), "%s", what ? what : "");
        (void) json_get_u64(j, "done", &p.done);
        (void) json_get_u64(j, "total", &p.total);
        (void) json_get_u64(j, "fetched", &p.fetched);
        (void) json_get_u64(j, "skipped", &p.skipped);
        (void) json_get_u64(j, "written", &p.written);
        pace = json_get_str(j, "pace");
        (void) snprintf(p.pace, sizeof(p.pace), "%s", pace ? pace : "");
        (void) json_get_u64(j, "copied", &p.copied);
        (void) json_get_u64(j, "rebuilt", &p.rebuilt);
        (void) json_get_u64(j, "pid", &p.pid);
        (void) json_get_time(j, "at", &p.at);
        *ret = p;
        return 1;
}

static Json *progress_json(const JobProgress *p)
{
        Json *j = json_new_object();

        json_set_str(j, "schema", "gybe.progress/1");
        json_set_str(j, "what", p->what);
        json_set_u64(j, "done", p->done);
        json_set_u64(j, "total", p->total);
        json_set_u64(j, "fetched", p->fetched);
        json_set_u64(j, "skipped", p->skipped);
        json_set_u64(j, "written", p->written);
        if (p->pace[0])
                json_set_str(j, "pace", p->pace);
        json_set_u64(j, "copied", p->copied);
        json_set_u64(j, "rebuilt", p->rebuilt);
        json_set_u64(j, "pid", p->pid);
        json_set_time(j, "at", p->at);
        return j;
}

int job_progress_save(const Env *env, const char *id, const JobProgress *p)
{
        _cleanup_(json_unrefp) Json *j = progress_json(p);

        return write_file(env, id, ".progress.json", j);
}

int job_claim(const Env *env, const char *id, const JobProgress *p)
{
        _cleanup_(json_unrefp) Json *j = progress_json(p);
        _cleanup_(close_fdp) int fd = -1;
        char suffix[32], from[80], to[80];
        int r;

        /* Whole under a name of its own, then linked: who finds it finds a process id in it. */
        (void) snprintf(suffix, sizeof(suffix), ".claim-%ld", (long) getpid());
        r = write_file(env, id, suffix, j);
        if (r < 0)
                return r;
        fd = env_open_dir(env, JOB_DIR);
        if (fd < 0)
                return fd;
        (void) snprintf(from, sizeof(from), "%s%s", id, suffix);
        (void) snprintf(to, sizeof(to), "%s.progress.json", id);
        r = linkat(fd, from, fd, to, 0) < 0 ? -errno : 0;
        (void) unlinkat(fd, from, 0);
        return r;
}

int job_result_load(const Env *env, const char *id, Json **ret, int *ret_exit)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        uint64_t code = 1; /* a result that does not say so was no success */
        int r;

        r = read_document(env, id, ".result.json", &j);
        if (r <= 0)
                return r;
        (void) json_get_u64(j, "exit", &code);
        *ret = TAKE(j);
        if (ret_exit)
                *ret_exit = code > 255 ? 1 : (int) code;
        return 1;
}

int job_result_save(const Env *env, const char *id, Json *document, int exit_code)
{
        json_set_u64(document, "exit", (uint64_t) exit_code);
        json_set_time(document, "endedAt", env_now(env));
        return write_file(env, id, ".result.json", document);
}

/* --- all of them --- */

typedef struct Listed {
        char *id;
        uint64_t at;
} Listed;

static int by_age(const void *a, const void *b)
{
        const Listed *x = a, *y = b;

        return x->at != y->at ? (x->at < y->at ? -1 : 1) : strcmp(x->id, y->id);
}

/* "ID.json" or one of boot's files -> ID, else NULL. */
static char *listed_id(const char *name)
{
        const char *dot = strchr(name, '.');
        char *id;

        if (!dot || (!streq(dot, ".json") && !(str_starts(name, JOB_BOOT_ID ".") &&
                                               (streq(dot, ".progress.json") || streq(dot, ".result.json")))))
                return NULL;
        id = strndup(name, (size_t) (dot - name));
        if (id && !id_good(id)) {
                free(id);
                return NULL;
        }
        return id;
}

static uint64_t asked_at(const Env *env, const char *id)
{
        _cleanup_(job_done) Job job = { 0 };

        return job_load(env, id, &job, NULL) < 0 ? 0 : job.at;
}

int job_list(const Env *env, char ***ret)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, JOB_DIR);
        _cleanup_(strv_freep) char **names = NULL, **ids = NULL;
        Listed list[JOB_LIST_MAX];
        size_t n = 0;
        int r = 0;

        if (fd < 0 && fd != -ENOENT)
                return fd;
        if (fd >= 0 && (r = dir_list(fd, ".", &names)) < 0)
                return r;
        for (char **name = names; name && *name && n < ELEMENTSOF(list); name++) {
                char *id = listed_id(*name);
                bool seen = false;

                for (size_t i = 0; id && i < n; i++)
                        seen = seen || streq(list[i].id, id);
                if (id && !seen)
                        list[n++] = (Listed){ id, asked_at(env, id) };
                else
                        free(id);
        }
        qsort(list, n, sizeof(list[0]), by_age);
        for (size_t i = 0; i < n; i++) {
                if (r >= 0)
                        r = strv_add(&ids, list[i].id);
                free(list[i].id);
        }
        if (r < 0)
                return r;
        if (!ids && !(ids = calloc(1, sizeof(char *))))
                return -ENOMEM;
        *ret = TAKE(ids);
        return 0;
}

/* Also what somebody was about to write when he was killed. */
static int remove_files(const Env *env, const char *id, const char *but)
{
        _cleanup_(close_fdp) int fd = env_open_dir(env, JOB_DIR);
        _cleanup_(strv_freep) char **names = NULL;
        size_t n = strlen(id);
        int r;

        if (!id_good(id))
                return -EINVAL;
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = dir_list(fd, ".", &names);
        for (char **name = names; r >= 0 && *name; name++)
                if (str_starts(*name, id) && (*name)[n] == '.' && !streq(*name + n, but))
                        r = file_remove(fd, *name);
        return r < 0 ? r : 0;
}

int job_remove(const Env *env, const char *id)
{
        return remove_files(env, id, "");
}

int job_remove_request(const Env *env, const char *id)
{
        return remove_files(env, id, ".result.json");
}
