/* SPDX-License-Identifier: MIT */

#include "publish/ostree-repo.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/run.h"
#include "base/str.h"
#include "image/blockpatch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#define TOOL_TIMEOUT_SEC 14400u /* binary diffs of a whole OS, on a small machine */
#define TOOL_OUTPUT_MAX  4096u
#define CONFIG_MAX       (64u * 1024u)
#define INSTALL_OSTREE   "install ostree"

/* Binary diffs of files of up to that many MB: the sort behind them needs some twenty times as much memory. Nothing is left out
 * for its size: a large object costs least inside the delta, where the solid xz stream and the old object help it. Chunks bound
 * what a host unpacks at once. */
#define DELTA_BSDIFF_MAX "--max-bsdiff-size=192"
#define DELTA_FALLBACK   "--min-fallback-size=0"
#define DELTA_CHUNK_MAX  "--max-chunk-size=32"

void ostree_repo_done(OstreeRepo *repo)
{
        close_fdp(&repo->fd);
        *repo = OSTREE_REPO_NULL;
}

int ostree_tool(char *const argv[], Bytes *output, const char *install, Why *why)
{
        _cleanup_(run_result_done) RunResult result = { 0 };
        char *variables[] = { (char *) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                              (char *) "TZ=UTC", (char *) "LC_ALL=C", NULL };
        const RunOptions o = { .exe_fd = -1,
                               .cwd_fd = -1,
                               .environ = variables,
                               .timeout_sec = TOOL_TIMEOUT_SEC,
                               .output_max = TOOL_OUTPUT_MAX };
        int r = run(argv, &o, &result);

        if (r < 0)
                return fail_errno(why, r, WHY_HOST, "%s", argv[1]);
        if (result.exit_code != 0) {
                r = fail(why, -EIO, WHY_HOST, "tool", "%s: failed (%s %i): %.400s", argv[1],
                         result.exit_code >= 0 ? "exit" : "signal",
                         result.exit_code >= 0 ? result.exit_code : result.signal,
                         result.output.data ? (const char *) result.output.data : "");
                return result.exit_code == 127 ? fail_hint(why, r, "%s", install) : r;
        }
        if (output)
                bytes_move(output, &result.output);
        return 0;
}

static int check_mode(const OstreeRepo *repo, Why *why)
{
        _cleanup_(bytes_done) Bytes config = BYTES_NULL;
        int r = file_read(repo->fd, "config", CONFIG_MAX, &config);

        if (r < 0)
                return fail_errno(why, r, WHY_USAGE, "%s/config", repo->path);
        if (strstr((const char *) config.data, "mode=archive"))
                return 0;
        return fail(why, -EINVAL, WHY_USAGE, "ostree-mode",
                    "%s: not an archive repository; only those are served by web servers", repo->path);
}

int ostree_repo_open(const char *path, OstreeRepo *ret, Why *why)
{
        _cleanup_(ostree_repo_done) OstreeRepo repo = { .path = path, .fd = -1 };
        _cleanup_(free_charp) char *option = str_printf("--repo=%s", path);
        char *init[] = { (char *) "/usr/bin/env", (char *) "ostree",         option,
                         (char *) "init",         (char *) "--mode=archive", NULL };
        int r;

        if (!option)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ostree");
        repo.fd = dir_make(AT_FDCWD, path, 0755);
        if (repo.fd < 0)
                return fail_errno(why, repo.fd, WHY_USAGE, "%s", path);
        if (flock(repo.fd, LOCK_EX | LOCK_NB) < 0)
                return fail(why, -EBUSY, WHY_BUSY, "repo-busy", "%s: somebody else is publishing there",
                            path);
        r = faccessat(repo.fd, "config", F_OK, 0) == 0 ? 0 : ostree_tool(init, NULL, INSTALL_OSTREE, why);
        if (r >= 0)
                r = check_mode(&repo, why);
        if (r < 0)
                return r;
        *ret = repo;
        repo = OSTREE_REPO_NULL;
        return 0;
}

/* --- refs and loose objects --- */

