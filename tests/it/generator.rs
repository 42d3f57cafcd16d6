//! Generators: values both ways, and a stack that is always cleaned up.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use greenrt::GeneratorState::{Complete, Yielded};
use greenrt::lowlevel::cancel;
use greenrt::{
    Cancelled, Generator, Yielder, park, scope, shield, sleep, spawn, spawn_local, timeout,
    yield_now,
};

use super::support::{
    EXPECTED, HOUR, Log, limited, on_each_runtime, on_each_runtime_and_off, on_manual_clocks,
    on_one_worker, panic_of, runtime,
};

fn for_ever() {
    sleep(Duration::MAX);
}

/// A generator that hands out nothing, once, from inside `around`.
fn pauses_inside(around: impl FnOnce(&dyn Fn()) + 'static) -> Generator<(), (), ()> {
    Generator::new(move |out: &Yielder<(), ()>, ()| around(&|| out.yield_(())))
}

#[test]
fn values_go_both_ways() {
    on_each_runtime_and_off(|| {
        let mut sums = Generator::new(|out, first: u32| {
            let mut sum = first;
            while sum < 100 {
                sum += out.yield_(sum);
            }
            format!("{sum} in all")
        });
        assert_eq!(sums.resume(1), Yielded(1));
        assert_eq!(sums.resume(10), Yielded(11));
        assert!(!sums.is_complete());
        assert_eq!(sums.resume(90), Complete("101 in all".into()));
        assert!(sums.is_complete());
        let text = panic_of(|| sums.resume(1));
        assert_eq!(text, "generator resumed after it has ended");
    });
}

#[test]
fn values_may_be_large_owned_and_over_aligned() {
    #[repr(align(128))]
    struct Aligned([u8; 1000]);
    on_each_runtime_and_off(|| {
        let mut echo = Generator::new(|out: &Yielder<Aligned, Aligned>, first: Aligned| {
            let mut value = first;
            for _ in 0..10 {
                assert_eq!((&raw const value) as usize % 128, 0);
                value = out.yield_(value);
            }
        });
        for n in 0..10 {
            match echo.resume(Aligned([n; 1000])) {
                Yielded(value) => assert_eq!(value.0, [n; 1000]),
                Complete(()) => unreachable!(),
            }
        }
        assert_eq!(echo.resume(Aligned([0; 1000])), Complete(()));
        let mut strings = Generator::new(|out, first: String| out.yield_(first + "!"));
        assert_eq!(strings.resume("a".into()), Yielded("a!".into()));
        assert_eq!(strings.resume("b".into()), Complete("b".into()));
    });
    impl PartialEq for Aligned {
        fn eq(&self, other: &Aligned) -> bool {
            self.0 == other.0
        }
    }
    impl std::fmt::Debug for Aligned {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Aligned({})", self.0[0])
        }
    }
}

#[test]
fn a_value_comes_from_any_depth() {
    fn walk(depth: u32, out: &Yielder<(), u32>) {
        if depth > 0 {
            walk(depth - 1, out);
            out.yield_(depth);
            walk(depth - 1, out);
        }
    }
    on_each_runtime_and_off(|| {
        let visited: Vec<u32> = Generator::new(|out, ()| walk(10, out)).collect();
        assert_eq!(visited.len(), 1023);
        assert_eq!(visited[511], 10);
    });
}

#[test]
fn it_is_an_iterator() {
    on_each_runtime_and_off(|| {
        let mut squares = Generator::new(|out, ()| (0..4).for_each(|n| out.yield_(n * n)));
        assert_eq!(squares.by_ref().collect::<Vec<_>>(), [0, 1, 4, 9]);
        assert_eq!(squares.next(), None);
        assert_eq!(squares.next(), None);
        assert_eq!(Generator::new(|_: &Yielder<(), u8>, ()| ()).next(), None);
        let naturals = Generator::new(|out, ()| (0..).for_each(|n| out.yield_(n)));
        assert_eq!(naturals.take(5).sum::<u64>(), 10);
    });
}

#[test]
fn generators_nest() {
    fn numbers(below: u64) -> Generator<(), u64, ()> {
        Generator::new(move |out, ()| (0..below).for_each(|n| out.yield_(n)))
    }
    on_each_runtime_and_off(|| {
        let pairs = Generator::new(|out, ()| {
            for a in numbers(4) {
                for b in numbers(a) {
                    out.yield_((a, b));
                }
            }
        });
        let sum: u64 = pairs.map(|(a, b)| a * 10 + b).sum();
        assert_eq!(sum, 10 + 20 + 21 + 30 + 31 + 32);
    });
}

