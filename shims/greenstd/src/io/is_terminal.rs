//! Whether something is a terminal.

use std::io;

use super::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock};

/// Whether a stream is a terminal.
///
/// As [`std::io::IsTerminal`], which is sealed, and so not for types of others; whatever has that has
/// this one too.
pub trait IsTerminal: Sealed {
    /// Whether it is a terminal, as [`std::io::IsTerminal::is_terminal`].
    fn is_terminal(&self) -> bool;
}

/// Nobody else implements the trait, as std's.
pub trait Sealed {}

impl<T: io::IsTerminal> Sealed for T {}

impl<T: io::IsTerminal> IsTerminal for T {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(self)
    }
}

macro_rules! is_terminal {
    ($($Stream:ty: $std:expr;)*) => {$(
        impl Sealed for $Stream {}

        impl IsTerminal for $Stream {
            fn is_terminal(&self) -> bool {
                io::IsTerminal::is_terminal(&$std)
            }
        }
    )*};
}

is_terminal! {
    Stdin: io::stdin();
    StdinLock<'_>: io::stdin();
    Stdout: io::stdout();
    StdoutLock<'_>: io::stdout();
    Stderr: io::stderr();
    StderrLock<'_>: io::stderr();
}
