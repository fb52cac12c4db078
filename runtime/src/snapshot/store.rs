//! The object store behind snapshots, with blocking calls: a local folder by default, S3 the same way.

use super::background;
use super::file::{self, Block, FileHash};
use super::{FORMAT, FileRef, Manifest, SnapshotError};
use crate::killpoint;
use crate::types::{Epoch, Generation};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Manifests kept: the newest, and one to fall back on.
const MANIFESTS_KEPT: usize = 2;
/// How often and how long the client itself tries a request again: not for long, as who waits tells about it.
const TRIES_MAX: usize = 3;
const TRIES_WITHIN: Duration = Duration::from_secs(10);

/// Snapshot files and manifests.
#[derive(Clone)]
pub struct SnapshotStore {
    store: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    /// Files are written to a folder of the generation's own, and never deleted from a newer one's: a
    /// process that was replaced and comes back can't harm its successor.
    generation: Generation,
    /// Whether it has room of its own: a folder shares its disk with the tables, which can't do without.
    apart: bool,
}

/// A file being put together. It stays in memory until the store has it: a store that refuses it is asked again.
pub struct OpenFile {
    path: String,
    bytes: Vec<u8>,
    hash: FileHash,
}

impl OpenFile {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.hash.bytes()
    }

    /// Adds a block.
    pub fn write(&mut self, block: &Block) {
        let bytes = self.hash.block(block);
        self.bytes.extend_from_slice(&bytes);
    }
}

