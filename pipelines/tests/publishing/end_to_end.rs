//! The whole way with the program itself: a reported result is decided, drawn, posted to three networks and told back;
//! then killed, corrected and replayed.

use super::server::{Kind, Server};
use super::world::PATIENCE;
use connectors::embedded::{Log, Registry};
use pipelines::config::Config;
use pipelines::demo::record::Body;
use pipelines::stores::Stores;
use schemas::debezium::Op;
use schemas::draws::{Channel, ChannelStatus, CorrectResult, Draw, Network, ReportResult};
use schemas::{Command, Reference};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SIGKILL: every end here is a crash. One that has ended already is none to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(dir: &Path, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tombola"));
    command.args(args).arg("--data-dir").arg(dir).env_remove("TOMBOLA_KILL_AT").stdin(Stdio::null());
    command
}

fn run(dir: &Path) -> Running {
    Running(program(dir, &["run"]).stderr(Stdio::null()).spawn().unwrap())
}

fn append(dir: &Path, body: &Body) {
    let ids = Registry::open(dir).unwrap().register_own().unwrap();
    let record = body.encode(&ids, pipelines::clock_ms());
    Log::appender(dir).unwrap().append(body.topic(), &[record]).unwrap();
}

fn row(dir: &Path, row: Reference, lsn: u64) {
    append(dir, &Body::Change { op: Op::Create, before: None, after: Box::new(row), lsn });
}

fn draw() -> Reference {
    Reference::Draw(Box::new(Draw {
        tenant: "acme".into(),
        draw_id: "D-1".into(),
        game: "powerball".into(),
        main_count: 5,
        main_min: 1,
        main_max: 69,
        bonus_count: 1,
        bonus_max: 26,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms: pipelines::clock_ms() - 60_000,
        sources_required: 1,
        currency: "USD".into(),
        pool_minor: None,
        prize_tiers: "[]".into(),
    }))
}

fn channel(name: &str, server: &Server) -> Reference {
    Reference::Channel(Box::new(Channel {
        tenant: "acme".into(),
        channel_id: name.into(),
        network: Network::parse(server.network()).unwrap(),
        endpoint: server.url().into(),
        target: if server.kind == Kind::Telegram { "@draws".into() } else { "".into() },
        template: "card".into(),
        locale: "en".into(),
        games: "".into(),
        status: ChannelStatus::Active,
    }))
}

fn report() -> Body {
    let now = pipelines::clock_ms();
    Body::Command(Command::ReportResult(Box::new(ReportResult {
        command_id: "report-1".into(),
        tenant: "acme".into(),
        draw_id: "D-1".into(),
        source: "feed".into(),
        numbers: vec![7, 19, 28, 41, 66],
        bonus: vec![23],
        prizes: Vec::new(),
        jackpot_minor: Some(24_300_000_000),
        currency: Some("USD".into()),
        drawn_at_ms: now - 1_000,
        reported_at_ms: now,
    })))
}

fn correction() -> Body {
    Body::Command(Command::CorrectResult(Box::new(CorrectResult {
        command_id: "correct-1".into(),
        tenant: "acme".into(),
        draw_id: "D-1".into(),
        numbers: vec![7, 19, 28, 41, 67],
        bonus: vec![23],
        prizes: Vec::new(),
        jackpot_minor: Some(24_300_000_000),
        currency: Some("USD".into()),
        reason: "misread".into(),
        requested_at_ms: pipelines::clock_ms(),
    })))
}

/// The rows of posts of a revision, `channel status attempts`.
fn publications(dir: &Path, revision: i64) -> Vec<String> {
    let mut config = Config::default();
    config.pipeline.data_dir = dir.to_owned();
    let sql = format!(
        "SELECT channel || ' ' || status FROM publications WHERE revision = {revision} ORDER BY channel"
    );
    // Before the first epoch there is nothing to ask.
    let Ok(mut tables) = Stores::of(&config, dir).tables() else { return Vec::new() };
    let Ok(found) = tables.query(&sql, 100, 5_000) else { return Vec::new() };
    found.rows.iter().map(|row| format!("{:?}", row[0])).collect()
}

fn wait_posted(dir: &Path, revision: i64, expected: usize) {
    let since = Instant::now();
    loop {
        let rows = publications(dir, revision);
        if rows.iter().filter(|row| row.contains(" posted")).count() == expected {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "revision {revision}: {rows:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_result_is_published_once_through_crash_correction_and_replay() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let servers = [Kind::Mastodon, Kind::Telegram, Kind::Webhook].map(Server::start);
    let mut settings = "[publishing]\nenabled = true\nbackoff_ms = 50\n\n[publishing.secrets]\n".to_owned();
    for (n, server) in servers.iter().enumerate() {
        let secret = dir.join(format!("secret-{n}"));
        std::fs::write(&secret, server.secret()).unwrap();
        settings.push_str(&format!("\"acme/c{n}\" = \"file:{}\"\n", secret.display()));
    }
    std::fs::write(dir.join("tombola.toml"), settings).unwrap();
    row(dir, draw(), 1);
    for (n, server) in servers.iter().enumerate() {
        row(dir, channel(&format!("c{n}"), server), 2 + n as u64);
    }
    let running = run(dir);
    append(dir, &report());
    wait_posted(dir, 1, 3);
    drop(running);
    assert!(dir.join("images/acme/powerball/D-1/card/en/r1.png").exists());
    assert_eq!(servers.each_ref().map(|server| server.shown().len()), [1, 1, 1]);

    let running = run(dir);
    append(dir, &correction());
    wait_posted(dir, 2, 3);
    assert_eq!(servers.each_ref().map(|server| server.shown().len()), [2, 2, 2]);
    assert!(servers[0].shown()[1].text.contains("Corrected result (revision 2)"), "{:?}", servers[0].shown());
    drop(running);

    let calls = servers.each_ref().map(|server| server.calls().len());
    let verified = program(dir, &["verify"]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_eq!(servers.each_ref().map(|server| server.calls().len()), calls, "a replay calls nobody");
}
