//! A small HTTP server whose next answers a test decides: one document, its headers, and what goes wrong.

#![allow(dead_code)] // each test program uses a part of it

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How an answer's body goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// With its length.
    Sized,
    /// In chunks.
    Chunked,
    /// Until the connection is closed.
    Unbounded,
    /// A byte at a time.
    Dripping,
    /// The head, and then nothing.
    Hanging,
}

/// What every request is answered with, until another is set.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    manner: Manner,
    /// The connection breaks after so many bytes of the body.
    cut: Option<usize>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Answer {
        Answer { status: 200, headers: Vec::new(), body: body.into(), manner: Manner::Sized, cut: None }
    }

    pub fn status(status: u16) -> Answer {
        Answer { status, ..Answer::ok("no document") }
    }

    /// With an ETag or Last-Modified, requests that name it are answered 304.
    pub fn with(mut self, name: &'static str, value: &str) -> Answer {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn cut_to(self, bytes: usize) -> Answer {
        Answer { cut: Some(bytes), ..self }
    }

    pub fn chunked(self) -> Answer {
        Answer { manner: Manner::Chunked, ..self }
    }

    pub fn unbounded(self) -> Answer {
        Answer { manner: Manner::Unbounded, ..self }
    }

    pub fn dripping(self) -> Answer {
        Answer { manner: Manner::Dripping, ..self }
    }

    pub fn hanging(self) -> Answer {
        Answer { manner: Manner::Hanging, ..self }
    }

    fn unchanged(&self, request: &str) -> bool {
        let known = |(name, value): &(&str, String)| match *name {
            "ETag" => request.contains(&format!("if-none-match: {}", value.to_lowercase())),
            "Last-Modified" => request.contains(&format!("if-modified-since: {}", value.to_lowercase())),
            _ => false,
        };
        self.headers.iter().any(known)
    }

    fn write(&self, to: &mut TcpStream, request: &str) -> std::io::Result<()> {
        if self.unchanged(request) {
            return to.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
        }
        let mut head = format!("HTTP/1.1 {} Something\r\nConnection: close\r\n", self.status);
        self.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        match self.manner {
            // A 304 has no body, and no length of one.
            _ if self.status == 304 => {}
            Manner::Sized | Manner::Dripping | Manner::Hanging => {
                head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
            }
            Manner::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Manner::Unbounded => {}
        }
        to.write_all(format!("{head}\r\n").as_bytes())?;
        let mut wire = self.body.clone();
        if self.manner == Manner::Chunked {
            let chunks =
                self.body.chunks(16).map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat());
            wire = chunks.collect::<Vec<_>>().concat();
            wire.extend_from_slice(b"0\r\n\r\n");
        }
        let whole = &wire[..self.cut.unwrap_or(wire.len()).min(wire.len())];
        match self.manner {
            _ if self.status == 304 => Ok(()),
            Manner::Hanging => {
                std::thread::sleep(Duration::from_secs(20));
                Ok(())
            }
            Manner::Dripping => whole.iter().try_for_each(|byte| {
                std::thread::sleep(Duration::from_millis(100));
                to.write_all(&[*byte])
            }),
            _ => to.write_all(whole),
        }
    }
}

/// The server; its threads end with the test.
pub struct Server {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    last: Arc<Mutex<String>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, last) = (Arc::new(Mutex::new(Answer::status(404))), Arc::new(Mutex::new(String::new())));
        let server = Server { port, answer: Arc::clone(&answer), last: Arc::clone(&last) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, last) = (Arc::clone(&answer), Arc::clone(&last));
                std::thread::spawn(move || serve(stream, &answer, &last));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/results.csv", self.port)
    }

    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn forget_requests(&self) {
        self.last.lock().unwrap().clear();
    }

    /// The last request, in lower case.
    pub fn last_request(&self) -> String {
        self.last.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &Mutex<Answer>, last: &Mutex<String>) {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    let request = request.to_lowercase();
    last.lock().unwrap().clone_from(&request);
    let answer = answer.lock().unwrap().clone();
    // A client that has had enough closes the connection.
    let _ = answer.write(&mut stream, &request);
}
