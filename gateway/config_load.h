/* SPDX-License-Identifier: MIT */
/*
 * INI files (inih) to one struct config, with all of their errors at once.
 *
 * Puts the steps together: config_files.h opens files, config_read.h reads
 * lines, config_check.h looks at the whole. Never logs: it reports through a
 * callback.
 */
#ifndef BTGATE_CONFIG_LOAD_H
#define BTGATE_CONFIG_LOAD_H

#include <stddef.h>

#include "config.h"

/*
 * Read @path and what is in conf.d beside it, as if they were one file. Every
 * error is reported through @report, in the order of files and lines. Returns 0 with *out owned by the caller, or -errno with
 * *out NULL: -EINVAL for what is wrong in a file, else why one could not be
 * read (which was reported too, with what to do).
 */
int config_load(const char *path, struct config **out, config_error_cb report,
		void *arg);

/*
 * The same for commands that need no configuration: 0 with *out NULL where
 * there is no file.
 */
int config_load_if_there(const char *path, struct config **out,
			 config_error_cb report, void *arg);

/*
 * Only the path of the control socket, also from files with errors in them: of
 * a gateway that runs with what they said before. The usual one if they do not
 * say or cannot be read. 0, or -ENOTSUP if there is to be none.
 */
int config_load_control(const char *path, char *out, size_t bytes);

/* The same for @size bytes in memory; @name stands in for the file's name. */
int config_parse(const char *name, const char *data, size_t size,
		 struct config **out, config_error_cb report, void *arg);

#endif
