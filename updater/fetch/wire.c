/* SPDX-License-Identifier: MIT */

#include "fetch/wire.h"
#include "base/fd.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

typedef struct WireHeader {
        uint32_t type, size;
        uint64_t bytes;
} WireHeader;

#define STRING_NULL UINT32_MAX /* the length of a string that is not there */

/* --- records --- */

static void record_close_fds(WireRecord *r)
{
        for (size_t i = 0; i < r->n_fds; i++)
                close_fdp(&r->fds[i]);
        r->n_fds = 0;
}

void wire_record_done(WireRecord *r)
{
        record_close_fds(r);
        free(r->data);
        *r = WIRE_RECORD_NULL;
}

int wire_record_take_fd(WireRecord *r, size_t i)
{
        return i < r->n_fds ? take_fd(&r->fds[i]) : -1;
}

static int send_rest(int sock, struct iovec *iov, size_t n_iov, size_t sent)
{
        for (size_t i = 0; i < n_iov; i++) {
                size_t skip = MIN(sent, iov[i].iov_len);
                const uint8_t *p = (const uint8_t *) iov[i].iov_base + skip;
                size_t left = iov[i].iov_len - skip;

                sent -= skip;
                while (left > 0) {
                        ssize_t l = send(sock, p, left, MSG_NOSIGNAL);
                        if (l < 0 && errno == EINTR)
                                continue;
                        if (l < 0)
                                return -errno;
                        p += l;
                        left -= (size_t) l;
                }
        }
        return 0;
}

int wire_send(int sock, WireType type, uint64_t bytes, const void *data, size_t size, const int *fds,
              size_t n_fds)
{
        WireHeader h = { .type = (uint32_t) type, .size = (uint32_t) size, .bytes = bytes };
        struct iovec iov[2] = { { &h, sizeof(h) }, { (void *) (uintptr_t) data, size } };
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
        } control = { 0 };
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = size > 0 ? 2 : 1 };
        ssize_t l;

        assert(size <= WIRE_RECORD_MAX && n_fds <= WIRE_FDS_MAX);
        if (n_fds > 0) {
                struct cmsghdr *c;

                m.msg_control = control.buf;
                m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        do
                l = sendmsg(sock, &m, MSG_NOSIGNAL);
        while (l < 0 && errno == EINTR);
        if (l < 0)
                return -errno;
        return send_rest(sock, iov, m.msg_iovlen, (size_t) l);
}

static void collect_fds(struct msghdr *m, WireRecord *r)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (r->n_fds < WIRE_FDS_MAX)
                                r->fds[r->n_fds++] = fd;
                        else
                                (void) close(fd);
                }
        }
}

/* One recvmsg; what does not fit (a longer list of descriptors) is closed by the kernel. Without control
 * space every descriptor is. */
