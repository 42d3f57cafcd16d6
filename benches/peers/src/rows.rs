//! The rows of the table, and how each is measured.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Runtime::{self, Epoll, May, Private, Shared, Smol, Threads, Tokio, Unmodified};
use crate::child::{self, Peer};
use crate::goal::{AtMost, Goal, Times, TimesRow};
use crate::options::Options;
use crate::quiet::Patience;
use crate::report::{Measured, Outcome, Report};
use crate::serve::HOG_BURST;

const THREADED: &[Runtime] = &[Shared, Private, Tokio, May, Smol, Threads];
const WITH_CHILDREN: &[Runtime] = &[Shared, Private, Tokio, Threads];
const SERVERS: &[Runtime] = &[
    Shared, Private, Unmodified, Epoll, Tokio, May, Smol, Threads,
];

/// How often the servers of a row are started anew, so that no figure hangs on one lucky layout of
/// memory.
const N_INSTANCES: usize = 2;

struct Row {
    name: &'static str,
    /// What is measured; the first is what is compared.
    columns: &'static [&'static str],
    runtimes: &'static [Runtime],
    goals: &'static [Goal],
    n_rounds: usize,
    kind: Kind,
    /// What a reader must know to judge it.
    note: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A child process does it and prints the figures in this order.
    Work(&'static str, &'static [usize]),
    Net(Net),
}

/// How a server is loaded.
#[derive(Clone, Copy)]
struct Net {
    protocol: &'static str,
    n_workers: usize,
    n_connections: usize,
    load: Load,
}

#[derive(Clone, Copy)]
enum Load {
    /// Echoes for so many milliseconds.
    Echo(u64),
    /// The same, but what counts is the latency.
    Latency(u64),
    /// Connects, echoes once, closes.
    Churn(u64),
    /// One request on each connection, then silence.
    Idle,
    /// wrk, for so many seconds.
    Wrk(u64),
    /// Only counts connections by worker.
    Skew,
}

/// CPU time comes first, because nothing here waits: wall time is more only by what else runs.
const EACH: &[&str] = &["CPU ns", "wall ns"];
const PER_REQUEST: &[&str] = &["CPU us", "requests/s", "p50 us", "p99 us"];

const YIELD: &[Goal] = &[Goal::new(0, AtMost(15.0), AtMost(40.0))];
const PING_PONG: &[Goal] = &[Goal::new(0, AtMost(120.0), AtMost(180.0))];
const FOUR_TO_FOUR: &[Goal] = &[
    Goal::both(0, Times(1.0, Tokio)),
    Goal::both(0, Times(1.0, May)),
    Goal::both(0, Times(1.0, Threads)),
];
const CONTENDERS: &[Goal] = &[Goal::new(0, AtMost(180.0), AtMost(280.0))];
const SPAWN: &[Goal] = &[Goal::new(0, AtMost(100.0), AtMost(200.0))];
const SPAWN_ALL: &[Goal] = &[Goal::new(0, AtMost(200.0), AtMost(300.0))];
const SKYNET: &[Goal] = &[Goal::new(1, AtMost(0.4), AtMost(0.8))];
const SLEEPS: &[Goal] = &[
    Goal::new(0, AtMost(0.5), AtMost(0.75)),
    Goal::new(2, AtMost(0.2), AtMost(0.3)),
];
const PARKED: &[Goal] = &[
    Goal::new(0, AtMost(4800.0), AtMost(9500.0)),
    Goal::new(1, AtMost(3.0), AtMost(6.0)),
];
/// One receive and one send each, as a bare loop makes them.
const ECHO: &[Goal] = &[
    Goal::new(0, Times(1.03, Epoll), Times(1.05, Epoll)),
    Goal::both(0, Times(1.0, Tokio)),
];
const HTTP: &[Goal] = &[Goal::new(0, Times(1.08, Epoll), Times(1.12, Epoll))];
const ECHO_64_ON_2: &[Goal] = &[Goal::both(0, TimesRow(1.1, "echo/64_connections"))];
const ECHO_1000_ON_2: &[Goal] = &[Goal::both(0, TimesRow(1.1, "echo/1000_connections"))];
const SKEW: &[Goal] = &[Goal::both(0, AtMost(10.0))];
const CHURN: &[Goal] = &[Goal::new(0, Times(1.04, Epoll), Times(1.08, Epoll))];
const IDLE: &[Goal] = &[
    Goal::new(0, AtMost(6000.0), AtMost(11_000.0)),
    Goal::both(1, AtMost(0.0)),
];
const PROCESSES: &[Goal] = &[
    Goal::both(0, Times(1.05, Threads)),
    Goal::both(1, Times(1.05, Threads)),
    Goal::both(0, Times(1.0, Tokio)),
    Goal::both(1, Times(1.0, Tokio)),
    Goal::both(2, AtMost(2.0)),
];
const HOG: &[Goal] = &[Goal::both(0, AtMost(1.5 * HOG_BURST.as_millis() as f64))];

