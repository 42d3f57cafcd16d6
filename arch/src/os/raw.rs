//! System calls without libc.
//!
//! See the rule in `os.rs` for who needs them. A call costs what libc's costs, less the store to
//! `errno`.

#![expect(unsafe_code, reason = "enters the kernel")]

use std::ffi::c_long;
use std::io;

/// Highest error number that the kernel returns, as a negative value.
const ERRNO_MAX: isize = 4095;

/// Makes system call `number`. Arguments that it does not have are ignored; pass 0.
///
/// # Errors
///
/// The kernel's error number as an [`io::Error`]; making it allocates nothing.
///
/// # Safety
///
/// The arguments are valid for the call, as its manual page says. Pointers must be exposed.
#[inline]
pub(crate) unsafe fn call(number: c_long, args: [usize; 6]) -> io::Result<usize> {
    // SAFETY: the caller promises valid arguments.
    let result = unsafe { enter(number, args) };
    if (-ERRNO_MAX..0).contains(&result) {
        return Err(io::Error::from_raw_os_error(-result as i32));
    }
    Ok(result as usize)
}

/// The system call `futex`, answered as the kernel answers: a small negative number is an error.
///
/// # Safety
///
/// As [`call`].
#[inline]
pub(crate) unsafe fn futex(args: [usize; 6]) -> isize {
    // SAFETY: the caller promises valid arguments.
    unsafe { enter(libc::SYS_futex, args) }
}

/// As the kernel answers: a small negative number is an error.
///
/// # Safety
///
/// As [`call`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn enter(number: c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention; it overwrites rax, rcx
    // and r11 only, restores the flags, and touches no user stack. Memory is left to the call's
    // arguments, for which the caller answers.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack, preserves_flags),
        );
    }
    result
}

/// As the kernel answers: a small negative number is an error.
///
/// # Safety
///
/// As [`call`].
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn enter(number: c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the kernel's calling convention; it overwrites x0 only,
    // restores the flags, and touches no user stack. Memory is left to the call's arguments, for
    // which the caller answers.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack, preserves_flags),
        );
    }
    result
}

/// As the kernel answers: a small negative number is an error. Through libc, so `errno` changes
/// too.
///
/// # Safety
///
/// As [`call`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn enter(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    // SAFETY: the caller promises valid arguments.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        return -(io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EINVAL) as isize);
    }
    result as isize
}
