/* SPDX-License-Identifier: MIT */
#pragma once

/* The contents of a HASH-SIG partition: {"rootHash":"<64 hex>","signature":"<base64 of a detached CMS>"} and
 * NULs up to a multiple of 4096. Only its form is judged here; who signed is for the kernel's keyring at the
 * next boot. Pure; fuzzed. acl-disk-and-boot.md section 3.1. */

#include "base/why.h"

/* 1 it names this root hash, 0 it is blank, -EBADMSG with a sentence. what: the member's name. */
int signature_check(const uint8_t *data, size_t size, const char *roothash, const char *what, WhyKind kind,
                    Why *why);
