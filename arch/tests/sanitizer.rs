//! A program that has a symbol of a sanitizer's: it gets no private thread-locals, and a reason.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#![expect(unsafe_code, reason = "pretends to be a sanitizer")]

use greenrt_arch::thread_block::support;

#[unsafe(no_mangle)]
extern "C" fn __tsan_init() {}

#[test]
fn a_sanitizer_is_a_reason() {
    let reason = support().unwrap_err().to_string();
    assert!(reason.starts_with("the thread sanitizer"), "{reason}");
}
