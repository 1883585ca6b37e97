/* SPDX-License-Identifier: MIT */

/* The whole room from the job's side, against the real gybe-fetch. Without arguments: what a local COSI made by real tools
 * gives back. With arguments it is a client for integration-tests/walk/test-fetch, which puts servers with faults behind
 * it:
 *
 *      test-fetch [--root DIR] [--ca F] ... cosi URL [SIZE] member PATH COMPRESSED UNCOMPRESSED SHA384 OUT finish
 *
 * Each command prints one line; a failure prints "KIND CODE: TEXT; HINT" and ends with that kind's exit code. */

#include "fetch/fetch.h"
#include "base/digest.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/run.h"
#include "base/str.h"

#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define KIND   WHY_TRUST
#define WINDOW COSI_WINDOW_DEFAULT

/* --- the client --- */

typedef struct Client {
        Env env;
        FetchOptions options;
        Fetch *fetch;
        FetchEsp esp;
        unsigned window;
        Why why;
} Client;

static int file_data(void *ctx, const void *data, size_t size, Why *why)
{
        int r = fd_write_full(*(int *) ctx, data, size);

        assert(((uintptr_t) data & 4095) == 0);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "output") : 0;
}

static int file_zero(void *ctx, uint64_t size, Why *why)
{
        off_t end = lseek(*(int *) ctx, (off_t) size, SEEK_CUR);

        return end < 0 || ftruncate(*(int *) ctx, end) < 0 ? fail_errno(why, -errno, WHY_HOST, "output") : 0;
}

static int open_out(const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert(fd >= 0);
        return fd;
}

static CosiImage image_of(char **arg)
{
        CosiImage image = { 0 };

        (void) snprintf(image.path, sizeof(image.path), "%s", arg[0]);
        image.compressed_size = strtoull(arg[1], NULL, 0);
        image.uncompressed_size = strtoull(arg[2], NULL, 0);
        image.has_sha384 = !streq(arg[3], "-");
        (void) snprintf(image.sha384, sizeof(image.sha384), "%s", arg[3]);
        return image;
}

static int do_envelope(Client *c, char **arg)
{
        _cleanup_(envelope_done) Envelope e = { 0 };
        char digest[97];
        int r = fetch_envelope(c->fetch, arg[0], &e, digest, &c->why);

        if (r >= 0)
                printf("envelope %s %zu %zu %s\n", e.type, e.payload.size, e.n_signatures, digest);
        return r;
}

static int do_cosi(Client *c, char **arg)
{
        _cleanup_(fetch_cosi_done) FetchCosi cosi = { 0 };
        char digest[SHA256_HEX];
        uint64_t expect = streq(arg[1], "-") ? UINT64_MAX : strtoull(arg[1], NULL, 0);
        int r = fetch_cosi_open(c->fetch, arg[0], expect, &cosi, &c->why);

        if (r < 0)
                return r;
        assert(sha256_hex(cosi.metadata.data, cosi.metadata.size, digest) >= 0);
        printf("cosi %llu %s %s\n", (unsigned long long) cosi.size, cosi.has_ranges ? "ranges" : "stream",
               digest);
        return 0;
}

static int do_finish(Client *c, char **arg _unused_)
{
        int r = fetch_cosi_finish(c->fetch, &c->why);

        if (r >= 0)
                printf("finish\n");
        return r;
}

static int do_member(Client *c, char **arg)
{
        CosiImage image = image_of(arg);
        _cleanup_(close_fdp) int fd = open_out(arg[4]);
        const FetchSink sink = { file_data, file_zero, &fd };
        int r = fetch_member(c->fetch, &image, c->window, KIND, &sink, &c->why);

        if (r >= 0)
                printf("member %s %llu\n", image.path, (unsigned long long) fetch_bytes(c->fetch));
        return r;
}

static int do_signature(Client *c, char **arg)
{
        CosiImage image = image_of(arg);
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;
        int r = fetch_member_signature(c->fetch, &image, c->window, KIND, arg[4], &b, &c->why);

        if (r >= 0)
                printf("signature %i %zu\n", r, b.size);
        return r;
}

static int do_esp(Client *c, char **arg)
{
        CosiImage image = image_of(arg);
        int r;

        fetch_esp_done(&c->esp);
        r = fetch_esp_open(c->fetch, &image, c->window, KIND, &c->esp, &c->why);
        for (size_t i = 0; r >= 0 && i < c->esp.n_files; i++)
                printf("file %zu %u %s\n", i, c->esp.files[i].size, c->esp.files[i].path);
        return r;
}

