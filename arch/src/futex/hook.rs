//! From libc's `syscall` to whoever answers, on Linux x86-64 with glibc.

use std::ffi::{c_int, c_long};
use std::hint::black_box;
use std::mem;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::{Condvar, Mutex, Once, OnceLock, PoisonError};
use std::time::Duration;

use super::{Answer, Call, Hook, Operation, Until};
use crate::errno;
use crate::os::futex;
use crate::peek;
use crate::syscall::{Entry, HOOK, syscall};

/// Who answers. Set before `HOOK`.
static ANSWERS: OnceLock<Hook> = OnceLock::new();

/// Has every private futex operation of the process answered by `hook`, from now on. `false`: the
/// function that std calls is not ours. Later calls change nothing.
///
/// In the child of a fork the kernel answers again, until the next call.
pub fn install(hook: Hook) -> bool {
    static FORK: Once = Once::new();
    if !is_linked() {
        return false;
    }
    ANSWERS.get_or_init(|| hook);
    // SAFETY: the function does one store.
    FORK.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(after_fork));
    });
    // Release: pairs with the acquire in `answer`.
    HOOK.store(answer as Entry as *mut (), Release);
    true
}

/// In the child: nobody else is left, and those who wait in our tables are the parent's.
extern "C" fn after_fork() {
    HOOK.store(ptr::null_mut(), Relaxed);
}

/// The addresses between which the probe waits, and the last futex that was seen there.
static PROBED: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

/// Whether the futex calls of std come to us. Found out once, by letting std make one.
#[must_use]
pub fn is_linked() -> bool {
    static LINKED: OnceLock<bool> = OnceLock::new();
    *LINKED.get_or_init(|| {
        // What keeps the function in the program.
        black_box(syscall as Entry);
        let pair = (Mutex::new(()), Condvar::new());
        let here = (&raw const pair).addr();
        let [from, to, seen] = &PROBED;
        from.store(here, Relaxed);
        to.store(here + mem::size_of_val(&pair), Relaxed);
        HOOK.store(probe as Entry as *mut (), Release);
        let guard = pair.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is up already, so this asks the kernel and returns.
        drop(pair.1.wait_timeout(guard, Duration::ZERO));
        HOOK.store(ptr::null_mut(), Release);
        seen.load(Relaxed) != 0
    })
}

/// Stands in for the kernel while `is_linked` looks.
unsafe extern "C" fn probe(
    _: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let [from, to, seen] = &PROBED;
    if (Range {
        start: from.load(Relaxed),
        end: to.load(Relaxed),
    })
    .contains(&a)
    {
        seen.store(a, Relaxed);
    }
    // SAFETY: what the caller has asked of libc.
    finish(Answer(unsafe { futex([a, b, c, d, e, f]) }))
}

/// What `HOOK` points to.
unsafe extern "C" fn answer(
    _: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let arguments = [a, b, c, d, e, f];
    let call = Operation::parse(arguments).map(|operation| Call {
        arguments,
        operation,
    });
    let Some((call, answers)) = call.zip(ANSWERS.get()) else {
        // SAFETY: what the caller has asked of libc.
        return finish(Answer(unsafe { futex(arguments) }));
    };
    let kept = errno::keep();
    let answer = answers(&call);
    drop(kept);
    finish(answer)
}

/// The answer as libc gives it.
fn finish(Answer(result): Answer) -> c_long {
    if (-4095..0).contains(&result) {
        // SAFETY: the address of the calling thread's `errno`.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { *errno = -result as c_int };
        return -1;
    }
    result as c_long
}

