//! From bytes in the log to what a job takes, and what each record claims about its time.

#![allow(clippy::unwrap_used)] // a test helper is a test too

use connectors::decode::{Input, RecordDecoder};
use connectors::embedded::{EmbeddedReader, Log, LogEpochs, NewRecord, Registry};
use runtime::log::{EpochLog as _, OutRecord};
use runtime::source::{Claim, Fetched, LogError, LogReader};
use runtime::trace::{TRACEPARENT, TRACESTATE, Trace, TraceContext, TraceState, TracedRecords};
use runtime::{Class, Epoch, Generation, Offset, PartitionId, TopicId};
use schemas::commands::{CancelOrder, PlaceOrder};
use schemas::debezium::{Op, envelope, key_of};
use schemas::facts::{Cause, OrderEvent, OrderFact};
use schemas::reference::{Change, Partner, Reference, Standing};
use schemas::{Command, Fact, SchemaIds};
use std::path::Path;
use std::sync::Arc;

const TOPICS: [&str; 2] = ["commands.orders", "oltp.public.partners"];

fn cancel() -> Command {
    Command::CancelOrder(Box::new(CancelOrder {
        command_id: "c".into(),
        tenant: "t".into(),
        order_id: "o".into(),
        reason: None,
        requested_at_ms: 5,
    }))
}

fn place() -> Command {
    Command::PlaceOrder(Box::new(PlaceOrder {
        command_id: "c".into(),
        tenant: "t".into(),
        order_id: "o".into(),
        customer_id: "k".into(),
        partner_id: None,
        offer_id: "f".into(),
        quantity: 1,
        price_minor: 100,
        currency: "EUR".into(),
        placed_at_ms: 5,
        card: None,
        device: None,
        ip: None,
        numbers: vec![],
        seat: None,
    }))
}

fn partner() -> Reference {
    let (tenant, partner_id, plan) = ("t".into(), "p".into(), "gold".into());
    Reference::Partner(Box::new(Partner { tenant, partner_id, status: Standing::Active, plan }))
}

fn change(op: Op) -> Vec<u8> {
    let row = partner();
    let (before, after) = if op == Op::Delete { (Some(&row), None) } else { (None, Some(&row)) };
    envelope(op, before, after, 77, 9).into_bytes()
}

fn avro(command: &Command, ids: SchemaIds) -> Vec<u8> {
    let mut bytes = Vec::new();
    schemas::encode_command(command, |record| ids.of(record), &mut bytes);
    bytes
}

fn record(value: Option<Vec<u8>>) -> NewRecord {
    let key = Some(key_of(&partner().key()).into_bytes());
    NewRecord { key, value, timestamp_ms: 1_000, ..NewRecord::default() }
}

fn read(dir: &Path, topic: u16) -> Result<Vec<Fetched<Input>>, LogError> {
    let decoder = RecordDecoder::new(Registry::open(dir).unwrap());
    let mut reader = EmbeddedReader::open(dir, &TOPICS, decoder).unwrap();
    let place = PartitionId { topic: TopicId(topic), partition: 0 };
    Ok(reader.fetch(place, Offset(0), 100)?.records)
}

fn check(topic: u16, value: Option<Vec<u8>>, class: Class, claim: Claim, body: impl FnOnce(&Input) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Registry::open(dir.path()).unwrap().register_own().unwrap(), SchemaIds::fresh());
    Log::appender(dir.path()).unwrap().append(TOPICS[usize::from(topic)], &[record(value)]).unwrap();
    let records = read(dir.path(), topic).unwrap();
    assert_eq!((records.len(), records[0].class, records[0].claim), (1, class, claim), "{:?}", records[0]);
    assert!(body(&records[0].body), "{:?}", records[0].body);
}

fn bad(input: &Input, reason: &str) -> bool {
    matches!(input, Input::Bad(letter) if letter.reason.contains(reason) && letter.id.ends_with("/0/0"))
}

