//! A small HTTP server that behaves like Mastodon, Telegram or a webhook's receiver, with a list of tricks: what to do
//! with the next calls instead.

use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const TOKEN: &str = "a-token-that-nobody-may-see";
pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA";

/// What to do with a call that would post, instead of what it asks for.
#[derive(Clone, Debug)]
pub enum Trick {
    /// Answer this, do nothing.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Do it, and close the connection without an answer.
    DoAndCut,
    /// Close the connection, do nothing.
    Cut,
    /// Do it and answer after that long.
    Slow(Duration),
}

#[derive(Clone, Debug, Default)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What a network shows.
#[derive(Clone, Debug)]
pub struct Shown {
    pub id: String,
    /// What it was recognised by.
    pub key: String,
    pub text: String,
}

#[derive(Default)]
struct State {
    tricks: VecDeque<Trick>,
    calls: Vec<Call>,
    shown: Vec<Shown>,
    /// Media and how many more times they are still being worked on.
    media: BTreeMap<String, u32>,
    processing: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mastodon,
    Telegram,
    Webhook,
}

pub struct Server {
    pub kind: Kind,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// It takes connections and says nothing.
    dead: Arc<AtomicBool>,
}

type Reply = (u16, Vec<(&'static str, String)>, String);

impl Server {
    pub fn start(kind: Kind) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, dead) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (its_state, its_dead) = (Arc::clone(&state), Arc::clone(&dead));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, dead) = (Arc::clone(&its_state), Arc::clone(&its_dead));
                // A caller that has left is no fault of the server's.
                std::thread::spawn(move || drop(serve(kind, &stream, &state, &dead)));
            }
        });
        Server { kind, address, state, dead }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn network(&self) -> &'static str {
        match self.kind {
            Kind::Mastodon => "mastodon",
            Kind::Telegram => "telegram",
            Kind::Webhook => "webhook",
        }
    }

    pub fn secret(&self) -> &'static str {
        if self.kind == Kind::Webhook { WEBHOOK_SECRET } else { TOKEN }
    }

    /// What to do with the next calls that would post.
    pub fn trick(&self, tricks: &[Trick]) {
        self.state.lock().unwrap().tricks.extend(tricks.iter().cloned());
    }

    /// Media are worked on for so many looks.
    pub fn processing(&self, looks: u32) {
        self.state.lock().unwrap().processing = looks;
    }

    /// As a network does after its hour: what is shown is shown, and no repeated call is recognised by it.
    pub fn forget_keys(&self) {
        self.state.lock().unwrap().shown.iter_mut().for_each(|shown| shown.key.clear());
    }

    pub fn die(&self, dead: bool) {
        self.dead.store(dead, Ordering::SeqCst);
    }

    pub fn shown(&self) -> Vec<Shown> {
        self.state.lock().unwrap().shown.clone()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Calls that would post.
    pub fn posts(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| would_post(self.kind, call)).collect()
    }
}

fn would_post(kind: Kind, call: &Call) -> bool {
    match kind {
        Kind::Mastodon => call.method == "POST" && call.path == "/api/v1/statuses",
        Kind::Telegram => call.path.ends_with("/sendPhoto"),
        Kind::Webhook => call.method == "POST",
    }
}

fn serve(kind: Kind, stream: &TcpStream, state: &Mutex<State>, dead: &AtomicBool) -> std::io::Result<()> {
    let call = read(stream)?;
    if dead.load(Ordering::SeqCst) {
        // Long enough for all others to be served meanwhile, and then no answer.
        std::thread::sleep(Duration::from_secs(3));
        return Ok(());
    }
    let trick = {
        let mut state = state.lock().unwrap();
        state.calls.push(call.clone());
        if would_post(kind, &call) { state.tricks.pop_front() } else { None }
    };
    let act = || handle(kind, &call, &mut state.lock().unwrap());
    let reply = match trick {
        Some(Trick::Answer(status, headers, body)) => (status, headers, body),
        Some(Trick::Cut) => return Ok(()),
        Some(Trick::DoAndCut) => {
            act();
            return Ok(());
        }
        Some(Trick::Slow(wait)) => {
            let reply = act();
            std::thread::sleep(wait);
            reply
        }
        None => act(),
    };
    write(stream, reply)
}

fn read(stream: &TcpStream) -> std::io::Result<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Call { method, path, headers, body })
}

fn write(mut stream: &TcpStream, (status, headers, body): Reply) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    stream.flush()
}

fn handle(kind: Kind, call: &Call, state: &mut State) -> Reply {
    match kind {
        Kind::Mastodon => mastodon(call, state),
        Kind::Telegram => telegram(call, state),
        Kind::Webhook => webhook(call, state),
    }
}

fn ok(body: String) -> Reply {
    (200, Vec::new(), body)
}

fn error(status: u16, message: &str) -> Reply {
    (status, Vec::new(), format!("{{\"error\": {message:?}}}"))
}

