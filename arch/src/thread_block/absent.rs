//! Where private thread-locals are not built: nothing here is ever reached but the reason.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;

use super::Unavailable;

/// Whatever is needed to make blocks; on this platform there is none.
#[derive(Debug)]
pub enum Support {}

/// Says why this process cannot have private thread-locals.
///
/// # Errors
///
/// Always, on this platform.
pub fn support() -> Result<&'static Support, &'static Unavailable> {
    static REASON: OnceLock<Unavailable> = OnceLock::new();
    Err(REASON.get_or_init(|| {
        let reason = if cfg!(target_feature = "crt-static") {
            "statically linked: libc's own thread-locals cannot be found in such a program"
        } else if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            "no glibc: this program was built for another C library"
        } else {
            "not Linux on x86-64"
        };
        Unavailable::new(reason)
    }))
}

impl Support {
    /// Bytes of a block.
    pub fn bytes(&self) -> usize {
        match *self {}
    }

    /// What the address of a block is a multiple of.
    pub fn align(&self) -> usize {
        match *self {}
    }

    /// Makes a block.
    ///
    /// # Errors
    ///
    /// None here.
    ///
    /// # Safety
    ///
    /// None here.
    #[expect(clippy::missing_safety_doc, reason = "never reached")]
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

/// A thread-local block; on this platform there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block(Support0);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Support0 {}
