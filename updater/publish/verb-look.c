/* SPDX-License-Identifier: MIT */

/* inspect, diff and verify */

#include "publish/options.h"
#include "publish/verbs.h"
#include "base/str.h"

#include <errno.h>
#include <inttypes.h>

int verb_inspect(Cli *cli, Why *why)
{
        _cleanup_(strv_freep) char **rest = NULL;
        int r;

        if (cli->help) {
                cli->text = options_help(
                        NULL, 0, "gybe-release inspect X [--json]",
                        "Shows everything in a COSI (metadata, GPT, images with sizes and ratios, seek "
                        "tables "
                        "of local\nfiles, verity, ESP files with their PE summaries) or in a release, root "
                        "or "
                        "feed file (contents,\nsignatures). X is a path or an http(s) URL. Nothing is "
                        "verified: see verify.");
                return 0;
        }
        r = options_parse(NULL, 0, "inspect", cli->argv, &rest, why);
        if (r < 0)
                return r;
        if (strv_len(rest) != 1)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "inspect: needs one file or URL");
        r = publish_inspect(cli->env, rest[0], cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = inspect_text(cli->result);
        return r;
}

int verb_diff(Cli *cli, Why *why)
{
        _cleanup_(strv_freep) char **rest = NULL;
        int r;

        if (cli->help) {
                cli->text = options_help(
                        NULL, 0, "gybe-release diff X Y [--json]",
                        "Says what changes from the COSI X to the COSI Y: version, sizes, root hash and "
                        "salt; "
                        "packages; files\nof the ESP, with the words of kernel command lines; partitions; "
                        "and "
                        "how many blocks of Y a host that runs\nX does not have, which is about what it will "
                        "download before compression. What is equal is not shown.\nX and Y are paths or "
                        "http(s) URLs. Nothing is verified: see verify.");
                return 0;
        }
        r = options_parse(NULL, 0, "diff", cli->argv, &rest, why);
        if (r < 0)
                return r;
        if (strv_len(rest) != 2)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "diff: needs two COSIs, the older one first");
        r = publish_diff(cli->env, rest[0], rest[1], cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = diff_text(cli->result);
        return r;
}

static char *verify_text(const Json *result)
{
        uint64_t serial = 0;
        Str s = STR_NULL;

        str_addf(&s, "valid: %s", json_get_str(result, "what") ?: "");
        if (json_get_u64(result, "serial", &serial) == 1)
                str_addf(&s, ": %s %s, serial %" PRIu64, json_get_str(result, "product") ?: "",
                         json_get_str(result, "version") ?: "", serial);
        str_add(&s, "\nsigned by");
        json_foreach (signer, json_get(result, "signers"))
                str_addf(&s, " %.16s", json_str(signer) ?: "");
        str_add(&s, "\n");
        return str_take(&s);
}

static void verify_options_done(VerifyOptions *o)
{
        strv_freep(&o->roots);
}

int verb_verify(Cli *cli, Why *why)
{
        _cleanup_(verify_options_done) VerifyOptions o = { 0 };
        _cleanup_(strv_freep) char **rest = NULL;
        const Option options[] = {
                { "root", 0, OPTION_LIST, &o.roots, "FILE",
                  "root.json; further ones are walked to, as hosts do" },
                { "release", 0, OPTION_TEXT, &o.release, "FILE",
                  "release file of a COSI, where it does not stand beside it" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(
                        options, ELEMENTSOF(options), "gybe-release verify X --root root.json",
                        "Says \"valid\" or the first reason why not. X is a COSI or its release file (the "
                        "other is found beside\nit), a root.N.json or a feed's index.json; a path or an "
                        "http(s) URL. Of a release everything is read:\nsignatures, times, metadata, GPT, "
                        "every image, the hash tree computed again from /usr, boot files.\nexit: 0 valid, 4 "
                        "refused by trust, 1 broken container, network or disk, 2 usage");
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "verify", cli->argv, &rest, why);
        if (r < 0)
                return r;
        if (strv_len(rest) != 1)
                return fail(why, -EINVAL, WHY_USAGE, "usage", "verify: needs one file or URL");
        o.what = rest[0];
        r = publish_verify(cli->env, &o, cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = verify_text(cli->result);
        return r;
}
