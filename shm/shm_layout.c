/* The list of all tables: size, position and initialisation of each, in one place. */
#include "shm/shm_layout.h"

#include "shm/shm_abort.h"
#include "shm/shm_baseline.h"
#include "shm/shm_block.h"
#include "shm/shm_conflict.h"
#include "shm/shm_cred.h"
#include "shm/shm_flock.h"
#include "shm/shm_form.h"
#include "shm/shm_handle.h"
#include "shm/shm_journal.h"
#include "shm/shm_node.h"
#include "shm/shm_notify.h"
#include "shm/shm_patch.h"
#include "shm/shm_session.h"
#include "shm/shm_stats.h"
#include "shm/shm_upload.h"
#include "shm/shm_version_id.h"
#include "shm/shm_win.h"

static size_t meta_lock_size(const struct shm_sizes *s)
{
    (void)s;
    return sizeof(struct shm_mutex);
}

static void meta_lock_init(struct shm *shm)
{
    shm_mutex_init(shm->meta, SHM_RANK_META);
}

static size_t block_data_size(const struct shm_sizes *s)
{
    return (size_t)s->blocks * SHM_BLOCK_SIZE;
}

const struct shm_layout_row shm_layout[SHM_TABLES] = {
    [SHM_TABLE_META_LOCK] = {"meta_lock", meta_lock_size, meta_lock_init, NULL},
    [SHM_TABLE_NODE] = {"node", shm_node_size, shm_node_init, shm_node_check},
    [SHM_TABLE_SESSION] = {"session", shm_session_size, NULL, shm_session_check},
    [SHM_TABLE_UPLOAD] = {"upload", shm_upload_size, NULL, shm_upload_check},
    [SHM_TABLE_PATCH] = {"patch", shm_patch_size, NULL, shm_patch_check},
    [SHM_TABLE_HANDLE] = {"handle", shm_handle_size, shm_handle_init, shm_handle_check},
    [SHM_TABLE_FLOCK] = {"flock", shm_flock_size, shm_flock_init, shm_flock_check},
    [SHM_TABLE_BASELINE] = {"baseline", shm_baseline_size, shm_baseline_init, shm_baseline_check},
    [SHM_TABLE_CONFLICT] = {"conflict", shm_conflict_size, NULL, shm_conflict_check},
    [SHM_TABLE_WIN] = {"win", shm_win_size, NULL, NULL},
    [SHM_TABLE_ABORT] = {"abort", shm_abort_size, NULL, shm_abort_check},
    [SHM_TABLE_VERSION_ID] = {"version_id", shm_version_id_size, NULL, shm_version_id_check},
    [SHM_TABLE_NOTIFY] = {"notify", shm_notify_size, shm_notify_init, shm_notify_check},
    [SHM_TABLE_BLOCK] = {"block", shm_block_size, shm_block_init, shm_block_check},
    [SHM_TABLE_BLOCK_DATA] = {"block_data", block_data_size, NULL, NULL},
    [SHM_TABLE_ARENA] = {"arena", shm_arena_size, shm_arena_init, shm_arena_check},
    [SHM_TABLE_STATS] = {"stats", shm_stats_size, NULL, NULL},
    [SHM_TABLE_CRED] = {"cred", shm_cred_size, NULL, shm_cred_check},
    [SHM_TABLE_FORM] = {"form", shm_form_size, shm_form_init, NULL},
};
