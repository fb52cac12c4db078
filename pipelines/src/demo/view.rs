//! The demo while it runs: one view on a terminal, one line a second elsewhere.

use super::latency::Percentiles;
use crate::commands::output::thousands;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Where the demo stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub appended: u64,
    pub decided: u64,
    pub epoch: u64,
    pub snapshot_bytes: u64,
    pub frontier_age_ms: i64,
    /// Since the last drawing.
    pub latency: Percentiles,
    pub what: &'static str,
}

/// Draws it.
pub struct View {
    terminal: bool,
    started: Instant,
    drawn: Instant,
    decided: u64,
    lines: usize,
}

impl View {
    /// A view that begins now.
    pub fn new() -> Self {
        let now = Instant::now();
        View { terminal: std::io::stderr().is_terminal(), started: now, drawn: now, decided: 0, lines: 0 }
    }

    /// Whether it is time to draw again.
    pub fn due(&self) -> bool {
        let every_ms = if self.terminal { 250 } else { 1_000 };
        self.drawn.elapsed() >= Duration::from_millis(every_ms)
    }

    /// Draws.
    pub fn draw(&mut self, standing: &Standing) {
        let elapsed_s = self.drawn.elapsed().as_secs_f64().max(0.001);
        let rate = ((standing.decided - self.decided) as f64 / elapsed_s) as u64;
        (self.drawn, self.decided) = (Instant::now(), standing.decided);
        let text = if self.terminal { self.page(standing, rate) } else { self.line(standing, rate) };
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn line(&self, s: &Standing, rate: u64) -> String {
        format!(
            "{:6.1} s  {}  appended {}  decided {}  {}/s  p50 {:.1} ms  p99 {:.1} ms  epoch {}\n",
            self.started.elapsed().as_secs_f64(),
            s.what,
            thousands(s.appended),
            thousands(s.decided),
            thousands(rate),
            s.latency.p50_ms,
            s.latency.p99_ms,
            s.epoch
        )
    }

    /// The page, over the one drawn before.
    fn page(&mut self, s: &Standing, rate: u64) -> String {
        let behind = s.appended.saturating_sub(s.decided);
        let lines = [
            format!("tombola demo   {:.1} s   {}", self.started.elapsed().as_secs_f64(), s.what),
            format!("  appended     {:>14} records", thousands(s.appended)),
            format!("  decided      {:>14} records, {} behind", thousands(s.decided), thousands(behind)),
            format!("  rate         {:>14} records/s", thousands(rate)),
            format!(
                "  latency      p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, appended to decided",
                s.latency.p50_ms, s.latency.p95_ms, s.latency.p99_ms
            ),
            format!("  epoch        {:>14}, frontier age {} ms", thousands(s.epoch), s.frontier_age_ms),
            format!("  snapshot     {:>14} bytes", thousands(s.snapshot_bytes)),
        ];
        let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
        self.lines = lines.len();
        let body: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
        up + &body
    }
}

impl Default for View {
    fn default() -> Self {
        View::new()
    }
}
