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

/* formats.md section 7, with fields nobody has invented yet. */
static const char document[] =
        "{\"schema\":\"gybe.trust/1\",\"runningSerial\":7,\"highWaterSerial\":5,\"feedSerials\":{\"p "
        "https://x/\":17},"
        "\"revokedSerials\":[3,4],\"revokedRoothashes\":[\"" HEX_B
        "\"],\"timeFloor\":\"2026-11-04T06:00:00Z\",\"later\":[1],"
        "\"slots\":{\"" HEX_A "\":{\"serial\":7,\"version\":\"3.0\",\"ukiSha256\":\"" HEX_B
        "\",\"entry\":\"vmlinuz-100-azla0.efi\","
        "\"files\":{\"EFI/Linux/vmlinuz-100-azla0.efi\":\"" HEX_B
        "\"},\"committedAt\":\"2026-11-04T07:00:00Z\",\"note\":\"x\"}}}";

static void put(const Env *env, const char *text, size_t size)
{
        _cleanup_(close_fdp) int fd = env_make_dir(env, STATE_DIR, 0700);

        assert(fd >= 0 && file_replace(fd, "trust.json", text, size, 0600) >= 0);
}

static void test_contract(const Env *env)
{
        _cleanup_(trust_state_done) TrustState t = { 0 };
        _cleanup_(json_unrefp) Json *ours = NULL, *theirs = NULL;
        _cleanup_(free_charp) char *a = NULL, *b = NULL;
        _cleanup_(bytes_done) Bytes written = BYTES_NULL;
        const SlotRecord *r;
        uint64_t v = 0;
        bool lost = true;

        put(env, document, strlen(document));
        assert(trust_state_load(env, &t, &lost, NULL) >= 0 && !lost);
        assert(t.has_running_serial && t.running_serial == 7 && t.high_water_serial == 5 &&
               t.time_floor == 1793772000);
        assert(t.n_revoked_serials == 2 && strv_has(t.revoked_roothashes, HEX_B));
        assert(trust_state_feed_serial(&t, "p https://x/", &v) == 1 && v == 17);
        assert(trust_state_feed_serial(&t, "p https://y/", &v) == 0);
        r = trust_state_slot(&t, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert(r && r->has_serial && r->serial == 7 && streq(r->entry, "vmlinuz-100-azla0.efi"));
        assert(streq(json_get_str(r->files, "EFI/Linux/vmlinuz-100-azla0.efi"), HEX_B));
        assert(!trust_state_slot(&t, HEX_B) && !trust_state_slot(&t, "") && !trust_state_slot(&t, NULL));

        /* written back it is the same document, unknown fields included */
        assert(trust_state_save(env, &t, NULL) >= 0);
        assert(env_read(env, STATE_DIR "/trust.json", 1 << 20, &written) >= 0);
        assert(json_parse(written.data, written.size, 0, JSON_DEPTH_MAX, "ours", WHY_HOST, &ours, NULL) >= 0);
        assert(json_parse(document, strlen(document), 0, JSON_DEPTH_MAX, "theirs", WHY_HOST, &theirs, NULL) >=
               0);
        a = json_format(ours, false);
        b = json_format(theirs, false);
        assert(streq(a, b));
}

static void test_lost(const Env *env)
{
        static const char *const bad[] = {
                "",
                "{",
                "[]",
                "{\"schema\":\"gybe.trust/2\"}",
                "{\"schema\":\"gybe.trust/1\",\"highWaterSerial\":\"5\"}",
                "{\"schema\":\"gybe.trust/1\",\"revokedSerials\":[-1]}",
                "{\"schema\":\"gybe.trust/1\",\"slots\":{\"xyz\":{}}}",
                "{\"schema\":\"gybe.trust/1\",\"slots\":{\"" HEX_A "\":[]}}",
                "{\"schema\":\"gybe.trust/1\",\"slots\":{\"" HEX_A "\":{\"files\":{\"x\":\"short\"}}}}",
                "{\"schema\":\"gybe.trust/1\",\"feedSerials\":{\"x\":\"1\"}}",
                "{\"schema\":\"gybe.trust/1\",\"timeFloor\":1}",
        };
        bool lost;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(trust_state_done) TrustState t = { 0 };

                put(env, bad[i], strlen(bad[i]));
                lost = false;
                assert(trust_state_load(env, &t, &lost, NULL) >= 0 && lost && t.lost_because[0]);
                assert(t.n_slots == 0 && !t.has_running_serial);
                assert(trust_state_save(env, &t, NULL) >= 0);
                assert(faccessat(env->root_fd, "var/lib/gybe/trust.json.lost", F_OK, 0) >= 0);
        }
        {
                _cleanup_(trust_state_done) TrustState t = { 0 };
                assert(unlinkat(env->root_fd, "var/lib/gybe/trust.json", 0) >= 0);
                assert(trust_state_load(env, &t, &lost, NULL) >= 0 && !lost);
        }
}

