//! smoke2
use std::time::Instant;
fn main() {
    let w: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let rt = greenrt::Runtime::builder().workers(w).build().unwrap();
    rt.run(|| {
        for _ in 0..3 {
        let t = Instant::now();
        let c = greenrt_arch::clock::process_cpu_ns();
        let total = 1_000_000;
        for _ in 0..total { greenrt::spawn(|| ()).join().unwrap(); }
        println!("spawn+join: {:.1} ns cpu {:.1}", t.elapsed().as_nanos() as f64 / total as f64, (greenrt_arch::clock::process_cpu_ns()-c) as f64/total as f64);
        let t = Instant::now();
        let c = greenrt_arch::clock::process_cpu_ns();
        let total = 100_000;
        let ths: Vec<_> = (0..total).map(|_| greenrt::spawn(|| ())).collect();
        ths.into_iter().for_each(|h| h.join().unwrap());
        println!("100k spawns: {:.1} ns cpu {:.1}", t.elapsed().as_nanos() as f64 / total as f64, (greenrt_arch::clock::process_cpu_ns()-c) as f64/total as f64);
            fn sky(base: u64, size: u64) -> u64 {
                if size == 1 { return base; }
                let hs: Vec<_> = (0..10).map(|i| { let s = size / 10; greenrt::spawn(move || sky(base + i * s, s)) }).collect();
                hs.into_iter().map(|h| h.join().unwrap()).sum()
            }
            let t = Instant::now();
            let r = sky(0, 1_000_000);
            println!("skynet {r} {:?}", t.elapsed());
        }
        let total = 200_000;
        let main = greenrt::current();
        let other = greenrt::Builder::new().worker(1 % greenrt::debug::dump().threads.len().max(1).max(2)).spawn(move || for _ in 0..total { greenrt::park(); main.unpark(); }).unwrap();
        let t = Instant::now();
        for _ in 0..total { other.thread().unpark(); greenrt::park(); }
        println!("park round trip other worker: {:.1} ns", t.elapsed().as_nanos() as f64 / total as f64);
        other.join().unwrap();
    });
}