#[test]
fn a_record_that_belongs_to_a_trace_is_noted_and_is_the_same_input() {
    let (dir, traced) = (tempfile::tempdir().unwrap(), Arc::new(TracedRecords::new(10)));
    Registry::open(dir.path()).unwrap().register_own().unwrap();
    let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec();
    let plain = record(Some(avro(&cancel(), SchemaIds::fresh())));
    let headers =
        vec![(TRACEPARENT.to_owned(), header.clone()), (TRACESTATE.to_owned(), b"a=1 , b=2".to_vec())];
    let sent = NewRecord { headers, ..plain.clone() };
    Log::appender(dir.path()).unwrap().append(TOPICS[0], &[plain, sent]).unwrap();
    let decoder = RecordDecoder::new(Registry::open(dir.path()).unwrap()).noting(Some(Arc::clone(&traced)));
    let mut reader = EmbeddedReader::open(dir.path(), &TOPICS, decoder).unwrap();
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    let records = reader.fetch(place, Offset(0), 100).unwrap().records;
    assert_eq!(records[0].body, records[1].body);
    assert_eq!(traced.of((TOPICS[0], 0, 0)), None);
    let found = traced.of((TOPICS[0], 0, 1)).unwrap();
    assert_eq!((found.sent.to_string().into_bytes(), found.timestamp_ms), (header, 1_000));
    assert_eq!(found.state.header(), Some("a=1,b=2"));
}

#[test]
fn the_trace_of_another_pipelines_fact_is_noted_for_what_caused_it() {
    let (dir, traced) = (tempfile::tempdir().unwrap(), Arc::new(TracedRecords::new(10)));
    let ids = Registry::open(dir.path()).unwrap().register_own().unwrap();
    let cause = Cause {
        command_id: "c".into(),
        topic: "commands.payments".into(),
        partition: 3,
        offset: 44,
        record_time_ms: 5,
    };
    let fact = Fact::Order(Box::new(OrderFact {
        event: OrderEvent::Confirmed,
        tenant: "t".into(),
        order_id: "o".into(),
        command_id: "c".into(),
        offer_id: "f".into(),
        offer_kind: None,
        partner_id: None,
        customer_id: "k".into(),
        quantity: 1,
        amount_minor: 100,
        currency: "EUR".into(),
        reasons: Vec::new(),
        placed_at_ms: 5,
        at_ms: 5,
        cause,
    }));
    let mut log = LogEpochs::open(dir.path(), "sales").unwrap();
    log.fence(Generation(1)).unwrap();
    let mut value = Vec::new();
    schemas::encode_fact(&fact, |record| ids.of(record), &mut value);
    let context = TraceContext { trace_id: 7, span_id: 8, sampled: true };
    let trace = Trace { context, state: TraceState::parse(b"a=1,b=2") };
    let (topic, key, trace) = (fact.topic(), fact.key(), Some(Box::new(trace)));
    let record = OutRecord { topic, key, value, timestamp: 5, epoch: Epoch(1), trace };
    log.append(&[record], Epoch(1), 0).unwrap();
    let decoder = RecordDecoder::new(Registry::open(dir.path()).unwrap()).noting(Some(Arc::clone(&traced)));
    let mut reader = EmbeddedReader::open(dir.path(), &[topic], decoder).unwrap();
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    assert_eq!(reader.fetch(place, Offset(0), 10).unwrap().records.len(), 1);
    assert_eq!(traced.of((topic, 0, 0)), None);
    let found = traced.of(("commands.payments", 3, 44)).unwrap();
    assert_eq!((found.sent.trace_id, found.sent.span_id), (7, 8));
    assert_eq!(found.state.header(), Some("a=1,b=2"));
}

#[test]
fn a_command_claims_its_record_timestamp_and_keeps_its_bytes_unless_it_places_an_order() {
    let ids = SchemaIds::fresh();
    let (bytes, kept) = (avro(&cancel(), ids), avro(&cancel(), ids));
    check(0, Some(bytes), Class::Command, Claim::At(1_000), |input| {
        matches!(input, Input::Command { command, raw: Some(raw), payload_hash, .. }
            if *command == cancel() && **raw == kept[..] && *payload_hash == cancel().payload_hash())
    });
    check(
        0,
        Some(avro(&place(), ids)),
        Class::Command,
        Claim::At(1_000),
        |input| matches!(input, Input::Command { command, raw: None, .. } if *command == place()),
    );
}

