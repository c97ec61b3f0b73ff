/* A test stores into the tables as it likes, without the undo log. */
#ifndef TESTS_SHM_STORES_H
#define TESTS_SHM_STORES_H

#include "shm/shm_handle.h"
#include "shm/shm_node.h"
#include "shm/shm_session.h"
#include "shm/shm_upload.h"

static inline struct shm_node *store_node(struct shm *shm, uint32_t idx)
{
    return (struct shm_node *)(uintptr_t)shm_node_at(shm, idx);
}

static inline struct shm_session *store_session(struct shm *shm, uint32_t idx)
{
    return (struct shm_session *)(uintptr_t)shm_session_at(shm, idx);
}

static inline struct shm_upload *store_upload(struct shm *shm, uint32_t session)
{
    return (struct shm_upload *)(uintptr_t)shm_upload_at(shm, session);
}

static inline struct shm_handle *store_handle(struct shm *shm, uint32_t idx)
{
    return (struct shm_handle *)(uintptr_t)shm_handle_at(shm, idx);
}

#endif
