//! How fast the demo's stream is made, encoded and appended, without a pipeline behind it.
//!
//! ```text
//!   cargo run --release -p tombola --example demo_throughput -- [ORDERS]
//! ```

use pipelines::demo::generator::{Generator, Options};
use pipelines::demo::producer::{self, Control, Plan};
use pipelines::intake;
use schemas::SchemaIds;
use std::sync::atomic::Ordering;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let orders = std::env::args().nth(1).map_or(Ok(300_000), |text| text.parse())?;
    let stream = Options {
        seed: 1,
        start_ms: 1_760_000_000_000,
        orders: Some(orders),
        orders_per_s: 5_000,
        draws: true,
    };

    let started = Instant::now();
    let records = Generator::new(stream).count() as u64;
    say("made", records, started);

    let (started, ids) = (Instant::now(), SchemaIds::fresh());
    let bytes: usize = Generator::new(stream)
        .map(|timed| timed.body.encode(&ids, timed.at_ms).value.map_or(0, |value| value.len()))
        .sum();
    say("made and encoded", records, started);
    println!("{:>20} bytes of value per record", bytes as u64 / records.max(1));

    let dir = tempfile::tempdir()?;
    let ids = intake::prepare(dir.path(), 4)?;
    let (control, (tell, told)) = (Control::default(), std::sync::mpsc::channel());
    let plan = Plan { stream, paced: false, backlog_max: u64::MAX };
    let started = Instant::now();
    producer::produce(
        Box::new(connectors::embedded::Log::appender(dir.path())?),
        ids,
        &plan,
        &control,
        tell,
    )?;
    assert_eq!(control.appended.load(Ordering::SeqCst), records);
    drop(told);
    say("made and appended", records, started);
    Ok(())
}

fn say(what: &str, records: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:>20}: {records} records in {seconds:.2} s, {:.0} records/s", records as f64 / seconds);
}
