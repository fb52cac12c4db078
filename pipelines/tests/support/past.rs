//! A Postgres in the past: its clock stands where a test puts it, and what is committed is committed then.
//!
//! ```text
//!   clock file ── libfaketime ──> Postgres ── Debezium ──> oltp.public.* with source.ts_ms = commit time
//! ```

use super::connector;
use super::services::{self, script, well};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A server of its own, gone with its test.
pub struct Past {
    state: String,
    port_base: String,
    clock: TempDir,
}

impl Past {
    /// Brings one up, beside the services of this environment, at this moment.
    pub fn at(time_ms: i64) -> Self {
        let port_base: u32 = services::env("TOMBOLA_SERVICES_PORT_BASE").parse().expect("a port");
        let state = format!("{}-past", services::env("TOMBOLA_SERVICES_STATE"));
        let clock = tempfile::tempdir().expect("a temporary directory");
        // Postgres has a user of its own.
        std::fs::set_permissions(clock.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let past = Past { state, port_base: (port_base + 400).to_string(), clock };
        past.set(time_ms);
        well(past.script(&["up", "postgres"]));
        past
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = script(arguments);
        command.env("TOMBOLA_SERVICES_STATE", &self.state);
        command.env("TOMBOLA_SERVICES_PORT_BASE", &self.port_base).env_remove("TOMBOLA_POSTGRES_PORT");
        command.env("TOMBOLA_POSTGRES_CLOCK", self.clock.path().join("now"));
        command
    }

    /// From here on it is this time. By renaming, so that nobody ever reads half of it.
    pub fn set(&self, time_ms: i64) {
        let (now, next) = (self.clock.path().join("now"), self.clock.path().join("next"));
        let time = jiff::Timestamp::from_millisecond(time_ms).expect("a time of this calendar");
        std::fs::write(&next, time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()).expect("it is ours");
        std::fs::rename(next, now).expect("it is ours");
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        self.endpoint("PG_URL")
    }

    fn endpoint(&self, name: &str) -> String {
        let text = std::fs::read_to_string(Path::new(&self.state).join("endpoints.env")).expect("it is up");
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        value.unwrap_or_else(|| panic!("endpoints.env says {name}")).to_owned()
    }

    /// Lets Debezium's connector follow its reference tables.
    pub fn capture(&self) {
        connector::apply(&["reference"], &self.url(), |name| self.endpoint(name));
    }

    /// A session that commits when it is told to.
    pub fn session(&self) -> Session {
        Session::with(&self.url())
    }
}

impl Drop for Past {
    fn drop(&mut self) {
        let _ = self.script(&["down"]).output();
    }
}

/// A psql that is talked to.
pub struct Session {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Session {
    /// With this database.
    pub fn with(url: &str) -> Self {
        let mut psql = Command::new("psql");
        psql.args([url, "-XAtq", "-v", "ON_ERROR_STOP=1"]);
        psql.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().expect("psql can be started");
        let (to, from) = (child.stdin.take(), child.stdout.take());
        Session { child, to: to.expect("piped"), from: BufReader::new(from.expect("piped")) }
    }

    /// Runs these statements as one transaction, committed on return; the last line they print.
    pub fn transaction(&mut self, statements: &str) -> String {
        writeln!(self.to, "BEGIN;\n{statements}\nCOMMIT;\n\\echo over").expect("psql listens");
        self.to.flush().expect("psql listens");
        let (mut line, mut last) = (String::new(), String::new());
        loop {
            line.clear();
            let read = self.from.read_line(&mut line).expect("psql speaks UTF-8");
            assert!(read > 0, "psql refused (see above): {statements}");
            if line == "over\n" {
                return last.trim_end().to_owned();
            }
            last.clone_from(&line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