#[test]
fn one_that_is_dropped_half_way_runs_its_destructors() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let mut half_way = {
            let log = log.clone();
            Generator::new(move |out, ()| {
                let _outer = log.on_drop("outer");
                let inner = || {
                    let _inner = log.on_drop("inner");
                    out.yield_(1);
                    log.note("never");
                };
                inner();
            })
        };
        assert_eq!(half_way.resume(()), Yielded(1));
        assert_eq!(log.text(), "");
        drop(half_way);
        assert_eq!(log.text(), "inner outer");
    });
}

#[test]
fn one_that_never_began_drops_its_closure_once() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let kept = log.on_drop("dropped");
        let never = Generator::new(move |_: &Yielder<(), ()>, ()| drop(kept));
        drop(never);
        assert_eq!(log.text(), "dropped");
        let kept = log.on_drop("again");
        let refused =
            Generator::with_stack_size(1 << 30, move |_: &Yielder<(), ()>, ()| drop(kept));
        assert_eq!(
            refused.unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
        assert_eq!(log.text(), "dropped again");
    });
}

#[test]
fn one_that_returned_has_dropped_everything() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let kept = log.on_drop("dropped");
        let mut once = Generator::new(move |out, first: u32| {
            let _kept = kept;
            out.yield_(first)
        });
        assert_eq!(once.resume(1), Yielded(1));
        assert_eq!(once.resume(2), Complete(2));
        assert_eq!(log.text(), "dropped");
        drop(once);
        assert_eq!(log.len(), 1);
    });
}

#[test]
fn a_panic_inside_comes_out_of_resume() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let mut panics = {
            let log = log.clone();
            Generator::new(move |out: &Yielder<(), ()>, ()| {
                let _dropped = log.on_drop("dropped");
                out.yield_(());
                panic!("{EXPECTED}");
            })
        };
        assert_eq!(panics.resume(()), Yielded(()));
        assert_eq!(panic_of(|| panics.resume(())), EXPECTED);
        assert_eq!(log.text(), "dropped");
        assert!(panics.is_complete());
        assert_eq!(
            panic_of(|| panics.resume(())),
            "generator resumed after it has ended"
        );
    });
}

#[test]
fn a_swallowed_drop_lets_the_body_run_to_its_end() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let mut swallows = {
            let log = log.clone();
            Generator::new(move |out, ()| {
                let _noted = log.on_drop("dropped");
                assert!(catch_unwind(AssertUnwindSafe(|| out.yield_(1))).is_err());
                log.note("swallowed");
            })
        };
        assert_eq!(swallows.resume(()), Yielded(1));
        drop(swallows);
        assert_eq!(log.text(), "swallowed dropped");
    });
}

#[test]
fn one_that_is_dropped_while_its_thread_unwinds_runs_its_destructors() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let text = panic_of(|| {
            let mut half_way = {
                let log = log.clone();
                pauses_inside(move |pause| {
                    let _noted = log.on_drop("dropped");
                    pause();
                })
            };
            half_way.resume(());
            panic!("{EXPECTED}");
        });
        assert_eq!((text.as_str(), &*log.text()), (EXPECTED, "dropped"));
    });
}

#[test]
fn a_body_waits_like_its_resumer() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let mut waits = Generator::new(|out: &Yielder<(), u32>, ()| {
            sleep(HOUR);
            out.yield_(1);
            spawn(|| sleep(HOUR)).join().unwrap();
            greenrt::park_timeout(HOUR);
            scope(|s| {
                s.spawn(|| sleep(HOUR));
            });
            yield_now();
            assert!(timeout(HOUR, for_ever).is_err());
            out.yield_(2);
        });
        assert_eq!(waits.resume(()), Yielded(1));
        assert_eq!(clock.now() - start, HOUR);
        assert_eq!(waits.resume(()), Yielded(2));
        assert_eq!(clock.now() - start, 5 * HOUR);
        assert_eq!(waits.resume(()), Complete(()));
    });
}

#[test]
fn bodies_of_many_threads_wait_at_once() {
    on_each_runtime(|| {
        let threads: Vec<_> = (0..200u64)
            .map(|n| {
                spawn(move || {
                    let sums = Generator::new(move |out, ()| {
                        for k in 0..10 {
                            match k % 3 {
                                0 => yield_now(),
                                1 => sleep(Duration::from_micros(n)),
                                _ => {}
                            }
                            out.yield_(n + k);
                        }
                    });
                    sums.inspect(|_| yield_now()).sum::<u64>()
                })
            })
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), 10 * n as u64 + 45);
        }
    });
}

