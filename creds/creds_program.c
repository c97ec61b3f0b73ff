/* credential_process of a profile: a program, without a shell, that writes JSON. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "creds/creds_agent.h"
#include "creds/creds_json.h"
#include "creds/creds_provider.h"

#define WORDS_MAX 64
#define SAID_MAX 1024 /* of stderr; what comes then is read and dropped */
#define LOOK_MS 20

extern char **environ;

struct program {
    const struct creds_job *job;
    const char *name;
    pid_t pid;
    int out, err;
    struct creds_bytes *told;
    bool too_long;
    char said[SAID_MAX + 1];
    size_t n_said;
    uint64_t until_ns;
};

/* In the child: all signals as at the start of any program, and its own group, so that what it
 * starts can be ended with it. Does not return. */
static void program_exec(const struct creds_job *job, char **words, int out, int err)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    if (job->conf->program_user && sandbox_user_become(job->conf->program_user) < 0) {
        dprintf(2, "cannot change the user: %s\n", strerror(errno));
        _exit(126);
    }
    if (job->conf->program_env)
        environ = (char **)(uintptr_t)job->conf->program_env;
    execvp(words[0], words);
    dprintf(2, "%s\n", strerror(errno));
    _exit(127);
}

static int start_program(struct program *p, char **words, struct err *err)
{
    int out[2], said[2];

    if (pipe2(out, O_CLOEXEC) < 0)
        return err_set(err, ENOMEM, "pipe: %s", strerror(errno));
    if (pipe2(said, O_CLOEXEC) < 0) {
        close(out[0]);
        close(out[1]);
        return err_set(err, ENOMEM, "pipe: %s", strerror(errno));
    }
    p->pid = fork();
    if (p->pid == 0)
        program_exec(p->job, words, out[1], said[1]);
    close(out[1]);
    close(said[1]);
    p->out = out[0];
    p->err = said[0];
    return p->pid < 0 ? err_set(err, ENOMEM, "fork: %s", strerror(errno)) : 0;
}

/* Reads what is there. False at its end. */
static bool take_out(struct program *p)
{
    struct creds_bytes *b = p->told;
    char drop[256];
    bool full = b->len == b->cap;
    ssize_t n =
        full ? read(p->out, drop, sizeof(drop)) : read(p->out, b->data + b->len, b->cap - b->len);

    if (n <= 0)
        return n < 0 && errno == EINTR;
    if (full)
        p->too_long = true;
    else
        b->len += (size_t)n;
    b->data[b->len] = '\0';
    return true;
}

static bool take_err(struct program *p)
{
    char drop[256];
    bool full = p->n_said == SAID_MAX;
    ssize_t n = full ? read(p->err, drop, sizeof(drop))
                     : read(p->err, p->said + p->n_said, SAID_MAX - p->n_said);

    if (n <= 0)
        return n < 0 && errno == EINTR;
    if (!full)
        p->n_said += (size_t)n;
    return true;
}

/* Until both pipes are closed. A program that it left behind may hold them: the limit ends that. */
static int listen_to(struct program *p)
{
    struct pollfd fds[3] = {{.fd = p->out, .events = POLLIN},
                            {.fd = p->err, .events = POLLIN},
                            {.fd = p->job->conf->stop_fd, .events = POLLIN}};

    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        uint64_t now = clock_mono_ns();
        int ms = p->until_ns > now ? (int)((p->until_ns - now) / NS_PER_MS) + 1 : 0;

        if (ms == 0)
            return -ETIMEDOUT;
        if (poll(fds, 3, ms) <= 0)
            continue;
        if (fds[2].revents)
            return -ECANCELED;
        if (fds[0].revents && !take_out(p))
            fds[0].fd = -1;
        if (fds[1].revents && !take_err(p))
            fds[1].fd = -1;
    }
    return 0;
}

/* Its status, within the limit. 0 or -ETIMEDOUT. */
static int await_program(struct program *p, int *ret_status)
{
    while (waitpid(p->pid, ret_status, WNOHANG) == 0) {
        if (clock_mono_ns() >= p->until_ns)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, LOOK_MS);
    }
    p->pid = -1;
    return 0;
}

