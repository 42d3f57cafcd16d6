//! What those need who stand in for functions of libc.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use greenrt::lowlevel::{self, Io, futex_wait, futex_wake_at, in_user_code, interrupts_as_errors};
use greenrt::{Generator, spawn, timeout, yield_now};

use crate::support::{
    EXPECTED, HOUR, limited, on_each_runtime, on_each_runtime_and_off, panic_of, wait_until,
};

#[test]
fn user_code_is_that_of_green_threads() {
    limited(|| assert!(!in_user_code()));
    on_each_runtime(|| {
        assert!(in_user_code());
        assert!(!greenrt::offload(in_user_code));
        let mut generator = Generator::new(|yielder, ()| {
            yielder.yield_(in_user_code());
        });
        let inside = generator.resume(());
        assert!(matches!(inside, greenrt::GeneratorState::Yielded(true)));
    });
}

#[test]
fn a_signal_handler_on_a_stack_of_its_own_is_no_user_code() {
    #![expect(unsafe_code, reason = "handles a signal")]
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handler(_: libc::c_int) {
        SEEN.store(1 + u32::from(in_user_code()), SeqCst);
    }
    let handle = |flags| {
        // SAFETY: all zero is a valid one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        // SAFETY: the handler is async-signal-safe.
        let error =
            unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()) };
        assert_eq!(error, 0);
        // SAFETY: handled above.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        SEEN.swap(0, SeqCst)
    };
    on_each_runtime(move || {
        assert_eq!(handle(libc::SA_ONSTACK), 1);
        assert_eq!(handle(0), 2);
    });
}

#[test]
fn interrupts_are_errors() {
    on_each_runtime(|| {
        let sleeper = spawn(|| {
            interrupts_as_errors(|| {
                greenrt::sleep(HOUR);
                Ok(())
            })
        });
        yield_now();
        lowlevel::cancel(sleeper.thread());
        let error = match sleeper.join() {
            Ok(slept) => slept.unwrap_err(),
            // It had not begun.
            Err(_) => return,
        };
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    });
    on_each_runtime_and_off(|| {
        assert_eq!(interrupts_as_errors(|| Ok(7)).unwrap(), 7);
        let text = panic_of(|| interrupts_as_errors(|| -> io::Result<()> { panic!("{EXPECTED}") }));
        assert_eq!(text, EXPECTED);
    });
    on_each_runtime(|| {
        let limited = timeout(Duration::from_millis(1), || {
            interrupts_as_errors(|| {
                greenrt::sleep(HOUR);
                Ok(())
            })
        });
        assert_eq!(limited.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        // It is over then.
        greenrt::sleep(Duration::from_millis(1));
    });
}

#[test]
fn who_waits_for_what_is_not_watched_any_more_tries_again() {
    on_each_runtime(|| {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let io = Arc::new(Io::new(socket));
        let n_tries = Arc::new(AtomicU32::new(0));
        let reader = {
            let (io, n_tries) = (Arc::clone(&io), Arc::clone(&n_tries));
            spawn(move || {
                io.read_with(None, |mut socket| match n_tries.fetch_add(1, SeqCst) {
                    0 => socket.read(&mut [0]),
                    _ => Err(io::Error::other("closed")),
                })
            })
        };
        wait_until(|| n_tries.load(SeqCst) == 1);
        (0..3).for_each(|_| yield_now());
        io.stop_watching();
        assert_eq!(reader.join().unwrap().unwrap_err().kind(), ErrorKind::Other);
        peer.write_all(b"x").unwrap();
        io.stop_watching();
    });
}

#[test]
fn a_word_is_woken_by_its_address() {
    on_each_runtime(|| {
        let word = Arc::new(AtomicU32::new(0));
        let waiter = {
            let word = Arc::clone(&word);
            spawn(move || {
                while word.load(SeqCst) == 0 {
                    futex_wait(&word, 0, None);
                }
            })
        };
        yield_now();
        word.store(1, SeqCst);
        futex_wake_at(word.as_ptr().addr(), 1);
        waiter.join().unwrap();
    });
}
