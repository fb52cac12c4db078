//! Dashboards and alerts ask for what a running pipeline really tells: every expression in `deploy/` is parsed, and
//! every metric and label in it is looked up in the text that a demo has written.
//!
//! What ClickHouse is asked for is run against a real one in `sinks/tests/service_clickhouse/dashboards.rs`.

mod support;

use pipelines::metrics::{ActionLabels, ChannelLabels, Metrics, PartitionLabels};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::Folder;
use support::process::Running;

/// Labels that Prometheus adds itself.
const ADDED: [&str; 2] = ["job", "instance"];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Label names by the name of a series.
struct Told(BTreeMap<String, BTreeSet<String>>);

impl Told {
    fn of(exposed: &str) -> Told {
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in exposed.lines().filter(|line| !line.starts_with('#')) {
            let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no series: {line}"));
            let labels = told.entry(line[..name_end].to_owned()).or_default();
            let inside = line[name_end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let pairs = inside.map(|(pairs, _)| pairs).unwrap_or_default().split(',');
            labels.extend(pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
        }
        Told(told)
    }

    /// What a demo has written, what its API says of itself, and families that it may lack: one that only
    /// Kafka has, one that waits for a rule to fire, those of channels.
    fn by_a_pipeline() -> Told {
        let folder = Folder::new();
        let dir = folder.path().join("demo");
        let command = |arguments: &[&str], dir: &Path| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tombola"));
            command.args(arguments).arg("--data-dir").arg(dir).env("TOMBOLA_LOG", "warn");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            Running::start(command)
        };
        command(&["demo", "--orders", "20000", "--seed", "7"], &dir).wait().assert(0, &[]);
        let mut told = Told::of(&command(&["status", "--metrics"], &dir).wait().assert(0, &[]).stdout);
        let address = free_address().to_string();
        let _serving = command(&["demo", "--rate", "10", "--api", &address], &folder.path().join("api"));
        told.take(Told::of(&metrics_of(&address)));
        let metrics = Metrics::of("sales".to_owned());
        let labels = PartitionLabels { job: "sales".into(), topic: "commands.orders".into(), partition: 0 };
        metrics.consumer_lag.get_or_create(&labels).set(1);
        metrics.fraud_alerts.get_or_create(&ActionLabels { action: "flag" }).inc();
        let channel = ChannelLabels { channel: "acme/main".into() };
        metrics.publisher.channel_waiting.get_or_create(&channel).set(1);
        metrics.publisher.channel_oldest.get_or_create(&channel).set(1.0);
        metrics.publisher.channel_open.get_or_create(&channel).set(1);
        told.take(Told::of(&metrics.text()));
        told
    }

    fn take(&mut self, other: Told) {
        for (name, labels) in other.0 {
            self.0.entry(name).or_default().extend(labels);
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address")
}

/// What the API at `address` tells, once it has answered something and knows it.
fn metrics_of(address: &str) -> String {
    let end = Instant::now() + Duration::from_secs(240);
    loop {
        let told = get(address, "/metrics").unwrap_or_default();
        if told.contains("tombola_api_request_seconds_bucket{") && told.contains("tombola_records_in_total{")
        {
            return told;
        }
        assert!(Instant::now() < end, "the API at {address} doesn't tell its figures: {told}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The body of an answer.
fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Collects what an expression asks for.
#[derive(Default)]
struct Asked {
    selectors: Vec<VectorSelector>,
    grouped_by: BTreeSet<String>,
}

impl ExprVisitor for Asked {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        match expr {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.selectors.push(selector.vs.clone()),
            Expr::Aggregate(aggregate) => {
                let labels = aggregate.modifier.iter().flat_map(|modifier| modifier.labels().labels.clone());
                self.grouped_by.extend(labels);
            }
            _ => {}
        }
        Ok(true)
    }
}

/// What is wrong with one expression.
fn check(place: &str, expression: &str, told: &Told) -> Vec<String> {
    let expression = expression.replace("$__rate_interval", "1m");
    let parsed = match parser::parse(&expression) {
        Ok(parsed) => parsed,
        Err(problem) => return vec![format!("{place}: {expression}: {problem}")],
    };
    let mut asked = Asked::default();
    walk_expr(&mut asked, &parsed).expect("nothing in it fails");
    let mut problems = Vec::new();
    let mut known: BTreeSet<&str> = ADDED.into();
    // What Prometheus tells of every target itself.
    let up = BTreeSet::from(ADDED.map(str::to_owned));
    for selector in &asked.selectors {
        let name = selector.name.as_deref().unwrap_or_default();
        let Some(labels) = told.0.get(name).or((name == "up").then_some(&up)) else {
            problems.push(format!("{place}: no pipeline tells `{name}`"));
            continue;
        };
        known.extend(labels.iter().map(String::as_str));
        let strange = selector.matchers.matchers.iter().filter(|matcher| !labels.contains(&matcher.name));
        problems.extend(strange.map(|matcher| format!("{place}: `{name}` has no label `{}`", matcher.name)));
    }
    if asked.selectors.is_empty() {
        problems.push(format!("{place}: `{expression}` asks for nothing"));
    }
    let strange = asked.grouped_by.iter().filter(|label| !known.contains(label.as_str()));
    problems.extend(strange.map(|label| format!("{place}: nothing has the label `{label}`")));
    problems
}

#[derive(Deserialize)]
struct Dashboard {
    uid: String,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Panel {
    id: u32,
    title: String,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    datasource: Datasource,
    expr: Option<String>,
}

#[derive(Deserialize)]
struct Datasource {
    uid: String,
}

fn dashboards() -> Vec<Dashboard> {
    let folder = std::fs::read_dir(deploy("deploy/grafana/dashboards")).expect("there are dashboards");
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("readable");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    files.iter().map(read).collect()
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    alert: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn alerts() -> Vec<Alert> {
    let rules: Rules = serde_norway::from_str(&text("deploy/prometheus/alerts.yml")).expect("alerts parse");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

#[test]
fn every_expression_asks_for_what_a_pipeline_tells() {
    let told = Told::by_a_pipeline();
    let mut problems = Vec::new();
    let mut checked = 0;
    for dashboard in dashboards() {
        for panel in &dashboard.panels {
            let place = format!("{}, panel {} \"{}\"", dashboard.uid, panel.id, panel.title);
            for target in panel.targets.iter().filter(|target| target.datasource.uid == "prometheus") {
                problems.extend(check(&place, target.expr.as_deref().unwrap_or_default(), &told));
                checked += 1;
            }
        }
    }
    for alert in alerts() {
        problems.extend(check(&alert.alert, &alert.expr, &told));
        checked += 1;
    }
    assert!(checked > 30, "{checked} expressions were found");
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_check_finds_what_is_wrong() {
    let told = Told::of("tombola_orders_total{job=\"sales\",event=\"held\"} 3\n");
    for (expression, problem) in [
        ("sum by (event) (rate(tombola_orders_total{job=\"x\"}[$__rate_interval]))", ""),
        ("sum(rate(tombola_orders[1m]))", "no pipeline tells `tombola_orders`"),
        ("tombola_orders_total{reason=\"x\"}", "`tombola_orders_total` has no label `reason`"),
        ("sum by (reason) (tombola_orders_total)", "nothing has the label `reason`"),
        ("sum(rate(tombola_orders_total))", "expected type matrix"),
        ("1 + 1", "asks for nothing"),
    ] {
        let found = check("here", expression, &told).join("\n");
        assert_eq!(found.is_empty(), problem.is_empty(), "{expression}: {found}");
        assert!(found.contains(problem), "{expression}: {found}");
    }
}

/// As a forge makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_alert_has_a_chapter_in_the_runbook_and_every_chapter_an_alert() {
    let runbook = text("docs/runbook.md");
    let chapters: BTreeMap<String, &str> = runbook
        .split("\n## ")
        .skip(1)
        .filter_map(|chapter| chapter.split_once('\n'))
        .map(|(heading, body)| (anchor(heading), body))
        .collect();
    let mut named = BTreeSet::new();
    for alert in alerts() {
        let url = alert.annotations.get("runbook_url").map(String::as_str).unwrap_or_default();
        let target = url.strip_prefix("docs/runbook.md#").unwrap_or_else(|| panic!("{}: {url}", alert.alert));
        let chapter = chapters.get(target).unwrap_or_else(|| panic!("{}: no chapter {target}", alert.alert));
        for part in ["- **Symptom:**", "- **Means:**", "- **Look at:**", "- **Do:**"] {
            assert!(chapter.contains(part), "{target} lacks {part}");
        }
        assert!(alert.annotations.contains_key("summary"), "{} says nothing", alert.alert);
        let severity = alert.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning")), "{}: {severity:?}", alert.alert);
        assert!(named.insert(target.to_owned()), "{target} belongs to two alerts");
    }
    let unnamed: Vec<&String> = chapters.keys().filter(|chapter| !named.contains(*chapter)).collect();
    assert!(unnamed.is_empty(), "no alert leads to {unnamed:?}");
}

#[test]
fn the_composed_product_mounts_dashboards_and_alerts() {
    let composed: serde_norway::Value =
        serde_norway::from_str(&text("docker-compose.yml")).expect("it parses");
    let mounts = |service: &str| -> BTreeMap<String, String> {
        let volumes = composed["services"][service]["volumes"].as_sequence().expect("it has volumes");
        let split = |volume: &serde_norway::Value| {
            let (from, to) = volume.as_str()?.split_once(':')?;
            Some((to.trim_end_matches(":ro").to_owned(), from.to_owned()))
        };
        volumes.iter().filter_map(split).collect()
    };
    let (grafana, prometheus) = (mounts("grafana"), mounts("prometheus"));
    let provider = text("deploy/grafana/providers/tombola.yml");
    assert!(provider.contains("path: /etc/grafana/dashboards"));
    assert_eq!(grafana["/etc/grafana/dashboards"], "./deploy/grafana/dashboards");
    assert_eq!(grafana["/etc/grafana/provisioning/dashboards"], "./deploy/grafana/providers");
    assert_eq!(grafana["/etc/grafana/provisioning/datasources"], "./deploy/grafana/datasources");
    assert_eq!(prometheus["/etc/prometheus"], "./deploy/prometheus");
    let settings: serde_norway::Value =
        serde_norway::from_str(&text("deploy/prometheus/prometheus.yml")).expect("it parses");
    assert_eq!(settings["rule_files"][0].as_str(), Some("alerts.yml"));
    // A dashboard asks data sources by these ids.
    for id in ["prometheus", "clickhouse"] {
        assert!(text(&format!("deploy/grafana/datasources/{id}.yml")).contains(&format!("uid: {id}\n")));
    }
}
