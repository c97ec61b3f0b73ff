/* What is a folder. What is done with them: resolve.c, list.c, folder_forms.c. */
#include "workers/objmeta/folder.h"

#include <string.h>

#include "workers/objmeta/meta.h"

static bool is_type_of_folder(const char *type)
{
    size_t n = strcspn(type, "; ");

    return (n == strlen(META_TYPE_MARKER) && memcmp(type, META_TYPE_MARKER, n) == 0) ||
           (n == strlen("httpd/unix-directory") && memcmp(type, "httpd/unix-directory", n) == 0);
}

bool folder_is_bare(const struct s3_object *obj)
{
    if (obj->size)
        return false;
    switch (meta_says_dir(obj)) {
    case META_DIR_YES:
        return true;
    case META_DIR_NO:
        return false;
    case META_DIR_UNSAID:
        break;
    }
    return is_type_of_folder(obj->content_type);
}

size_t folder_of_suffix(const char *name, size_t len, uint64_t size)
{
    size_t base = len - FOLDER_SUFFIX_LEN;

    if (size || len <= FOLDER_SUFFIX_LEN || name[base - 1] == '/' ||
        memcmp(name + base, FOLDER_SUFFIX, FOLDER_SUFFIX_LEN) != 0)
        return 0;
    return base;
}

bool folder_form_key(char *key, size_t len, bool suffix)
{
    const char *end = suffix ? FOLDER_SUFFIX : "";

    if (len + strlen(end) > S3_KEY_MAX)
        return false;
    memcpy(key + len, end, strlen(end) + 1);
    return true;
}
