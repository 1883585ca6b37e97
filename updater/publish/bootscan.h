/* SPDX-License-Identifier: MIT */
#pragma once

/* Fills a BootList from the two forms in which the release engineer has an ESP. */

#include "image/fat.h"
#include "publish/bootlist.h"
#include "publish/esp.h"

int boot_list_of_tree(const EspTree *tree, BootList *ret, Why *why);
int boot_list_of_fat(Fat *fat, BootList *ret, Why *why);
