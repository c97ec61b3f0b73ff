/* The three ways in which S3 writes a time. */
#ifndef S3_S3_TIME_H
#define S3_S3_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define S3_TIME_AMZ_MAX 17

/* "20150830T123600Z", into S3_TIME_AMZ_MAX bytes. */
void s3_time_amz(uint64_t wall_ns, char *out);

/* "2015-08-30T12:36:00.000Z", with or without the fraction. False, and nothing stored, if it is
 * anything else. */
bool s3_time_parse_iso(const char *text, int64_t *ret_ns);

/* "Sun, 30 Aug 2015 12:36:00 GMT". */
bool s3_time_parse_http(const char *text, int64_t *ret_ns);

#endif
