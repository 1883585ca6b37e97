/* SPDX-License-Identifier: MIT */

/* publish --ostree. */

#include "publish/options.h"
#include "publish/ostreepub.h"
#include "publish/verbs.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>

static void ostree_options_done(OstreeOptions *o)
{
        strv_freep(&o->cosis);
        strv_freep(&o->roots);
        strv_freep(&o->channels);
        strv_freep(&o->keys);
}

static char *ostree_text(const Json *result)
{
        Str s = STR_NULL;

        json_foreach (commit, json_get(result, "commits")) {
                str_addf(&s, "%s  %s\n", json_get_str(commit, "version") ?: "",
                         json_get_str(commit, "commit") ?: "");
                json_foreach (ref, json_get(commit, "refs"))
                        str_addf(&s, "  ref %s\n", json_str(ref) ?: "");
                json_foreach (delta, json_get(commit, "deltas")) {
                        char text[SIZE_TEXT_SIZE];
                        uint64_t size = 0;

                        (void) json_get_u64(delta, "size", &size);
                        format_size(size, text);
                        str_addf(&s, "  delta from %s: %s", json_get_str(delta, "from") ?: "", text);
                        if (json_get_u64(delta, "blocks", &size) > 0) {
                                format_size(size, text);
                                str_addf(&s, ", and %s of blocks that are in no file", text);
                        }
                        str_add(&s, "\n");
                }
        }
        return str_take(&s);
}

int verb_publish_ostree(Cli *cli, Why *why)
{
        _cleanup_(ostree_options_done) OstreeOptions o = { .deltas = 4 };
        const Option options[] = {
                { "ostree", 0, OPTION_TEXT, &o.repo, "REPO",
                  "an archive repository; made when it is missing" },
                { "tree", 0, OPTION_TEXT, &o.tree, "DIR",
                  "what the /usr image was made from; without it the image is unpacked\n(debugfs, "
                  "fsck.erofs)" },
                { "channel", 0, OPTION_LIST, &o.channels, "C",
                  "refs PRODUCT/ARCH/C (those the release is signed for); may be repeated" },
                { "root", 0, OPTION_LIST, &o.roots, "FILE",
                  "a root to serve to hosts (gybe/root.N.json); may be repeated" },
                { "key", 0, OPTION_LIST, &o.keys, "PEM",
                  "signs the commit for ostree's own clients (ed25519); may be repeated" },
                { "deltas", 0, OPTION_NUMBER, &o.deltas, "N",
                  "static deltas from the N releases before (4)" },
        };
        int r;

        if (cli->help) {
                cli->text = options_help(
                        options, ELEMENTSOF(options),
                        "gybe-release publish --ostree REPO [--tree DIR] [--key K] X.cosi...",
                        "Each release becomes a commit on the refs of its channels, with the release file in "
                        "its metadata and the\nCOSI in REPO/gybe/. Serve the repository with any web server; "
                        "hosts: source.type \"ostree\".");
                return 0;
        }
        r = options_parse(options, ELEMENTSOF(options), "publish", cli->argv, &o.cosis, why);
        if (r < 0)
                return r;
        r = publish_ostree(cli->env, &o, cli->meter, &cli->result, why);
        if (r >= 0)
                cli->text = ostree_text(cli->result);
        return r;
}
