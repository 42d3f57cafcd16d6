// A program written for std: a little warehouse. Orders come in from clerks over a bounded channel,
// packers take them from shelves behind locks, a courier carries parcels, and a scribe writes the
// report. Each place that can be in std is written `std::`; nothing else is imported.
//
// What it prints does not depend on who runs when.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread::{self, JoinHandle, LocalKey};
use std::time::{Duration, Instant};

// The shelves.

static PRICES: LazyLock<BTreeMap<&'static str, u32>> = LazyLock::new(|| {
    thread::yield_now();
    BTreeMap::from([("bolt", 3), ("nut", 2), ("screw", 5), ("washer", 1)])
});

static OPENED: Once = Once::new();
static N_OPENED: AtomicUsize = AtomicUsize::new(0);
static MOTTO: OnceLock<String> = OnceLock::new();

struct Shelves {
    stock: RwLock<BTreeMap<&'static str, u32>>,
    restocked: Condvar,
    n_restocked: Mutex<u32>,
}

impl Shelves {
    fn new() -> Self {
        let stock = PRICES.keys().map(|&name| (name, 10)).collect();
        Shelves {
            stock: RwLock::new(stock),
            restocked: Condvar::new(),
            n_restocked: Mutex::new(0),
        }
    }

    fn count(&self) -> u32 {
        self.stock.read().unwrap().values().sum()
    }

    /// Takes `n` of something, and waits for more if there are not enough.
    fn take(&self, name: &'static str, n: u32) {
        loop {
            let seen = *self.n_restocked.lock().unwrap();
            {
                let mut stock = self.stock.write().unwrap();
                let left = stock.get_mut(name).unwrap();
                if *left >= n {
                    *left -= n;
                    return;
                }
            }
            let n_restocked = self.n_restocked.lock().unwrap();
            let limit = Duration::from_millis(50);
            drop(
                self.restocked
                    .wait_timeout_while(n_restocked, limit, |now| *now == seen)
                    .unwrap(),
            );
        }
    }

    fn restock(&self, name: &'static str, n: u32) {
        *self.stock.write().unwrap().get_mut(name).unwrap() += n;
        *self.n_restocked.lock().unwrap() += 1;
        self.restocked.notify_all();
    }
}

// The orders.

#[derive(Clone, Debug)]
struct Order {
    number: u32,
    name: &'static str,
    n: u32,
    receipt: Option<Sender<Receipt>>,
}

#[derive(Debug, PartialEq)]
struct Receipt {
    number: u32,
    price: u32,
}

// Each packer's own notes.

std::thread_local! {
    static PACKED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static WEIGHT: Cell<u32> = Cell::default();
    static FAREWELL: RefCell<Option<Farewell>> = RefCell::default()
}

/// Says how much somebody has packed, when they go home.
struct Farewell {
    to: Sender<u32>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let n = PACKED.with_borrow(|packed| packed.len() as u32);
        self.to.send(n).unwrap();
    }
}

fn sum(key: &'static LocalKey<RefCell<Vec<u32>>>) -> u32 {
    key.with_borrow(|all| all.iter().sum())
}

fn pack(shelves: &Shelves, order: Order, out: &mut String) {
    OPENED.call_once(|| {
        thread::yield_now();
        N_OPENED.fetch_add(1, Ordering::Relaxed);
    });
    shelves.take(order.name, order.n);
    PACKED.with_borrow_mut(|packed| packed.push(order.number));
    WEIGHT.set(WEIGHT.get() + order.n);
    if order.number.is_multiple_of(7) {
        thread::yield_now();
    }
    writeln!(out, "{} x {}", order.n, order.name).unwrap();
    let price = PRICES[order.name] * order.n;
    if let Some(receipt) = order.receipt {
        let number = order.number;
        receipt.send(Receipt { number, price }).unwrap();
    }
}

const N_PACKERS: usize = 4;
const N_CLERKS: u32 = 3;
const N_ORDERS: u32 = 20;

