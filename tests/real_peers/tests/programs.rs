//! Programs of others at the other end. `../run` installs them.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use greenstd::net::{TcpListener, TcpStream, UdpSocket};
use greenstd::os::unix::net::{UnixListener, UnixStream};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    let child = command.stdin(Stdio::null()).spawn();
    Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}; ../run installs it")))
}

/// A folder of its own, also for those who are another user.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("real-peers-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a program while green threads go on.
fn output(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let mut command = std::mem::replace(command, Command::new("true"));
    greenrt::offload(move || command.output())
        .unwrap_or_else(|error| panic!("{shown}: {error}; ../run installs it"))
}

fn python(program: &str, argument: &str) {
    let output = output(Command::new("python3").args(["-c", program, argument]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// Connects until somebody listens, for half a minute.
fn patiently<T>(mut connect: impl FnMut() -> io::Result<T>) -> T {
    for _ in 0..300 {
        if let Ok(stream) = connect() {
            return stream;
        }
        greenrt::sleep(Duration::from_millis(100));
    }
    connect().unwrap()
}

#[test]
fn python_over_tcp() {
    greenrt::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = greenrt::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap()
        });
        python(
            r#"
import socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
data = bytes(range(256)) * 4000
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
back = b""
while part := s.recv(65536):
    back += part
assert back == data
"#,
            &address.port().to_string(),
        );
        assert_eq!(server.join().unwrap(), 1_024_000);
    });
}

#[test]
fn python_over_udp() {
    greenrt::run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        greenrt::spawn(move || {
            let mut room = [0; 2000];
            loop {
                let (n, peer) = socket.recv_from(&mut room).unwrap();
                socket.send_to(&room[..n], peer).unwrap();
            }
        });
        python(
            r#"
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
for n in (0, 1, 100, 1400):
    s.sendto(b"x" * n, ("127.0.0.1", int(sys.argv[1])))
    back, peer = s.recvfrom(2000)
    assert back == b"x" * n
"#,
            &address.port().to_string(),
        );
    });
}

#[test]
fn python_over_the_unix_domain() {
    greenrt::run(|| {
        let folder = folder("python");
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = greenrt::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            io::read_to_string(stream).unwrap()
        });
        // Passes a descriptor in the middle.
        python(
            r#"
import array, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"one ")
s.sendmsg([b"two "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
s.sendall(b"three")
"#,
            path.to_str().unwrap(),
        );
        assert_eq!(server.join().unwrap(), "one two three");
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn redis_over_the_unix_domain() {
    greenrt::run(|| {
        let folder = folder("redis");
        let path = folder.join("redis.sock");
        let _redis = start(
            Command::new("redis-server")
                .args(["--port", "0", "--save", "", "--unixsocket"])
                .arg(&path)
                .stdout(Stdio::null()),
        );
        patiently(|| UnixStream::connect(&path));
        let clients: Vec<_> = (0..10)
            .map(|n| {
                let path = path.clone();
                greenrt::spawn(move || {
                    let mut stream = UnixStream::connect(path).unwrap();
                    let mut ask = |question: &str, answer: &str| {
                        stream.write_all(question.as_bytes()).unwrap();
                        let mut bytes = vec![0; answer.len()];
                        stream.read_exact(&mut bytes).unwrap();
                        assert_eq!(String::from_utf8_lossy(&bytes), answer);
                    };
                    ask("PING\r\n", "+PONG\r\n");
                    ask(&format!("SET key{n} value{n}\r\n"), "+OK\r\n");
                    ask(&format!("GET key{n}\r\n"), &format!("$6\r\nvalue{n}\r\n"));
                })
            })
            .collect();
        clients.into_iter().for_each(|c| c.join().unwrap());
        fs::remove_dir_all(folder).unwrap();
    });
}

/// A message of Postgres: its kind, and what it says.
fn message(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let n = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
    let mut body = vec![0; n - 4];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

/// What comes until Postgres is ready for the next question.
fn until_ready(stream: &mut impl Read) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let message = message(stream);
        assert_ne!(message.0, b'E', "{}", String::from_utf8_lossy(&message.1));
        if message.0 == b'Z' {
            return all;
        }
        all.push(message);
    }
}

#[test]
fn postgres_over_tcp() {
    greenrt::run(|| {
        let folder = folder("postgres");
        let data = folder.join("data");
        let script = format!(
            "set -e; bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1); chown postgres {0}; \
             runuser -u postgres -- $bin/initdb -A trust -D {1} >/dev/null",
            folder.display(),
            data.display()
        );
        let made = output(Command::new("sh").args(["-c", &script]));
        assert!(made.status.success(), "{made:?}; ../run installs it");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let script = format!(
            "bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1); exec setpriv --reuid=postgres \
             --regid=postgres --init-groups $bin/postgres -D {} -p {port} -k {}",
            data.display(),
            folder.display()
        );
        let _postgres = start(
            Command::new("sh")
                .args(["-c", &script])
                .stderr(Stdio::null()),
        );
        let sums = (0..5).map(|n| {
            greenrt::spawn(move || {
                // It refuses for a while, while it starts.
                let mut stream = patiently(|| {
                    let mut stream = TcpStream::connect(("localhost", port))?;
                    let parameters = b"user\0postgres\0\0";
                    let n_bytes = 8 + parameters.len() as u32;
                    let version = 196_608_u32;
                    let mut hello = [n_bytes.to_be_bytes(), version.to_be_bytes()].concat();
                    hello.extend(parameters);
                    stream.write_all(&hello)?;
                    match message(&mut stream) {
                        (b'E', text) => Err(io::Error::other(
                            String::from_utf8_lossy(&text).into_owned(),
                        )),
                        _ => Ok(stream),
                    }
                });
                until_ready(&mut stream);
                let question = format!("select generate_series(1, 20000), {n} * 7\0");
                let n_bytes = 4 + question.len() as u32;
                stream.write_all(b"Q").unwrap();
                stream.write_all(&n_bytes.to_be_bytes()).unwrap();
                stream.write_all(question.as_bytes()).unwrap();
                let rows = until_ready(&mut stream);
                let rows: Vec<_> = rows.into_iter().filter(|(kind, _)| *kind == b'D').collect();
                assert!(
                    rows.iter()
                        .all(|(_, row)| row.ends_with((n * 7).to_string().as_bytes()))
                );
                rows.len()
            })
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.into_iter().all(|sum| sum.join().unwrap() == 20_000));
        drop(_postgres);
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn curl_and_wrk() {
    greenrt::run(|| {
        let program = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../target/release/examples/http_hello"
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let _server = start(Command::new(program).arg(&address).stdout(Stdio::null()));
        patiently(|| TcpStream::connect(&*address));
        let url = format!("http://{address}/");
        let curl = output(Command::new("curl").args(["-sS", "-i", &url, &url]));
        let text = String::from_utf8_lossy(&curl.stdout);
        assert!(curl.status.success(), "{curl:?}");
        assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
        let wrk = output(Command::new("wrk").args(["-t1", "-c64", "-d1s", &url]));
        let text = String::from_utf8_lossy(&wrk.stdout);
        assert!(
            wrk.status.success() && text.contains("requests in"),
            "{wrk:?}"
        );
        assert!(
            !text.contains("Socket errors") && !text.contains("Non-2xx"),
            "{text}"
        );
    });
}
