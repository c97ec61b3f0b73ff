#include "tests/base/scratch_dir.h"

#include <stdlib.h>
#include <unistd.h>

char scratch_dir[] = "/tmp/test_stateproxy.XXXXXX";

int scratch_dir_make(void **state)
{
    (void)state;
    return mkdtemp(scratch_dir) ? 0 : -1;
}

int scratch_dir_remove(void **state)
{
    (void)state;
    return rmdir(scratch_dir);
}
