/* See list_folder.h. */
#include "workers/names/list_folder.h"

#include <string.h>

void list_folder_pass(struct list_folders *f, const char *name, size_t len)
{
    while (f->n && (f->len[f->n - 1] > len || memcmp(f->name, name, f->len[f->n - 1]) != 0))
        f->n--;
}

void list_folder_push(struct list_folders *f, const char *name, size_t len)
{
    if (len > LIST_FOLDER_NAME_MAX || (f->n && f->len[f->n - 1] == len))
        return; /* it is both, a file and a directory */
    f->len[f->n++] = (uint16_t)len;
    memcpy(f->name, name, len);
}

bool list_folder_has(const struct list_folders *f, size_t len)
{
    unsigned i = f->n;

    while (i && f->len[i - 1] > len)
        i--;
    return i && f->len[i - 1] == len;
}

void list_folder_ask(struct list_folders *f, size_t len, uint32_t page, uint32_t off)
{
    if (f->n_asked == sizeof(f->asked) / sizeof(f->asked[0]))
        return;
    f->asked[f->n_asked].page = page;
    f->asked[f->n_asked].off = off;
    f->asked[f->n_asked].len = (uint16_t)len;
    f->n_asked++;
}

void list_folder_cut(struct list_folders *f, uint32_t page, uint32_t off)
{
    while (f->n_asked && f->asked[f->n_asked - 1].page == page &&
           f->asked[f->n_asked - 1].off >= off)
        f->n_asked--;
}
