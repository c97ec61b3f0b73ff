/* conf/: a configuration file. One that is refused is refused in one clean line that names it; one
 * that is taken is printed, taken again, and then prints the same. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/conf_yaml.h"

static char file[32];
static int fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    fd = memfd_create("conf", MFD_CLOEXEC);
    fuzz_check(fd >= 0);
    snprintf(file, sizeof(file), "/dev/fd/%d", fd);
    return 0;
}

static bool load(const void *text, size_t len, struct conf **ret_conf)
{
    static char *env[] = {"AWS_ACCESS_KEY_ID=AKIDTEST", "AWS_SECRET_ACCESS_KEY=sesame", NULL};
    struct err err = {0};
    int r;

    fuzz_check(ftruncate(fd, 0) == 0);
    fuzz_check(pwrite(fd, text, len, 0) == (ssize_t)len);
    fuzz_check(lseek(fd, 0, SEEK_SET) == 0);
    r = conf_load(file, env, ret_conf, &err);
    if (r == 0)
        return true;
    fuzz_check(r == -err.code && *err.text);
    fuzz_check_text(err.text);
    return false;
}

/* Origins, which are comments, are left out: they tell lines of another file. */
static char *print(const struct conf *conf, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    fuzz_check(out);
    conf_print(conf, out);
    fuzz_check(fclose(out) == 0);
    return text;
}

static void cut_origins(char *text)
{
    char *to = text;

    for (char *p = text, *end; *p; p = end + 1) {
        char *hash;

        end = strchrnul(p, '\n');
        fuzz_check(*end);
        hash = memrchr(p, '#', (size_t)(end - p));
        memmove(to, p, (size_t)((hash ? hash : end) - p));
        to += (hash ? hash : end) - p;
    }
    *to = '\0';
}

static void check_printed(const struct conf *conf)
{
    size_t len, again_len;
    char *text = print(conf, &len), *again;
    struct conf *other;

    fuzz_check(len > CONF_FILE_MAX || load(text, len, &other));
    if (len <= CONF_FILE_MAX) {
        again = print(other, &again_len);
        cut_origins(text);
        cut_origins(again);
        fuzz_check(strcmp(text, again) == 0);
        free(again);
        conf_free(other);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *conf;

    if (load(data, size, &conf)) {
        check_printed(conf);
        conf_free(conf);
    }
    return 0;
}
