/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
/* printf '%s%s' aaaa… bbbb… | sha256sum | cut -c1-32 */
#define ID_AB "fa0dafbf43f1f551e536353e9d1a942a"

static uint64_t fixed_now(void *ctx _unused_)
{
        return 1793772000;
}

static void test_id(void)
{
        char id[QUARANTINE_ID_SIZE] = "untouched", other[QUARANTINE_ID_SIZE];

        assert(quarantine_id("short", HEX_B, id) < 0 && streq(id, "untouched"));
        assert(quarantine_id(HEX_A, "zz", id) < 0);
        assert(quarantine_id(HEX_A, HEX_B, id) >= 0 && streq(id, ID_AB));
        assert(quarantine_id("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", HEX_B,
                             other) >= 0);
        assert(streq(id, other));
        assert(quarantine_id(HEX_B, HEX_A, other) >= 0 && !streq(id, other));
        assert(quarantine_id(HEX_A, "", other) >= 0 && !streq(id, other));
}

static void test_add_has_clear(const Env *env)
{
        _cleanup_(json_unrefp) Json *list = NULL;
        _cleanup_(free_charp) char *reason = NULL;
        const Json *item;
        Why why = { 0 };

        assert(quarantine_has(env, ID_AB, NULL, NULL) == 0);
        assert(quarantine_clear(env, NULL, NULL) == 0);
        assert(quarantine_list(env, &list, NULL) >= 0 && json_len(list) == 0);
        assert(quarantine_add(env, HEX_A, HEX_B, "3.0.1", REASON_HEALTH_FALLBACK,
                              "required.d/10-net: exit code 1", NULL) >= 0);
        assert(quarantine_has(env, ID_AB, &reason, NULL) == 1);
        assert(streq(reason, "health-fallback: required.d/10-net: exit code 1"));
        /* the first proof stays */
        assert(quarantine_add(env, HEX_A, HEX_B, "3.0.1", REASON_DEADLINE, "later", NULL) >= 0);
        assert(quarantine_add(env, HEX_B, HEX_A, NULL, REASON_FIRMWARE_FALLBACK, NULL, NULL) >= 0);
        json_unrefp(&list);
        assert(quarantine_list(env, &list, NULL) >= 0 && json_len(list) == 2);
        item = streq(json_get_str(json_at(list, 0), "id"), ID_AB) ? json_at(list, 0) : json_at(list, 1);
        assert(streq(json_get_str(item, "roothash"), HEX_A) && streq(json_get_str(item, "ukiSha256"), HEX_B));
        assert(streq(json_get_str(item, "reason"), "health-fallback") &&
               streq(json_get_str(item, "version"), "3.0.1"));
        assert(streq(json_get_str(item, "since"), "2026-11-04T06:00:00Z") && !json_get(item, "schema"));
        assert(quarantine_clear(env, "../../etc/passwd", &why) < 0 && why.kind == WHY_USAGE);
        assert(quarantine_clear(env, ID_AB, NULL) == 1 && quarantine_clear(env, ID_AB, NULL) == 0);
        assert(quarantine_has(env, ID_AB, NULL, NULL) == 0);
        assert(quarantine_clear(env, NULL, NULL) == 1);
}

/* A record is a name: what a power cut did to its content does not let the image in. */
static void test_unreadable(const Env *env)
{
        static const char *const contents[] = { "", "{\"schema\":\"gybe.quaran",
                                                "{\"schema\":\"gybe.quarantine/2\"}", "\xff" };
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR "/quarantine", 0700);

        assert(fd >= 0);
        assert(file_replace(fd, ID_AB ".json.new~", "{}", 2, 0600) >= 0); /* left by a cut: not a record */
        assert(file_replace(fd, "README", "hello", 5, 0600) >= 0);
        assert(quarantine_has(env, ID_AB, NULL, NULL) == 0);
        for (size_t i = 0; i < ELEMENTSOF(contents); i++) {
                _cleanup_(json_unrefp) Json *list = NULL;
                _cleanup_(free_charp) char *reason = NULL;

                assert(file_replace(fd, ID_AB ".json", contents[i], strlen(contents[i]), 0600) >= 0);
                assert(quarantine_has(env, ID_AB, &reason, NULL) == 1 && strstr(reason, "cannot be read"));
                assert(quarantine_list(env, &list, NULL) >= 0 && json_len(list) == 1);
        }
        /* an unreadable record is replaced by a readable one */
        assert(quarantine_add(env, HEX_A, HEX_B, "v", REASON_DEADLINE, "late", NULL) >= 0);
        {
                _cleanup_(free_charp) char *reason = NULL;
                assert(quarantine_has(env, ID_AB, &reason, NULL) == 1 && streq(reason, "deadline: late"));
        }
        assert(quarantine_clear(env, NULL, NULL) == 1);
        assert(faccessat(fd, "README", F_OK, 0) >= 0);
}

int main(void)
{
        char root[] = "/tmp/test-quarantine.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        env.now = fixed_now;
        test_id();
        test_add_has_clear(&env);
        test_unreadable(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
