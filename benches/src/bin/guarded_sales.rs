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

use std::io;
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
    let began = Instant::now();
    let straight = straight::decide(&args.folder)?;
    let straight_s = began.elapsed().as_secs_f64();
    let mut good = told("straight loop", &straight, straight_s, args.expected.as_deref());
    if args.straight_only {
        return Ok(good);
    }
    for &workers in &args.workers {
        let pace = Pace { workers, epoch_lines: args.epoch_lines };
        let (outcome, took) = engine::decide(&args.folder, args.wiring, pace)?;
        let engine_s = took.as_secs_f64();
        let what = format!("engine, {workers} worker(s)");
        let expected = args.expected.clone().unwrap_or_else(|| straight.json(0.0));
        good &= told(&what, &outcome, engine_s, Some(&expected));
        println!("  {:.3} of the loop", straight_s / engine_s);
    }
    Ok(good)
}

fn main() -> ExitCode {
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
