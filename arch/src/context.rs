//! Where the caller is, and what it will read next.

#![expect(unsafe_code, reason = "reads registers")]

/// Registers that tell where code is: enough to begin a backtrace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    /// Stack pointer.
    pub sp: usize,
    /// Frame pointer. Means something only where code is compiled with frame pointers; 0 on a CPU
    /// we do not know.
    pub fp: usize,
    /// Instruction pointer, inside the calling function; 0 on a CPU we do not know.
    pub ip: usize,
}

/// The registers of the calling function, in three instructions.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[must_use]
pub fn registers() -> Registers {
    let (sp, fp, ip);
    // SAFETY: reads registers, touches neither memory nor flags.
    unsafe {
        std::arch::asm!(
            "mov {sp}, rsp",
            "mov {fp}, rbp",
            "lea {ip}, [rip]",
            sp = out(reg) sp,
            fp = out(reg) fp,
            ip = out(reg) ip,
            options(nomem, nostack, preserves_flags),
        );
    }
    Registers { sp, fp, ip }
}

/// The registers of the calling function, in three instructions.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
#[must_use]
pub fn registers() -> Registers {
    let (sp, fp, ip);
    // SAFETY: reads registers, touches neither memory nor flags.
    unsafe {
        std::arch::asm!(
            "mov {sp}, sp",
            "mov {fp}, x29",
            "adr {ip}, .",
            sp = out(reg) sp,
            fp = out(reg) fp,
            ip = out(reg) ip,
            options(nomem, nostack, preserves_flags),
        );
    }
    Registers { sp, fp, ip }
}

/// The stack pointer of the calling function, nearly; the others are 0 on this CPU.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
#[must_use]
pub fn registers() -> Registers {
    let here = 0_u8;
    Registers {
        sp: std::ptr::from_ref(std::hint::black_box(&here)).addr(),
        fp: 0,
        ip: 0,
    }
}

/// A `SeqCst` fence between an atomic read-modify-write that the caller has just made, of any order, and
/// what follows. On x86-64 the change is a fence by itself, and this keeps the compiler in order only.
#[inline(always)]
pub fn fence_after_swap() {
    use std::sync::atomic::{Ordering, compiler_fence, fence};
    if cfg!(target_arch = "x86_64") {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Tells the CPU that the cache line at `addr` will be read soon. Any address will do; a hint
/// cannot fault.
#[inline(always)]
pub fn prefetch(addr: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction reads nothing that the program could see, and ignores bad addresses.
    unsafe {
        std::arch::asm!(
            "prefetcht0 [{}]",
            in(reg) addr,
            options(readonly, nostack, preserves_flags),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction reads nothing that the program could see, and ignores bad addresses.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{}]",
            in(reg) addr,
            options(readonly, nostack, preserves_flags),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = addr;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_pointer_is_below_the_callers_locals() {
        let local = 0_u8;
        let address = std::ptr::from_ref(std::hint::black_box(&local)).addr();
        let registers = registers();
        assert!(registers.sp <= address, "{registers:x?} {address:x}");
        assert!(address - registers.sp < 64 * 1024);
    }

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_instruction_pointer_is_where_the_caller_is() {
        #[inline(never)]
        fn twice() -> [usize; 2] {
            [registers().ip, registers().ip]
        }
        let [first, second] = twice();
        assert!(
            first < second && second - first < 256,
            "{first:x} {second:x}"
        );
        assert!(first.abs_diff(twice as *const () as usize) < 4096);
    }

    #[test]
    fn prefetch_never_faults() {
        prefetch(0);
        prefetch(usize::MAX);
        prefetch(registers().sp);
    }
}
