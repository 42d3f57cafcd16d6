//! The program of `on_std.rs`, where `std` is greenstd and no word of it is another one.

// From here on each `std::` is `greenstd::`.
extern crate greenstd as std;
extern crate std as os_std;

mod program;

use greenrt::{Runtime, ThreadLocals};

/// Runs a test; aborts if it does not end.
fn limited(test: impl FnOnce()) {
    let (done, watch) = os_std::sync::mpsc::channel::<()>();
    let limit = std::time::Duration::from_secs(120);
    let watchdog = os_std::thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(os_std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("did not end within {limit:?}\n{}", greenrt::debug::dump());
            os_std::process::abort();
        }
    });
    test();
    drop(done);
    watchdog.join().unwrap();
}

#[test]
fn std_is_greenstd() {
    let name = std::any::type_name::<std::sync::Mutex<()>>();
    assert!(name.starts_with("greenstd::"), "{name}");
    assert!(
        std::thread::spawn(greenrt::lowlevel::on_green_thread)
            .join()
            .unwrap()
    );
}

#[test]
fn prints_the_same_on_green_threads() {
    limited(|| {
        for thread_locals in [ThreadLocals::Private, ThreadLocals::Shared] {
            for n_workers in [1, 2] {
                let builder = Runtime::builder().workers(n_workers);
                let runtime = builder.thread_locals(thread_locals).build().unwrap();
                let report = runtime.run(program::report);
                let expected = include_str!("expected.txt");
                assert_eq!(report, expected, "{thread_locals:?}, {n_workers}");
            }
        }
    });
}

#[test]
fn prints_the_same_with_its_main_thread_off_them() {
    limited(|| assert_eq!(program::report(), include_str!("expected.txt")));
}

#[test]
fn prints_the_same_on_one_os_thread() {
    limited(|| assert_eq!(greenrt::run(program::report), include_str!("expected.txt")));
}
