//! What libc sees.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use crate::green::{Green, errno, set_errno, this_thread};
use crate::testing::{assert_done, in_child, time_limit};

unsafe extern "C" {
    fn flockfile(file: *mut libc::FILE);
    fn ftrylockfile(file: *mut libc::FILE) -> c_int;
    fn funlockfile(file: *mut libc::FILE);
    safe fn __res_state() -> *mut c_void;
    safe fn __h_errno_location() -> *mut c_int;
    safe fn __ctype_b_loc() -> *const *const u16;
}

/// `LC_GLOBAL_LOCALE`
const GLOBAL_LOCALE: libc::locale_t = ptr::without_provenance_mut(usize::MAX);

#[test]
fn errno_is_its_own() {
    let _limit = time_limit(60);
    let green = Green::new();
    set_errno(1);
    green.run(|| {
        assert_eq!(errno(), 0);
        set_errno(2);
    });
    assert_eq!(errno(), 1);
    green.run(|| assert_eq!(errno(), 2));
    green.renew();
    green.run(|| assert_eq!(errno(), 0));
}

#[test]
fn thread_ids_of_libc_are_distinct() {
    let _limit = time_limit(60);
    let greens = [Green::new(), Green::new()];
    let mut all = vec![this_thread()];
    all.extend(
        greens
            .iter()
            .map(|green| green.thread_pointer() as libc::pthread_t),
    );
    all.dedup();
    assert_eq!(all.len(), 3);
}

