//! Counts velocity in any CSV of (time, customer, amount), through the real operators, and prints what fired.
//!
//! ```text
//!   cargo run --release -p tombola --example velocity -- FILE.csv
//!       --rule customer:count:60000:5:block --rule customer:amount:86400000:100000:review
//!       [--time COLUMN] [--customer COLUMN] [--amount COLUMN] [--card | --device | --ip | --partner COLUMN]
//!       [--decimals N] [--lateness-ms N] [--alerts]
//!
//!   FILE ─ rows ─ place_order ─> probe ─> velocity ─> screen ─ facts ─> alerts by rule
//! ```
//!
//! The file's order is the order in which orders come; a row's record time is the latest time so far. A
//! column is a header's name or a number from 1; without any, the first three are time, customer and
//! amount. Times are milliseconds since 1970 or ISO 8601; amounts have up to `--decimals` digits after the point.

mod chain;
mod input;

use chain::Chain;
use clap::Parser;
use input::{Columns, Input};
use operators::messages::Output;
use operators::settings::Settings;
use schemas::Fact;
use schemas::velocity::{FraudAction, FraudEvent, FraudFact, RuleStatus, VelocityRule};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Orders handled together.
const EPOCH_ORDERS: usize = 10_000;

/// Counts velocity in a CSV file and prints what fired.
#[derive(Debug, Parser)]
struct Args {
    file: PathBuf,
    /// KEY:METRIC:WINDOW_MS:THRESHOLD:ACTION, such as customer:count:60000:5:block; may be given several times.
    #[arg(long = "rule", required = true, value_parser = rule)]
    rules: Vec<VelocityRule>,
    #[command(flatten)]
    columns: Columns,
    /// How late a row may come and still be counted exactly, in milliseconds.
    #[arg(long, default_value_t = 60_000)]
    lateness_ms: i64,
    /// Prints every alert: rule, line, time, key, value, threshold, action.
    #[arg(long)]
    alerts: bool,
}

fn rule(text: &str) -> Result<VelocityRule, String> {
    let words: Vec<&str> = text.split(':').collect();
    let [key, metric, window, threshold, action] = words.as_slice() else {
        return Err("say KEY:METRIC:WINDOW_MS:THRESHOLD:ACTION".to_owned());
    };
    let number = |what: &str, text: &str| text.parse::<i64>().map_err(|e| format!("{what} {text:?}: {e}"));
    let word = |what: &str, text: &str| format!("{what} {text:?} is none of DOMAIN's words");
    let rule = VelocityRule {
        tenant: input::TENANT.into(),
        rule_id: text.into(),
        key: schemas::velocity::VelocityKey::parse(key).ok_or_else(|| word("key", key))?,
        metric: schemas::velocity::VelocityMetric::parse(metric).ok_or_else(|| word("metric", metric))?,
        window_ms: number("window", window)?,
        threshold: number("threshold", threshold)?,
        action: FraudAction::parse(action).ok_or_else(|| word("action", action))?,
        status: RuleStatus::Active,
    };
    schemas::Reference::VelocityRule(Box::new(rule.clone())).check().map(|()| rule)
}

/// What one rule did.
#[derive(Default)]
struct Fired {
    alerts: u64,
    keys: BTreeSet<schemas::Text>,
    largest: i64,
}

/// What came of the file.
#[derive(Default)]
struct Tally {
    by_rule: BTreeMap<schemas::Text, Fired>,
    by_action: BTreeMap<FraudAction, u64>,
    late: u64,
}

impl Tally {
    fn fact(&mut self, fact: &FraudFact, print: bool) {
        let (Some(rule_id), Some(value)) = (&fact.rule_id, fact.value) else {
            self.late += u64::from(fact.event == FraudEvent::LateOrder);
            return;
        };
        let fired = self.by_rule.entry(rule_id.clone()).or_default();
        fired.alerts += 1;
        fired.keys.insert(fact.key_value.clone());
        fired.largest = fired.largest.max(value);
        if print {
            let FraudFact { order_id, placed_at_ms, key, key_value, threshold, action, .. } = fact;
            let (threshold, action) = (threshold.unwrap_or(0), action.map_or("", FraudAction::as_str));
            println!("{rule_id},{order_id},{placed_at_ms},{key}:{key_value},{value},{threshold},{action}");
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings { fraud_lateness_ms: args.lateness_ms, ..Settings::default() };
    let mut chain = Chain::new(&settings, &args.rules);
    let (mut input, mut tally) = (Input::open(&args.file, &args.columns)?, Tally::default());
    let (mut orders, mut spent) = (0u64, std::time::Duration::ZERO);
    loop {
        let batch = input.read(EPOCH_ORDERS)?;
        if batch.is_empty() {
            break;
        }
        orders += batch.len() as u64;
        let began = Instant::now();
        let (outputs, actions) = chain.epoch(batch);
        spent += began.elapsed();
        for output in &outputs {
            if let Output::Fact(Fact::Fraud(fact)) = output {
                tally.fact(fact, args.alerts);
            }
        }
        actions.into_iter().for_each(|action| *tally.by_action.entry(action).or_default() += 1);
    }
    print(args, &tally, orders, spent);
    Ok(())
}

fn print(args: &Args, tally: &Tally, orders: u64, spent: std::time::Duration) {
    println!("{:>12} {:>10} {:>12}  rule", "alerts", "keys", "largest");
    for rule in &args.rules {
        let none = Fired::default();
        let fired = tally.by_rule.get(&rule.rule_id).unwrap_or(&none);
        println!("{:>12} {:>10} {:>12}  {}", fired.alerts, fired.keys.len(), fired.largest, rule.rule_id);
    }
    for action in FraudAction::ALL {
        println!("{:>12} orders: {action}", tally.by_action.get(action).copied().unwrap_or(0));
    }
    println!("{:>12} orders came more than {} ms late", tally.late, args.lateness_ms);
    let nanos = spent.as_nanos() as f64 / orders.max(1) as f64;
    println!("{orders:>12} orders in all, {nanos:.0} ns each in the operators");
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("velocity: {error}");
            ExitCode::from(1)
        }
    }
}
