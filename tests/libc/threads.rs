//! Std's threads, which are green.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock};
use std::thread;
use std::time::Duration;

use crate::support::{n_os_threads, tests, wait_until};

tests! {
    a_thread_is_green
    a_thousand_threads_are_no_os_threads
    results_and_panics_come_by_join
    names_and_ids
    each_has_its_thread_locals
    thread_locals_are_destroyed_before_join_returns
    destructors_may_wait_and_ask_who_they_are
    scopes
    stacks_are_as_large_as_asked
    a_stack_too_large_for_a_green_thread_makes_an_os_thread
    locks_and_conditions
    channels
    a_barrier_of_all
    parking
    a_dropped_handle_detaches
    those_that_main_asks_for_stay_os_threads
    pthread_keys_are_destroyed
    c_threads_know_themselves
    c_threads_have_names
    c_threads_are_joined_once
    a_panic_in_one_thread_is_not_seen_in_another
    c_threads_exit_anywhere
    c_threads_are_joined_in_time
    what_green_threads_do_not_have_is_an_error
}

fn a_thread_is_green() {
    assert!(greenrt::lowlevel::on_green_thread());
    assert!(
        thread::spawn(greenrt::lowlevel::on_green_thread)
            .join()
            .unwrap()
    );
}

fn a_thousand_threads_are_no_os_threads() {
    let all_here = Arc::new(Barrier::new(1001));
    let n_before = n_os_threads();
    let threads: Vec<_> = (0..1000)
        .map(|_| {
            let all_here = Arc::clone(&all_here);
            thread::spawn(move || all_here.wait())
        })
        .collect();
    // Those of the pool may end meanwhile.
    wait_until(|| threads.iter().all(|thread| !thread.is_finished()));
    assert!(n_os_threads() <= n_before);
    all_here.wait();
    threads
        .into_iter()
        .for_each(|thread| _ = thread.join().unwrap());
}

fn results_and_panics_come_by_join() {
    assert_eq!(thread::spawn(|| 6 * 7).join().unwrap(), 42);
    let quiet = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let number = std::hint::black_box(1);
    let payload = thread::spawn(move || panic!("text {number}"))
        .join()
        .unwrap_err();
    panic::set_hook(quiet);
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "text 1");
}

fn names_and_ids() {
    let named = thread::Builder::new().name("a name".into());
    let named = named.spawn(|| {
        (
            thread::current().id(),
            thread::current().name().map(String::from),
        )
    });
    let named = named.unwrap();
    let id = named.thread().id();
    assert_eq!(named.thread().name(), Some("a name"));
    assert_eq!(named.join().unwrap(), (id, Some("a name".into())));
    let ids: HashSet<_> = (0..100)
        .map(|_| thread::spawn(|| thread::current().id()).join().unwrap())
        .collect();
    assert_eq!(ids.len(), 100);
    // The worker's own name is not touched.
    let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    assert!(comm.starts_with("greenrt-"), "{comm}");
}

fn each_has_its_thread_locals() {
    thread_local!(static OWN: Cell<usize> = const { Cell::new(0) });
    let threads: Vec<_> = (1..100)
        .map(|n| {
            thread::spawn(move || {
                assert_eq!(OWN.replace(n), 0);
                thread::sleep(Duration::from_millis(1));
                OWN.get()
            })
        })
        .collect();
    assert!(
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .eq(1..100)
    );
}

fn thread_locals_are_destroyed_before_join_returns() {
    static N_DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            thread::yield_now();
            N_DROPPED.fetch_add(1, SeqCst);
        }
    }
    thread_local!(static OWN: RefCell<Option<Counted>> = const { RefCell::new(None) });
    N_DROPPED.store(0, SeqCst);
    for n in 1..=100 {
        thread::spawn(|| OWN.set(Some(Counted))).join().unwrap();
        assert_eq!(N_DROPPED.load(SeqCst), n);
    }
}

