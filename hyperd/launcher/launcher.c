/* What is in a machine's Pod, and nothing else is: it stands for the guest, which the node's hyperd runs.
 *
 *   launcher run DIR     listens on DIR/launcher.sock; SIGTERM asks hyperd to let the guest shut down
 *   launcher ready DIR   ends with 0 while a guest runs: the Pod's probes
 *
 * It needs no user, no capability and no file but those in DIR. hyperd says in lines: "running", "stopped", and
 * "exit N", upon which it ends with N; lines that it does not know are passed over. It says "launcher 1" to whoever
 * connects, and "term" once its Pod is to end. Who connects last is spoken with: an earlier hyperd is gone by then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET "launcher.sock"
#define READY "ready"
#define LINE_BYTES 128

static int peer = -1;
static char line[LINE_BYTES];
static size_t held;
static int running, ending;

/* For kubectl logs. */
static void tell(const char *text) {
    if (write(1, text, strlen(text)) < 0) { /* nobody reads */
    }
}

static void fail(const char *what) {
    dprintf(2, "launcher: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void say(const char *text) {
    if (peer >= 0 && send(peer, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) { /* its end is seen by poll */
    }
}

static void part(void) {
    if (peer >= 0)
        close(peer);
    peer = -1;
    held = 0;
    if (ending && !running)
        _exit(0); /* nobody is left who could start a guest here */
}

static void meet(int listener) {
    int next = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (next < 0)
        return;
    if (peer >= 0)
        close(peer);
    peer = next;
    held = 0;
    say("launcher 1\n");
    if (ending)
        say("term\n");
}

static void runs(int now) {
    if (now == running)
        return;
    running = now;
    if (now) {
        int made = open(READY, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (made >= 0)
            close(made);
        tell("The guest runs.\n");
    } else {
        unlink(READY);
        tell("The guest is off.\n");
    }
}

static void obey(const char *word) {
    if (!strcmp(word, "running"))
        runs(1);
    else if (!strcmp(word, "stopped"))
        runs(0);
    else if (!strncmp(word, "exit ", 5)) {
        char *end;
        long code = strtol(word + 5, &end, 10);
        if (*end || end == word + 5 || code < 0 || code > 255)
            return;
        runs(0);
        _exit((int)code);
    }
}

static void hear(void) {
    ssize_t got = recv(peer, line + held, sizeof line - held, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        part();
        return;
    }
    held += (size_t)got;
    char *start = line, *end;
    while ((end = memchr(start, '\n', held - (size_t)(start - line)))) {
        *end = 0;
        obey(start);
        start = end + 1;
    }
    held -= (size_t)(start - line);
    memmove(line, start, held);
    if (held == sizeof line)
        part(); /* no word of ours is so long */
}

static void end_soon(void) {
    if (ending)
        return;
    ending = 1;
    if (peer < 0 && !running)
        _exit(0);
    tell("The Pod is to end: the guest is asked to shut down.\n");
    say("term\n");
}

static int open_listener(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET};
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0)
        fail("socket");
    unlink(SOCKET);
    unlink(READY);
    if (bind(made, (struct sockaddr *)&address, sizeof address) || listen(made, 4))
        fail(SOCKET);
    return made;
}

static void run(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGCHLD, SIG_IGN); /* process 1 of its Pod has orphans */
    int told = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (told < 0)
        fail("signalfd");
    umask(077);
    int listener = open_listener();
    tell("Waiting for the node's hyperd.\n");
    for (;;) {
        struct pollfd found[3] = {
            {.fd = told, .events = POLLIN}, {.fd = listener, .events = POLLIN}, {.fd = peer, .events = POLLIN}};
        if (poll(found, 3, -1) < 0) {
            if (errno == EINTR)
                continue;
            fail("poll");
        }
        struct signalfd_siginfo which;
        if (found[0].revents && read(told, &which, sizeof which) == sizeof which)
            end_soon();
        if (found[2].revents)
            hear();
        if (found[1].revents)
            meet(listener);
    }
}

int main(int count, char **words) {
    if (count != 3 || (strcmp(words[1], "run") && strcmp(words[1], "ready"))) {
        dprintf(2, "usage: launcher run|ready DIR\n");
        return 2;
    }
    if (chdir(words[2]))
        fail(words[2]);
    if (!strcmp(words[1], "ready"))
        return access(READY, F_OK) ? 1 : 0;
    run();
}
