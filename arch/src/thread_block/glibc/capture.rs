//! The thread that is looked at.
//!
//! [`Capture::take`] starts one OS thread, which copies its area before it does anything and then
//! looks which words change at what. Afterwards it is judged whether what was seen is understood.
//!
//! # Rule
//!
//! A change is taken for the thread's own doing, so nobody else may write into its area between two
//! looks, or a word of libc's would be copied from thread to thread that belongs to one of them:
//!
//! - Signals are blocked in it.
//! - Its creator touches nothing of it while it looks: it begins when `pthread_create` has returned,
//!   and is joined when it has done.
//! - Threads that begin and end next to it in libc's list of threads write its links, which are known
//!   and not looked at.
//! - Whatever else another thread may write (a debugger's flags, a change of user and group) is not
//!   seen twice at the same place: what is learned counts when two threads in a row have said it.

#![expect(unsafe_code, reason = "reads the area of a thread")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::super::Unavailable;
use super::symbols::{self, Symbols};
use super::{TRAVELLERS_MAX, fs};
use crate::os::raw;

/// Changed words that a look can report; more are only counted.
const CHANGES_MAX: usize = 8;

/// Threads that are looked at until two in a row agree, at most.
const LOOKS_MAX: usize = 16;

/// Offsets from the thread pointer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Changes {
    n: usize,
    at: [isize; CHANGES_MAX],
}

impl Changes {
    fn all(&self) -> Option<&[isize]> {
        self.at.get(..self.n)
    }

    /// The word that changed, if it was one.
    fn single(&self) -> Option<isize> {
        (self.n == 1).then_some(self.at[0])
    }
}

/// What the template's thread reads and writes.
pub(super) struct Capture<'a> {
    symbols: &'a Symbols,
    /// The copy: from the lowest static thread-local to the end of `struct pthread`.
    pub(super) area: Vec<usize>,
    /// The same as it was at the last look.
    last: Vec<usize>,
    key: libc::pthread_key_t,

    /// Address of this record, which the thread's own record has too.
    arg: usize,
    tp: usize,
    tid: c_int,
    stack: Result<Stack, c_int>,
    seen: Seen,
}

/// Which words have changed at what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Seen {
    malloc: Changes,
    getrandom: Changes,
    /// What a second malloc and `getrandom` change: nothing.
    again: Changes,
    specific: Changes,
    strerror: Changes,
    strsignal: Changes,
    dlerror: Changes,
    dlerror_again: Changes,
}

/// As `pthread_getattr_np` says.
#[derive(Clone, Copy, Default, Debug)]
struct Stack {
    low: usize,
    bytes: usize,
    guard_bytes: usize,
}