static ssize_t receive_some(int sock, void *buf, size_t size, bool with_fds, WireRecord *r)
{
        struct iovec iov = { buf, size };
        union {
                struct cmsghdr align;
                char buf[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
        } control;
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t l;

        if (with_fds) {
                m.msg_control = control.buf;
                m.msg_controllen = sizeof(control.buf);
        }
        l = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (l < 0)
                return -errno;
        if (with_fds)
                collect_fds(&m, r);
        return m.msg_flags & MSG_CTRUNC ? -EBADMSG : l;
}

static int wait_readable(int sock, const WireWait *wait)
{
        struct pollfd p = { .fd = sock, .events = POLLIN };
        int n = poll(&p, 1, wait ? wait->ms : -1);

        if (n < 0 && errno != EINTR)
                return -errno;
        return n <= 0 && wait ? wait->idle(wait->ctx) : 0;
}

/* 1 all of it, 0 closed before the first byte */
static int receive_full(int sock, void *buf, size_t size, bool with_fds, const WireWait *wait, WireRecord *r)
{
        size_t done = 0;

        while (done < size) {
                ssize_t l = receive_some(sock, (uint8_t *) buf + done, size - done, with_fds, r);

                if (l == -EAGAIN || l == -EINTR) {
                        int k = wait_readable(sock, wait);
                        if (k != 0)
                                return k;
                        continue;
                }
                if (l < 0)
                        return (int) l;
                if (l == 0)
                        return done == 0 ? 0 : -ECONNRESET;
                done += (size_t) l;
        }
        return 1;
}

int wire_receive(int sock, bool with_fds, const WireWait *wait, WireRecord *r)
{
        WireHeader h;
        int k;

        if (!r->data) {
                r->data = aligned_alloc(WIRE_ALIGN, WIRE_RECORD_MAX);
                if (!r->data)
                        return -ENOMEM;
        }
        record_close_fds(r);
        k = receive_full(sock, &h, sizeof(h), with_fds, wait, r);
        if (k <= 0)
                return k;
        if (h.type >= _WIRE_TYPE_MAX || h.size > WIRE_RECORD_MAX)
                return -EBADMSG;
        k = h.size > 0 ? receive_full(sock, r->data, h.size, with_fds, wait, r) : 1;
        if (k <= 0)
                return k == 0 ? -ECONNRESET : k;
        r->type = (WireType) h.type;
        r->bytes = h.bytes;
        r->size = h.size;
        return 1;
}

/* --- values --- */

void wire_pack_done(WirePack *p)
{
        bytes_done(&p->bytes);
}

static void put(WirePack *p, const void *data, size_t size)
{
        if (!p->failed && bytes_append(&p->bytes, data, size) < 0)
                p->failed = true;
}

void wire_put_u32(WirePack *p, uint32_t v)
{
        put(p, &v, sizeof(v));
}

void wire_put_u64(WirePack *p, uint64_t v)
{
        put(p, &v, sizeof(v));
}

void wire_put_bytes(WirePack *p, const void *data, size_t size)
{
        if (size >= STRING_NULL) {
                p->failed = true;
                return;
        }
        wire_put_u32(p, (uint32_t) size);
        put(p, data, size);
}

void wire_put_str(WirePack *p, const char *s)
{
        if (s)
                wire_put_bytes(p, s, strlen(s));
        else
                wire_put_u32(p, STRING_NULL);
}

WireUnpack wire_unpack(const void *data, size_t size)
{
        return (WireUnpack){ .data = data, .size = size };
}

/* NULL when there are not that many bytes left */
static const uint8_t *get(WireUnpack *u, size_t size)
{
        const uint8_t *p = u->data;

        if (u->failed || size > u->size) {
                u->failed = true;
                return NULL;
        }
        u->size -= size;
        if (size > 0)
                u->data += size;
        return p;
}

uint32_t wire_get_u32(WireUnpack *u)
{
        const uint8_t *p = get(u, sizeof(uint32_t));
        uint32_t v = 0;

        if (p)
                memcpy(&v, p, sizeof(v));
        return v;
}

uint64_t wire_get_u64(WireUnpack *u)
{
        const uint8_t *p = get(u, sizeof(uint64_t));
        uint64_t v = 0;

        if (p)
                memcpy(&v, p, sizeof(v));
        return v;
}

void wire_get_bytes(WireUnpack *u, size_t max, Bytes *ret)
{
        size_t size = wire_get_u32(u);
        const uint8_t *p;

        if (size > max)
                u->failed = true;
        p = get(u, size);
        if (!u->failed && bytes_copy(ret, p, size) < 0)
                u->failed = true;
}

/* Well-formed UTF-8 only: shortest form, no surrogates, nothing beyond U+10FFFF, no C0 or C1 control
 * characters. What passes may be shown on a terminal and put into JSON. */
static bool text_is_clean(const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n;) {
                unsigned extra = p[i] < 0x80       ? 0
                                 : p[i] >> 5 == 6  ? 1
                                 : p[i] >> 4 == 14 ? 2
                                 : p[i] >> 3 == 30 ? 3
                                                   : 4;
                static const uint32_t least[4] = { 0, 0x80, 0x800, 0x10000 };
                uint32_t c = extra == 0 ? p[i] : p[i] & (0x3fu >> extra);

                if (extra > 3 || extra >= n - i)
                        return false;
                for (unsigned k = 1; k <= extra; k++) {
                        if (p[i + k] >> 6 != 2)
                                return false;
                        c = c << 6 | (p[i + k] & 0x3f);
                }
                if (c < least[extra] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                        return false;
                if (c < 0x20 || (c >= 0x7f && c < 0xa0))
                        return false;
                i += extra + 1;
        }
        return true;
}

static bool raw_is_clean(const uint8_t *p, size_t n)
{
        return n == 0 || !memchr(p, 0, n);
}

/* NULL when there is no string, or none that may pass */
static const uint8_t *get_string(WireUnpack *u, size_t max, bool (*clean)(const uint8_t *, size_t),
                                 size_t *ret_size)
{
        uint32_t size = wire_get_u32(u);
        const uint8_t *p;

        if (u->failed || size == STRING_NULL)
                return NULL;
        p = size > max ? NULL : get(u, size);
        if (!p || !clean(p, size)) {
                u->failed = true;
                return NULL;
        }
        *ret_size = size;
        return p;
}

static void get_new_string(WireUnpack *u, size_t max, bool (*clean)(const uint8_t *, size_t), char **ret)
{
        size_t size = 0;
        const uint8_t *p = get_string(u, max, clean, &size);
        char *s;

        if (!p)
                return;
        s = strndup((const char *) p, size);
        if (!s)
                u->failed = true;
        else
                *ret = s;
}

void wire_get_str(WireUnpack *u, size_t max, char **ret)
{
        get_new_string(u, max, text_is_clean, ret);
}

void wire_get_raw(WireUnpack *u, size_t max, char **ret)
{
        get_new_string(u, max, raw_is_clean, ret);
}

void wire_get_text(WireUnpack *u, char *buf, size_t size)
{
        size_t n = 0;
        const uint8_t *p = get_string(u, size - 1, text_is_clean, &n);

        if (p)
                memcpy(buf, p, n);
        buf[n] = 0;
}

bool wire_get_end(const WireUnpack *u)
{
        return !u->failed && u->size == 0;
}
