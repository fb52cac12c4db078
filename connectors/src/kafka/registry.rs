//! A Confluent-compatible schema registry: which schema an id stands for, and our own contracts in it.
//!
//! ```text
//!   id in a record ─> GET /schemas/ids/{id} ─> kept for ever (an id never changes its meaning)
//!   our contracts ─── subject = topic "-" full name (TopicRecordNameStrategy) ─ check ─ register ─> SchemaIds
//! ```
//!
//! An id the registry doesn't know is asked for again each time, but not more often than once a second: a stream
//! of records that nobody can decode must not become a stream of requests. Only the registry's own word counts, its code
//! 40403, and only once it has stood for some seconds: a proxy, a wrong path or a replica that is behind answers 404, too.
//! While a record waits for its id its partition stands still, and sales with it. So all ids share one allowance of such
//! waiting, which comes back slowly: whoever writes garbage under ever new ids soon gets dead letters at once.

use super::error::{KafkaError, Result};
use crate::decode::SchemaSource;
use runtime::source::LogError;
use schema_registry_converter::blocking::schema_registry::{
    SrSettings, get_all_subjects, get_all_versions, get_schema_by_id, get_schema_by_subject,
    is_compatible_schema, perform_sr_call, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, SchemaType, SrCall, SubjectNameStrategy, SuppliedSchema,
};
use schemas::SchemaIds;
use schemas::compat::can_read_all;
use schemas::registry::{Record, Subject, subjects};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long an unknown id is taken to be unknown.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// How long a record waits for its unknown id before it counts as one that nobody can decode.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long unknown ids may be waited for in all; what is used up comes back within this many times as long.
const ALLOWANCE: Duration = Duration::from_secs(15);
const COMES_BACK: u32 = 12;
/// Unknown ids that are remembered.
const UNKNOWN_MAX: usize = 1_000;
/// How a registry says that it doesn't know an id.
const SCHEMA_NOT_FOUND: u32 = 40_403;

/// How the registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// As in `http://localhost:8081`; several with commas between are tried in turn.
    pub url: String,
    pub user: Option<String>,
    pub password: Option<String>,
}

/// A client of the registry; clones share what they have learnt.
#[derive(Clone)]
pub struct ConfluentRegistry {
    settings: SrSettings,
    place: String,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    schemas: BTreeMap<u32, String>,
    unknown: BTreeMap<u32, Unknown>,
    waiting: Waiting,
}

/// The time in which a record waited for its unknown id, on whichever worker; several at once count once.
#[derive(Default)]
struct Waiting {
    spent: Duration,
    /// As of when.
    at: Option<Instant>,
}

impl Waiting {
    /// Counts a wait that began at `since` and goes on; whether it may.
    fn goes_on(&mut self, since: Instant, now: Instant) -> bool {
        let at = self.at.unwrap_or(since);
        let came_back = now.saturating_duration_since(at) / COMES_BACK;
        let waited = now.saturating_duration_since(since.max(at));
        self.spent = self.spent.saturating_sub(came_back) + waited;
        self.at = Some(now);
        self.spent < ALLOWANCE
    }
}

#[derive(Clone, Copy)]
struct Unknown {
    since: Instant,
    asked: Instant,
    /// It was waited for, and counts as unknown from its first record on until it is known.
    given_up: bool,
}

impl Known {
    fn learn(&mut self, id: u32, schema: String) {
        self.unknown.remove(&id);
        self.schemas.insert(id, schema);
    }

    /// Notes that an id isn't known; forgets the one that hasn't been asked for the longest where there are too many.
    fn miss(&mut self, id: u32) {
        let asked = Instant::now();
        let first = Unknown { since: asked, asked, given_up: false };
        self.unknown.entry(id).or_insert(first).asked = asked;
        if self.unknown.len() > UNKNOWN_MAX
            && let Some(oldest) = self.unknown.iter().min_by_key(|(_, unknown)| unknown.asked)
        {
            let oldest = *oldest.0;
            self.unknown.remove(&oldest);
        }
    }

    /// Whether a record with an id that isn't known waits for it, as of `now`.
    fn waits(&mut self, id: u32, now: Instant) -> bool {
        // One forgotten meanwhile begins to wait again.
        let Some(unknown) = self.unknown.get_mut(&id) else { return true };
        if unknown.given_up {
            return false;
        }
        let waited = now.saturating_duration_since(unknown.since);
        unknown.given_up = waited >= PATIENCE || !self.waiting.goes_on(unknown.since, now);
        !unknown.given_up
    }
}

