/* The configuration file as a source of values: a subset of YAML, one mapping of keys and of
 * sections of keys, every value a scalar. */
#ifndef CONF_CONF_YAML_H
#define CONF_CONF_YAML_H

#include "conf/conf.h"

#define CONF_FILE_MAX (64 * 1024) /* bytes of a configuration file */

/* Sets every key that the file gives. Refused, with line and column: input that is not YAML or not
 * UTF-8, unknown and duplicate keys, lists, deeper nesting, anchors, aliases, tags, a second
 * document, secrets. 0, or -EINVAL, -EFBIG, -ENOMEM or the error of open(2), with *err filled. */
must_use int conf_yaml_apply(struct conf *conf, const char *file, struct err *err);

/* The same from memory; `file` is the name for messages. */
must_use int conf_yaml_apply_text(struct conf *conf, const char *file, const char *text, size_t len,
                                  struct err *err);

#endif
