/* SPDX-License-Identifier: MIT */
#pragma once

/* The ESP image of a COSI: unpacked into a scratch file, read as FAT, its programs taken apart as PE. Either all of it, held to its
 * digest, or only the frames that hold what is asked for; then the reader has to know the digests of the files. Nothing of it is
 * ever mounted or run. */

#include "fetch/pieces.h"
#include "image/fat.h"

#define ESP_MAX (UINT64_C(2) * GIB) /* ACL's has 192 MiB; the largest in the field 1 GiB */

typedef struct EspImage EspImage;

/* Where an ESP image comes from; all borrowed. */
typedef struct EspFrom {
        Container *container;
        const CosiImage *image;
        unsigned window_log_max;
        WhyKind kind;
        const OriginWatch *watch;
} EspFrom;

/* Both take the scratch descriptor, also on failure. */
int esp_image_open(const EspFrom *from, int scratch_fd, EspImage **ret, Why *why);
/* As far as it is read. -EOPNOTSUPP: this image or this server does not allow for that. pieces is borrowed, for the life of it. */
int esp_image_open_parts(const EspFrom *from, Pieces *pieces, int scratch_fd, EspImage **ret, Why *why);
EspImage *esp_image_free(EspImage *esp);
void esp_image_freep(EspImage **esp);

/* files only, no folders */
size_t esp_image_n_files(const EspImage *esp);
const FatFile *esp_image_file(const EspImage *esp, size_t i);
/* In parts: this host has a file (fd is borrowed) that may resemble file i. */
int esp_image_like(EspImage *esp, size_t i, int fd, Why *why);
/* In parts: what reading file i would still fetch. */
int esp_image_cost(EspImage *esp, size_t i, uint64_t *ret, Why *why);
int esp_image_read(EspImage *esp, size_t i, const FetchSink *sink, Why *why);
int esp_image_pe(EspImage *esp, size_t i, PeSummary *ret, Why *why);
