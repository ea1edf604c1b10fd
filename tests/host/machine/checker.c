/*
 * Writes to a disk all the time, and knows what must be on it: at any moment, on any copy of the disk.
 *
 *   checker write  DISK BLOCKS SEED PROGRESS STOP    until the file STOP is there; then looks at all of the disk
 *   checker verify DISK BLOCKS SEED LEAST            a disk, or a file, as it was at one moment
 *   checker survived DISK BLOCKS SEED LEAST          one after a power cut: what was not synced may be lost
 *
 * What the n-th step does follows from SEED and n alone, one write is under way at a time, and a block says of which
 * step it is. So the latest step on a copy tells all that the copy must hold: that step, and all before it, and
 * nothing else. LEAST is a step that was acknowledged before the copy was asked for. It says "ok N", N being the
 * latest step, or what is wrong. Without a C library, as it is sent to a guest through its console.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

enum { BLOCK = 4096, MOST_BLOCKS = 16384, SPAN = 16 };
enum { READ = 0, WRITE = 1, OPEN = 2, ACCESS = 21, FDATASYNC = 75, PREAD = 17, PWRITE = 18, EXIT = 231 };
enum { RDONLY = 0, RDWR = 2, CREATE = 0100, TRUNCATE = 01000, DIRECT = 040000 };

static u8 buffer[SPAN * BLOCK] __attribute__((aligned(BLOCK)));
static u8 wanted[BLOCK] __attribute__((aligned(BLOCK)));
static u32 model[MOST_BLOCKS], held[MOST_BLOCKS], before[SPAN];
static u64 seed, blocks;
static int disk;

static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

/* The compiler calls them. */
void *memset(void *to, int value, u64 count)
{
    for (volatile u8 *at = to; count--; at++)
        *at = (u8)value;
    return to;
}

void *memcpy(void *to, const void *from, u64 count)
{
    volatile u8 *at = to;
    for (const u8 *next = from; count--;)
        *at++ = *next++;
    return to;
}

static u64 length(const char *text)
{
    u64 count = 0;
    while (text[count])
        count++;
    return count;
}

static const char *decimal(u64 number)
{
    static char text[24];
    char *at = text + sizeof text - 1;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    return at;
}

static u64 number(const char *text)
{
    u64 found = 0;
    while (*text)
        found = found * 10 + (u64)(*text++ - '0');
    return found;
}

static void say(const char *text)
{
    call(WRITE, 1, (long)text, (long)length(text), 0);
}

__attribute__((noreturn)) static void end(const char *what, u64 of, int code)
{
    say(what);
    say(" ");
    say(decimal(of));
    say("\n");
    for (;;)
        call(EXIT, code, 0, 0, 0);
}

