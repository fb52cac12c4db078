//! A client of sockets, so that nothing between test and server smooths anything over.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest time for an answer on a loaded machine: more than a request may wait for its decision.
const ANSWER_MAX: Duration = Duration::from_secs(180);
/// How long a live stream is asked for that can't be followed yet.
const OPEN_MAX: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The items of a page.
    pub fn items(&self) -> Vec<Value> {
        self.json()["items"].as_array().unwrap_or_else(|| panic!("no page: {self:?}")).clone()
    }
}

/// One request on a connection of its own; none where the server went away before it answered.
pub fn try_ask(at: SocketAddr, what: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut head = format!("{what} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let cut = || std::io::Error::other(format!("cut off: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(cut)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(cut)?;
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned()));
    Ok(Answer { status, headers: headers.collect(), text: body.to_owned() })
}

/// The same; a panic where there is no answer.
pub fn ask(at: SocketAddr, what: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    try_ask(at, what, headers, body).unwrap_or_else(|e| panic!("{what}: {e}"))
}

/// What came back, where it is no text.
pub struct Bytes {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// One request for what may be no text.
pub fn bytes(at: SocketAddr, what: &str, headers: &[(&str, &str)]) -> Bytes {
    let mut stream = TcpStream::connect(at).expect("the server listens");
    stream.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout can be set");
    let headers =
        headers.iter().fold(String::new(), |all, (name, value)| format!("{all}{name}: {value}\r\n"));
    write!(stream, "{what} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n{headers}\r\n").expect("it reads");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the server answers");
    let end = all.windows(4).position(|end| end == b"\r\n\r\n").expect("a head ends");
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Bytes { status, headers, body: all[end + 4..].to_vec() }
}

/// An event of a live stream.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// What the system takes for a client that doesn't read.
const TAKEN_BYTES: usize = 64 * 1024;

/// A live stream.
pub struct Live(BufReader<TcpStream>);

impl Live {
    /// Follows from an id, or from now on; a panic where it may not.
    pub fn open(at: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Live {
        let since = Instant::now();
        loop {
            let mut live = Live::ask(at, query, headers);
            let first = live.line();
            // A server on a busy machine may give up before it can tell facts.
            if first.starts_with("HTTP/1.1 503") && since.elapsed() < OPEN_MAX {
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            assert!(first.starts_with("HTTP/1.1 200"), "{first}");
            while !live.line().is_empty() {}
            return live;
        }
    }

    fn ask(at: SocketAddr, query: &str, headers: &[(&str, &str)]) -> Live {
        let mut stream = TcpStream::connect(at).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout can be set");
        // Or the system keeps megabytes for a client that doesn't read.
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, TAKEN_BYTES).expect("it can be set");
        let mut head = format!("GET /v1/live{query} HTTP/1.1\r\nhost: {at}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("the server reads");
        Live(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        self.try_line().expect("an event comes in time")
    }

    fn try_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event.
    pub fn next(&mut self) -> Event {
        self.try_next().expect("an event comes in time")
    }

    /// The next event; none where the stream was cut off. An event is one chunk, so lines that are none of its own
    /// are the chunks'.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.try_line()?;
            if let Some(name) = line.strip_prefix("event:") {
                event.name = name.trim().to_owned();
            } else if let Some(id) = line.strip_prefix("id:") {
                event.id = Some(id.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data:") {
                event.data = serde_json::from_str(data).expect("data is JSON");
            } else if line.is_empty() && !event.name.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next event that isn't the frontier's.
    pub fn next_fact(&mut self) -> Event {
        loop {
            let event = self.next();
            if event.name != "frontier" {
                return event;
            }
        }
    }
}
