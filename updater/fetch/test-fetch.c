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
#include <unistd.h>

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

/* METHOD URL BODY HEADERS SECONDS MAX; "-" is none, headers are separated by '|' */
static int do_http(Client *c, char **arg)
{
        _cleanup_(fetch_http_reply_done) FetchHttpReply reply = { 0 };
        _cleanup_(strv_freep) char **headers = NULL;
        FetchHttp request = { .url = arg[1],
                              .method = arg[0],
                              .body = streq(arg[2], "-") ? NULL : arg[2],
                              .timeout_sec = strtoull(arg[4], NULL, 0),
                              .max = strtoul(arg[5], NULL, 0) };
        char *state = NULL;
        int r;

        for (char *h = strtok_r(arg[3], "|", &state); h; h = strtok_r(NULL, "|", &state))
                assert(streq(h, "-") || strv_add(&headers, h) == 0);
        request.headers = headers;
        r = fetch_http(c->fetch, &request, &reply, &c->why);
        if (r >= 0) {
                assert(reply.body.data && reply.body.data[reply.body.size] == 0);
                printf("http %u %llu %zu %.200s\n", reply.status, (unsigned long long) reply.retry_after_sec,
                       reply.body.size, (char *) reply.body.data);
        }
        return r;
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
        { "sleep", 1, do_sleep },       { "http", 6, do_http },
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

/* --- the unit test --- */

static char dir[] = "/tmp/gybe-fetch-XXXXXX";

static const char make[] = "cd \"$1\"; mkdir -p images root; head -c 300000 /dev/urandom > usr; truncate -s "
                           "900000 usr; printf tail >> usr; "
                           "truncate -s 4M esp; mkfs.vfat -n ESP esp > null; mmd -i esp ::EFI; mcopy -i esp "
                           "usr ::EFI/a.efi; printf abc > small; "
                           "head -c 8192 /dev/zero > blank; for i in usr esp small blank; do zstd -q $i -o "
                           "images/$i.zst; done; : > cosi-marker; "
                           "printf '{\"version\":\"1.2\"}' > metadata.json; tar --format=gnu -cf x.cosi "
                           "cosi-marker metadata.json images/usr.zst "
                           "images/esp.zst images/small.zst images/blank.zst; "
                           "printf "
                           "'{\"payloadType\":\"application/"
                           "vnd.gybe.feed+json;v=1\",\"payload\":\"e30=\",\"signatures\":[{\"keyid\":"
                           "\"%064d\",\"alg\":\"ed25519\",\"sig\":\"AAAA\"}]}' 7 > index.json";

static bool run_sh(const char *script)
{
        char *argv[] = { (char *) "/bin/sh", (char *) "-ec", (char *) script, (char *) "sh", dir, NULL };
        char *envp[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
        const RunOptions options = {
                .exe_fd = -1, .cwd_fd = -1, .environ = envp, .timeout_sec = 60, .output_max = 4096
        };
        _cleanup_(run_result_done) RunResult result = { 0 };

        assert(run(argv, &options, &result) == 0);
        if (result.exit_code != 0)
                (void) fprintf(stderr, "%s\n", result.output.data ? (char *) result.output.data : "");
        return result.exit_code == 0;
}

static Bytes load(const char *name)
{
        _cleanup_(free_charp) char *path = str_printf("%s/%s", dir, name);
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        Bytes b = BYTES_NULL;

        assert(fd >= 0 && fd_read_all(fd, 16 * MIB, &b) == 0);
        return b;
}

static CosiImage image_from(const char *name)
{
        _cleanup_(free_charp) char *packed_name = str_printf("images/%s.zst", name);
        _cleanup_(bytes_done) Bytes raw = load(name), packed = load(packed_name);
        CosiImage image = { .compressed_size = packed.size,
                            .uncompressed_size = raw.size,
                            .has_sha384 = true };

        (void) snprintf(image.path, sizeof(image.path), "%s", packed_name);
        assert(sha384_hex(packed.data, packed.size, image.sha384) == 0);
        return image;
}

static int append_data(void *ctx, const void *data, size_t size, Why *why _unused_)
{
        return bytes_append(ctx, data, size);
}

static int count_tick(void *ctx)
{
        ++*(unsigned *) ctx;
        return 0;
}

static void test_members(Fetch *f)
{
        _cleanup_(bytes_done) Bytes usr = load("usr"), got = BYTES_NULL, sig = BYTES_NULL;
        CosiImage image = image_from("usr");
        uint64_t before = fetch_bytes(f);
        Why why = { 0 };

        assert(fetch_member_bytes(f, &image, WINDOW, KIND, usr.size, &got, &why) == 0);
        assert(got.size == usr.size && memcmp(got.data, usr.data, usr.size) == 0);
        assert(fetch_bytes(f) >= before + image.compressed_size);
        assert(fetch_member_bytes(f, &image, WINDOW, KIND, usr.size - 1, &got, &why) == -EFBIG &&
               why.kind == KIND);
        image.sha384[5] ^= 1;
        why = (Why){ 0 };
        assert(fetch_member_bytes(f, &image, WINDOW, WHY_IMAGE, usr.size, &got, &why) < 0 &&
               why.kind == WHY_IMAGE);
        assert(streq(why.code, "member-digest"));
        why = (Why){ 0 };
        image = image_from("small"); /* a request after a failed one */
        assert(fetch_member_bytes(f, &image, WINDOW, KIND, 3, &got, &why) == 0 && got.size == 3);
        assert(fetch_member_signature(f, &image, WINDOW, KIND, "00", &sig, &why) < 0);
        why = (Why){ 0 };
        image = image_from("blank");
        assert(fetch_member_signature(f, &image, WINDOW, KIND, "00", &sig, &why) == 0 && sig.size == 0);
}

static void test_esp(Fetch *f)
{
        _cleanup_(bytes_done) Bytes usr = load("usr"), got = BYTES_NULL;
        _cleanup_(fetch_esp_done) FetchEsp esp = { 0 };
        _cleanup_(pe_summary_done) PeSummary pe = { 0 };
        const FetchSink sink = { append_data, NULL, &got };
        CosiImage image = image_from("esp");
        Why why = { 0 };

        /* one frame cannot be read in parts */
        assert(fetch_esp_open_parts(f, &image, WINDOW, KIND, &esp, &why) == -EOPNOTSUPP);
        why = (Why){ 0 };
        assert(fetch_esp_open(f, &image, WINDOW, KIND, &esp, &why) == 0);
        assert(esp.n_files == 1 && streq(esp.files[0].path, "EFI/a.efi") && esp.files[0].size == usr.size);
        assert(fetch_esp_read(f, &esp, 0, &sink, &why) == 0);
        assert(got.size == usr.size && memcmp(got.data, usr.data, usr.size) == 0);
        assert(fetch_esp_pe(f, &esp, 0, &pe, &why) < 0 && why.kind == KIND);
        /* not a FAT at all, and nothing is left of the scratch file */
        why = (Why){ 0 };
        image = image_from("usr");
        fetch_esp_done(&esp);
        assert(fetch_esp_open(f, &image, WINDOW, KIND, &esp, &why) < 0 && why.kind == KIND);
        assert(run_sh("[ -d \"$1\"/root/var/lib/gybe ] && [ -z \"$(ls -A \"$1\"/root/var/lib/gybe)\" ]"));
}

static void test_envelope(Fetch *f)
{
        _cleanup_(free_charp) char *path = str_printf("%s/index.json", dir),
                                   *none = str_printf("%s/none.json", dir);
        _cleanup_(envelope_done) Envelope e = { 0 };
        _cleanup_(bytes_done) Bytes file = load("index.json");
        char digest[97], expected[97];
        Why why = { 0 };

        if (fetch_envelope(f, path, &e, digest, &why) < 0)
                (void) fprintf(stderr, "%s\n", why.text);
        assert(streq(e.type, TYPE_FEED) && e.payload.size == 2 && e.n_signatures == 1 &&
               e.signatures[0].sig.size == 3);
        assert(sha384_hex(file.data, file.size, expected) == 0 && streq(digest, expected));
        assert(fetch_envelope(f, none, &e, NULL, &why) == -ENOENT);
}

static void test_start_fails(const Env *env)
{
        FetchOptions options = { .key = (char *) "/no/key.pem" };
        Fetch *f = NULL;
        Why why = { 0 };

        assert(fetch_start(env, &options, &f, &why) < 0 && !f && strstr(why.text, "http.key: /no/key.pem"));
}

static int unit(void)
{
        _cleanup_(env_done) Env env = ENV_NULL;
        _cleanup_(fetch_stopp) Fetch *f = NULL;
        _cleanup_(free_charp) char *root = NULL, *cosi_path = NULL;
        _cleanup_(fetch_cosi_done) FetchCosi cosi = { 0 };
        unsigned ticks = 0;
        Why why = { 0 };

        assert(mkdtemp(dir) && chmod(dir, 0755) == 0);
        if (!run_sh(make)) {
                (void) run_sh("rm -rf \"$1\"");
                printf("skipped: needs zstd, tar, mkfs.vfat and mtools\n");
                return 77;
        }
        root = str_printf("%s/root", dir);
        cosi_path = str_printf("%s/x.cosi", dir);
        assert(env_open(root, &env, &why) == 0);
        if (fetch_start(&env, NULL, &f, &why) < 0) {
                (void) run_sh("rm -rf \"$1\"");
                printf("%s: %s\n", streq(why.code, "system") ? "skipped" : "failed", why.text);
                return streq(why.code, "system") ? 77 : 1;
        }
        fetch_set_tick(f, count_tick, &ticks);
        assert(fetch_cosi_open(f, cosi_path, UINT64_MAX, &cosi, &why) == 0);
        assert(cosi.has_ranges && streq((char *) cosi.metadata.data, "{\"version\":\"1.2\"}"));
        test_members(f);
        test_esp(f);
        test_envelope(f);
        assert(fetch_cosi_finish(f, &why) == 0);
        test_start_fails(&env);
        assert(ticks > 0);
        (void) run_sh("rm -rf \"$1\"");
        return 0;
}

int main(int argc, char *argv[])
{
        return argc > 1 ? client(argc, argv) : unit();
}
