//! Tokens that count and those that don't: by their keys, times and claims, with keys from a file and from a URL.

use super::*;
use aws_lc_rs::encoding::AsDer as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The key pair of RFC 8037, appendix A.
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const SECRET: &str = "a secret of thirty-two characters";

fn private_key() -> EncodingKey {
    use base64::Engine as _;
    let seed = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(PRIVATE).expect("base64");
    // PKCS #8 of an Ed25519 key is these bytes and the seed.
    let head =
        [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20].into_iter().chain(seed);
    EncodingKey::from_ed_der(&head.collect::<Vec<u8>>())
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "sub": "anna", "exp": 4_102_444_800_u64, "iss": "here", "aud": "tombola",
        "roles": ["producer"], "tenant": "acme",
    });
    for (name, value) in changes.as_object().expect("changes are an object") {
        claims[name] = value.clone();
    }
    claims
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, changes: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &claims(changes), key).expect("it can be signed")
}

fn verify(verifier: &Verifier, token: &str) -> Option<String> {
    in_a_runtime(verifier.verify(token)).map(|principal| principal.name)
}

fn verifier(dir: &Path) -> Verifier {
    let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": PUBLIC, "alg": "EdDSA"}]});
    let (jwks_file, secret_file) = (dir.join("jwks.json"), dir.join("secret"));
    std::fs::write(&jwks_file, jwks.to_string()).expect("writable");
    std::fs::write(&secret_file, SECRET).expect("writable");
    let settings = JwtSettings {
        jwks_file: Some(jwks_file),
        secret_file: Some(secret_file),
        issuer: Some("here".to_owned()),
        audience: Some("tombola".to_owned()),
        jwks_url: None,
    };
    Verifier::new(&settings, Pace::default()).expect("good settings")
}

#[test]
fn a_token_counts_where_its_key_its_times_and_its_claims_are_right() {
    let dir = tempfile::tempdir().expect("a folder");
    let verifier = verifier(dir.path());
    let (key, none) = (private_key(), json!({}));
    let good = signed(Algorithm::EdDSA, Some("one"), &key, &none);
    assert_eq!(verify(&verifier, &good).as_deref(), Some("jwt:anna"));
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    assert!(verify(&verifier, &signed(Algorithm::HS256, None, &secret, &none)).is_some());
    for (what, changes) in [
        ("expired", json!({"exp": 1_000_000_000})),
        ("not yet", json!({"nbf": 4_000_000_000_u64})),
        ("another issuer", json!({"iss": "there"})),
        ("another audience", json!({"aud": "others"})),
        ("an unknown role", json!({"roles": ["king"]})),
    ] {
        let token = signed(Algorithm::EdDSA, Some("one"), &key, &changes);
        assert_eq!(verify(&verifier, &token), None, "{what}");
    }
    assert_eq!(verify(&verifier, &signed(Algorithm::EdDSA, Some("two"), &key, &none)), None);
    let (head, tail) = good.rsplit_once('.').expect("three parts");
    let forged = format!("{head}.{}", tail.chars().rev().collect::<String>());
    assert_eq!(verify(&verifier, &forged), None);
}

#[test]
fn a_public_key_is_no_secret_and_nothing_goes_unsigned() {
    let dir = tempfile::tempdir().expect("a folder");
    let verifier = verifier(dir.path());
    for secret in [PUBLIC, "", "one"] {
        let key = EncodingKey::from_secret(secret.as_bytes());
        assert_eq!(verify(&verifier, &signed(Algorithm::HS256, Some("one"), &key, &json!({}))), None);
    }
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", "eyJzdWIiOiJhbm5hIn0");
    assert_eq!(verify(&verifier, &unsigned), None);
}

