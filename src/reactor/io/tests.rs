//! Where a descriptor is registered; what it does is tested from outside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::Io;
use crate::{Builder, Runtime};

fn pair() -> (Arc<Io<UnixStream>>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    (Arc::new(Io::new(near)), far)
}

/// Waits once for a byte, on a worker.
fn wait_on(worker: usize, near: &Arc<Io<UnixStream>>, far: &UnixStream) {
    let near = Arc::clone(near);
    let reader = {
        let near = Arc::clone(&near);
        let read = move || {
            near.read_with(None, |mut near| near.read(&mut [0]))
                .unwrap()
        };
        Builder::new().worker(worker).spawn(read).unwrap()
    };
    while !near.registration.source.has_reader() {
        crate::yield_now();
    }
    (&*far).write_all(b"a").unwrap();
    assert_eq!(reader.join().unwrap(), 1);
}

#[test]
fn a_descriptor_moves_after_eight_waits_in_a_row_from_another_worker() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.run(|| {
        let (near, far) = pair();
        let home = || near.registration.source.home();
        assert_eq!(home(), None);
        wait_on(0, &near, &far);
        assert_eq!(home(), Some(0));
        for _ in 0..7 {
            wait_on(1, &near, &far);
            assert_eq!(home(), Some(0));
        }
        // A wait at home begins the count anew.
        wait_on(0, &near, &far);
        for _ in 0..7 {
            wait_on(1, &near, &far);
            assert_eq!(home(), Some(0));
        }
        wait_on(1, &near, &far);
        assert_eq!(home(), Some(1));
        wait_on(1, &near, &far);
        assert_eq!(home(), Some(1));
    });
}

#[test]
fn a_descriptor_is_at_home_nowhere_when_its_worker_has_ended() {
    let (near, far) = pair();
    for _ in 0..3 {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let (far, shared) = (far.try_clone().unwrap(), Arc::clone(&near));
        runtime.run(move || {
            wait_on(0, &shared, &far);
            assert_eq!(shared.registration.source.home(), Some(0));
        });
        drop(runtime);
        assert_eq!(near.registration.source.home(), None);
    }
}
