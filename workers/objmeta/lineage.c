/* Lineages as text: creates, extends and judges them. Their users: cas_put.c, publish_wait.c,
 * delete.c. */
#include "workers/objmeta/lineage.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#define ID_BYTES (SHM_ID_LEN / 4 * 3)

static_assert(SHM_ID_LEN % 4 == 0, "an id is whole groups of base64");

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void lineage_new_id(char id[LINEAGE_ID_CAP])
{
    uint8_t random[ID_BYTES];

    randombytes_buf(random, sizeof(random));
    sodium_bin2base64(id, LINEAGE_ID_CAP, random, sizeof(random),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* Number of whole ids at the beginning, and whether LINEAGE_ROOT follows them. -1 for any other
 * text. */
static int count_ids(const char *text, bool *ret_root)
{
    size_t len = text ? strspn(text, digits) : 0;

    if (len == 0 || len % SHM_ID_LEN || len / SHM_ID_LEN > LINEAGE_IDS_MAX)
        return -1;
    *ret_root = text[len] == LINEAGE_ROOT;
    if (text[len + *ret_root])
        return -1;
    return (int)(len / SHM_ID_LEN);
}

bool lineage_is_valid(const char *text)
{
    bool root;

    return count_ids(text, &root) > 0;
}

void lineage_extend(const char *base, const char *id, char ret[LINEAGE_CAP])
{
    bool root = true;
    int n = count_ids(base, &root);
    char *end = ret + SHM_ID_LEN;

    assert(strlen(id) == SHM_ID_LEN);
    memcpy(ret, id, SHM_ID_LEN);
    if (n < 0) {
        root = true;
    } else {
        if (n == LINEAGE_IDS_MAX) {
            n--;
            root = false;
        }
        memcpy(end, base, (size_t)n * SHM_ID_LEN);
        end += (size_t)n * SHM_ID_LEN;
    }
    if (root)
        *end++ = LINEAGE_ROOT;
    *end = '\0';
}

void lineage_cut(char text[LINEAGE_CAP], size_t room)
{
    size_t ids = room / SHM_ID_LEN;

    if (strlen(text) <= room)
        return;
    text[(ids ? ids : 1) * SHM_ID_LEN] = '\0';
}

bool lineage_head(const char *text, char ret_id[LINEAGE_ID_CAP])
{
    ret_id[0] = '\0';
    if (!lineage_is_valid(text))
        return false;
    memcpy(ret_id, text, SHM_ID_LEN);
    ret_id[SHM_ID_LEN] = '\0';
    return true;
}

static bool has_id(const char *text, int n, const char *id)
{
    if (!id || strlen(id) != SHM_ID_LEN)
        return false;
    for (int i = 0; i < n; i++) {
        if (memcmp(text + (size_t)i * SHM_ID_LEN, id, SHM_ID_LEN) == 0)
            return true;
    }
    return false;
}

enum lineage_verdict lineage_judge(const char *found, const char *ours, const char *expected)
{
    bool root = false;
    int n = count_ids(found, &root);

    if (has_id(found, n, ours))
        return LINEAGE_OURS;
    if (n > 0 && (root || has_id(found, n, expected)))
        return LINEAGE_CONFLICT;
    return LINEAGE_UNKNOWN;
}
