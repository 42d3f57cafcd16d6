//! The rows of the table, and how each is measured.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Runtime::{self, Epoll, Greenrt, May, Smol, Threads, Tokio};
use crate::child::{self, Peer};
use crate::options::Options;
use crate::quiet::Patience;
use crate::report::{self, Outcome};

const THREADED: &[Runtime] = &[Greenrt, Tokio, Smol, May, Threads];
const SERVERS: &[Runtime] = &[Greenrt, Epoll, Tokio, Smol, May, Threads];

/// How often the servers of a row are started anew, so that no figure hangs on one lucky layout of
/// memory.
const N_INSTANCES: usize = 2;

struct Row {
    name: &'static str,
    /// What is measured; the first is what is compared.
    columns: &'static [&'static str],
    runtimes: &'static [Runtime],
    n_rounds: usize,
    kind: Kind,
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

fn rows() -> Vec<Row> {
    let work = |name, work| Row {
        name,
        columns: EACH,
        runtimes: THREADED,
        n_rounds: 10,
        kind: Kind::Work(work, &[1, 0]),
    };
    let net = |name, columns, n_rounds, net| Row {
        name,
        columns,
        runtimes: SERVERS,
        n_rounds,
        kind: Kind::Net(net),
    };
    let echo = |name, n_workers, n_connections| {
        let load = Load::Echo(300);
        net(
            name,
            PER_REQUEST,
            10,
            Net {
                protocol: "echo",
                n_workers,
                n_connections,
                load,
            },
        )
    };
    let http = |name, n_connections| {
        let load = Load::Wrk(1);
        let columns = &["CPU us", "requests/s"];
        net(
            name,
            columns,
            10,
            Net {
                protocol: "http",
                n_workers: 1,
                n_connections,
                load,
            },
        )
    };
    let idle = |name, protocol| {
        let columns = &["bytes each", "wakes/s"];
        let net_ = Net {
            protocol,
            n_workers: 1,
            n_connections: 9000,
            load: Load::Idle,
        };
        net(name, columns, 3, net_)
    };
    let all = vec![
        work("yield/2", "yield_2"),
        work("yield/1000", "yield_1000"),
        work("channel/ping_pong", "ping_pong"),
        work("spawn/join", "spawn_join"),
        work("spawn/100k_then_join", "spawn_burst"),
        Row {
            columns: &["CPU s", "wall s"],
            n_rounds: 6,
            ..work("skynet/million_leaves", "skynet")
        },
        Row {
            columns: &["CPU s", "p50 late ms", "p99 late ms", "wall s"],
            n_rounds: 3,
            kind: Kind::Work("sleeps", &[3, 0, 1, 2]),
            ..work("timers/100k_x_3_sleeps", "")
        },
        Row {
            columns: &["bytes each", "seconds", "CPU s"],
            n_rounds: 3,
            kind: Kind::Work("parked", &[0, 1, 2]),
            ..work("memory/million_parked", "")
        },
        echo("echo/1_connection", 1, 1),
        echo("echo/64_connections", 1, 64),
        echo("echo/1000_connections", 1, 1000),
        echo("echo/8000_connections", 1, 8000),
        echo("echo/64_connections_2_workers", 2, 64),
        echo("echo/1000_connections_2_workers", 2, 1000),
        net(
            "skew/8000_accepts_2_workers",
            &["skew %"],
            3,
            Net {
                protocol: "echo",
                n_workers: 2,
                n_connections: 8000,
                load: Load::Skew,
            },
        ),
        net(
            "churn/connect_echo_close",
            PER_REQUEST,
            10,
            Net {
                protocol: "echo",
                n_workers: 1,
                n_connections: 64,
                load: Load::Churn(300),
            },
        ),
        http("http/64_connections", 64),
        http("http/1000_connections", 1000),
        idle("idle/9000_http_connections", "http"),
        idle("idle/9000_http_connections_buffer_1k", "small_http"),
        net(
            "hog/1000_connections_beside_20_ms_bursts",
            &["p99.9 ms", "p50 ms", "max ms", "requests/s"],
            4,
            Net {
                protocol: "hog_echo",
                n_workers: 1,
                n_connections: 1000,
                load: Load::Latency(1500),
            },
        ),
    ];
    all
}

pub(crate) fn run(options: &Options) {
    let start = Instant::now();
    println!("first = greenrt unless --runtimes says otherwise; x first: above 1 costs more");
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
        report::print(row.name, row.columns, &outcomes, patience.n_disturbed);
        if let Kind::Net(
            net @ Net {
                load: Load::Echo(_),
                ..
            },
        ) = row.kind
            && options.strace
        {
            print_system_calls(net, &outcomes);
        }
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

/// Counts the system calls of an echo with strace.
fn print_system_calls(net: Net, outcomes: &[Outcome]) {
    if !has("strace") {
        println!("  --strace: needs strace (apt-get install strace)");
        return;
    }
    for outcome in outcomes.iter().filter(|outcome| outcome.failure.is_none()) {
        let name = outcome.runtime.name();
        match system_calls(net, outcome.runtime) {
            Ok(calls) => println!("  {name:8} system calls per echo: {calls}"),
            Err(error) => println!("  {name:8} system calls: {error}"),
        }
    }
}

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
    let mut calls = Vec::new();
    let output = BufReader::new(strace.stderr.take().expect("asked for above"));
    for line in output.lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [n, name] = words[..]
            && let Ok(n) = n.parse::<f64>()
            && name != "total"
            && n / result[0] >= 0.001
        {
            calls.push(format!("{name} {:.3}", n / result[0]));
        }
    }
    strace.wait().map_err(|error| error.to_string())?;
    Ok(calls.join(", "))
}
