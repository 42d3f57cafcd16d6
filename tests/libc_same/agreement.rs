//! Random operations have the same outcomes on green threads and on OS threads, one by one.

use std::thread::JoinHandle;

use crate::support::{Random, limited, with_seeds};
use crate::{green, green_std, os_std};

const N_ACTS: usize = 300;
const N_PLAYS: usize = 4;

type Play = fn(Random, usize) -> Vec<String>;

macro_rules! agrees {
    ($($name:ident: $module:ident::$play:ident)*) => {
        $(
            #[test]
            fn $name() {
                agree(os_std::$module::$play, green_std::$module::$play);
            }
        )*
    };
}

agrees! {
    tcp: random::play
    unix_streams: random_streams::play
    udp: random_datagrams::play_udp
    unix_datagrams: random_datagrams::play_unix
    pipes: random_pipes::play
}

#[track_caller]
fn agree(on_os_threads: Play, on_green_threads: Play) {
    greenlibc::patch_all();
    greenlibc::os_threads(|| {
        limited(|| {
            with_seeds(5, |random| {
                let randoms: [Random; N_PLAYS] = std::array::from_fn(|_| random.fork());
                let plays = randoms.clone();
                let plays = plays
                    .map(|random| os_std::thread::spawn(move || on_os_threads(random, N_ACTS)));
                let stds = outcomes(plays);
                for n_workers in [1, 2] {
                    let randoms = randoms.clone();
                    let ours = green(n_workers, move || {
                        outcomes(randoms.map(|random| {
                            std::thread::spawn(move || on_green_threads(random, N_ACTS))
                        }))
                    });
                    same(&stds, &ours);
                }
            });
        });
    });
}

/// Those of several plays at the same time.
fn outcomes(plays: [JoinHandle<Vec<String>>; N_PLAYS]) -> Vec<Vec<String>> {
    plays.map(|play| play.join().unwrap()).into()
}

#[track_caller]
fn same(stds: &[Vec<String>], ours: &[Vec<String>]) {
    for (stds, ours) in stds.iter().zip(ours) {
        for (n, (std, our)) in stds.iter().zip(ours).enumerate() {
            let before = &stds[n.saturating_sub(5)..n];
            assert_eq!(std, our, "act {n}; before it: {before:#?}");
        }
    }
}
