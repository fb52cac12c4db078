//! `tombola feeds` from outside: a mapping tried out, a file sent, a server polled, alone and within `tombola run`.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

#[path = "../../connectors/tests/feed_http/server.rs"]
mod server;

use connectors::embedded::Log;
use server::{Answer, Server};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: &str = "day,balls\n2024-01-06,3 4\n2024-01-03,1 2\n";

fn mapping(url: &str) -> String {
    format!(
        "source = \"s\"\ntenant = \"t\"\n[poll]\nurl = \"{url}\"\n[rows]\nformat = \"csv\"\n\
         [date]\nvalue = \"{{day}}\"\nformat = \"%Y-%m-%d\"\ntime_zone = \"UTC\"\n\
         [[draws]]\ngame = \"g\"\ndraw_id = \"{{game}}-{{date}}\"\ntime = \"20:00\"\n\
         main = {{ field = \"balls\", split = \" \", items = 2 }}\n"
    )
}

fn tombola(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombola"));
    command.args(line.split(' ')).current_dir(dir).env_remove("TOMBOLA_KILL_AT");
    command
}

/// One call: exit code, and what stdout and stderr must contain.
fn check(dir: &Path, line: &str, code: i32, stdout: &str, stderr: &str) -> String {
    let output = tombola(dir, line).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "tombola {line}\nstdout: {out}\nstderr: {err}");
    assert!(out.contains(stdout) && err.contains(stderr), "tombola {line}\nstdout: {out}\nstderr: {err}");
    out.into_owned()
}

fn folder(rows: &str, url: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.toml"), mapping(url)).unwrap();
    std::fs::write(dir.path().join("rows.csv"), rows).unwrap();
    let settings = "[feeds]\nmappings = [\"m.toml\"]\ninterval_ms = 100\njitter_ms = 0\nbackoff_ms = 100\nbackoff_ms_max = 200\n";
    std::fs::write(dir.path().join("tombola.toml"), settings).unwrap();
    dir
}

/// Records on commands.draws.
fn reported(dir: &Path) -> u64 {
    let Ok(log) = Log::open_read_only(&dir.join("tombola-data")) else { return 0 };
    let topics = log.topics().unwrap_or_default();
    topics.iter().filter(|topic| topic.topic == "commands.draws").flat_map(|topic| &topic.ends).sum()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(240);
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn check_prints_what_would_be_sent_and_what_does_not_fit() {
    let dir = folder(&format!("{ROWS}2024-01-10,5\n"), "http://127.0.0.1:1/");
    let reason = "rows.csv: line 4: balls holds 1 numbers, not 2\n  2024-01-10,5\n2 results, 1 problems";
    let lines = check(dir.path(), "feeds check m.toml rows.csv", 1, "\"draw_id\":\"g-2024-01-03\"", reason);
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        schemas::parse_line("commands.draws", line).unwrap();
    }
    std::fs::write(dir.path().join("rows.csv"), ROWS).unwrap();
    check(dir.path(), "feeds check m.toml rows.csv", 0, "\"numbers\":[1,2]", "2 results, 0 problems");
}

#[test]
fn what_cannot_be_used_ends_with_2_and_names_the_remedy() {
    let dir = folder(ROWS, "http://127.0.0.1:1/");
    let path = dir.path();
    std::fs::write(path.join("bad.toml"), mapping("http://h/").replace("UTC", "Mars")).unwrap();
    std::fs::write(path.join("mute.toml"), mapping("").replace("url = \"\"\n", "")).unwrap();
    let settings = |name: &str, list: &str| {
        std::fs::write(path.join(name), format!("[feeds]\nmappings = {list}\n")).unwrap();
    };
    settings("a.toml", "[\"bad.toml\"]");
    settings("b.toml", "[\"mute.toml\"]");
    settings("c.toml", "[\"m.toml\", \"m.toml\"]");
    settings("d.toml", "[]");
    for (line, wanted) in [
        ("feeds check absent.toml rows.csv", "name a mapping file, such as those in deploy/feeds"),
        ("feeds check m.toml absent.csv", "name a file as its publisher wrote it"),
        ("feeds check bad.toml rows.csv", "bad.toml:10: `time_zone`: "),
        ("feeds run --config a.toml", "bad.toml:10: `time_zone`: "),
        ("run --config a.toml", "bad.toml:10: `time_zone`: "),
        ("feeds run --config b.toml", "set poll.url, or take it off the list"),
        ("feeds run --config c.toml", "are both of the source s; give each a source of its own"),
        ("feeds run --config d.toml", "feeds.mappings is empty; list mapping files there"),
    ] {
        check(path, line, 2, "", wanted);
    }
}

