//! Sessions that are ended, servers that are restarted, answers that are lost: nothing is lost or done twice.

use super::*;
use crate::postgres::{PostgresError, PostgresLock, PostgresPlans};
use runtime::bindings::BindingError;
use runtime::sink::{Sink, SinkError};
use schemas::tables::ORDERS;
use std::time::{Duration, Instant};

/// How long a call may be tried again; far longer than harm is done.
const PATIENCE: Duration = Duration::from_secs(180);

/// Commits an epoch as the runtime does: until it is in.
fn insist(sink: &mut PostgresServing<Row>, epoch: &[EpochItems<Row>], retries: &mut u32) {
    let start = Instant::now();
    loop {
        match sink.commit(epoch) {
            Ok(()) => return,
            Err(SinkError::Retry { .. }) if start.elapsed() < PATIENCE => *retries += 1,
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Commits and appends for a while, with something going wrong behind their backs, and then compares what
/// is there with what was told. Harm ends by itself: on a slow machine no call may get through before.
fn survive(place: &Place, during: Duration, mut harm: impl FnMut() + Send) -> u32 {
    let (mut bindings, generation) = place.bindings();
    let mut sink = place.serving(generation);
    let (mut retries, mut number) = (0, 0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let harming = scope.spawn(move || {
            while start.elapsed() < during {
                harm();
            }
        });
        while start.elapsed() < during && !harming.is_finished() {
            number += 1;
            let begun = Instant::now();
            while let Err(error) = bindings.append(&[binding(number, generation)]) {
                assert!(matches!(error, BindingError::Retry(_)), "{error}");
                assert!(begun.elapsed() < PATIENCE, "{error}");
                retries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            let rows = [order(&format!("{number:06}"), OrderStatus::Held), stock("s", number as i64)];
            insist(&mut sink, &[epoch(number, &rows)], &mut retries);
        }
    });
    let mut reader = place.reader();
    assert_eq!(reader.digest(&ORDERS).unwrap().rows, number);
    assert_eq!(reader.progress().unwrap().decided, Epoch(number));
    assert_eq!(reader.epoch_digests(Epoch(0), usize::MAX).unwrap().len() as u64, number);
    let rows: Vec<Binding> = (1..=number).map(|n| binding(n, generation)).collect();
    let mut bindings = PostgresBindings::open(&place.settings).unwrap();
    assert_eq!(bindings.read(Epoch(0), usize::MAX).unwrap(), rows);
    println!("{number} epochs, {retries} retries");
    retries
}

#[test]
#[ignore = "needs services"]
fn service_postgres_commits_survive_sessions_that_are_ended() {
    let place = Place::migrated();
    let retries = survive(&place, Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(7));
        place.terminate("serving");
        std::thread::sleep(Duration::from_millis(11));
        place.terminate("bindings");
    });
    assert!(retries > 5, "sessions were ended, and only {retries} calls noticed");
}

/// PG_RESTART is a command that restarts the server of PG_URL at once (`pg_ctl restart -m immediate`).
#[test]
#[ignore = "needs services, and PG_RESTART"]
fn restart_postgres_commits_survive_a_server_that_is_killed() {
    let place = Place::migrated();
    let command = std::env::var("PG_RESTART").expect("PG_RESTART restarts the server of PG_URL");
    let retries = survive(&place, Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(1_500));
        let restarted = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(restarted.status.success(), "{restarted:?}");
    });
    assert!(retries > 0, "the server was restarted and nobody noticed");
}

