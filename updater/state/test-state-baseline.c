/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/file.h"
#include "base/fd.h"
#include "base/str.h"
#include "state/state.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const Env *env, const char *text)
{
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR, 0700);

        assert(fd >= 0 && file_replace(fd, "baseline.json", text, strlen(text), 0600) >= 0);
}

/* Lost is not fatal, whatever it is; and it is said why. */
static void test_lost(const Env *env)
{
        static const struct {
                const char *text, *says;
        } cases[] = {
                { "", "baseline" },
                { "{\"schema\":\"gybe.baseline/1\",\"upd", "baseline" },
                { "[]", "not a JSON object" },
                { "{}", "schema" },
                { "{\"schema\":\"gybe.journal/1\"}", "schema" },
                { "{\"schema\":\"gybe.baseline/2\"}", "newer gybe" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_unrefp) Json *j = NULL;
                Why lost = { 0 }, why = { 0 };

                put(env, cases[i].text);
                assert(baseline_load(env, &j, &lost, &why) == 0 && !j && why.kind == WHY_NONE);
                assert(strstr(lost.text, cases[i].says));
        }
}

int main(void)
{
        char root[] = "/tmp/test-state-baseline-XXXXXX";
        _cleanup_(json_unrefp) Json *j = json_new_object(), *back = NULL;
        Env env = ENV_NULL;
        Why lost = { 0 };
        struct stat st;

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        assert(baseline_load(&env, &back, &lost, NULL) == 0 && !back && !lost.text[0]);
        json_set_str(j, "updateId", "u");
        assert(baseline_save(&env, j, NULL) >= 0 && baseline_save(&env, j, NULL) >= 0);
        assert(baseline_load(&env, &back, &lost, NULL) == 1 && !lost.text[0]);
        assert(streq(json_get_str(back, "updateId"), "u") &&
               streq(json_get_str(back, "schema"), "gybe.baseline/1"));
        assert(!json_get(j, "schema")); /* what was handed in is as it was */
        assert(fstatat(env.root_fd, "var/lib/gybe/baseline.json", &st, 0) >= 0 && (st.st_mode & 077) == 0);
        test_lost(&env);
        env_done(&env);
        (void) dir_remove(AT_FDCWD, root); /* its folder cannot be synced by that name; the tree is gone */
        assert(access(root, F_OK) < 0);
        return 0;
}
