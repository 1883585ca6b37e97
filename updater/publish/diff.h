/* SPDX-License-Identifier: MIT */
#pragma once

/* What changes from one list to the next: packages, words of a kernel command line, lines of an os-release, leaves of block
 * indexes. Pure, and no more than n log n on lists that nobody has verified. Where the lists come from is diff.c's business. */

#include "base/json.h"

/* osPackages of both, NULL where there is none: {old, new: how many; added, removed: [{name, version, arch}],
 * changed: [{name, arch, old, new}]}, by name. A package may be there in several versions and for several architectures; where
 * its architecture changes there is an oldArch. Where a list is empty nothing is compared, and "without" says whose: "old",
 * "new" or "both". ret_differs: whether there is anything to tell. */
int diff_packages(const Json *old, const Json *new, Json **ret, bool *ret_differs);

/* 1 and {added, removed: words; reordered: true where those in common stand in another order, since the last of a kind wins;
 * usrhash: {old, new}, which every release changes}; 0 they say the same. NULL is "". */
int diff_words(const char *old, const char *new, Json **ret);
/* The same of lines, but for those that begin with skip. */
int diff_lines(const char *old, const char *new, const char *skip, Json **ret);

/* Leaves of image/index.h, one behind another. */
void leaves_sort(uint8_t *leaves, size_t n);
/* How many of these are neither in the sorted ones nor zero, the leaf of a block of zeroes. */
size_t leaves_lacking(const uint8_t *sorted, size_t n_sorted, const uint8_t *zero, const uint8_t *leaves,
                      size_t n);
