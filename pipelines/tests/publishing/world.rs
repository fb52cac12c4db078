//! A pipeline without its dataflow: facts of publications in an embedded log, a publisher, and what it tells back.

use super::server::{Kind, Server};
use connectors::embedded::{EmbeddedReader, Log, LogEpochs, Registry};
use connectors::fact_records::FactRecordDecoder;
use pipelines::publishing::{Publisher, PublisherParts, PublishingSettings};
use pipelines::stores::Append;
use runtime::bindings::BindingStore as _;
use runtime::log::{EpochLog as _, OutRecord};
use runtime::shared::Shared;
use runtime::sink::SinkError;
use runtime::{Epoch, Generation};
use schemas::draws::{Network, PublicationEvent, PublicationFact, PublicationKind};
use schemas::facts::Cause;
use schemas::{Command, Decoder, Fact, SchemaIds};
use sinks::embedded::{BindingsDb, EmbeddedLedger};
use sinks::images::{ImageStore, Templates, draw};
use sinks::publishing::{Change, Ledger, Recorded};
use sinks::social::HttpSettings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const RESULTS: &str = "commands.publication_results";
/// Generous: the machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(900);

pub struct World {
    dir: PathBuf,
    ids: SchemaIds,
    epoch: u64,
    pub shared: Arc<Shared>,
    pub settings: PublishingSettings,
}

/// Short pauses, many tries a minute; a call may take what a busy machine takes.
pub fn settings() -> PublishingSettings {
    PublishingSettings {
        attempts: 4,
        backoff: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        per_minute: 6_000,
        burst: 1_000,
        breaker_failures: 100,
        breaker_pause: Duration::from_millis(200),
        age_ms_max: 86_400_000,
        publish_max_age_ms: 86_400_000,
        images_public_url: Some("https://images.example/".into()),
        http: HttpSettings { timeout_ms: 15_000, ..HttpSettings::default() },
        secrets: BTreeMap::new(),
    }
}

impl World {
    pub fn at(dir: &Path) -> World {
        let ids = Registry::open(dir).unwrap().register_own().unwrap();
        Log::open(dir).unwrap().ensure_topic(RESULTS, 2).unwrap();
        World {
            dir: dir.to_owned(),
            ids,
            epoch: 0,
            shared: Arc::new(Shared::default()),
            settings: settings(),
        }
    }

    /// The secrets of channels that lead to these servers, in files.
    pub fn know(&mut self, channels: &[(&str, &Server)]) {
        for (channel, server) in channels {
            let path = self.dir.join(format!("{channel}.secret"));
            std::fs::write(&path, server.secret()).unwrap();
            self.settings.secrets.insert(format!("acme/{channel}"), format!("file:{}", path.display()));
        }
    }

    pub fn generation(&self) -> Generation {
        BindingsDb::open(&self.dir).unwrap().begin_generation("1.0", "{}", 1, 0).unwrap().generation
    }

    pub fn images(&self) -> ImageStore {
        ImageStore::local(&self.dir.join("images")).unwrap()
    }

    /// A publisher of the next generation.
    pub fn publisher(&self) -> Publisher {
        self.publisher_of(self.generation())
    }

    pub fn publisher_of(&self, generation: Generation) -> Publisher {
        self.publisher_with(Box::new(EmbeddedLedger::open(&self.dir, generation).unwrap()))
    }

    /// A publisher of the next generation that never hears of its first `commits` commits.
    pub fn publisher_without_answers(&self, commits: usize) -> Publisher {
        let ledger = EmbeddedLedger::open(&self.dir, self.generation()).unwrap();
        self.publisher_with(Box::new(Unanswered { ledger, commits }))
    }

    fn publisher_with(&self, ledger: Box<dyn Ledger>) -> Publisher {
        let decoder = FactRecordDecoder::new(Registry::open(&self.dir).unwrap());
        let reader =
            EmbeddedReader::open_some(&self.dir, &["facts.publications"], |_| true, decoder).unwrap();
        let append: Box<dyn Append> = Box::new(Log::appender(&self.dir).unwrap());
        Publisher::start(PublisherParts {
            ledger,
            reader: Box::new(reader),
            append,
            ids: self.ids,
            images: self.images(),
            templates: Templates::new(None).unwrap(),
            settings: self.settings.clone(),
            decided: Arc::clone(&self.shared),
        })
        .unwrap()
    }

    /// Facts of one epoch in the log, and decided.
    pub fn tell(&mut self, facts: &[PublicationFact]) {
        self.tell_undecided(facts);
        self.decide();
    }

    pub fn tell_undecided(&mut self, facts: &[PublicationFact]) {
        let mut log = LogEpochs::open(&self.dir, "sales").unwrap();
        log.fence(Generation(1)).unwrap();
        self.epoch = log.committed().unwrap().0 + 1;
        let epoch = Epoch(self.epoch);
        let record = |fact: &PublicationFact| {
            let (fact, mut value) = (Fact::Publication(Box::new(fact.clone())), Vec::new());
            schemas::encode_fact(&fact, |record| self.ids.of(record), &mut value);
            OutRecord {
                topic: "facts.publications",
                key: fact.key(),
                value,
                timestamp: 1,
                epoch,
                trace: None,
            }
        };
        let records: Vec<OutRecord> = facts.iter().map(record).collect();
        log.append(&records, epoch, 0).unwrap();
    }

