//! The crate redis, against a real server.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ::redis::{Client, Commands, Connection, RedisResult};

use crate::server::{Server, directory, is_missing, quiet};
use crate::support::tests;
use crate::{lets_others_run, no_more_os_threads};

tests! {
    who_waits_for_a_list_lets_the_one_who_pushes_run
    many_clients_at_once
    subscribers_hear_what_is_published
    timeouts_hold
}

fn start() -> Option<Server> {
    if quiet(Command::new("redis-server").arg("--version"))
        .status()
        .is_err()
    {
        is_missing("Redis");
        return None;
    }
    let directory = directory("redis");
    let mut server = Command::new("redis-server");
    // No port, and nothing that is saved.
    server.args(["--port", "0", "--save", "", "--appendonly", "no"]);
    server.arg("--dir").arg(&directory);
    server.arg("--unixsocket").arg(socket(&directory));
    Some(Server::start(directory, &mut server))
}

fn socket(directory: &Path) -> std::path::PathBuf {
    directory.join("socket")
}

fn connect(server: &Server) -> Connection {
    server.connect(|directory| {
        let url = format!("redis+unix://{}", socket(directory).display());
        Client::open(url)?.get_connection()
    })
}

fn who_waits_for_a_list_lets_the_one_who_pushes_run() {
    let Some(server) = start() else { return };
    lets_others_run(5, || {
        let mut waiting = connect(&server);
        let waiter = thread::spawn(move || waiting.blpop("list", 0.0));
        let mut pushing = connect(&server);
        thread::sleep(Duration::from_millis(20));
        let n: usize = pushing.rpush("list", "pushed").unwrap();
        assert_eq!(n, 1);
        let popped: RedisResult<(String, String)> = waiter.join().unwrap();
        assert_eq!(popped.unwrap(), ("list".into(), "pushed".into()));
    });
}

fn many_clients_at_once() {
    let Some(server) = start() else { return };
    connect(&server);
    no_more_os_threads(|| {
        thread::scope(|scope| {
            for n in 0..200 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = connect(server);
                    for _ in 0..10 {
                        let _: i64 = client.incr("count", 1).unwrap();
                    }
                    // Several questions at once, and a value that takes many reads.
                    let text = "x".repeat(n * 1000);
                    let (stored, read): (bool, String) = ::redis::pipe()
                        .set(n, &text)
                        .get(n)
                        .query(&mut client)
                        .unwrap();
                    assert!(stored && read == text);
                });
            }
        });
    });
    let count: i64 = connect(&server).get("count").unwrap();
    assert_eq!(count, 2000);
}

fn subscribers_hear_what_is_published() {
    let Some(server) = start() else { return };
    no_more_os_threads(|| {
        thread::scope(|scope| {
            let (ready, subscribed) = channel();
            let subscribers: Vec<_> = (0..20)
                .map(|_| {
                    let (server, ready) = (&server, ready.clone());
                    scope.spawn(move || {
                        let mut client = connect(server);
                        let mut messages = client.as_pubsub();
                        messages.subscribe("news").unwrap();
                        ready.send(()).unwrap();
                        let message = messages.get_message().unwrap();
                        message.get_payload::<String>().unwrap()
                    })
                })
                .collect();
            subscribers.iter().for_each(|_| subscribed.recv().unwrap());
            let n: usize = connect(&server).publish("news", "heard").unwrap();
            assert_eq!(n, 20);
            for subscriber in subscribers {
                assert_eq!(subscriber.join().unwrap(), "heard");
            }
        });
    });
}

fn timeouts_hold() {
    let Some(server) = start() else { return };
    let mut client = connect(&server);
    client
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let popped: RedisResult<(String, String)> = client.blpop("nothing", 0.0);
    assert!(popped.unwrap_err().is_timeout());
}
