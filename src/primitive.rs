//! Atomics: std's, or those of the model checker.
//!
//! The files that argue about interleavings (`park/word.rs`, `scheduler/{inbox,fresh,idle}.rs`)
//! take their atomics from here, so that `--cfg loom` explores every order of them.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic;

#[cfg(loom)]
pub(crate) use loom::sync::atomic;
