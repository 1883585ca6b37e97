/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "control/fleetlock.h"
#include "control/hostid.h"
#include "base/digest.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>

static void test_urls(void)
{
        static const struct {
                const char *base, *expect;
        } table[] = {
                { "http://lock", "http://lock/v1/pre-reboot" },
                { "http://lock/", "http://lock/v1/pre-reboot" },
                { "https://lock:8443/fleet", "https://lock:8443/fleet/v1/pre-reboot" }, /* nothing is lost */
                { "https://lock/fleet/", "https://lock/fleet/v1/pre-reboot" },
        };
        _cleanup_(free_charp) char *steady = fleetlock_url("http://lock", FLEETLOCK_STEADY_STATE);

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(free_charp) char *url = fleetlock_url(table[i].base, FLEETLOCK_PRE_REBOOT);

                assert(streq0(url, table[i].expect));
        }
        assert(streq0(steady, "http://lock/v1/steady-state"));
}

static void test_bodies(void)
{
        static const struct {
                const char *id, *group, *expect;
        } table[] = {
                { "c988d2509fdf4ac98b0ad31ae50c9fbf", "default",
                  "{\"client_params\":{\"id\":\"c988d2509fdf4ac98b0ad31ae50c9fbf\",\"group\":\"default\"}}" },
                { "node-1", "a.B-9", "{\"client_params\":{\"id\":\"node-1\",\"group\":\"a.B-9\"}}" },
                { "a\"b", "x", "{\"client_params\":{\"id\":\"a\\\"b\",\"group\":\"x\"}}" },
                { "", "default", NULL },
                { "x", "", NULL },
                { "x", "two words", NULL },
                { "x", "a/b", NULL },
                { "x", "gr\xc3\xbcn", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(free_charp) char *body = NULL;

                assert(fleetlock_body(table[i].id, table[i].group, &body) == (table[i].expect ? 0 : -EINVAL));
                assert(streq0(body, table[i].expect));
        }
}

static void test_answers(void)
{
        static const struct {
                unsigned status;
                const char *body;
                bool success, taken;
                const char *kind, *value;
        } table[] = {
                { 200, "", true, false, "", "" },
                { 204, "{\"kind\":\"x\"}", true, false, "", "" },
                { 299, "<html>", true, false, "", "" },
                { 300, "", false, false, "generic_http_300", "" },
                { 307, "{}", false, false, "generic_http_307", "" }, /* a redirect is no permission */
                { 423, "{\"kind\":\"locked\",\"value\":\"held by n2\"}", false, true, "locked",
                  "held by n2" }, /* poseidon */
                { 409, "{\"kind\":\"failed_lock_semaphore_full\",\"value\":\"1 of 1\"}", false, true,
                  "failed_lock_semaphore_full", "1 of 1" }, /* airlock */
                { 500, "{\"kind\":\"failed_lock_semaphore_full\"}", false, true, "failed_lock_semaphore_full",
                  "" },
                { 500, "{\"kind\":\"internal_error\",\"value\":\"etcd\"}", false, false, "internal_error",
                  "etcd" },
                { 400, "missing header", false, false, "generic_http_400", "" },
                { 404, "", false, false, "generic_http_404", "" },
                { 423, "{\"kind\":7,\"value\":[]}", false, true, "generic_http_423", "" },
                { 423, "{\"kind\":\"a\\u001b[2J\\n\",\"value\":\"\xc3\xa4\"}", false, true, "a?[2J?", "??" },
                { 423, "{\"kind\":\"a\",\"kind\":\"b\"}", false, true, "generic_http_423", "" },
                { 500, "{\"kind\":\"internal_error\",\"load\":0.5}", false, false, "internal_error", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                FleetlockReply reply;

                fleetlock_judge(table[i].status, table[i].body, strlen(table[i].body), &reply);
                assert(reply.success == table[i].success && reply.taken == table[i].taken);
                assert(streq(reply.kind, table[i].kind) && streq(reply.value, table[i].value));
        }
}

/* RFC 4231, test cases 1 and 2; and what `systemd-id128 machine-id --app-specific=...` made of this machine id. */
static void test_host_id(void)
{
        static const uint8_t key[20] = { [0 ... 19] = 0x0b };
        uint8_t mac[SHA256_SIZE];
        char hex[SHA256_HEX], id[HOSTID_SIZE], other[HOSTID_SIZE];

        assert(hmac_sha256(key, sizeof(key), "Hi There", 8, mac) == 0);
        hex_encode(mac, sizeof(mac), hex);
        assert(streq(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
        assert(hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac) == 0);
        hex_encode(mac, sizeof(mac), hex);
        assert(streq(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
        assert(hostid("0123456789abcdef0123456789abcdef", id) == 0 &&
               streq(id, "af8ba09061c3480182397d274a819ba0"));
        assert(hostid("0123456789ABCDEF0123456789ABCDEF", other) == 0 && streq(id, other));
        assert(hostid("0123456789abcdef0123456789abcdee", other) == 0 && !streq(id, other));
        assert(hostid("short", id) == -EINVAL && hostid("", id) == -EINVAL &&
               hostid("0123456789abcdef0123456789abcdeg", id) == -EINVAL);
}

int main(void)
{
        test_urls();
        test_bodies();
        test_answers();
        test_host_id();
        return 0;
}
