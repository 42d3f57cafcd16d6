//! The servers among the examples do what they say.

use std::io::{Read, Write};

use greenstd::net::{Shutdown, TcpListener, TcpStream};
use greenstd::thread;

use crate::support::on_each_runtime_and_off;

#[path = "../../examples/echo_server.rs"]
#[expect(dead_code, reason = "its main listens at a fixed address")]
mod echo_server;
#[path = "../../examples/http_hello.rs"]
#[expect(dead_code, reason = "its main listens at a fixed address")]
mod http_hello;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn echo() {
    on_each_runtime_and_off(|| {
        let (mut client, server) = pair();
        let server = thread::spawn(move || echo_server::echo(server));
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        server.join().unwrap();
    });
}

/// Sends the parts one after the other, and returns the status of each answer until the end.
fn statuses(parts: &[&[u8]]) -> Vec<String> {
    let (mut client, server) = pair();
    client.set_nodelay(true).unwrap();
    let server = thread::spawn(move || http_hello::serve(server));
    for part in parts {
        client.write_all(part).unwrap();
        for _ in 0..3 {
            thread::yield_now();
        }
    }
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    server.join().unwrap().unwrap();
    let answers = text.split("HTTP/1.1 ").skip(1);
    answers
        .map(|answer| {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let close = if head.contains("Connection: close") {
                " close"
            } else {
                ""
            };
            format!("{} {}{close}", head.lines().next().unwrap(), body.len())
        })
        .collect()
}

const OK: &str = "200 OK 13";
const CLOSE: &str = "200 OK 13 close";

#[test]
fn http_keeps_connections() {
    on_each_runtime_and_off(|| {
        let get: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(statuses(&[get, get, get]), [OK; 3]);
        assert_eq!(statuses(&[&get.repeat(300)]), [OK; 300]);
        assert!(statuses(&[]).is_empty());
        // Byte by byte.
        let twice = get.repeat(2);
        assert_eq!(statuses(&twice.chunks(1).collect::<Vec<_>>()), [OK; 2]);
        // The second is not whole.
        assert_eq!(statuses(&[get, &get[..20]]), [OK]);
        let post: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12";
        assert_eq!(statuses(&[post, b"345", get]), [OK; 2]);
        let head: &[u8] = b"HEAD / HTTP/1.1\r\n\r\n";
        assert_eq!(statuses(&[head, get]), ["200 OK 0", OK]);
    });
}

#[test]
fn http_closes_connections() {
    on_each_runtime_and_off(|| {
        let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let last: &[u8] = b"GET / HTTP/1.1\r\nConnection: foo, Close\r\n\r\n";
        assert_eq!(statuses(&[&[get, last, get, get].concat()]), [OK, CLOSE]);
        let old: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
        assert_eq!(statuses(&[old, get]), [CLOSE]);
        let old_but_kept: &[u8] = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(statuses(&[old_but_kept, old]), [OK, CLOSE]);
    });
}

#[test]
fn http_refuses() {
    on_each_runtime_and_off(|| {
        let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let refused = |parts: &[&[u8]]| {
            let answers = statuses(parts);
            assert!(answers.last().unwrap().ends_with(" close"));
            answers
                .iter()
                .map(|answer| answer[..3].to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(refused(&[b"\x16\x03\x01garbage\r\n\r\n"]), "400");
        assert_eq!(refused(&[get, b"no request\r\n\r\n", get]), "200 400");
        assert_eq!(refused(&[b"GET / HTTP/1.1\r\nX: ", &[b'x'; 9000]]), "431");
        assert_eq!(
            refused(&[b"GET / HTTP/1.1\r\n", &b"X: y\r\n".repeat(100), b"\r\n"]),
            "431"
        );
        assert_eq!(
            refused(&[b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n"]),
            "413"
        );
        assert_eq!(
            refused(&[b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]),
            "400"
        );
        assert_eq!(
            refused(&[b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"]),
            "501"
        );
    });
}
