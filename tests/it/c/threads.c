// What C code keeps for each thread. Each function returns 0, or the line that went wrong. `wait` lets
// other threads run.

#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) \
    do { \
        if (!(what)) \
            return __LINE__; \
    } while (0)

typedef void wait_fn(void);

int error_number(int n, wait_fn *wait) {
    errno = n;
    wait();
    CHECK(errno == n);
    close(-1);
    CHECK(errno == EBADF);
    wait();
    CHECK(errno == EBADF);
    return 0;
}

// Recursive: the owner may lock it again, however long it waited in between, and nobody else.
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int in_recursive;

int recursive_mutex(wait_fn *wait) {
    CHECK(pthread_mutex_lock(&recursive) == 0);
    CHECK(in_recursive++ == 0);
    CHECK(pthread_mutex_trylock(&recursive) == 0);
    CHECK(pthread_mutex_lock(&recursive) == 0);
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    CHECK(--in_recursive == 0);
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    wait();
    CHECK(pthread_mutex_unlock(&recursive) == EPERM);
    return 0;
}

// By trying: what glibc itself waits for in the kernel would stop the siblings.
int recursive_mutex_over_switches(wait_fn *wait) {
    while (pthread_mutex_trylock(&recursive) != 0)
        wait();
    CHECK(in_recursive++ == 0);
    wait();
    CHECK(pthread_mutex_lock(&recursive) == 0);
    wait();
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    wait();
    CHECK(--in_recursive == 0);
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    return 0;
}

static pthread_mutex_t checking = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;

int checking_mutex(wait_fn *wait) {
    int result;
    while ((result = pthread_mutex_trylock(&checking)) != 0) {
        CHECK(result == EBUSY);
        // Another has it, who alone may unlock it.
        CHECK(pthread_mutex_unlock(&checking) == EPERM);
        wait();
    }
    wait();
    CHECK(pthread_mutex_lock(&checking) == EDEADLK);
    wait();
    CHECK(pthread_mutex_unlock(&checking) == 0);
    return 0;
}

// The stack's bounds hold what is on it.
int stack_bounds(size_t *bytes) {
    pthread_attr_t attr;
    void *low;
    size_t size, guard;
    CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
    CHECK(pthread_attr_getstack(&attr, &low, &size) == 0);
    CHECK(pthread_attr_getguardsize(&attr, &guard) == 0);
    CHECK(pthread_attr_destroy(&attr) == 0);
    char *here = (char *)&attr;
    CHECK((char *)low < here && here < (char *)low + size);
    CHECK(guard < size);
    *bytes = size;
    return 0;
}

static FILE *file;
static __thread char line[32];

int open_file(const char *path) {
    file = fopen(path, "w");
    return file == NULL;
}

int close_file(void) { return fclose(file); }

// Lines are whole, and those that are written under a lock are beside each other.
int write_lines(int n) {
    snprintf(line, sizeof line, "thread %d", n);
    CHECK(fprintf(file, "%s alone\n", line) > 0);
    flockfile(file);
    CHECK(fprintf(file, "%s first\n", line) > 0);
    flockfile(file);
    CHECK(fprintf(file, "%s second\n", line) > 0);
    funlockfile(file);
    funlockfile(file);
    return 0;
}

// The owner of a stream's lock is the thread, over switches.
int write_lines_over_switches(int n, wait_fn *wait) {
    snprintf(line, sizeof line, "thread %d", n);
    while (ftrylockfile(file) != 0)
        wait();
    CHECK(fprintf(file, "%s first\n", line) > 0);
    wait();
    CHECK(ftrylockfile(file) == 0);
    wait();
    CHECK(fprintf(file, "%s second\n", line) > 0);
    funlockfile(file);
    wait();
    funlockfile(file);
    return 0;
}

// What libc keeps for each thread.
int libcs_own(int n, wait_fn *wait) {
    char expected[64];
    char *text = strerror(1000 + n);
    snprintf(expected, sizeof expected, "Unknown error %d", 1000 + n);
    CHECK(strcmp(text, expected) == 0);
    wait();
    CHECK(strcmp(text, expected) == 0);

    locale_t other = newlocale(LC_ALL_MASK, n % 2 ? "C.UTF-8" : "C", 0);
    CHECK(other != 0);
    locale_t before = uselocale(other);
    wait();
    CHECK(uselocale(before) == other);
    freelocale(other);
    return 0;
}

static pthread_key_t key;
static int destroyed;

static void count(void *value) {
    free(value);
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
}

int make_key(void) { return pthread_key_create(&key, count); }

int use_key(int n, wait_fn *wait) {
    CHECK(pthread_getspecific(key) == NULL);
    int *value = malloc(sizeof *value);
    *value = n;
    CHECK(pthread_setspecific(key, value) == 0);
    wait();
    CHECK(*(int *)pthread_getspecific(key) == n);
    return 0;
}

int n_destroyed(void) { return __atomic_load_n(&destroyed, __ATOMIC_SEQ_CST); }

// The child has the calling thread only, and may end, or become another program.
int fork_and_exit(wait_fn *wait, int (*in_child)(void)) {
    errno = 77;
    pthread_t self = pthread_self();
    pid_t pid = fork();
    if (pid == 0) {
        if (errno != 77 || !pthread_equal(self, pthread_self()))
            _exit(1);
        _exit(in_child() == 0 ? 42 : 2);
    }
    CHECK(pid > 0);
    CHECK(errno == 77);
    int status;
    pid_t ended;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0)
        wait();
    CHECK(ended == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    return 0;
}

static void *return_it(void *value) { return value; }

// In a child: allocates, and makes threads.
int use_libc(void) {
    for (int n = 0; n < 100; n++) {
        char *memory = malloc(1 << (n % 20));
        CHECK(memory != NULL);
        memory[0] = 1;
        free(memory);
    }
    pthread_t thread;
    void *result;
    for (int n = 0; n < 20; n++) {
        CHECK(pthread_create(&thread, NULL, return_it, &thread) == 0);
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == &thread);
    }
    return 0;
}

int fork_and_exec(wait_fn *wait) {
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 43", (char *)0);
        _exit(1);
    }
    CHECK(pid > 0);
    int status;
    while (waitpid(pid, &status, WNOHANG) == 0)
        wait();
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 43);
    return 0;
}