int ostree_repo_ref(const OstreeRepo *repo, const char *ref, uint8_t ret[OSTREE_ID], Why *why)
{
        _cleanup_(free_charp) char *name = str_printf("refs/heads/%s", ref);
        _cleanup_(bytes_done) Bytes text = BYTES_NULL;
        int r = name ? file_read(repo->fd, name, 128, &text) : -ENOMEM;

        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return fail_errno(why, r, WHY_USAGE, "%s/%s", repo->path, name ? name : ref);
        if (text.size > 0 && text.data[text.size - 1] == '\n')
                text.data[--text.size] = 0;
        if (hex_decode((const char *) text.data, ret, OSTREE_ID) < 0)
                return fail(why, -EBADMSG, WHY_USAGE, "ostree-ref", "%s/%s: does not name a commit",
                            repo->path, name);
        return 1;
}

int ostree_repo_set_ref(const OstreeRepo *repo, const char *ref, const uint8_t id[OSTREE_ID], Why *why)
{
        _cleanup_(free_charp) char *name = str_printf("refs/heads/%s", ref);
        _cleanup_(close_fdp) int dir_fd = -1;
        char text[OSTREE_ID_HEX + 1];
        char *slash = name ? strrchr(name, '/') : NULL;
        int r;

        if (!slash)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ostree");
        *slash = 0;
        dir_fd = dir_make(repo->fd, name, 0755);
        hex_encode(id, OSTREE_ID, text);
        (void) strcat(text, "\n");
        r = dir_fd < 0 ? dir_fd : file_replace(dir_fd, slash + 1, text, strlen(text), 0644);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s: ref %s", repo->path, ref) : 0;
}

int ostree_repo_read(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], const char *suffix, Bytes *ret,
                     Why *why)
{
        char path[OSTREE_PATH_SIZE];
        int r;

        ostree_object_path(id, suffix, path);
        r = file_read(repo->fd, path, OSTREE_COMMIT_MAX, ret);
        if (r == -ENOENT)
                return 0;
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%s/%s", repo->path, path) : 1;
}

int ostree_repo_write(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], const char *suffix,
                      const Bytes *data, Why *why)
{
        char path[OSTREE_PATH_SIZE];
        _cleanup_(close_fdp) int dir_fd = -1;
        char *slash;
        int r;

        ostree_object_path(id, suffix, path);
        slash = strrchr(path, '/');
        *slash = 0;
        dir_fd = dir_make(repo->fd, path, 0755);
        r = dir_fd < 0 ? dir_fd : file_replace(dir_fd, slash + 1, data->data, data->size, 0644);
        return r < 0 ? fail_errno(why, r, WHY_HOST, "%s/%s/%s", repo->path, path, slash + 1) : 0;
}

int ostree_repo_commit(const OstreeRepo *repo, const uint8_t id[OSTREE_ID], OstreeCommit *ret, Why *why)
{
        _cleanup_(bytes_done) Bytes data = BYTES_NULL;
        int r = ostree_repo_read(repo, id, "commit", &data, why);

        if (r > 0)
                r = ostree_commit_parse(data.data, data.size, ret);
        else if (r == 0)
                r = -ENOENT;
        return r < 0 ? fail_errno(why, r, WHY_USAGE, "%s: commit", repo->path) : 0;
}

/* --- the tool --- */

/* The last line that is nothing but a digest. */
static int find_id(const Bytes *output, uint8_t ret[OSTREE_ID])
{
        const char *text = (const char *) output->data;
        int found = -ENODATA;

        for (const char *line = text; line && *line;) {
                size_t n = strcspn(line, "\n");
                char hex[OSTREE_ID_HEX];

                if (n == OSTREE_ID_HEX - 1) {
                        memcpy(hex, line, n);
                        hex[n] = 0;
                        if (hex_decode(hex, ret, OSTREE_ID) == 0)
                                found = 0;
                }
                line += n + (line[n] == '\n');
        }
        return found;
}

/* The commit that the tool makes serves only to learn what the tree is called; ours takes its place. */
static int take_root(const OstreeRepo *repo, const Bytes *output, uint8_t ret_tree[OSTREE_ID],
                     uint8_t ret_meta[OSTREE_ID], Why *why)
{
        _cleanup_(ostree_commit_done) OstreeCommit c = { 0 };
        char path[OSTREE_PATH_SIZE];
        uint8_t id[OSTREE_ID];
        int r = find_id(output, id);

        if (r < 0)
                return fail(why, r, WHY_HOST, "tool", "ostree: did not say which commit it made");
        r = ostree_repo_commit(repo, id, &c, why);
        if (r < 0)
                return r;
        memcpy(ret_tree, c.tree, OSTREE_ID);
        memcpy(ret_meta, c.meta, OSTREE_ID);
        ostree_object_path(id, "commit", path);
        return unlinkat(repo->fd, path, 0) < 0 ? fail_errno(why, -errno, WHY_HOST, "%s/%s", repo->path, path)
                                               : 0;
}

