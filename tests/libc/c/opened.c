// A library that is opened after the patch. Compiled by the tests.

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static __thread __attribute__((tls_model("initial-exec"))) int own = 41;
static __thread __attribute__((tls_model("initial-exec"))) char zero[16];

// Whether the caller's are as they were written; then they are changed.
int is_fresh(void) {
    int fresh = own == 41 && zero[0] == 0 && zero[15] == 0;
    own = 0;
    zero[0] = zero[15] = 1;
    return fresh;
}

// Sets the caller's, waits, and says what it is then.
int keep(int value) {
    struct timespec ms = {0, 1000000};
    own = value;
    nanosleep(&ms, 0);
    return own;
}

long read_some(int fd, char *to, unsigned long n) {
    return read(fd, to, n);
}

int wait_readable(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    return poll(&one, 1, -1);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long count;

// Adds one, slowly.
void add(void) {
    struct timespec ms = {0, 100000};
    pthread_mutex_lock(&mutex);
    long before = count;
    nanosleep(&ms, 0);
    count = before + 1;
    pthread_mutex_unlock(&mutex);
}

static void *begin(void *done) {
    for (int n = 0; n < 10; n++) add();
    *(int *)done = is_fresh();
    return done;
}

// What threads of its own have counted; -1: one of them had the thread-locals of another.
long count_with_threads(int n) {
    pthread_t threads[n];
    int fresh[n];
    count = 0;
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], 0, begin, &fresh[i])) return -2;
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], 0);
        if (!fresh[i]) return -1;
    }
    return count;
}

// Whether a thread of it is another than the caller, and knows itself.
static void *itself(void *none) {
    (void)none;
    return (void *)pthread_self();
}

int threads_know_themselves(void) {
    pthread_t thread;
    void *told;
    if (pthread_create(&thread, 0, itself, 0) || pthread_join(thread, &told)) return 0;
    return told == (void *)thread && thread != pthread_self();
}
