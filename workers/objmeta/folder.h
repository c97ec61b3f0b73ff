/* Folders as other programs keep them, beside our own form, an object "name/" of any content type,
 * and beside those that exist only because something is below them:
 *
 *   bare     an empty object "name" with Content-Type application/x-directory or
 *            httpd/unix-directory, or with a directory's mode in its metadata: old releases of
 *            s3fs, Nextcloud
 *   suffix   an empty object "name_$folder$": old releases of Hadoop and others
 *
 * They are read, moved and removed; what is made is always "name/". Pure functions. */
#ifndef WORKERS_OBJMETA_FOLDER_H
#define WORKERS_OBJMETA_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "s3/s3.h"

#define FOLDER_SUFFIX "_$folder$"
#define FOLDER_SUFFIX_LEN (sizeof(FOLDER_SUFFIX) - 1)

/* True if an object whose key has no slash at its end is a folder. An object with content is a
 * file, whatever its metadata say. */
bool folder_is_bare(const struct s3_object *obj);

/* The length of the folder's name if an object of that name and size is the suffix form of one; 0
 * if not. `name` may be a whole key. */
size_t folder_of_suffix(const char *name, size_t len, uint64_t size);

/* The key of a folder's object in the bare or the suffix form. `key` begins with the `len` bytes of
 * the folder's key, without its slash, and has room for S3_KEY_MAX and NUL. False, and nothing is
 * changed: it would be too long. */
bool folder_form_key(char *key, size_t len, bool suffix);

#endif
