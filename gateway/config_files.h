/* SPDX-License-Identifier: MIT */
/*
 * The files of a configuration, as they are: the main one, and conf.d/NAME.conf
 * beside it.
 *
 * Knows paths and how a file is read; not what is in one. Never logs.
 */
#ifndef BTGATE_CONFIG_FILES_H
#define BTGATE_CONFIG_FILES_H

#include <stddef.h>

#include "config.h"

struct config_text {
	char *name; /* the file's path */
	char *data;
	size_t size;
};

/* Zeroed at first. */
struct config_files {
	struct config_text *texts; /* in the order in which they count */
	size_t count;
};

/*
 * Read @path, and then what in the directory conf.d beside it is named
 * *.conf and not hidden, in the order of the names' bytes. A pipe that this
 * process was started with (/dev/stdin) has nothing beside it. Returns 0, or
 * -errno of the first that could not be read; each of them was reported, with
 * what to do. config_files_clear either way.
 */
int config_files_read(const char *path, struct config_files *files,
		      config_error_cb report, void *arg);
void config_files_clear(struct config_files *files);

#endif
