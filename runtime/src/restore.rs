//! What a run resumes from: the newest snapshot that can be used.
//!
//! A snapshot that is damaged costs a longer replay. A store that is away is waited for, as nobody knows then what it holds: to
//! begin without it would replay everything there ever was, or what the log doesn't hold any more.

use crate::dataflow::flow::Restored;
use crate::patience::{MayPass as _, patiently};
use crate::run::RunError;
use crate::shared::Shared;
use crate::snapshot::Manifest;
use crate::snapshot::store::SnapshotStore;
use crate::types::Epoch;

/// The newest manifest whose files are all sound.
pub(crate) fn newest_usable(
    snapshots: Option<&SnapshotStore>,
    last: Epoch,
    shared: &Shared,
) -> Result<Option<Manifest>, RunError> {
    let Some(store) = snapshots else { return Ok(None) };
    for manifest in patiently(shared, || store.manifests())? {
        if manifest.epoch > last {
            return Err(RunError::Failed(format!(
                "the snapshot of epoch {} is ahead of the bindings, which end at epoch {last}: their store went back \
                 (a backup, or a standby that lagged and was promoted), or the snapshots are another pipeline's; restore \
                 the bindings (docs/runbook.md, \"A store went back\"), or, in the other case, remove the snapshots folder",
                manifest.epoch
            )));
        }
        let sound = manifest.files().try_for_each(|file| patiently(shared, || store.read(file)).map(drop));
        match sound {
            Ok(()) => return Ok(Some(manifest)),
            Err(error) if error.may_pass() => return Err(error.into()),
            Err(error) => tracing::warn!(%error, epoch = manifest.epoch.0, "a snapshot can't be used"),
        }
    }
    Ok(None)
}

/// What that manifest restores.
pub(crate) fn load(
    store: Option<&SnapshotStore>,
    manifest: Option<&Manifest>,
    shared: &Shared,
) -> Result<Restored, RunError> {
    let mut restored = Restored::new();
    if let (Some(store), Some(manifest)) = (store, manifest) {
        for file in manifest.files() {
            for block in patiently(shared, || store.read(file))? {
                restored.entry(block.operator).or_default().push((block.state, block.entries));
            }
        }
    }
    Ok(restored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::FORMAT;
    use crate::types::Generation;
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::ops::RangeInclusive;

    const FOUND: &str = "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated><Contents>\
         <Key>p/manifests/5.json</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag>\
         <Size>1</Size></Contents></ListBucketResult>";

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            epoch: Epoch(5),
            generation: Generation(1),
            code_version: "test".to_owned(),
            now: 7,
            positions: Vec::new(),
            base: Vec::new(),
            deltas: Vec::new(),
        }
    }

    fn answer(mut stream: TcpStream, away: bool) {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            head.extend_from_slice(&byte);
        }
        let is_list = String::from_utf8_lossy(&head).contains("list-type=2");
        let held = serde_json::to_string(&manifest()).expect("plain data");
        let body = if is_list { FOUND } else { &held };
        let status = if away { "503 Service Unavailable" } else { "200 OK" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"e\"\r\nConnection: close\r\n\
             Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n{body}",
            body.len()
        );
        // Who has hung up needs no answer.
        let _ = stream.write_all(answer.as_bytes());
    }

    /// A bucket that holds one manifest, and is away at these requests.
    fn bucket(away: Vec<RangeInclusive<usize>>) -> SnapshotStore {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for (n, stream) in (1..).zip(listener.incoming()) {
                answer(stream.expect("a connection"), away.iter().any(|range| range.contains(&n)));
            }
        });
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_region", "r"),
            ("aws_access_key_id", "k"),
            ("aws_secret_access_key", "s"),
            ("allow_http", "true"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        SnapshotStore::s3("s3://b/p", &BTreeMap::from(options)).expect("a store")
    }

    #[test]
    fn a_bucket_that_is_away_is_waited_for_and_never_taken_for_an_empty_one() {
        // The client itself tries each request four times: it is away when asked for its list, then for the manifest.
        let store = bucket(vec![1..=4, 6..=9]);
        let found = newest_usable(Some(&store), Epoch(9), &Shared::default()).expect("it comes back");
        assert_eq!(found, Some(manifest()));
    }

    #[test]
    fn a_run_that_is_told_to_stop_says_that_the_bucket_is_away() {
        let (store, shared) = (bucket(vec![1..=usize::MAX]), Shared::default());
        shared.stop();
        let error = newest_usable(Some(&store), Epoch(9), &shared).expect_err("it is away").to_string();
        assert!(error.contains("it may pass: check that the bucket is up"), "{error}");
    }
}
