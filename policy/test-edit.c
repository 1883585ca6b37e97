/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"
#include "policy/policy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define VENDOR "/usr/lib/gybe/policy.d"
#define RUN    "/run/gybe/policy.d"
#define NOW    UINT64_C(1790000000)
#define LATER  UINT64_C(1800000000) /* 2027-01-15T08:00:00Z */

static uint64_t fixed_now(void *ctx _unused_)
{
        return NOW;
}

static void write_file(const Env *env, const char *folder, const char *name, const char *text)
{
        int fd = env_make_dir(env, folder, 0755);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0644) >= 0);
        (void) close(fd);
}

/* One line of a case: files before, the change, what comes of it. %h: the hold of 2027. */
static const struct {
        const char *vendor, *ours, *run; /* NULL: no such file */
        PolicyVerb verb;
        const char *version;
        int r;
        const char *after; /* our file, plain; NULL: as before */
} cases[] = {
        { NULL, NULL, NULL, POLICY_PIN, "2", 1, "{\"pin\":\"2\"}" },
        { NULL, "{\"pin\":\"2\"}", NULL, POLICY_PIN, "2", 0, NULL },
        { "{\"pin\":\"1\"}", NULL, NULL, POLICY_PIN, "2", 1, "{\"pin\":\"2\"}" },
        { NULL, "{\"pin\":\"2\"}", NULL, POLICY_UNPIN, NULL, 1, "{}" },
        { NULL, NULL, NULL, POLICY_UNPIN, NULL, 0, NULL },
        /* what a vendor's file says is taken back with null, and only then */
        { "{\"pin\":\"1\"}", "{\"pin\":\"2\"}", NULL, POLICY_UNPIN, NULL, 1, "{\"pin\":null}" },
        { "{\"pin\":\"1\"}", NULL, NULL, POLICY_UNPIN, NULL, 1, "{\"pin\":null}" },
        { "{\"hold\":{}}", NULL, NULL, POLICY_UNHOLD, NULL, 1, "{\"hold\":null}" },
        { "{\"hold\":{}}", "{\"hold\":null}", NULL, POLICY_UNHOLD, NULL, 0, NULL },
        { NULL, "{\"hold\":null}", NULL, POLICY_UNHOLD, NULL, 1, "{}" },
        /* what a later file says is not ours to take back */
        { NULL, NULL, "{\"hold\":{}}", POLICY_UNHOLD, NULL, -EPERM, NULL },
        { NULL, NULL, "{\"pin\":\"3\"}", POLICY_PIN, "2", -EPERM, NULL },
        { NULL, NULL, "{\"pin\":\"3\"}", POLICY_UNPIN, NULL, -EPERM, NULL },
        { NULL, NULL, "{\"skip\":[]}", POLICY_SKIP, "2", -EPERM, NULL },
        { NULL, NULL, "{\"skip\":{\"add\":[\"2\"]}}", POLICY_UNSKIP, "2", -EPERM, NULL },
        { NULL, NULL, "{\"skip\":{\"add\":[\"3\"]}}", POLICY_SKIP, "2", 1, "{\"skip\":{\"add\":[\"2\"]}}" },
        /* a vendor's list goes on growing under an operator's exceptions */
        { "{\"skip\":[\"1\"]}", NULL, NULL, POLICY_SKIP, "2", 1, "{\"skip\":{\"add\":[\"2\"]}}" },
        { "{\"skip\":[\"1\"]}", NULL, NULL, POLICY_UNSKIP, "1", 1, "{\"skip\":{\"remove\":[\"1\"]}}" },
        { "{\"skip\":[\"1\"]}", "{\"skip\":{\"remove\":[\"1\"]}}", NULL, POLICY_SKIP, "1", 1,
          "{\"skip\":{\"add\":[\"1\"]}}" },
        { "{\"skip\":[\"1\"]}", "{\"skip\":{\"add\":[\"2\"]}}", NULL, POLICY_UNSKIP, "1", 1,
          "{\"skip\":{\"add\":[\"2\"],\"remove\":[\"1\"]}}" },
        { NULL, "{\"skip\":{\"add\":[\"1\",\"2\"]}}", NULL, POLICY_UNSKIP, "1", 1,
          "{\"skip\":{\"add\":[\"2\"]}}" },
        { NULL, "{\"skip\":{\"add\":[\"1\"]}}", NULL, POLICY_UNSKIP, "1", 1, "{}" },
        { NULL, "{\"skip\":[\"1\"]}", NULL, POLICY_SKIP, "2", 1, "{\"skip\":[\"1\",\"2\"]}" },
        { "{\"skip\":[\"2\"]}", "{\"skip\":[\"1\",\"2\"]}", NULL, POLICY_UNSKIP, "2", 1,
          "{\"skip\":[\"1\"]}" },
        { NULL, NULL, NULL, POLICY_UNSKIP, "1", 0, NULL },
        /* the rest of the file stays, known or not */
        { NULL, "{\"x\":{\"y\":[1]},\"soak\":\"9m\",\"pin\":\"1\"}", NULL, POLICY_UNPIN, NULL, 1,
          "{\"x\":{\"y\":[1]},\"soak\":\"9m\"}" },
        { NULL, "// by hand\n{\"soak\":\"9m\"}", NULL, POLICY_HOLD, NULL, 1,
          "{\"soak\":\"9m\",\"hold\":{\"until\":\"2027-01-15T08:00:00Z\",\"reason\":\"why\",\"by\":\"who\"}"
          "}" },
        { NULL, "{\"hold\":{\"until\":\"2027-01-15T08:00:00Z\",\"reason\":\"why\",\"by\":\"who\"}}", NULL,
          POLICY_HOLD, NULL, 0, NULL },
        { "{\"hold\":{\"by\":\"vendor\"}}", NULL, NULL, POLICY_HOLD, NULL, 1,
          "{\"hold\":{\"until\":\"2027-01-15T08:00:00Z\",\"reason\":\"why\",\"by\":\"who\"}}" },
        /* another file's mistake is no reason to refuse a hold */
        { "{torn", NULL, NULL, POLICY_HOLD, NULL, 1,
          "{\"hold\":{\"until\":\"2027-01-15T08:00:00Z\",\"reason\":\"why\",\"by\":\"who\"}}" },
        /* our file's is: it is not overwritten unread */
        { NULL, "{torn", NULL, POLICY_HOLD, NULL, -EBADMSG, NULL },
        { NULL, "[]", NULL, POLICY_HOLD, NULL, -EINVAL, NULL },
        { NULL, "{\"soak\":\"soon\"}", NULL, POLICY_HOLD, NULL, -EINVAL, NULL },
        { NULL, NULL, NULL, POLICY_PIN, "", -EINVAL, NULL },
        { NULL, NULL, NULL, POLICY_PIN, NULL, -EINVAL, NULL },
        { NULL, NULL, NULL, POLICY_PIN, "two\nlines", -EINVAL, NULL },
};

