/* SPDX-License-Identifier: MIT */
#pragma once

/* dm-verity over an image file, on all cores: the tree that the hash partition gets, its root, and salt and
 * UUID that follow from the content when nobody chose them. */

#include "image/verity.h"
#include "publish/meter.h"
#include "publish/range.h"

#define TREE_SALT_SIZE 32u /* as veritysetup's own default */

/* SHA-256 over the SHA-256 of each MiB of the image: names the content, computed on all cores. */
int tree_content_digest(const ByteRange *data, unsigned workers, Meter *meter, uint8_t ret[32], Why *why);
/* salt = SHA-256 of ("gybe verity salt" NUL), uuid = version 8 UUID from ("gybe verity uuid" NUL digest) */
void tree_derive_params(const uint8_t content[32], VerityParams *params);
/* Writes superblock and tree to tree_fd (-1: only the root is wanted) from offset 0. data->size must be
 * params->data_blocks blocks. */
int tree_write(const ByteRange *data, const VerityParams *params, unsigned workers, int tree_fd, Meter *meter,
               uint8_t ret_root[VERITY_ROOT_SIZE], Why *why);
