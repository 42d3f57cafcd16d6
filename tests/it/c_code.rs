//! What code in C keeps for each thread, and libraries that are opened while green threads live.
//!
//! The code is in `c/`, and compiled here, with the compiler by which Rust links.

#![expect(unsafe_code, reason = "calls C")]
#![expect(
    clippy::disallowed_methods,
    reason = "runs the compiler, and a plain OS thread"
)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, OnceLock};

use greenrt::{Generator, ThreadLocals, spawn, spawn_local, yield_now};

use super::support::{
    Child, in_both_modes, join_all, limited, on_os_thread, runtime_with, spawn_at,
    thread_locals_are_private, wait_until, with_private_thread_locals,
};

/// Compiles a library of this process, and opens it.
fn build(source: &str, options: &[&str]) -> PathBuf {
    static N: AtomicUsize = AtomicUsize::new(0);
    let n = N.fetch_add(1, Relaxed);
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{n}.so", id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/c")
        .join(source);
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .args(options)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    library
}

/// An opened library; its file is gone.
#[derive(Clone, Copy)]
struct Library(*mut c_void);

// SAFETY: a handle, which any thread may use.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    fn open(path: &Path) -> Library {
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: our own library, which has no constructors.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            // SAFETY: after a failure there is a text.
            let error = unsafe { CStr::from_ptr(libc::dlerror()) };
            panic!("{}", error.to_string_lossy());
        }
        Library(handle)
    }

    fn close(self) {
        // SAFETY: opened, and nobody calls it any more.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }

    fn find(self, name: &CStr) -> *mut c_void {
        // SAFETY: an open library.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null(), "{name:?}");
        function
    }
}

/// The functions of `threads.c`.
fn threads() -> Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    *LIBRARY.get_or_init(|| {
        let path = build("threads.c", &["-pthread"]);
        let library = Library::open(&path);
        fs::remove_file(path).unwrap();
        library
    })
}

type Wait = extern "C" fn();

extern "C" fn wait() {
    yield_now();
}

/// A function of `threads.c`, called.
macro_rules! call {
    ($name:ident ( $($argument:expr => $of:ty),* )) => {{
        let name = CString::new(stringify!($name)).unwrap();
        let function = threads().find(&name);
        // SAFETY: it has this signature.
        let function: extern "C" fn($($of),*) -> c_int = unsafe { mem::transmute(function) };
        function($($argument),*)
    }};
}

/// As `call!`, and it must return 0.
macro_rules! check {
    ($name:ident $arguments:tt) => {
        assert_eq!(call!($name $arguments), 0, "the line of threads.c that went wrong")
    };
}

#[test]
fn errno_is_the_threads() {
    with_private_thread_locals(|| {
        let threads: Vec<_> = (0..20)
            .map(|n| spawn(move || check!(error_number(n + 1 => c_int, wait => Wait))))
            .collect();
        check!(error_number(99 => c_int, wait => Wait));
        join_all(threads);
    });
    limited(|| {
        greenrt::run(|| {
            if !thread_locals_are_private() {
                return;
            }
            let sibling = spawn(|| check!(error_number(3 => c_int, wait => Wait)));
            check!(error_number(4 => c_int, wait => Wait));
            sibling.join().unwrap();
            spawn_local(|| check!(error_number(5 => c_int, wait => Wait)))
                .join()
                .unwrap();
        });
    });
}

#[test]
fn errno_of_the_os_thread_stays_where_it_was() {
    limited(|| {
        // SAFETY: the place of the caller's own.
        let place = || unsafe { libc::__errno_location() }.addr();
        let before = place();
        greenrt::run(|| {
            assert_eq!(place(), before);
            let other = spawn(move || place() != before).join().unwrap();
            assert_eq!(other, thread_locals_are_private());
            yield_now();
            assert_eq!(place(), before);
        });
        assert_eq!(place(), before);
        for mode in [ThreadLocals::Shared, ThreadLocals::Private] {
            assert_ne!(runtime_with(mode, 1).run(place), before);
            assert_eq!(place(), before);
        }
    });
}

#[test]
fn a_recursive_mutex_knows_its_owner() {
    in_both_modes(|| {
        let threads = (0..20).map(|_| spawn(|| check!(recursive_mutex(wait => Wait))));
        join_all(threads.collect::<Vec<_>>());
    });
}

#[test]
fn mutexes_that_know_their_owner_are_held_over_switches() {
    with_private_thread_locals(|| {
        let threads: Vec<_> = (0..20)
            .flat_map(|_| {
                [
                    spawn(|| check!(recursive_mutex_over_switches(wait => Wait))),
                    spawn(|| check!(checking_mutex(wait => Wait))),
                ]
            })
            .collect();
        join_all(threads);
    });
}

fn stack_bytes() -> usize {
    let mut bytes = 0;
    check!(stack_bounds(&raw mut bytes => *mut usize));
    bytes
}