fn mastodon(call: &Call, state: &mut State) -> Reply {
    if call.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return error(401, "The access token is invalid");
    }
    let path = call.path.split('?').next().unwrap_or_default();
    match (call.method.as_str(), path) {
        ("POST", "/api/v2/media") => {
            assert!(contains(&call.body, b"\x89PNG"), "a medium is an image");
            state.count += 1;
            let id = format!("m{}", state.count);
            state.media.insert(id.clone(), state.processing);
            if state.processing > 0 {
                return (
                    202,
                    Vec::new(),
                    format!("{{\"id\": \"{id}\", \"type\": \"image\", \"url\": null}}"),
                );
            }
            ok(format!("{{\"id\": \"{id}\", \"type\": \"image\", \"url\": \"http://x/{id}.png\"}}"))
        }
        ("GET", path) if path.starts_with("/api/v1/media/") => {
            let id = path.rsplit('/').next().unwrap();
            match state.media.get_mut(id) {
                None => error(404, "Record not found"),
                Some(0) => ok(format!("{{\"id\": \"{id}\", \"url\": \"http://x/{id}.png\"}}")),
                Some(left) => {
                    *left -= 1;
                    (206, Vec::new(), format!("{{\"id\": \"{id}\", \"url\": null}}"))
                }
            }
        }
        ("POST", "/api/v1/statuses") => status(call, state),
        ("GET", "/api/v1/accounts/verify_credentials") => {
            ok("{\"id\": \"7\", \"acct\": \"draws\"}".to_owned())
        }
        ("GET", "/api/v1/accounts/7/statuses") => statuses(call, state),
        _ => error(404, "Record not found"),
    }
}

fn status(call: &Call, state: &mut State) -> Reply {
    let key = call.headers.get("idempotency-key").cloned().unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    if let Some(known) = state.shown.iter().find(|shown| shown.key == key) {
        return ok(shown_json(known));
    }
    for medium in body["media_ids"].as_array().unwrap() {
        if state.media.get(medium.as_str().unwrap()) != Some(&0) {
            return error(422, "Cannot attach files that have not finished processing");
        }
    }
    state.count += 1;
    let text = body["status"].as_str().unwrap().to_owned();
    let shown = Shown { id: format!("s{:03}", state.count), key, text };
    state.shown.push(shown.clone());
    ok(shown_json(&shown))
}

/// As a server shows it: in HTML.
fn shown_json(shown: &Shown) -> String {
    let html = format!("<p>{}</p>", shown.text.replace('&', "&amp;").replace('\n', "<br>"));
    let created = "2099-01-01T00:00:00.000Z";
    serde_json::json!({ "id": shown.id, "content": html, "created_at": created }).to_string()
}

/// Newest first, so many a page.
fn statuses(call: &Call, state: &State) -> Reply {
    let before = call.path.split("max_id=").nth(1).map(|rest| rest.split('&').next().unwrap());
    let page: Vec<String> = state
        .shown
        .iter()
        .rev()
        .filter(|shown| before.is_none_or(|before| shown.id.as_str() < before))
        .take(40)
        .map(shown_json)
        .collect();
    ok(format!("[{}]", page.join(",")))
}

fn telegram(call: &Call, state: &mut State) -> Reply {
    let denied = |code: u16, what: &str| {
        (code, Vec::new(), format!("{{\"ok\": false, \"error_code\": {code}, \"description\": {what:?}}}"))
    };
    let Some(method) = call.path.strip_prefix(&format!("/bot{TOKEN}/")) else {
        return denied(401, "Unauthorized");
    };
    match method {
        "getMe" => {
            ok("{\"ok\": true, \"result\": {\"id\": 1, \"is_bot\": true, \"username\": \"draws_bot\"}}"
                .to_owned())
        }
        "sendPhoto" => {
            assert!(contains(&call.body, b"\x89PNG") && contains(&call.body, b"name=\"chat_id\""));
            if !contains(&call.body, b"@draws") {
                return denied(400, "Bad Request: chat not found");
            }
            state.count += 1;
            let text = String::from_utf8_lossy(&call.body).into_owned();
            let id = state.count.to_string();
            state.shown.push(Shown { id: id.clone(), key: id.clone(), text });
            ok(format!("{{\"ok\": true, \"result\": {{\"message_id\": {id}, \"chat\": {{\"id\": -100}}}}}}"))
        }
        _ => denied(404, "Not Found"),
    }
}

/// Remembers ids, as receivers must.
fn webhook(call: &Call, state: &mut State) -> Reply {
    let header = |name: &str| call.headers.get(name).cloned().unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let text = String::from_utf8(call.body.clone()).unwrap();
    if header("webhook-signature") != signature(&format!("{id}.{timestamp}.{text}")) {
        return (401, Vec::new(), "the signature is wrong".to_owned());
    }
    if !state.shown.iter().any(|shown| shown.key == id) {
        state.shown.push(Shown { id: id.clone(), key: id, text });
    }
    (204, Vec::new(), String::new())
}

/// HMAC written out, so that it isn't checked with what it was made with.
fn signature(message: &str) -> String {
    let key = base64_decode(WEBHOOK_SECRET.trim_start_matches("whsec_"));
    let padded: Vec<u8> = key.iter().copied().chain(std::iter::repeat(0)).take(64).collect();
    let xor = |with: u8| padded.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(xor(0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(xor(0x5c)).chain_update(inner).finalize();
    format!("v1,{}", base64_encode(&outer))
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize] as char;
            out.push(if place > chunk.len() { '=' } else { letter });
        }
    }
    out
}

fn base64_decode(text: &str) -> Vec<u8> {
    let (mut out, mut word, mut bits) = (Vec::new(), 0u32, 0);
    for value in text.bytes().filter_map(|byte| LETTERS.iter().position(|letter| *letter == byte)) {
        (word, bits) = (word << 6 | value as u32, bits + 6);
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    out
}

pub fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}
