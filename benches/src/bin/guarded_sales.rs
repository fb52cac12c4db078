//! The workload "guarded sales" on a generated folder: engine against straight loop, both from the CSV.
//!
//! ```text
//!   cargo run --release -p tombola-benches --bin guarded_sales -- FOLDER
//!       [--wiring parts|whole] [--workers 1,2,4] [--rounds 3] [--epoch-lines N] [--expected FILE] [--straight]
//! ```
//!
//! Each round runs the loop and then the engine at each number of workers, and prints a line `RESULT {json}`
//! for each and the engine's rate as a share of the loop's. With `--expected` every field has to be that
//! file's, without it the loop's; else the program says so and ends with 1. `--straight`: the loop only.
//! What is real and what is adapted stands in [`tombola_benches::guarded`].

use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tombola_benches::guarded::engine::{self, Pace, Wiring};
use tombola_benches::guarded::outcome::Outcome;
use tombola_benches::guarded::straight;

/// As in the `tombola` program; the straight loop has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Args {
    folder: PathBuf,
    wiring: Wiring,
    workers: Vec<usize>,
    rounds: usize,
    epoch_lines: usize,
    expected: Option<String>,
    straight_only: bool,
}

fn args() -> Result<Args, String> {
    let mut args = Args {
        folder: PathBuf::new(),
        wiring: Wiring::Parts,
        workers: vec![1],
        rounds: 1,
        epoch_lines: 10_000,
        expected: None,
        straight_only: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let mut value = || given.next().ok_or(format!("{arg} wants a value"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("{text} is no number"));
        match arg.as_str() {
            "--workers" => {
                args.workers = value()?.split(',').map(|n| number(n.to_owned())).collect::<Result<_, _>>()?;
            }
            "--wiring" => {
                args.wiring = match value()?.as_str() {
                    "parts" => Wiring::Parts,
                    "whole" => Wiring::Whole,
                    other => return Err(format!("{other} is no wiring: parts or whole")),
                };
            }
            "--rounds" => args.rounds = number(value()?)?,
            "--epoch-lines" => args.epoch_lines = number(value()?)?,
            "--expected" => {
                let file = value()?;
                let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
                args.expected = Some(text);
            }
            "--straight" => args.straight_only = true,
            _ => args.folder = PathBuf::from(arg),
        }
    }
    if args.folder.as_os_str().is_empty() {
        return Err("say which folder the generator wrote".to_owned());
    }
    Ok(args)
}

/// Prints a result; whether it is as expected.
fn told(what: &str, outcome: &Outcome, run_s: f64, expected: Option<&str>) -> bool {
    println!("{what}: {:.0} orders/s", outcome.lines() as f64 / run_s);
    println!("RESULT {}", outcome.json(run_s));
    let differs = expected.is_some_and(|expected| outcome.differs_from(expected));
    if differs {
        println!("  differs from what is expected: {}", expected.unwrap_or_default().trim());
    }
    !differs
}

fn round(args: &Args) -> io::Result<bool> {
    let (began, cpu) = (Instant::now(), cpu_s());
    let straight = straight::decide(&args.folder)?;
    let (straight_s, straight_cpu_s) = (began.elapsed().as_secs_f64(), cpu_s() - cpu);
    let mut good = told("straight loop", &straight, straight_s, args.expected.as_deref());
    if args.straight_only {
        return Ok(good);
    }
    for &workers in &args.workers {
        let pace = Pace { workers, epoch_lines: args.epoch_lines };
        let cpu = cpu_s();
        let (outcome, took) = engine::decide(&args.folder, args.wiring, pace)?;
        let engine_s = took.as_secs_f64();
        let what = format!("engine, {workers} worker(s)");
        let expected = args.expected.clone().unwrap_or_else(|| straight.json(0.0));
        good &= told(&what, &outcome, engine_s, Some(&expected));
        let of_cpu = straight_cpu_s / (cpu_s() - cpu);
        println!("  {:.3} of the loop; in processor time of all threads {of_cpu:.3}", straight_s / engine_s);
    }
    Ok(good)
}

/// The allocator gives freed memory back to the system soon, and gets it back page by page, cleared; on a machine
/// where that is slow it is most of what is measured, of the loop as of the engine. The allocator reads
/// this setting before `main`, so the program begins anew with it.
fn keep_memory() {
    const SETTING: &str = "MIMALLOC_PURGE_DELAY";
    if let (None, Ok(program)) = (std::env::var_os(SETTING), std::env::current_exe()) {
        let mut again = std::process::Command::new(program);
        let error = again.args(std::env::args_os().skip(1)).env(SETTING, "100000").exec();
        eprintln!("guarded_sales: goes on with the allocator's defaults: {error}");
    }
}

/// Processor time of the process.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() -> ExitCode {
    keep_memory();
    let args = match args() {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("guarded_sales: {problem}");
            return ExitCode::from(2);
        }
    };
    let mut good = true;
    for _ in 0..args.rounds {
        good &= round(&args).unwrap_or_else(|error| {
            eprintln!("guarded_sales: {}: {error}", args.folder.display());
            false
        });
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