/// How one of our contracts stands against the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectState {
    pub subject: String,
    pub standing: Standing,
}

/// What registering a contract would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Registered as it is: nothing.
    Registered,
    /// The registry has none: it becomes the first version.
    New,
    /// It becomes the next version.
    NextVersion,
    /// It can't be registered, or couldn't read what was written.
    Incompatible(String),
}

impl fmt::Display for SubjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match &self.standing {
            Standing::Registered => write!(f, "registered   {subject}"),
            Standing::New => write!(f, "new          {subject}"),
            Standing::NextVersion => write!(f, "next version {subject}"),
            Standing::Incompatible(why) => write!(f, "incompatible {subject}: {why}"),
        }
    }
}

impl ConfluentRegistry {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// [`KafkaError::Stop`] where the settings can't be used.
    pub fn new(settings: &RegistrySettings) -> Result<Self> {
        let place = format!("the schema registry at {}", settings.url);
        let mut urls = settings.url.split(',').map(|url| url.trim().trim_end_matches('/').to_owned());
        let first = urls.next().filter(|url| !url.is_empty()).unwrap_or_default();
        let mut builder = SrSettings::new_builder(first);
        for url in urls {
            builder.add_url(url);
        }
        if let Some(user) = &settings.user {
            builder.set_basic_authorization(user, settings.password.as_deref());
        }
        builder.set_timeout(ANSWER_MAX);
        let built = builder.build().map_err(|error| KafkaError::Stop {
            place: place.clone(),
            problem: error.to_string(),
            remedy: "correct the registry's settings".to_owned(),
        })?;
        Ok(ConfluentRegistry { settings: built, place, known: Arc::default() })
    }

    /// How each of our contracts stands.
    ///
    /// # Errors
    /// Where the registry can't be asked.
    pub fn check(&self) -> Result<Vec<SubjectState>> {
        self.check_subjects(&subjects())
    }

    /// The same for some contracts.
    ///
    /// # Errors
    /// Where the registry can't be asked.
    pub fn check_subjects(&self, subjects: &[Subject]) -> Result<Vec<SubjectState>> {
        let there = get_all_subjects(&self.settings).map_err(|e| self.failed("list its subjects", &e))?;
        let state = |subject: &Subject| -> Result<SubjectState> {
            let standing = match there.contains(&subject.subject) {
                true => self.against_latest(subject)?,
                false => Standing::New,
            };
            Ok(SubjectState { subject: subject.subject.clone(), standing })
        };
        subjects.iter().map(state).collect()
    }

    fn against_latest(&self, subject: &Subject) -> Result<Standing> {
        let name = &subject.subject;
        let (topic, record) = (subject.record.topic().to_owned(), subject.record.full_name().to_owned());
        let latest = SubjectNameStrategy::TopicRecordNameStrategy(topic, record);
        let latest = get_schema_by_subject(&self.settings, &latest);
        let latest = latest.map_err(|e| self.failed(&format!("read subject {name}"), &e))?;
        if same(&latest.schema, subject.avsc) || self.is_older_version(subject)? {
            return Ok(Standing::Registered);
        }
        if let Err(why) = can_read_all(&latest.schema, subject.avsc) {
            return Ok(Standing::Incompatible(format!(
                "this program can't read what is written under it: {why}"
            )));
        }
        let fits = is_compatible_schema(&self.settings, name.clone(), supplied(subject));
        Ok(match fits.map_err(|e| self.failed(&format!("check subject {name}"), &e))? {
            true => Standing::NextVersion,
            false => Standing::Incompatible(
                "the registry's rule for it refuses ours: upgrade what reads its topic first, or relax the rule"
                    .to_owned(),
            ),
        })
    }