#[test]
fn the_stacks_bounds_are_those_of_the_thread() {
    in_both_modes(|| {
        // Spawned, of every class.
        for size in [64 << 10, 256 << 10, 1 << 20, 2 << 20, 8 << 20] {
            let builder = greenrt::Builder::new().stack_size(size);
            let bytes = builder.spawn(stack_bytes).unwrap().join().unwrap();
            assert!(size / 2 < bytes && bytes <= size, "{bytes} of {size}");
        }
        // The first one of `Runtime::run`, and again after a switch.
        let bytes = stack_bytes();
        yield_now();
        assert_eq!(stack_bytes(), bytes);
        let all = join_all((0..20).map(|_| spawn(stack_bytes)).collect::<Vec<_>>());
        assert!(all.iter().all(|&bytes| bytes == all[0]));
        // Those that share thread-locals have stacks of their own.
        assert!(spawn_local(stack_bytes).join().unwrap() <= 256 << 10);
        let inside: Vec<_> = Generator::new(|out, ()| out.yield_(stack_bytes())).collect();
        assert!(inside[0] <= 256 << 10);
        assert_eq!(stack_bytes(), bytes);
    });
    limited(|| {
        let before = stack_bytes();
        greenrt::run(|| {
            assert!(stack_bytes() > 4 << 20);
            assert!(spawn(stack_bytes).join().unwrap() <= 256 << 10);
            assert!(spawn_local(stack_bytes).join().unwrap() <= 256 << 10);
        });
        assert_eq!(stack_bytes(), before);
        Generator::new(|out, ()| out.yield_(stack_bytes())).for_each(drop);
    });
}

/// Stdio's locks have an owner, and fall to nobody else.
#[test]
fn streams_of_c_are_written_by_many() {
    let path = |name: &str| {
        let name = format!("{}-{name}.txt", id());
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    };
    limited(|| {
        for mode in [ThreadLocals::Shared, ThreadLocals::Private] {
            for n_workers in [1, 2] {
                let path = path("lines");
                let name = CString::new(path.to_str().unwrap()).unwrap();
                runtime_with(mode, n_workers).run(move || {
                    check!(open_file(name.as_ptr() => *const i8));
                    let threads: Vec<_> = (0..100)
                        .map(|n| {
                            spawn(move || {
                                for _ in 0..10 {
                                    check!(write_lines(n => c_int));
                                    yield_now();
                                }
                            })
                        })
                        .collect();
                    join_all(threads);
                    if mode == ThreadLocals::Private {
                        let threads = (0..20).map(|n| {
                            spawn(move || {
                                check!(write_lines_over_switches(n => c_int, wait => Wait));
                            })
                        });
                        join_all(threads.collect::<Vec<_>>());
                    }
                    check!(close_file());
                });
                let text = fs::read_to_string(&path).unwrap();
                fs::remove_file(&path).unwrap();
                let mut lines = text.lines();
                let (mut n_alone, mut n_pairs) = (0, 0);
                while let Some(line) = lines.next() {
                    if let Some(first) = line.strip_suffix(" first") {
                        assert_eq!(lines.next(), Some(&*format!("{first} second")));
                        n_pairs += 1;
                    } else {
                        assert!(line.ends_with(" alone"), "{line}");
                        n_alone += 1;
                    }
                }
                let more = if mode == ThreadLocals::Private { 20 } else { 0 };
                assert_eq!((n_alone, n_pairs), (1000, 1000 + more));
            }
        }
    });
}

#[test]
fn what_libc_keeps_for_a_thread_is_the_threads() {
    with_private_thread_locals(|| {
        let threads = (0..20).map(|n| spawn(move || check!(libcs_own(n => c_int, wait => Wait))));
        join_all(threads.collect::<Vec<_>>());
    });
}

#[test]
fn keys_of_pthread_are_destroyed_with_the_thread() {
    with_private_thread_locals(|| {
        static KEY: OnceLock<()> = OnceLock::new();
        KEY.get_or_init(|| check!(make_key()));
        let before = call!(n_destroyed());
        for round in 1..=3 {
            let threads = (0..20).map(|n| spawn(move || check!(use_key(n => c_int, wait => Wait))));
            join_all(threads.collect::<Vec<_>>());
            assert_eq!(call!(n_destroyed()) - before, 20 * round);
        }
    });
}

// fork

extern "C" fn child_does_nothing() -> c_int {
    0
}

/// In a child: libc as before, and green threads of a new runtime.
extern "C" fn child_goes_on() -> c_int {
    stack_bytes();
    if call!(use_libc()) != 0 {
        return 1;
    }
    on_os_thread_of_child();
    0
}

fn on_os_thread_of_child() {
    // The runtime of the parent is not there any more: its other OS threads did not come along.
    let sum = std::thread::spawn(|| {
        greenrt::run(|| {
            let threads: Vec<_> = (0..10)
                .map(|n| {
                    spawn(move || {
                        yield_now();
                        n
                    })
                })
                .collect();
            join_all(threads).into_iter().sum::<c_int>()
        })
    });
    assert_eq!(sum.join().unwrap(), 45);
}

type InChild = extern "C" fn() -> c_int;

