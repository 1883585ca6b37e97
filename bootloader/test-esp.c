/* SPDX-License-Identifier: MIT */

/* Small files on the ESP: replaced and copied. */

#undef NDEBUG
#include "bootloader/esp.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void put(int dir, const char *folder, const char *name, const char *text)
{
        _cleanup_(close_fdp) int fd = dir_make(dir, folder, 0700);

        assert(fd >= 0 && file_replace(fd, name, text, strlen(text), 0600) == 0);
}

static bool holds(int dir, const char *path, const char *text)
{
        _cleanup_(bytes_done) Bytes b = BYTES_NULL;

        return file_read(dir, path, 4096, &b) >= 0 && streq((const char *) b.data, text);
}

static void test_replace(int top)
{
        _cleanup_(close_fdp) int dir = dir_make(top, "loader", 0700);

        assert(esp_replace(dir, "loader.conf", "default a\n", 10) == 0 &&
               holds(dir, "loader.conf", "default a\n"));
        assert(esp_replace(dir, "loader.conf", "b\n", 2) == 0 && holds(dir, "loader.conf", "b\n"));
        assert(faccessat(dir, "loader.conf.new~", F_OK, 0) < 0);
        put(top, "new", "x", "fresh");
        {
                _cleanup_(close_fdp) int from = dir_open(top, "new");

                assert(esp_copy(from, "x", dir, "loader.conf") == 1 && holds(dir, "loader.conf", "fresh"));
                assert(esp_copy(from, "x", dir, "loader.conf") == 0);
        }
}

int main(void)
{
        char path[] = "/tmp/test-esp.XXXXXX";
        _cleanup_(close_fdp) int top = -1;

        assert(mkdtemp(path));
        top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(top >= 0);
        test_replace(top);
        (void) dir_remove(AT_FDCWD, path); /* the working directory cannot be synced */
        return 0;
}
