//! The crate postgres, which runs tokio inside, against a real server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use ::postgres::{Client, NoTls};

use crate::server::{NOBODY, Server, directory, is_missing, quiet};
use crate::support::tests;
use crate::{lets_others_run, no_more_os_threads};

tests! {
    queries_let_others_run
    many_clients_at_once
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.find(|programs| programs.join("initdb").exists())
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn start() -> Option<Server> {
    let Some(programs) = programs() else {
        is_missing("PostgreSQL");
        return None;
    };
    let directory = directory("postgres");
    let data = directory.join("data");
    let mut init = command(&programs.join("initdb"));
    init.args(["--no-sync", "--auth=trust", "--username=tester", "--pgdata"])
        .arg(&data);
    assert!(quiet(&mut init).status().unwrap().success());
    let mut server = command(&programs.join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(&directory);
    server.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
    Some(Server::start(directory, &mut server))
}

fn connect(server: &Server) -> Client {
    server.connect(|directory| {
        let host = directory.display();
        Client::connect(&format!("host={host} user=tester dbname=postgres"), NoTls)
    })
}

fn queries_let_others_run() {
    let Some(server) = start() else { return };
    let mut client = connect(&server);
    lets_others_run(5, || {
        client.batch_execute("select pg_sleep(0.05)").unwrap();
    });
}

fn many_clients_at_once() {
    let Some(server) = start() else { return };
    let mut client = connect(&server);
    client
        .batch_execute("create table numbers (n int)")
        .unwrap();
    no_more_os_threads(|| {
        thread::scope(|scope| {
            for n in 0..30 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = connect(server);
                    for m in 0..5 {
                        client
                            .execute("insert into numbers values ($1)", &[&(n * 10 + m)])
                            .unwrap();
                    }
                });
            }
        });
    });
    let row = client.query_one("select count(*), sum(n) from numbers", &[]);
    let row = row.unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (150, 5 * 4350 + 300)
    );
}
