// A library with thread-locals, which is opened while green threads live.

#ifdef INITIAL_EXEC
#define MODEL __attribute__((tls_model("initial-exec")))
#else
#define MODEL
#endif

static MODEL __thread int counter = COUNTER;
static MODEL __thread int zero;
static MODEL __thread char text[32] = "fresh";

// Whether the caller's are as they were written; then they are changed.
int is_fresh(void) {
    int fresh = counter == COUNTER && zero == 0 && text[0] == 'f' && text[4] == 'h' && text[31] == 0;
    counter = -1;
    zero = 1;
    text[0] = text[31] = 'x';
    return fresh;
}

// Sets the caller's, and says what it was.
int exchange(int value) {
    int before = counter;
    counter = value;
    return before;
}
