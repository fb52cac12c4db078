//! Draws, and the images of their results.
//!
//! A row lists the images that are there, each with the address it is fetched from. An address names a revision, and
//! what it leads to doesn't change: a corrected result has a revision of its own. Images are found by the row of
//! their draw, so whoever may not see the one doesn't see the other.

use crate::app::{Answering, App, Call};
use crate::backend::{DrawImage, DrawOf};
use crate::problem::Problem;
use crate::reads::{page, row, tagged, unless_known};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemas::tables::DRAWS;
use serde_json::{Value, json};
use std::sync::Arc;

/// All that could mean something in an address.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Who has an image has it for good.
const FOR_GOOD: &str = "private, max-age=31536000, immutable";

/// `GET /v1/draws`.
pub fn draws(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (frontier, mut page) = page(&app, &call, &DRAWS).await?;
        if call.query.text("images").is_none_or(|images| images == "yes") {
            add_images(&app, page["items"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default()).await;
        }
        Ok(tagged(&call, frontier, &page))
    })
}

/// `GET /v1/draws/{draw_id}`.
pub fn draw(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (frontier, mut draw) = found(&app, &call).await?;
        add_images(&app, std::slice::from_mut(&mut draw)).await;
        Ok(tagged(&call, frontier, &draw))
    })
}

/// `GET /v1/draws/{draw_id}/images/{template}/{locale}/{revision}`.
pub fn image(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let unknown =
            || Problem::new("not-found", "there is no such image; the draw's `images` lists those there are");
        let (_, draw) = found(&app, &call).await?;
        let (template, locale) = (call.id(1)?.to_string(), call.id(2)?.to_string());
        let revision = call.id(3)?.parse().map_err(|_| unknown())?;
        let (of, image) = (of(&draw), DrawImage { revision, template, locale });
        let bytes = app.images.ask(move |images| images.bytes(&of, &image)).await?;
        Ok(unless_known(&call, bytes.ok_or_else(unknown)?.into(), "image/png", FOR_GOOD))
    })
}

async fn found(app: &App, call: &Call) -> Result<(u64, Value), Problem> {
    row(app, call, &DRAWS, "draw_id", "no such draw is known").await
}

fn of(draw: &Value) -> DrawOf {
    let text = |name: &str| draw[name].as_str().unwrap_or_default().into();
    DrawOf { tenant: text("tenant"), game: text("game"), draw_id: text("draw_id") }
}

/// Adds `images` to draws; null where the store that holds them can't be asked now.
async fn add_images(app: &App, draws: &mut [Value]) {
    let asked: Vec<DrawOf> = draws.iter().filter(|draw| has_result(draw)).map(of).collect();
    let found =
        if asked.is_empty() { Ok(Vec::new()) } else { app.images.ask(move |images| images.of(&asked)).await };
    if let Err(problem) = &found {
        tracing::warn!(%problem, "images of draws can't be listed");
    }
    let mut found = found.ok().map(Vec::into_iter);
    for draw in draws {
        draw["images"] = match &mut found {
            _ if !has_result(draw) => json!([]),
            Some(found) => {
                let images = found.next().unwrap_or_default();
                images.iter().map(|image| described(draw, image)).collect()
            }
            None => Value::Null,
        };
    }
}

/// Before its first result a draw has no image.
fn has_result(draw: &Value) -> bool {
    draw["revision"].as_i64().is_some_and(|revision| revision > 0)
}

fn described(draw: &Value, image: &DrawImage) -> Value {
    let part = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let DrawImage { revision, template, locale } = image;
    let DrawOf { tenant, draw_id, .. } = of(draw);
    let url = format!(
        "/v1/draws/{}/images/{}/{}/{revision}?tenant={}",
        part(&draw_id),
        part(template),
        part(locale),
        part(&tenant)
    );
    json!({"template": template, "locale": locale, "revision": revision, "url": url})
}
