//! The table of the wait word, one thread at a time; the interleavings are in `loom_tests.rs`.

use super::*;

const LOCK: Ends = Ends {
    by_token: false,
    by_cancel: false,
};
const PARK: Ends = Ends {
    by_token: true,
    by_cancel: false,
};
const POINT: Ends = Ends {
    by_token: false,
    by_cancel: true,
};
const BOTH: Ends = Ends {
    by_token: true,
    by_cancel: true,
};

#[test]
fn nothing_ends_a_wait_that_is_not_open() {
    let word = WaitWord::new();
    assert!(!word.is_parked());
    assert!(!word.claim(CLAIM_DEADLINE));
    assert!(!word.close());
    assert!(!word.is_parked());
}

#[test]
fn an_open_wait_has_no_outcome_until_it_is_claimed() {
    let word = WaitWord::new();
    assert_eq!(word.open(LOCK), Ok(()));
    assert!(word.is_parked());
    assert_eq!(word.outcome(), None);
    assert!(word.claim(CLAIM_WOKEN + 7));
    assert_eq!(word.outcome(), Some(CLAIM_WOKEN + 7));
    assert!(!word.is_parked());
}

#[test]
fn only_the_first_claim_counts() {
    let word = WaitWord::new();
    assert_eq!(word.open(BOTH), Ok(()));
    assert!(word.claim(CLAIM_DEADLINE));
    assert!(!word.claim(CLAIM_WOKEN));
    assert!(!word.unpark());
    assert!(!word.cancel());
    assert_eq!(word.outcome(), Some(CLAIM_DEADLINE));
}

#[test]
fn the_largest_tag_fits() {
    let word = WaitWord::new();
    let largest = u32::MAX >> CLAIM_SHIFT;
    assert_eq!(word.open(LOCK), Ok(()));
    assert!(word.claim(largest));
    assert_eq!(word.outcome(), Some(largest));
    assert_eq!(word.open(LOCK), Ok(()));
    assert_eq!(word.outcome(), None);
}

#[test]
fn unpark_before_park_is_not_lost() {
    let word = WaitWord::new();
    assert!(!word.unpark());
    assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
    assert!(!word.is_parked());
    // And it was one token.
    assert_eq!(word.open(PARK), Ok(()));
}

#[test]
fn two_unparks_are_one_token() {
    let word = WaitWord::new();
    assert!(!word.unpark());
    assert!(!word.unpark());
    assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
    assert_eq!(word.open(PARK), Ok(()));
}

#[test]
fn unpark_ends_a_park_and_leaves_no_token() {
    let word = WaitWord::new();
    assert_eq!(word.open(PARK), Ok(()));
    assert!(word.unpark());
    assert_eq!(word.outcome(), Some(CLAIM_TOKEN));
    assert_eq!(word.open(PARK), Ok(()));
}

#[test]
fn the_token_survives_a_wait_for_a_lock() {
    let word = WaitWord::new();
    assert_eq!(word.open(LOCK), Ok(()));
    assert!(!word.unpark());
    assert_eq!(word.outcome(), None);
    assert!(word.claim(CLAIM_WOKEN));
    assert_eq!(word.outcome(), Some(CLAIM_WOKEN));
    assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
}

#[test]
fn the_token_survives_every_way_to_end_a_wait_for_a_lock() {
    let ways: [fn(&WaitWord) -> bool; 4] = [
        |word| word.claim(CLAIM_DEADLINE),
        |word| word.claim(CLAIM_WOKEN),
        WaitWord::cancel,
        WaitWord::close,
    ];
    for end in ways {
        let word = WaitWord::new();
        assert!(!word.unpark());
        assert_eq!(word.open(POINT), Ok(()));
        assert!(end(&word));
        assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
    }
}

#[test]
fn an_unpark_after_the_claim_stays_for_the_next_park() {
    let word = WaitWord::new();
    assert_eq!(word.open(PARK), Ok(()));
    assert!(word.claim(CLAIM_DEADLINE));
    assert!(!word.unpark());
    assert_eq!(word.outcome(), Some(CLAIM_DEADLINE));
    assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
}

#[test]
fn cancel_is_level_triggered() {
    let word = WaitWord::new();
    assert!(!word.cancel());
    assert!(word.is_cancelled());
    for _ in 0..3 {
        assert_eq!(word.open(POINT), Err(CLAIM_CANCEL));
    }
    // Not a point: waits all the same, and stays cancelled.
    assert_eq!(word.open(LOCK), Ok(()));
    assert!(!word.cancel());
    assert_eq!(word.outcome(), None);
    assert!(word.claim(CLAIM_WOKEN));
    assert_eq!(word.open(POINT), Err(CLAIM_CANCEL));
}

#[test]
fn cancel_ends_a_wait_at_a_point_and_every_later_one() {
    let word = WaitWord::new();
    assert_eq!(word.open(POINT), Ok(()));
    assert!(word.cancel());
    assert!(!word.cancel());
    assert_eq!(word.outcome(), Some(CLAIM_CANCEL));
    assert_eq!(word.open(POINT), Err(CLAIM_CANCEL));
}

#[test]
fn cancel_comes_before_the_token_and_does_not_use_it() {
    let word = WaitWord::new();
    word.unpark();
    word.cancel();
    assert_eq!(word.open(BOTH), Err(CLAIM_CANCEL));
    assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
    assert_eq!(word.open(PARK), Ok(()));
}

#[test]
fn a_closed_wait_cannot_be_claimed() {
    let word = WaitWord::new();
    assert_eq!(word.open(BOTH), Ok(()));
    assert!(word.close());
    assert!(!word.claim(CLAIM_DEADLINE));
    assert!(!word.close());
    assert!(!word.unpark());
    assert_eq!(word.open(PARK), Err(CLAIM_TOKEN));
}

#[test]
fn a_claimed_wait_cannot_be_closed() {
    let word = WaitWord::new();
    assert_eq!(word.open(LOCK), Ok(()));
    assert!(word.claim(CLAIM_WOKEN));
    assert!(!word.close());
    assert_eq!(word.outcome(), Some(CLAIM_WOKEN));
}

#[test]
fn a_reset_word_is_a_new_one() {
    let word = WaitWord::new();
    word.unpark();
    word.cancel();
    word.reset();
    assert!(!word.is_cancelled());
    assert_eq!(word.open(BOTH), Ok(()));
}