static u64 mixed(u64 value)
{
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

/* What a step does, to `count` blocks from `at` on. */
enum kind { WRITES, READS, SYNCS };
struct step { enum kind kind; u64 at, count; };

static struct step step_of(u64 n)
{
    u64 random = mixed(seed ^ mixed(n));
    struct step step = { WRITES, (random >> 8) % blocks, 1 + (random >> 40) % SPAN };
    if (step.at + step.count > blocks)
        step.count = blocks - step.at;
    if (random % 8 == 6)
        step.kind = READS;
    if (random % 16 == 7)
        step.kind = SYNCS;
    return step;
}

/* The content of a block after step `n`; zeros before any. */
static void fill(u8 *block, u64 at, u64 n)
{
    u64 *words = (u64 *)block;
    u64 state = mixed(seed ^ mixed(at << 32 | n));
    for (u64 word = 0; word < BLOCK / 8; word++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        words[word] = n ? state : 0;
    }
    if (n)
        words[0] = at << 32 | n;
}

static int same(const u8 *found, const u8 *expected)
{
    const u64 *a = (const u64 *)found, *b = (const u64 *)expected;
    for (u64 word = 0; word < BLOCK / 8; word++)
        if (a[word] != b[word])
            return 0;
    return 1;
}

static void get(u64 at, u64 count)
{
    if (call(PREAD, disk, (long)buffer, (long)(count * BLOCK), (long)(at * BLOCK)) != (long)(count * BLOCK))
        end("cannot read block", at, 1);
}

static void require_held(u64 at, u64 count)
{
    get(at, count);
    for (u64 one = 0; one < count; one++) {
        fill(wanted, at + one, model[at + one]);
        if (!same(buffer + one * BLOCK, wanted))
            end("differs: block", at + one, 1);
    }
}

static void put(u64 at, u64 count, u64 n)
{
    for (u64 one = 0; one < count; one++) {
        model[at + one] = (u32)n;
        fill(buffer + one * BLOCK, at + one, n);
    }
    if (call(PWRITE, disk, (long)buffer, (long)(count * BLOCK), (long)(at * BLOCK)) != (long)(count * BLOCK))
        end("cannot write block", at, 1);
}

static void write_on(const char *progress, const char *stop)
{
    int told = (int)call(OPEN, (long)progress, RDWR | CREATE | TRUNCATE, 0600, 0);
    u64 n = 0;
    for (u64 at = 0; at < blocks; at += SPAN)
        put(at, blocks - at < SPAN ? blocks - at : SPAN, 0);
    while (call(ACCESS, (long)stop, 0, 0, 0)) {
        struct step step = step_of(++n);
        if (step.kind == WRITES)
            put(step.at, step.count, n);
        else if (step.kind == READS)
            require_held(step.at, step.count);
        else if (call(FDATASYNC, disk, 0, 0, 0))
            end("cannot sync at step", n, 1);
        const char *text = decimal(n);
        call(PWRITE, told, (long)text, (long)length(text), 0);
    }
    for (u64 at = 0; at < blocks; at += SPAN)
        require_held(at, blocks - at < SPAN ? blocks - at : SPAN);
    end("ok", n, 0);
}

/* What the blocks say of themselves; the latest step of any. */
static u64 look(void)
{
    u64 latest = 0;
    for (u64 at = 0; at < blocks; at++) {
        get(at, 1);
        held[at] = (u32)*(u64 *)buffer;
        fill(wanted, at, held[at]);
        if (!same(buffer, wanted))
            end("is nothing that was ever written: block", at, 1);
        if (held[at] > latest)
            latest = held[at];
    }
    return latest;
}

static void survived(u64 least)
{
    u64 latest = look(), synced = 0, n;
    for (n = 1; n <= least; n++)
        if (step_of(n).kind == SYNCS)
            synced = n;
    for (n = 1; n <= synced; n++) {
        struct step step = step_of(n);
        for (u64 one = 0; step.kind == WRITES && one < step.count; one++)
            model[step.at + one] = (u32)n;
    }
    for (u64 at = 0; at < blocks; at++) {
        struct step step = step_of(held[at]);
        int later = held[at] > synced && step.kind == WRITES && at >= step.at && at < step.at + step.count;
        if (held[at] != model[at] && !later)
            end("has lost what was synced: block", at, 1);
    }
    end("ok", latest, 0);
}

static void verify(u64 least)
{
    u64 latest = look(), n;
    struct step last = { SYNCS, 0, 0 };
    for (n = 1; n <= latest; n++) {
        last = step_of(n);
        if (last.kind != WRITES)
            continue;
        for (u64 one = 0; one < last.count; one++) {
            before[one] = model[last.at + one];
            model[last.at + one] = (u32)n;
        }
    }
    for (u64 at = 0; at < blocks; at++) {
        int torn = at >= last.at && at < last.at + last.count && held[at] == before[at - last.at];
        if (held[at] != model[at] && !torn)
            end("is of another moment: block", at, 1);
    }
    /* Steps that write nothing are not seen on the disk. */
    for (n = latest + 1; n <= least; n++)
        if (step_of(n).kind == WRITES)
            end("has not what was acknowledged before: step", n, 1);
    end("ok", latest, 0);
}

__attribute__((noreturn, used)) static void begin(u64 *stack)
{
    char **arguments = (char **)(stack + 1);
    u64 count = stack[0];
    int writes = count > 1 && arguments[1][0] == 'w';
    if (count != (writes ? 7 : 6))
        end("wants other arguments, not", count, 2);
    blocks = number(arguments[3]);
    seed = number(arguments[4]);
    if (!blocks || blocks > MOST_BLOCKS)
        end("too many blocks:", blocks, 2);
    disk = (int)call(OPEN, (long)arguments[2], writes ? RDWR | DIRECT : RDONLY, 0, 0);
    if (disk < 0)
        end("cannot be opened:", (u64)-disk, 2);
    if (writes)
        write_on(arguments[5], arguments[6]);
    if (arguments[1][0] == 's')
        survived(number(arguments[5]));
    verify(number(arguments[5]));
    for (;;)
        ;
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
