//! smoke
use std::time::{Duration, Instant};
fn main() {
    let t = Instant::now();
    greenrt::run(|| {
        let hellos: Vec<_> = (0..3).map(|_| greenrt::spawn(|| {
            println!("Hello");
            greenrt::sleep(Duration::from_millis(100));
            println!("World");
        })).collect();
        println!("{}", greenrt::debug::dump());
        greenrt::yield_now();
        println!("{}", greenrt::debug::dump());
        hellos.into_iter().for_each(|hello| hello.join().unwrap());
    });
    println!("{:?}", t.elapsed());
    let r: greenrt::Result<()> = greenrt::spawn(|| panic!("x")).join();
    println!("{:?}", r.is_err());
    let n = greenrt::scope(|s| { let a = s.spawn(|| t.elapsed()); a.join().unwrap() });
    println!("{n:?}");
    greenrt::run(|| {
        // yield
        for n in [2, 1000] {
            let total = 4_000_000usize;
            let t = Instant::now();
            let ths: Vec<_> = (0..n).map(|_| greenrt::spawn(move || for _ in 0..total / n { greenrt::yield_now() })).collect();
            ths.into_iter().for_each(|h| h.join().unwrap());
            println!("yield {n}: {:.1} ns", t.elapsed().as_nanos() as f64 / total as f64);
        }
        let t = Instant::now();
        let total = 1_000_000;
        for _ in 0..total { greenrt::spawn(|| ()).join().unwrap(); }
        println!("spawn+join: {:.1} ns", t.elapsed().as_nanos() as f64 / total as f64);
        for _ in 0..3 {
        let t = Instant::now();
        let total = 100_000;
        let ths: Vec<_> = (0..total).map(|_| greenrt::spawn(|| ())).collect();
        ths.into_iter().for_each(|h| h.join().unwrap());
        println!("100k spawns: {:.1} ns", t.elapsed().as_nanos() as f64 / total as f64);
        }
        let total = 1_000_000;
        let main = greenrt::current();
        let other = greenrt::spawn(move || for _ in 0..total { greenrt::park(); main.unpark(); });
        let t = Instant::now();
        for _ in 0..total { other.thread().unpark(); greenrt::park(); }
        println!("park round trip: {:.1} ns", t.elapsed().as_nanos() as f64 / total as f64);
        other.join().unwrap();
    });
}
