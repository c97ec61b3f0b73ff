/* Names of the requests of the kernel, for logs and metrics. */
#ifndef FUSE_FUSE_NAME_H
#define FUSE_FUSE_NAME_H

#include <stdint.h>

/* "LOOKUP" ..., "?" for an unknown opcode. */
const char *fuse_op_name(uint32_t opcode);

#endif
