//! The text of the report, composed without allocation.

use std::fmt::{self, Write};
use std::str;

use super::Describe;
use crate::stack::Found;

/// Bytes that the description of the owner may take.
const SUBJECT_BYTES_MAX: usize = 512;

/// The rest of the report is about 300 bytes.
const BYTES_MAX: usize = SUBJECT_BYTES_MAX + 512;

/// A text of limited length. What does not fit is cut off at a character.
pub(crate) struct Report {
    bytes: [u8; BYTES_MAX],
    len: usize,
    /// No text may end beyond.
    len_max: usize,
}

impl Report {
    /// The report of an access to `addr`, in the guard of the slot `found`.
    pub(crate) fn new(found: &Found, addr: usize, describe: Option<Describe>) -> Report {
        let mut report = Report {
            bytes: [0; BYTES_MAX],
            len: 0,
            len_max: BYTES_MAX,
        };
        report.add("\n");
        let before_subject = report.len;
        if let Some(describe) = describe
            && found.owner != 0
        {
            report.len_max = before_subject + SUBJECT_BYTES_MAX;
            describe(found.owner, &mut report);
            report.len_max = BYTES_MAX;
        }
        if report.len == before_subject {
            report.add("a green thread");
        }
        let slot_high = found.slot_low + found.class.slot_bytes();
        // It fits, and `write_str` below does not fail otherwise either.
        let _ = write!(
            report,
            " has overflowed its stack\n  \
             stack: {} slot at {:#x}-{slot_high:#x}, guard hit at {addr:#x}\n  \
             raise it with Builder::stack_size(bytes) or GREENRT_STACK_SIZE=bytes\n\
             fatal runtime error: stack overflow, aborting\n",
            found.class, found.slot_low,
        );
        report
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn add(&mut self, text: &str) {
        let n = text.floor_char_boundary(self.len_max - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&text.as_bytes()[..n]);
        self.len += n;
    }
}

impl Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text);
        Ok(())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&str::from_utf8(self.text()), f)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::stack::{self, Class};

    fn report(owner: usize, describe: Option<Describe>) -> String {
        let mut slots = Vec::new();
        stack::take(Class::Kib256, 1, &mut slots).unwrap();
        slots[0].set_owner(owner);
        let addr = slots[0].limit() + 8;
        let report = Report::new(&stack::find(addr).unwrap(), addr, describe);
        String::from_utf8(report.text().to_vec()).unwrap()
    }

    #[test]
    fn reads_like_the_report_of_std() {
        let text = report(
            17,
            Some(|owner, out| write!(out, "green thread 'acceptor' ({owner})").unwrap()),
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "");
        assert_eq!(
            lines[1],
            "green thread 'acceptor' (17) has overflowed its stack"
        );
        assert!(
            lines[2].starts_with("  stack: 256 KiB slot at 0x"),
            "{text}"
        );
        assert_eq!(
            lines[3],
            "  raise it with Builder::stack_size(bytes) or GREENRT_STACK_SIZE=bytes"
        );
        assert_eq!(lines[4], "fatal runtime error: stack overflow, aborting");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_long_description_leaves_room_for_the_rest() {
        let text = report(
            1,
            Some(|_, out| (0..1000).for_each(|_| out.write_str("ä€").unwrap())),
        );
        assert!(text.ends_with("aborting\n"), "{text}");
        assert!(
            text.lines().nth(1).unwrap().len()
                <= SUBJECT_BYTES_MAX + " has overflowed its stack".len()
        );
    }

    #[test]
    fn without_a_description_it_is_some_green_thread() {
        for text in [
            report(0, Some(|_, _| panic!("called for nobody"))),
            report(1, None),
            report(1, Some(|_, _| ())),
        ] {
            assert_eq!(
                text.lines().nth(1).unwrap(),
                "a green thread has overflowed its stack"
            );
        }
    }
}
