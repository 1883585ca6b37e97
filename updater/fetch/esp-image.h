/* SPDX-License-Identifier: MIT */
#pragma once

/* The ESP image of a COSI: unpacked into a scratch file, read as FAT, its programs taken apart as PE. Nothing of it is
 * ever mounted or run. */

#include "fetch/container.h"
#include "image/fat.h"

#define ESP_MAX (UINT64_C(2) * GIB) /* ACL's has 192 MiB; the largest in the field 1 GiB */

typedef struct EspImage EspImage;

/* takes the scratch descriptor, also on failure */
int esp_image_open(Container *c, const CosiImage *image, unsigned window_log_max, WhyKind kind,
                   int scratch_fd, const OriginWatch *watch, EspImage **ret, Why *why);
EspImage *esp_image_free(EspImage *esp);
void esp_image_freep(EspImage **esp);

/* files only, no folders */
size_t esp_image_n_files(const EspImage *esp);
const FatFile *esp_image_file(const EspImage *esp, size_t i);
int esp_image_read(EspImage *esp, size_t i, const FetchSink *sink, Why *why);
int esp_image_pe(EspImage *esp, size_t i, PeSummary *ret, Why *why);