/// A commit whose answer is lost although it is in: the proxy forwards COMMIT and swallows what comes back.
#[test]
#[ignore = "needs services"]
fn service_postgres_a_commit_whose_answer_was_lost_is_found_out() {
    for (reaches, what) in [(true, "committed"), (false, "lost on the way")] {
        let place = Place::migrated();
        let proxy = proxy::Proxy::before(&place.settings.url, reaches);
        let through = PostgresSettings { url: proxy.url.clone(), ..place.settings.clone() };
        let (mut bindings, generation) = (PostgresBindings::open(&through).unwrap(), place.begin());
        let mut sink = PostgresServing::open(&through, generation, |row: &Row| Some(row)).unwrap();
        sink.commit(&[epoch(1, &[order("a", OrderStatus::Held)])]).unwrap();
        proxy.arm();
        let run = [epoch(2, &[order("b", OrderStatus::Held)])];
        match (sink.commit(&run), reaches) {
            (Ok(()), true) => {}
            (Err(SinkError::Retry { .. }), false) => sink.commit(&run).unwrap(),
            (other, _) => panic!("{what}: {other:?}"),
        }
        assert_eq!(proxy.cuts(), 1, "{what}");
        assert_eq!(sink.committed().unwrap(), Epoch(2), "{what}");
        sink.commit(&[epoch(3, &[order("c", OrderStatus::Held)])]).unwrap();
        assert_eq!(place.reader().digest(&ORDERS).unwrap().rows, 3, "{what}");
        let ours = bindings.begin_generation("1.0", "{}", 1, 0).unwrap().generation;
        bindings.append(&[binding(1, ours)]).unwrap();
        proxy.arm();
        bindings.append(&[binding(2, ours), binding(3, ours)]).unwrap();
        assert_eq!(proxy.cuts(), 2, "{what}");
        bindings.append(&[binding(4, ours)]).unwrap();
        let rows: Vec<Binding> = (1..=4).map(|n| binding(n, ours)).collect();
        assert_eq!(bindings.read(Epoch(0), 9).unwrap(), rows, "{what}");
        let mut plans = PostgresPlans::open(&through, ours).unwrap();
        let batch = r#"{"attempt":1,"ranges":[{"topic":"t","partition":0,"to":5}]}"#;
        proxy.arm();
        assert!(matches!(plans.record(1, batch), Err(SinkError::Retry { .. })), "{what}");
        plans.record(1, batch).unwrap();
        proxy.arm();
        assert!(matches!(plans.done(), Err(SinkError::Retry { .. })), "{what}");
        plans.done().unwrap();
        assert_eq!(plans.state().unwrap().positions, [("t".to_owned(), 0, 5)], "{what}");
        assert_eq!(proxy.cuts(), 4, "{what}");
    }
}

/// What a standby that lagged by two epochs has when it is promoted.
const LAGGED: &str = "UPDATE frontiers SET epoch = 1; DELETE FROM bindings WHERE epoch > 1;
                      DELETE FROM epoch_digests WHERE epoch > 1; DELETE FROM orders WHERE epoch > 1";

#[test]
#[ignore = "needs services"]
fn service_postgres_a_server_that_comes_back_without_what_it_acknowledged_stops_the_run() {
    let place = Place::migrated();
    let (mut bindings, generation) = place.bindings();
    let mut sink = place.serving(generation);
    for n in 1..=3 {
        bindings.append(&[binding(n, generation)]).unwrap();
        sink.commit(&[epoch(n, &[order(&n.to_string(), OrderStatus::Held)])]).unwrap();
    }
    place.session().run("go back", LAGGED).unwrap();
    place.terminate("serving");
    place.terminate("bindings");
    let fourth = [epoch(4, &[order("4", OrderStatus::Held)])];
    let refused = std::iter::repeat_with(|| sink.commit(&fourth).unwrap_err())
        .find(|error| !matches!(error, SinkError::Retry { .. }));
    let said = refused.expect("it goes on until then").to_string();
    for part in ["committed up to epoch 3", "there up to epoch 1", "went back", "A store went back"] {
        assert!(said.contains(part), "{said}");
    }
    let refused = std::iter::repeat_with(|| bindings.append(&[binding(4, generation)]).unwrap_err())
        .find(|error| !matches!(error, BindingError::Retry(_)));
    let said = refused.expect("it goes on until then").to_string();
    for part in ["epochs were committed up to epoch 3", "there up to epoch 1", "A store went back"] {
        assert!(said.contains(part), "{said}");
    }
    // Further back still: before our generation began.
    place.session().run("go back", "UPDATE frontiers SET generation = 0").unwrap();
    let said = [sink.commit(&fourth).unwrap_err().to_string(), {
        bindings.append(&[binding(4, generation)]).unwrap_err().to_string()
    }];
    assert!(
        said.iter().all(|said| said.contains("fenced for generation 0, and this is generation 1")),
        "{said:?}"
    );
}

#[test]
#[ignore = "needs services"]
fn service_postgres_a_second_pipeline_is_told_who_has_the_schema() {
    let (place, other) = (Place::migrated(), Place::migrated());
    let held = PostgresLock::take(&place.settings).unwrap();
    let refused = PostgresLock::take(&place.settings).unwrap_err();
    assert!(matches!(&refused, PostgresError::Owned { .. }), "{refused}");
    let us = format!("(process {})", std::process::id());
    assert!(refused.to_string().contains(&us) && refused.to_string().contains("stop it first"), "{refused}");
    assert!(PostgresLock::holder(&place.settings).unwrap().unwrap().contains(&us));
    assert_eq!(PostgresLock::holder(&other.settings).unwrap(), None);
    PostgresLock::take(&other.settings).unwrap();
    place.terminate("pipeline");
    let start = Instant::now();
    while PostgresLock::holder(&place.settings).unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "the lock is taken again after a lost connection");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(held);
    // The server lets go of it once it has heard that the session is over.
    let start = Instant::now();
    while let Some(holder) = PostgresLock::holder(&place.settings).unwrap() {
        assert!(start.elapsed() < Duration::from_secs(60), "{holder} still has it");
        std::thread::sleep(Duration::from_millis(50));
    }
    PostgresLock::take(&place.settings).unwrap();
}

