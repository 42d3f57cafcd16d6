//! A room in which everybody hears everybody, over TCP, UDP and the Unix domain.

use std::io::prelude::*;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};

/// Whoever is in it.
#[derive(Default)]
pub struct Room {
    members: RwLock<Vec<Sender<String>>>,
}

impl Room {
    fn enter(&self) -> Receiver<String> {
        let (sender, receiver) = channel();
        self.members.write().unwrap().push(sender);
        receiver
    }

    fn say(&self, text: &str) {
        for member in self.members.read().unwrap().iter() {
            let _ = member.send(text.to_string());
        }
    }
}

fn member(room: Arc<Room>, stream: TcpStream) -> io::Result<()> {
    let heard = room.enter();
    let mut writer = stream.try_clone()?;
    writeln!(writer, "welcome")?;
    thread::spawn(move || {
        heard
            .iter()
            .try_for_each(|text| writeln!(writer, "{}", text))
    });
    for line in BufReader::new(stream).lines() {
        room.say(&line?);
    }
    Ok(())
}

/// Serves a room until it has had `n` members.
pub fn serve<A: ToSocketAddrs>(at: A, n: usize) -> io::Result<(SocketAddr, JoinHandle<usize>)> {
    let listener = TcpListener::bind(at)?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || {
        let room = Arc::new(Room::default());
        let members: Vec<_> = listener
            .incoming()
            .take(n)
            .map(|stream| {
                let room = Arc::clone(&room);
                thread::spawn(move || member(room, stream?))
            })
            .collect();
        let ended = members.into_iter().map(|member| member.join().unwrap());
        ended.filter(Result::is_ok).count()
    });
    Ok((address, server))
}

/// Asks somebody for the time, who answers with the question.
pub fn ask(question: &str) -> io::Result<String> {
    let (asker, answerer) = (
        UdpSocket::bind("127.0.0.1:0")?,
        UdpSocket::bind(("127.0.0.1", 0))?,
    );
    let address = answerer.local_addr()?;
    let answering = thread::spawn(move || -> io::Result<()> {
        let mut room = [0; 100];
        let (n, from) = answerer.recv_from(&mut room)?;
        answerer.send_to(&room[..n], from).map(drop)
    });
    asker.send_to(question.as_bytes(), address)?;
    let mut room = [0; 100];
    let n = asker.recv(&mut room)?;
    answering.join().unwrap()?;
    Ok(String::from_utf8_lossy(&room[..n]).into_owned())
}

/// Sends a text through a child, a pipe and a socket.
#[cfg(unix)]
pub fn around(text: &str) -> io::Result<String> {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    let (near, far) = UnixStream::pair()?;
    let (reader, mut writer) = io::pipe()?;
    let mut child = Command::new("cat")
        .stdin(reader)
        .stdout(Stdio::from(OwnedFd::from(far)))
        .spawn()?;
    let text = text.to_string();
    let writing = thread::spawn(move || writer.write_all(text.as_bytes()));
    let back = io::read_to_string(near)?;
    writing.join().unwrap()?;
    assert!(child.wait()?.success());
    Ok(back)
}
