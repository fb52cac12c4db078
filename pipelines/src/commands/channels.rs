//! `tombola channels`: the channels results are posted to, and whether one of them works.

use super::place::Place;
use super::{Failure, output};
use crate::publishing::{PublishingSettings, secret_name};
use crate::stores::{LogView, StoreError, Stores, scan};
use schemas::avro::DecodeError;
use schemas::debezium::ChangeDecoder;
use schemas::draws::Channel;
use schemas::reference::{Change, Reference, ReferenceKey, ReferenceTable};
use sinks::announcement::Announcement;
use sinks::images::{ImageRequest, draw};
use sinks::social::{Image, Network, Post, PostError, Target, network};
use std::collections::BTreeMap;

/// Show the channels that results are posted to, and try one of them.
///
/// A channel is known by `TENANT/CHANNEL`. Its row comes from the table `channels`, its secret from
/// publishing.secrets. `test` asks the network whether the secret is good, without posting anything (a webhook
/// gets a message of type channel.test); with --post a test post with an image goes out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola channels list
  tombola channels test acme/main            ask whether the secret is good
  tombola channels test acme/main --post     post a test result, for everybody to see

Exit codes: 0 it works; 1 it doesn't (the message says what the network answered); 2 bad arguments or settings.")]
pub struct Channels {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show every channel as the log has it.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Try a channel and say what happened.
    Test {
        /// The channel, as TENANT/CHANNEL.
        #[arg(value_name = "CHANNEL")]
        channel: String,
        /// Post a test result that everybody sees.
        #[arg(long)]
        post: bool,
        #[command(flatten)]
        place: Place,
    },
}

impl Channels {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::List { place } => list(&place.stores()?),
            What::Test { channel, post, place } => test(&place.stores()?, &channel, post),
        }
    }
}

fn list(stores: &Stores) -> Result<(), Failure> {
    let secrets = stores.publishing_settings().secrets;
    for (name, channel) in known(stores)? {
        let secret = if secrets.contains_key(&name) { "secret configured" } else { "no secret" };
        let Channel { network, endpoint, target, template, locale, status, .. } = &channel;
        output::print(&format!(
            "{name}  {network}  {endpoint}  {target}  {template}/{locale}  {status}  {secret}\n"
        ));
    }
    Ok(())
}

fn test(stores: &Stores, name: &str, post: bool) -> Result<(), Failure> {
    let mut channels = known(stores)?;
    let channel = channels.remove(name).ok_or_else(|| {
        let known = channels.keys().cloned().collect::<Vec<_>>().join(", ");
        Failure::Usage(format!("there is no channel {name}; the log knows these: {known}"))
    })?;
    let settings = stores.publishing_settings();
    let adapter = adapter(&channel, &settings).map_err(|e| Failure::Usage(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Runtime(format!("no connection can be driven: {e}")))?;
    let said = |error: PostError| Failure::Runtime(format!("{name}: {}", told(&error)));
    let answer = runtime.block_on(adapter.check()).map_err(said)?;
    output::print(&format!("{name}: {} at {}: {answer}\n", channel.network, channel.endpoint));
    if post {
        let post = sample(stores, &channel)?;
        let posted = runtime.block_on(adapter.post(&post)).map_err(said)?;
        output::print(&format!("{name}: posted as {}\n", posted.external_id));
    }
    Ok(())
}

fn told(error: &PostError) -> String {
    match error {
        PostError::Again { problem, .. } => format!("{problem}; it may work later"),
        PostError::Refused { problem } => problem.clone(),
        PostError::InDoubt { problem, .. } => format!("{problem}; whether it was taken isn't known"),
    }
}

fn adapter(channel: &Channel, settings: &PublishingSettings) -> Result<Box<dyn Network>, PostError> {
    let secret = settings.secret(&channel.tenant, &channel.channel_id)?;
    let (endpoint, target) = (channel.endpoint.to_string(), channel.target.to_string());
    network(channel.network.as_str(), Target { endpoint, target, secret, http: settings.http.clone() })
}

/// A post that says of itself that it is a test.
fn sample(stores: &Stores, channel: &Channel) -> Result<Post, Failure> {
    let now = crate::clock_ms();
    let result = Announcement {
        tenant: channel.tenant.to_string(),
        draw_id: "TEST".to_owned(),
        revision: 1,
        supersedes: None,
        game: "test".to_owned(),
        numbers: vec![1, 2, 3, 4, 5, 6],
        bonus: vec![7],
        prizes: Vec::new(),
        drawn_at_ms: now,
        jackpot_minor: None,
        currency: None,
    };
    let templates = stores.templates()?;
    let (template, locale) = (channel.template.to_string(), channel.locale.to_string());
    let request = ImageRequest { result: result.clone(), template, locale: locale.clone() };
    let drawing = draw(&request, &templates).map_err(|e| Failure::Usage(e.to_string()))?;
    let image = Image { path: request.path(), url: None, sha256: drawing.sha256, png: drawing.png };
    let lines = vec!["Test".to_owned()];
    let key = format!("test:{}/{now}", secret_name(&channel.tenant, &channel.channel_id));
    Ok(Post { key, requested_at_ms: now, result, lines, locale, image: Some(image) })
}

/// The newest row of each channel, by TENANT/CHANNEL.
fn known(stores: &Stores) -> Result<BTreeMap<String, Channel>, Failure> {
    let (mut rows, mut decoder) = (BTreeMap::new(), ChangeDecoder::default());
    let topic = ReferenceTable::Channels.topic();
    scan(stores.log()?.as_mut(), topic, |log, record| -> Result<(), StoreError> {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        // What isn't a row is a dead letter, and said there.
        let Some(decoded) = decode(log, &mut decoder, key, value)? else { return Ok(()) };
        for change in decoded {
            match change {
                Change::Upsert { lsn, row: Reference::Channel(channel) } => {
                    let name = secret_name(&channel.tenant, &channel.channel_id);
                    let newer = rows.get(&name).is_none_or(|(known, _)| *known < lsn);
                    if newer {
                        rows.insert(name, (lsn, Some(*channel)));
                    }
                }
                Change::Delete { lsn, key: ReferenceKey::Channel { tenant, channel_id } } => {
                    rows.insert(secret_name(&tenant, &channel_id), (lsn, None));
                }
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(rows.into_iter().filter_map(|(name, (_, row))| Some((name, row?))).collect())
}

fn decode(
    log: &mut dyn LogView,
    decoder: &mut ChangeDecoder,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<Option<Vec<Change>>, StoreError> {
    for _ in 0..2 {
        match decoder.decode_change(ReferenceTable::Channels, key, value) {
            Ok(decoded) => return Ok(Some(decoded.changes)),
            Err(DecodeError::UnknownSchema(id)) => match log.schema(id)? {
                Some(schema) => decoder.avro.add(id, &schema),
                None => return Ok(None),
            },
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}
