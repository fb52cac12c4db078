//! Each network by itself: what is sent, and what each answer means.

use super::server::{Kind, Server, Trick, contains};
use sinks::announcement::Announcement;
use sinks::social::{HttpSettings, Image, Network, Post, PostError, Posted, Secret, Target, network};
use std::time::{Duration, Instant};

/// What a call takes on a busy machine, and more.
const PATIENT_MS: u64 = 15_000;
/// Of calls that are to be given up.
const IMPATIENT_MS: u64 = 5_000;
/// Longer than any of them waits.
const TOO_SLOW: Trick = Trick::Slow(Duration::from_secs(300));

fn adapter(server: &Server, target: &str, secret: &str) -> Result<Box<dyn Network>, PostError> {
    adapter_for(server, target, secret, PATIENT_MS)
}

fn adapter_for(
    server: &Server,
    target: &str,
    secret: &str,
    timeout_ms: u64,
) -> Result<Box<dyn Network>, PostError> {
    let http = HttpSettings { timeout_ms, ..HttpSettings::default() };
    let (endpoint, target) = (server.url(), target.to_owned());
    network(server.network(), Target { endpoint, target, secret: Secret::new(secret), http })
}

fn good(server: &Server) -> Box<dyn Network> {
    good_for(server, PATIENT_MS)
}

fn good_for(server: &Server, timeout_ms: u64) -> Box<dyn Network> {
    let target = if server.kind == Kind::Telegram { "@draws" } else { "" };
    adapter_for(server, target, server.secret(), timeout_ms).unwrap()
}