#[test]
fn a_cancel_or_a_limit_in_the_body_unwinds_through_resume() {
    on_each_runtime(|| {
        let log = Log::new();
        let thread = {
            let log = log.clone();
            spawn(move || {
                let _outer = log.on_drop("resumer");
                pauses_inside(move |_pause| {
                    let _inner = log.on_drop("body");
                    for_ever();
                })
                .resume(());
            })
        };
        yield_now();
        cancel(thread.thread());
        assert!(thread.join().unwrap_err().is::<Cancelled>());
        assert_eq!(log.text(), "body resumer");
        let mut waits = pauses_inside(|_pause| for_ever());
        assert!(timeout(Duration::from_millis(1), || waits.resume(())).is_err());
        assert!(waits.is_complete());
    });
}

#[test]
fn one_moves_between_threads_of_a_worker() {
    on_one_worker(|| {
        let numbers = Generator::new(|out, ()| {
            for n in 0..100 {
                if n % 7 == 0 {
                    sleep(Duration::from_micros(1));
                }
                out.yield_(n);
            }
        });
        let numbers = Rc::new(RefCell::new(numbers));
        let sum = Rc::new(Cell::new(0));
        for _ in 0..100 {
            let (numbers, sum) = (Rc::clone(&numbers), Rc::clone(&sum));
            let next =
                spawn_local(move || sum.set(sum.get() + numbers.borrow_mut().next().unwrap()));
            next.join().unwrap();
        }
        assert_eq!(sum.get(), 4950);
    });
}

#[test]
fn a_limit_around_a_value_that_is_handed_out_stays_inside() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let mut limited = pauses_inside(|pause| {
            let result = timeout(HOUR, || {
                pause();
                for_ever();
            });
            assert!(result.is_err());
        });
        limited.resume(());
        // Outside it is not in force,
        sleep(2 * HOUR);
        assert_eq!(clock.now() - start, 2 * HOUR);
        // and inside it has passed meanwhile.
        assert_eq!(limited.resume(()), Complete(()));
        assert_eq!(clock.now() - start, 2 * HOUR);
        // The resumer's own limits are in force in both places.
        let mut inside = pauses_inside(|pause| {
            pause();
            for_ever();
        });
        let result = timeout(HOUR, || {
            inside.resume(());
            inside.resume(());
        });
        assert!(result.is_err());
        assert_eq!(clock.now() - start, 3 * HOUR);
        sleep(HOUR);
    });
}

#[test]
fn a_shield_around_a_value_that_is_handed_out_stays_inside() {
    on_manual_clocks(|clock| {
        let start = clock.now();
        let mut shielded = pauses_inside(move |pause| {
            shield(|| {
                pause();
                sleep(2 * HOUR);
            });
        });
        shielded.resume(());
        assert!(timeout(HOUR, || sleep(2 * HOUR)).is_err());
        assert_eq!(clock.now() - start, HOUR);
        let finished = timeout(HOUR, || shielded.resume(()));
        assert_eq!(finished, Ok(Complete(())));
        assert_eq!(clock.now() - start, 3 * HOUR);
        assert!(timeout(HOUR, for_ever).is_err());
    });
}

#[test]
fn limits_and_shields_move_with_their_generator_to_another_thread() {
    on_one_worker(|| {
        for kind in 0..2 {
            let mut moves = pauses_inside(move |pause| match kind {
                0 => drop(timeout(HOUR, pause)),
                _ => shield(pause),
            });
            moves.resume(());
            let other = spawn_local(move || moves.resume(()));
            assert_eq!(other.join().unwrap(), Complete(()));
            assert!(timeout(Duration::from_millis(1), || sleep(HOUR)).is_err());
        }
    });
}

#[test]
fn limits_and_shields_move_with_their_generator_from_and_to_an_os_thread() {
    limited(|| {
        for kind in 0..2 {
            let pauses_twice = move || {
                pauses_inside(move |pause| {
                    for _ in 0..2 {
                        match kind {
                            0 => drop(timeout(HOUR, pause)),
                            _ => shield(pause),
                        }
                    }
                })
            };
            // Begun outside, ended inside; and the other way round.
            let mut outside = pauses_twice();
            outside.resume(());
            let mut inside = greenrt::run(|| {
                outside.resume(());
                assert!(timeout(Duration::from_millis(1), || sleep(HOUR)).is_err());
                let mut inside = pauses_twice();
                inside.resume(());
                inside
            });
            assert_eq!(outside.resume(()), Complete(()));
            inside.resume(());
            assert_eq!(inside.resume(()), Complete(()));
            // Neither has left anything behind on the OS thread.
            let runtime = runtime(1);
            let endless = runtime.spawn(for_ever);
            assert!(timeout(Duration::from_millis(1), || endless.join()).is_err());
        }
    });
}