static void test_only_forward(void)
{
        TrustState t = { .time_floor = 100, .high_water_serial = 50 };

        assert(!trust_state_raise_time(&t, 99) && t.time_floor == 100);
        assert(!trust_state_raise_time(&t, 100) && trust_state_raise_time(&t, 101) && t.time_floor == 101);
        assert(!trust_state_raise_floor(&t, 0) && !trust_state_raise_floor(&t, 50) &&
               trust_state_raise_floor(&t, 51));
        assert(t.high_water_serial == 51);
}

static void test_revoke(void)
{
        _cleanup_(trust_state_done) TrustState t = { 0 };
        char *hashes[] = { (char *) HEX_A, (char *) HEX_A, NULL }, *bad[] = { (char *) "xyz", NULL };
        uint64_t serials[] = { 1, 2, 1 };

        assert(trust_state_revoke(&t, serials, 3, hashes) >= 0);
        assert(t.n_revoked_serials == 2 && strv_len(t.revoked_roothashes) == 1);
        assert(trust_state_revoked(&t, true, 2, NULL) && !trust_state_revoked(&t, true, 3, HEX_B));
        assert(!trust_state_revoked(&t, false, 2, "") && trust_state_revoked(&t, false, 0, HEX_A));
        assert(trust_state_revoke(&t, NULL, 0, bad) < 0);
        for (uint64_t i = 10; i < 5000; i++)
                assert(trust_state_revoke(&t, &i, 1, NULL) >= 0);
        assert(t.n_revoked_serials == 4096 && trust_state_revoked(&t, true, 4999, NULL));
        assert(!trust_state_revoked(&t, true, 1, NULL)); /* the oldest gave way */
}

static void test_slots(const Env *env)
{
        _cleanup_(trust_state_done) TrustState t = { 0 }, back = { 0 };
        SlotRecord bad = { .roothash = "zz" };
        bool lost = true;
        uint64_t serial;

        assert(trust_state_put_slot(&t, &bad) < 0);
        for (unsigned i = 0; i < 12; i++) {
                SlotRecord r = { .has_serial = true,
                                 .serial = i,
                                 .version = str_printf("v%u", i),
                                 .committed_at = 1000 - i /* a clock that runs backwards changes nothing */ };

                (void) snprintf(r.roothash, sizeof(r.roothash), "%064x", i);
                assert(trust_state_put_slot(&t, &r) >= 0 && !r.version);
        }
        assert(t.n_slots == 8 && t.slots[7].serial == 11 && t.slots[0].serial == 4);
        {
                SlotRecord again = { .version = strdup("again") };

                (void) snprintf(again.roothash, sizeof(again.roothash), "%064x", 5);
                assert(trust_state_put_slot(&t, &again) >= 0);
        }
        assert(t.n_slots == 8 && streq(t.slots[7].version, "again") && !t.slots[7].has_serial);
        for (unsigned i = 0; i < 300; i++) {
                _cleanup_(free_charp) char *key = str_printf("p %u", i);
                assert(trust_state_set_feed_serial(&t, key, i) >= 0);
                assert(trust_state_set_feed_serial(&t, "own", i + 1) >= 0); /* asked at every check */
        }
        assert(json_members(t.feed_serials) == 256);
        assert(trust_state_feed_serial(&t, "own", &serial) == 1 && serial == 300);
        assert(trust_state_feed_serial(&t, "p 44", &serial) == 0);
        assert(trust_state_feed_serial(&t, "p 45", &serial) == 1 && serial == 45);
        assert(trust_state_save(env, &t, NULL) >= 0);
        assert(trust_state_load(env, &back, &lost, NULL) >= 0 && !lost && back.n_slots == 8);
        assert(streq(back.slots[7].version, "again")); /* the order survives the file */
        assert(trust_state_set_feed_serial(&back, "p 45", 46) >= 0);
        assert(trust_state_set_feed_serial(&back, "new", 1) >= 0);
        assert(trust_state_feed_serial(&back, "p 45", &serial) == 1 && serial == 46);
        assert(trust_state_feed_serial(&back, "p 46", &serial) == 0);
}

int main(void)
{
        char root[] = "/tmp/test-trust-state.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        test_contract(&env);
        test_lost(&env);
        test_only_forward();
        test_revoke();
        test_slots(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