/// Low end, bytes and guard, as `pthread_getattr_np` has them for the calling thread.
fn stack() -> (usize, usize, usize) {
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::zeroed();
    // SAFETY: a place for attributes.
    let error = unsafe { libc::pthread_getattr_np(this_thread(), attr.as_mut_ptr()) };
    assert_eq!(error, 0);
    let (mut low, mut bytes, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: attributes, and places for the answers.
    unsafe { libc::pthread_attr_getstack(attr.as_ptr(), &mut low, &mut bytes) };
    // SAFETY: as above.
    unsafe { libc::pthread_attr_getguardsize(attr.as_ptr(), &mut guard) };
    // SAFETY: initialised, not used any more.
    unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
    (low.addr(), bytes, guard)
}

#[test]
fn libc_knows_the_stack() {
    let _limit = time_limit(60);
    let green = Green::new();
    let at_home = stack();
    for _ in 0..3 {
        let (low, bytes, guard) = green.run(stack);
        assert_eq!(low..low + bytes, green.stack());
        assert_eq!(guard, 0);
        green.renew();
    }
    assert_eq!(stack(), at_home);
    let local = 0_u8;
    let (low, bytes, _) = at_home;
    assert!((low..low + bytes).contains(&ptr::from_ref(&local).addr()));
}

#[test]
fn mutexes_know_their_owner() {
    let _limit = time_limit(60);
    let greens = [Green::new(), Green::new()];
    let mut recursive = libc::PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    let recursive = &raw mut recursive;
    let mut checking = libc::PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
    let checking = &raw mut checking;
    // SAFETY: initialised mutexes, here and below.
    let lock = |mutex| unsafe { libc::pthread_mutex_lock(mutex) };
    // SAFETY: as above.
    let try_lock = |mutex| unsafe { libc::pthread_mutex_trylock(mutex) };
    // SAFETY: as above.
    let unlock = |mutex| unsafe { libc::pthread_mutex_unlock(mutex) };
    for _ in 0..100 {
        greens[0].run(|| {
            assert_eq!(lock(recursive), 0);
            assert_eq!(lock(recursive), 0);
            assert_eq!(lock(checking), 0);
            assert_eq!(lock(checking), libc::EDEADLK);
        });
        greens[1].run(|| {
            assert_eq!(try_lock(recursive), libc::EBUSY);
            assert_eq!(try_lock(checking), libc::EBUSY);
            assert_eq!(unlock(checking), libc::EPERM);
        });
        assert_eq!(try_lock(recursive), libc::EBUSY);
        assert_eq!(unlock(checking), libc::EPERM);
        greens[0].run(|| {
            assert_eq!(unlock(checking), 0);
            assert_eq!(unlock(recursive), 0);
            assert_eq!(unlock(recursive), 0);
            assert_eq!(unlock(recursive), libc::EPERM);
        });
        // Whoever has the block next is somebody else.
        greens[0].run(|| assert_eq!(lock(checking), 0));
        greens[0].renew();
        greens[0].run(|| assert_eq!(unlock(checking), libc::EPERM));
        // SAFETY: nobody will ever unlock it.
        unsafe { checking.write(libc::PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP) };
    }
}

#[test]
fn stdio_locks_know_their_owner() {
    let _limit = time_limit(60);
    let greens = [Green::new(), Green::new()];
    // SAFETY: makes a file.
    let file = unsafe { libc::tmpfile() };
    assert!(!file.is_null());
    // SAFETY: an open file, here and below.
    greens[0].run(|| unsafe { flockfile(file) });
    // SAFETY: as above.
    greens[1].run(|| assert_ne!(unsafe { ftrylockfile(file) }, 0));
    greens[0].run(|| {
        // SAFETY: as above, and the arguments are those of the format.
        let n = unsafe { libc::fprintf(file, c"%s %d\n".as_ptr(), c"green".as_ptr(), 17) };
        assert_eq!(n, 9);
        // SAFETY: as above.
        unsafe { funlockfile(file) };
    });
    greens[1].run(|| {
        // SAFETY: as above.
        assert_eq!(unsafe { ftrylockfile(file) }, 0);
        // SAFETY: as above.
        unsafe { funlockfile(file) };
        // SAFETY: as above.
        unsafe { libc::fclose(file) };
    });
}

#[test]
fn messages_of_errors_are_its_own() {
    let _limit = time_limit(60);
    let greens = [Green::new(), Green::new()];
    // SAFETY: answers for any number.
    let message = |n| unsafe { libc::strerror(n) };
    // SAFETY: a text that lives until the thread's next call.
    let text = |message: *const c_char| unsafe { CStr::from_ptr(message) }.to_owned();
    let first = greens[0].run(|| message(100_001));
    let second = greens[1].run(|| message(100_002));
    assert_ne!(first, second);
    assert_eq!(text(first).as_c_str(), c"Unknown error 100001");
    assert_eq!(text(second).as_c_str(), c"Unknown error 100002");

    // SAFETY: asks only.
    let dlerror = || unsafe { libc::dlerror() };
    greens[0].run(|| {
        // SAFETY: the name ends with a zero.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"no such thing".as_ptr()) };
        assert!(address.is_null());
    });
    greens[1].run(|| assert!(dlerror().is_null()));
    greens[0].run(|| assert!(!dlerror().is_null()));
}

#[test]
fn a_locale_of_its_own_ends_with_it() {
    let _limit = time_limit(60);
    let green = Green::new();
    // SAFETY: the names are those of a locale.
    let locale =
        unsafe { libc::newlocale(libc::LC_ALL_MASK, c"C.UTF-8".as_ptr(), ptr::null_mut()) };
    assert!(!locale.is_null());
    // SAFETY: a locale, or null to ask.
    let use_locale = |locale| unsafe { libc::uselocale(locale) };
    let at_home = use_locale(ptr::null_mut());
    let first = green.run(|| {
        let first = use_locale(locale);
        assert_eq!(use_locale(ptr::null_mut()), locale);
        first
    });
    assert_eq!(first, GLOBAL_LOCALE);
    assert_eq!(use_locale(ptr::null_mut()), at_home);
    green.renew();
    green.run(|| assert_eq!(use_locale(ptr::null_mut()), GLOBAL_LOCALE));
    // SAFETY: nobody uses it any more.
    unsafe { libc::freelocale(locale) };
}

#[test]
fn the_locale_of_the_process_is_that_of_the_moment() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        // SAFETY: every thread has a table.
        let letters = || unsafe { __ctype_b_loc().read() }.addr();
        // SAFETY: no other thread uses the locale.
        let set = |name: &CStr| unsafe { libc::setlocale(libc::LC_ALL, name.as_ptr()) };
        let greens = [Green::new(), Green::new()];
        let before = greens[0].run(letters);
        assert!(!set(c"C.UTF-8").is_null());
        let thread = thread::spawn(letters).join().unwrap();
        assert_ne!(before, thread, "this locale has tables of its own");
        // The one began before, the other begins now; as with OS threads.
        assert_eq!(greens[0].run(letters), before);
        assert_eq!(greens[1].run(letters), thread);
        greens[0].renew();
        assert_eq!(greens[0].run(letters), thread);
        assert_eq!(Green::new().run(letters), thread);
    });
    assert_done(&child);
}