impl Operation {
    /// What is asked; `None`: something that only the kernel can answer, be it with an error.
    fn parse([word, op, value, time, other, value_3]: [usize; 6]) -> Option<Operation> {
        let op = op as c_int;
        let realtime = op & libc::FUTEX_CLOCK_REALTIME != 0;
        let command = op & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
        let count = |n: usize| usize::try_from(n as c_int).ok();
        if op & libc::FUTEX_PRIVATE_FLAG == 0 || !word.is_multiple_of(4) {
            return None;
        }
        match command {
            // A relative time on the clock that people set: the kernel takes it for an absolute one.
            libc::FUTEX_WAIT if realtime && time != 0 => None,
            libc::FUTEX_WAIT => Some(Operation::Wait {
                expected: value as u32,
                bits: u32::MAX,
                is_bitset: false,
            }),
            libc::FUTEX_WAIT_BITSET => Some(Operation::Wait {
                expected: value as u32,
                bits: value_3 as u32,
                is_bitset: true,
            }),
            _ if realtime => None,
            // The kernel wakes one even if asked for none.
            libc::FUTEX_WAKE => Some(Operation::Wake {
                n: count(value).unwrap_or(1).max(1),
                bits: u32::MAX,
            }),
            libc::FUTEX_WAKE_BITSET => Some(Operation::Wake {
                n: count(value).unwrap_or(1).max(1),
                bits: value_3 as u32,
            }),
            libc::FUTEX_REQUEUE | libc::FUTEX_CMP_REQUEUE if other.is_multiple_of(4) => {
                Some(Operation::Requeue {
                    n_wake: count(value)?,
                    n_move: count(time)?,
                    to: other,
                    expected: (command == libc::FUTEX_CMP_REQUEUE).then_some(value_3 as u32),
                })
            }
            _ => None,
        }
        .filter(|operation| match operation {
            Operation::Wait { bits, .. } | Operation::Wake { bits, .. } => *bits != 0,
            Operation::Requeue { .. } => true,
        })
    }
}

impl Call {
    /// What is to be done.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// The address of the word.
    #[must_use]
    pub fn address(&self) -> usize {
        self.arguments[0]
    }

    /// The word as it is now; `None` if it cannot be read.
    #[must_use]
    pub fn load(&self) -> Option<u32> {
        peek::word(self.address())
    }

    /// Until when to wait. An error: the kernel should say what is wrong with it.
    #[expect(clippy::result_unit_err, reason = "the kernel has the error")]
    pub fn until(&self) -> Result<Option<Until>, ()> {
        let [_, op, _, at, ..] = self.arguments;
        let is_realtime = op as c_int & libc::FUTEX_CLOCK_REALTIME != 0;
        let is_bitset = matches!(
            self.operation,
            Operation::Wait {
                is_bitset: true,
                ..
            }
        );
        if is_realtime && !is_bitset {
            // There is no such operation.
            return Err(());
        }
        if at == 0 {
            return Ok(None);
        }
        let half = |n: usize| peek::word(at.wrapping_add(4 * n)).map(u64::from);
        let field = |n: usize| Some((half(n)? | half(n + 1)? << 32).cast_signed());
        let (seconds, ns) = field(0).zip(field(2)).ok_or(())?;
        let seconds = u64::try_from(seconds).map_err(drop)?;
        let ns = u64::try_from(ns)
            .ok()
            .filter(|&ns| ns < 1_000_000_000)
            .ok_or(())?;
        // What the kernel cannot count it takes for the end of time, as we do.
        let ns = seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Ok(Some(match is_bitset {
            false => Until::After(ns),
            true if is_realtime => Until::Realtime(ns),
            true => Until::Monotonic(ns),
        }))
    }

    /// Lets the kernel answer.
    #[must_use]
    pub fn ask_kernel(&self) -> Answer {
        // SAFETY: what the caller has asked of libc.
        Answer(unsafe { futex(self.arguments) })
    }

    /// Waits in the kernel, for at most `ns`; whatever time is in the call does not count.
    #[must_use]
    pub fn wait_in_kernel(&self, expected: u32, bits: u32, ns: u64) -> Answer {
        let at = crate::clock::monotonic_ns().saturating_add(ns);
        let time = [at / 1_000_000_000, at % 1_000_000_000];
        let op = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
        let time = time.as_ptr().expose_provenance();
        let (value, bits) = (expected as usize, bits as usize);
        // SAFETY: what the caller has asked of libc, with a time that is there.
        Answer(unsafe { futex([self.address(), op as usize, value, time, 0, bits]) })
    }

    /// Lets the kernel answer for so many only; and of those to move, if that is what is asked.
    #[must_use]
    pub fn ask_kernel_for(&self, n: usize, n_move: usize) -> Answer {
        let mut arguments = self.arguments;
        arguments[2] = n;
        if matches!(self.operation, Operation::Requeue { .. }) {
            arguments[3] = n_move;
        }
        // SAFETY: what the caller has asked of libc, but for the counts.
        Answer(unsafe { futex(arguments) })
    }
}
