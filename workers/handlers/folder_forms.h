/* The forms in which other programs keep a folder (workers/objmeta/folder.h), when it is removed or
 * moved: all of them have to go. */
#ifndef WORKERS_HANDLERS_FOLDER_FORMS_H
#define WORKERS_HANDLERS_FOLDER_FORMS_H

#include "workers/op/op.h"

enum folder_forms_how {
    FOLDER_FORMS_REMOVE, /* the folder is removed */
    FOLDER_FORMS_UNIFY, /* it stays: first its marker is put, if there is none, with the metadata of
                          * the object that is about to be deleted */
};

/* Deletes the objects that are the folder `key` (with a slash at its end) in other forms; an object
 * of that name which is no folder stays. A HEAD for each form that was seen on this mount, no
 * request at all where none was. `node` is the folder's, which must stay until `then`; SHM_NIL: it
 * has none, or goes. If there was a form to unify, the node's metadata are to be read anew, and it
 * has its marker (SHM_NODE_MARKER) at the end. Calls `then` with 0 or -errno, perhaps before this
 * returns. Safe to repeat. Requires a kept op, and uses its `state`. */
void folder_forms(struct op *op, const char *key, uint32_t node, enum folder_forms_how how,
                  void (*then)(struct op *op, int error));

/* To be called before attributes of the op's node are stored (meta_store): if it is a directory,
 * FOLDER_FORMS_UNIFY, so that they come to what the folder has already. Locks it first (hold_take;
 * until hold_give_back), so that no rename of it takes place between the look at a form and the PUT
 * of the marker: that would come back at the old name. Where no other form was seen on this mount,
 * and for a file, calls `then` at once. Then as above; -ESTALE. If the op cannot be kept, it gets
 * an error reply and `then` is not called. Not under a lock. */
void folder_forms_for_node(struct op *op, void (*then)(struct op *op, int error));

#endif
