//! ClickHouse behind TLS: this listener ends it and hands on to the real server, with the certificate in TLS_DIR.
//!
//! The program that `scripts/services` runs natively opens no HTTPS port of its own, so what is tried here is our
//! side, and a proxy as it often stands before a server.

use crate::support::{Bench, Database, assert_holds, variable, wait_problem};
use runtime::Epoch;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sinks::clickhouse::{ClickHouseError, ClickHouseSettings, LoaderState, migrate};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn file(name: &str) -> PathBuf {
    PathBuf::from(variable("TLS_DIR")).join(name)
}

/// A port that speaks TLS only, until it is dropped.
struct TlsPort {
    port: u16,
    handshakes: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl TlsPort {
    fn open() -> TlsPort {
        let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (port, handshakes) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        runtime.spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&handshakes)));
        TlsPort { port, handshakes, _runtime: runtime }
    }

    /// Settings of a database by way of this port.
    fn settings(&self, database: &Database, host: &str, ca: Option<&str>) -> ClickHouseSettings {
        let url = format!("https://{host}:{}", self.port);
        ClickHouseSettings { url, ca_file: ca.map(file), ..database.settings.clone() }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, handshakes: Arc<AtomicUsize>) {
    let server = variable("CLICKHOUSE_URL").replace("http://", "");
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, server, handshakes) = (acceptor.clone(), server.clone(), Arc::clone(&handshakes));
        tokio::spawn(async move {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            handshakes.fetch_add(1, Ordering::SeqCst);
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

fn refused(settings: &ClickHouseSettings) -> ClickHouseError {
    let refused = migrate(settings).map(drop).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains(&variable("CLICKHOUSE_PASSWORD")), "a password");
    refused
}

#[test]
#[ignore = "needs services"]
fn service_behind_tls_tables_are_made_and_facts_loaded() {
    let (database, port, bench) = (Database::empty(), TlsPort::open(), Bench::of(60, 8, 60));
    let settings = port.settings(&database, "localhost", Some("ca.pem"));
    migrate(&settings).unwrap();
    bench.load(&settings);
    assert_holds(&database, &bench.log.world, 60);
    assert!(port.handshakes.load(Ordering::SeqCst) > 0, "nobody came by TLS");
}

#[test]
#[ignore = "needs services"]
fn service_a_certificate_of_another_authority_or_host_is_refused_by_name() {
    let (database, port) = (Database::empty(), TlsPort::open());
    for (host, ca, problem, remedy) in [
        ("localhost", Some("stranger.pem"), "UnknownIssuer", "in clickhouse.ca_file"),
        ("localhost", None, "UnknownIssuer", "in clickhouse.ca_file"),
        ("127.0.0.1", Some("ca.pem"), "not valid for name", "the host in clickhouse.url as"),
    ] {
        let told = refused(&port.settings(&database, host, ca)).to_string();
        assert!(told.contains(problem) && told.contains(remedy), "{host} {ca:?}: {told}");
    }
    assert_eq!(port.handshakes.load(Ordering::SeqCst), 0, "none was completed");
}

#[test]
#[ignore = "needs services"]
fn service_plaintext_and_tls_never_stand_in_for_one_another() {
    let (database, port) = (Database::empty(), TlsPort::open());
    let encrypted = port.settings(&database, "localhost", Some("ca.pem"));
    let plain = ClickHouseSettings {
        url: encrypted.url.replace("https://", "http://"),
        ca_file: None,
        ..encrypted.clone()
    };
    let told = refused(&plain);
    assert!(matches!(told, ClickHouseError::Request { .. }), "{told}");
    assert!(told.to_string().contains("https:// where it speaks TLS"), "{told}");
    let plain_server = ClickHouseSettings {
        url: database.settings.url.replace("http://127.0.0.1:", "https://localhost:"),
        ..encrypted
    };
    let told = refused(&plain_server).to_string();
    assert!(told.contains("correct the port in clickhouse.url"), "{told}");
}

#[test]
#[ignore = "needs services"]
fn service_a_loader_that_is_refused_goes_on_once_the_authority_is_put_right() {
    let (database, port, bench) = (Database::migrated(), TlsPort::open(), Bench::of(20, 6, 20));
    let ca = bench.dir.path().join("authority.pem");
    std::fs::write(&ca, std::fs::read(file("stranger.pem")).unwrap()).unwrap();
    let mut settings = port.settings(&database, "localhost", None);
    settings.ca_file = Some(ca.clone());
    let loader = bench.start(&settings);
    let figures = wait_problem(&loader, "clickhouse.ca_file");
    assert!(figures.published < Epoch(20) && figures.state != LoaderState::Stopped, "{figures:?}");
    std::fs::write(&ca, std::fs::read(file("ca.pem")).unwrap()).unwrap();
    assert!(loader.status().wait_published(Epoch(20), Duration::from_secs(60)), "still refused");
    assert_holds(&database, &bench.log.world, 20);
}