    /// Whether ours is registered, though others that write to the topic have registered newer ones since.
    fn is_older_version(&self, subject: &Subject) -> Result<bool> {
        let name = &subject.subject;
        let failed = |e: &SRCError| self.failed(&format!("read the versions of subject {name}"), e);
        for version in get_all_versions(&self.settings, name.clone()).map_err(|e| failed(&e))? {
            let known = perform_sr_call(&self.settings, SrCall::GetBySubjectAndVersion(name, version));
            if known.map_err(|e| failed(&e))?.schema.is_some_and(|known| same(&known, subject.avsc)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Registers every contract of this program that isn't there yet: the ids to encode with. Nothing is registered
    /// where one can't be.
    ///
    /// # Errors
    /// [`KafkaError::Stop`], naming each subject that stands in the way and why.
    pub fn register_own(&self) -> Result<SchemaIds> {
        let bad: Vec<String> = self
            .check()?
            .into_iter()
            .filter(|state| matches!(state.standing, Standing::Incompatible(_)))
            .map(|state| state.to_string())
            .collect();
        if !bad.is_empty() {
            return Err(KafkaError::Stop {
                place: self.place.clone(),
                problem: bad.join("\n"),
                remedy: "nothing was registered".to_owned(),
            });
        }
        SchemaIds::try_new(|record| self.register(record))
    }

    fn register(&self, record: Record) -> Result<u32> {
        let subject = Subject { subject: record.subject(), record, avsc: record.avsc() };
        let posted = post_schema(&self.settings, record.subject(), supplied(&subject));
        let posted = posted.map_err(|e| self.failed(&format!("register subject {}", subject.subject), &e))?;
        self.known().learn(posted.id, record.avsc().to_owned());
        Ok(posted.id)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schema with this id; `None` where the registry knows none, as of now.
    ///
    /// # Errors
    /// [`KafkaError::Away`] where it can't be asked.
    pub fn get(&self, id: u32) -> Result<Option<String>> {
        {
            let known = self.known();
            if let Some(schema) = known.schemas.get(&id) {
                return Ok(Some(schema.clone()));
            }
            if known.unknown.get(&id).is_some_and(|unknown| unknown.asked.elapsed() < UNKNOWN_FOR) {
                return Ok(None);
            }
        }
        match get_schema_by_id(id, &self.settings) {
            Ok(found) if found.schema_type == SchemaType::Avro => {
                self.known().learn(id, found.schema.clone());
                return Ok(Some(found.schema));
            }
            // Not Avro: to us as good as unknown, and the record's dead letter says its id.
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(self.failed(&format!("read schema {id}"), &error)),
        }
        self.known().miss(id);
        Ok(None)
    }

    fn failed(&self, doing: &str, error: &SRCError) -> KafkaError {
        let text =
            error.cause.as_deref().map_or_else(|| error.error.clone(), |c| format!("{}: {c}", error.error));
        if is_refusal(&text) {
            let (place, problem) = (self.place.clone(), format!("{doing}: {text}"));
            let remedy = "check its address, user and password, and its compatibility rules".to_owned();
            return KafkaError::Stop { place, problem, remedy };
        }
        KafkaError::Away { place: self.place.clone(), doing: doing.to_owned(), source: text.into() }
    }
}

impl SchemaSource for ConfluentRegistry {
    fn schema(&mut self, id: u32) -> std::result::Result<Option<String>, LogError> {
        let found = self.get(id)?;
        if found.is_none() && self.known().waits(id, Instant::now()) {
            return Err(LogError::Retry(
                format!("{}: schema id {id} is not known there: asked again for some seconds", self.place)
                    .into(),
            ));
        }
        Ok(found)
    }
}

fn supplied(subject: &Subject) -> SuppliedSchema {
    SuppliedSchema::new(
        Some(subject.record.full_name().to_owned()),
        SchemaType::Avro,
        subject.avsc.to_owned(),
    )
}

/// The client tells a status by text alone: `… failed with status 404 Not Found`.
fn status(text: &str) -> Option<u16> {
    text.split_once("failed with status ")?.1.get(..3)?.parse().ok()
}

/// Whether the registry itself says so.
fn is_not_found(error: &SRCError) -> bool {
    let said = error.source().and_then(|source| source.downcast_ref::<RawError>());
    status(&error.error) == Some(404) && said.is_some_and(|said| said.error_code == SCHEMA_NOT_FOUND)
}

/// The registry has answered, and won't answer otherwise when asked again.
fn is_refusal(text: &str) -> bool {
    status(text).is_some_and(|status| matches!(status, 400..=403 | 405..=407 | 409 | 422))
}

/// Whether two texts are one schema: registries rewrite white space.
fn same(a: &str, b: &str) -> bool {
    let json = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    a == b || json(a).is_some_and(|a| Some(a) == json(b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test: what fails here fails the test
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A registry, or what stands before it, that answers everything alike: status and body.
    fn answering(answer: &'static Mutex<(&'static str, &'static str)>) -> ConfluentRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                let (status, body) = *answer.lock().unwrap();
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                stream.write_all((head + body).as_bytes()).unwrap();
            }
        });
        ConfluentRegistry::new(&RegistrySettings { url, ..RegistrySettings::default() }).unwrap()
    }

    #[test]
    fn only_the_registrys_own_word_that_stands_makes_an_id_unknown() {
        static ANSWER: Mutex<(&str, &str)> = Mutex::new(("404 Not Found", "<html>no such page</html>"));
        let mut registry = answering(&ANSWER);
        for (n, body) in
            ["<html>no such page</html>", "", r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#]
                .into_iter()
                .enumerate()
        {
            *ANSWER.lock().unwrap() = ("404 Not Found", body);
            let said = registry.get(n as u32).unwrap_err();
            assert!(said.may_pass(), "{body}: {said}");
        }
        *ANSWER.lock().unwrap() = ("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#);
        let began = Instant::now();
        let found = loop {
            match registry.schema(7) {
                Ok(found) => break found,
                Err(LogError::Retry(_)) => std::thread::sleep(Duration::from_millis(50)),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(found, None);
        assert!(began.elapsed() >= PATIENCE, "final after {:?}", began.elapsed());
        // Another one that is registered while its record waits.
        assert!(matches!(registry.schema(8), Err(LogError::Retry(_))));
        *ANSWER.lock().unwrap() = ("200 OK", r#"{"schema":"\"string\""}"#);
        std::thread::sleep(UNKNOWN_FOR);
        assert_eq!(registry.schema(8).unwrap().as_deref(), Some("\"string\""));
    }

    /// Ids of one record each, one after the other, asked for every 50 ms, with `between` two of them: how many
    /// were waited for at all, and how long all of them took.
    fn garbage(ids: u32, between: Duration) -> (u32, Duration) {
        let (mut known, began, mut patient) = (Known::default(), Instant::now(), 0);
        let (mut now, mut waited) = (began, Duration::ZERO);
        for id in 0..ids {
            known.unknown.insert(id, Unknown { since: now, asked: now, given_up: false });
            let since = now;
            while known.waits(id, now) {
                now += Duration::from_millis(50);
            }
            assert!(!known.waits(id, now + UNKNOWN_FOR), "what was given up once is given up at once");
            patient += u32::from(now > since);
            waited += now - since;
            now += between;
        }
        (patient, waited)
    }

    #[test]
    fn a_stream_of_ever_new_unknown_ids_is_waited_for_within_one_allowance() {
        let (_, waited) = garbage(1_000, Duration::from_millis(1));
        assert!(waited <= ALLOWANCE + ALLOWANCE / 5, "1,000 ids took {waited:?}");
        let (_, waited) = garbage(1_000, Duration::from_secs(1));
        let most = 2 * ALLOWANCE + Duration::from_secs(1_000) / (COMES_BACK - 1);
        assert!(waited <= most, "1,000 ids a second apart took {waited:?}");
        // One an hour is waited for in full each time.
        assert_eq!(garbage(10, Duration::from_secs(3_600)), (10, 10 * PATIENCE));
    }

    #[test]
    fn ids_that_are_waited_for_at_once_use_the_allowance_once() {
        let (mut known, began) = (Known::default(), Instant::now());
        for id in 0..8 {
            known.unknown.insert(id, Unknown { since: began, asked: began, given_up: false });
        }
        for tick in 0..=99 {
            let now = began + tick * Duration::from_millis(50);
            assert!((0..8).all(|id| known.waits(id, now)), "after {:?}", now - began);
        }
        assert!(known.waiting.spent <= PATIENCE, "{:?}", known.waiting.spent);
    }

    #[test]
    fn unknown_ids_are_forgotten_from_the_oldest_on() {
        let mut known = Known::default();
        (0..UNKNOWN_MAX as u32 + 10).for_each(|id| known.miss(id));
        assert_eq!(known.unknown.len(), UNKNOWN_MAX);
        assert!(known.unknown.contains_key(&(UNKNOWN_MAX as u32 + 9)));
    }
}
