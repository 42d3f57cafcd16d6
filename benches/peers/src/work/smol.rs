//! The workloads on smol, in its executor for one thread.

use std::cell::Cell;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use smol::channel;
use smol::future::yield_now;
use smol::lock::Mutex;
use smol::{LocalExecutor, Task, Timer};

use super::{N_CONTENDERS, N_ENDS, ROOM, Work, durations, make_room_for_late, note_late};
use crate::child::{Cost, Watch};

type Executor = &'static LocalExecutor<'static>;

pub(super) fn run(work: Work, n: u64) -> Cost {
    // For ever: tasks that are parked would be dropped one by one.
    let executor: Executor = Box::leak(Box::new(LocalExecutor::new()));
    smol::block_on(executor.run(executor.spawn(body(executor, work, n))))
}

async fn body(executor: Executor, work: Work, n: u64) -> Cost {
    let empty = || executor.spawn(async {});
    match work {
        Work::Yield(n_tasks) => {
            let each = n / n_tasks + 1;
            let watch = Watch::start();
            let task = || {
                executor.spawn(async move {
                    for _ in 0..each {
                        yield_now().await;
                    }
                })
            };
            join_all((0..n_tasks).map(|_| task()).collect()).await;
            watch.stop(each * n_tasks)
        }
        Work::PingPong => ping_pong(executor, n).await,
        Work::FourToFour => four_to_four(executor, n).await,
        Work::Contenders => contenders(executor, n).await,
        Work::SpawnJoin => {
            let watch = Watch::start();
            for _ in 0..n {
                empty().await;
            }
            watch.stop(n)
        }
        Work::SpawnBurst => {
            let watch = Watch::start();
            join_all((0..n).map(|_| empty()).collect()).await;
            watch.stop(n)
        }
        Work::Skynet => {
            let watch = Watch::start();
            assert_eq!(skynet(executor, 0, n).await, n * (n - 1) / 2);
            watch.stop(n)
        }
        Work::Sleeps => {
            make_room_for_late(3 * n);
            let watch = Watch::start();
            join_all(
                (0..n)
                    .map(|number| executor.spawn(sleeps(number)))
                    .collect(),
            )
            .await;
            watch.stop(n)
        }
        Work::Parked => {
            let n_parked: &'static Cell<u64> = Box::leak(Box::new(Cell::new(0)));
            let watch = Watch::start();
            let _tasks: Vec<Task<()>> = (0..n)
                .map(|_| {
                    executor.spawn(async {
                        n_parked.set(n_parked.get() + 1);
                        pending().await
                    })
                })
                .collect();
            while n_parked.get() < n {
                yield_now().await;
            }
            super::end_parked(watch.stop(n))
        }
    }
}

async fn join_all(tasks: Vec<Task<()>>) {
    for task in tasks {
        task.await;
    }
}

async fn ping_pong(executor: Executor, n: u64) -> Cost {
    let (there, receive_there) = channel::bounded::<u64>(1);
    let (back, receive_back) = channel::bounded::<u64>(1);
    let echo = executor.spawn(async move {
        while let Ok(number) = receive_there.recv().await {
            back.send(number).await.unwrap();
        }
    });
    let watch = Watch::start();
    for number in 0..n {
        there.send(number).await.unwrap();
        assert_eq!(receive_back.recv().await, Ok(number));
    }
    let cost = watch.stop(n);
    drop(there);
    echo.await;
    cost
}

async fn four_to_four(executor: Executor, n: u64) -> Cost {
    let each = n / N_ENDS + 1;
    let (sender, receiver) = channel::bounded::<u64>(ROOM);
    let watch = Watch::start();
    let mut tasks = Vec::new();
    for _ in 0..N_ENDS {
        let (sender, receiver) = (sender.clone(), receiver.clone());
        tasks.push(executor.spawn(async move {
            for number in 0..each {
                sender.send(number).await.unwrap();
            }
        }));
        tasks.push(executor.spawn(async move { while receiver.recv().await.is_ok() {} }));
    }
    drop((sender, receiver));
    join_all(tasks).await;
    watch.stop(each * N_ENDS)
}

async fn contenders(executor: Executor, n: u64) -> Cost {
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
            .map(|_| executor.spawn(task(Arc::clone(&mutex))))
            .collect(),
    )
    .await;
    watch.stop(each * N_CONTENDERS)
}

fn skynet(executor: Executor, first: u64, n_leaves: u64) -> Pin<Box<dyn Future<Output = u64>>> {
    Box::pin(async move {
        if n_leaves == 1 {
            return first;
        }
        let each = n_leaves / 10;
        let children: [Task<u64>; 10] = std::array::from_fn(|i| {
            executor.spawn(skynet(executor, first + i as u64 * each, each))
        });
        let mut sum = 0;
        for child in children {
            sum += child.await;
        }
        sum
    })
}

async fn sleeps(number: u64) {
    for duration in durations(number) {
        let begin = Instant::now();
        Timer::after(duration).await;
        note_late(begin, duration);
    }
}
