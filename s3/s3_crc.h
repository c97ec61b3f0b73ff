/* Checksums of objects in the forms that S3 knows: CRC64NVME and CRC32C. By ISA-L, which uses the
 * carry-less multiplication of the CPU where there is one; tables where it is not built in.
 *
 * Parts of an object can be summed up in any order by several processes: the checksum of the whole
 * follows from theirs and their lengths (s3_crc_combine). */
#ifndef S3_S3_CRC_H
#define S3_S3_CRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "s3/s3.h"

#define S3_CRC_TEXT_MAX 16 /* as S3 writes it: base64, and NUL */

/* The checksum of no bytes is 0, for each kind. */

/* The checksum of `len` more bytes behind those of `crc`. */
uint64_t s3_crc_add(enum s3_crc kind, uint64_t crc, const void *data, size_t len);

/* That of bytes whose checksum is `crc` with `len` bytes behind them whose own is `next`. In a time
 * that grows with the number of digits of `len`: microseconds. */
uint64_t s3_crc_combine(enum s3_crc kind, uint64_t crc, uint64_t next, uint64_t len);

/* Adds `len` bytes of `body` from offset `off` within it to *crc. 0, or -errno of pread(2); -EIO if
 * the file is shorter. */
must_use int s3_crc_body(enum s3_crc kind, uint64_t *crc, const struct s3_body *body, uint64_t off,
                         uint64_t len);

/* "crc64nvme", "crc32c": the end of the header's name; its upper-case form is the algorithm's name
 * in S3. "" for S3_CRC_NONE. */
const char *s3_crc_name(enum s3_crc kind);

/* As in a header: the bytes of the number, the highest first, in base64. */
void s3_crc_write(enum s3_crc kind, uint64_t crc, char out[S3_CRC_TEXT_MAX]);

/* The reverse. False for anything else, as for the checksum of checksums ("...-5") that S3 gives an
 * object in parts. */
bool s3_crc_read(enum s3_crc kind, const char *text, uint64_t *ret_crc);

/* With tables, on every machine: what the other way is compared with. */
uint64_t s3_crc_add_portable(enum s3_crc kind, uint64_t crc, const void *data, size_t len);

#endif