static char *read_ours(const Env *env)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = env_read(env, POLICY_OPERATOR_DIR "/" POLICY_OPERATOR_NAME, 1 << 20, &b);

        assert(r >= 0 || r == -ENOENT);
        return r < 0 ? NULL : strdup(b.data ? (const char *) b.data : "");
}

static char *plain(const char *text)
{
        Json *j = NULL;
        char *out;

        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "after", WHY_USAGE, &j, NULL) >= 0);
        out = json_format(j, false);
        (void) json_unref(j);
        return out;
}

static void run_case(size_t i, const Env *env)
{
        _cleanup_(free_charp) char *before = NULL, *after = NULL, *got = NULL;
        PolicyChange change = { .verb = cases[i].verb,
                                .version = cases[i].version,
                                .until = LATER,
                                .reason = "why",
                                .by = "who" };
        Why why = { 0 };
        int r;

        if (cases[i].vendor)
                write_file(env, VENDOR, "50.json", cases[i].vendor);
        if (cases[i].ours)
                write_file(env, POLICY_OPERATOR_DIR, POLICY_OPERATOR_NAME, cases[i].ours);
        if (cases[i].run)
                write_file(env, RUN, "50.json", cases[i].run);
        before = read_ours(env);
        r = policy_edit(env, &change, &why);
        after = read_ours(env);
        if (r != cases[i].r)
                (void) fprintf(stderr, "case %zu: %i, %s\n", i, r, why.text);
        assert(r == cases[i].r && (r < 0) == (why.kind != WHY_NONE));
        if (!cases[i].after) {
                assert(streq0(before, after));
                return;
        }
        got = plain(after);
        if (!streq(got, cases[i].after))
                (void) fprintf(stderr, "case %zu: %s\n", i, got);
        assert(streq(got, cases[i].after));
        /* said twice is said once */
        assert(policy_edit(env, &change, NULL) == 0);
}

static void in_a_tree(void (*f)(size_t, const Env *), size_t i)
{
        char dir[] = "/tmp/gybe-edit-XXXXXX";
        Env env = ENV_NULL;
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert(mkdtemp(dir) && env_open(dir, &env, NULL) >= 0);
        env.now = fixed_now;
        f(i, &env);
        env_done(&env);
        assert(dir_remove(tmp, dir + strlen("/tmp/")) >= 0);
        (void) close(tmp);
}

static void test_names_the_file(size_t i _unused_, const Env *env)
{
        PolicyChange change = { .verb = POLICY_UNHOLD };
        Why why = { 0 };

        write_file(env, "/etc/gybe/policy.d", "95-late.json", "{\"hold\":{}}");
        assert(policy_edit(env, &change, &why) == -EPERM && why.kind == WHY_POLICY &&
               streq(why.code, "overruled"));
        assert(strstr(why.text, "/etc/gybe/policy.d/95-late.json"));
}

static void test_past(size_t i _unused_, const Env *env)
{
        PolicyChange change = { .verb = POLICY_HOLD, .until = NOW };
        Why why = { 0 };

        assert(policy_edit(env, &change, &why) == -EINVAL && why.kind == WHY_USAGE);
        change.until = UINT64_MAX;
        assert(policy_edit(env, &change, NULL) == 1);
        _cleanup_(free_charp) char *text = read_ours(env), *got = plain(text);
        assert(streq(got, "{\"hold\":{}}"));
}

static void test_cannot_write(size_t i _unused_, const Env *env)
{
        PolicyChange change = { .verb = POLICY_PIN, .version = "2" };
        Why why = { 0 };

        write_file(env, "/etc", "gybe", "in the way");
        assert(policy_edit(env, &change, &why) < 0 && why.kind == WHY_HOST);
}

static void test_names(void)
{
        for (PolicyVerb v = 0; v < _POLICY_VERB_MAX; v++)
                assert(policy_verb_from_name(policy_verb_name(v)) == v);
        assert(policy_verb_from_name("rollback") < 0);
}

int main(void)
{
        test_names();
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                in_a_tree(run_case, i);
        in_a_tree(test_names_the_file, 0);
        in_a_tree(test_past, 0);
        in_a_tree(test_cannot_write, 0);
        return 0;
}
