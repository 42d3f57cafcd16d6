#![expect(unsafe_code, reason = "provokes faults and sets handlers")]
#![allow(
    clippy::disallowed_methods,
    reason = "below the runtime, and on OS threads alone"
)]
// Every test but those of `AltStack` lets a child die and looks at how.

use std::fmt::Write;
use std::hint::black_box;
use std::thread;

use super::*;
use crate::stack::{Class, Slot};
use crate::testing::{assert_done, assert_killed, in_child, stderr, time_limit};

fn describe(owner: usize, out: &mut dyn Write) {
    let _ = write!(out, "green thread 'test' ({owner}, spawned at here.rs:1:2)");
}

fn slot_of(owner: usize) -> Slot {
    let mut slots = Vec::new();
    stack::take(Class::Kib64, 1, &mut slots).unwrap();
    let slot = slots.pop().unwrap();
    slot.set_owner(owner);
    slot
}

fn touch(addr: usize) {
    // SAFETY: the caller wants the fault, and the test is over.
    unsafe { ptr::without_provenance_mut::<u8>(addr).write_volatile(1) };
}

/// What is at an address near zero: nothing.
fn follow_null() {
    // Not zero itself, of which debug builds make a panic.
    touch(black_box(8));
}

fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    if depth == usize::MAX {
        frame[0]
    } else {
        recurse(depth + 1) + black_box(frame)[63]
    }
}

#[track_caller]
fn assert_reported(child: &std::process::Output, subject: &str) {
    assert_killed(child, libc::SIGABRT);
    let text = stderr(child);
    assert_eq!(
        text.matches("has overflowed its stack").count(),
        1,
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "\n{subject} has overflowed its stack\n  stack: 64 KiB slot at 0x"
        )),
        "{text}"
    );
    assert!(
        text.ends_with("\nfatal runtime error: stack overflow, aborting\n"),
        "{text}"
    );
}

const SUBJECT: &str = "green thread 'test' (17, spawned at here.rs:1:2)";

#[test]
fn a_touched_guard_is_reported() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        let _alt_stack = AltStack::install().unwrap();
        touch(slot_of(17).limit() + 4000);
    });
    assert_reported(&child, SUBJECT);
}

#[test]
fn a_guard_of_mprotect_is_reported() {
    let _limit = time_limit(60);
    let child = in_child(&[("GREENRT_STACK_GUARDS", "mprotect")], || {
        install(describe).unwrap();
        touch(slot_of(17).limit());
    });
    assert_reported(&child, SUBJECT);
}

#[test]
fn the_signal_stack_of_std_is_enough() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        thread::spawn(|| touch(slot_of(17).limit())).join().unwrap();
    });
    assert_reported(&child, SUBJECT);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_real_overflow_is_reported() {
    extern "C" fn deep() {
        black_box(recurse(0));
    }
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        let _alt_stack = AltStack::install().unwrap();
        let slot = slot_of(17);
        // SAFETY: the slot is a stack that nobody else uses; the function never returns, but if it
        // did, it would find the old stack pointer where the calling convention keeps it.
        unsafe {
            std::arch::asm!(
                "mov r12, rsp",
                "mov rsp, {top}",
                "call {deep}",
                "mov rsp, r12",
                top = in(reg) slot.top(),
                deep = sym deep,
                out("r12") _,
                clobber_abi("C"),
            );
        }
    });
    assert_reported(&child, SUBJECT);
}

#[test]
fn only_the_first_of_many_reports() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        let barrier = std::sync::Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let slot = slot_of(17);
                    barrier.wait();
                    touch(slot.limit());
                });
            }
        });
    });
    assert_reported(&child, SUBJECT);
}

#[test]
fn an_owner_that_cannot_be_described_is_some_green_thread() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(|_, out| {
            let _ = out.write_str("half a des");
            follow_null();
        })
        .unwrap();
        // Two frames and two reports are too much for the stack that std makes.
        let _alt_stack = AltStack::install().unwrap();
        touch(slot_of(17).limit());
    });
    assert_reported(&child, "a green thread");
}

#[test]
fn a_second_install_changes_nothing() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        install(|_, _| ()).unwrap();
        touch(slot_of(17).limit());
    });
    assert_reported(&child, SUBJECT);
}

/// The handler that is there when `chain` is installed.
static REPLACED: OnceLock<libc::sigaction> = OnceLock::new();

extern "C" fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    os::write_stderr(b"passed on\n");
    if let Some(replaced) = REPLACED.get() {
        // SAFETY: `replaced` was installed with `SA_SIGINFO`.
        let handler =
            unsafe { mem::transmute::<libc::sighandler_t, Handler>(replaced.sa_sigaction) };
        handler(signal, info, context);
    }
}

fn set_handler(handler: libc::sighandler_t, flags: c_int) {
    let action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zeroes are a valid action.
    let mut action = unsafe { action.assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the action is complete.
    let result = unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) };
    assert_eq!(result, 0);
}

#[test]
fn a_later_handler_that_passes_on_does_no_harm() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        REPLACED.get_or_init(|| action_of(libc::SIGSEGV));
        set_handler(
            chain as Handler as libc::sighandler_t,
            libc::SA_SIGINFO | libc::SA_ONSTACK,
        );
        touch(slot_of(17).limit());
    });
    assert_reported(&child, SUBJECT);
    assert!(stderr(&child).contains("passed on"));
}