fn destructors_may_wait_and_ask_who_they_are() {
    #![expect(unsafe_code, reason = "asks libc")]
    struct Asks(usize);
    impl Drop for Asks {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(1));
            // SAFETY: no conditions.
            assert_eq!(unsafe { libc::pthread_self() } as usize, self.0);
        }
    }
    thread_local!(static OWN: RefCell<Option<Asks>> = const { RefCell::new(None) });
    let threads = (0..20).map(|_| {
        thread::spawn(|| {
            // SAFETY: no conditions.
            OWN.set(Some(Asks(unsafe { libc::pthread_self() } as usize)));
        })
    });
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn scopes() {
    let mut numbers = vec![1, 2, 3];
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in &mut numbers {
            let sum = &sum;
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(1));
                *number *= 2;
                sum.fetch_add(*number, Relaxed);
            });
        }
    });
    assert_eq!(numbers, [2, 4, 6]);
    assert_eq!(sum.into_inner(), 12);
}

fn stacks_are_as_large_as_asked() {
    fn deep(n: usize) -> usize {
        let page = std::hint::black_box([1_u8; 1024]);
        if n == 0 {
            0
        } else {
            deep(n - 1) + usize::from(page[n % 1024])
        }
    }
    for bytes in [64 << 10, 1 << 20, 2 << 20, 8 << 20] {
        let builder = thread::Builder::new().stack_size(bytes);
        let thread = builder.spawn(move || {
            assert!(greenrt::lowlevel::on_green_thread());
            deep(bytes / 4096)
        });
        assert_eq!(thread.unwrap().join().unwrap(), bytes / 4096);
    }
}

fn a_stack_too_large_for_a_green_thread_makes_an_os_thread() {
    let builder = thread::Builder::new().stack_size(16 << 20);
    let thread = builder.spawn(greenrt::lowlevel::on_green_thread).unwrap();
    assert!(!thread.join().unwrap());
}

fn locks_and_conditions() {
    let shared = Arc::new((
        Mutex::new(0),
        Condvar::new(),
        RwLock::new(0),
        OnceLock::new(),
    ));
    let threads: Vec<_> = (0..50)
        .map(|n| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (count, changed, doubled, once) = &*shared;
                once.get_or_init(|| thread::sleep(Duration::from_millis(1)));
                let mut count = count.lock().unwrap();
                while *count != n {
                    count = changed.wait(count).unwrap();
                }
                *count += 1;
                thread::yield_now();
                *doubled.write().unwrap() += 2;
                changed.notify_all();
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(*shared.0.lock().unwrap(), 50);
    assert_eq!(*shared.2.read().unwrap(), 100);
}

fn channels() {
    let (sender, receiver) = sync_channel(3);
    let (back, answers) = channel();
    let echo = thread::spawn(move || {
        receiver
            .into_iter()
            .for_each(|n: u32| back.send(n + 1).unwrap())
    });
    for n in 0..1000 {
        sender.send(n).unwrap();
    }
    drop(sender);
    assert!(answers.into_iter().eq(1..=1000));
    echo.join().unwrap();
}

fn a_barrier_of_all() {
    let barrier = Arc::new(Barrier::new(64));
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || (0..10).filter(|_| barrier.wait().is_leader()).count())
        })
        .collect();
    let leaders: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(leaders, 10);
}

fn parking() {
    let parked = thread::spawn(|| {
        thread::park();
        thread::park_timeout(Duration::from_millis(1));
        7
    });
    thread::sleep(Duration::from_millis(1));
    parked.thread().unpark();
    assert_eq!(parked.join().unwrap(), 7);
}

fn a_dropped_handle_detaches() {
    let (sender, receiver) = channel();
    for n in 0..100 {
        let sender = sender.clone();
        drop(thread::spawn(move || {
            thread::yield_now();
            sender.send(n).unwrap();
        }));
    }
    drop(sender);
    let mut came: Vec<_> = receiver.into_iter().collect();
    came.sort_unstable();
    assert!(came.into_iter().eq(0..100));
}

