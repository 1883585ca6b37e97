/* SPDX-License-Identifier: MIT */

#include "fetch/signature.h"
#include "base/fd.h"
#include "base/run.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define ROOT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char dir[] = "/tmp/gybe-signature-XXXXXX";

static bool run_sh(const char *script)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-ec", (char *) script, (char *) "sh", dir, NULL };
        const RunOptions options = { .exe_fd = -1, .cwd_fd = -1, .timeout_sec = 60, .output_max = 4096 };
        _cleanup_(run_result_done) RunResult result = { 0 };

        assert(run(argv, &options, &result) == 0);
        return result.exit_code == 0;
}

/* A detached CMS over the 64 hex digits, as veritysetup wants it; and one that has them inside. */
static char *real_signature(const char *option)
{
        _cleanup_(free_charp) char *script = str_printf("cd \"$1\"; [ -e key ] || openssl req -x509 -newkey "
                                                        "rsa:2048 -nodes -subj /CN=verity -keyout key -out "
                                                        "cert; printf %s > hash; openssl cms -sign -binary "
                                                        "-noattr -nocerts -outform DER %s -in hash -signer "
                                                        "cert -inkey key -out sig",
                                                        ROOT, option);
        _cleanup_(free_charp) char *path = str_printf("%s/sig", dir);
        _cleanup_(bytes_done) Bytes der = BYTES_NULL;
        _cleanup_(close_fdp) int fd = -1;
        char *text = NULL;

        assert(run_sh(script));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert(fd >= 0 && fd_read_all(fd, MIB, &der) == 0 && base64_encode(der.data, der.size, &text) == 0);
        return text;
}

static int check(const char *text, size_t size, const char *roothash)
{
        uint8_t *payload = calloc(1, size + 1);
        Why why = { 0 };
        int r;

        assert(payload && strlen(text) <= size);
        memcpy(payload, text, strlen(text));
        r = signature_check(payload, size, roothash, "images/sig", WHY_TRUST, &why);
        assert(r < 0 ? why.kind == WHY_TRUST && r == -EBADMSG : why.kind == WHY_NONE);
        free(payload);
        return r;
}

static void test_forms(const char *good)
{
        static const struct {
                const char *text; /* @: the base64 of a good signature */
                size_t size;
                int expect;
                const char *why;
        } table[] = {
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@\"}", 4096, 1, "as it is made" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@\"}", 1 << 20, 1, "a whole partition" },
                { "{\"signature\":\"@\",\"rootHash\":\"" ROOT "\"}", 4096, 1, "the other order" },
                { "{\"rootHash\":\"00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF\","
                  "\"signature\":\"@\"}",
                  4096, 1, "upper case" },
                { "", 4096, 0, "blank" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@\"}", 4000, -EBADMSG, "no multiple of 4096" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@\"}", (1 << 20) + 4096, -EBADMSG,
                  "too large" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@\"}\n", 4096, -EBADMSG,
                  "a newline is no NUL" },
                { "{\"rootHash\": \"" ROOT "\",\"signature\":\"@\"}", 4096, -EBADMSG, "not compact" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@\",\"x\":\"\"}", 4096, -EBADMSG,
                  "a third member" },
                { "{\"rootHash\":\"" ROOT "\",\"rootHash\":\"" ROOT "\"}", 4096, -EBADMSG, "twice the same" },
                { "{\"rootHash\":\"" ROOT "\"}", 4096, -EBADMSG, "no signature" },
                { "{\"rootHash\":\"10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\","
                  "\"signature\":\"@\"}",
                  4096, -EBADMSG, "another root hash" },
                { "{\"rootHash\":\"0011\",\"signature\":\"@\"}", 4096, -EBADMSG, "a short root hash" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"@=\"}", 4096, -EBADMSG, "more padding" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"\"}", 4096, -EBADMSG, "an empty signature" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"YWJj\"}", 4096, -EBADMSG, "no DER" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"MAA=\"}", 4096, -EBADMSG, "an empty sequence" },
                { "{\"rootHash\":\"" ROOT "\",\"signature\":\"MAB=\"}", 4096, -EBADMSG,
                  "bits beyond the end" },
                { "[\"" ROOT "\",\"@\"]", 4096, -EBADMSG, "an array" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *at = strchrnul(table[i].text, '@');
                _cleanup_(free_charp) char *text =
                        str_printf("%.*s%s%s", (int) (at - table[i].text), table[i].text, *at ? good : "",
                                   *at ? at + 1 : "");
                int r;

                assert(text);
                r = check(text, table[i].size, ROOT);
                if (r != table[i].expect)
                        (void) fprintf(stderr, "%s: %i\n", table[i].why, r);
                assert(r == table[i].expect);
        }
}

int main(void)
{
        _cleanup_(free_charp) char *good = NULL, *inside = NULL, *text = NULL;

        assert(mkdtemp(dir));
        if (!run_sh("openssl version")) {
                (void) rmdir(dir);
                printf("skipped: needs openssl\n");
                return 77;
        }
        good = real_signature("");
        inside = real_signature("-nodetach");
        (void) run_sh("rm -rf \"$1\"");
        test_forms(good);
        text = str_printf("{\"rootHash\":\"%s\",\"signature\":\"%s\"}", ROOT, inside);
        assert(text && check(text, 8192, ROOT) == -EBADMSG);
        return 0;
}
