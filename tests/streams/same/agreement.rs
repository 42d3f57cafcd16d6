//! Random operations have the same outcomes on std and on greenstd, one by one.

use super::{on_greenstd, on_std, on_std_threads};
use crate::support::{Random, limited, runtime, with_seeds};

const N_ACTS: usize = 300;
const N_PLAYS: usize = 4;

/// The outcomes of several plays at the same time.
type Outcomes = Vec<Vec<String>>;

macro_rules! plays {
    ($play:path, $spawn:path, $randoms:expr) => {{
        let play = |random| $spawn(move || $play(random, N_ACTS));
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
            let before = &stds[n.saturating_sub(5)..n];
            assert_eq!(std, our, "act {n}; before it: {before:#?}");
        }
    }
}

macro_rules! agree {
    ($green:ident, $os:ident, $module:ident, $play:ident) => {
        #[test]
        fn $green() {
            limited(|| {
                with_seeds(5, |random| {
                    let randoms: [Random; N_PLAYS] = std::array::from_fn(|_| random.fork());
                    let stds = plays!(on_std::$module::$play, std::thread::spawn, randoms.clone());
                    for n_workers in [1, 2, 4] {
                        let randoms = randoms.clone();
                        let ours = runtime(n_workers).run(move || {
                            plays!(
                                on_greenstd::$module::$play,
                                greenstd::thread::spawn,
                                randoms
                            )
                        });
                        same(&stds, &ours);
                    }
                });
            });
        }

        #[test]
        fn $os() {
            limited(|| {
                with_seeds(5, |random| {
                    let randoms: [Random; N_PLAYS] = std::array::from_fn(|_| random.fork());
                    let stds = plays!(on_std::$module::$play, std::thread::spawn, randoms.clone());
                    let ours = plays!(on_std_threads::$module::$play, std::thread::spawn, randoms);
                    same(&stds, &ours);
                });
            });
        }
    };
}

agree!(
    unix_streams_of_green_threads_agree_with_std,
    unix_streams_of_os_threads_agree_with_std,
    random_streams,
    play
);
agree!(
    udp_of_green_threads_agrees_with_std,
    udp_of_os_threads_agrees_with_std,
    random_datagrams,
    play_udp
);
agree!(
    unix_datagrams_of_green_threads_agree_with_std,
    unix_datagrams_of_os_threads_agree_with_std,
    random_datagrams,
    play_unix
);
agree!(
    pipes_of_green_threads_agree_with_std,
    pipes_of_os_threads_agree_with_std,
    random_pipes,
    play
);