fn those_that_main_asks_for_stay_os_threads() {
    let (sender, receiver) = channel();
    let os = greenlibc::os_threads(|| {
        thread::spawn(move || {
            // It waits in the kernel, for a green thread.
            let n: u32 = receiver.recv().unwrap();
            (greenrt::lowlevel::on_green_thread(), n)
        })
    });
    thread::sleep(Duration::from_millis(2));
    sender.send(3).unwrap();
    wait_until(|| os.is_finished());
    assert_eq!(os.join().unwrap(), (false, 3));
}

fn pthread_keys_are_destroyed() {
    #![expect(unsafe_code, reason = "asks libc")]
    static N_DESTROYED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn destroy(value: *mut libc::c_void) {
        N_DESTROYED.fetch_add(value as usize, SeqCst);
    }
    let mut key = 0;
    // SAFETY: room for the key.
    let error = unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) };
    assert_eq!(error, 0);
    for n in 1..=10 {
        let thread = thread::spawn(move || {
            // SAFETY: made above.
            assert!(unsafe { libc::pthread_getspecific(key) }.is_null());
            // SAFETY: made above.
            unsafe { libc::pthread_setspecific(key, 2 as *const libc::c_void) };
            thread::yield_now();
            // SAFETY: made above.
            unsafe { libc::pthread_getspecific(key) as usize }
        });
        assert_eq!(thread.join().unwrap(), 2);
        assert_eq!(N_DESTROYED.load(SeqCst), 2 * n);
    }
}

#[expect(unsafe_code, reason = "makes threads as C does")]
mod c {
    use std::ptr;

    pub(super) extern "C" fn itself(_: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: no conditions.
        unsafe { libc::sched_yield() };
        // SAFETY: no conditions.
        let this = unsafe { libc::pthread_self() };
        ptr::without_provenance_mut(this as usize)
    }

    pub(super) fn create(
        routine: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
    ) -> libc::pthread_t {
        let mut thread = 0;
        // SAFETY: room for the thread, and it takes no argument.
        let error =
            unsafe { libc::pthread_create(&raw mut thread, ptr::null(), routine, ptr::null_mut()) };
        assert_eq!(error, 0);
        thread
    }

    pub(super) fn join(thread: libc::pthread_t) -> usize {
        let mut value = ptr::null_mut();
        // SAFETY: created, and joined nowhere else.
        assert_eq!(unsafe { libc::pthread_join(thread, &raw mut value) }, 0);
        value as usize
    }
}

fn c_threads_know_themselves() {
    let threads: Vec<_> = (0..50).map(|_| c::create(c::itself)).collect();
    assert_eq!(threads.iter().collect::<HashSet<_>>().len(), 50);
    for thread in threads {
        assert_eq!(c::join(thread), thread as usize);
    }
}

