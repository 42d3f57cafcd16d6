//! What standing in for libc costs on threads that are not green: the same call by libc's own function
//! and by the name, before and after the patch, in turn; and 10,000 threads that sleep for a second.
//!
//! ```sh
//! cargo bench -p greenlibc
//! ```

#![expect(unsafe_code, reason = "calls libc both ways")]
#![expect(clippy::disallowed_methods, reason = "std is what is measured")]

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::hint::black_box;
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

type Recv = unsafe extern "C" fn(c_int, *mut c_void, usize, c_int) -> isize;
type Close = unsafe extern "C" fn(c_int) -> c_int;
type Lock = unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int;
type Post = unsafe extern "C" fn(*mut libc::sem_t) -> c_int;
type This = unsafe extern "C" fn() -> libc::pthread_t;

const N_ROUNDS: usize = 51;

fn main() {
    let names = [
        "recv of no descriptor",
        "close of no descriptor",
        "pthread_self",
        "pthread_mutex_lock and unlock",
        "sem_post and sem_trywait",
    ];
    let before = names.map(measure);
    greenlibc::patch_all();
    let after = names.map(measure);
    println!("ns per call, off a green thread      libc's own   not patched   patched");
    for ((name, before), after) in names.into_iter().zip(before).zip(after) {
        let own = before.0.min(after.0);
        println!(
            "{name:<38} {own:>8.1} {:>+13.1} {:>+9.1}",
            before.1, after.1
        );
    }
    let (began, cpu) = (Instant::now(), cpu_time());
    let threads: Vec<_> = (0..10_000)
        .map(|_| thread::spawn(|| thread::sleep(Duration::from_secs(1))))
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    println!(
        "10,000 threads that sleep for a second: joined after {:.2?}, CPU time {:.2?}",
        began.elapsed(),
        cpu_time() - cpu
    );
}

/// Of the process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: room for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Libc's own, and what ours takes more: the medians.
fn measure(name: &str) -> (f64, f64) {
    match name {
        "pthread_self" => {
            let address = find(c"pthread_self");
            // SAFETY: of this type.
            let own = unsafe { mem::transmute::<*mut c_void, This>(address) };
            let call = |function: This| {
                // SAFETY: no conditions.
                black_box(unsafe { function() });
            };
            compare(
                || call(black_box(own)),
                || call(black_box(libc::pthread_self)),
            )
        }
        "close of no descriptor" => {
            let address = find(c"close");
            // SAFETY: of this type.
            let own = unsafe { mem::transmute::<*mut c_void, Close>(address) };
            let call = |function: Close| {
                // SAFETY: no such descriptor.
                black_box(unsafe { function(-1) });
            };
            compare(|| call(black_box(own)), || call(black_box(libc::close)))
        }
        "pthread_mutex_lock and unlock" => {
            let find = |name| {
                // SAFETY: of this type.
                unsafe { mem::transmute::<*mut c_void, Lock>(find(name)) }
            };
            let own = [find(c"pthread_mutex_lock"), find(c"pthread_mutex_unlock")];
            let ours: [Lock; 2] = [libc::pthread_mutex_lock, libc::pthread_mutex_unlock];
            let mutex = UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER);
            let call = |[lock, unlock]: [Lock; 2]| {
                // SAFETY: the mutex is this function's.
                black_box(unsafe { lock(mutex.get()) });
                // SAFETY: locked above.
                black_box(unsafe { unlock(mutex.get()) });
            };
            compare(|| call(black_box(own)), || call(black_box(ours)))
        }
        "sem_post and sem_trywait" => {
            // SAFETY: of this type.
            let own = unsafe { mem::transmute::<*mut c_void, Post>(find(c"sem_post")) };
            // SAFETY: all zeros are a semaphore of 0.
            let semaphore = UnsafeCell::new(unsafe { mem::zeroed::<libc::sem_t>() });
            let call = |post: Post| {
                // SAFETY: the semaphore is this function's.
                black_box(unsafe { post(semaphore.get()) });
                // SAFETY: as above.
                black_box(unsafe { libc::sem_trywait(semaphore.get()) });
            };
            compare(|| call(black_box(own)), || call(black_box(libc::sem_post)))
        }
        _ => {
            let address = find(c"recv");
            // SAFETY: of this type.
            let own = unsafe { mem::transmute::<*mut c_void, Recv>(address) };
            let call = |function: Recv| {
                // SAFETY: no such descriptor.
                black_box(unsafe { function(-1, std::ptr::null_mut(), 0, 0) });
            };
            compare(|| call(black_box(own)), || call(black_box(libc::recv)))
        }
    }
}

fn find(name: &CStr) -> *mut c_void {
    // SAFETY: a name.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

fn compare(own: impl Fn(), ours: impl Fn()) -> (f64, f64) {
    let time = |call: &dyn Fn()| {
        const N: u32 = 20_000;
        let began = Instant::now();
        (0..N).for_each(|_| call());
        began.elapsed().as_nanos() as f64 / f64::from(N)
    };
    let mut pairs: Vec<(f64, f64)> = (0..N_ROUNDS)
        .map(|_| {
            let own = time(&own);
            (own, time(&ours) - own)
        })
        .collect();
    pairs.sort_by(|one, other| one.1.total_cmp(&other.1));
    let more = pairs[N_ROUNDS / 2].1;
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
    (pairs[N_ROUNDS / 2].0, more)
}
