/* Which "name_$folder$" of a listing (workers/objmeta/folder.h) have been shown already, as "name"
 * or "name/": these come before it, perhaps pages before, and all names in between begin with
 * "name".
 *
 * So what counts at some point are the listed names with which the current one begins: lengths
 * only, and their text once. Of an earlier page is known where it has ended: the names that are
 * beginnings of that one may have been on it. */
#ifndef WORKERS_NAMES_LIST_FOLDER_H
#define WORKERS_NAMES_LIST_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST_FOLDER_NAME_MAX 1024

struct list_folders {
    /* names that were listed: beginnings of the last one, the shortest first */
    unsigned n;
    uint16_t len[LIST_FOLDER_NAME_MAX + 1];
    char name[LIST_FOLDER_NAME_MAX]; /* the longest of them */

    /* folders that may have been on an earlier page: beginnings of where this one starts */
    unsigned n_asked;
    struct {
        uint32_t page, off; /* position of its entry, for the caller */
        uint16_t len;       /* length of its name */
    } asked[LIST_FOLDER_NAME_MAX + 1];
};

/* Takes the next name of the listing, in the order of keys; `name` without a slash. Call it for
 * each, before the following ones. */
void list_folder_pass(struct list_folders *f, const char *name, size_t len);

/* The name of the last list_folder_pass() is a file or a directory of its own. */
void list_folder_push(struct list_folders *f, const char *name, size_t len);

/* True if the first `len` bytes of the name of the last list_folder_pass() are a name that was
 * pushed. */
bool list_folder_has(const struct list_folders *f, size_t len);

/* Notes that the folder of this length, which is shown at this place, may have been on an earlier
 * page. (More than there is room for are impossible: no two have one length.) */
void list_folder_ask(struct list_folders *f, size_t len, uint32_t page, uint32_t off);

/* The entries of this page from `off` on were removed. */
void list_folder_cut(struct list_folders *f, uint32_t page, uint32_t off);

#endif
