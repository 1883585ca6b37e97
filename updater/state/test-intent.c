/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "state/state.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <fcntl.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* The contract between versions, field by field as formats.md section 7 writes it. */
static const char contract[] =
        "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u-1\",\"slot\":\"b\",\"roothash\":\"" HEX_A
        "\",\"ukiSha256\":\"" HEX_B "\",\"entry\":\"vmlinuz-101-azlb0.efi\",\"attempt\":1,"
        "\"bootIdBefore\":\"boot-1\",\"writtenAt\":\"2026-11-04T06:00:00Z\","
        "\"deadline\":900}";

static void test_contract(void)
{
        _cleanup_(intent_done) Intent i = { 0 };
        _cleanup_(free_charp) char *text = NULL;
        _cleanup_(json_unrefp) Json *ours = NULL, *theirs = NULL;
        _cleanup_(free_charp) char *a = NULL, *b = NULL;

        assert(intent_parse(contract, strlen(contract), &i, NULL) >= 0);
        assert(streq(i.update_id, "u-1") && i.slot == 'b' && streq(i.roothash, HEX_A) &&
               streq(i.uki_sha256, HEX_B));
        assert(streq(i.entry, "vmlinuz-101-azlb0.efi") && i.attempt == 1 &&
               streq(i.boot_id_before, "boot-1"));
        assert(i.written_at == 1793772000 && i.deadline == 900);
        assert(intent_format(&i, &text) >= 0);
        assert(json_parse(text, strlen(text), 0, JSON_DEPTH_MAX, "ours", WHY_HOST, &ours, NULL) >= 0);
        assert(json_parse(contract, strlen(contract), 0, JSON_DEPTH_MAX, "theirs", WHY_HOST, &theirs, NULL) >=
               0);
        a = json_format(ours, false);
        b = json_format(theirs, false);
        assert(streq(a, b)); /* names, values and order */
}

static void test_refused(void)
{
        static const char *const bad[] = {
                "",
                "{}",
                "null",
                "{\"schema\":\"gybe.intent/2\",\"updateId\":\"u\"}",
                "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u\",\"slot\":\"b\",\"roothash\":\"" HEX_A
                "\"}", /* no entry */
                "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u\",\"slot\":\"x\",\"roothash\":\"" HEX_A
                "\",\"entry\":\"e\"}",
                "{\"schema\":\"gybe.intent/"
                "1\",\"updateId\":\"u\",\"slot\":\"b\",\"roothash\":\"zz\",\"entry\":\"e\"}",
                "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u\",\"slot\":\"b\",\"roothash\":\"" HEX_A
                "\",\"entry\":\"../e\"}",
                "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u\",\"slot\":\"b\",\"roothash\":\"" HEX_A
                "\",\"entry\":\"a\\\\e\"}",
                "{\"schema\":\"gybe.intent/1\",\"updateId\":7,\"slot\":\"b\",\"roothash\":\"" HEX_A
                "\",\"entry\":\"e\"}",
        };
        static const char later[] =
                "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u\",\"slot\":\"b\",\"roothash\":\"" HEX_A
                "\",\"entry\":\"e\",\"invented\":[true]}";
        static const char moment[] =
                "{\"schema\":\"gybe.intent/1\",\"updateId\":\"u\",\"slot\":\"b\",\"roothash\":\"" HEX_A
                "\",\"entry\":\"e\",\"writtenAt\":\"2026-11-04T06:00:00Z\",\"deadline\":\"2026-11-04T06:15:"
                "00Z\"}";
        _cleanup_(intent_done) Intent i = { 0 };

        for (size_t n = 0; n < ELEMENTSOF(bad); n++) {
                Intent untouched = { .attempt = 77 };
                Why why = { 0 };

                assert(intent_parse(bad[n], strlen(bad[n]), &untouched, &why) < 0 && why.text[0]);
                assert(untouched.attempt == 77 && !untouched.update_id);
        }
        assert(intent_parse(later, strlen(later), &i, NULL) >= 0 && i.attempt == 0);
        intent_done(&i);
        assert(intent_parse(moment, strlen(moment), &i, NULL) >= 0 && i.deadline == 900);
        assert(intent_format(&(Intent){ .slot = 'a' }, &(char *){ NULL }) < 0);
}

static void test_file(const Env *env)
{
        _cleanup_(intent_done) Intent i = { 0 }, j = { 0 };
        _cleanup_(close_fdp) int fd = -1;

        assert(intent_load(env, &j, NULL) == 0);
        assert(intent_remove(env, NULL) == 0);
        assert(intent_parse(contract, strlen(contract), &i, NULL) >= 0);
        assert(intent_save(env, &i, NULL) >= 0);
        assert(intent_load(env, &j, NULL) == 1 && streq(j.update_id, "u-1"));
        fd = env_open_dir(env, STATE_DIR);
        assert(fd >= 0 && file_replace(fd, "intent.json", contract, 40, 0600) >= 0);
        intent_done(&j);
        assert(intent_load(env, &j, NULL) == 0 && !j.update_id); /* torn: none */
        assert(intent_remove(env, NULL) == 1);
        assert(intent_remove(env, NULL) == 0);
}

int main(void)
{
        char root[] = "/tmp/test-intent.XXXXXX";
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(close_fdp) int tmp = dir_open(AT_FDCWD, "/tmp");

        assert(mkdtemp(root));
        assert(env_open(root, &env, NULL) >= 0);
        test_contract();
        test_refused();
        test_file(&env);
        assert(dir_remove(tmp, root + strlen("/tmp/")) >= 0);
        return 0;
}
