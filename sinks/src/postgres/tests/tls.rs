//! A server that lets nobody in without encryption (PG_TLS_URL), and an authority that it can be known by (TLS_DIR).

use super::*;
use crate::postgres::SslMode;
use runtime::sink::Sink;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

fn file(name: &str) -> Option<PathBuf> {
    let dir = std::env::var("TLS_DIR").expect("TLS_DIR names the folder of scripts/services' authority");
    Some(PathBuf::from(dir).join(name))
}

fn url() -> String {
    std::env::var("PG_TLS_URL").expect("PG_TLS_URL names a database that insists on encryption")
}

/// A place behind TLS.
fn encrypted(sslmode: SslMode, ca_file: Option<PathBuf>) -> Place {
    let mut place = Place::bare();
    place.settings.url = url();
    place.settings.sslmode = Some(sslmode);
    place.settings.ca_file = ca_file;
    place
}

/// What a connection is told that isn't let in.
fn refused(url: &str, sslmode: Option<SslMode>, ca_file: Option<PathBuf>) -> PostgresError {
    let settings = PostgresSettings { url: url.to_owned(), sslmode, ca_file, ..PostgresSettings::default() };
    let refused = Session::open(&settings, "test").map(drop).unwrap_err();
    let told = format!("{refused} {refused:?}");
    assert!(!told.contains("tombola-local"), "a password: {told}");
    refused
}

#[test]
#[ignore = "needs services"]
fn service_postgres_behind_tls_takes_everything_that_a_pipeline_writes() {
    let place = encrypted(SslMode::VerifyFull, file("ca.pem"));
    migrate(&place.settings, MigrationSet::Serving).unwrap();
    let (mut bindings, generation) = place.bindings();
    bindings.append(&[binding(1, generation)]).unwrap();
    let mut serving = place.serving(generation);
    serving.commit(&[epoch(1, &[order("o1", OrderStatus::Confirmed), stock("s1", 4)])]).unwrap();
    assert_eq!(place.reader().progress().unwrap().decided, Epoch(1));
    let sql = "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
               WHERE application_name LIKE $1";
    let ours = format!("tombola {} %", place.settings.schema);
    let row = place.session().row("test", sql, &[&ours]).unwrap();
    assert!(row.get::<_, bool>(0) && row.get::<_, i64>(1) >= 3, "connections without encryption");
}

#[test]
#[ignore = "needs services"]
fn service_postgres_of_an_unknown_authority_is_taken_only_where_nobody_asks() {
    let place = encrypted(SslMode::Require, None);
    let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(place.session().row("test", ssl, &[]).unwrap().get::<_, bool>(0));
    for ca_file in [file("stranger.pem"), None] {
        let told = refused(&url(), Some(SslMode::VerifyFull), ca_file);
        assert!(matches!(told, PostgresError::Refusal { .. }), "it won't pass: {told}");
        assert!(told.to_string().contains("UnknownIssuer; name the authority"), "{told}");
        assert!(told.to_string().contains("postgres.ca_file"), "{told}");
    }
}

#[test]
#[ignore = "needs services"]
fn service_postgres_of_another_name_is_refused() {
    let url = url().replace("@localhost:", "@127.0.0.1:");
    let told = refused(&url, Some(SslMode::VerifyFull), file("ca.pem"));
    assert!(matches!(told, PostgresError::Refusal { .. }), "it won't pass: {told}");
    assert!(told.to_string().contains("not valid for name"), "{told}");
    assert!(told.to_string().contains("name the host in postgres.url as"), "{told}");
}

#[test]
#[ignore = "needs services"]
fn service_postgres_that_insists_on_encryption_refuses_plaintext() {
    for sslmode in [Some(SslMode::Disable), None] {
        let told = refused(&url(), sslmode, None);
        assert!(matches!(told, PostgresError::Database { .. }), "it won't pass: {told}");
        assert!(told.to_string().contains("no encryption"), "{told}");
        assert!(told.to_string().contains("set postgres.sslmode"), "{told}");
    }
}

/// What a client sends to a server that says it speaks no TLS.
#[test]
fn nothing_follows_in_plaintext_when_a_server_speaks_no_tls() {
    for sslmode in [SslMode::Require, SslMode::VerifyFull] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.read_exact(&mut [0; 8]).unwrap();
            client.write_all(b"N").unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).map(|_| rest)
        });
        let told = refused(&format!("postgresql://u:secret@127.0.0.1:{port}/d"), Some(sslmode), None);
        assert!(told.to_string().contains("speaks no TLS, which postgres.sslmode asks for"), "{told}");
        assert_eq!(server.join().unwrap().unwrap(), b"", "{sslmode:?}");
    }
}
