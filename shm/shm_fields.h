/* The fields of every struct of the segment, by name: what shm_form.c writes into it. A row for
 * each, with no byte left out (tests/shm/test_form.c). */
#ifndef SHM_SHM_FIELDS_H
#define SHM_SHM_FIELDS_H

#include "base/form.h"

struct shm_fields {
    const struct form_field *row;
    uint32_t n;
};

extern const struct shm_fields shm_fields_header;
extern const struct shm_fields shm_fields_mutex;
extern const struct shm_fields shm_fields_link; /* an index + 1 */
extern const struct shm_fields shm_fields_node_table;
extern const struct shm_fields shm_fields_node;
extern const struct shm_fields shm_fields_name, shm_fields_longest_name;
extern const struct shm_fields shm_fields_session_table;
extern const struct shm_fields shm_fields_session;
extern const struct shm_fields shm_fields_upload;
extern const struct shm_fields shm_fields_patch;
extern const struct shm_fields shm_fields_handle_table;
extern const struct shm_fields shm_fields_handle;
extern const struct shm_fields shm_fields_flock_table;
extern const struct shm_fields shm_fields_flock_cell;
extern const struct shm_fields shm_fields_baseline_table;
extern const struct shm_fields shm_fields_baseline;
extern const struct shm_fields shm_fields_trace;
extern const struct shm_fields shm_fields_conflict_ring;
extern const struct shm_fields shm_fields_conflict;
extern const struct shm_fields shm_fields_win_table;
extern const struct shm_fields shm_fields_abort_table;
extern const struct shm_fields shm_fields_version_table;
extern const struct shm_fields shm_fields_notify_ring;
extern const struct shm_fields shm_fields_arena;
extern const struct shm_fields shm_fields_record;
extern const struct shm_fields shm_fields_cred_table;
extern const struct shm_fields shm_fields_cred;
extern const struct shm_fields shm_fields_cred_key;
extern const struct shm_fields shm_fields_cred_news;

#endif
