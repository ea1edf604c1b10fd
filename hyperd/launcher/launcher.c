/* What is in a machine's Pod, and nothing else is: it stands for the guest, which the node's hyperd runs.
 *
 *   launcher run DIR     listens on DIR/launcher.sock; SIGTERM asks hyperd to let the guest shut down
 *   launcher ready DIR   ends with 0 while a guest runs: the Pod's probes
 *
 * It needs no user, no capability and no file but those in DIR. hyperd says in lines: "running", "stopped", and
 * "exit N", upon which it ends with N; "console N", which N bytes follow that the guest has said: they are written to
 * its output as they are, as far as that takes them. Lines that it does not know are passed over. It says "launcher
 * 2" to whoever connects, and "term" once its Pod is to end. Who connects last is spoken with: an earlier hyperd is
 * gone by then.
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
#define READ_BYTES 4096
#define MOST_RAW 65536

static int peer = -1;
static char line[READ_BYTES];
static size_t held;
static size_t raw; /* bytes of the guest's that are to come */
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
    held = raw = 0;
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
    held = raw = 0;
    say("launcher 2\n"); /* since 2 it knows of consoles */
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

/* What a word says, from 0 to most; -1 where it says nothing of that. */
static long number(const char *text, long most) {
    char *end;
    long found = strtol(text, &end, 10);
    return *end || end == text || found < 0 || found > most ? -1 : found;
}

static void obey(const char *word) {
    if (!strcmp(word, "running"))
        runs(1);
    else if (!strcmp(word, "stopped"))
        runs(0);
    else if (!strncmp(word, "exit ", 5)) {
        long code = number(word + 5, 255);
        if (code < 0)
            return;
        runs(0);
        _exit((int)code);
    } else if (!strncmp(word, "console ", 8)) {
        long bytes = number(word + 8, MOST_RAW);
        if (bytes > 0)
            raw = (size_t)bytes;
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
    char *start = line, *stop = line + held, *end;
    while (start < stop) {
        if (raw) {
            size_t some = raw < (size_t)(stop - start) ? raw : (size_t)(stop - start);
            if (write(1, start, some) < 0) { /* nobody takes it in time: it is lost, and nobody waits */
            }
            raw -= some;
            start += some;
            continue;
        }
        if (!(end = memchr(start, '\n', (size_t)(stop - start))))
            break;
        *end = 0;
        obey(start);
        start = end + 1;
    }
    held = (size_t)(stop - start);
    memmove(line, start, held);
    if (held >= LINE_BYTES)
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
    fcntl(1, F_SETFL, fcntl(1, F_GETFL) | O_NONBLOCK);
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
