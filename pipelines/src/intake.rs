//! The log as producers find it: every input topic made, every contract registered.
//!
//! Both are made once and then left as they are, by whichever process comes first; doing it again changes
//! nothing, so a crash in between needs no cleaning up.

use connectors::embedded::{EmbeddedError, Log, Registry};
use schemas::SchemaIds;
use std::path::Path;

/// Makes the input topics, with `partitions` each, and registers our contracts; the ids they have.
///
/// # Errors
/// Where the log can't be opened or written.
pub fn prepare(dir: &Path, partitions: u32) -> Result<SchemaIds, EmbeddedError> {
    let mut log = Log::open(dir)?;
    for topic in schemas::ndjson::input_topics() {
        log.ensure_topic(topic, partitions)?;
    }
    Registry::open(dir)?.register_own()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_keep_their_ids_and_a_fresh_registry_numbers_them_in_order() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(prepare(dir.path(), 2).unwrap(), SchemaIds::fresh());
        assert_eq!(prepare(dir.path(), 7).unwrap(), SchemaIds::fresh());
        let log = Log::open(dir.path()).unwrap();
        assert!(log.topics().unwrap().iter().all(|topic| topic.ends == [0, 0]));
    }
}
