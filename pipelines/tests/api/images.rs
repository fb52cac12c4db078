//! Images of draws: drawn by the pipeline's own publisher, listed in the draw's row, fetched by whoever may see it.

use super::house::{House, get, row, six_of_49, wait_for};
use super::http::{Bytes, ask, bytes};
use serde_json::Value;
use std::net::SocketAddr;

/// Names that mean something in a path and in an address.
const GAME: &str = "../6 of 49";
const DRAW: &str = "a/b%2F?số";
const DRAW_IN_PATHS: &str = "a%2Fb%252F%3Fs%E1%BB%91";

/// A house in which a result was reported, and its image is there.
fn drawn() -> (House, api::Server, Value) {
    let house = House::with(|config| {
        config.publishing.enabled = true;
        config.draws.templates = vec!["card".to_owned()];
        config.draws.locales = vec!["en".to_owned()];
    });
    let server = house.beside();
    let mut appender = house.stores.appender().expect("the log opens");
    let draws = [row(six_of_49(DRAW, GAME))];
    appender.append_many(&[("oltp.public.draws", &draws)]).expect("a row can be appended");
    let body = format!(
        r#"{{"tenant":"acme","draw_id":"{DRAW}","source":"s","numbers":[3,11,19,27,40,44],"reported_at_ms":{}}}"#,
        pipelines::clock_ms()
    );
    let headers = [("authorization", "Bearer everywhere-key"), ("idempotency-key", "result")];
    let reported = ask(server.address, "POST /v1/draws/results?wait_ms=120000", &headers, &body);
    assert_eq!(reported.status, 200, "{reported:?}");
    let mut item = Value::Null;
    wait_for("the image", || {
        item = get(server.address, "acme-analyst-key", "/v1/draws").items()[0].clone();
        !item["images"].as_array().expect("a list").is_empty()
    });
    (house, server, item)
}

fn fetch(at: SocketAddr, key: &str, path: &str, tag: &str) -> Bytes {
    let bearer = format!("Bearer {key}");
    bytes(at, &format!("GET {path}"), &[("authorization", &bearer), ("if-none-match", tag)])
}

#[test]
fn a_draws_row_leads_to_its_image_and_who_has_it_need_not_fetch_it_again() {
    let (_house, server, item) = drawn();
    let at = server.address;
    let url = format!("/v1/draws/{DRAW_IN_PATHS}/images/card/en/1?tenant=acme");
    let wanted = serde_json::json!([{"template": "card", "locale": "en", "revision": 1, "url": url}]);
    assert_eq!(item["images"], wanted);
    let one = get(at, "acme-analyst-key", &format!("/v1/draws/{DRAW_IN_PATHS}")).json();
    assert_eq!((&one["images"], &one["numbers"]), (&wanted, &Value::from("3,11,19,27,40,44")));
    let plain = get(at, "acme-analyst-key", "/v1/draws?images=no").items();
    assert!(plain[0].get("images").is_none(), "{plain:?}");
    let image = fetch(at, "acme-analyst-key", &url, "\"another\"");
    assert_eq!(image.status, 200, "{:?}", image.headers);
    assert_eq!(image.headers["content-type"], "image/png");
    assert!(image.headers["cache-control"].contains("immutable"), "{:?}", image.headers);
    assert!(image.body.starts_with(b"\x89PNG\r\n") && image.body.len() > 1_000, "{} bytes", image.body.len());
    let again = fetch(at, "acme-analyst-key", &url, &image.headers["etag"]);
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn an_image_is_its_tenants_and_no_address_leads_anywhere_else() {
    let (house, server, _item) = drawn();
    let at = server.address;
    // Something to steal, beside the images and beside the folder of them.
    std::fs::write(house.folder.path().join("images/r1.png"), "secret").expect("it can be written");
    std::fs::write(house.folder.path().join("r1.png"), "secret").expect("it can be written");
    let own = format!("/v1/draws/{DRAW_IN_PATHS}/images/card/en/1");
    for (key, path, status) in [
        ("acme-operator-key", own.clone(), 200),
        ("everywhere-key", format!("{own}?tenant=acme"), 200),
        ("everywhere-key", format!("{own}?tenant=other"), 404),
        ("everywhere-key", own.clone(), 422),
        ("acme-partner-key", own.clone(), 403),
        ("acme-producer-key", own.clone(), 403),
        ("other-partner-key", format!("{own}?tenant=acme"), 403),
        ("no-such-key", own.clone(), 401),
    ] {
        assert_eq!(fetch(at, key, &path, "").status, status, "{path} by {key}");
    }
    let draws = format!("/v1/draws/{DRAW_IN_PATHS}/images");
    for path in [
        "card/en/2",
        "card/en/0",
        "card/en/-1",
        "card/en/1.png",
        "card/en/01x",
        "card/vi/1",
        "card/%2e%2e/1",
        "%2e%2e/%2e%2e/1",
        "..%2f..%2f..%2f../en/1",
        "card/en%2f..%2fen/1",
        "card%00/en/1",
        "/en/1",
        "card//1",
    ] {
        let answer = fetch(at, "acme-analyst-key", &format!("{draws}/{path}"), "");
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.body.windows(6).any(|part| part == b"secret"), "{path}");
    }
}
