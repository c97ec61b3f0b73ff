/* A directory of a test program's own: group set-up and tear-down for cmocka. */
#ifndef TESTS_BASE_SCRATCH_DIR_H
#define TESTS_BASE_SCRATCH_DIR_H

/* Its path, from scratch_dir_make on. */
extern char scratch_dir[];

/* 0, or -1 as cmocka wants it. `state` is left alone. */
int scratch_dir_make(void **state);

/* It must be empty, which shows that the tests have removed what they made. */
int scratch_dir_remove(void **state);

#endif
