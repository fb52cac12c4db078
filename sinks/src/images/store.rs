//! Where images are kept: a folder, or a bucket that speaks S3.
//!
//! An image is put as a whole and looked at by its SHA-256 when it is fetched. Putting the same again changes
//! nothing, so a call in doubt is simply made again.

use super::{DrawFolder, DrawImage, Drawing, ImageError};
use crate::digest::hex;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutOptions};
use runtime::killpoint;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Draws whose images are asked for at once.
const ASKED_AT_ONCE: usize = 16;

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

    /// The bytes of an image of a draw; none where there is no such image.
    ///
    /// # Errors
    /// [`ImageError::Fetch`].
    pub async fn find(&self, draw: DrawFolder<'_>, image: &DrawImage) -> Result<Option<Vec<u8>>, ImageError> {
        let path = draw.image(&image.template, &image.locale, image.revision);
        match self.get(&path, None).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ImageError::Store { source, .. }) if is_missing(&source) => Ok(None),
            Err(ImageError::Store { path, source }) => Err(ImageError::Fetch { path, source }),
            Err(other) => Err(other),
        }
    }

    /// The images of a draw that are there, the newest revision first.
    ///
    /// # Errors
    /// [`ImageError::Fetch`].
    pub async fn of_draw(&self, draw: DrawFolder<'_>) -> Result<Vec<DrawImage>, ImageError> {
        let folder = draw.path();
        let listed: Result<Vec<_>, _> = self.store.list(Some(&place(&folder)?)).try_collect().await;
        let found = match listed {
            Ok(found) => found,
            Err(source) if is_missing(&source) => Vec::new(),
            Err(source) => return Err(ImageError::Fetch { path: folder, source: Box::new(source) }),
        };
        let rest = |path: &str| DrawImage::parse(path.strip_prefix(&folder)?.strip_prefix('/')?);
        let mut images: Vec<DrawImage> = found.iter().filter_map(|it| rest(it.location.as_ref())).collect();
        images.sort_by(|a, b| b.revision.cmp(&a.revision).then_with(|| a.cmp(b)));
        Ok(images)
    }

    /// The same of several draws, a few at once, in their order.
    ///
    /// # Errors
    /// [`ImageError::Fetch`].
    pub async fn of_draws(&self, draws: &[DrawFolder<'_>]) -> Result<Vec<Vec<DrawImage>>, ImageError> {
        let asked = futures::stream::iter(draws).map(|draw| self.of_draw(*draw));
        asked.buffered(ASKED_AT_ONCE).try_collect().await
    }
}

fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
}

/// Paths are escaped already, where they were made.
fn place(path: &str) -> Result<Path, ImageError> {
    Path::parse(path).map_err(|e| ImageError::Settings { problem: format!("{path}: {e}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_their_draw_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = ImageStore::local(&folder.path().join("images")).expect("it can be made");
        std::fs::write(folder.path().join("r1.png"), "not an image").expect("it can be written");
        let drawing = |text: &str| Drawing {
            png: text.as_bytes().to_vec(),
            sha256: hex(&Sha256::digest(text)),
            width: 1,
            height: 1,
        };
        let odd = DrawFolder { tenant: ".a/b", game: "6 of 49", draw_id: "số %2F" };
        let other = DrawFolder { draw_id: "số", ..odd };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for (draw, revision, locale) in [(odd, 1, "en"), (odd, 2, "en"), (odd, 2, "vi"), (other, 3, "en")]
            {
                let path = draw.image("card", locale, revision);
                store.put(&path, &drawing(&path)).await.expect("it can be put");
            }
            let nothing = DrawFolder { draw_id: "x", ..odd };
            let found = store.of_draws(&[odd, nothing, other]).await.expect("they can be listed");
            let named = |images: &[DrawImage]| {
                images
                    .iter()
                    .map(|i| format!("{} {} {}", i.revision, i.template, i.locale))
                    .collect::<Vec<_>>()
            };
            let wanted = [vec!["2 card en", "2 card vi", "1 card en"], vec![], vec!["3 card en"]];
            assert_eq!(found.iter().map(|images| named(images)).collect::<Vec<_>>(), wanted);
            let bytes = store.find(odd, &found[0][1]).await.expect("it can be fetched").expect("it is there");
            assert_eq!(bytes, odd.image("card", "vi", 2).into_bytes());
            let image =
                |template: &str| DrawImage { template: template.into(), locale: "..".into(), revision: 1 };
            for template in ["..", "../..", "card", "", "."] {
                let found = store.find(odd, &image(template)).await;
                assert!(!matches!(found, Ok(Some(_))), "{template}: {found:?}");
            }
        });
    }
}