impl<'a> Capture<'a> {
    /// Runs threads, one after another, until two in a row have said the same.
    pub(super) fn take(symbols: &'a Symbols) -> Result<Capture<'a>, Unavailable> {
        let mut last = Capture::take_one(symbols)?;
        for _ in 1..LOOKS_MAX {
            let before = mem::replace(&mut last, Capture::take_one(symbols)?);
            if before.seen == last.seen {
                return Ok(last);
            }
        }
        Err(Unavailable::new(format!(
            "this libc is unknown: no two threads of {LOOKS_MAX} change the same words"
        )))
    }

    /// Runs a thread, to its end.
    fn take_one(symbols: &'a Symbols) -> Result<Capture<'a>, Unavailable> {
        let n_words = (symbols.below() + symbols.pthread_bytes) / size_of::<usize>();
        let mut capture = Capture {
            symbols,
            area: vec![0; n_words],
            last: vec![0; n_words],
            key: new_key()?,
            arg: 0,
            tp: 0,
            tid: 0,
            stack: Err(0),
            seen: Seen::default(),
        };
        let result = run_thread(symbols, &mut capture);
        // SAFETY: our key, with no destructor.
        unsafe { libc::pthread_key_delete(capture.key) };
        result?;
        capture.check_descriptions()?;
        Ok(capture)
    }

    fn run(&mut self) {
        self.arg = ptr::from_ref(self).addr();
        self.tp = fs::base();
        // SAFETY: this thread's own area is as large as the static thread-locals of a thread.
        unsafe { ptr::copy_nonoverlapping(self.live(), self.area.as_mut_ptr(), self.area.len()) };
        self.last.copy_from_slice(&self.area);

        self.symbols.malloc_and_free();
        self.seen.malloc = self.changes();

        get_random_byte();
        self.seen.getrandom = self.changes();

        self.symbols.malloc_and_free();
        get_random_byte();
        self.seen.again = self.changes();

        // SAFETY: the key is ours.
        unsafe { libc::pthread_setspecific(self.key, self.key_data()) };
        self.seen.specific = self.changes();

        // SAFETY: answers for any number.
        unsafe { libc::strerror(4_000_000) };
        self.seen.strerror = self.changes();
        // SAFETY: answers for any number.
        unsafe { libc::strsignal(4_000_000) };
        self.seen.strsignal = self.changes();

        symbols::global(c"greenrt: there is no such symbol");
        self.seen.dlerror = self.changes();
        forget_dlerror();
        self.seen.dlerror_again = self.changes();

        self.stack = self.own_stack();
        // SAFETY: asks only.
        self.tid = unsafe { libc::gettid() };
    }

    fn live(&self) -> *const usize {
        ptr::with_exposed_provenance(self.tp - self.symbols.below())
    }

    /// A datum that no other word has.
    fn key_data(&self) -> *const c_void {
        self.last.as_ptr().cast()
    }

    /// Which words have changed since the last look. `errno` does not count, nor where the kernel
    /// notes the CPU, nor the links of libc's list of threads.
    fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let list = self.symbols.list as isize;
        let links = list..list + 2 * size_of::<usize>() as isize;
        // SAFETY: asks only.
        let errno = unsafe { libc::__errno_location() }.addr() & !7;
        let kernels = self.symbols.rseq.clone().unwrap_or(0..0);
        for idx in 0..self.last.len() {
            // SAFETY: a word of this thread's area.
            let word = unsafe { self.live().wrapping_add(idx).read_volatile() };
            let before = mem::replace(&mut self.last[idx], word);
            let at = idx * size_of::<usize>();
            let offset = at as isize - self.symbols.below() as isize;
            let is_ours = self.live().addr() + at != errno
                && !kernels.contains(&offset)
                && !links.contains(&offset);
            if word != before && is_ours {
                if let Some(place) = changes.at.get_mut(changes.n) {
                    *place = offset;
                }
                changes.n += 1;
            }
        }
        changes
    }

    fn own_stack(&self) -> Result<Stack, c_int> {
        let mut attr = MaybeUninit::<libc::pthread_attr_t>::zeroed();
        // SAFETY: asks only.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: a place for attributes.
        let error = unsafe { self.symbols.pthread_getattr_np()(this, attr.as_mut_ptr()) };
        if error != 0 {
            return Err(error);
        }
        let mut low = ptr::null_mut();
        let mut stack = Stack::default();
        // SAFETY: attributes, and places for the answers.
        unsafe { libc::pthread_attr_getstack(attr.as_ptr(), &mut low, &mut stack.bytes) };
        // SAFETY: as above.
        unsafe { libc::pthread_attr_getguardsize(attr.as_ptr(), &mut stack.guard_bytes) };
        // SAFETY: initialised above, not used any more.
        unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
        stack.low = low.addr();
        Ok(stack)
    }

    /// The word of the copy at this offset from the thread pointer.
    fn word(&self, offset: usize) -> usize {
        self.area[(self.symbols.below() + offset) / size_of::<usize>()]
    }

    fn check_descriptions(&self) -> Result<(), Unavailable> {
        let symbols = self.symbols;
        let wrong = |what: &str| Err(Unavailable::new(format!("this libc is unknown: {what}")));
        if !self
            .tp
            .is_multiple_of(symbols.align.max(size_of::<usize>()))
        {
            return wrong("a thread pointer that is not aligned");
        }
        if self.word(0) != self.tp || self.word(0x10) != self.tp {
            return wrong("a thread that does not begin with its own address");
        }
        let tid = self.word(symbols.tid & !7) >> (symbols.tid % 8 * 8);
        if tid as u32 != self.tid as u32 {
            return wrong("the thread's id is not where it should be");
        }
        if self.word(symbols.specific.start) < self.tp {
            return wrong("the table of thread-specific data");
        }
        // If it was the first block of the table that changed, it is understood.
        if (self.key as usize) < symbols.level2_keys {
            let block = self.word(symbols.specific.start) - self.tp;
            let at = block + self.key as usize * symbols.datum_bytes + symbols.datum_data;
            let datum = self.last.get((symbols.below() + at) / 8);
            if datum != Some(&self.key_data().addr()) {
                return wrong("thread-specific data is not where it should be");
            }
        }
        Ok(())
    }

    /// Offset of the four words that give the stack's bounds.
    pub(super) fn stack_fields(&self) -> Result<usize, Unavailable> {
        let stack = self.stack.map_err(|error| {
            let error = io::Error::from_raw_os_error(error);
            Unavailable::new(format!("pthread_getattr_np on a new thread: {error}"))
        })?;
        let first = self.symbols.below() / size_of::<usize>();
        let mut found = self.area[first..]
            .windows(4)
            .enumerate()
            .filter(|(_, words)| {
                let &[low, bytes, guard_bytes, guard_asked] = *words else {
                    return false;
                };
                low.checked_add(guard_bytes) == Some(stack.low)
                    && low.checked_add(bytes) == Some(stack.low + stack.bytes)
                    && guard_asked == stack.guard_bytes
            });
        match (found.next(), found.next()) {
            (Some((idx, _)), None) => Ok(idx * size_of::<usize>()),
            _ => Err(Unavailable::new(format!(
                "this libc is unknown: {stack:x?} is not in the thread's record"
            ))),
        }
    }

    /// Clears what points to the thread's stack, and returns the words that point into the area:
    /// their offset in it, and the distance of what they point to from the thread pointer.
    pub(super) fn detach(&mut self) -> Vec<(usize, isize)> {
        let area = self.tp - self.symbols.below()..self.tp + self.symbols.pthread_bytes;
        let stack = self.stack.unwrap_or_default();
        let stack = stack.low - stack.guard_bytes..stack.low + stack.bytes;
        let start = (body as *const ()).addr();
        let mut relative = Vec::new();
        for (idx, word) in self.area.iter_mut().enumerate() {
            if area.contains(word) {
                let distance = word.wrapping_sub(self.tp) as isize;
                relative.push((idx * size_of::<usize>(), distance));
            } else if stack.contains(word) || *word == start || *word == self.arg {
                *word = 0;
            }
        }
        relative
    }

    /// Words that are null until libc keeps memory there that `free` frees.
    pub(super) fn owners(&self) -> Vec<isize> {
        let is_null = |&at: &isize| {
            let at = self.symbols.below().wrapping_add_signed(at);
            self.area[at / size_of::<usize>()] == 0
        };
        let words = [self.seen.strerror.single(), self.seen.strsignal.single()];
        words.into_iter().flatten().filter(is_null).collect()
    }

    /// The word that says whether `dlerror` has a message, if asking for that has cleared it.
    pub(super) fn dlerror(&self) -> Option<isize> {
        let at = self.seen.dlerror.single()?;
        (self.seen.dlerror_again.single() == Some(at)).then_some(at)
    }

    /// The words of malloc and `getrandom`.
    pub(super) fn travellers(&self) -> Result<Vec<isize>, Unavailable> {
        let mut all = Vec::new();
        for changes in [self.seen.malloc, self.seen.getrandom] {
            let words = changes.all().unwrap_or_default();
            if changes.n > words.len() || all.len() + words.len() > TRAVELLERS_MAX {
                return Err(Unavailable::new(format!(
                    "this libc is unknown: {} words of a thread change at its first allocation",
                    changes.n
                )));
            }
            all.extend_from_slice(words);
        }
        if self.seen.again.n != 0 {
            return Err(Unavailable::new(format!(
                "this libc is unknown: {} words of a thread change at its second allocation",
                self.seen.again.n
            )));
        }
        Ok(all)
    }

    /// The byte behind the table of thread-specific data, if that is what has become 1.
    pub(super) fn specific_used(&self) -> Option<usize> {
        let at = self.symbols.specific.end;
        let after = self.last.get((self.symbols.below() + at) / 8)?;
        let changed = self.seen.specific.all()?.contains(&(at as isize));
        (changed && self.word(at) & 0xff == 0 && after & 0xff == 1).then_some(at)
    }
}

fn new_key() -> Result<libc::pthread_key_t, Unavailable> {
    let mut key = 0;
    // SAFETY: a place for a key.
    match unsafe { libc::pthread_key_create(&mut key, None) } {
        0 => Ok(key),
        error => Err(Unavailable::new(format!(
            "no key for thread-specific data: {}",
            io::Error::from_raw_os_error(error)
        ))),
    }
}

/// What the template's thread and its creator tell each other, in this order.
mod turn {
    pub(super) const CREATED: u32 = 1;
    pub(super) const LOOKED: u32 = 2;
}

/// What the template's thread is given.
struct Task<'a, 'b> {
    capture: &'b mut Capture<'a>,
    turn: &'b AtomicU32,
}

/// Waits until it is `turn`. Touches no thread-local.
fn wait_for(word: &AtomicU32, turn: u32) {
    loop {
        let now = word.load(Acquire);
        if now == turn {
            return;
        }
        let wait = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
        let address = word.as_ptr().expose_provenance();
        // SAFETY: waits while the word is `now`; whatever ends it, the word is looked at again.
        unsafe { raw::futex([address, wait, now as usize, 0, 0, 0]) };
    }
}

/// Says that it is `turn`. Touches no thread-local.
fn begin(word: &AtomicU32, turn: u32) {
    // Release: pairs with the Acquire in `wait_for`, so what was done before is seen there.
    word.store(turn, Release);
    let wake = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: wakes whoever waits.
    unsafe { raw::futex([word.as_ptr().expose_provenance(), wake, 1, 0, 0, 0]) };
}

/// Runs `capture` in a thread of its own, to its end, with signals blocked.
fn run_thread(symbols: &Symbols, capture: &mut Capture<'_>) -> Result<(), Unavailable> {
    let failed = |error: c_int| {
        let error = io::Error::from_raw_os_error(error);
        Unavailable::new(format!("no thread to copy: {error}"))
    };
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: a place for attributes.
    unsafe { libc::pthread_attr_init(attr.as_mut_ptr()) };
    // The default stack size may be too small, if the limit on stacks is.
    let bytes = (symbols.static_bytes + 512 * 1024).next_multiple_of(crate::page::size());
    // SAFETY: initialised above.
    unsafe { libc::pthread_attr_setstacksize(attr.as_mut_ptr(), bytes) };
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a place for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: a set, and a place for one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let mut thread = 0;
    let turn = AtomicU32::new(0);
    let mut task = Task {
        capture,
        turn: &turn,
    };
    let arg = ptr::from_mut(&mut task).cast::<c_void>();
    // SAFETY: the thread is joined before `task` ends.
    let error = unsafe { symbols.pthread_create()(&mut thread, attr.as_ptr(), body, arg) };
    // SAFETY: initialised above, not used any more.
    unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
    let joined = match error {
        0 => {
            begin(&turn, turn::CREATED);
            wait_for(&turn, turn::LOOKED);
            // SAFETY: created above, joined once.
            unsafe { symbols.pthread_join()(thread, ptr::null_mut()) }
        }
        _ => 0,
    };
    // SAFETY: filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    match (error, joined) {
        (0, 0) => Ok(()),
        (0, error) | (error, _) => Err(failed(error)),
    }
}

/// The template's thread.
extern "C" fn body(task: *mut c_void) -> *mut c_void {
    // SAFETY: `run_thread` passes one, which it does not touch until it has joined this thread.
    let task = unsafe { &mut *task.cast::<Task<'_, '_>>() };
    wait_for(task.turn, turn::CREATED);
    task.capture.run();
    begin(task.turn, turn::LOOKED);
    ptr::null_mut()
}

/// For what libc keeps of it.
fn get_random_byte() {
    let mut byte = 0_u8;
    // SAFETY: a place for one byte.
    unsafe { libc::getrandom((&raw mut byte).cast(), 1, libc::GRND_NONBLOCK) };
}

/// Frees what `dlerror` has to say, by asking for it and asking again.
pub(super) fn forget_dlerror() {
    for _ in 0..2 {
        // SAFETY: the answer is not used.
        unsafe { libc::dlerror() };
    }
}
