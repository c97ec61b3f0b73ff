/* Selects the configured variant. */
#include "workers/variant/variant.h"

const struct variant *variant_of(enum conf_variant which)
{
    switch (which) {
    case CONF_S3_BUFFERED_CAS:
        return &variant_cas;
    case CONF_S3_PASSTHROUGH:
        return &variant_stream;
    case CONF_S3_BUFFERED_LWW:
        break;
    }
    return &variant_lww;
}
