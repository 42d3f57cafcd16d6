//! A program for std prints what is expected; see `on_greenstd.rs`.

#![expect(clippy::disallowed_methods, reason = "std is what is tested")]

mod program;

#[test]
fn prints_what_is_expected() {
    assert_eq!(program::report(), include_str!("expected.txt"));
}
