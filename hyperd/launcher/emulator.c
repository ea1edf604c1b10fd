/* Stands in QEMU's place in a domain of a Pod: QEMU begins once hyperd has made ready what it runs in.
 *
 * libvirt starts it as QEMU, by then as QEMU's user and with its sockets and files open. Beside it are "qemu", a
 * link to the emulator, and "emulator.sock", where hyperd listens. It says the domain's UUID, hyperd finds the
 * process by its credentials, puts it into the Pod's cgroup and its tap into the Pod's network, and answers "ok",
 * or a sentence, which libvirt hands on as its error. Without a UUID libvirt asks what QEMU can do: nothing waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define WAIT_SECONDS 25 /* less than libvirt waits for QEMU's monitor */
#define UUID_LENGTH 36

static char beside[PATH_MAX];

static void fail(const char *what) {
    dprintf(2, "hyperd's emulator: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* What is called `name` beside this program, whoever calls it by what. */
static const char *sibling(const char *name) {
    ssize_t length = readlink("/proc/self/exe", beside, sizeof beside - 1);
    if (length < 0)
        fail("/proc/self/exe");
    beside[length] = 0;
    char *slash = strrchr(beside, '/');
    size_t left = sizeof beside - (size_t)(slash + 1 - beside);
    if ((size_t)snprintf(slash + 1, left, "%s", name) >= left) {
        errno = ENAMETOOLONG;
        fail(name);
    }
    return beside;
}

static int is_word(const char *word, const char *name) {
    if (*word == '-' && word[1] == '-')
        word++;
    return !strcmp(word, name);
}

static void wait_for_place(const char *uuid) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    char answer[1024];
    size_t held = 0;
    const char *path = sibling("emulator.sock");
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path);
    }
    strcpy(address.sun_path, path);
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0)
        fail("socket");
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(server, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(server, (struct sockaddr *)&address, sizeof address))
        fail("hyperd does not answer on this node");
    dprintf(server, "%s\n", uuid);
    while (held < sizeof answer - 1 && !memchr(answer, '\n', held)) {
        ssize_t got = recv(server, answer + held, sizeof answer - 1 - held, 0);
        if (got < 0)
            fail("hyperd did not make the guest's place ready in time");
        if (!got)
            break;
        held += (size_t)got;
    }
    answer[held] = 0;
    answer[strcspn(answer, "\n")] = 0;
    close(server);
    if (!strcmp(answer, "ok"))
        return;
    dprintf(2, "hyperd's emulator: %s\n", *answer ? answer : "hyperd ended before the guest's place was ready");
    exit(1);
}

int main(int count, char **words) {
    const char *uuid = NULL;
    for (int i = 1; i + 1 < count; i++)
        if (is_word(words[i], "-uuid"))
            uuid = words[i + 1];
    if (uuid && strlen(uuid) == UUID_LENGTH)
        wait_for_place(uuid);
    static char emulator[PATH_MAX];
    if (!realpath(sibling("qemu"), emulator))
        fail(beside);
    words[0] = emulator;
    execv(emulator, words);
    fail(emulator);
}
