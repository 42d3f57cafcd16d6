//! Clients and servers of HTTP and WebSocket: ureq, reqwest, tiny_http, tungstenite.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::no_more_os_threads;
use crate::support::tests;

tests! {
    ureq_asks_tiny_http
    reqwest_asks_tiny_http
    tungstenite_echoes
}

fn serve() -> (Arc<tiny_http::Server>, String) {
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let address = format!("http://{}", server.server_addr().to_ip().unwrap());
    for _ in 0..4 {
        let server = Arc::clone(&server);
        thread::spawn(move || {
            for request in server.incoming_requests() {
                let text = format!("you asked for {}", request.url());
                request
                    .respond(tiny_http::Response::from_string(text))
                    .unwrap();
            }
        });
    }
    (server, address)
}

fn ureq_asks_tiny_http() {
    let (server, address) = serve();
    no_more_os_threads(|| {
        let clients: Vec<_> = (0..20)
            .map(|n| {
                let url = format!("{address}/{n}");
                thread::spawn(move || {
                    let agent = ureq::AgentBuilder::new().build();
                    for _ in 0..5 {
                        let text = agent.get(&url).call().unwrap().into_string().unwrap();
                        assert_eq!(text, format!("you asked for /{n}"));
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
    server.unblock();
}

/// Its blocking client runs tokio on a thread of its own, which is green: no OS thread is started.
fn reqwest_asks_tiny_http() {
    let (server, address) = serve();
    no_more_os_threads(|| {
        // A connection that is kept keeps one of the server's threads, which hands all that come at once to the
        // four that it has.
        let client = reqwest::blocking::Client::builder().pool_max_idle_per_host(0);
        let client = client.build().unwrap();
        let clients: Vec<_> = (0..20)
            .map(|n| {
                let (client, url) = (client.clone(), format!("{address}/{n}"));
                thread::spawn(move || {
                    let text = client.get(url).send().unwrap().text().unwrap();
                    assert_eq!(text, format!("you asked for /{n}"));
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        drop(client);
    });
    server.unblock();
}

fn tungstenite_echoes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
                while let Ok(message) = socket.read() {
                    if !message.is_text() || socket.send(message).is_err() {
                        break;
                    }
                }
            });
        }
    });
    no_more_os_threads(|| {
        let clients: Vec<_> = (0..20)
            .map(|n| {
                thread::spawn(move || {
                    let stream = TcpStream::connect(address).unwrap();
                    let (mut socket, _) = tungstenite::client("ws://localhost/", stream).unwrap();
                    for m in 0..5 {
                        let text = format!("message {m} of {n}");
                        socket
                            .send(tungstenite::Message::text(text.clone()))
                            .unwrap();
                        assert_eq!(socket.read().unwrap().to_text().unwrap(), text);
                    }
                    let _ = socket.close(None);
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
}
