/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* One URL, several servers behind it that are not of one mind; and servers that take their time. A child answers on the loopback, connection by connection. */

#include "base/fd.h"
#include "base/str.h"
#include "fetch/download.h"
#include "fetch/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define SIZE (256u * 1024u)

/* Where /file leads, and what is said there, request by request; the last one goes on. */
typedef struct Script {
        const char *leads; /* 'a' or 'b' */
        /* 'v' version 1, 'w' version 2, '5' 503, '4' 404, 't' a tiny file, 'p' a byte of it, 'c' the connection ends in it */
        const char *a, *b;
} Script;

static const Script *script;

static char step(const char *steps, unsigned *at)
{
        char c = steps[*at];

        *at += steps[*at + 1] != 0;
        return c;
}

static void say(int fd, char what, uint64_t first, uint64_t last, const char *if_range)
{
        static uint8_t body[SIZE];
        _cleanup_(free_charp) char *etag = str_printf("\"%c\"", what), *head = NULL;
        bool partial = !*if_range || streq(if_range, etag);

        memset(body, what, sizeof(body));
        first = partial ? first : 0;
        last = partial ? MIN(last, SIZE - 1ul) : SIZE - 1;
        head = partial ? str_printf(
                                 "HTTP/1.1 206 P\r\nConnection: close\r\nETag: %s\r\nContent-Length: %lu\r\n"
                                 "Content-Range: bytes %lu-%lu/%u\r\n\r\n",
                                 etag, last - first + 1, first, last, SIZE)
                       : str_printf("HTTP/1.1 200 O\r\nConnection: close\r\nETag: %s\r\n"
                                    "Content-Length: %u\r\n\r\n",
                                    etag, SIZE);
        if (fd_write_full(fd, head, strlen(head)) >= 0)
                (void) fd_write_full(fd, body + first, last - first + 1);
}

