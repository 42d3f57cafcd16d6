//! Macros that name std in every way.

/// Pushes several things.
#[macro_export]
macro_rules! push_all {
    ($list:expr, $($item:expr),*) => {{
        let list: &mut ::std::vec::Vec<_> = &mut $list;
        $(list.push($item);)*
    }};
}

/// Spawns a thread for each expression, and waits for all.
#[macro_export]
macro_rules! all_at_once {
    ($($what:expr),* $(,)?) => {
        [$(std::thread::spawn(move || $what)),*].map(|thread| thread.join().unwrap())
    };
}
