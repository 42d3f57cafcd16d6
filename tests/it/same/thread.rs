//! Threads.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{run, thread};

#[test]
fn join_returns_the_value() {
    run(|| {
        let threads: Vec<_> = (0..100).map(|n| thread::spawn(move || n * n)).collect();
        let sum: i32 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(sum, 328_350);
    });
}

#[test]
fn join_returns_the_payload_of_a_panic() {
    run(|| {
        let thread = thread::spawn::<_, ()>(|| std::panic::resume_unwind(Box::new(42)));
        let payload: Box<dyn std::any::Any + Send> = thread.join().unwrap_err();
        assert_eq!(payload.downcast_ref::<i32>(), Some(&42));
    });
}

#[test]
fn a_dropped_handle_detaches() {
    run(|| {
        let parent = thread::current();
        drop(thread::spawn(move || parent.unpark()));
        thread::park();
    });
}

#[test]
fn a_name_and_a_number_of_its_own() {
    run(|| {
        let builder = thread::Builder::new()
            .name("Ariadne".into())
            .stack_size(64 * 1024);
        let named = builder.spawn(|| {
            (
                thread::current().id(),
                thread::current().name().map(String::from),
            )
        });
        let named = named.unwrap();
        assert_eq!(named.thread().name(), Some("Ariadne"));
        let id = named.thread().id();
        assert_eq!(named.join().unwrap(), (id, Some("Ariadne".into())));
        let unnamed = thread::spawn(|| thread::current().name().map(String::from));
        assert_ne!(unnamed.thread().id(), id);
        assert_eq!(unnamed.join().unwrap(), None);
        assert_eq!(thread::current().id(), thread::current().id());
    });
}

#[test]
fn a_name_with_a_null_byte_panics() {
    run(|| {
        let result = std::panic::catch_unwind(|| {
            thread::Builder::new()
                .name("a\0b".into())
                .spawn(|| ())
                .map(drop)
        });
        assert!(result.is_err());
    });
}

#[test]
fn a_token_is_not_lost_and_not_doubled() {
    run(|| {
        let parent = thread::current();
        parent.unpark();
        parent.unpark();
        thread::park();
        let start = Instant::now();
        thread::park_timeout(Duration::from_millis(2));
        // It may wake for no reason, but hardly every time.
        let early = start.elapsed() < Duration::from_millis(2);
        let child = thread::spawn(move || parent.unpark());
        thread::park_timeout(Duration::from_secs(1000));
        child.join().unwrap();
        assert!(!early);
    });
}

#[test]
fn sleep_is_never_early() {
    run(|| {
        let start = Instant::now();
        thread::sleep(Duration::from_millis(2));
        assert!(start.elapsed() >= Duration::from_millis(2));
        thread::sleep(Duration::ZERO);
    });
}

#[test]
fn finished_once_it_has_ended() {
    run(|| {
        let thread = thread::spawn(thread::park);
        assert!(!thread.is_finished());
        thread.thread().unpark();
        while !thread.is_finished() {
            thread::yield_now();
        }
        thread.join().unwrap();
    });
}

#[test]
fn scoped_threads_borrow() {
    run(|| {
        let words = vec!["sow".to_string(), "reap".to_string()];
        let n_letters = AtomicUsize::new(0);
        let longest = thread::scope(|s| {
            for word in &words {
                s.spawn(|| n_letters.fetch_add(word.len(), Relaxed));
            }
            let builder = thread::Builder::new().name("longest".into());
            let longest = builder.spawn_scoped(s, || words.iter().max_by_key(|word| word.len()));
            let longest = longest.unwrap();
            assert_eq!(longest.thread().name(), Some("longest"));
            longest.join().unwrap()
        });
        assert_eq!(longest, Some(&words[1]));
        assert_eq!(n_letters.into_inner(), 7);
    });
}

#[test]
fn scoped_threads_spawn_others() {
    run(|| {
        let n = AtomicUsize::new(0);
        thread::scope(|s| {
            s.spawn(|| {
                s.spawn(|| s.spawn(|| n.fetch_add(1, Relaxed)));
                n.fetch_add(1, Relaxed)
            });
        });
        assert_eq!(n.into_inner(), 2);
    });
}

#[test]
fn a_scope_reports_a_panic_that_nobody_joined() {
    run(|| {
        let result = std::panic::catch_unwind(|| {
            thread::scope(|s| {
                s.spawn(|| std::panic::resume_unwind(Box::new(())));
            });
        });
        let payload = result.unwrap_err();
        assert_eq!(
            payload.downcast_ref::<&str>(),
            Some(&"a scoped thread panicked")
        );
        let joined = thread::scope(|s| {
            s.spawn::<_, ()>(|| std::panic::resume_unwind(Box::new(1)))
                .join()
        });
        assert_eq!(joined.unwrap_err().downcast_ref::<i32>(), Some(&1));
    });
}

#[test]
fn debug_says_little() {
    run(|| {
        let thread = thread::spawn(|| ());
        assert_eq!(format!("{thread:?}"), "JoinHandle { .. }");
        let text = format!("{:?}", thread.thread());
        assert!(
            text.starts_with("Thread { id: ThreadId(") && text.ends_with("name: None, .. }"),
            "{text}"
        );
        thread.join().unwrap();
        thread::scope(|s| assert_eq!(format!("{:?}", s.spawn(|| ())), "ScopedJoinHandle { .. }"));
    });
}

#[test]
fn the_rest_is_there() {
    run(|| {
        assert!(thread::available_parallelism().unwrap().get() >= 1);
        assert!(!thread::panicking());
        #[expect(deprecated, reason = "there all the same")]
        {
            thread::sleep_ms(1);
            thread::park_timeout_ms(1);
        }
        let shared = Arc::new(());
        let result: thread::Result<Arc<()>> = thread::spawn(move || shared).join();
        result.unwrap();
    });
}