    pub fn decide(&self) {
        self.shared.decided.store(self.epoch, Ordering::SeqCst);
    }

    /// Everything told back, in the order of each partition. What was told twice was told in the same bytes,
    /// and is here once, as it is for the dataflow.
    pub fn told(&self) -> Vec<Command> {
        let (log, decoder) = (Log::open(&self.dir).unwrap(), Decoder::with_own(|record| self.ids.of(record)));
        let mut known: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut commands = Vec::new();
        for partition in 0..2 {
            for record in log.read(RESULTS, partition, 0, 10_000).unwrap() {
                let value = record.value.unwrap();
                let command = decoder.decode_command(&value).unwrap();
                command.check().unwrap();
                match known.insert(command.command_id().to_string(), value.clone()) {
                    Some(before) => assert_eq!(before, value, "{} says two things", command.command_id()),
                    None => commands.push(command),
                }
            }
        }
        commands
    }

    /// Waits until so many outcomes are told.
    pub fn wait_told(&self, count: usize) -> Vec<Command> {
        let since = Instant::now();
        loop {
            let told = self.told();
            if told.len() >= count {
                return told;
            }
            assert!(since.elapsed() < PATIENCE, "only {} of {count} outcomes: {told:#?}", told.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A post that asks for an image which is stored already.
    pub fn post(&self, draw: &str, channel: &str, server: &Server) -> PublicationFact {
        let image = image(draw, "card", "en");
        let request = pipelines::publishing::announcement(&image);
        let request =
            sinks::images::ImageRequest { result: request, template: "card".into(), locale: "en".into() };
        let drawing = draw_once(&request);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.images().put(&image.image, &drawing)).unwrap();
        post_of(&image, channel, server, &drawing.sha256)
    }
}

/// A ledger whose commits go in while their answers are lost, so many times.
struct Unanswered {
    ledger: EmbeddedLedger,
    commits: usize,
}

impl Ledger for Unanswered {
    fn recorded(&mut self) -> Result<Recorded, SinkError> {
        self.ledger.recorded()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<bool>, SinkError> {
        let effective = self.ledger.apply(changes)?;
        if self.commits == 0 {
            return Ok(effective);
        }
        self.commits -= 1;
        Err(SinkError::Retry { sink: "publisher", source: "the connection was lost".into() })
    }
}

fn draw_once(request: &sinks::images::ImageRequest) -> sinks::images::Drawing {
    draw(request, &Templates::new(None).unwrap()).unwrap()
}

/// The request of an image.
pub fn image(draw_id: &str, template: &str, locale: &str) -> PublicationFact {
    PublicationFact {
        tenant: "acme".into(),
        draw_id: draw_id.into(),
        revision: 1,
        kind: PublicationKind::Image,
        template: template.into(),
        locale: locale.into(),
        channel: None,
        event: PublicationEvent::Requested,
        round: 1,
        attempts: 0,
        game: "powerball".into(),
        numbers: vec![7, 19, 28, 41, 66],
        bonus: vec![23],
        prizes: Vec::new(),
        drawn_at_ms: Some(1_795_319_940_000),
        jackpot_minor: Some(24_300_000_000),
        currency: Some("USD".into()),
        image: format!("acme/powerball/{draw_id}/{template}/{locale}/r1.png").into(),
        sha256: None,
        bytes: None,
        network: None,
        endpoint: None,
        target: None,
        supersedes: None,
        external_id: None,
        reason: None,
        at_ms: pipelines::clock_ms(),
        cause: Cause {
            command_id: "c".into(),
            topic: "commands.draws".into(),
            partition: 0,
            offset: 0,
            record_time_ms: 0,
        },
    }
}

/// The request of a post with an image.
pub fn post_of(image: &PublicationFact, channel: &str, server: &Server, sha256: &str) -> PublicationFact {
    PublicationFact {
        kind: PublicationKind::Post,
        channel: Some(channel.into()),
        network: Network::parse(server.network()),
        endpoint: Some(server.url().into()),
        target: Some(if server.kind == Kind::Telegram { "@draws".into() } else { "".into() }),
        sha256: Some(sha256.into()),
        ..image.clone()
    }
}

/// What a command says, in a line.
pub fn said(command: &Command) -> String {
    match command {
        Command::ImageRendered(c) => format!("{}/{} rendered", c.template, c.locale),
        Command::ImageFailed(c) => {
            format!("{}/{} failed after {}: {}", c.template, c.locale, c.attempts, c.reason)
        }
        Command::PostSucceeded(c) => {
            format!("{} posted as {} after {}", c.channel, c.external_id, c.attempts)
        }
        Command::PostFailed(c) => format!("{} failed after {}: {}", c.channel, c.attempts, c.reason),
        other => panic!("{other:?}"),
    }
}