#[test]
fn an_earlier_handler_gets_what_is_not_ours_with_its_own_mask() {
    extern "C" fn earlier(signal: c_int) {
        let mut blocked = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: asks only.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), blocked.as_mut_ptr()) };
        // SAFETY: the set is initialised now.
        let is_blocked = |signal| unsafe { libc::sigismember(blocked.as_ptr(), signal) } == 1;
        let expected =
            is_blocked(libc::SIGUSR1) && is_blocked(signal) && !is_blocked(libc::SIGUSR2);
        process::exit(if signal == libc::SIGSEGV && expected {
            7
        } else {
            8
        });
    }
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        let mut action = action_of(libc::SIGSEGV);
        // SAFETY: the set is initialised.
        unsafe { libc::sigaddset(&mut action.sa_mask, libc::SIGUSR1) };
        action.sa_sigaction = earlier as extern "C" fn(c_int) as libc::sighandler_t;
        action.sa_flags = 0;
        // SAFETY: the action is complete.
        unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) };
        install(describe).unwrap();
        follow_null();
    });
    assert_eq!(child.status.code(), Some(7), "{}", stderr(&child));
}

#[test]
fn an_ignored_fault_kills_but_an_ignored_signal_does_not() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        set_handler(libc::SIG_IGN, 0);
        install(describe).unwrap();
        os::raise(libc::SIGSEGV);
        eprintln!("ignored");
        follow_null();
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(stderr(&child).contains("ignored"));
}

#[test]
fn a_sent_signal_kills_by_default() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        set_handler(libc::SIG_DFL, 0);
        install(describe).unwrap();
        os::raise(libc::SIGSEGV);
    });
    assert_killed(&child, libc::SIGSEGV);
}

#[test]
fn a_handler_for_once_is_called_once() {
    extern "C" fn once(_: c_int) {
        os::write_stderr(b"once\n");
    }
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        set_handler(
            once as extern "C" fn(c_int) as libc::sighandler_t,
            libc::SA_RESETHAND,
        );
        install(describe).unwrap();
        follow_null();
    });
    assert_killed(&child, libc::SIGSEGV);
    assert_eq!(stderr(&child).matches("once").count(), 1);
}

#[test]
fn a_null_pointer_is_still_a_segmentation_fault() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        let _alt_stack = AltStack::install().unwrap();
        follow_null();
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(!stderr(&child).contains("overflowed"));
}

#[test]
fn a_usable_address_in_a_slot_is_not_an_overflow() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        let slot = slot_of(17);
        let page = slot.limit() + slot.class().guard_bytes();
        // SAFETY: the page is ours, and empty.
        unsafe { os::forbid(page..page + crate::page::size()) }.unwrap();
        touch(page);
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(!stderr(&child).contains("overflowed"));
}

#[test]
fn std_still_reports_for_its_threads() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        install(describe).unwrap();
        let deep = || {
            let _alt_stack = AltStack::install().unwrap();
            recurse(0)
        };
        black_box(
            thread::Builder::new()
                .name("deep".into())
                .spawn(deep)
                .unwrap()
                .join(),
        )
        .unwrap();
    });
    assert_killed(&child, libc::SIGABRT);
    let text = stderr(&child);
    assert!(
        text.contains("thread 'deep'") && text.contains("has overflowed its stack"),
        "{text}"
    );
    assert!(!text.contains("slot at"), "{text}");
}

fn current_alt_stack() -> libc::stack_t {
    let mut current = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: asks only.
    unsafe { libc::sigaltstack(ptr::null(), current.as_mut_ptr()) };
    // SAFETY: the kernel has filled it.
    unsafe { current.assume_init() }
}

#[test]
fn an_alternate_stack_comes_and_goes() {
    let _limit = time_limit(60);
    let before = current_alt_stack();
    let outer = AltStack::install().unwrap();
    let between = current_alt_stack();
    assert_ne!(between.ss_sp, before.ss_sp);
    assert!(between.ss_size >= 64 * 1024);
    let inner = AltStack::install().unwrap();
    assert_ne!(current_alt_stack().ss_sp, between.ss_sp);
    drop(inner);
    assert_eq!(current_alt_stack().ss_sp, between.ss_sp);
    drop(outer);
    assert_eq!(
        (current_alt_stack().ss_sp, current_alt_stack().ss_flags),
        (before.ss_sp, before.ss_flags)
    );
}

#[test]
fn an_alternate_stack_under_another_one_stays() {
    let _limit = time_limit(60);
    thread::spawn(|| {
        let outer = AltStack::install().unwrap();
        let inner = AltStack::install().unwrap();
        let current = current_alt_stack();
        drop(outer);
        assert_eq!(current_alt_stack().ss_sp, current.ss_sp);
        drop(inner);
        // The outer stack is there again, and mapped.
        let current = current_alt_stack();
        touch(current.ss_sp.addr());
        touch(current.ss_sp.addr() + current.ss_size - 1);
    })
    .join()
    .unwrap();
}

#[test]
fn an_alternate_stack_has_a_guard() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        let _alt_stack = AltStack::install().unwrap();
        let low = current_alt_stack().ss_sp.addr();
        touch(low);
        eprintln!("usable");
        touch(low - 1);
    });
    assert_killed(&child, libc::SIGSEGV);
    assert!(stderr(&child).contains("usable"));
}

#[test]
fn an_alternate_stack_leaves_no_mapping_behind() {
    let _limit = time_limit(60);
    let child = in_child(&[], || {
        drop(AltStack::install());
        let before = crate::usage::usage().unwrap().address_space_bytes;
        // 650 MiB if they stayed. A heap of the allocator's for another thread may come meanwhile,
        // 64 MiB.
        for _ in 0..10_000 {
            drop(AltStack::install().unwrap());
        }
        assert!(crate::usage::usage().unwrap().address_space_bytes < before + (200 << 20));
    });
    assert_done(&child);
}
