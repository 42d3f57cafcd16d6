//! TLS: rustls, and OpenSSL, which is C code, by native-tls.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::no_more_os_threads;
use crate::support::tests;

tests! {
    rustls_echoes
    openssl_echoes
}

struct Certificate {
    certificate: String,
    key: String,
}

fn certificate() -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    Certificate {
        certificate: made.cert.pem(),
        key: made.key_pair.serialize_pem(),
    }
}

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 1000];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..n]).unwrap();
        stream.flush().unwrap();
    }
}

fn ask(mut stream: impl Read + Write) {
    for n in 0..20_u8 {
        stream.write_all(&[n; 100]).unwrap();
        stream.flush().unwrap();
        let mut answer = [0; 100];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [n; 100]);
    }
}

/// Ten clients at once, and a thread for each at the server.
fn run(
    accept: impl Fn(TcpStream) + Send + Sync + 'static,
    connect: impl Fn(TcpStream) + Send + Sync + 'static,
) {
    no_more_os_threads(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (accept, connect) = (Arc::new(accept), Arc::new(connect));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let accept = Arc::clone(&accept);
                thread::spawn(move || accept(stream.unwrap()));
            }
        });
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let connect = Arc::clone(&connect);
                thread::spawn(move || connect(TcpStream::connect(address).unwrap()))
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
}

fn rustls_echoes() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let made = certificate();
    let der = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der.clone()).unwrap();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![der], key);
    let server = Arc::new(server.unwrap());
    let client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    run(
        move |stream| {
            let connection = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            echo(rustls::StreamOwned::new(connection, stream));
        },
        move |stream| {
            let name = "localhost".try_into().unwrap();
            let connection = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
            ask(rustls::StreamOwned::new(connection, stream));
        },
    );
}

fn openssl_echoes() {
    let made = certificate();
    let identity =
        native_tls::Identity::from_pkcs8(made.certificate.as_bytes(), made.key.as_bytes());
    let acceptor = native_tls::TlsAcceptor::new(identity.unwrap()).unwrap();
    let root = native_tls::Certificate::from_pem(made.certificate.as_bytes()).unwrap();
    let connector = native_tls::TlsConnector::builder()
        .add_root_certificate(root)
        .build()
        .unwrap();
    run(
        move |stream| echo(acceptor.accept(stream).unwrap()),
        move |stream| ask(connector.connect("localhost", stream).unwrap()),
    );
}