fn packers(
    shelves: &Arc<Shelves>,
    orders: Receiver<Order>,
    farewells: Sender<u32>,
) -> Vec<JoinHandle<(usize, u32, u32)>> {
    let orders = Arc::new(Mutex::new(orders));
    (0..N_PACKERS)
        .map(|who| {
            let (shelves, orders) = (Arc::clone(shelves), Arc::clone(&orders));
            let to = farewells.clone();
            let packer = thread::Builder::new().name(format!("packer {who}"));
            let packer = packer.spawn(move || {
                // Before its own notes, so that these are still there when it is said.
                PACKED.with(|_| ());
                FAREWELL.set(Some(Farewell { to }));
                let mut out = String::new();
                loop {
                    // The guard goes before the packing begins.
                    let order = orders.lock().unwrap().recv();
                    match order {
                        Ok(order) => pack(&shelves, order, &mut out),
                        Err(_) => break,
                    }
                }
                assert_eq!(thread::current().name(), Some(&*format!("packer {who}")));
                (out.lines().count(), WEIGHT.get(), sum(&PACKED))
            });
            packer.unwrap()
        })
        .collect()
}

fn clerk(who: u32, orders: &SyncSender<Order>) -> u32 {
    let (receipt, receipts) = mpsc::channel();
    let names: Vec<_> = PRICES.keys().copied().collect();
    for n in 0..N_ORDERS {
        let mut order = Order {
            number: who * 100 + n,
            name: names[((who + n) % 4) as usize],
            n: 1 + n % 3,
            receipt: Some(receipt.clone()),
        };
        // Some are pushy.
        if n.is_multiple_of(2) {
            while let Err(TrySendError::Full(again)) = orders.try_send(order.clone()) {
                order = again;
                thread::yield_now();
            }
        } else {
            orders.send(order).unwrap();
        }
    }
    drop(receipt);
    let mut all: Vec<Receipt> = receipts.into_iter().collect();
    all.sort_by_key(|receipt| receipt.number);
    assert!(
        all.iter()
            .map(|r| r.number)
            .eq(who * 100..who * 100 + N_ORDERS)
    );
    all.iter().map(|receipt| receipt.price).sum()
}

fn business(report: &mut String) {
    let shelves = Arc::new(Shelves::new());
    let (orders, incoming) = mpsc::sync_channel(2);
    let (farewells, goodbyes) = mpsc::channel();
    let packers = packers(&shelves, incoming, farewells);
    let day_is_over = Arc::new((Mutex::new(false), Condvar::new()));
    let supplier = {
        let (shelves, over) = (Arc::clone(&shelves), Arc::clone(&day_is_over));
        thread::spawn(move || {
            let (over, changed) = &*over;
            let mut n = 0;
            let mut is_over = over.lock().unwrap();
            while !*is_over {
                drop(is_over);
                for &name in PRICES.keys() {
                    shelves.restock(name, 4);
                    n += 4;
                }
                let wait = Duration::from_micros(300);
                is_over = changed.wait_timeout(over.lock().unwrap(), wait).unwrap().0;
            }
            n
        })
    };
    let sales: Vec<u32> = thread::scope(|s| {
        let clerks: Vec<_> = (0..N_CLERKS)
            .map(|who| {
                let orders = orders.clone();
                s.spawn(move || clerk(who, &orders))
            })
            .collect();
        clerks
            .into_iter()
            .map(|clerk| clerk.join().unwrap())
            .collect()
    });
    drop(orders);
    let (mut n_lines, mut weight, mut numbers) = (0, 0, 0);
    for packer in packers {
        let (lines, packed, sum) = packer.join().unwrap();
        (n_lines, weight, numbers) = (n_lines + lines, weight + packed, numbers + sum);
    }
    *day_is_over.0.lock().unwrap() = true;
    day_is_over.1.notify_one();
    let supplied = supplier.join().unwrap();
    writeln!(report, "sales: {sales:?}").unwrap();
    writeln!(
        report,
        "packed: {n_lines} orders, weight {weight}, numbers {numbers}"
    )
    .unwrap();
    writeln!(report, "goodbyes: {}", goodbyes.iter().sum::<u32>()).unwrap();
    writeln!(report, "opened: {}", N_OPENED.load(Ordering::Relaxed)).unwrap();
    let left = shelves.count();
    assert_eq!(left + weight, 40 + supplied);
}