fn post() -> Post {
    let result = Announcement {
        tenant: "acme".into(),
        draw_id: "D & 1".into(),
        revision: 1,
        supersedes: None,
        game: "lotto".into(),
        numbers: vec![1, 2, 3],
        bonus: vec![],
        prizes: vec![],
        drawn_at_ms: 1_795_319_940_000,
        jackpot_minor: None,
        currency: None,
    };
    let png = b"\x89PNG and so on".to_vec();
    Post {
        key: "post:acme/D/1/main".into(),
        requested_at_ms: 1_795_319_940_000,
        result,
        lines: vec!["Numbers: 1 2 3".into()],
        locale: "pt-BR".into(),
        image: Some(Image { png, path: "a/b.png".into(), url: None, sha256: "00".into() }),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn posted(server: &Server) -> Result<Posted, PostError> {
    run(good(server).post(&post()))
}

/// In one line, without what differs from run to run.
fn told(result: Result<Posted, PostError>) -> String {
    match result {
        Ok(posted) => format!("posted {}", posted.external_id),
        Err(PostError::Again { problem, after }) => format!("again {after:?}: {problem}"),
        Err(PostError::Refused { problem }) => format!("refused: {problem}"),
        Err(PostError::InDoubt { problem, .. }) => format!("in doubt: {problem}"),
    }
}

fn answer(status: u16, body: &str) -> Trick {
    Trick::Answer(status, Vec::new(), body.to_owned())
}

fn check(kind: Kind, trick: Trick, expected: &str) {
    let server = Server::start(kind);
    server.trick(std::slice::from_ref(&trick));
    let timeout_ms = if matches!(trick, Trick::Slow(_)) { IMPATIENT_MS } else { PATIENT_MS };
    let told = told(run(good_for(&server, timeout_ms).post(&post())));
    assert!(told.starts_with(expected), "{kind:?}, {trick:?}: {told}");
    assert!(!told.contains(server.secret()), "{told}");
}

#[test]
fn a_status_has_its_image_its_text_and_its_key() {
    let server = Server::start(Kind::Mastodon);
    server.processing(2);
    let first = posted(&server).unwrap();
    assert_eq!(posted(&server).unwrap(), first, "the same key is the same status");
    let shown = server.shown();
    assert_eq!(shown.len(), 1);
    assert!(shown[0].text.starts_with("Numbers: 1 2 3\n\nD & 1 · r1-"), "{}", shown[0].text);
    let sent: serde_json::Value = serde_json::from_slice(&server.posts()[0].body).unwrap();
    assert_eq!((sent["visibility"].as_str(), sent["language"].as_str()), (Some("public"), Some("pt")));
    assert!(server.calls().iter().any(|call| call.path.starts_with("/api/v1/media/")), "it was waited for");
    assert_eq!(run(good(&server).find(&post(), 0)).unwrap(), Some(first));
    assert_eq!(run(good(&server).find(&Post { key: "another".into(), ..post() }, 0)).unwrap(), None);
}

#[test]
fn a_status_is_found_behind_many_others() {
    let server = Server::start(Kind::Mastodon);
    let (network, first) = (good(&server), posted(&server).unwrap());
    for n in 0..90 {
        let other = Post { key: format!("other {n}"), image: None, ..post() };
        run(network.post(&other)).unwrap();
    }
    assert_eq!(run(network.find(&post(), 0)).unwrap(), Some(first));
}

#[test]
fn what_mastodon_answers_means_what_it_should() {
    use Kind::Mastodon;
    check(
        Mastodon,
        answer(422, r#"{"error": "Text is too long"}"#),
        "refused: post the status: 422 Unprocessable Entity Text is too long",
    );
    check(Mastodon, answer(503, ""), "again None: post the status: 503");
    check(Mastodon, answer(500, "oops"), "in doubt: post the status: 500 Internal Server Error oops");
    check(Mastodon, answer(200, "not JSON"), "in doubt: post the status: the answer 200 OK can't be read");
    check(Mastodon, Trick::Cut, "in doubt: ");
    check(Mastodon, TOO_SLOW, "in doubt: ");
    let limited =
        Trick::Answer(429, vec![("retry-after", "9".into())], "{\"error\": \"Too many requests\"}".into());
    check(Mastodon, limited, "again Some(9s): post the status: 429");
    let server = Server::start(Mastodon);
    let wrong = told(run(adapter(&server, "", "wrong").unwrap().post(&post())));
    assert!(
        wrong.starts_with("refused: put up the image: 401 Unauthorized The access token is invalid"),
        "{wrong}"
    );
    let loud = adapter(&server, "loud", "x").err().unwrap();
    assert!(told(Err(loud)).contains("no visibility"));
}

#[test]
fn a_photo_has_its_chat_and_caption() {
    let server = Server::start(Kind::Telegram);
    assert_eq!(posted(&server).unwrap().external_id, "1");
    let sent = &server.posts()[0];
    assert!(sent.headers["content-type"].starts_with("multipart/form-data"));
    for part in [
        "name=\"chat_id\"",
        "@draws",
        "name=\"caption\"",
        "Numbers: 1 2 3",
        "name=\"photo\"; filename=\"result.png\"",
    ] {
        assert!(contains(&sent.body, part.as_bytes()), "{part} is missing");
    }
}

#[test]
fn what_telegram_answers_means_what_it_should() {
    use Kind::Telegram;
    let limited = r#"{"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 5", "parameters": {"retry_after": 5}}"#;
    check(
        Telegram,
        answer(429, limited),
        "again Some(5s): send the photo: 429 Too Many Requests: retry after 5",
    );
    let broken = r#"{"ok": false, "error_code": 500, "description": "Internal Server Error"}"#;
    check(Telegram, answer(500, broken), "in doubt: send the photo: 500 Internal Server Error");
    let gateway = r#"{"ok": false, "error_code": 502, "description": "Bad Gateway"}"#;
    check(Telegram, answer(502, gateway), "in doubt: send the photo: 502 Bad Gateway");
    // The code of the body counts, whatever the status.
    check(Telegram, answer(200, gateway), "in doubt: send the photo: 502 Bad Gateway");
    let later =
        r#"{"ok": false, "error_code": 503, "description": "Busy", "parameters": {"retry_after": 7}}"#;
    check(Telegram, answer(503, later), "again Some(7s): send the photo: 503 Busy");
    check(
        Telegram,
        answer(502, "<html>Bad Gateway</html>"),
        "in doubt: send the photo: 502 Bad Gateway <html>",
    );
    check(Telegram, answer(503, "busy"), "in doubt: send the photo: 503");
    let forbidden = r#"{"ok": false, "error_code": 403, "description": "Forbidden: bot was kicked"}"#;
    check(Telegram, answer(403, forbidden), "refused: send the photo: 403 Forbidden: bot was kicked");
    let moved = r#"{"ok": false, "error_code": 400, "description": "Bad Request", "parameters": {"migrate_to_chat_id": -1009}}"#;
    check(Telegram, answer(400, moved), "refused: send the photo: 400 Bad Request; the chat is now -1009");
    check(Telegram, Trick::DoAndCut, "in doubt: ");
    check(Telegram, TOO_SLOW, "in doubt: ");
    let server = Server::start(Telegram);
    let elsewhere = told(run(adapter(&server, "@nowhere", server.secret()).unwrap().post(&post())));
    assert_eq!(elsewhere, "refused: send the photo: 400 Bad Request: chat not found");
}

#[test]
fn a_webhook_is_signed_and_says_everything() {
    let server = Server::start(Kind::Webhook);
    let first = posted(&server).unwrap();
    assert_eq!(posted(&server).unwrap(), first);
    assert_eq!(server.shown().len(), 1, "the same id is the same message");
    let (one, two) = (&server.posts()[0], &server.posts()[1]);
    assert_eq!(
        (one.headers["webhook-id"].clone(), &one.body),
        (two.headers["webhook-id"].clone(), &two.body)
    );
    let said: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
    assert_eq!(
        (said["type"].as_str(), said["data"]["draw_id"].as_str()),
        (Some("draw.published"), Some("D & 1"))
    );
    assert_eq!(said["timestamp"].as_str(), Some("2026-11-22T03:59:00Z"));
    assert_eq!(said["data"]["numbers"], serde_json::json!([1, 2, 3]));
}

#[test]
fn what_a_receiver_answers_means_what_it_should() {
    use Kind::Webhook;
    check(Webhook, answer(410, ""), "refused: the receiver is gone");
    check(Webhook, answer(404, "nothing here"), "refused: deliver the webhook: 404 Not Found nothing here");
    check(Webhook, answer(302, ""), "refused: deliver the webhook: 302");
    check(Webhook, answer(500, ""), "in doubt: deliver the webhook: 500");
    check(Webhook, Trick::DoAndCut, "in doubt: ");
    let busy = Trick::Answer(503, vec![("retry-after", "3".into())], String::new());
    check(Webhook, busy, "again Some(3s): deliver the webhook: 503");
    let server = Server::start(Webhook);
    let short = adapter(&server, "", "whsec_c2hvcnQ=").err().unwrap();
    assert!(told(Err(short)).contains("at least 24 bytes"));
}

#[test]
fn a_server_that_is_not_there_has_done_nothing() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, secret) in
        [("mastodon", "x"), ("telegram", "secret-token"), ("webhook", super::server::WEBHOOK_SECRET)]
    {
        let http = HttpSettings::default();
        let endpoint = format!("http://{gone}");
        let target = Target { endpoint, target: String::new(), secret: Secret::new(secret), http };
        let target = if name == "telegram" { Target { target: "@draws".into(), ..target } } else { target };
        let told = told(run(network(name, target).unwrap().post(&post())));
        assert!(told.starts_with("again None: ") && !told.contains(secret), "{name}: {told}");
    }
}

#[test]
fn a_credential_is_asked_about_without_posting() {
    for (kind, expected) in
        [(Kind::Mastodon, "@draws"), (Kind::Telegram, "@draws_bot"), (Kind::Webhook, "test message")]
    {
        let server = Server::start(kind);
        let said = run(good(&server).check()).unwrap();
        assert!(said.contains(expected), "{said}");
        if kind != Kind::Webhook {
            assert!(server.posts().is_empty());
            let target = "@draws";
            let target = if kind == Kind::Telegram { target } else { "" };
            let wrong = run(adapter(&server, target, "wrong").unwrap().check()).unwrap_err();
            assert!(told(Err(wrong)).contains("401"), "{kind:?}");
        }
    }
}

#[test]
fn a_call_ends_in_time() {
    let server = Server::start(Kind::Webhook);
    server.trick(&[TOO_SLOW]);
    let since = Instant::now();
    assert!(run(good_for(&server, IMPATIENT_MS).post(&post())).is_err());
    assert!(since.elapsed() < Duration::from_secs(120), "{:?}", since.elapsed());
}
