//! What the models have in place of the runtime: threads of the checker, which park.
//!
//! A wait is a real wait word (`park/word.rs`) and a condition variable of the checker's; one that
//! nobody ends is a deadlock, which the checker reports. A deadline, if there is one, passes as soon
//! as its thread would stop: all that others do before is tried, and that is all they do.

/// See `crate::park`.
pub(crate) mod park {
    use std::time::Duration;

    use loom::sync::{Arc, Condvar, Mutex};

    use super::cancel::Interrupt;
    use super::scheduler::Section;
    use crate::park::reason::Reason;
    use crate::park::word::{
        CLAIM_AGAIN, CLAIM_CANCEL, CLAIM_DEADLINE, CLAIM_TOKEN, CLAIM_WOKEN, Claim, Ends, WaitWord,
    };

    loom::thread_local! {
        static CURRENT: Arc<Thread> = Arc::new(Thread::new());
    }

    pub(crate) struct Thread {
        word: WaitWord,
        is_runnable: Mutex<bool>,
        made_runnable: Condvar,
    }

    impl Thread {
        fn new() -> Self {
            Thread {
                word: WaitWord::new(),
                is_runnable: Mutex::new(false),
                made_runnable: Condvar::new(),
            }
        }

        pub(crate) fn current() -> Arc<Thread> {
            CURRENT.with(Arc::clone)
        }

        fn make_runnable(&self) {
            *self.is_runnable.lock().unwrap() = true;
            self.made_runnable.notify_one();
        }

        fn stop(&self) {
            let mut is_runnable = self.is_runnable.lock().unwrap();
            while !std::mem::take(&mut *is_runnable) {
                is_runnable = self.made_runnable.wait(is_runnable).unwrap();
            }
        }

        pub(crate) fn cancel(&self) {
            if self.word.cancel() {
                self.make_runnable();
            }
        }
    }

    #[derive(Debug)]
    pub(crate) enum Ended {
        Woken(u32),
        Token,
        Deadline,
        Again,
        Interrupted(Interrupt),
    }

    #[derive(Clone)]
    pub(crate) struct Target(Arc<Thread>);

    impl Target {
        pub(crate) fn claim(&self, claim: Claim) -> Option<Wake> {
            // Counted before, as in the real one.
            let thread = Arc::clone(&self.0);
            thread.word.claim(claim).then_some(Wake(thread))
        }

        pub(crate) fn is(&self, other: &Target) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl std::fmt::Debug for Target {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Target")
        }
    }

    #[must_use]
    pub(crate) struct Wake(Arc<Thread>);

    impl Wake {
        pub(crate) fn wake(self) {
            self.0.make_runnable();
        }
    }

    impl std::fmt::Debug for Wake {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Wake")
        }
    }

    pub(crate) struct Episode {
        thread: Arc<Thread>,
        open: bool,
    }

    impl Episode {
        pub(crate) fn open(_: Reason, ends: Ends) -> Result<Self, Ended> {
            let thread = Thread::current();
            match thread.word.open(ends) {
                Ok(()) => Ok(Episode { thread, open: true }),
                Err(CLAIM_TOKEN) => Err(Ended::Token),
                Err(_) => Err(Ended::Interrupted(Interrupt::Cancelled)),
            }
        }

        pub(crate) fn open_locked(
            _: Option<Section>,
            reason: Reason,
            ends: Ends,
        ) -> Result<Self, Ended> {
            Self::open(reason, ends)
        }

        pub(crate) fn target(&self) -> Target {
            Target(Arc::clone(&self.thread))
        }

        pub(crate) fn park(mut self, deadline: Option<u64>) -> Ended {
            self.open = false;
            if deadline.is_none() || !self.thread.word.claim(CLAIM_DEADLINE) {
                self.thread.stop();
            }
            match self.thread.word.outcome().expect("its wait is over") {
                CLAIM_AGAIN => Ended::Again,
                CLAIM_TOKEN => Ended::Token,
                CLAIM_CANCEL => Ended::Interrupted(Interrupt::Cancelled),
                CLAIM_DEADLINE => Ended::Deadline,
                claim => Ended::Woken(claim - CLAIM_WOKEN),
            }
        }
    }

    impl Drop for Episode {
        fn drop(&mut self) {
            if self.open && !self.thread.word.close() {
                self.thread.stop();
            }
        }
    }

    pub(crate) fn give_way() {}

    pub(crate) fn os_yield() {
        loom::thread::yield_now();
    }

    pub(crate) fn os_sleep(_: Duration) {
        loom::thread::yield_now();
    }

    pub(crate) fn deadline_after(_: Duration) -> Option<u64> {
        Some(1)
    }
}

