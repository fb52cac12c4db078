//! Draws and stores the image a step asks for, and records outcomes for all kinds of steps.
//!
//! Those of fresh results come first (see [`super::turns`]). Drawing and storing show nothing twice, so a step needs no intent: whatever is left open is done again.

use super::follow::Request;
use super::keeper::Stopped;
use super::parts::{Context, luck};
use super::steps::{self, Outcome};
use super::tell::Told;
use super::turns::{Lane, Turns};
use runtime::killpoint;
use runtime::snapshot::background::stand_far_back;
use schemas::Command;
use schemas::draws::PublicationFact;
use sinks::images::{ImageError, ImageRequest, StoredImage, draw};
use sinks::publishing::{Change, StepKey};
use sinks::social::limits::backoff;
use std::sync::Arc;

/// Draws, stores, tells; again after failures that may pass.
pub async fn publish(context: Context, drawing: Turns, request: Request) {
    let wanted = steps::image_request(&request.fact);
    let settings = Arc::clone(&context.settings);
    let mut attempts = 0;
    let outcome = loop {
        attempts += 1;
        let Some(_busy) = context.busy() else { return };
        match render(&context, &drawing, &wanted, &request.fact).await {
            Ok(image) => break Outcome::Rendered(image),
            Err(error) if error.may_pass() && attempts < settings.attempts => {
                tracing::warn!(%error, step = request.step.key.step, "an image is tried again");
                context.status.change(|figures| figures.retries += 1);
                let wait = backoff(settings.backoff, settings.backoff_max, attempts as u32, luck(), None);
                drop(_busy);
                tokio::time::sleep(wait).await;
            }
            Err(error) => break Outcome::Failed { reason: error.to_string(), attempts },
        }
    };
    // Where recording has stopped, the step stays as it is for the next publisher.
    let _ = finish(&context, &request.step.key, &request.fact, &outcome).await;
}

async fn render(
    context: &Context,
    drawing: &Turns,
    wanted: &ImageRequest,
    fact: &PublicationFact,
) -> Result<StoredImage, ImageError> {
    let age_ms = crate::clock_ms().saturating_sub(wanted.result.drawn_at_ms);
    let fresh = age_ms <= context.settings.publish_max_age_ms;
    let _turn = drawing.turn(if fresh { Lane::Fresh } else { Lane::Old }).await;
    let (templates, request) = (context.templates.clone(), wanted.clone());
    let work = move || {
        // It is the one thing here that takes a processor, and nobody waits for it but the public.
        stand_far_back();
        draw(&request, &templates)
    };
    let drawn = tokio::task::spawn_blocking(work).await;
    let drawing = drawn.map_err(|e| ImageError::Template {
        name: wanted.template.clone(),
        problem: format!("drawing it failed: {e}"),
    })??;
    let path = if fact.image.is_empty() { wanted.path() } else { fact.image.to_string() };
    context.images.put(&path, &drawing).await
}

/// Records an outcome and hands it to the teller. A step that isn't wanted any more has none.
///
/// # Errors
/// Where nothing is recorded any more.
pub async fn finish(
    context: &Context,
    key: &StepKey,
    fact: &PublicationFact,
    outcome: &Outcome,
) -> Result<(), Stopped> {
    let at_ms = crate::clock_ms();
    let command = steps::command(fact, outcome, at_ms);
    let json = serde_json::to_string(&(at_ms, &command)).expect("a command is plain data");
    let done = context.asks.apply(vec![Change::Done { key: key.clone(), outcome: json }]).await?;
    killpoint::reach("publish.after_record");
    if done[0] {
        // Without a teller the publisher stops, and the next one tells it.
        let _ = context.tells.send(Told { key: key.clone(), command, at_ms });
    }
    context.status.change(|figures| {
        figures.waiting = figures.waiting.saturating_sub(1);
        match (outcome, fact.channel.is_some()) {
            (Outcome::Rendered(_), _) => figures.images_rendered += 1,
            (Outcome::Posted { .. }, _) => figures.posts_succeeded += 1,
            (Outcome::Failed { .. }, false) => figures.images_failed += 1,
            (Outcome::Failed { .. }, true) => figures.posts_failed += 1,
        }
    });
    if let Outcome::Failed { reason, attempts } = outcome {
        tracing::warn!(step = key.step, attempts, reason, "a step of a publication is given up");
    }
    Ok(())
}

/// An outcome as [`finish`] recorded it.
///
/// # Errors
/// Where it isn't one.
pub fn told(key: &StepKey, outcome: &str) -> serde_json::Result<Told> {
    let (at_ms, command): (i64, Command) = serde_json::from_str(outcome)?;
    Ok(Told { key: key.clone(), command, at_ms })
}
