//! std's traits, types and functions for input and output, as they are.
//!
//! Left out, because they would block the worker: `stdin` with `Stdin` and `StdinLock`, and `pipe`
//! with its two ends. `stdout` and `stderr` block it only while whoever reads them does not.

pub use std::io::prelude;
pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink,
    Split, Stderr, StderrLock, Stdout, StdoutLock, Take, Write, WriterPanicked, copy, empty,
    read_to_string, repeat, sink, stderr, stdout,
};
