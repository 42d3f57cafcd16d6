//! Reading memory that may not be there.
//!
//! The kernel answers `EFAULT` when it is given a bad address; what stands in for the kernel must
//! find that out too, and has no call to ask that would be cheap enough. So it just reads, with one
//! instruction at a known place, and the handler for faults (`overflow.rs`) goes on behind it.

#![expect(unsafe_code, reason = "reads any address")]

use std::ffi::c_void;

/// What the failed instruction leaves: no value of 32 bits.
const FAILED: u64 = u64::MAX;

/// The word at `address`; `None` if it cannot be read.
///
/// Before the handler for faults is installed, or after somebody has taken it away, an address that
/// cannot be read ends the process.
#[must_use]
pub(crate) fn word(address: usize) -> Option<u32> {
    // SAFETY: reads four bytes, whatever they are; if they are not there, `fix_up` goes on.
    let value = unsafe { load(address) };
    (value != FAILED).then_some(value as u32)
}

/// If the fault in `context` is that of a failed read, makes the read return. `false`: it is not.
pub(crate) fn fix_up(context: *mut c_void) -> bool {
    let context: *mut libc::ucontext_t = context.cast();
    // SAFETY: the kernel passes a complete context to a handler with `SA_SIGINFO`.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let at = &mut registers[libc::REG_RIP as usize];
    if *at as usize != load as *const () as usize {
        return false;
    }
    *at = load_failed as *const () as i64;
    true
}

/// Reads one word, in its first instruction.
#[unsafe(naked)]
unsafe extern "C" fn load(address: usize) -> u64 {
    std::arch::naked_asm!("mov eax, dword ptr [rdi]", "ret")
}

/// Where `load` goes on if its first instruction has failed.
#[unsafe(naked)]
unsafe extern "C" fn load_failed() -> u64 {
    std::arch::naked_asm!("mov rax, -1", "ret")
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_word_that_is_there_is_read() {
        let value = [7_u32, u32::MAX];
        let at = value.as_ptr().expose_provenance();
        assert_eq!(word(at), Some(7));
        assert_eq!(word(at + 4), Some(u32::MAX));
    }

    #[test]
    fn a_word_that_is_not_there_is_not_read() {
        crate::overflow::install(|_, _| {}).unwrap();
        for address in [0, 4, 4096, 1 << 46, 1 << 62, usize::MAX - 3] {
            assert_eq!(word(address), None, "{address:#x}");
        }
    }
}
