//! The thread pointer: the FS base of x86-64.

#![expect(unsafe_code, reason = "reads and writes the thread pointer")]

use std::arch::asm;

/// Bit 1 of `AT_HWCAP2`: the kernel lets programs write the FS base.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// Where this thread's block is: the first word of a block is its own address.
#[inline(always)]
pub(super) fn base() -> usize {
    let base;
    // SAFETY: in a program with glibc the FS base always points at such a word.
    unsafe {
        asm!("mov {}, fs:0", out(reg) base, options(nostack, preserves_flags, readonly));
    }
    base
}

/// Makes `base` the thread pointer.
///
/// # Safety
///
/// A complete block is there, the CPU has the instruction, and the caller keeps the rules of
/// `thread_block`.
#[inline(always)]
pub(super) unsafe fn set_base(base: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        asm!("wrfsbase {}", in(reg) base, options(nostack, preserves_flags));
    }
}

/// Whether [`set_base`] has its instruction.
pub(super) fn can_set_base() -> bool {
    // SAFETY: asks only.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    hwcap2 & HWCAP2_FSGSBASE != 0
}

/// Whether this runs under valgrind, which does not know the instruction.
///
/// Valgrind answers to a sequence of instructions that does nothing on a CPU.
pub(super) fn under_valgrind() -> bool {
    /// `VG_USERREQ__RUNNING_ON_VALGRIND`
    const RUNNING_ON_VALGRIND: usize = 0x1001;
    let request = [RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: rotates rdi by 128 bits in all, and exchanges rbx with itself.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") request.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer != 0
}