// What goes wrong.

fn mishaps(report: &mut String) {
    let fragile = Arc::new(Mutex::new(vec![1, 2, 3]));
    let clumsy = {
        let fragile = Arc::clone(&fragile);
        thread::spawn(move || {
            let mut fragile = fragile.lock().unwrap();
            fragile.pop();
            std::panic::resume_unwind(Box::new("dropped it"));
        })
    };
    let payload = clumsy.join().unwrap_err();
    let words = payload.downcast_ref::<&str>();
    writeln!(report, "mishap: {words:?}, {fragile:?}").unwrap();
    let rest = fragile.lock().unwrap_or_else(|broken| {
        writeln!(report, "{broken}").unwrap();
        broken.into_inner()
    });
    writeln!(report, "left of it: {rest:?}").unwrap();
    drop(rest);

    let (sender, receiver) = mpsc::channel::<()>();
    let start = Instant::now();
    let limit = Duration::from_millis(3);
    let timed_out = receiver.recv_timeout(limit);
    assert!(start.elapsed() >= limit);
    assert_eq!(timed_out, Err(RecvTimeoutError::Timeout));
    drop(sender);
    let gone = receiver.recv_timeout(limit).unwrap_err();
    writeln!(report, "{}; {gone}", timed_out.unwrap_err()).unwrap();
    let result = std::panic::catch_unwind(|| {
        thread::scope(|s| {
            s.spawn(|| std::panic::resume_unwind(Box::new(7)));
        });
    });
    let payload = result.unwrap_err();
    writeln!(report, "{:?}", payload.downcast_ref::<&str>()).unwrap();
}

// The inspection: all at once, in rounds.

fn inspection(report: &mut String) {
    let (all, best) = (Barrier::new(5), Mutex::new(Vec::new()));
    let n_leaders = AtomicUsize::new(0);
    thread::scope(|s| {
        for inspector in 0..5_u32 {
            let (all, best, n_leaders) = (&all, &best, &n_leaders);
            s.spawn(move || {
                for round in 0..10 {
                    best.lock().unwrap().push(inspector * round);
                    if all.wait().is_leader() {
                        n_leaders.fetch_add(1, Ordering::Relaxed);
                        let mut best = best.lock().unwrap();
                        let most = best.iter().copied().max();
                        assert_eq!((best.len(), most), (5, Some(4 * round)));
                        best.clear();
                    }
                    all.wait();
                }
                MOTTO.get_or_init(|| "measure twice".to_string());
            });
        }
        s.spawn(|| assert_eq!(MOTTO.wait(), "measure twice"));
    });
    // The second wait of a round has a leader too, who does nothing.
    writeln!(report, "leaders: {n_leaders:?}, motto: {:?}", MOTTO.get()).unwrap();
}

// The relay: a token goes round by park and unpark.

fn relay(report: &mut String) {
    let turn = Arc::new(AtomicUsize::new(0));
    let runners: Vec<_> = (0..3)
        .map(|who| {
            let turn = Arc::clone(&turn);
            thread::spawn(move || laps(who, &turn))
        })
        .collect();
    loop {
        runners.iter().for_each(|runner| runner.thread().unpark());
        if runners.iter().all(JoinHandle::is_finished) {
            break;
        }
        thread::yield_now();
    }
    let all: Vec<_> = runners
        .into_iter()
        .map(|runner| runner.join().unwrap())
        .collect();
    writeln!(report, "laps: {all:?}").unwrap();
}

/// Runs 10 laps, and says when the first and the last one was.
fn laps(who: usize, turn: &AtomicUsize) -> (usize, usize) {
    let mut laps = Vec::new();
    while laps.len() < 10 {
        let now = turn.load(Ordering::Acquire);
        if now % 3 == who {
            laps.push(now);
            turn.store(now + 1, Ordering::Release);
        } else {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
    (laps[0], laps[9])
}

pub(crate) fn report() -> String {
    let mut report = String::new();
    business(&mut report);
    mishaps(&mut report);
    inspection(&mut report);
    relay(&mut report);
    report
}
