/* SPDX-License-Identifier: MIT */
#pragma once

/* The world as gybe may see it: one root folder, one clock. Nothing else in the program opens an absolute path or
 * reads a clock, so that a host made of files (--root DIR) is a whole host and never falls through to the real
 * machine. */

#include "base/why.h"

typedef struct Env {
        int root_fd;                /* O_PATH of "/" or of DIR */
        const char *root;           /* DIR as given, NULL on the real machine; for messages only */
        uint64_t (*now)(void *ctx); /* seconds since the epoch: the only clock anyone may read */
        void *ctx;
        const char *libexec; /* folder that holds gybe-fetch */
} Env;

#define ENV_NULL                                                                                             \
        (Env)                                                                                                \
        {                                                                                                    \
                .root_fd = -1                                                                                \
        }

/* root NULL: the real machine. */
int env_open(const char *root, Env *ret, Why *why);
void env_done(Env *env);

static inline bool env_is_real(const Env *env)
{
        return !env->root;
}

uint64_t env_now(const Env *env);

/* Paths are absolute as the host would write them ("/etc/os-release"). Symbolic links are resolved inside the root:
 * an absolute link in a host on files cannot lead out of it. */
int env_open_path(const Env *env, const char *path, int flags, unsigned mode);
int env_read(const Env *env, const char *path, size_t max, Bytes *ret);
/* One line without its newline; -ENOENT, -EFBIG (over 64 KiB). */
int env_read_line(const Env *env, const char *path, char **ret);
int env_open_dir(const Env *env, const char *path);
int env_make_dir(const Env *env, const char *path, unsigned mode);
/* Where an executable file is for execve(): resolved inside the root, so that no link of a host made of files leads out of it.
 * -EACCES it is none. */
int env_program(const Env *env, const char *path, char **ret);
/* The path as the kernel would need it for a program that is not chrooted: DIR + path. */
char *env_host_path(const Env *env, const char *path);
