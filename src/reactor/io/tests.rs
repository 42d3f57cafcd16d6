//! Where a descriptor is registered; what it does is tested from outside.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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

/// A stream that comes in parts, and whether its reads were asked to tell.
struct Parts {
    near: Io<UnixStream>,
    told: RefCell<Vec<bool>>,
}

impl Parts {
    fn new() -> (Rc<Self>, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let parts = Rc::new(Parts {
            near: Io::read_in_parts(near),
            told: RefCell::default(),
        });
        (parts, far)
    }

    /// Reads up to `max` bytes, of room for more: a read that stopped where a part ends.
    fn read(&self, max: usize) -> usize {
        let read = self.near.read_part_with(None, 100, |mut near, must_tell| {
            let n = near.read(&mut vec![0; max])?;
            self.told.borrow_mut().push(must_tell);
            Ok((n, must_tell))
        });
        read.unwrap()
    }

    fn is_level(&self) -> bool {
        self.near.source().is_level()
    }
}

#[test]
fn what_a_short_read_has_left_comes_at_the_next_look() {
    crate::run(|| {
        let (parts, far) = Parts::new();
        (&far).write_all(b"12").unwrap();
        // Not registered: it has to tell that there is more.
        assert_eq!(parts.read(1), 1);
        assert_eq!(parts.read(1), 1);
        let reader = {
            let parts = Rc::clone(&parts);
            crate::spawn_local(move || {
                for _ in 0..10 {
                    assert_eq!(parts.read(2), 2);
                }
            })
        };
        while !parts.near.source().has_reader() {
            crate::yield_now();
        }
        assert!(parts.is_level());
        // One event, and twenty bytes.
        (&far).write_all(&[0; 20]).unwrap();
        reader.join().unwrap();
        assert_eq!(parts.told.borrow()[..2], [true, true]);
        assert!(parts.told.borrow().contains(&false));
        assert!(parts.is_level());
    });
}

#[test]
fn a_stream_is_watched_by_level_until_nobody_needs_to_be_told() {
    crate::run(|| {
        let (parts, far) = Parts::new();
        let read = |max| {
            let reader = {
                let parts = Rc::clone(&parts);
                crate::spawn_local(move || parts.read(max))
            };
            while !parts.near.source().has_reader() {
                crate::yield_now();
            }
            reader
        };
        let reader = read(1);
        (&far).write_all(b"123").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
        assert!(parts.is_level());
        while parts.is_level() {
            // Each of these looks for events.
            crate::sleep(Duration::from_millis(1));
        }
        parts.told.borrow_mut().clear();
        assert_eq!(parts.read(1), 1);
        assert_eq!(parts.read(1), 1);
        assert_eq!(*parts.told.borrow(), [true, true]);
        // And by edges it goes on.
        let reader = read(1);
        (&far).write_all(b"4").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
    });
}

#[test]
fn whoever_waits_to_write_has_edges() {
    crate::run(|| {
        let (parts, far) = Parts::new();
        let reader = {
            let parts = Rc::clone(&parts);
            crate::spawn_local(move || parts.read(1))
        };
        crate::yield_now();
        assert!(parts.is_level());
        let writer = {
            let parts = Rc::clone(&parts);
            let bytes = vec![0; 1 << 20];
            crate::spawn_local(move || {
                parts.near.write_with(None, |mut near| near.write(&bytes))?;
                parts.near.write_with(None, |mut near| near.write(&bytes))
            })
        };
        while parts.is_level() {
            crate::yield_now();
        }
        far.set_nonblocking(true).unwrap();
        while (&far).read(&mut [0; 4096]).is_ok() {}
        assert!(writer.join().unwrap().is_ok());
        (&far).write_all(b"1").unwrap();
        assert_eq!(reader.join().unwrap(), 1);
    });
}
