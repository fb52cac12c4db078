//! Turns the public Olist data set (real Brazilian e-commerce orders) into Tombola's input topics.
//!
//! ```text
//!   cargo run --release -p tombola --example olist -- DATA OUT
//!
//!   DATA/olist_*.csv.gz ─ read ─ convert ─> OUT/commands.orders.ndjson      place and cancel
//!                                           OUT/commands.payments.ndjson    captured
//!                                           OUT/oltp.public.offers.ndjson   prices and stock, as Debezium changes
//!                                           OUT/oltp.public.partners.ndjson sellers, as snapshot reads
//!                                           OUT/oltp.public.commission_rates.ndjson 10 %, 12 % from 100,000 centavos
//!                                           OUT/tombola.toml
//! ```
//!
//! Then `tombola produce TOPIC OUT/TOPIC.ndjson --event-time --config OUT/tombola.toml --data-dir D` for each
//! topic, and `tombola run --until-drained --config OUT/tombola.toml --data-dir D`.
//! Run again, it writes the same files byte for byte.

mod convert;
mod input;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Settings under which the real orders can be replayed: people took up to 188 days to pay.
const SETTINGS: &str = include_str!("tombola.toml");

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [data, out] = args.as_slice() else {
        eprintln!("usage: olist DATA OUT   (DATA holds olist_*.csv.gz; OUT is made)");
        return ExitCode::from(2);
    };
    match run(Path::new(data), Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("olist: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(data: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let topics = convert::convert(&input::read(data)?);
    std::fs::create_dir_all(out)?;
    for (topic, lines) in topics.files() {
        let path = out.join(format!("{topic}.ndjson"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        for line in lines {
            writeln!(file, "{}", line.json)?;
        }
        file.flush()?;
        println!("{:>6} records  {}", lines.len(), path.display());
    }
    std::fs::write(out.join("tombola.toml"), SETTINGS)?;
    println!("               {}", out.join("tombola.toml").display());
    Ok(())
}
