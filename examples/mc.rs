//! mc
use std::time::Duration;
use greenrt::*;
use std::os::unix::net::UnixStream;
use std::io::{Read,Write};
use greenrt::lowlevel::Io;
fn main() {
    for round in 0..50 { for n_workers in [1usize, 2, 4] {
        let clock = ManualClock::new();
        let rt = Runtime::builder().workers(n_workers).clock(Clock::Manual(clock.clone())).build().unwrap();
        let c2 = clock.clone();
        rt.run(move || {
            let start = c2.now();
            let (a, b) = UnixStream::pair().unwrap();
            a.set_nonblocking(true).unwrap(); b.set_nonblocking(true).unwrap();
            let (a, b) = (Io::new(a), Io::new(b));
            let h = Duration::from_secs(3600);
            let c3 = c2.clone();
            let echo = Builder::new().worker(n_workers-1).spawn(move || for n in 0..500 { let mut x=[0]; b.read_with(Some(h), |mut s| s.read(&mut x)).unwrap();
                if c3.now() != start { println!("echo: jumped at {n} workers {n_workers} round {round}"); return; }
                b.get_ref().write_all(&x).unwrap(); }).unwrap();
            let c3 = c2.clone();
            let ask = Builder::new().worker(0).spawn(move || for n in 0..500 { let mut x=[n as u8]; a.get_ref().write_all(&x).unwrap(); a.read_with(Some(h), |mut s| s.read(&mut x)).unwrap(); 
                if c3.now() != start { println!("ask: jumped at {n} workers {n_workers} round {round}"); return; }
            }).unwrap();
            ask.join().unwrap(); echo.join().unwrap();
            if c2.now() != start { println!("end: jumped workers {n_workers} round {round}"); }
        });
    }}
}