impl SnapshotStore {
    /// Snapshots in a local folder, made durable by fsync.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn local(folder: &std::path::Path) -> Result<Self, SnapshotError> {
        std::fs::create_dir_all(folder)?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(SnapshotStore { apart: false, ..Self::new(Arc::new(store))? })
    }

    /// Snapshots in an S3-compatible bucket, `s3://BUCKET/PREFIX`. What `options` don't say (keys as `object_store`
    /// names them: `aws_region`, `aws_endpoint`, `allow_http` …) comes from the `AWS_…` variables.
    ///
    /// # Errors
    /// When an option isn't known, or the bucket can't be named.
    pub fn s3(url: &str, options: &BTreeMap<String, String>) -> Result<Self, SnapshotError> {
        let retry =
            RetryConfig { max_retries: TRIES_MAX, retry_timeout: TRIES_WITHIN, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
        for (key, value) in options {
            builder = builder.with_config(key.parse()?, value);
        }
        let path = url.trim_start_matches("s3://").split_once('/').map_or("", |(_, path)| path);
        Self::new(Arc::new(PrefixStore::new(builder.build()?, path)))
    }

    /// Snapshots in any object store.
    ///
    /// # Errors
    /// When the runtime for its calls can't be started.
    pub fn new(store: Arc<dyn ObjectStore>) -> Result<Self, SnapshotError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(background::stand_back)
            .enable_all()
            .build()?;
        Ok(SnapshotStore { store, runtime: Arc::new(runtime), generation: Generation(0), apart: true })
    }

    /// Whether what went wrong may pass: a server that can't be reached says nothing about what it holds. A folder is there or isn't.
    fn sorted(&self, error: object_store::Error) -> SnapshotError {
        match error {
            object_store::Error::Generic { .. } if self.apart => SnapshotError::Away(error),
            other => SnapshotError::Store(other),
        }
    }

    /// Whether the run can go on while this store is full or away.
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// The same store, to be written by `generation`.
    pub fn for_generation(&self, generation: Generation) -> Self {
        SnapshotStore { generation, ..self.clone() }
    }

    /// Begins a file.
    pub fn create(&self, name: &str) -> OpenFile {
        let path = format!("{}/{name}", folder(self.generation));
        let mut hash = FileHash::default();
        let bytes = hash.header();
        OpenFile { path, bytes, hash }
    }

    /// Makes a file durable, whole or not at all. After a failure the same call may be made again.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn finish(&self, file: &OpenFile) -> Result<FileRef, SnapshotError> {
        killpoint::reach("snapshot.before_file");
        let bytes = PutPayload::from(file.bytes.clone());
        self.runtime.block_on(self.store.put(&Path::from(file.path.as_str()), bytes))?;
        killpoint::reach("snapshot.after_file");
        Ok(file.hash.clone().finish(file.path.clone()))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn read(&self, file: &FileRef) -> Result<Vec<Block>, SnapshotError> {
        let path = Path::from(file.path.as_str());
        let bytes = self.bytes(&path)?;
        file::decode(file, &bytes)
    }

    /// Copies the files of a snapshot to another store, under their names. Its manifest isn't copied.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn copy_files(&self, manifest: &Manifest, to: &SnapshotStore) -> Result<(), SnapshotError> {
        for file in manifest.files() {
            let path = Path::from(file.path.as_str());
            let bytes = PutPayload::from(self.bytes(&path)?.to_vec());
            to.runtime.block_on(to.store.put(&path, bytes))?;
        }
        Ok(())
    }

    /// Writes a manifest, atomically: from here on recovery starts from it.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn publish(&self, manifest: &Manifest) -> Result<(), SnapshotError> {
        let json = serde_json::to_vec_pretty(manifest).expect("a manifest is plain data");
        killpoint::reach("manifest.before_write");
        self.runtime.block_on(self.store.put(&manifest_path(manifest.epoch), json.into()))?;
        killpoint::reach("manifest.after_write");
        Ok(())
    }

    fn bytes(&self, path: &Path) -> Result<impl Deref<Target = [u8]> + use<>, SnapshotError> {
        let read = self.runtime.block_on(async { self.store.get(path).await?.bytes().await });
        read.map_err(|error| self.sorted(error))
    }

    /// The manifests there are, newest first; one that is damaged is left out with a warning.
    ///
    /// # Errors
    /// When the store can't be listed, or is away: which manifests there are isn't known then.
    pub fn manifests(&self) -> Result<Vec<Manifest>, SnapshotError> {
        let mut paths = self.list("manifests")?;
        paths.sort();
        let mut manifests = Vec::new();
        for path in paths.into_iter().rev() {
            match self.manifest(&path) {
                Ok(manifest) => manifests.push(manifest),
                Err(away @ SnapshotError::Away(_)) => return Err(away),
                Err(error) => tracing::warn!(%error, %path, "a snapshot manifest can't be used"),
            }
        }
        Ok(manifests)
    }

    fn manifest(&self, path: &Path) -> Result<Manifest, SnapshotError> {
        let bytes = self.bytes(path)?;
        let damaged = |problem: String| SnapshotError::Damaged { path: path.to_string(), problem };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(damaged(format!("format {} instead of {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }

    fn list(&self, folder: &str) -> Result<Vec<Path>, SnapshotError> {
        let prefix = Path::from(folder);
        let found = self.store.list(Some(&prefix)).map_ok(|meta| meta.location);
        self.runtime.block_on(found.try_collect()).map_err(|error| self.sorted(error))
    }

    /// Deletes manifests older than the newest two, and files that neither of those nor `in_use` name.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn collect_garbage(&self, in_use: &BTreeSet<String>) -> Result<(), SnapshotError> {
        let manifests = self.manifests()?;
        let (kept, old) = manifests.split_at(manifests.len().min(MANIFESTS_KEPT));
        let mut wanted = in_use.clone();
        wanted.extend(kept.iter().flat_map(Manifest::files).map(|file| file.path.clone()));
        for manifest in old {
            self.runtime.block_on(self.store.delete(&manifest_path(manifest.epoch)))?;
        }
        for path in self.list("snapshots")? {
            let newer = path.as_ref() > format!("{}/~", folder(self.generation)).as_str();
            if !newer && !wanted.contains(path.as_ref()) {
                self.runtime.block_on(self.store.delete(&path))?;
            }
        }
        Ok(())
    }
}

fn folder(generation: Generation) -> String {
    format!("snapshots/g{:010}", generation.0)
}

fn manifest_path(epoch: Epoch) -> Path {
    Path::from(format!("manifests/{:020}.json", epoch.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(epoch: u64, file: FileRef) -> Manifest {
        let (generation, positions) = (Generation(1), Vec::new());
        let (format, code_version) = (FORMAT, String::new());
        Manifest {
            format,
            epoch: Epoch(epoch),
            generation,
            code_version,
            now: 0,
            positions,
            base: vec![file],
            deltas: vec![],
        }
    }

    /// A snapshot with one empty file.
    fn publish(store: &SnapshotStore, epoch: u64) -> Manifest {
        let file = store.finish(&store.create(&format!("base-{epoch}.snap"))).unwrap();
        let manifest = manifest(epoch, file);
        store.publish(&manifest).unwrap();
        manifest
    }

    #[test]
    fn a_snapshot_is_copied_whole_and_one_that_was_collected_meanwhile_is_told_as_absent() {
        let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [store, copies] = [&here, &there].map(|dir| SnapshotStore::local(dir.path()).unwrap());
        let store = store.for_generation(Generation(1));
        let old = publish(&store, 1);
        store.copy_files(&old, &copies).unwrap();
        (2..=3).for_each(|epoch| drop(publish(&store, epoch)));
        store.collect_garbage(&BTreeSet::new()).unwrap();
        assert!(store.copy_files(&old, &copies).unwrap_err().is_absence());
        // What was copied stays.
        assert!(copies.read(&old.base[0]).unwrap().is_empty());
    }
}
