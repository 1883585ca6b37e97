/* SPDX-License-Identifier: MIT */
#pragma once

/* What is installed in the image, as package tools print it, turned into a COSI's osPackages. Pure. */

#include "base/json.h"

#define PACKAGES_TEXT_MAX (3u * MIB) /* a metadata.json has at most 4 MiB */

/* Text: one package a line, "NAME VERSION ARCH" (dpkg-query -W -f '${Package} ${Version} ${Architecture}\n')
 * or "NAME VERSION RELEASE ARCH" (rpm -qa --qf '%{NAME} %{VERSION} %{RELEASE} %{ARCH}\n'); '#' begins a
 * comment line. A dpkg version is cut at its last '-'. Or JSON: an array of {name, version, release, arch}.
 * what: for sentences. */
int packages_parse(const void *data, size_t size, const char *what, Json **ret, Why *why);
