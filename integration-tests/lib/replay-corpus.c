/* SPDX-License-Identifier: MIT */

/* Stands in for libFuzzer: feeds every file of a corpus folder to the target once, so that each input that ever mattered
 * is an ordinary test in every build. Several folders may be named; an empty corpus is a failure. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed(const char *path)
{
        FILE *f = fopen(path, "rb");
        uint8_t *data;
        long size;

        if (!f || fseek(f, 0, SEEK_END) < 0 || (size = ftell(f)) < 0)
                return perror(path), -1;
        rewind(f);
        /* exactly as large as the input, so that a sanitizer sees the first byte beyond */
        data = malloc(size > 0 ? (size_t) size : 1);
        if (!data || fread(data, 1, (size_t) size, f) != (size_t) size)
                return perror(path), -1;
        (void) fclose(f);
        (void) LLVMFuzzerTestOneInput(data, (size_t) size);
        free(data);
        return 0;
}

int main(int argc, char *argv[])
{
        unsigned n = 0;

        for (int i = 1; i < argc; i++) {
                struct dirent *e;
                DIR *d = opendir(argv[i]);

                if (!d)
                        return perror(argv[i]), 1;
                while ((e = readdir(d))) {
                        char path[4096];

                        if (e->d_name[0] == '.')
                                continue;
                        (void) snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
                        if (feed(path) < 0)
                                return 1;
                        n++;
                }
                (void) closedir(d);
        }
        printf("%u inputs\n", n);
        return n > 0 ? 0 : 1;
}
