//! What Grafana's panels ask ClickHouse for, each on loaded facts.
//!
//! Grafana fills in variables, its data source for ClickHouse the macros, before a question is sent: here it is done
//! as their manuals say.

use crate::support::{Bench, Database};
use crate::world::record_time;
use serde::Deserialize;
use std::path::Path;

/// The span of time that is looked at, in seconds since 1970; the facts lie within.
const FROM_S: i64 = 1_732_924_800;
const TO_S: i64 = 1_733_097_600;

#[derive(Deserialize)]
struct Dashboard {
    uid: String,
    templating: Templating,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    query: String,
}

#[derive(Deserialize)]
struct Panel {
    title: String,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    /// 0: a time series, 1: a table.
    format: Option<u8>,
    #[serde(rename = "rawSql")]
    sql: Option<String>,
}

fn dashboards() -> Vec<Dashboard> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/dashboards");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &std::path::PathBuf| {
        serde_json::from_str(&std::fs::read_to_string(file).unwrap())
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    };
    files.iter().map(read).collect()
}

/// The question as ClickHouse gets it.
fn filled_in(sql: &str, variables: &[Variable], tenant: &str) -> String {
    let mut sql = sql.to_owned();
    for variable in variables {
        let text = if variable.kind == "constant" { variable.query.as_str() } else { tenant };
        sql = sql.replace(&format!("${{{}:raw}}", variable.name), text);
        let quoted = format!("'{}'", text.replace('\'', "''"));
        sql = sql.replace(&format!("${{{}:sqlstring}}", variable.name), &quoted);
    }
    while let Some((before, rest)) = sql.split_once("$__timeFilter(") {
        let (column, after) = rest.split_once(')').expect("a macro ends");
        let filter = format!("{column} >= toDateTime({FROM_S}) AND {column} <= toDateTime({TO_S})");
        sql = format!("{before}{filter}{after}");
    }
    sql = sql.replace("$__fromTime", &format!("toDateTime({FROM_S})"));
    sql = sql.replace("$__toTime", &format!("toDateTime({TO_S})"));
    assert!(!sql.contains('$'), "something is not filled in: {sql}");
    sql
}

/// The first column of the answer has this type.
fn first_type(database: &Database, sql: &str) -> String {
    let described = database.ask(&format!("DESCRIBE TABLE ({sql})"));
    described.split('\t').nth(1).unwrap().to_owned()
}

#[test]
#[ignore = "needs services"]
fn service_every_panel_of_every_dashboard_finds_what_was_loaded() {
    let (database, bench) = (Database::migrated(), Bench::of(200, 10, 200));
    let times_s = [record_time(1) / 1_000, record_time(200) / 1_000];
    assert!(times_s.iter().all(|time| (FROM_S..TO_S).contains(time)), "within the span that is looked at");
    bench.load(&database.settings);
    let mut asked = 0;
    for dashboard in dashboards() {
        let variables = &dashboard.templating.list;
        for variable in variables.iter().filter(|variable| variable.kind == "query") {
            let choices = database.ask(&variable.query);
            assert_eq!(choices, "acme", "choices of {} in {}", variable.name, dashboard.uid);
        }
        for panel in &dashboard.panels {
            for target in &panel.targets {
                let Some(sql) = &target.sql else { continue };
                let place = format!("{}, \"{}\"", dashboard.uid, panel.title);
                check_panel(&database, &place, sql, variables, target.format == Some(0));
                asked += 1;
            }
        }
    }
    assert!(asked >= 22, "{asked} questions were found");
}

fn check_panel(database: &Database, place: &str, sql: &str, variables: &[Variable], series: bool) {
    let ours = filled_in(sql, variables, "acme");
    let answer = database.try_ask(&ours, &[]).unwrap_or_else(|e| panic!("{place}: {e}"));
    let nothing = |answer: &str| answer.trim().is_empty() || ["0", "nan", "\\N"].contains(&answer.trim());
    assert!(!nothing(&answer), "{place} finds nothing: {ours}");
    if series {
        let kind = first_type(database, &ours);
        assert!(kind.starts_with("DateTime"), "{place}: a time series begins with a time, not {kind}");
    }
    // Views stop at the frontier, tables don't.
    for table in ["facts_", "all_", "_minutes", "_sums"] {
        assert!(!sql.contains(table), "{place} looks beyond the published frontier: {table}");
    }
    if sql.contains("${tenant:sqlstring}") {
        let stranger = filled_in(sql, variables, "o'ther");
        let theirs = database.try_ask(&stranger, &[]).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert!(nothing(&theirs), "{place} shows one tenant another's rows: {theirs}");
    } else {
        assert!(sql.contains("FROM dead_letters"), "{place}: whose rows are these?");
    }
}

#[test]
#[ignore = "needs services"]
fn service_panels_say_what_is_true() {
    let (database, bench) = (Database::migrated(), Bench::of(200, 10, 200));
    bench.load(&database.settings);
    let boards = dashboards();
    let board = boards.iter().find(|board| board.uid == "tombola-sales").unwrap();
    let ask = |title: &str| {
        let panel = board.panels.iter().find(|panel| panel.title == title).unwrap();
        let sql = panel.targets[0].sql.as_ref().unwrap();
        database.ask(&filled_in(sql, &board.templating.list, "acme"))
    };
    // 1,600 orders, one in seven refused for two reasons; each of the others costs 100 and its number, in cents.
    let (refused, confirmed) = (228, 1_600 - 228);
    assert_eq!(ask("Confirmed orders"), confirmed.to_string());
    assert_eq!(ask("Tickets issued"), confirmed.to_string());
    assert_eq!(ask("Refusals by reason"), format!("offer_closed\t{refused}\nsold_out\t{refused}"));
    let cents: i64 = (1..=1_600).filter(|n| n % 7 != 0).map(|n| 100 + n).sum();
    assert_eq!(ask("Revenue"), format!("EUR\t{}.{:02}", cents / 100, cents % 100));
    assert_eq!(ask("Success rate"), (f64::from(confirmed) / 1_600.0).to_string());
}
