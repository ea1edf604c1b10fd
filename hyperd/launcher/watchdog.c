/* Ends guests of a node that may be cut off: those that hyperd guards, once nobody has fed it for so long.
 *
 *   watchdog SOCKET LOG   listens on SOCKET and goes on in the background; ends at once where another one does
 *
 * It outlives hyperd, and does without it: what kills is a timer on the clock that goes on while the node sleeps.
 * Root alone connects, and says one line each time, which is answered by "ok" and words, or "no" and a sentence:
 *
 *   guard PID UUID   the process, which hyperd has seen to be the guest's, is to end with the others
 *   release UUID     nothing of it is guarded any more
 *   feed MS          all go on until then, in milliseconds of CLOCK_BOOTTIME
 *   cap MS           they do so no longer than until then
 *   list             the UUIDs of all that live
 *   end              it ends, if it guards nothing
 *
 * Once it has ended them nothing can be guarded before it is fed. It ends itself where it has long had nothing to do.
 * It waits for no file: what is told of an end a child writes, and no process is read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define UUID_LENGTH 36
#define LINE_BYTES 128
#define ASK_SECONDS 2
#define IDLE_MS (600 * 1000LL)

struct guest {
    char uuid[UUID_LENGTH + 1];
    int pid;
    int process; /* a pidfd: while it is open the number is nobody else's */
};

static struct guest *guests;
static size_t count, room;
static long long deadline;
static int fired, timer, listener, lock;

static void fail(const char *what) {
    dprintf(2, "watchdog: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void forget(size_t at) {
    close(guests[at].process);
    guests[at] = guests[--count];
}

static void forget_dead(void) {
    for (size_t at = count; at-- > 0;) {
        struct pollfd found = {.fd = guests[at].process, .events = POLLIN};
        if (poll(&found, 1, 0) > 0)
            forget(at);
    }
}

static void kill_all(void) {
    fired = 1;
    for (size_t at = 0; at < count; at++)
        syscall(SYS_pidfd_send_signal, guests[at].process, SIGKILL, NULL, 0);
    if (!count || fork())
        return;
    close(listener); /* and the lock: nobody is kept from starting another one by a file that hangs */
    close(lock);
    for (size_t at = 0; at < count; at++)
        dprintf(2, "This node may be cut off from its cluster: the guest %s is ended.\n", guests[at].uuid);
    _exit(0);
}

static const char *guard(int pid, const char *uuid) {
    if (fired || now_ms() >= deadline)
        return "no it was not fed";
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0)
        return "no there is no such process";
    for (size_t at = 0; at < count; at++)
        if (guests[at].pid == pid && !strcmp(guests[at].uuid, uuid)) { /* the dead ones are forgotten by now */
            close(process);
            return "ok";
        }
    if (count == room) {
        size_t more = room ? room * 2 : 64;
        struct guest *grown = realloc(guests, more * sizeof *grown);
        if (!grown) {
            close(process);
            return "no memory is short";
        }
        guests = grown;
        room = more;
    }
    guests[count].pid = pid;
    guests[count].process = process;
    strcpy(guests[count++].uuid, uuid);
    return "ok";
}

static const char *feed(long long until) {
    if (until <= now_ms())
        return "no that has passed";
    deadline = until;
    struct itimerspec when = {.it_value = {.tv_sec = deadline / 1000, .tv_nsec = deadline % 1000 * 1000000}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL))
        return "no its timer cannot be set";
    fired = 0;
    return "ok";
}

/* Milliseconds for which somebody is waited for: what is over meanwhile has to be seen in time. */
static long long patience(void) {
    long long most = ASK_SECONDS * 1000LL, left = deadline - now_ms();
    if (fired || !count || left > most)
        return most;
    return left > 0 ? left : 1;
}