fn c_threads_have_names() {
    #![expect(unsafe_code, reason = "asks libc")]
    let name_of = |thread| {
        let mut name = [0_u8; 16];
        // SAFETY: as much room as is said.
        let error = unsafe { libc::pthread_getname_np(thread, name.as_mut_ptr().cast(), 16) };
        assert_eq!(error, 0);
        std::ffi::CStr::from_bytes_until_nul(&name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_string()
    };
    let named = thread::Builder::new().name("only fifteen bytes of it".into());
    // SAFETY: no conditions.
    let named = named.spawn(move || name_of(unsafe { libc::pthread_self() }));
    assert_eq!(named.unwrap().join().unwrap(), "only fifteen by");
    let thread = c::create(c::itself);
    assert_eq!(name_of(thread), "");
    // SAFETY: a name, and a thread that was not joined.
    let error = unsafe { libc::pthread_setname_np(thread, c"given".as_ptr()) };
    assert_eq!(error, 0);
    assert_eq!(name_of(thread), "given");
    // SAFETY: as above.
    let error = unsafe { libc::pthread_setname_np(thread, c"longer than it may be".as_ptr()) };
    assert_eq!(error, libc::ERANGE);
    c::join(thread);
}

fn c_threads_are_joined_once() {
    #![expect(unsafe_code, reason = "asks libc")]
    // SAFETY: the caller's own.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the caller itself, which is refused.
    let error = unsafe { libc::pthread_join(this, std::ptr::null_mut()) };
    assert_eq!(error, libc::EDEADLK);
    let thread = c::create(c::itself);
    // SAFETY: not joined yet.
    while unsafe { libc::pthread_tryjoin_np(thread, std::ptr::null_mut()) } == libc::EBUSY {
        thread::yield_now();
    }
    let thread = c::create(c::itself);
    // SAFETY: not joined yet.
    assert_eq!(unsafe { libc::pthread_kill(thread, 0) }, 0);
    // SAFETY: not joined yet.
    assert_eq!(unsafe { libc::pthread_detach(thread) }, 0);
}

fn a_panic_in_one_thread_is_not_seen_in_another() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(thread::panicking());
            thread::sleep(Duration::from_millis(5));
            assert!(thread::panicking());
        }
    }
    let thread = thread::spawn(|| {
        let _waits = Waits;
        panic::resume_unwind(Box::new(1));
    });
    while !thread.is_finished() {
        assert!(!thread::panicking());
        thread::yield_now();
    }
    assert!(thread.join().is_err());
}

fn c_threads_exit_anywhere() {
    #![expect(unsafe_code, reason = "asks libc")]
    extern "C-unwind" fn deep(n: usize) {
        if n == 0 {
            let exit: extern "C-unwind" fn(*mut libc::c_void) -> ! =
                // SAFETY: the same but for what is said of unwinding.
                unsafe { std::mem::transmute(libc::pthread_exit as *const ()) };
            exit(std::ptr::without_provenance_mut(11));
        }
        deep(n - 1);
    }
    extern "C-unwind" fn begin(_: *mut libc::c_void) -> *mut libc::c_void {
        deep(10);
        std::ptr::null_mut()
    }
    let begin: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void =
        // SAFETY: as above.
        unsafe { std::mem::transmute(begin as *const ()) };
    assert_eq!(c::join(c::create(begin)), 11);
}

fn c_threads_are_joined_in_time() {
    #![expect(unsafe_code, reason = "asks libc")]
    extern "C" fn sleeps(_: *mut libc::c_void) -> *mut libc::c_void {
        thread::sleep(Duration::from_millis(20));
        std::ptr::without_provenance_mut(3)
    }
    let thread = c::create(sleeps);
    let past = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    // SAFETY: not joined yet.
    let error =
        unsafe { libc::pthread_timedjoin_np(thread, std::ptr::null_mut(), &raw const past) };
    assert_eq!(error, libc::ETIMEDOUT);
    let never = libc::timespec {
        tv_sec: 1 << 40,
        tv_nsec: 0,
    };
    let mut value = std::ptr::null_mut();
    // SAFETY: not joined yet.
    let error = unsafe { libc::pthread_timedjoin_np(thread, &raw mut value, &raw const never) };
    assert_eq!((error, value as usize), (0, 3));
}

fn what_green_threads_do_not_have_is_an_error() {
    #![expect(unsafe_code, reason = "asks libc")]
    // SAFETY: no conditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: a thread that runs.
    assert_eq!(unsafe { libc::pthread_cancel(this) }, libc::ENOSYS);
    let mut clock = 0;
    // SAFETY: a thread that runs, and room for the clock.
    let error = unsafe { libc::pthread_getcpuclockid(this, &raw mut clock) };
    assert_eq!(error, libc::ENOENT);
    // SAFETY: all zero is the empty set.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: a thread that runs, and room for the set.
    let error =
        unsafe { libc::pthread_getaffinity_np(this, size_of::<libc::cpu_set_t>(), &raw mut set) };
    // SAFETY: a set.
    let n = unsafe { libc::CPU_COUNT(&set) };
    assert!(error == 0 && n > 0);
}
