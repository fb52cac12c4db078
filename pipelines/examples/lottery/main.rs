//! Turns the real history of New York's Powerball into Tombola's input topics.
//!
//! ```text
//!   cargo run -p tombola --example lottery -- DATA OUT
//!
//!   DATA/*Powerball*.csv ─ deploy/feeds/ny-powerball.toml ─ replay ─> OUT/oltp.public.draws.ndjson  what can be drawn, since when
//!                                                                     OUT/commands.draws.ndjson     what two sources report
//! ```
//!
//! The two sources are the export of 2025 and the newer one of 2026; a draw that both have needs both.
//! Then `tombola produce TOPIC OUT/TOPIC.ndjson --event-time --data-dir D` for both topics, and
//! `tombola run --until-drained --data-dir D` publishes 1,965 draws.
//! Run again, it writes the same files byte for byte.

mod matrix;
mod replay;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, out] = args.as_slice() else {
        eprintln!("usage: lottery DATA OUT   (DATA holds *Powerball*.csv; OUT is made)");
        return ExitCode::from(2);
    };
    match run(Path::new(data), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lottery: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(data: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let replay = replay::read(data)?;
    std::fs::create_dir_all(out)?;
    for (topic, lines) in [("oltp.public.draws", &replay.draws), ("commands.draws", &replay.commands)] {
        let path = out.join(format!("{topic}.ndjson"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.flush()?;
        println!("{:>6} records  {}", lines.len(), path.display());
    }
    Ok(())
}