#[test]
fn a_change_claims_the_time_of_its_source_and_a_snapshot_read_comes_before_everything() {
    check(
        1,
        Some(change(Op::Update)),
        Class::Reference,
        Claim::At(77),
        |input| matches!(input, Input::Changes(of) if *of == [Change::Upsert { lsn: 9, row: partner() }]),
    );
    check(
        1,
        Some(change(Op::Delete)),
        Class::Reference,
        Claim::At(77),
        |input| matches!(input, Input::Changes(of) if *of == [Change::Delete { lsn: 9, key: partner().key() }]),
    );
    check(
        1,
        Some(change(Op::Read)),
        Class::Reference,
        Claim::BeforeEverything,
        |input| matches!(input, Input::Changes(of) if *of == [Change::Upsert { lsn: 9, row: partner() }]),
    );
    check(
        1,
        None,
        Class::Reference,
        Claim::Nothing,
        |input| matches!(input, Input::Changes(of) if *of == [Change::Nothing]),
    );
}

#[test]
fn what_cannot_be_decoded_is_a_dead_letter_that_claims_nothing() {
    let mut unknown_id = avro(&cancel(), SchemaIds::fresh());
    unknown_id[1..5].copy_from_slice(&999_u32.to_be_bytes());
    let mut cut = avro(&cancel(), SchemaIds::fresh());
    cut.truncate(7);
    for (value, reason) in [
        (None, "empty"),
        (Some(b"{\"type\":\"cancel_order\"}".to_vec()), "not with 0x00"),
        (Some(unknown_id), "schema id 999 is not registered"),
        (Some(cut), "cancel_order"),
    ] {
        check(0, value, Class::Command, Claim::Nothing, |input| bad(input, reason));
    }
    check(1, Some(b"garbage".to_vec()), Class::Reference, Claim::Nothing, |input| bad(input, "not JSON"));
}

#[test]
fn a_schema_registered_while_the_reader_runs_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = RecordDecoder::new(Registry::open(dir.path()).unwrap());
    let mut reader = EmbeddedReader::open(dir.path(), &TOPICS, decoder).unwrap();
    let ids = Registry::open(dir.path()).unwrap().register_own().unwrap();
    let value = Some(avro(&cancel(), ids));
    Log::appender(dir.path()).unwrap().append(TOPICS[0], &[record(value)]).unwrap();
    let place = PartitionId { topic: TopicId(0), partition: 0 };
    let fetched = reader.fetch(place, Offset(0), 10).unwrap();
    assert!(matches!(fetched.records[0].body, Input::Command { .. }), "{:?}", fetched.records);
}

#[test]
fn schemas_are_registered_once_and_a_changed_one_is_a_new_version() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::open(dir.path()).unwrap();
    let ids = registry.register_own().unwrap();
    let count = registry.all().unwrap().len();
    assert_eq!(registry.register_own().unwrap(), ids);
    let subject = registry.get(1).unwrap().unwrap().subject;
    let id = registry.register(&subject, "{\"type\":\"string\"}").unwrap();
    let row = registry.get(id).unwrap().unwrap();
    assert_eq!((row.id as usize, row.version), (count + 1, 2));
    assert_eq!(registry.register_own().unwrap(), ids);
}

#[test]
fn a_topic_that_is_no_input_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    Log::appender(dir.path()).unwrap().append("facts.stock", &[record(None)]).unwrap();
    let decoder = RecordDecoder::new(Registry::open(dir.path()).unwrap());
    let mut reader = EmbeddedReader::open(dir.path(), &["facts.stock"], decoder).unwrap();
    let refused = reader.fetch(PartitionId { topic: TopicId(0), partition: 0 }, Offset(0), 1).unwrap_err();
    assert!(refused.to_string().contains("take it off the inputs"), "{refused}");
}
