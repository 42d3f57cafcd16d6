//! Children: what starting one and waiting for it costs this process. The CPU time is without the
//! children's own.

use greenstd::process::Command;

use crate::harness::{Row, Sample, Size};

const N_AT_ONCE: u64 = 100;

pub(crate) fn rows() -> Vec<Row> {
    let row = |name, op, run| Row {
        name,
        op,
        size: Size::Fixed(500, 3),
        waits: true,
        run,
    };
    vec![
        row("process/one_after_another", "/bin/true", one_after_another),
        row("process/100_at_once", "/bin/true", many_at_once),
    ]
}

fn child() {
    let status = Command::new("/bin/true").status();
    assert!(status.expect("a child").success());
}

fn one_after_another(n_ops: u64) -> Sample {
    greenrt::run(|| Sample::of(n_ops, || (0..n_ops).for_each(|_| child())))
}

fn many_at_once(n_ops: u64) -> Sample {
    let n_each = n_ops / N_AT_ONCE;
    greenrt::run(|| {
        Sample::of(n_each * N_AT_ONCE, || {
            let thread = || greenrt::spawn(move || (0..n_each).for_each(|_| child()));
            let threads: Vec<_> = (0..N_AT_ONCE).map(|_| thread()).collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        })
    })
}
