//! A forward proxy that leads every name to one server, and remembers what it was asked for.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A [proxy](https://www.rfc-editor.org/rfc/rfc9110#name-connect) on a loopback port: `CONNECT` and absolute URLs.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy whose every connection ends at `target` (`HOST:PORT`).
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Self {
            url: format!("http://{}", listener.local_addr().expect("bound")),
            asked: Arc::default(),
        };
        let (target, asked) = (target.to_owned(), Arc::clone(&proxy.asked));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, asked) = (target.clone(), Arc::clone(&asked));
                // A client that goes away early ends its connection only.
                thread::spawn(move || serve(client, &target, &asked).ok());
            }
        });
        proxy
    }

    /// Method and host of every request so far, for example `CONNECT registry.test:443`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut client: TcpStream, target: &str, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (method, rest) = head.split_once(' ').unwrap_or_default();
    let url = rest.split(' ').next().unwrap_or_default();
    let (host, path) = match url.strip_prefix("http://") {
        Some(absolute) => absolute.split_once('/').unwrap_or((absolute, "")),
        None => (url, ""),
    };
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(format!("{method} {host}"));
    let mut server = TcpStream::connect(target)?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        // One request a connection: the next one may be for another host.
        let headers = head.split_once("\r\n").map_or("", |(_, headers)| headers);
        write!(
            server,
            "{method} /{path} HTTP/1.1\r\nConnection: close\r\n{headers}"
        )?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let forth = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write).and(copied)
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)?;
    forth.join().map_or(Ok(()), |copied| copied.map(drop))
}
