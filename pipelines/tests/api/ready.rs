//! Whether the API says that it is of use: only where a pipeline works on the stores, and as long as it does.

use super::house::{House, get, wait_for};
use crate::support::process::{Running, tombola};
use std::net::SocketAddr;

/// What `/readyz` says: its status, and what is wrong.
fn ready(at: SocketAddr) -> (u16, String) {
    let answer = get(at, "", "/readyz");
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    (answer.status, detail)
}

#[test]
fn an_instance_is_ready_while_a_pipeline_works_and_says_so_when_there_is_none_or_it_stands() {
    let house = House::empty(|config| config.api.frontier_age_ms_max = 2_000);
    let server = house.apart();
    let at = server.address;
    assert_eq!(ready(at).0, 503, "nobody has ever worked on it");
    let mut pipeline = Running::start(tombola(house.folder.path(), &["run"]));
    wait_for("the pipeline to be heard of", || ready(at).0 == 200);
    pipeline.stop();
    wait_for("it to be missed", || ready(at).0 == 503);
    assert!(ready(at).1.contains("has stood still for"), "{:?}", ready(at));
    let late = house.apart();
    for _ in 0..5 {
        let (status, detail) = ready(late.address);
        assert_eq!(status, 503, "its tables are there, and nobody works on them");
        assert!(detail.contains("not seen to move") || detail.contains("nothing is heard"), "{detail}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    pipeline.signal("CONT");
    for at in [at, late.address] {
        wait_for("it to go on", || ready(at).0 == 200);
    }
}
