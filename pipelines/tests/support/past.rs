//! A Postgres in the past: its clock stands where a test puts it, and what is committed is committed then.
//!
//! ```text
//!   clock file ── libfaketime ──> Postgres ── Debezium ──> oltp.public.* with source.ts_ms = commit time
//! ```

use super::beside::{Beside, Name};
use super::connector;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// A server of its own, gone with its test.
pub struct Past {
    server: Beside,
    clock: Clock,
}

struct Clock(TempDir);

impl Clock {
    /// From here on it is this time. By renaming, so that nobody ever reads half of it.
    fn set(&self, time_ms: i64) {
        let (now, next) = (self.file(), self.0.path().join("next"));
        let time = jiff::Timestamp::from_millisecond(time_ms).expect("a time of this calendar");
        std::fs::write(&next, time.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()).expect("it is ours");
        std::fs::rename(next, now).expect("it is ours");
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("now")
    }
}

impl Past {
    /// Brings one up, beside the services of this environment, at this moment.
    pub fn at(time_ms: i64) -> Self {
        let clock = Clock(tempfile::tempdir().expect("a temporary directory"));
        // Postgres has a user of its own.
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(clock.0.path(), everybody).expect("it is ours");
        clock.set(time_ms);
        let file = clock.file().to_str().expect("a path in UTF-8").to_owned();
        Past { server: Beside::up(Name::Past, vec![("TOMBOLA_POSTGRES_CLOCK", file)]), clock }
    }

    /// From here on it is this time.
    pub fn set(&self, time_ms: i64) {
        self.clock.set(time_ms);
    }

    /// Where its database is.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Lets Debezium's connector follow its reference tables.
    pub fn capture(&self) {
        connector::apply(&["reference"], &self.url(), |name| self.server.endpoint(name));
    }

    /// A session that commits when it is told to.
    pub fn session(&self) -> Session {
        Session::with(&self.url())
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
