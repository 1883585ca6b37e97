/* SPDX-License-Identifier: MIT */

/* One line in the journal for each thing that an update waits for, and none for its repetition. */

#include "control/agent-state.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test-journald.h"

#include <fcntl.h>

static char *line(const char *text)
{
        char *copy = strdup(text);

        assert(copy);
        return copy;
}

static void next(Agent *a, Action action, const char *rule, const char *because)
{
        a->plan.headline = action;
        a->plan.items[action].rule = rule;
        (void) snprintf(a->plan.items[action].because, sizeof(a->plan.items[action].because), "%s", because);
        agent_tell_waiting(a);
}

static void heard(int fd, const char *event, const char *message)
{
        char buf[JOURNALD_ENTRY_MAX], expect[512];

        assert(journald_receive(fd, buf) > 0);
        (void) snprintf(expect, sizeof(expect), "MESSAGE=%s\n", message);
        assert(str_starts(buf, expect));
        (void) snprintf(expect, sizeof(expect), "\nGYBE_EVENT=%s\n", event);
        assert(strstr(buf, expect));
}

static void silence(int fd)
{
        char buf[JOURNALD_ENTRY_MAX];

        assert(journald_receive(fd, buf) == 0);
}

int main(void)
{
        char root[] = "/tmp/test-agent-tell.XXXXXX";
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp"), fd = -1;
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(free_charp) char *offered = line("3.0.2"), *staged = line("3.0.1");
        Agent a = { 0 };

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        fd = journald_listen(&env);
        a.env = &env;
        a.memory.offer.version = offered;
        a.journal.version = staged;

        next(&a, ACTION_CHECK, NULL, "");
        silence(fd);
        next(&a, ACTION_STAGE, "rollout", "its turn comes");
        heard(fd, "waiting", "3.0.2: waits: its turn comes");
        next(&a, ACTION_STAGE, "rollout", "its turn comes, in other words");
        silence(fd);
        next(&a, ACTION_FINALIZE, "window", "the window opens");
        heard(fd, "waiting", "3.0.1: waits: the window opens");
        next(&a, ACTION_FINALIZE, "pin", "pinned");
        heard(fd, "refused-policy", "3.0.1: refused by this host's rules: pinned");
        next(&a, ACTION_CHECK, "pin", "pinned");
        silence(fd);
        next(&a, ACTION_FINALIZE, "retry", "failed once");
        silence(fd);
        next(&a, ACTION_FINALIZE, "pin", "pinned");
        silence(fd);
        next(&a, ACTION_FINALIZE, NULL, "");
        next(&a, ACTION_FINALIZE, "pin", "pinned");
        heard(fd, "refused-policy", "3.0.1: refused by this host's rules: pinned");
        silence(fd);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
