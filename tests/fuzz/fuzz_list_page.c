/* workers/names/list_page.c: a page as another worker may have left it, and a page made of hostile
 * names.
 * */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>

#include "workers/names/list_page.h"

#define CAP 8192

static unsigned read_entries(const uint8_t *page, size_t len)
{
    struct list_entry e;
    size_t off = 0, last = 0;
    unsigned n = 0, sum = 0;

    for (; list_page_next(page, &off, &e); n++) {
        fuzz_check(off > last && off <= len);
        fuzz_check(e.type <= LIST_SHADOWED);
        fuzz_check(strnlen(e.etag, sizeof(e.etag)) < sizeof(e.etag));
        for (int i = 0; i < e.name_len; i++)
            sum += (uint8_t)e.name[i];
        last = off;
    }
    fuzz_check(sum <= n * 255u * LIST_NAME_MAX);
    return n;
}

static void read_page(const uint8_t *data, size_t size)
{
    uint8_t *page = fuzz_copy(data, size);
    char token[64];
    unsigned n;

    if (list_page_check(page, size) == 0) {
        n = read_entries(page, size);
        fuzz_check(n <= size);
        fuzz_check(list_page_len(page) <= size);
        list_page_token(page, token, sizeof(token));
        fuzz_check(strnlen(token, sizeof(token)) < sizeof(token));
    }
    free(page);
}

/* What is left of the input, which holds no NUL in a token. */
static void add_token(uint8_t *page, const uint8_t *data, size_t size)
{
    char *token = strndup((const char *)data, size), got[CAP + 1];

    fuzz_check(token);
    list_page_set_token(page, CAP, token);
    fuzz_check(list_page_check(page, CAP) == 0 && list_page_len(page) <= CAP);
    list_page_token(page, got, sizeof(got));
    fuzz_check(!*got || strcmp(got, token) == 0);
    free(token);
}

/* Entries of the input: a byte for the type, one for each length, then name and ETag. */
static void make_page(const uint8_t *data, size_t size)
{
    uint8_t *page = malloc(CAP);
    unsigned n = 0;

    fuzz_check(page);
    list_page_begin(page, "", 1, 2);
    while (size >= 3) {
        bool dir = data[0] & 1;
        uint32_t used = list_page_header(page)->used;
        size_t name_len = data[1] * 4u, etag_len = data[2] % 72;
        struct list_entry e = {.type = dir ? LIST_DIR : LIST_FILE,
                               .size = size,
                               .name = (const char *)data + 3,
                               .name_len = (uint16_t)name_len};

        if (size - 3 < name_len + etag_len)
            break;
        memcpy(e.etag, data + 3 + name_len, etag_len);
        if (list_page_add(page, CAP, &e)) {
            n++;
            if (data[0] & 4)
                list_page_shadow(page, used);
        }
        /* a name of a listing is as long as a key may be, and ends with NUL */
        if (data[0] & 2) {
            char *key = strndup(e.name, size - 3);

            fuzz_check(key);
            list_page_end_at(page, key, strlen(key), dir);
            free(key);
        }
        data += 3 + name_len + etag_len;
        size -= 3 + name_len + etag_len;
    }
    fuzz_check(list_page_check(page, CAP) == 0);
    fuzz_check(list_page_header(page)->n == n);
    fuzz_check(read_entries(page, CAP) == n);
    add_token(page, data, size);
    free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_page(data, size);
    make_page(data, size);
    return 0;
}
