//! smoke
use std::time::Instant;
fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    greenrt::run(|| {
        for _ in 0..5 {
            match &*what {
                "yield" => {
                    for n in [2, 1000] {
                        let total = 8_000_000usize;
                        let t = Instant::now();
                        let ths: Vec<_> = (0..n)
                            .map(|_| {
                                greenrt::spawn(move || {
                                    for _ in 0..total / n {
                                        greenrt::yield_now()
                                    }
                                })
                            })
                            .collect();
                        ths.into_iter().for_each(|h| h.join().unwrap());
                        println!(
                            "yield {n}: {:.1} ns",
                            t.elapsed().as_nanos() as f64 / total as f64
                        );
                    }
                }
                "spawn" => {
                    let t = Instant::now();
                    let total = 2_000_000;
                    for _ in 0..total {
                        greenrt::spawn(|| ()).join().unwrap();
                    }
                    println!(
                        "spawn+join: {:.1} ns",
                        t.elapsed().as_nanos() as f64 / total as f64
                    );
                }
                "100k" => {
                    for _ in 0..10 {
                        let t = Instant::now();
                        let total = 100_000;
                        let ths: Vec<_> = (0..total).map(|_| greenrt::spawn(|| ())).collect();
                        ths.into_iter().for_each(|h| h.join().unwrap());
                        println!(
                            "100k spawns: {:.1} ns",
                            t.elapsed().as_nanos() as f64 / total as f64
                        );
                    }
                }
                "park" => {
                    let total = 4_000_000;
                    let main = greenrt::current();
                    let other = greenrt::spawn(move || {
                        for _ in 0..total {
                            greenrt::park();
                            main.unpark();
                        }
                    });
                    let t = Instant::now();
                    for _ in 0..total {
                        other.thread().unpark();
                        greenrt::park();
                    }
                    println!(
                        "park round trip: {:.1} ns",
                        t.elapsed().as_nanos() as f64 / total as f64
                    );
                    other.join().unwrap();
                }
                "million" => {
                    let n = 1_000_000;
                    let t = Instant::now();
                    let ths: Vec<_> = (0..n).map(|_| greenrt::spawn(|| greenrt::park())).collect();
                    greenrt::yield_now();
                    println!("spawn {:?}", t.elapsed());
                    let s = std::fs::read_to_string("/proc/self/status").unwrap();
                    for l in s
                        .lines()
                        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmPTE"))
                    {
                        println!("{l}");
                    }
                    ths.iter().for_each(|h| h.thread().unpark());
                    ths.into_iter().for_each(|h| h.join().unwrap());
                    println!("all {:?}", t.elapsed());
                }
                "skynet" => {
                    fn sky(base: u64, size: u64) -> u64 {
                        if size == 1 {
                            return base;
                        }
                        let hs: Vec<_> = (0..10)
                            .map(|i| {
                                let s = size / 10;
                                greenrt::spawn(move || sky(base + i * s, s))
                            })
                            .collect();
                        hs.into_iter().map(|h| h.join().unwrap()).sum()
                    }
                    let t = Instant::now();
                    let r = sky(0, 1_000_000);
                    println!("skynet {r} {:?}", t.elapsed());
                }
                _ => {}
            }
        }
    });
}
