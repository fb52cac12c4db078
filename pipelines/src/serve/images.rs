//! Images of draws, out of the store that the publisher puts them into.

use super::failed;
use crate::stores::Stores;
use api::backend::{DrawImage, DrawOf, Failed, Images};
use sinks::images::{self, DrawFolder, ImageError, ImageStore};
use tokio::runtime::Handle;

/// The store, and what it waits with.
pub struct Finding {
    store: ImageStore,
    runtime: Handle,
}

impl Finding {
    /// Opens the store; on a thread of a runtime.
    pub fn open(stores: &Stores) -> Result<Self, Failed> {
        let runtime = Handle::try_current().map_err(|problem| Failed::Away(problem.to_string()))?;
        Ok(Finding { store: stores.images().map_err(failed)?, runtime })
    }
}

impl Images for Finding {
    fn of(&mut self, draws: &[DrawOf]) -> Result<Vec<Vec<DrawImage>>, Failed> {
        let folders: Vec<DrawFolder<'_>> = draws.iter().map(folder).collect();
        let found = self.runtime.block_on(self.store.of_draws(&folders)).map_err(away)?;
        let told = |image: images::DrawImage| {
            let images::DrawImage { revision, template, locale } = image;
            DrawImage { revision, template, locale }
        };
        Ok(found.into_iter().map(|images| images.into_iter().map(told).collect()).collect())
    }

    fn bytes(&mut self, draw: &DrawOf, image: &DrawImage) -> Result<Option<Vec<u8>>, Failed> {
        let DrawImage { revision, template, locale } = image.clone();
        let image = images::DrawImage { revision, template, locale };
        self.runtime.block_on(self.store.find(folder(draw), &image)).map_err(away)
    }
}

fn folder(draw: &DrawOf) -> DrawFolder<'_> {
    DrawFolder { tenant: &draw.tenant, game: &draw.game, draw_id: &draw.draw_id }
}

fn away(error: ImageError) -> Failed {
    Failed::Away(error.to_string())
}