#[test]
fn the_resolver_is_its_own() {
    let _limit = time_limit(60);
    let greens = [Green::new(), Green::new()];
    let places = || (__res_state().addr(), __h_errno_location().addr());
    let mut all = [greens[0].run(places), greens[1].run(places), places()];
    for (res, h_errno) in &all[..2] {
        let in_block = |at| greens.iter().any(|green| green.stack().contains(at));
        assert!(in_block(res) && in_block(h_errno));
    }
    all.sort_unstable();
    assert!(all[0] != all[1] && all[1] != all[2]);
    for green in &greens {
        for _ in 0..2 {
            green.run(|| {
                let mut list = ptr::null_mut();
                let (host, service) = (c"127.0.0.1".as_ptr(), c"80".as_ptr());
                // SAFETY: names, no hints, and a place for the answer.
                let result = unsafe { libc::getaddrinfo(host, service, ptr::null(), &mut list) };
                assert_eq!(result, 0);
                // SAFETY: from getaddrinfo.
                unsafe { libc::freeaddrinfo(list) };
            });
            green.renew();
        }
    }
}

#[test]
fn the_cpu_is_the_one_it_runs_on() {
    let _limit = time_limit(60);
    let thread = thread::spawn(|| {
        let green = Green::new();
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: a place for a set.
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
        // SAFETY: zeroes are a set, and the kernel has filled it.
        let allowed = unsafe { set.assume_init() };
        // SAFETY: a number below the size of sets.
        let cpus = (0..1024).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &allowed) });
        for cpu in cpus {
            let mut only = MaybeUninit::<libc::cpu_set_t>::zeroed();
            // SAFETY: zeroes are a set.
            let only = unsafe { only.assume_init_mut() };
            // SAFETY: as above.
            unsafe { libc::CPU_SET(cpu, only) };
            // SAFETY: a set.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), only) };
            // SAFETY: asks only.
            assert_eq!(green.run(|| unsafe { libc::sched_getcpu() }), cpu as i32);
        }
    });
    thread.join().unwrap();
}

static N_DESTROYED: AtomicUsize = AtomicUsize::new(0);
static STUBBORN: AtomicUsize = AtomicUsize::new(0);
static N_STUBBORN: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count(data: *mut c_void) {
    N_DESTROYED.fetch_add(data.addr(), Relaxed);
}

/// Sets its datum again each time.
unsafe extern "C" fn set_again(data: *mut c_void) {
    N_STUBBORN.fetch_add(1, Relaxed);
    let key = STUBBORN.load(Relaxed) as libc::pthread_key_t;
    // SAFETY: the key is there.
    unsafe { libc::pthread_setspecific(key, data) };
}

type KeyDestructor = unsafe extern "C" fn(*mut c_void);

fn new_key(destructor: Option<KeyDestructor>) -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: a place for a key.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, destructor) }, 0);
    key
}

#[test]
fn thread_specific_data_is_its_own_and_destroyed_at_its_end() {
    let _limit = time_limit(60);
    // More than the first table holds.
    let keys: Vec<_> = (0..100).map(|_| new_key(Some(count))).collect();
    let plain = new_key(None);
    let stubborn = new_key(Some(set_again));
    STUBBORN.store(stubborn as usize, Relaxed);
    // SAFETY: keys that are there, here and below.
    let get = |key| unsafe { libc::pthread_getspecific(key) }.addr();
    let set = |key, data: usize| {
        // SAFETY: as above.
        let error = unsafe { libc::pthread_setspecific(key, ptr::without_provenance(data)) };
        assert_eq!(error, 0);
    };
    let greens = [Green::new(), Green::new()];
    set(keys[0], 1000);
    for round in 1..=3 {
        for green in &greens {
            green.run(|| {
                for &key in keys.iter().chain([&plain, &stubborn]) {
                    assert_eq!(get(key), 0);
                    set(key, 1);
                }
                // One was set and cleared again.
                set(keys[1], 0);
            });
        }
        for green in &greens {
            green.run(|| assert_eq!(get(keys[99]), 1));
            green.end();
            green.renew();
        }
        assert_eq!(N_DESTROYED.load(Relaxed), 2 * 99 * round);
        // As often as POSIX says.
        assert_eq!(N_STUBBORN.load(Relaxed), 2 * 4 * round);
    }
    assert_eq!(get(keys[0]), 1000);
    set(keys[0], 0);

    // A datum of a key that was deleted is not destroyed, nor seen by the key's next owner.
    N_DESTROYED.store(0, Relaxed);
    greens[0].run(|| set(keys[99], 1));
    // SAFETY: nobody uses it any more.
    unsafe { libc::pthread_key_delete(keys[99]) };
    let again = new_key(Some(count));
    greens[0].run(|| assert_eq!(get(again), 0));
    greens[0].end();
    assert_eq!(N_DESTROYED.load(Relaxed), 0);
    for key in keys[..99].iter().copied().chain([plain, stubborn, again]) {
        // SAFETY: nobody uses it any more.
        unsafe { libc::pthread_key_delete(key) };
    }
}
