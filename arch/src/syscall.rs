//! The symbol `syscall`, in front of libc's.
//!
//! Std and parking_lot reach the futex through `libc::syscall(SYS_futex, ..)`. A program that links
//! this crate calls the function here instead, which is libc's with one comparison more: the number
//! of the futex goes to Rust if somebody has asked for it ([`crate::futex::install`]), and every
//! other number, or every one before that, straight to the kernel.
//!
//! # Rules
//!
//! - *To the letter.* Six arguments, the result, `errno` and -1: whoever does not know that this is
//!   not libc's cannot find out, except by its address.
//! - *From anywhere.* No state is set up at first use, and nothing but one static is read; so it
//!   works before `main`, in a signal handler, and in the child of a fork.
//! - *It must be the one that is linked.* It lies in an rlib, from which the linker takes only what
//!   something refers to: `install` does. A linker then prefers it to libc's, which comes last. In
//!   a shared library that a foreign program loads, libc's comes first all the same; `install`
//!   tries it out and says so.

#![expect(unsafe_code, reason = "defines a function of libc")]

use std::ffi::c_long;
use std::sync::atomic::AtomicPtr;

/// Where calls of the futex go; null: to the kernel. It takes what `syscall` takes.
pub(crate) static HOOK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// What [`HOOK`] points to: number, then the six arguments. The answer is that of `syscall`.
pub(crate) type Entry =
    unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// `syscall(2)` of libc.
///
/// # Safety
///
/// As the manual page of the system call says.
// SAFETY: the name is libc's, and the function does what libc's does.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "endbr64",
        "cmp rdi, {futex}",
        "je 3f",
        // To the kernel, whose fourth argument is in another register than a function's.
        "2:",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, qword ptr [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 4f",
        "ret",
        // The hook finds the arguments where they are.
        "3:",
        "mov rax, qword ptr [rip + {hook}]",
        "test rax, rax",
        "je 2b",
        "jmp rax",
        // The number of the error goes to `errno`.
        "4:",
        "neg eax",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "call qword ptr [rip + __errno_location@GOTPCREL]",
        "pop rcx",
        ".cfi_adjust_cfa_offset -8",
        "mov dword ptr [rax], ecx",
        "mov rax, -1",
        "ret",
        ".cfi_endproc",
        futex = const libc::SYS_futex,
        hook = sym HOOK,
    )
}
