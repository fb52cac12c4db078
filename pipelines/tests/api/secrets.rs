//! What is secret is in no log, however much is logged.

use super::house::{House, wait_for};
use super::http::ask;
use crate::support::process::tombola;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};

const SECRET: &str = "a-jwt-secret-of-more-than-thirty-two-characters";

fn token(secret: &str, seconds: i64) -> String {
    let exp = pipelines::clock_ms() / 1_000 + seconds;
    let claims = serde_json::json!({"sub": "anna", "exp": exp, "roles": ["operator"]});
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("it can be signed")
}

fn lock(log: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    log.lock().expect("nobody panicked")
}

#[test]
fn keys_tokens_and_secrets_are_in_no_log() {
    let house = House::with(|config| {
        let file = config.pipeline.data_dir.join("jwt.secret");
        std::fs::write(&file, SECRET).expect("the folder can be written");
        config.api.jwt_secret_file = Some(file);
    });
    let mut command = tombola(house.folder.path(), &["api", "--listen", "127.0.0.1:0"]);
    // As much as there is, what the libraries say, too.
    command.env("TOMBOLA_LOG", "trace").stdout(Stdio::null());
    let mut child = command.spawn().expect("the program can be started");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let address = loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended before it listened: {log:?}"));
        let address = line.split_once("http://").map(|(_, address)| address.trim().to_owned());
        lock(&log).push(line);
        if let Some(Ok(address)) = address.map(|address| address.parse()) {
            break address;
        }
    };
    let told = Arc::clone(&log);
    let reading = std::thread::spawn(move || lines.for_each(|line| lock(&told).push(line)));
    let (good, old, forged) =
        (token(SECRET, 600), token(SECRET, -600), token("another secret, of somebody else", 600));
    for (bearer, status) in [
        ("acme-producer-key", 200),
        (good.as_str(), 200),
        (&old, 401),
        (&forged, 401),
        ("no-such-key-at-all", 401),
    ] {
        let header = format!("Bearer {bearer}");
        let headers = [("authorization", header.as_str()), ("idempotency-key", "k")];
        assert_eq!(ask(address, "GET /v1/status", &headers, "").status, status, "{bearer}");
        let order = r#"{"tenant":"acme","customer_id":"anna","offer_id":"box","quantity":1,"price_minor":100,"currency":"EUR"}"#;
        let placed = ask(address, "POST /v1/orders?wait_ms=120000", &headers, order).status;
        assert_eq!(placed, status, "{bearer}");
        let broken = ask(address, "POST /v1/orders", &headers, "{").status;
        assert_eq!(broken, if status == 200 { 400 } else { 401 }, "{bearer}");
    }
    // What breaks is logged.
    for broken in [
        "POST /v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\nauthorization: Bearer KEY\r\n\r\n{",
        "authorization: Bearer KEY\r\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
        stream.write_all(broken.replace("KEY", "acme-producer-key").as_bytes()).expect("the server reads");
    }
    wait_for("it to be logged", || lock(&log).iter().any(|line| line.contains("a connection broke")));
    let _ = child.kill();
    child.wait().expect("it ends");
    reading.join().expect("its log can be read");
    let log = lock(&log).join("\n");
    for secret in [SECRET, "acme-producer-key", &good, &old, &forged, "no-such-key-at-all", "a key for tests"]
    {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret} is in the log: {lines:?}");
    }
}