static void wait_no_longer(int asking) {
    long long left = patience();
    struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
    setsockopt(asking, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(asking, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static void answer(int asking) {
    char line[LINE_BYTES], uuid[UUID_LENGTH + 1];
    size_t held = 0;
    int pid;
    long long until;
    long long until_then = now_ms() + patience();
    wait_no_longer(asking);
    while (held < sizeof line - 1 && now_ms() < until_then) {
        ssize_t got = recv(asking, line + held, sizeof line - 1 - held, 0);
        if (got <= 0)
            return;
        held += (size_t)got;
        if (memchr(line, '\n', held))
            break;
    }
    line[held] = 0;
    wait_no_longer(asking);
    forget_dead();
    if (sscanf(line, "guard %d %36s", &pid, uuid) == 2 && strlen(uuid) == UUID_LENGTH) {
        dprintf(asking, "%s\n", guard(pid, uuid));
    } else if (sscanf(line, "release %36s", uuid) == 1) {
        for (size_t at = count; at-- > 0;)
            if (!strcmp(guests[at].uuid, uuid))
                forget(at);
        dprintf(asking, "ok\n");
    } else if (sscanf(line, "feed %lld", &until) == 1) {
        dprintf(asking, "%s\n", feed(until));
    } else if (sscanf(line, "cap %lld", &until) == 1) {
        dprintf(asking, "%s\n", until < deadline ? feed(until) : "ok");
    } else if (!strcmp(line, "end\n")) {
        dprintf(asking, "%s\n", count ? "no it guards guests" : "ok");
        if (!count)
            exit(0);
    } else if (!strcmp(line, "list\n")) {
        /* Who does not take it is waited for once. */
        int taken = dprintf(asking, "ok") > 0;
        for (size_t at = 0; taken && at < count; at++)
            taken = dprintf(asking, " %s", guests[at].uuid) > 0;
        if (taken)
            dprintf(asking, "\n");
    } else {
        dprintf(asking, "no it does not know that\n");
    }
}

static void listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[sizeof address.sun_path + 8];
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(path);
    }
    strcpy(address.sun_path, path);
    snprintf(name, sizeof name, "%s.lock", path);
    lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        fail(name);
    if (flock(lock, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            exit(0); /* another one runs */
        fail(name);
    }
    unlink(path);
    umask(077);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address))
        fail(path);
}

static void stand_apart(const char *path) {
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int ready[2];
    if (log < 0 || nothing < 0 || pipe2(ready, O_CLOEXEC))
        fail(path);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child) {
        char word = 0;
        close(ready[1]);
        _exit(read(ready[0], &word, 1) == 1 ? 0 : 1); /* who started it knows by that that it listens */
    }
    setsid();
    /* Who connects is told by the kernel that it is this process. */
    if (listen(listener, 16) || write(ready[1], "+", 1) != 1)
        fail("listen");
    close(ready[0]);
    close(ready[1]);
    if (chdir("/"))
        fail("/");
    dup2(nothing, 0);
    dup2(nothing, 1);
    dup2(log, 2);
    /* Where the node is short of memory or time it is the last to suffer, if it may say so. */
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        if (write(score, "-1000", 5) < 0) { /* it stays as it is */
        }
        close(score);
    }
    struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first);
    mlockall(MCL_CURRENT | MCL_FUTURE);
}

int main(int words, char **word) {
    if (words != 3) {
        dprintf(2, "usage: watchdog SOCKET LOG\n");
        return 2;
    }
    close_range(3, ~0U, 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    listen_at(word[1]);
    timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer < 0)
        fail("timerfd");
    stand_apart(word[2]);
    deadline = now_ms();
    for (;;) {
        struct pollfd found[2] = {{.fd = timer, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
        if (poll(found, 2, 60 * 1000) < 0 && errno != EINTR)
            fail("poll");
        if (!fired && now_ms() >= deadline)
            kill_all();
        uint64_t times;
        if (found[0].revents && read(timer, &times, sizeof times) < 0) { /* it was set anew */
        }
        int asking = found[1].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (asking >= 0) {
            answer(asking);
            close(asking);
        }
        forget_dead();
        if (!count && now_ms() > deadline + IDLE_MS)
            return 0;
    }
}