#[test]
#[ignore = "needs services"]
fn service_postgres_a_process_stopped_in_a_transaction_does_not_keep_its_successor_out() {
    let place = Place::migrated();
    let stopped = place.session();
    stopped.run("test", "SET idle_in_transaction_session_timeout = '1s'").unwrap();
    stopped.run("test", "BEGIN; SELECT epoch FROM frontiers FOR UPDATE").unwrap();
    let start = Instant::now();
    place.begin();
    assert!(start.elapsed() > Duration::from_millis(500), "it did not wait for the transaction");
    let session = place.session();
    let shown = session.row("test", "SHOW idle_in_transaction_session_timeout", &[]).unwrap();
    assert_eq!(shown.get::<_, &str>(0), "10s", "the server ends what a stopped process has begun");
}

#[test]
#[ignore = "needs services"]
fn service_postgres_a_host_that_takes_a_connection_and_says_nothing_is_passed_over() {
    let place = Place::bare();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let first = silent.local_addr().unwrap();
    let url = place.settings.url.replacen('@', &format!("@{first},"), 1);
    let settings = PostgresSettings { url, ..place.settings.clone() };
    let start = Instant::now();
    let session = Session::open(&settings, "test").unwrap();
    assert!(start.elapsed() > Duration::from_secs(5), "the first one was asked");
    session.run("test", "SELECT 1").unwrap();
    // Of two that are no good, what may pass counts.
    let refused = settings.url.replacen("//", "//nobody_", 1);
    let error = Session::open(&PostgresSettings { url: refused, ..settings }, "test").map(drop).unwrap_err();
    assert!(error.is_passing(), "{error}");
}

/// A proxy that cuts a connection at COMMIT.
mod proxy {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    pub struct Proxy {
        pub url: String,
        armed: Arc<AtomicBool>,
        cuts: Arc<AtomicU32>,
    }

    impl Proxy {
        /// `reaches`: whether the server still gets the COMMIT at which the connection is cut.
        pub fn before(url: &str, reaches: bool) -> Proxy {
            let config: tokio_postgres::Config = url.parse().unwrap();
            let host = match &config.get_hosts()[0] {
                tokio_postgres::config::Host::Tcp(host) => host.clone(),
                other => panic!("PG_URL names a TCP address: {other:?}"),
            };
            let server = (host.clone(), config.get_ports().first().copied().unwrap_or(5432));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let (armed, cuts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
            let proxy = Proxy {
                url: url.replacen(&format!("{host}:{}", server.1), &format!("127.0.0.1:{port}"), 1),
                armed: Arc::clone(&armed),
                cuts: Arc::clone(&cuts),
            };
            assert_ne!(proxy.url, url, "PG_URL is postgresql://user@host:port/database");
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    let (client, server) = (client.unwrap(), TcpStream::connect(server.clone()).unwrap());
                    let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    std::thread::spawn(move || pass(from, to, |_| Pass::On));
                    let (armed, cuts) = (Arc::clone(&armed), Arc::clone(&cuts));
                    std::thread::spawn(move || {
                        pass(client, server, |bytes| {
                            let commits = bytes.windows(7).any(|w| w == b"COMMIT\0");
                            if !commits || !armed.swap(false, Ordering::SeqCst) {
                                return Pass::On;
                            }
                            cuts.fetch_add(1, Ordering::SeqCst);
                            if reaches { Pass::OnAndCut } else { Pass::Cut }
                        });
                    });
                }
            });
            proxy
        }

        pub fn arm(&self) {
            self.armed.store(true, Ordering::SeqCst);
        }

        pub fn cuts(&self) -> u32 {
            self.cuts.load(Ordering::SeqCst)
        }
    }

    enum Pass {
        On,
        OnAndCut,
        Cut,
    }

    /// Passes bytes on. What is cut is cut for the client at once; the server hears of it as it would.
    fn pass(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&[u8]) -> Pass) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let what = look(&buffer[..count]);
            if matches!(what, Pass::OnAndCut | Pass::Cut) {
                // The client is gone before the answer can be passed back.
                let _ = from.shutdown(Shutdown::Both);
            }
            if matches!(what, Pass::Cut) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
            if matches!(what, Pass::OnAndCut) {
                std::thread::sleep(std::time::Duration::from_millis(50));
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