#[test]
fn threads_of_a_scope_inside_one_that_is_dropped_end_first() {
    on_each_runtime_and_off(|| {
        let log = Log::new();
        let mut lends = {
            let log = log.clone();
            pauses_inside(move |pause| {
                let lent = log.on_drop("owner");
                scope(|s| {
                    let lent = &lent;
                    let log = log.clone();
                    s.spawn(move || {
                        (0..20).for_each(|_| yield_now());
                        let _lent = lent;
                        log.note("child");
                    });
                    pause();
                });
            })
        };
        lends.resume(());
        drop(lends);
        assert_eq!(log.text(), "child owner");
    });
}

#[test]
fn handing_out_a_value_from_another_stack_panics() {
    limited(|| {
        let mut strange = pauses_inside(|pause| greenrt::run(pause));
        let text = panic_of(|| strange.resume(()));
        assert_eq!(
            text,
            "a generator can hand out values on its own stack only"
        );
        // Whoever hands out a value outside `run` may do so, of course.
        let mut fine = pauses_inside(|pause| {
            greenrt::run(|| spawn(yield_now).join().unwrap());
            pause();
        });
        assert_eq!(fine.resume(()), Yielded(()));
        assert_eq!(fine.resume(()), Complete(()));
    });
}

#[test]
fn stacks_are_used_again() {
    on_each_runtime_and_off(|| {
        let round = || {
            let many: Vec<_> = (0..50)
                .map(|n| {
                    let mut half_way = Generator::new(move |out, ()| {
                        out.yield_(n);
                        out.yield_(n);
                    });
                    assert_eq!(half_way.resume(()), Yielded(n));
                    half_way
                })
                .collect();
            for (n, half_way) in many.into_iter().enumerate() {
                match n % 3 {
                    0 => drop(half_way),
                    1 => assert_eq!(half_way.count(), 1),
                    _ => assert_eq!(half_way.last(), Some(n)),
                }
            }
        };
        let mut least = u64::MAX;
        for _ in 0..5 {
            round();
            least = least.min(greenrt_arch::usage::usage().unwrap().address_space_bytes);
        }
        // Other tests run at the same time: some round sees what it saw before.
        let grew = |_| {
            (0..20).for_each(|_| round());
            greenrt_arch::usage::usage().unwrap().address_space_bytes > least + (256 << 20)
        };
        assert!(
            (0..5).map(grew).any(|grew| !grew),
            "each round maps new stacks"
        );
    });
}

#[test]
fn a_body_may_use_as_much_stack_as_was_asked_for() {
    fn use_stack(bytes: usize) -> usize {
        let frame = std::hint::black_box([1u8; 1024]);
        let below = if bytes > 4096 {
            use_stack(bytes - 4096)
        } else {
            0
        };
        below + frame[bytes % 1024] as usize
    }
    on_each_runtime_and_off(|| {
        for bytes in [64 << 10, 256 << 10, 1 << 20, 2 << 20, 8 << 20] {
            let deep = Generator::with_stack_size(bytes, move |out, ()| {
                out.yield_(use_stack(bytes / 2));
            });
            assert_eq!(deep.unwrap().sum::<usize>(), (bytes / 2).div_ceil(4096));
        }
    });
}

#[test]
fn one_in_a_thread_local_is_dropped_with_its_os_thread() {
    thread_local! {
        static KEPT: RefCell<Option<Generator<(), (), ()>>> = const { RefCell::new(None) };
    }
    limited(|| {
        let log = Log::new();
        let thread = {
            let log = log.clone();
            std::thread::spawn(move || {
                let noted = log.on_drop("dropped");
                let mut kept = pauses_inside(move |pause| {
                    let _noted = noted;
                    pause();
                });
                kept.resume(());
                KEPT.set(Some(kept));
            })
        };
        thread.join().unwrap();
        assert_eq!(log.text(), "dropped");
    });
}

#[test]
fn a_thread_that_is_parked_on_a_generators_stack_is_woken_there() {
    on_one_worker(|| {
        let thread = spawn(|| {
            let mut waits = pauses_inside(|_pause| park());
            waits.resume(());
            7
        });
        yield_now();
        // Parked on the generator's stack, and woken there.
        thread.thread().unpark();
        assert_eq!(thread.join().unwrap(), 7);
    });
}
