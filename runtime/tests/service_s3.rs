//! Snapshots in a real S3-speaking server, which the variables `S3_*` of `scripts/services` name.

use runtime::entries::StateEntry;
use runtime::snapshot::file::Block;
use runtime::snapshot::store::SnapshotStore;
use runtime::snapshot::{FORMAT, Manifest};
use runtime::{Epoch, Generation};
use std::collections::{BTreeMap, BTreeSet};

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"))
}

fn store(prefix: &str) -> SnapshotStore {
    let options = [
        ("aws_endpoint", env("S3_URL")),
        ("aws_region", env("S3_REGION")),
        ("aws_access_key_id", env("S3_ACCESS_KEY")),
        ("aws_secret_access_key", env("S3_SECRET_KEY")),
        ("allow_http", "true".to_owned()),
    ];
    let options: BTreeMap<String, String> =
        options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let bucket = env("S3_BUCKET");
    SnapshotStore::s3(&format!("s3://{bucket}/{prefix}"), &options).expect("a store")
}

fn manifest(epoch: u64, files: Vec<runtime::snapshot::FileRef>) -> Manifest {
    Manifest {
        format: FORMAT,
        epoch: Epoch(epoch),
        generation: Generation(1),
        code_version: "test".to_owned(),
        now: 7,
        positions: Vec::new(),
        base: Vec::new(),
        deltas: files,
    }
}

#[test]
#[ignore = "needs services"]
fn service_s3_keeps_snapshots_and_collects_old_ones() {
    let prefix = format!("test-{}", std::process::id());
    let store = store(&prefix).for_generation(Generation(1));
    let mut files = Vec::new();
    for epoch in 1..=4_u64 {
        let mut file = store.create(&format!("delta-{epoch:020}-0-0.snap"));
        for key in 0..3_u8 {
            let entry = StateEntry { slot: 0, key: vec![key], value: Some(vec![key; 4 << 20]) };
            let entries = [entry].into_iter().collect();
            file.write(&Block { operator: "o".into(), state: "s".into(), entries });
        }
        let file = store.finish(&file).expect("durable");
        store.publish(&manifest(epoch, vec![file.clone()])).expect("published");
        files.push(file);
    }
    let manifests = store.manifests().expect("listed");
    assert_eq!(manifests.iter().map(|m| m.epoch.0).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!(store.read(&files[3]).expect("whole").len(), 3);
    store.collect_garbage(&BTreeSet::new()).expect("collected");
    let left: Vec<u64> = store.manifests().expect("listed").iter().map(|m| m.epoch.0).collect();
    assert_eq!(left, [4, 3]);
    assert!(store.read(&files[0]).is_err(), "its manifest is gone, so it is");
    assert!(store.read(&files[2]).is_ok());
}
