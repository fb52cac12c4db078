//! Where images are kept: a folder, or a bucket that speaks S3.
//!
//! An image is put as a whole and looked at by its SHA-256 when it is fetched. Putting the same again changes
//! nothing, so a call in doubt is simply made again.

use super::{Drawing, ImageError};
use crate::digest::hex;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutOptions};
use runtime::killpoint;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    pub path: String,
    pub sha256: String,
    pub bytes: u64,
}

/// Images by path.
#[derive(Clone, Debug)]
pub struct ImageStore {
    store: Arc<dyn ObjectStore>,
    /// Files carry no type; objects do.
    typed: bool,
}

impl ImageStore {
    /// A folder; a file is made durable before it counts.
    ///
    /// # Errors
    /// Where the folder can't be made.
    pub fn local(folder: &std::path::Path) -> Result<Self, ImageError> {
        let problem = |e: String| ImageError::Settings { problem: format!("{}: {e}", folder.display()) };
        std::fs::create_dir_all(folder).map_err(|e| problem(e.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|e| problem(e.to_string()))?;
        Ok(ImageStore { store: Arc::new(store.with_fsync(true)), typed: false })
    }

    /// A bucket: `s3://BUCKET/PREFIX`, with options as `object_store` names them.
    ///
    /// # Errors
    /// Where an option isn't known or the bucket can't be named.
    pub fn s3(url: &str, options: &BTreeMap<String, String>) -> Result<Self, ImageError> {
        let problem = |e: object_store::Error| ImageError::Settings { problem: e.to_string() };
        let mut builder = AmazonS3Builder::from_env().with_url(url);
        for (key, value) in options {
            builder = builder.with_config(key.parse().map_err(problem)?, value);
        }
        let prefix = url.trim_start_matches("s3://").split_once('/').map_or("", |(_, prefix)| prefix);
        let store = PrefixStore::new(builder.build().map_err(problem)?, prefix);
        Ok(ImageStore { store: Arc::new(store), typed: true })
    }

    /// Stores an image; on return it is there for good.
    ///
    /// # Errors
    /// [`ImageError::Store`].
    pub async fn put(&self, path: &str, drawing: &Drawing) -> Result<StoredImage, ImageError> {
        let mut options = PutOptions::default();
        if self.typed {
            options.attributes.insert(object_store::Attribute::ContentType, "image/png".into());
        }
        killpoint::reach("image.before_store");
        let put = self.store.put_opts(&place(path)?, drawing.png.clone().into(), options).await;
        put.map_err(|source| ImageError::Store { path: path.to_owned(), source: Box::new(source) })?;
        killpoint::reach("image.after_store");
        Ok(StoredImage {
            path: path.to_owned(),
            sha256: drawing.sha256.clone(),
            bytes: drawing.png.len() as u64,
        })
    }

    /// The bytes of an image, which must be those that were stored where `sha256` is known.
    ///
    /// # Errors
    /// [`ImageError::Store`], [`ImageError::Changed`].
    pub async fn get(&self, path: &str, sha256: Option<&str>) -> Result<Vec<u8>, ImageError> {
        let failed = |source| ImageError::Store { path: path.to_owned(), source: Box::new(source) };
        let found = self.store.get(&place(path)?).await.map_err(failed)?;
        let bytes = found.bytes().await.map_err(failed)?.to_vec();
        let found = hex(&Sha256::digest(&bytes));
        match sha256 {
            Some(expected) if expected != found => {
                Err(ImageError::Changed { path: path.to_owned(), expected: expected.to_owned(), found })
            }
            _ => Ok(bytes),
        }
    }
}

/// Paths are escaped already, where they were made.
fn place(path: &str) -> Result<Path, ImageError> {
    Path::parse(path).map_err(|e| ImageError::Settings { problem: format!("{path}: {e}") })
}