/* The last line that says something. */
static const char *last_line(struct program *p)
{
    char *line;

    p->said[p->n_said] = '\0';
    for (size_t i = p->n_said; i > 0 && strchr("\r\n \t", p->said[i - 1]); i--)
        p->said[i - 1] = '\0';
    line = strrchr(p->said, '\n');
    line = line ? line + 1 : p->said;
    creds_clean(line);
    return *line ? line : "it says nothing on stderr";
}

static int judge_end(struct program *p, int status, struct err *err)
{
    if (WIFSIGNALED(status))
        return err_set(err, EACCES, "%.80s was killed by signal %d: %.200s", p->name,
                       WTERMSIG(status), last_line(p));
    if (WEXITSTATUS(status) != 0)
        return err_set(err, WEXITSTATUS(status) == 127 ? EINVAL : EACCES,
                       "%.80s ended with status %d: %.200s", p->name, WEXITSTATUS(status),
                       last_line(p));
    if (p->too_long)
        return err_set(err, EINVAL, "%.80s writes more than %u bytes", p->name, CREDS_BODY_MAX);
    return 0;
}

static int program_run(struct program *p, char **words, struct err *err)
{
    int status = 0;
    int r = start_program(p, words, err);

    if (r < 0)
        return r;
    r = listen_to(p);
    if (r == 0)
        r = await_program(p, &status);
    close(p->out);
    close(p->err);
    if (p->pid > 0) {
        kill(-p->pid, SIGKILL);
        kill(p->pid, SIGKILL);
        (void)waitpid(p->pid, NULL, 0); /* it was killed */
    }
    if (r == -ECANCELED)
        return err_set(err, ECANCELED, "ended by the daemon");
    if (r < 0)
        return err_set(err, ETIMEDOUT, "%.80s did not end in time", p->name);
    return judge_end(p, status, err);
}

/* Its length, at most 80: arguments may be nobody's business. */
static int first_word(const char *command)
{
    size_t n = strcspn(command, " \t");

    return n < 80 ? (int)n : 80;
}

static int take_told(const struct creds_bytes *told, const char *command, struct creds *ret,
                     struct err *err)
{
    static const struct creds_json_names names = {.access_key = "AccessKeyId",
                                                  .secret = "SecretAccessKey",
                                                  .token = "SessionToken",
                                                  .expires = "Expiration",
                                                  .account = "AccountId"};
    cleanup_json struct json_t *json = NULL;
    int r = creds_json_parse(told->data, told->len, &json, err);

    if (r == 0 && !creds_json_is_one(json, "Version"))
        r = err_set(err, EINVAL, "its Version is not 1");
    if (r == 0)
        r = creds_json_take(json, &names, ret, err);
    return r < 0 ? err_prefix(err, "%.*s", first_word(command), command) : 0;
}

int creds_program_run(const struct creds_job *job, const char *command, struct creds_bytes *told,
                      struct err *err)
{
    struct program p = {.job = job, .told = told};
    char text[CREDS_COMMAND_MAX], *words[WORDS_MAX];

    if (strlen(command) >= sizeof(text))
        return err_set(err, EINVAL, "credential_process is longer than %d characters",
                       CREDS_COMMAND_MAX - 1);
    strcpy(text, command);
    if (creds_words(text, words, WORDS_MAX) < 0)
        return err_set(err, EINVAL,
                       "credential_process: a quote that is not closed, or too many "
                       "words");
    if (job->look_only)
        return 0;
    p.name = words[0];
    p.until_ns = clock_mono_ns() + creds_left(job, CREDS_PROGRAM_LIMIT_NS);
    return program_run(&p, words, err);
}

int creds_program(const struct creds_job *job, const char *command, struct creds *ret,
                  struct err *err)
{
    cleanup_bytes struct creds_bytes told = {0};
    int r;

    if (creds_bytes_new(&told, CREDS_BODY_MAX) < 0)
        return err_set(err, ENOMEM, "no locked memory for credentials");
    r = creds_agent_run(job, command, &told, err);
    return r < 0 || job->look_only ? r : take_told(&told, command, ret, err);
}
