//! The workloads on tokio, in its runtime for one thread, which is its fastest on one CPU.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Builder;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;
use tokio::{spawn, task};

use super::{N_CONTENDERS, N_ENDS, ROOM, Work, durations, make_room_for_late, note_late};
use crate::child::{Cost, Watch};

thread_local! {
    static PARKED: Cell<u64> = const { Cell::new(0) };
}

pub(super) fn run(work: Work, n: u64) -> Cost {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // In a task of its own, as the others are: `block_on` itself is polled in another way.
    let cost = runtime.block_on(async move { spawn(body(work, n)).await.unwrap() });
    // Tasks that are parked would be dropped one by one.
    std::mem::forget(runtime);
    cost
}

async fn body(work: Work, n: u64) -> Cost {
    match work {
        Work::Yield(n_tasks) => {
            let each = n / n_tasks + 1;
            let watch = Watch::start();
            let task = || {
                spawn(async move {
                    for _ in 0..each {
                        yield_now().await;
                    }
                })
            };
            join_all((0..n_tasks).map(|_| task()).collect()).await;
            watch.stop(each * n_tasks)
        }
        Work::PingPong => ping_pong(n).await,
        Work::FourToFour => four_to_four(n).await,
        Work::Contenders => contenders(n).await,
        Work::SpawnJoin => {
            let watch = Watch::start();
            for _ in 0..n {
                spawn(async {}).await.unwrap();
            }
            watch.stop(n)
        }
        Work::SpawnBurst => {
            let watch = Watch::start();
            join_all((0..n).map(|_| spawn(async {})).collect()).await;
            watch.stop(n)
        }
        Work::Skynet => {
            let watch = Watch::start();
            assert_eq!(skynet(0, n).await, n * (n - 1) / 2);
            watch.stop(n)
        }
        Work::Sleeps => {
            make_room_for_late(3 * n);
            let watch = Watch::start();
            join_all((0..n).map(|number| spawn(sleeps(number))).collect()).await;
            watch.stop(n)
        }
        Work::Parked => {
            let watch = Watch::start();
            let _tasks: Vec<JoinHandle<()>> = (0..n)
                .map(|_| {
                    spawn(async {
                        PARKED.set(PARKED.get() + 1);
                        std::future::pending().await
                    })
                })
                .collect();
            while PARKED.get() < n {
                task::yield_now().await;
            }
            super::end_parked(watch.stop(n))
        }
    }
}

async fn join_all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap();
    }
}

async fn ping_pong(n: u64) -> Cost {
    let (there, mut receive_there) = mpsc::channel::<u64>(1);
    let (back, mut receive_back) = mpsc::channel::<u64>(1);
    let echo = spawn(async move {
        while let Some(number) = receive_there.recv().await {
            back.send(number).await.unwrap();
        }
    });
    let watch = Watch::start();
    for number in 0..n {
        there.send(number).await.unwrap();
        assert_eq!(receive_back.recv().await, Some(number));
    }
    let cost = watch.stop(n);
    drop(there);
    echo.await.unwrap();
    cost
}

/// tokio's channel has one receiver, which four share.
async fn four_to_four(n: u64) -> Cost {
    let each = n / N_ENDS + 1;
    let (sender, receiver) = mpsc::channel::<u64>(ROOM);
    let receiver = Arc::new(Mutex::new(receiver));
    let watch = Watch::start();
    let mut tasks = Vec::new();
    for _ in 0..N_ENDS {
        let (sender, receiver) = (sender.clone(), Arc::clone(&receiver));
        tasks.push(spawn(async move {
            for number in 0..each {
                sender.send(number).await.unwrap();
            }
        }));
        tasks.push(spawn(async move {
            while receiver.lock().await.recv().await.is_some() {}
        }));
    }
    drop(sender);
    join_all(tasks).await;
    watch.stop(each * N_ENDS)
}

async fn contenders(n: u64) -> Cost {
    let each = n / N_CONTENDERS + 1;
    let mutex = Arc::new(Mutex::new(0_u64));
    let task = |mutex: Arc<Mutex<u64>>| async move {
        for _ in 0..each {
            let mut sum = mutex.lock().await;
            yield_now().await;
            *sum += 1;
        }
    };
    let watch = Watch::start();
    join_all(
        (0..N_CONTENDERS)
            .map(|_| spawn(task(Arc::clone(&mutex))))
            .collect(),
    )
    .await;
    watch.stop(each * N_CONTENDERS)
}

fn skynet(first: u64, n_leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n_leaves == 1 {
            return first;
        }
        let each = n_leaves / 10;
        let children: [JoinHandle<u64>; 10] =
            std::array::from_fn(|i| spawn(skynet(first + i as u64 * each, each)));
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

async fn sleeps(number: u64) {
    for duration in durations(number) {
        let begin = Instant::now();
        sleep(duration).await;
        note_late(begin, duration);
    }
}
