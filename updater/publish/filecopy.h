/* SPDX-License-Identifier: MIT */

#pragma once

/* A large file into a folder, so that a reader there sees the old one or the whole new one. */

#include "publish/meter.h"

/* 1 both hold the same bytes, 0 they differ, negative errno */
int file_same_bytes(int a, int b);
/* size bytes from the start of from, under a temporary name, synced, renamed. */
int file_copy_into(int from, int dir_fd, const char *name, uint64_t size, Meter *meter);
