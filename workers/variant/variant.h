/* The variants, of which a worker has one. workers/op/variant.h describes the members. */
#ifndef WORKERS_VARIANT_VARIANT_H
#define WORKERS_VARIANT_VARIANT_H

#include "conf/conf.h"
#include "workers/op/variant.h"

extern const struct variant variant_lww;    /* s3-buffered-lww: the last writer wins */
extern const struct variant variant_cas;    /* s3-buffered-cas: compare-and-set */
extern const struct variant variant_stream; /* s3-passthrough: streaming writes, last one wins */

/* The variant that `which` names. */
const struct variant *variant_of(enum conf_variant which);

#endif
