/* SPDX-License-Identifier: MIT */
#pragma once

/* What C lacks for ownership: cleanup attributes, handing over, a counted byte buffer. Running out of memory is
 * an ordinary error (-ENOMEM) everywhere; nothing here aborts. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _unused_       __attribute__((unused))
#define _printf_(a, b) __attribute__((format(printf, a, b)))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
/* Unique names, so that one may stand inside the other. */
#define MEM_PASTE_(a, b) a##b
#define MEM_PASTE(a, b)  MEM_PASTE_(a, b)
#define MIN(a, b)        MEM_PICK(<, a, b, MEM_PASTE(_a, __COUNTER__), MEM_PASTE(_b, __COUNTER__))
#define MAX(a, b)        MEM_PICK(>, a, b, MEM_PASTE(_a, __COUNTER__), MEM_PASTE(_b, __COUNTER__))
#define MEM_PICK(op, a, b, x, y)                                                                             \
        ({                                                                                                   \
                __typeof__(a) x = (a);                                                                       \
                __typeof__(b) y = (b);                                                                       \
                x op y ? x : y;                                                                              \
        })

/* Hands an owner over: the variable is left empty, so its cleanup does nothing. */
#define TAKE(p)                                                                                              \
        ({                                                                                                   \
                __typeof__(p) _p = (p);                                                                      \
                (p) = NULL;                                                                                  \
                _p;                                                                                          \
        })

static inline int take_fd(int *fd)
{
        int f = *fd;
        *fd = -1;
        return f;
}

static inline void free_charp(char **p)
{
        free(*p);
}

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* A counted buffer that owns its bytes. There is always one NUL behind the last byte, so that text can be used as
 * text; it is not counted. */
typedef struct Bytes {
        uint8_t *data;
        size_t size;
} Bytes;

#define BYTES_NULL                                                                                           \
        (Bytes)                                                                                              \
        {                                                                                                    \
                0                                                                                            \
        }

static inline void bytes_done(Bytes *b)
{
        free(b->data);
        *b = BYTES_NULL;
}

static inline void bytes_move(Bytes *dst, Bytes *src)
{
        bytes_done(dst);
        *dst = *src;
        *src = BYTES_NULL;
}

int bytes_append(Bytes *b, const void *data, size_t size);
int bytes_copy(Bytes *ret, const void *data, size_t size);