/// A login service: says which keys it signs with, or is away.
struct Login {
    url: String,
    says: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Login {
    fn start() -> Login {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("it is bound"));
        let (says, asked): (Arc<Mutex<Option<String>>>, Arc<AtomicUsize>) = Default::default();
        let (saying, counting) = (Arc::clone(&says), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counting.fetch_add(1, Ordering::SeqCst);
                let says = saying.lock().expect("nobody panicked").clone();
                let (status, body) = says.map_or(("503 Away", String::new()), |body| ("200 OK", body));
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = reader.into_inner().write_all(format!("{head}{body}").as_bytes());
            }
        });
        Login { url, says, asked }
    }

    fn says(&self, keys: &[&Value]) {
        *self.says.lock().expect("nobody panicked") = Some(json!({ "keys": keys }).to_string());
    }

    fn is_away(&self) {
        *self.says.lock().expect("nobody panicked") = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn verifier(&self, pace: Pace) -> Verifier {
        let settings = JwtSettings { jwks_url: Some(self.url.clone()), ..JwtSettings::default() };
        Verifier::new(&settings, pace).expect("good settings")
    }
}

/// A new pair of RSA keys: what signs, and its public half as a JWK.
fn rsa(kid: &str) -> (EncodingKey, Value) {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("it can be made");
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect("it has a form");
    // PKCS #8 of an RSA key of this size is 26 bytes and the key as PKCS #1 has it.
    let private = EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]);
    (private.clone(), public(&private, Algorithm::RS256, kid))
}

fn public(private: &EncodingKey, algorithm: Algorithm, kid: &str) -> Value {
    let jwk = Jwk::from_encoding_key(private, algorithm).expect("it has a public half");
    let mut jwk = serde_json::to_value(jwk).expect("it is JSON");
    jwk["kid"] = kid.into();
    jwk
}

fn pace(again_ms: u64, retry_ms: u64, age_ms: u64) -> Pace {
    let ms = Duration::from_millis;
    Pace { again_min: ms(again_ms), retry_min: ms(retry_ms), age_max: ms(age_ms) }
}

const NEVER_MS: u64 = 3_600_000;

fn in_a_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

#[test]
fn keys_of_both_families_come_from_a_url_and_are_asked_for_once() {
    let (login, none) = (Login::start(), json!({}));
    let (rsa_key, rsa_public) = rsa("r");
    let ed_public = public(&private_key(), Algorithm::EdDSA, "e");
    login.says(&[&rsa_public, &ed_public]);
    let verifier = login.verifier(pace(NEVER_MS, NEVER_MS, NEVER_MS));
    in_a_runtime(async {
        for _ in 0..3 {
            let by_rsa = verifier.verify(&signed(Algorithm::RS256, Some("r"), &rsa_key, &none)).await;
            let by_ed = verifier.verify(&signed(Algorithm::EdDSA, Some("e"), &private_key(), &none)).await;
            assert_eq!(by_rsa.map(|p| p.name).as_deref(), Some("jwt:anna"));
            assert_eq!(by_ed.map(|p| p.name).as_deref(), Some("jwt:anna"));
        }
        assert_eq!(login.asked(), 1);
        // Whoever names keys that nobody has can't have the login service asked for each.
        for number in 0..50 {
            let kid = format!("unknown-{number}");
            assert!(verifier.verify(&signed(Algorithm::RS256, Some(&kid), &rsa_key, &none)).await.is_none());
        }
        assert_eq!(login.asked(), 1);
    });
}

#[test]
fn a_key_that_is_new_counts_at_once_and_one_that_was_withdrawn_no_longer() {
    let (login, none) = (Login::start(), json!({}));
    let ((old, old_public), (new, new_public)) = (rsa("old"), rsa("new"));
    let by = |key, kid| signed(Algorithm::RS256, Some(kid), key, &none);
    login.says(&[&old_public]);
    let verifier = login.verifier(pace(0, 0, NEVER_MS));
    in_a_runtime(async {
        assert!(verifier.verify(&by(&old, "old")).await.is_some());
        login.says(&[&new_public]);
        assert!(verifier.verify(&by(&old, "old")).await.is_some(), "nobody has been told yet");
        assert!(verifier.verify(&by(&new, "new")).await.is_some());
        assert!(verifier.verify(&by(&old, "old")).await.is_none());
        assert!(verifier.verify(&by(&new, "old")).await.is_none());
    });
}

