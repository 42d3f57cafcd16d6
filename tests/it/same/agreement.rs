//! Random operations on connections have the same outcomes on std and on greenstd, one by one.

use super::{on_greenstd, on_std, on_std_threads};
use crate::support::{Random, limited, limited_to, runtime, with_seeds};
use std::time::Duration;

const N_ACTS: usize = 300;
const N_PLAYS: usize = 4;

/// The outcomes of several plays at the same time.
type Outcomes = Vec<Vec<String>>;

macro_rules! plays {
    ($subject:ident, $spawn:path, $randoms:expr) => {{
        let play = |random| $spawn(move || $subject::random::play(random, N_ACTS));
        let plays: Vec<_> = $randoms.map(play).into();
        plays
            .into_iter()
            .map(|play| play.join().unwrap())
            .collect::<Outcomes>()
    }};
}

#[track_caller]
fn same(stds: &Outcomes, ours: &Outcomes) {
    for (stds, ours) in stds.iter().zip(ours) {
        for (n, (std, our)) in stds.iter().zip(ours).enumerate() {
            assert_eq!(
                std,
                our,
                "act {n}; before it: {:#?}",
                &stds[n.saturating_sub(5)..n]
            );
        }
    }
}

#[test]
fn green_threads_agree_with_std() {
    limited_to(Duration::from_secs(120), || {
        with_seeds(6, |random| {
            let randoms: [Random; N_PLAYS] = std::array::from_fn(|_| random.fork());
            let stds = plays!(on_std, std::thread::spawn, randoms.clone());
            for n_workers in [1, 2, 4] {
                let randoms = randoms.clone();
                let ours = runtime(n_workers)
                    .run(move || plays!(on_greenstd, greenstd::thread::spawn, randoms));
                same(&stds, &ours);
            }
        });
    });
}

#[test]
fn os_threads_agree_with_std() {
    limited(|| {
        with_seeds(6, |random| {
            let randoms: [Random; N_PLAYS] = std::array::from_fn(|_| random.fork());
            let stds = plays!(on_std, std::thread::spawn, randoms.clone());
            same(&stds, &plays!(on_std_threads, std::thread::spawn, randoms));
        });
    });
}
