/* SPDX-License-Identifier: MIT */

/* gybe plan: what an update would cost, asked before it begins. */

#include "answer.h"
#include "cli.h"
#include "base/str.h"

#include <inttypes.h>
#include <unistd.h>

static void say_bytes(Cli *cli, const Json *bytes, const char *key, const char *what)
{
        char size[SIZE_TEXT_SIZE];
        uint64_t v = 0;

        if (json_get_u64(bytes, key, &v) < 0)
                return;
        format_size(v, size);
        cli_say(cli, "  %-9s  %10s  %s", key, size, what);
}

static void tell_plan(Cli *cli, const Json *plan)
{
        const Json *bytes = json_get(plan, "bytes");
        const char *version = json_get_str(plan, "version"), *slot = json_get_str(plan, "slot");
        bool parts = streq0(json_get_str(plan, "way"), "parts");

        cli_say(cli, "%s into slot %s%s:", version ? version : "the release", slot ? slot : "?",
                parts ? "" : ", as a whole");
        say_bytes(cli, bytes, "skipped", "in place already, not written");
        say_bytes(cli, bytes, "zero", "zeroes to write");
        say_bytes(cli, bytes, "copied", "copied from the slots");
        say_bytes(cli, bytes, "rebuilt", "rebuilt from a delta");
        say_bytes(cli, bytes, "fetched", "fetched");
        say_bytes(cli, bytes, "written", "written");
        say_bytes(cli, bytes, "download",
                  parts ? "to download for /usr" : "to download for /usr, less what is in place");
        say_bytes(cli, bytes, "boot", "to download for the boot files");
        if (parts)
                cli_say(cli, "  %-9s  %10zu  parts of the file", "requests",
                        json_len(json_get(plan, "ranges")));
}

static void on_progress(void *ctx, const UpdateProgress *p)
{
        Cli *cli = ctx;
        ProgressValues v = { .what = p->what, .done = p->done, .total = p->total, .fetched = p->fetched };

        progress_show(&cli->progress, &v);
}

int verb_plan(Cli *cli, Why *why)
{
        UpdateOptions options = {
                .release = cli->n_args > 0 ? cli->args[0] : NULL,
                .version = cli->version,
                .disk_path = cli->disk,
                .allow_downgrade = cli->allow_downgrade,
                .override =
                        true, /* a question: no window keeps it from being asked, and nobody is waited for */
                .requested_by = { .uid = getuid(), .how = "cli" },
                .progress = on_progress,
                .ctx = cli,
        };
        _cleanup_(update_done) Update u = { .lock_fd = -1 };
        _cleanup_(json_unrefp) Json *plan = NULL;
        int r = update_open(&cli->env, &options, &u, why);

        if (r < 0)
                return r;
        progress_init(&cli->progress, !cli->quiet && !cli->no_progress && !cli->json);
        r = update_plan(&u, &plan, why);
        progress_end(&cli->progress);
        if (r < 0)
                return r;
        if (cli->json)
                return cli_print(cli, plan);
        tell_plan(cli, plan);
        return 0;
}
