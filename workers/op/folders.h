/* Which forms of foreign folders (workers/objmeta/folder.h) were seen on this mount, as a hint that
 * all workers share. */
#ifndef WORKERS_OP_FOLDERS_H
#define WORKERS_OP_FOLDERS_H

#include "workers/op/worker.h"

static inline bool folders_were_seen(const struct worker *w, enum shm_folders forms)
{
    return __atomic_load_n(&w->shm->header->folders, __ATOMIC_RELAXED) & forms;
}

static inline void folders_seen(struct worker *w, enum shm_folders form)
{
    if (!folders_were_seen(w, form))
        __atomic_fetch_or(&w->shm->header->folders, form, __ATOMIC_RELAXED);
}

#endif
