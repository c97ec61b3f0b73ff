/* shm_open_readonly: the header of a segment that somebody else may have written. The input lies
 * over the beginning of a good one. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/shm_segment.h"

static struct shm *good;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const struct shm_sizes sizes = {.workers = 1,
                                           .nodes = 64,
                                           .long_names = 2,
                                           .handles = 4,
                                           .sessions = 2,
                                           .records = 4,
                                           .blocks = 8,
                                           .payload = SHM_PAYLOAD_MIN};

    (void)argc, (void)argv;
    fuzz_check(shm_create(&sizes, &good, NULL) == 0);
    return 0;
}

/* Each table must lie inside of what is mapped. */
static void check_view(const struct shm *shm)
{
    const struct shm_header *h = shm->header;
    unsigned sum = 0;

    for (int i = 0; i < SHM_TABLES; i++) {
        fuzz_check(h->table_off[i] <= shm->size);
        fuzz_check(h->table_len[i] <= shm->size - h->table_off[i]);
        if (h->table_len[i])
            sum += shm->base[h->table_off[i]] + shm->base[h->table_off[i] + h->table_len[i] - 1];
    }
    fuzz_check(sum <= SHM_TABLES * 2 * 255u);
    fuzz_check(memchr(h->mount_path, '\0', sizeof(h->mount_path)));
}

/* The input is the header; a longer one has the segment's length in its last byte's pages. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n = size < sizeof(struct shm_header) ? size : sizeof(struct shm_header);
    size_t len = good->size;
    struct shm_header h = *good->header;
    struct shm *shm = NULL;
    struct err err = {0};
    int fd = memfd_create("seg", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    fuzz_check(fd >= 0);
    if (size > sizeof(h))
        len = (size_t)data[size - 1] * SHM_PAGE_MIN + data[size - 1] % 8;
    if (n)
        memcpy(&h, data, n);
    fuzz_check(pwrite(fd, &h, sizeof(h), 0) == sizeof(h));
    fuzz_check(pwrite(fd, good->base + good->header->form_off, good->header->form_len,
                      (off_t)good->header->form_off) == good->header->form_len);
    fuzz_check(ftruncate(fd, (off_t)len) == 0);
    fuzz_check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    if (shm_open_readonly(fd, &shm, &err) == 0) {
        check_view(shm);
        shm_close(shm);
    } else {
        fuzz_check(*err.text);
        fuzz_check_text(err.text);
        close(fd);
    }
    return 0;
}
