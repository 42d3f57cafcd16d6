//! Crates that speak over any `Read + Write`, on green threads.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use greenstd::net::{TcpListener, TcpStream};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn tls_session(config: Arc<ClientConfig>, stream: TcpStream, n: usize) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream);
    let sent: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
    tls.write_all(&(n as u32).to_be_bytes()).unwrap();
    tls.write_all(&sent).unwrap();
    let mut back = vec![0; n];
    tls.read_exact(&mut back).unwrap();
    assert!(back == sent);
    tls.conn.send_close_notify();
    tls.flush().unwrap();
}

#[test]
fn tls_sessions_with_rustls_at_both_ends() {
    greenrt::run(|| {
        let (server, client) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = greenrt::Server::start(listener, move |(stream, _): (TcpStream, _)| {
            let connection = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut tls = StreamOwned::new(connection, stream);
            let mut n = [0; 4];
            tls.read_exact(&mut n).unwrap();
            let mut room = vec![0; u32::from_be_bytes(n) as usize];
            tls.read_exact(&mut room).unwrap();
            tls.write_all(&room).unwrap();
            let _ = tls.read(&mut [0]);
        })
        .unwrap();
        let sessions: Vec<_> = [1, 100, 20_000, 300_000, 0]
            .into_iter()
            .map(|n| {
                let client = Arc::clone(&client);
                greenrt::Builder::new()
                    .stack_size(1 << 20)
                    .spawn(move || tls_session(client, TcpStream::connect(address).unwrap(), n))
                    .unwrap()
            })
            .collect();
        sessions.into_iter().for_each(|s| s.join().unwrap());
        assert_eq!(server.stop(std::time::Duration::from_secs(10)).left, 0);
    });
}

#[test]
fn a_websocket_with_tungstenite_at_both_ends() {
    greenrt::run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = greenrt::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            loop {
                match socket.read() {
                    Ok(message) if message.is_text() || message.is_binary() => {
                        socket.send(message).unwrap();
                    }
                    Ok(_) => {}
                    Err(tungstenite::Error::ConnectionClosed) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let stream = TcpStream::connect(address).unwrap();
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
        for text in ["hello".to_string(), "long ".repeat(50_000)] {
            socket.send(text.clone().into()).unwrap();
            assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), text);
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        server.join().unwrap();
    });
}

#[test]
fn a_tls_client_of_stds_threads() {
    // The other end on OS threads and std's sockets.
    greenrt::run(|| {
        let (server, client) = configs();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut tls = StreamOwned::new(ServerConnection::new(server).unwrap(), stream);
            let mut n = [0; 4];
            tls.read_exact(&mut n).unwrap();
            let mut room = vec![0; u32::from_be_bytes(n) as usize];
            tls.read_exact(&mut room).unwrap();
            tls.write_all(&room).unwrap();
            let _ = tls.read(&mut [0]);
        });
        tls_session(client, TcpStream::connect(address).unwrap(), 100_000);
        server.join().unwrap();
    });
}