/// Shorter than a struct of names for what every row has.
fn row(
    name: &'static str,
    columns: &'static [&'static str],
    n_rounds: usize,
    goals: &'static [Goal],
    kind: Kind,
) -> Row {
    let runtimes = match kind {
        Kind::Work(..) => THREADED,
        Kind::Net(_) => SERVERS,
    };
    Row {
        name,
        columns,
        runtimes,
        goals,
        n_rounds,
        kind,
        note: "",
    }
}

/// A server on `n_workers`, loaded over so many connections.
fn net(protocol: &'static str, n_workers: usize, n_connections: usize, load: Load) -> Kind {
    Kind::Net(Net {
        protocol,
        n_workers,
        n_connections,
        load,
    })
}

fn rows() -> Vec<Row> {
    let work = |name, work, goals| row(name, EACH, 10, goals, Kind::Work(work, &[1, 0]));
    let echo = |name, n_workers, n_connections, goals| {
        let kind = net("echo", n_workers, n_connections, Load::Echo(300));
        row(name, PER_REQUEST, 10, goals, kind)
    };
    let http = |name, n_connections| {
        let kind = net("http", 1, n_connections, Load::Wrk(1));
        row(name, &["CPU us", "requests/s"], 10, HTTP, kind)
    };
    let local = |name, protocol, n_connections| Row {
        runtimes: &[Shared, Private, Epoll, Tokio],
        ..row(
            name,
            PER_REQUEST,
            10,
            if n_connections > 1 { ECHO } else { &[] },
            net(protocol, 1, n_connections, Load::Echo(300)),
        )
    };
    let idle = |name, protocol| {
        let kind = net(protocol, 1, 9000, Load::Idle);
        row(name, &["bytes each", "wakes/s"], 3, IDLE, kind)
    };
    let processes = |name, work| Row {
        runtimes: WITH_CHILDREN,
        note: "CPU time is that of the children too; late is a ticker of 1 ms beside them",
        ..row(
            name,
            &[
                "CPU us",
                "wall us",
                "p99 late ms",
                "max late ms",
                "own CPU us",
            ],
            10,
            PROCESSES,
            Kind::Work(work, &[0, 1, 2, 3, 4]),
        )
    };
    vec![
        work("yield/2", "yield_2", YIELD),
        work("yield/1000", "yield_1000", YIELD),
        work("channel/ping_pong", "ping_pong", PING_PONG),
        Row {
            note: "tokio's receiver is shared by a mutex; may's channel is unbounded; on OS threads \
                   crossbeam's",
            ..work("channel/4_to_4_bounded_64", "four_to_four", FOUR_TO_FOUR)
        },
        Row {
            note: "may's mutex is unfair",
            ..work("mutex/1000_contenders", "contenders", CONTENDERS)
        },
        work("spawn/join", "spawn_join", SPAWN),
        work("spawn/100k_then_join", "spawn_burst", SPAWN_ALL),
        row(
            "skynet/million_leaves",
            &["CPU s", "wall s"],
            6,
            SKYNET,
            Kind::Work("skynet", &[1, 0]),
        ),
        row(
            "timers/100k_x_3_sleeps",
            &["CPU s", "p50 late ms", "p99 late ms", "wall s"],
            3,
            SLEEPS,
            Kind::Work("sleeps", &[3, 0, 1, 2]),
        ),
        row(
            "memory/million_parked",
            &["bytes each", "seconds", "CPU s"],
            3,
            PARKED,
            Kind::Work("parked", &[0, 1, 2]),
        ),
        processes("processes/500_at_100", "processes"),
        processes("processes/500_at_100_2_cpus", "processes_2_cpus"),
        echo("echo/1_connection", 1, 1, &[]),
        echo("echo/64_connections", 1, 64, ECHO),
        echo("echo/1000_connections", 1, 1000, ECHO),
        echo("echo/8000_connections", 1, 8000, ECHO),
        echo("echo/64_connections_2_workers", 2, 64, ECHO_64_ON_2),
        echo("echo/1000_connections_2_workers", 2, 1000, ECHO_1000_ON_2),
        local("echo_udp/64_clients", "udp_echo", 64),
        local("echo_unix/1_connection", "unix_echo", 1),
        local("echo_unix/64_connections", "unix_echo", 64),
        local("echo_unix/1000_connections", "unix_echo", 1000),
        row(
            "skew/8000_accepts_2_workers",
            &["skew %"],
            3,
            SKEW,
            net("echo", 2, 8000, Load::Skew),
        ),
        row(
            "churn/connect_echo_close",
            PER_REQUEST,
            10,
            CHURN,
            net("echo", 1, 64, Load::Churn(300)),
        ),
        http("http/64_connections", 64),
        http("http/1000_connections", 1000),
        idle("idle/9000_http_connections", "http"),
        idle("idle/9000_http_connections_buffer_1k", "small_http"),
        row(
            "hog/1000_connections_beside_20_ms_bursts",
            &["p99.9 ms", "p50 ms", "max ms", "requests/s"],
            4,
            HOG,
            net("hog_echo", 1, 1000, Load::Latency(1500)),
        ),
    ]
}

