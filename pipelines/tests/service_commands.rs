//! What an operator does to topics and contracts on real services: look first, then change, while a pipeline runs.

mod support;

use schemas::Record;
use std::path::Path;
use std::time::{Duration, Instant};
use support::beside::{Beside, Name};
use support::load::{self, Producer};
use support::process::{self, Ended, Running, tombola};
use support::services::{Services, counted_in_words, env, register, well};
use support::{Folder, told};

/// How long orders are produced before and after a change, and how many a second.
const FLOW: Duration = Duration::from_secs(4);
const ORDERS_PER_S: u64 = 200;

fn end(dir: &Path, arguments: &[&str]) -> Ended {
    process::end_of(tombola(dir, arguments))
}

#[test]
#[ignore = "needs services"]
fn service_topics_are_planned_and_get_partitions_while_a_pipeline_runs() {
    let (services, dir) = (Services::empty(), Folder::new());
    let dir = dir.path();
    services.configure(dir, "[orders]\ngrace_ms = 1000\nhold_ttl_ms = 2000\n");
    end(dir, &["topics", "plan"]).assert(0, &[]);
    let ids = load::schema_ids(dir);
    let mut running = Running::start(tombola(dir, &["run", "--workers", "2"]));
    let mut producer = Producer::new(&ids, (78, None, ORDERS_PER_S));
    let mut flow = |producer: &mut Producer<'_>| {
        let began = Instant::now();
        producer.go_on(|| began.elapsed() < FLOW);
        told::wait_for_decisions(&env("PG_URL"), &producer.produced, || {
            assert!(running.runs(), "the pipeline goes on");
        });
    };
    flow(&mut producer);
    let file = dir.join("tombola.toml");
    let text = std::fs::read_to_string(&file).expect("it has been written");
    let text = text.replace("[log]\n", "[log]\ntopic_partitions = 7\n");
    std::fs::write(&file, text).expect("it can be written");
    let grown = "grow    commands.orders: 4 -> 7 partitions";
    for (what, code) in [("plan", 1), ("plan", 1), ("apply", 0)] {
        let ended = end(dir, &["topics", what]).assert(code, &[]);
        assert!(ended.stdout.contains(grown), "{what}: {ended:?}");
    }
    end(dir, &["topics", "plan"]).assert(0, &[]);
    // A client learns of new partitions in minutes; a new one knows them.
    producer.reopen();
    flow(&mut producer);
    let commands = told::read(&["commands.orders"]);
    assert!(
        commands.iter().any(|command| command["partition"].as_i64() > Some(3)),
        "new partitions are used"
    );
    running.signal("TERM");
    running.wait().assert(0, &[]);
    process::drain_well(dir, 3);
    told::assert_exactly_once(&producer.produced);
    process::verify(dir, 1);
}

fn subjects(registry: &str) -> Vec<String> {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sSf", &format!("{registry}/subjects")]);
    serde_json::from_str(&well(curl)).expect("a list of texts")
}

#[test]
#[ignore = "needs services"]
fn service_contracts_are_checked_and_registered_and_none_where_one_cannot_be() {
    let dir = Folder::new();
    let dir = dir.path();
    let registry = Beside::up(Name::Registry, Vec::new());
    let url = registry.endpoint("REGISTRY_URL");
    let settings = format!(
        "[log]\nkind = \"kafka\"\n[kafka]\nbootstrap = \"{}\"\nregistry_url = \"{url}\"\n",
        env("KAFKA_BOOTSTRAP")
    );
    std::fs::write(dir.join("tombola.toml"), settings).expect("the directory can be written");
    let states =
        |state: &str, ended: &Ended| ended.stdout.lines().filter(|line| line.starts_with(state)).count();
    let (all, place_order) = (Record::ALL.len(), Record::PlaceOrder.subject());

    let checked = end(dir, &["schemas", "check"]).assert(1, &[]);
    assert_eq!(states("new ", &checked), all, "{checked:?}");
    register(&url, &place_order, &counted_in_words(Record::PlaceOrder.avsc()));
    let checked = end(dir, &["schemas", "check"]).assert(1, &[]);
    assert_eq!((states("new ", &checked), states("incompatible ", &checked)), (all - 1, 1), "{checked:?}");
    assert!(checked.stdout.contains(&format!("incompatible {place_order}: ")), "{checked:?}");
    end(dir, &["schemas", "apply"]).assert(1, &[&place_order, "nothing was registered"]);
    assert_eq!(subjects(&url), std::slice::from_ref(&place_order), "nothing was");

    // Whoever owns the subject puts ours there.
    register(&url, &place_order, Record::PlaceOrder.avsc());
    let checked = end(dir, &["schemas", "check"]).assert(1, &[]);
    assert_eq!((states("new ", &checked), states("registered ", &checked)), (all - 1, 1), "{checked:?}");
    for command in ["apply", "check", "apply"] {
        end(dir, &["schemas", command]).assert(0, &[]);
    }
    let checked = end(dir, &["schemas", "check"]).assert(0, &[]);
    assert_eq!(states("registered ", &checked), all, "{checked:?}");
    assert_eq!(subjects(&url).len(), all);
}