#[test]
fn a_file_is_sent_once_unless_it_is_asked_for_again() {
    let dir = folder(&format!("{ROWS}2024-01-10,5\n"), "http://127.0.0.1:1/");
    let line = "feeds backfill m.toml rows.csv --event-time";
    let said = "s: 2 results, 2 of them sent; 1 problems, 1 of them sent as dead letters";
    check(dir.path(), line, 1, said, "balls holds 1 numbers");
    assert_eq!(reported(dir.path()), 3);
    check(dir.path(), line, 1, "s: 2 results, 0 of them sent; 1 problems, 0 of them", "");
    assert_eq!(reported(dir.path()), 3);
    check(dir.path(), &format!("{line} --again --json"), 1, "\"sent\":2", "");
    assert_eq!(reported(dir.path()), 6);
}

/// A process that is told to stop, and must stop well.
struct Running(Child);

impl Running {
    fn start(dir: &Path, line: &str) -> Running {
        Running(tombola(dir, line).stdout(Stdio::null()).spawn().unwrap())
    }

    fn stop(&mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was stopped already can't be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Values of the records on commands.draws.
fn values(dir: &Path) -> Vec<Vec<u8>> {
    let log = Log::open_read_only(&dir.join("tombola-data")).unwrap();
    let partitions =
        log.topics().unwrap().into_iter().find(|topic| topic.topic == "commands.draws").unwrap().ends;
    let records = (0..partitions.len() as u32).flat_map(|p| log.read("commands.draws", p, 0, 100).unwrap());
    records.map(|record| record.value.unwrap()).collect()
}

#[test]
fn a_poller_killed_at_any_durable_step_sends_the_same_again_or_nothing() {
    for (point, sent) in runtime::killpoint::FEED.iter().zip([2, 4, 2]) {
        let server = Server::start();
        server.answer(Answer::ok(ROWS).with("ETag", "\"one\""));
        let dir = folder(ROWS, &server.url());
        let path = dir.path();
        let status = tombola(path, "feeds run").env("TOMBOLA_KILL_AT", point).status().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "{point} was not reached"
        );
        let mut running = Running::start(path, "feeds run");
        // It is asked for once more, and remembered this time.
        wait_for("a poll that knows the document", || server.last_request().contains("if-none-match"));
        running.stop();
        let mut values = values(path);
        assert_eq!(values.len(), sent, "{point}");
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 2, "{point}: what is sent again is the same, its time included");
    }
}

/// Polls through failures and changes, and goes on after a restart where it was.
fn polls(line: &str, metrics: &str) {
    let server = Server::start();
    let dir = folder(ROWS, &server.url());
    let path = dir.path();
    let figure = |name: &str| {
        let text = std::fs::read_to_string(path.join("tombola-data").join(metrics)).unwrap_or_default();
        let name = format!("tombola_feed_{name}{{source=\"s\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok())
    };
    let mut running = Running::start(path, line);
    wait_for("failures to be told", || {
        figure("consecutive_failures").is_some_and(|failures| failures >= 3.0)
    });
    server.answer(Answer::ok(ROWS).with("ETag", "\"one\""));
    wait_for("the first document", || reported(path) == 2);
    wait_for("no failures", || figure("consecutive_failures") == Some(0.0));
    server.answer(Answer::ok(format!("{ROWS}2024-01-10,5 6\n2024-01-13,7\n")).with("ETag", "\"two\""));
    wait_for("the second document", || reported(path) == 4);
    wait_for("its figures", || {
        let figures = ["results", "results_sent_total", "rejected_total"].map(figure);
        figures == [Some(3.0), Some(3.0), Some(1.0)] && figure("last_success_seconds") > Some(1.0e9)
    });
    running.stop();
    let mut running = Running::start(path, line);
    server.forget_requests();
    wait_for("another poll", || server.last_request().contains("if-none-match: \"two\""));
    running.stop();
    assert_eq!(reported(path), 4, "nothing is sent twice");
}

#[test]
fn feeds_run_polls_until_it_is_stopped() {
    polls("feeds run", "feeds/metrics.prom");
}

#[test]
fn the_pipeline_polls_beside_its_work() {
    polls("run", "metrics.prom");
}
