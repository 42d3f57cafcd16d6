//! The first thing that must work.

use super::support::on_each_runtime;

#[test]
fn a_green_thread_returns_its_value() {
    on_each_runtime(|| assert_eq!(greenrt::spawn(|| 6 * 7).join().unwrap(), 42));
}
