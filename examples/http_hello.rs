//! Says hello over HTTP/1.1, a thread for each connection, which it keeps.
//!
//! Run with `cargo run --release --example http_hello [address]`, and measure it with
//! `wrk -t1 -c1000 -d10 http://127.0.0.1:8080`.

use greenstd::io::{self, Read, Write};
use greenstd::net::{Shutdown, TcpListener, TcpStream};
use greenstd::thread;
use greenstd::time::Duration;

const BYTES_MAX: usize = 8 * 1024;
const TEXT: &str = "Hello, World!";

struct Request {
    n_bytes: usize,
    has_body: bool,
    keep_alive: bool,
}

/// The request at the start of `bytes`, if it has come whole; or the status that refuses it.
fn parse(bytes: &[u8]) -> Result<Option<Request>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let n_head = match request.parse(bytes) {
        Ok(httparse::Status::Complete(n)) if n <= BYTES_MAX => n,
        Ok(httparse::Status::Partial) if bytes.len() < BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err("431 Request Header Fields Too Large");
        }
        Err(_) => return Err("400 Bad Request"),
    };
    let mut keep_alive = request.version == Some(1);
    let mut n_body = 0;
    for header in request.headers {
        let value = str::from_utf8(header.value).unwrap_or_default();
        let lists = |word: &str| {
            value
                .split(',')
                .any(|s| s.trim().eq_ignore_ascii_case(word))
        };
        if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = !lists("close") && (keep_alive || lists("keep-alive"));
        } else if header.name.eq_ignore_ascii_case("content-length") {
            n_body = value.trim().parse().map_err(|_| "400 Bad Request")?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("501 Not Implemented");
        }
    }
    if n_body > BYTES_MAX {
        return Err("413 Content Too Large");
    }
    let n_bytes = n_head + n_body;
    let has_body = request.method != Some("HEAD");
    Ok((n_bytes <= bytes.len()).then_some(Request {
        n_bytes,
        has_body,
        keep_alive,
    }))
}

fn answer(out: &mut Vec<u8>, status: &str, text: &str, has_body: bool, keep_alive: bool) {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let (n, body) = (text.len(), if has_body { text } else { "" });
    write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {n}\r\n\
         Connection: {connection}\r\n\r\n{body}"
    )
    .expect("a vector takes everything");
}

/// Answers requests in the order in which they come, until one end has had enough.
pub(crate) fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut room, mut bytes, mut out) = ([0; 4096], Vec::new(), Vec::new());
    let mut keep_alive = true;
    while keep_alive {
        let n = stream.read(&mut room)?;
        if n == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&room[..n]);
        // All requests that have come whole are answered with one write.
        let mut n_done = 0;
        while keep_alive {
            match parse(&bytes[n_done..]) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    n_done += request.n_bytes;
                    keep_alive = request.keep_alive;
                    answer(&mut out, "200 OK", TEXT, request.has_body, keep_alive);
                }
                Err(status) => {
                    keep_alive = false;
                    answer(&mut out, status, status, true, keep_alive);
                }
            }
        }
        bytes.drain(..n_done);
        stream.write_all(&out)?;
        out.clear();
    }
    // What the client still sends is read: closing before that would reset the connection, and the
    // answer might be lost.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    io::copy(&mut stream.take(1 << 20), &mut io::sink())?;
    Ok(())
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening at {}", listener.local_addr()?);
    for stream in listener.incoming() {
        match stream {
            // A connection that breaks concerns nobody else.
            Ok(stream) => drop(thread::spawn(move || serve(stream))),
            Err(error) => eprintln!("no connection: {error}"),
        }
    }
    Ok(())
}