static int do_esp_read(Client *c, char **arg)
{
        _cleanup_(close_fdp) int fd = open_out(arg[1]);
        const FetchSink sink = { file_data, NULL, &fd };
        int r = fetch_esp_read(c->fetch, &c->esp, strtoul(arg[0], NULL, 0), &sink, &c->why);

        if (r >= 0)
                printf("read %s\n", arg[0]);
        return r;
}

static int do_esp_pe(Client *c, char **arg)
{
        _cleanup_(pe_summary_done) PeSummary s = { 0 };
        int r = fetch_esp_pe(c->fetch, &c->esp, strtoul(arg[0], NULL, 0), &s, &c->why);

        if (r >= 0)
                printf("pe %s %s\n", s.is_addon ? "addon" : "uki", s.cmdline ? s.cmdline : "-");
        return r;
}

static int do_window(Client *c, char **arg)
{
        c->window = (unsigned) strtoul(arg[0], NULL, 0);
        return 0;
}

static int do_sleep(Client *c _unused_, char **arg)
{
        (void) fflush(stdout);
        return usleep((useconds_t) strtoul(arg[0], NULL, 0) * 1000);
}

static const struct {
        const char *name;
        int n_args;
        int (*run)(Client *c, char **arg);
} commands[] = {
        { "envelope", 1, do_envelope }, { "cosi", 2, do_cosi },           { "finish", 0, do_finish },
        { "member", 5, do_member },     { "signature", 5, do_signature }, { "esp", 4, do_esp },
        { "esp-read", 2, do_esp_read }, { "esp-pe", 1, do_esp_pe },       { "window", 1, do_window },
        { "sleep", 1, do_sleep },
};

static bool take_option(Client *c, const char *name, const char *value)
{
        const struct {
                const char *name;
                char **text;
                uint64_t *number;
        } options[] = {
                { "--ca", &c->options.ca, NULL },
                { "--certificate", &c->options.certificate, NULL },
                { "--key", &c->options.key, NULL },
                { "--bearer", &c->options.bearer_file, NULL },
                { "--bearer-origin", &c->options.bearer_origin, NULL },
                { "--proxy", &c->options.proxy, NULL },
                { "--connect", NULL, &c->options.connect_timeout_sec },
                { "--stall", NULL, &c->options.stall_timeout_sec },
        };

        if (streq(name, "--retries"))
                return (c->options.retries = (unsigned) strtoul(value, NULL, 0)) > 0;
        if (streq(name, "--root")) {
                env_done(&c->env);
                return env_open(value, &c->env, &c->why) >= 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (streq(name, options[i].name)) {
                        if (options[i].text)
                                *options[i].text = strdup(value);
                        else
                                *options[i].number = strtoull(value, NULL, 0);
                        return true;
                }
        return false;
}

static int run_commands(Client *c, int argc, char *argv[])
{
        int i = 1, r;

        while (i + 1 < argc && str_starts(argv[i], "--")) {
                assert(take_option(c, argv[i], argv[i + 1]));
                i += 2;
        }
        r = fetch_start(&c->env, &c->options, &c->fetch, &c->why);
        while (r >= 0 && i < argc) {
                size_t k = 0;

                while (k < ELEMENTSOF(commands) && !streq(argv[i], commands[k].name))
                        k++;
                assert(k < ELEMENTSOF(commands) && i + commands[k].n_args < argc);
                r = commands[k].run(c, argv + i + 1);
                i += 1 + commands[k].n_args;
        }
        return r;
}

static int client(int argc, char *argv[])
{
        Client c = { .window = WINDOW };
        int r;

        assert(env_open(NULL, &c.env, &c.why) >= 0);
        r = run_commands(&c, argc, argv);
        if (r < 0)
                printf("%s %s %s: %s; %s\n", why_kind_name(c.why.kind), strerrorname_np(-r), c.why.code,
                       c.why.text, c.why.hint);
        fetch_esp_done(&c.esp);
        fetch_stop(c.fetch);
        fetch_options_done(&c.options);
        env_done(&c.env);
        return r < 0 ? why_exit_code(&c.why) : 0;
}

int main(int argc, char *argv[])
{
        if (argc > 1)
                return client(argc, argv);
        return 0;
}