/// See `crate::cancel`.
pub(crate) mod cancel {
    use super::scheduler::Section;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Interrupt {
        Cancelled,
    }

    impl Interrupt {
        pub(crate) fn unwind(self) -> ! {
            std::panic::resume_unwind(Box::new(self));
        }
    }

    pub(crate) fn check(_: &Section) {}

    pub(crate) fn unwinds_by_interrupt() -> bool {
        std::thread::panicking()
    }
}

/// See `crate::clock`.
pub(crate) mod clock {
    use std::time::Instant;

    pub(crate) fn from_instant(_: Instant) -> Option<u64> {
        Some(1)
    }

    /// It is always the same time, so nobody has waited for long.
    pub(crate) fn monotonic() -> u64 {
        0
    }
}

/// See `crate::scheduler`. Nobody here is a green thread.
pub(crate) mod scheduler {
    pub(crate) enum Section {}

    impl Section {
        pub(crate) fn enter_green() -> Option<Section> {
            None
        }

        pub(crate) fn spend_credit(&self) {
            match *self {}
        }
    }

    pub(crate) enum Local {}

    impl Local {
        pub(crate) fn round_began(&self) -> u64 {
            match *self {}
        }
    }

    pub(crate) fn with_local<R>(_: impl FnOnce(&Local) -> R) -> Option<R> {
        None
    }
}

/// See `crate::lowlevel`: the real table, whose waiters are all here.
pub(crate) mod lowlevel {
    use std::pin::pin;
    use std::time::Instant;

    use super::park::{Ended, Episode, Target, Wake};
    use crate::futex::table::{Claim, Handed, Table, Waiter};
    use crate::park::reason::Reason;
    use crate::park::word::{CLAIM_WOKEN, Ends};
    use crate::primitive::atomic::AtomicU32;
    use crate::primitive::atomic::Ordering::{Relaxed, Release};

    loom::lazy_static! {
        static ref TABLE: Table<Target> = Table::new();
    }

    impl Claim for Target {
        type Wake = Wake;

        fn claim(&self, message: u32) -> Option<Wake> {
            Target::claim(self, CLAIM_WOKEN + message)
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum FutexWait {
        Changed,
        Woken,
        HandedOver,
    }

    pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _: Option<Instant>) -> FutexWait {
        wait(word, expected, false)
    }

    pub(crate) fn futex_wait_again(
        word: &AtomicU32,
        expected: u32,
        _: Option<Instant>,
    ) -> FutexWait {
        wait(word, expected, true)
    }

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    #[expect(unsafe_code, reason = "waiters are queued by their address")]
    fn wait(word: &AtomicU32, expected: u32, passed_over: bool) -> FutexWait {
        let Ok(episode) = Episode::open(Reason::FUTEX, Ends::default()) else {
            unreachable!("nothing ends it before it begins");
        };
        let waiter = pin!(Waiter::new(
            episode.target(),
            address(word),
            u32::MAX,
            0,
            passed_over
        ));
        let holds = || word.load(Relaxed) == expected;
        // SAFETY: it stops until it was woken.
        if !unsafe { TABLE.enqueue(waiter.as_ref(), holds) } {
            return FutexWait::Changed;
        }
        match episode.park(None) {
            Ended::Woken(0) => FutexWait::Woken,
            _ => FutexWait::HandedOver,
        }
    }

    pub(crate) fn futex_wake(word: &AtomicU32, n: usize) -> usize {
        let address = address(word);
        if !TABLE.may_have(address) {
            return 0;
        }
        TABLE.wake(address, n, u32::MAX, |woken| woken.wake.wake())
    }

    pub(crate) fn futex_hand_over(word: &AtomicU32, free: u32) {
        // Really a store. The checker does not know that none comes between what an exchange reads
        // and what it writes.
        let set = || drop(word.swap(free, Release));
        match TABLE.hand_over(address(word), |_, passed_over| passed_over, set) {
            Handed::Nobody => {}
            Handed::Woken(woken) | Handed::Over(woken) => woken.wake.wake(),
        }
    }

    pub(crate) fn on_green_thread() -> bool {
        true
    }

    pub(crate) fn spend_credit() {}
}
