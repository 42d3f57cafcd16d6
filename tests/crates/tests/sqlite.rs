//! rusqlite: C code that works on files, and sleeps while another one has the lock.

use std::thread;
use std::time::Duration;

use crate::support::tests;
use crate::{lets_others_run, no_more_os_threads};

tests! {
    threads_write_to_one_database
    who_waits_for_the_lock_lets_others_run
}

fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("greenlibc-{name}-{}.db", std::process::id()))
}

fn open(path: &std::path::Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(100)).unwrap();
    connection
}

fn threads_write_to_one_database() {
    let path = path("writes");
    open(&path)
        .execute_batch("create table numbers (n integer)")
        .unwrap();
    no_more_os_threads(|| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let path = path.clone();
                thread::spawn(move || {
                    let connection = open(&path);
                    for m in 0..5 {
                        connection
                            .execute("insert into numbers values (?1)", [n * 100 + m])
                            .unwrap();
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    let count: i64 = open(&path)
        .query_row("select count(*) from numbers", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 40);
    std::fs::remove_file(path).unwrap();
}

fn who_waits_for_the_lock_lets_others_run() {
    let path = path("waits");
    let first = open(&path);
    first
        .execute_batch("create table numbers (n integer); begin exclusive")
        .unwrap();
    lets_others_run(5, || {
        let waiter = {
            let path = path.clone();
            thread::spawn(move || {
                open(&path)
                    .execute("insert into numbers values (1)", [])
                    .unwrap()
            })
        };
        thread::sleep(Duration::from_millis(20));
        first.execute_batch("commit").unwrap();
        assert_eq!(waiter.join().unwrap(), 1);
    });
    std::fs::remove_file(path).unwrap();
}