pub(crate) fn run(options: &Options) {
    let start = Instant::now();
    let mut report = Report::default();
    for row in rows().iter().filter(|row| options.wants(row.name)) {
        let runtimes = options.runtimes(row.runtimes);
        if options.list {
            let names: Vec<&str> = runtimes.iter().map(|runtime| runtime.name()).collect();
            println!("{:44} {}", row.name, names.join(" "));
            continue;
        }
        let mut outcomes: Vec<Outcome> = runtimes.into_iter().map(Outcome::new).collect();
        let n_rounds = options.n_rounds(row.n_rounds);
        let mut patience = Patience::new(options.patience);
        match row.kind {
            Kind::Work(work, order) => {
                measure_work(&mut patience, work, order, n_rounds, &mut outcomes)
            }
            Kind::Net(net) if matches!(net.load, Load::Wrk(_)) && !has("wrk") => {
                println!("\n{}: needs wrk (apt-get install wrk); left out", row.name);
                continue;
            }
            Kind::Net(net) => match net.load {
                Load::Idle | Load::Skew | Load::Latency(_) => {
                    measure_once_each(&mut patience, net, n_rounds, &mut outcomes)
                }
                _ => measure_net(&mut patience, net, n_rounds, options.quick, &mut outcomes),
            },
        }
        let calls = match row.kind {
            Kind::Net(net) if options.strace && matches!(net.load, Load::Echo(_)) => {
                system_calls_of_each(net, &outcomes)
            }
            _ => Vec::new(),
        };
        report.add(Measured {
            name: row.name,
            columns: row.columns,
            goals: row.goals,
            note: row.note,
            outcomes,
            n_disturbed: patience.n_disturbed,
        });
        calls.iter().for_each(|line| println!("  {line}"));
    }
    if options.markdown {
        report.print_markdown();
    }
    println!("\ntook {} s", start.elapsed().as_secs());
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Measures each runtime once in a round, and turns the order round after each.
fn interleaved(
    patience: &mut Patience,
    n_rounds: usize,
    outcomes: &mut [Outcome],
    mut measure: impl FnMut(usize, Runtime) -> Result<Vec<f64>, String>,
) {
    for round in 0..n_rounds {
        let mut order: Vec<usize> = (0..outcomes.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let outcome = &mut outcomes[index];
            if outcome.failure.is_none() {
                match patience.measure(|| measure(index, outcome.runtime)) {
                    Ok(figures) => outcome.rounds.push(figures),
                    Err(failure) => outcome.failure = Some(failure),
                }
            }
        }
    }
}

fn measure_work(
    patience: &mut Patience,
    work: &str,
    order: &[usize],
    n_rounds: usize,
    outcomes: &mut [Outcome],
) {
    interleaved(patience, n_rounds, outcomes, |_, runtime| {
        let line = Peer::start(&["work", work, runtime.name()], runtime)?.line()?;
        let printed = child::numbers(&line);
        Ok(order.iter().map(|&index| printed[index]).collect())
    });
}

/// A server and its clients.
struct Pair {
    server: Peer,
    client: Peer,
    port: String,
}

impl Pair {
    fn start(net: Net, runtime: Runtime) -> Result<Pair, String> {
        let n_workers = net.n_workers.to_string();
        let mut server = Peer::start(
            &["serve", net.protocol, runtime.name(), &n_workers],
            runtime,
        )?;
        let port = server.line()?;
        let client = Peer::start(&["load", &port], runtime)?;
        Ok(Pair {
            server,
            client,
            port,
        })
    }

    /// Tells the clients to do something. If they fail, the server may have said why.
    fn tell(&mut self, command: &str) -> Result<Vec<f64>, String> {
        self.client.ask_numbers(command)
    }
}

fn measure_net(
    patience: &mut Patience,
    net: Net,
    n_rounds: usize,
    brief: bool,
    outcomes: &mut [Outcome],
) {
    let n_instances = N_INSTANCES.min(n_rounds);
    for instance in 0..n_instances {
        let mut pairs: Vec<Result<Pair, String>> = outcomes
            .iter()
            .map(|outcome| {
                let mut pair = Pair::start(net, outcome.runtime)?;
                if matches!(net.load, Load::Echo(_)) {
                    pair.tell(&format!("connect {}", net.n_connections))?;
                }
                // Warms up.
                load(&mut pair, net, true)?;
                Ok(pair)
            })
            .collect();
        // The rounds that are left, in equal parts.
        let n = (n_rounds * (instance + 1)) / n_instances - (n_rounds * instance) / n_instances;
        interleaved(patience, n, outcomes, |index, _| match &mut pairs[index] {
            Ok(pair) => load(pair, net, brief),
            Err(failure) => Err(failure.clone()),
        });
    }
}

/// Loads a server once; the figures of the row.
fn load(pair: &mut Pair, net: Net, brief: bool) -> Result<Vec<f64>, String> {
    let ms = |ms: u64| if brief { ms / 3 } else { ms };
    let cpu = pair.server.cpu_ns();
    let clock = Instant::now();
    let result = match net.load {
        Load::Echo(duration) | Load::Latency(duration) => {
            pair.tell(&format!("echo {}", ms(duration)))?
        }
        Load::Churn(duration) => {
            pair.tell(&format!("churn {} {}", ms(duration), net.n_connections))?
        }
        Load::Wrk(seconds) => {
            let n_requests =
                wrk(&pair.port, net.n_connections, seconds).map_err(|e| e.to_string())?;
            vec![n_requests, clock.elapsed().as_nanos() as f64]
        }
        Load::Idle | Load::Skew => unreachable!("measured once each"),
    };
    if matches!(net.load, Load::Churn(_)) {
        // Lets the server see the last connections close.
        sleep(Duration::from_millis(5));
    }
    let cpu = (pair.server.cpu_ns() - cpu) as f64;
    let (n_requests, ns) = (result[0], result[1]);
    let rate = n_requests / ns * 1e9;
    Ok(match net.load {
        Load::Latency(_) => vec![result[4] / 1e6, result[2] / 1e6, result[5] / 1e6, rate],
        Load::Wrk(_) => vec![cpu / n_requests / 1e3, rate],
        _ => vec![
            cpu / n_requests / 1e3,
            rate,
            result[2] / 1e3,
            result[3] / 1e3,
        ],
    })
}

/// Runs wrk on the clients' CPU; how many requests it made.
fn wrk(port: &str, n_connections: usize, seconds: u64) -> io::Result<f64> {
    let mut command = Command::new("wrk");
    command.args([
        "-t1",
        &format!("-c{n_connections}"),
        &format!("-d{seconds}"),
    ]);
    command
        .arg(format!("http://127.0.0.1:{port}/"))
        .stdout(Stdio::piped());
    // SAFETY: only makes a system call.
    unsafe {
        command.pre_exec(|| {
            child::pin_to(child::CLIENT_CPU);
            Ok(())
        });
    }
    let mut wrk = command.spawn()?;
    let mut n_requests = 0.0;
    for line in BufReader::new(wrk.stdout.take().expect("asked for above")).lines() {
        let line = line?;
        if line.contains("Socket errors") || line.contains("Non-2xx") {
            return Err(io::Error::other(line));
        }
        if line.contains(" requests in ") {
            n_requests = child::numbers(&line)[0];
        }
    }
    wrk.wait()?;
    Ok(n_requests)
}

/// For what is measured once in the life of a server.
fn measure_once_each(patience: &mut Patience, net: Net, n_rounds: usize, outcomes: &mut [Outcome]) {
    interleaved(patience, n_rounds, outcomes, |_, runtime| {
        let mut pair = Pair::start(net, runtime)?;
        // What the first connection brings about is not counted.
        pair.tell("connect 1")?;
        match net.load {
            // Alone, for such a server never rests.
            Load::Latency(_) => {
                pair.tell(&format!("connect {}", net.n_connections))?;
                load(&mut pair, net, true)?;
                load(&mut pair, net, false)
            }
            Load::Idle => {
                pair.tell("request")?;
                sleep(Duration::from_millis(50));
                let before = pair.server.memory();
                pair.tell(&format!("connect {}", net.n_connections))?;
                pair.tell("request")?;
                sleep(Duration::from_millis(200));
                let after = pair.server.memory();
                let bytes = (after.0 + after.1).saturating_sub(before.0 + before.1);
                let (n_sleeps, clock) = (pair.server.n_sleeps(), Instant::now());
                sleep(Duration::from_secs(1));
                let n_sleeps = (pair.server.n_sleeps() - n_sleeps) as f64;
                let wakes = n_sleeps / clock.elapsed().as_secs_f64();
                Ok(vec![bytes as f64 / (net.n_connections - 1) as f64, wakes])
            }
            _ => {
                pair.tell(&format!("connect {}", net.n_connections))?;
                pair.tell("echo 50")?;
                let counts = pair.server.ask_numbers("threads")?;
                if counts.len() > net.n_workers {
                    return Err("has no workers to compare".into());
                }
                let most = counts.iter().copied().fold(0.0, f64::max);
                let fair = counts.iter().sum::<f64>() / net.n_workers as f64;
                Ok(vec![(most / fair - 1.0) * 100.0])
            }
        }
    });
}

/// Counts the system calls of an echo with strace, runtime by runtime.
fn system_calls_of_each(net: Net, outcomes: &[Outcome]) -> Vec<String> {
    if !has("strace") {
        return vec!["--strace: needs strace (apt-get install strace)".into()];
    }
    let outcomes = outcomes.iter().filter(|outcome| outcome.failure.is_none());
    let lines = outcomes.map(|outcome| {
        let name = outcome.runtime.name();
        match system_calls(net, outcome.runtime) {
            Ok(calls) => format!("{name:8} system calls per echo: {calls}"),
            Err(error) => format!("{name:8} system calls: {error}"),
        }
    });
    lines.collect()
}

/// Those that an echo makes itself, and waits for events, which many echoes may share.
fn system_calls(net: Net, runtime: Runtime) -> Result<String, String> {
    let mut pair = Pair::start(net, runtime)?;
    pair.tell(&format!("connect {}", net.n_connections))?;
    pair.tell("echo 50")?;
    let mut strace = Command::new("strace")
        .args([
            "-c",
            "-f",
            "-U",
            "calls,name",
            "-p",
            &pair.server.id().to_string(),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // Until it has attached.
    sleep(Duration::from_millis(300));
    let result = pair.tell("echo 300")?;
    // SAFETY: no memory is passed; the process is our child and not waited for yet.
    unsafe { libc::kill(strace.id() as i32, libc::SIGINT) };
    let output = BufReader::new(strace.stderr.take().expect("asked for above"));
    let lines: Vec<String> = output.lines().map_while(Result::ok).collect();
    strace.wait().map_err(|error| error.to_string())?;
    let mut calls: Vec<(f64, &str)> = lines
        .iter()
        .filter_map(|line| line.split_whitespace().collect::<Vec<_>>().try_into().ok())
        .filter_map(|[n, name]: [&str; 2]| Some((n.parse::<f64>().ok()? / result[0], name)))
        .filter(|(_, name)| *name != "total")
        .collect();
    if calls.is_empty() {
        return Err(lines.join("; "));
    }
    calls.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let is_wait = |name: &str| name.starts_with("epoll_") && name.contains("wait");
    let sum = |wait: bool| -> f64 {
        let those = calls.iter().filter(|(_, name)| is_wait(name) == wait);
        those.fold(0.0, |sum, (n, _)| sum + n)
    };
    let each: Vec<String> = calls
        .iter()
        .filter(|(n, _)| *n >= 0.001)
        .map(|(n, name)| format!("{name} {n:.3}"))
        .collect();
    Ok(format!(
        "{:.3} and {:.3} waits for events ({})",
        sum(false),
        sum(true),
        each.join(", ")
    ))
}