int ostree_repo_add_tree(const OstreeRepo *repo, const char *folder, uint8_t ret_tree[OSTREE_ID],
                         uint8_t ret_meta[OSTREE_ID], Why *why)
{
        _cleanup_(free_charp) char *option = str_printf("--repo=%s", repo->path),
                                   *tree = str_printf("--tree=dir=%s", folder);
        _cleanup_(bytes_done) Bytes output = BYTES_NULL;
        /* whoever cannot own files of others has a tree in which everything is his, and means root's */
        bool own = geteuid() != 0;
        char *argv[] = { (char *) "/usr/bin/env",
                         (char *) "ostree",
                         option,
                         (char *) "commit",
                         (char *) "--orphan",
                         (char *) "--no-bindings",
                         (char *) "--subject=tree",
                         tree,
                         own ? (char *) "--owner-uid=0" : NULL,
                         (char *) "--owner-gid=0",
                         NULL };
        int r = option && tree ? ostree_tool(argv, &output, INSTALL_OSTREE, why)
                               : fail_errno(why, -ENOMEM, WHY_HOST, "ostree");

        return r < 0 ? r : take_root(repo, &output, ret_tree, ret_meta, why);
}

static uint64_t folder_size(int fd)
{
        _cleanup_(strv_freep) char **names = NULL;
        uint64_t sum = 0;
        struct stat st;

        if (dir_list(fd, ".", &names) < 0)
                return 0;
        for (char **n = names; n && *n; n++)
                if (!streq(*n, BLOCKPATCH_FILE) && fstatat(fd, *n, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        sum += (uint64_t) st.st_size;
        return sum;
}

int ostree_repo_delta(const OstreeRepo *repo, const uint8_t from[OSTREE_ID], const uint8_t to[OSTREE_ID],
                      uint64_t *ret_size, Why *why)
{
        char a[OSTREE_ID_HEX + 8] = "--from=", b[OSTREE_ID_HEX + 8] = "--to=", path[OSTREE_DELTA_PATH_SIZE];
        _cleanup_(free_charp) char *option = str_printf("--repo=%s", repo->path);
        char *argv[] = { (char *) "/usr/bin/env",
                         (char *) "ostree",
                         option,
                         (char *) "static-delta",
                         (char *) "generate",
                         a,
                         b,
                         (char *) DELTA_BSDIFF_MAX,
                         (char *) DELTA_FALLBACK,
                         (char *) DELTA_CHUNK_MAX,
                         NULL };
        _cleanup_(close_fdp) int dir_fd = -1;
        bool there;
        int r;

        if (!option)
                return fail_errno(why, -ENOMEM, WHY_HOST, "ostree");
        hex_encode(from, OSTREE_ID, a + strlen(a));
        hex_encode(to, OSTREE_ID, b + strlen(b));
        ostree_delta_path(from, to, "superblock", path);
        there = faccessat(repo->fd, path, F_OK, 0) == 0;
        r = there ? 0 : ostree_tool(argv, NULL, INSTALL_OSTREE, why);
        if (r < 0)
                return r;
        *strrchr(path, '/') = 0;
        dir_fd = dir_open(repo->fd, path);
        if (dir_fd < 0)
                return fail_errno(why, dir_fd, WHY_HOST, "%s/%s", repo->path, path);
        *ret_size = folder_size(dir_fd);
        return !there;
}

int ostree_repo_summary(const OstreeRepo *repo, Why *why)
{
        _cleanup_(free_charp) char *option = str_printf("--repo=%s", repo->path);
        char *argv[] = { (char *) "/usr/bin/env", (char *) "ostree",   option,
                         (char *) "summary",      (char *) "--update", NULL };

        return option ? ostree_tool(argv, NULL, INSTALL_OSTREE, why)
                      : fail_errno(why, -ENOMEM, WHY_HOST, "ostree");
}