static void answer(int fd, const char *request, unsigned at[3])
{
        const char *range = strstr(request, "Range: bytes="), *if_range = strstr(request, "If-Range: ");
        unsigned long first = 0, last = SIZE - 1;
        char tag[64] = "", what;

        assert(!range || sscanf(range, "Range: bytes=%lu-%lu", &first, &last) == 2);
        assert(!if_range || sscanf(if_range, "If-Range: %63[^\r]", tag) == 1);
        if (str_starts(request, "GET /file ")) {
                _cleanup_(free_charp) char *to = str_printf(
                        "HTTP/1.1 302 F\r\nConnection: close\r\nContent-Length: 0\r\nLocation: /%c\r\n\r\n",
                        step(script->leads, &at[0]));

                assert(fd_write_full(fd, to, strlen(to)) >= 0);
                return;
        }
        what = str_starts(request, "GET /a ") ? step(script->a, &at[1]) : step(script->b, &at[2]);
        if (what == 'v' || what == 'w') {
                say(fd, what, first, last, tag);
        } else if (strchr("tpc", what)) {
                const char *tiny = what == 't'   ? "HTTP/1.1 200 O\r\nContent-Length: 2\r\n\r\nxy"
                                   : what == 'p' ? "HTTP/1.1 206 P\r\nContent-Length: 1\r\n"
                                                   "Content-Range: bytes 0-0/2\r\n\r\nx"
                                                 : "HTTP/1.1 200 O\r\nContent-Length: 2\r\n\r\nx";

                assert(fd_write_full(fd, tiny, strlen(tiny)) >= 0);
        } else {
                _cleanup_(free_charp) char *no =
                        str_printf("HTTP/1.1 %s N\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                                   what == '5' ? "503" : "404");

                assert(fd_write_full(fd, no, strlen(no)) >= 0);
        }
}

static pid_t serve(uint16_t *ret_port)
{
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(to);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        unsigned at[3] = { 0 };
        pid_t pid;

        assert(fd >= 0 && bind(fd, (struct sockaddr *) &to, size) == 0 && listen(fd, 8) == 0);
        assert(getsockname(fd, (struct sockaddr *) &to, &size) == 0);
        *ret_port = ntohs(to.sin_port);
        pid = fork();
        assert(pid >= 0);
        if (pid > 0) {
                (void) close(fd);
                return pid;
        }
        assert(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
        for (;;) {
                int c = accept(fd, NULL, NULL);
                char request[4096] = "";
                size_t n = 0;

                while (c >= 0 && !strstr(request, "\r\n\r\n") && n < sizeof(request) - 1) {
                        ssize_t l = read(c, request + n, sizeof(request) - 1 - n);
                        if (l <= 0)
                                break;
                        n += (size_t) l;
                }
                if (strstr(request, "\r\n\r\n"))
                        answer(c, request, at);
                (void) close(c);
        }
}

static int alive(void *ctx _unused_)
{
        return 0;
}

/* Reads the file from its start to its end; what was read is of version 1, or none of it counts. */
static int read_file(const Script *s, Why *why)
{
        _cleanup_(http_freep) Http *h = NULL;
        _cleanup_(free_charp) char *url = NULL;
        _cleanup_(origin_done) Origin o = ORIGIN_NULL;
        HttpOptions options = { .retries = 3 };
        uint64_t bytes = 0;
        const OriginWatch watch = { &bytes, alive, NULL };
        static uint8_t buf[SIZE];
        uint16_t port;
        pid_t pid;
        int r;

        script = s;
        pid = serve(&port);
        url = str_printf("http://127.0.0.1:%u/file", port);
        assert(http_new(&options, &watch, &h, why) >= 0);
        r = download_open(h, url, SIZE, &o, why);
        if (r >= 0)
                r = origin_read(&o, 0, SIZE, buf, SIZE, why);
        if (r >= 0)
                for (size_t i = 0; i < SIZE; i++)
                        assert(buf[i] == 'v');
        assert(r < 0 || origin_has_ranges(&o)); /* what another one says is not said of this one */
        assert(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
        return r;
}

static void test_mirrors(void)
{
        static const struct {
                Script script;
                int r;
                const char *says;
        } cases[] = {
                { { "a", "v", "v" }, 0, NULL },
                { { "ab", "v55v", "v" }, 0, NULL }, /* another mirror with the same file */
                { { "ab", "v55v", "w" }, 0, NULL }, /* ... with another one: back to the first */
                { { "ab", "v55v", "4" }, 0, NULL }, /* ... without it */
                { { "a", "vw", "v" }, -ESTALE, "changed on the server" }, /* it is this one that changed */
                { { "ab", "v4", "w" },
                  -ESTALE,
                  "changed on the server" },          /* the first one lost it meanwhile */
                { { "ab", "v5", "w" }, -EIO, "503" }, /* ... or does not come back */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Why why = { 0 };
                int r = read_file(&cases[i].script, &why);

                if (r != cases[i].r || (r < 0 && !strstr(why.text, cases[i].says)))
                        fprintf(stderr, "case %zu: %i %s\n", i, r, why.text);
                assert(r == cases[i].r &&
                       (r >= 0 || (why.kind == WHY_NETWORK && strstr(why.text, cases[i].says))));
        }
}

/* One request, which took ms of waiting. */
static int ask_once(Http *h, const char *url, uint64_t ms, Why *why)
{
        const HttpAsk ask = { .ranged = true, .last = 1 };
        _cleanup_(transfer_freep) Transfer *t = NULL;
        TransferFault fault;
        uint8_t buf[8];
        size_t got = 0;
        int r = transfer_start(h, url, &ask, &t, why);

        assert(r >= 0);
        if (transfer_reply(t)->complete)
                assert(transfer_read(t, buf, sizeof(buf), &got, why) >= 0);
        r = got > 0 ? 0 : transfer_failure(t, "x", &fault, why);
        t = transfer_free(t);
        http_waited(h, ms);
        return r;
}

/* Many tiny files over a long way are not slowness, but little of a file at a time is. And who has no patience left says so, to
 * whoever sends and receives, and begins anew. */
static void test_patience(void)
{
        static const struct {
                Script script;
                uint64_t ms; /* for each of 24 requests */
                bool lost;
        } cases[] = {
                { { "a", "t", "t" }, 1000, false }, { { "a", "t", "t" }, 2500, true }, /* not for ever */
                { { "a", "p", "t" }, 1000, true },  { { "a", "c", "t" }, 1000, true },
                { { "a", "5", "t" }, 1000, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(http_freep) Http *h = NULL;
                _cleanup_(free_charp) char *url = NULL;
                HttpOptions options = { .stall_timeout_sec = 1 }; /* patience: ten of them */
                uint64_t bytes = 0;
                const OriginWatch watch = { &bytes, alive, NULL };
                Why why = { 0 };
                bool lost = false;
                uint16_t port;
                pid_t pid;

                script = &cases[i].script;
                pid = serve(&port);
                url = str_printf("http://127.0.0.1:%u/a", port);
                assert(http_new(&options, &watch, &h, NULL) >= 0);
                for (unsigned k = 0; k < 24 && !lost; k++) {
                        why = (Why){ 0 };
                        lost = ask_once(h, url, cases[i].ms, &why) == -EIO;
                }
                if (lost != cases[i].lost)
                        fprintf(stderr, "case %zu: %s\n", i, why.text);
                assert(lost == cases[i].lost && (!lost || streq(why.code, "too-slow")));
                assert(http_check_patience(h, "x", NULL) == 0);
                assert(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
        }
}

int main(void)
{
        assert(setenv("no_proxy", "*", 1) == 0 && http_init(NULL) >= 0);
        test_mirrors();
        test_patience();
        return 0;
}
