/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "base/file.h"
#include "base/str.h"
#include "state/state.h"

#include <assert.h>
#include <fcntl.h>
#include <unistd.h>

int main(void)
{
        static const char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                          b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
        char root[] = "/tmp/test-attempts-XXXXXX", id[QUARANTINE_ID_SIZE];
        Env env = ENV_NULL;
        unsigned n = 7;

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        assert(attempts_get(&env, a, b, &n) == 0 && n == 0);
        assert(attempts_forget(&env, a, b) == 0);
        assert(attempts_set(&env, a, b, 2, NULL) >= 0);
        assert(attempts_get(&env, a, b, &n) == 1 && n == 2);
        assert(attempts_get(&env, b, a, &n) == 0 && n == 0); /* another content */
        assert(attempts_forget(&env, a, b) == 0 && attempts_get(&env, a, b, &n) == 0);
        assert(attempts_set(&env, a, b, 1, NULL) >= 0 && quarantine_id(a, b, id) >= 0);
        assert(attempts_forget_id(&env, id) == 0 && attempts_get(&env, a, b, &n) == 0);
        assert(attempts_set(&env, a, b, 1, NULL) >= 0);
        assert(attempts_forget_id(&env, NULL) == 0 && attempts_get(&env, a, b, &n) == 0);
        env_done(&env);
        (void) dir_remove(AT_FDCWD, root); /* its folder cannot be synced by that name; the tree is gone */
        assert(access(root, F_OK) < 0);
        return 0;
}
