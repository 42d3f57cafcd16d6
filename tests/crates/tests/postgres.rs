//! The crate postgres, which runs tokio inside, against a real server, where Debian's package is installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use ::postgres::{Client, NoTls};

use crate::lets_others_run;
use crate::support::tests;

tests! {
    queries_let_others_run
}

/// Who runs the server, which does not want to be root.
const NOBODY: u32 = 65534;

struct Server {
    directory: PathBuf,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.find(|programs| programs.join("initdb").exists())
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    if fs::metadata("/proc/self").is_ok_and(|this| std::os::unix::fs::MetadataExt::uid(&this) == 0)
    {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn start() -> Option<Server> {
    let programs = programs()?;
    let directory = std::env::temp_dir().join(format!("greenlibc-postgres-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let _ = chown(&directory, Some(NOBODY), Some(NOBODY));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let data = directory.join("data");
    let mut init = command(&programs.join("initdb"));
    init.args(["--no-sync", "--auth=trust", "--username=tester", "--pgdata"])
        .arg(&data);
    assert!(init.status().unwrap().success());
    let mut server = command(&programs.join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(&directory);
    server.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
    let child = server.spawn().unwrap();
    Some(Server { directory, child })
}

fn connect(server: &Server) -> Client {
    let options = format!(
        "host={} user=tester dbname=postgres",
        server.directory.display()
    );
    loop {
        // It takes a while until it answers.
        match Client::connect(&options, NoTls) {
            Ok(client) => return client,
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn queries_let_others_run() {
    let Some(server) = start() else {
        return println!("there is no server of PostgreSQL on this machine");
    };
    let mut client = connect(&server);
    lets_others_run(5, || {
        client.batch_execute("select pg_sleep(0.05)").unwrap();
    });
    client
        .batch_execute("create table numbers (n int)")
        .unwrap();
    thread::scope(|scope| {
        for n in 0..10 {
            let server = &server;
            scope.spawn(move || {
                let mut client = connect(server);
                client
                    .execute("insert into numbers values ($1)", &[&n])
                    .unwrap();
            });
        }
    });
    let row = client.query_one("select sum(n) from numbers", &[]).unwrap();
    assert_eq!(row.get::<_, i64>(0), 45);
    drop(client);
    drop(server);
}