#[test]
fn a_withdrawn_key_ends_by_age_alone_though_no_token_names_another() {
    let (login, none) = (Login::start(), json!({}));
    let ((old, old_public), (_, new_public)) = (rsa("old"), rsa("new"));
    let token = signed(Algorithm::RS256, Some("old"), &old, &none);
    login.says(&[&old_public]);
    let verifier = login.verifier(pace(0, 0, 50));
    in_a_runtime(async {
        assert!(verifier.verify(&token).await.is_some());
        login.says(&[&new_public]);
        let began = Instant::now();
        while verifier.verify(&token).await.is_some() {
            assert!(began.elapsed() < Duration::from_secs(60), "it counts for ever");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn while_the_url_is_away_what_it_said_last_counts_and_a_start_without_it_recovers() {
    let (login, none) = (Login::start(), json!({}));
    let (key, public) = rsa("one");
    let token = signed(Algorithm::RS256, Some("one"), &key, &none);
    let verifier = login.verifier(pace(0, 0, 0));
    in_a_runtime(async {
        assert!(verifier.verify(&token).await.is_none(), "it was away from the start");
        login.says(&[&public]);
        assert!(verifier.verify(&token).await.is_some());
        login.is_away();
        for _ in 0..5 {
            assert!(verifier.verify(&token).await.is_some());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let before = login.asked();
        *login.says.lock().expect("nobody panicked") = Some("<html>try again later</html>".to_owned());
        while login.asked() < before + 2 {
            assert!(verifier.verify(&token).await.is_some());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_url_that_is_away_is_not_asked_for_every_token() {
    let (login, none) = (Login::start(), json!({}));
    let (key, _) = rsa("one");
    let verifier = login.verifier(pace(0, NEVER_MS, 0));
    in_a_runtime(async {
        for _ in 0..20 {
            let token = signed(Algorithm::RS256, Some("one"), &key, &none);
            assert!(verifier.verify(&token).await.is_none());
        }
    });
    assert_eq!(login.asked(), 1);
}

#[test]
fn a_public_rsa_key_signs_nothing_and_no_key_verifies_another_algorithm_than_its_own() {
    let (login, none, dir) = (Login::start(), json!({}), tempfile::tempdir().expect("a folder"));
    let (key, public_key) = rsa("r");
    let mut encrypts = rsa("encrypts");
    encrypts.1["use"] = "enc".into();
    let mut another = rsa("another");
    another.1["alg"] = "RS512".into();
    let shared =
        json!({"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLUhTMjU2"});
    let strange = json!({"kty": "PQC", "kid": "strange", "pub": 7});
    login.says(&[&strange, &shared, &encrypts.1, &another.1, &public_key]);
    let secret_file = dir.path().join("secret");
    std::fs::write(&secret_file, SECRET).expect("writable");
    for secret_file in [None, Some(secret_file)] {
        let settings =
            JwtSettings { jwks_url: Some(login.url.clone()), secret_file, ..JwtSettings::default() };
        let verifier = Verifier::new(&settings, pace(0, 0, NEVER_MS)).expect("good settings");
        let refused = async |what: &str, token: String| {
            assert!(verifier.verify(&token).await.is_none(), "{what}");
        };
        in_a_runtime(async {
            let good = signed(Algorithm::RS256, Some("r"), &key, &none);
            assert!(verifier.verify(&good).await.is_some());
            let modulus = public_key["n"].as_str().expect("it has one");
            let pkcs8 = key.as_bytes();
            for public in [modulus.as_bytes(), public_key.to_string().as_bytes(), pkcs8] {
                let as_secret = EncodingKey::from_secret(public);
                refused("HS256", signed(Algorithm::HS256, Some("r"), &as_secret, &none)).await;
            }
            let shared_secret = EncodingKey::from_secret(b"secret-that-is-long-enough-for-HS256");
            refused("a secret of the set", signed(Algorithm::HS256, Some("shared"), &shared_secret, &none))
                .await;
            for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
                refused("another algorithm", signed(algorithm, Some("r"), &key, &none)).await;
            }
            refused("EdDSA", signed(Algorithm::EdDSA, Some("r"), &private_key(), &none)).await;
            refused("for encryption", signed(Algorithm::RS256, Some("encrypts"), &encrypts.0, &none)).await;
            refused("for RS512", signed(Algorithm::RS256, Some("another"), &another.0, &none)).await;
            refused("another's key", signed(Algorithm::RS256, Some("r"), &another.0, &none)).await;
        });
    }
}