/// A process of one OS thread, or nearly: what others do at the moment of a fork is not what this is
/// about.
#[test]
fn a_green_thread_may_fork() {
    for mode in ["shared", "private"] {
        let died = Child::new("c_code::a_green_thread_may_fork")
            .env("GREENRT_THREAD_LOCALS", mode)
            .run(|| {
                assert_eq!(thread_locals_are_private(), mode_of_child() == "private");
                let forks = || {
                    check!(fork_and_exit(wait => Wait, child_does_nothing => InChild));
                    check!(fork_and_exit(wait => Wait, child_goes_on => InChild));
                    check!(fork_and_exec(wait => Wait));
                };
                // On a worker of a runtime, from several threads that wait in between.
                let runtime = greenrt::Runtime::builder().workers(2).build().unwrap();
                runtime.run(move || {
                    forks();
                    join_all((0..4).map(|_| spawn(forks)).collect::<Vec<_>>());
                });
                // And on the loop of `run`: its caller's thread-locals, its own, and its siblings'.
                let of_run = move || {
                    greenrt::run(|| {
                        forks();
                        join_all((0..2).map(|_| spawn(forks)).collect::<Vec<_>>());
                        spawn_local(forks).join().unwrap();
                        forks();
                    });
                    forks();
                };
                of_run();
                std::thread::spawn(of_run).join().unwrap();
            });
        died.expect_success();
    }
}

fn mode_of_child() -> String {
    std::env::var("GREENRT_THREAD_LOCALS").unwrap()
}

// dlopen

fn library(initial_exec: bool, counter: c_int) -> PathBuf {
    let counter = format!("-DCOUNTER={counter}");
    let mut options = vec![&*counter];
    if initial_exec {
        options.push("-DINITIAL_EXEC");
    }
    build("library.c", &options)
}

impl Library {
    fn is_fresh(self) -> bool {
        let function = self.find(c"is_fresh");
        // SAFETY: it has this signature.
        let function: extern "C" fn() -> c_int = unsafe { mem::transmute(function) };
        function() == 1
    }

    fn exchange(self, value: c_int) -> c_int {
        let function = self.find(c"exchange");
        // SAFETY: it has this signature.
        let function: extern "C" fn(c_int) -> c_int = unsafe { mem::transmute(function) };
        function(value)
    }
}

/// Opened while threads wait, each of which finds its own copy as it was compiled; and so do those that
/// start later, on the stacks of others.
#[test]
fn a_library_is_opened_while_threads_live() {
    for initial_exec in [false, true] {
        with_private_thread_locals(move || {
            let opened = Arc::new(OnceLock::<Library>::new());
            let waiting: Vec<_> = (0..50)
                .map(|n| {
                    let opened = Arc::clone(&opened);
                    spawn(move || {
                        wait_until(|| opened.get().is_some());
                        let library = *opened.get().unwrap();
                        assert!(library.is_fresh());
                        assert_eq!(library.exchange(n), -1);
                        yield_now();
                        assert!(!library.is_fresh());
                        // What `is_fresh` leaves.
                        assert_eq!(library.exchange(n), -1);
                    })
                })
                .collect();
            yield_now();
            let path = library(initial_exec, 42);
            let theirs = path.clone();
            // By a green thread.
            let library = spawn(move || Library::open(&theirs)).join().unwrap();
            fs::remove_file(path).unwrap();
            assert!(library.is_fresh());
            opened.set(library).ok().unwrap();
            join_all(waiting);
            for _ in 0..3 {
                let later = (0..50).map(|n| {
                    spawn(move || {
                        assert!(library.is_fresh());
                        assert_eq!(library.exchange(n), -1);
                        yield_now();
                        assert_eq!(library.exchange(0), n);
                    })
                });
                join_all(later.collect::<Vec<_>>());
            }
            on_os_thread(move || assert!(library.is_fresh()));
            library.close();
        });
    }
}

#[test]
fn libraries_are_opened_and_closed_by_several_workers_at_once() {
    limited(|| {
        runtime_with(ThreadLocals::Private, 4).run(|| {
            let start = Arc::new(Barrier::new(4));
            let threads: Vec<_> = (0..4)
                .map(|worker| {
                    let start = Arc::clone(&start);
                    spawn_at(worker, move || {
                        let paths = [true, false].map(|exec| library(exec, 10 + worker as c_int));
                        let look = |library: Library| {
                            assert!(library.is_fresh());
                            yield_now();
                            assert!(!library.is_fresh());
                            let inside = move || assert!(library.is_fresh());
                            spawn_at(worker, inside).join().unwrap();
                            spawn_at((worker + 1) % 4, inside).join().unwrap();
                        };
                        start.wait();
                        // Libc gives the room of static ones again only if the last one goes first.
                        let stays = Library::open(&paths[0]);
                        look(stays);
                        for _ in 0..20 {
                            // Others come and go.
                            let sibling = spawn(yield_now);
                            let goes = Library::open(&paths[1]);
                            look(goes);
                            sibling.join().unwrap();
                            goes.close();
                        }
                        assert!(!stays.is_fresh());
                        paths.iter().for_each(|path| fs::remove_file(path).unwrap());
                    })
                })
                .collect();
            join_all(threads);
        });
    });
}
