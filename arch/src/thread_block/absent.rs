//! Where there are no private thread-locals: the reason, and an interface that does nothing.

#![expect(
    unsafe_code,
    reason = "has the interface of the platform that has blocks"
)]
#![expect(
    clippy::missing_safety_doc,
    reason = "nothing is asked of a caller, and `build` cannot be called"
)]

use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use super::Unavailable;

/// What makes blocks. This platform has none.
#[derive(Debug)]
pub enum Support {}

/// A thread-local block. On this platform only the one that every OS thread has, which nothing here
/// touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block(());

/// Says why this process cannot have private thread-locals.
///
/// # Errors
///
/// Always, on this platform.
pub fn support() -> Result<&'static Support, &'static Unavailable> {
    static REASON: OnceLock<Unavailable> = OnceLock::new();
    Err(REASON.get_or_init(|| {
        Unavailable::new(if cfg!(target_feature = "crt-static") {
            "statically linked: the C library's own thread-locals cannot be found in such a program"
        } else if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            "no glibc: this program was built for another C library"
        } else {
            "not Linux on x86-64"
        })
    }))
}

impl Support {
    /// Bytes of a block.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match *self {}
    }

    /// What the address of a block is a multiple of.
    #[must_use]
    pub fn align(&self) -> usize {
        match *self {}
    }

    /// The block at an address.
    #[must_use]
    pub fn block_at(&self, _at: usize) -> Option<Block> {
        match *self {}
    }

    /// Makes a block.
    ///
    /// # Errors
    ///
    /// None on this platform.
    pub unsafe fn build(
        &self,
        _at: usize,
        _stack: Range<usize>,
        _guard_bytes: usize,
        _home: Block,
    ) -> io::Result<Block> {
        match *self {}
    }
}

impl Block {
    /// The block that is installed now.
    #[inline(always)]
    #[must_use]
    pub fn current() -> Block {
        Block(())
    }

    /// The calling OS thread's own block.
    #[must_use]
    pub fn home() -> Block {
        Block(())
    }

    /// Does nothing.
    #[inline(always)]
    pub unsafe fn install(self, _from: Block) {}

    /// Does nothing.
    #[inline(always)]
    pub unsafe fn renew(self, _home: Block) {}

    /// Always `None`.
    #[inline(always)]
    #[must_use]
    pub fn locate<T>(self, _of: Block, _local: *const T) -> Option<*mut T> {
        None
    }

    /// Does nothing.
    #[inline(always)]
    pub unsafe fn begin() {}

    /// Does nothing.
    #[inline(always)]
    pub unsafe fn run_destructors() {}

    /// Does nothing.
    pub unsafe fn destroy(self) {}
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reason_is_said() {
        let reason = super::support().unwrap_err().to_string();
        assert!(!reason.is_empty(), "{reason}");
    }
}

/// Does nothing on this platform.
pub fn set_pthread_self(_number: usize) {}
