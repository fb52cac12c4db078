//! The program as a child process: started with any number of workers, killed, and asked what it said.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing these tests wait for takes longer, however busy the machine; what does is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(900);

/// The program with these arguments, on the data directory `dir` and its settings.
pub fn tombola(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombola"));
    command.args(arguments).arg("--data-dir").arg(dir).arg("--config").arg(dir.join("tombola.toml"));
    command.env_remove("TOMBOLA_KILL_AT").env("TOMBOLA_LOG", "warn");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running child. Dropping it kills it, so that a failed test leaves nothing behind.
pub struct Running {
    child: Option<Child>,
    stdout: Heard,
    stderr: Heard,
}

/// What a child says, read as it comes: a pipe that nobody reads fills up, and whoever writes to it stands still.
struct Heard(Option<JoinHandle<Vec<u8>>>);

impl Heard {
    fn listen(pipe: Option<impl Read + Send + 'static>) -> Heard {
        Heard(pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                // What was read until then is all there is to know.
                let _ = pipe.read_to_end(&mut bytes);
                bytes
            })
        }))
    }

    /// Once it has ended.
    fn all(&mut self) -> String {
        let bytes = self.0.take().map(|reading| reading.join().expect("reading doesn't panic"));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }
}

/// How a child ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Whether SIGKILL ended it.
    pub fn was_killed(&self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        self.status.signal() == Some(9)
    }

    /// The exit code; a panic of the test where a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Asserts an exit code, and that stderr says all of `wanted`.
    pub fn assert(self, code: i32, wanted: &[&str]) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        for wanted in wanted {
            assert!(self.stderr.contains(wanted), "stderr doesn't say {wanted:?}: {self:?}");
        }
        self
    }
}

impl Running {
    /// Starts `command`.
    pub fn start(mut command: Command) -> Self {
        Running::of(command.spawn().expect("the program can be started"))
    }

    fn of(mut child: Child) -> Self {
        let (stdout, stderr) = (Heard::listen(child.stdout.take()), Heard::listen(child.stderr.take()));
        Running { child: Some(child), stdout, stderr }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it is there until it is waited for")
    }

    /// The process id.
    pub fn pid(&mut self) -> u32 {
        self.child().id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.ended_as().is_none()
    }

    /// How it ended, if it has.
    pub fn ended_as(&mut self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child can be asked")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // One that has ended already can't be killed.
        let _ = self.child().kill();
    }

    /// Sends a signal by name: STOP, CONT, TERM.
    pub fn signal(&mut self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill can be called").success(), "{name} reaches the process");
    }

    /// SIGTERM, once it is listened to: one that comes while the program starts would end it like any other.
    pub fn terminate(&mut self) {
        let status = format!("/proc/{}/status", self.pid());
        let began = Instant::now();
        while !catches_term(&std::fs::read_to_string(&status).expect("it has a status")) {
            assert!(began.elapsed() < STUCK_AFTER && self.runs(), "it doesn't listen to SIGTERM");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.signal("TERM");
    }

    /// SIGSTOP, waited for: `kill` comes back before the threads have stopped, and one may still take a lock.
    pub fn stop(&mut self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid());
        while !std::fs::read_dir(&tasks).expect("it has tasks").flatten().all(|task| is_stopped(&task.path()))
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end; a panic where it is stuck.
    pub fn wait(mut self) -> Ended {
        let began = Instant::now();
        while self.runs() {
            assert!(began.elapsed() < STUCK_AFTER, "stuck: {:?}", self.stuck());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.ended()
    }

    fn stuck(&mut self) -> Ended {
        self.kill();
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        let status = self.child().wait().expect("a child can be waited for");
        self.child = None;
        Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

fn catches_term(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & (1 << 14) != 0))
}

/// Whether a thread is stopped or gone: its state is what follows its name, which is in parentheses.
fn is_stopped(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| matches!(rest.trim().chars().next(), None | Some('T' | 'Z')))
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs `command` to its end.
pub fn end_of(command: Command) -> Ended {
    Running::start(command).wait()
}

/// `tombola run --until-drained` with this many workers.
pub fn drain(dir: &Path, workers: u64) -> Command {
    tombola(dir, &["run", "--until-drained", "--workers", &workers.to_string()])
}

/// Runs until drained; anything but exit code 0 is a panic.
pub fn drain_well(dir: &Path, workers: u64) -> Ended {
    end_of(drain(dir, workers)).assert(0, &[])
}

/// `tombola verify` must agree, from the start of the log and from the newest snapshot.
pub fn verify(dir: &Path, workers: u64) {
    verify_by(dir, workers, &[]);
    verify_newest(dir, workers);
}

/// What came after the newest snapshot alone; a pipeline may be running.
pub fn verify_newest(dir: &Path, workers: u64) {
    verify_by(dir, workers, &["--from-snapshot"]);
}

fn verify_by(dir: &Path, workers: u64, how: &[&str]) {
    let workers = workers.to_string();
    let ended = end_of(tombola(dir, &[&["verify", "--workers", &workers], how].concat()));
    assert_eq!(ended.code(), 0, "verify {how:?} in {}: {ended:?}", dir.display());
}

/// A child that serves the API, and where. Dropping it kills it.
pub struct Serving {
    pub running: Running,
    pub address: SocketAddr,
}

impl Serving {
    /// Starts `command` and waits until it says where it listens.
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::null());
        let mut child = command.spawn().expect("the program can be started");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let running = Running::of(child);
        let mut said = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended before it listened: {said}"));
            let line = line.expect("stderr can be read");
            if let Some((_, address)) = line.split_once("is served on http://") {
                break address.trim().parse().expect("an address");
            }
            said += &line;
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Serving { running, address }
    }
}
