//! The embedded stores: `log.db` and `tombola.db` under the data directory.

use super::{Append, FactsProgress, LogView, Owned, Reader, Result, StoreError, Tables};
use crate::engine::row_of;
use crate::pipeline::Pipeline;
use connectors::decode::RecordDecoder;
use connectors::embedded::{
    Appender, EmbeddedReader, Log, LogEpochs, NewRecord, Placed, Registry, StoredRecord, TopicInfo,
};
use operators::messages::Output;
use operators::settings::Settings;
use runtime::bindings::{BindingStore, GenerationInfo};
use runtime::digest::Digest;
use runtime::log::EpochLog;
use runtime::sink::Sink;
use runtime::trace::TracedRecords;
use runtime::{Epoch, Generation};
use schemas::rows::TableSpec;
use schemas::{Row, SchemaIds};
use sinks::clickhouse::PlanStore;
use sinks::clickhouse::mirror::MirrorStore;
use sinks::embedded::{
    self as tables_db, BindingsDb, EmbeddedLedger, EmbeddedMirror, EmbeddedPlans, Found, PipelineLock,
    Progress, RowDifference, ServingSink, TableDigest,
};
use sinks::publishing::Ledger;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Owned for PipelineLock {}

pub fn own(state: &Path) -> Result<PipelineLock> {
    Ok(PipelineLock::take(state)?)
}

pub fn is_idle(state: &Path) -> bool {
    PipelineLock::holder(state).is_none()
}

pub fn claim(
    dir: &Path,
    pipeline: &Pipeline,
    settings: &Settings,
    idle: impl Fn(&str) -> bool,
) -> Result<()> {
    Ok(LogEpochs::open(dir, &pipeline.name())?.claim(pipeline.outputs(settings), idle)?)
}

pub fn prepare(dir: &Path, partitions: u32) -> Result<SchemaIds> {
    Ok(crate::intake::prepare(dir, partitions)?)
}

pub fn ids(dir: &Path) -> Result<SchemaIds> {
    Ok(Registry::open(dir)?.register_own()?)
}

pub fn reader(dir: &Path, pipeline: &Pipeline, traced: Option<&Arc<TracedRecords>>) -> Result<Reader> {
    let decoder = RecordDecoder::new(Registry::open(dir)?).noting(traced.cloned());
    let reads = |topic: &str| pipeline.reads(topic);
    Ok(Box::new(EmbeddedReader::open_some(dir, pipeline.topics(), reads, decoder)?))
}

pub fn bindings(state: &Path) -> Result<Box<dyn BindingStore>> {
    Ok(Box::new(BindingsDb::open(state)?))
}

pub fn recorded_bindings(state: &Path) -> Result<Box<dyn BindingStore>> {
    Ok(Box::new(BindingsDb::open_read_only(state)?))
}

pub fn facts(dir: &Path, pipeline: &str) -> Result<Box<dyn EpochLog>> {
    Ok(Box::new(LogEpochs::open(dir, pipeline)?))
}

pub fn plans(state: &Path, generation: Generation) -> Result<Box<dyn PlanStore>> {
    Ok(Box::new(EmbeddedPlans::open(state, generation)?))
}

pub fn ledger(state: &Path, generation: Generation) -> Result<Box<dyn Ledger>> {
    Ok(Box::new(EmbeddedLedger::open(state, generation)?))
}

pub fn mirror(state: &Path, generation: Generation) -> Result<Box<dyn MirrorStore>> {
    Ok(Box::new(EmbeddedMirror::open(state, generation)?))
}

pub fn serving(state: &Path, generation: Generation) -> Result<Box<dyn Sink<Output>>> {
    Ok(Box::new(ServingSink::open(state, generation, row_of as fn(&Output) -> Option<&Row>)?))
}

pub fn log(dir: &Path) -> Result<Box<dyn LogView>> {
    expect_file(dir, "log.db", "nothing was produced there: put records in with `tombola produce`")?;
    Ok(Box::new(View { log: Log::open_read_only(dir)?, registry: Registry::open(dir)? }))
}

pub fn appender(dir: &Path) -> Result<Box<dyn Append>> {
    Ok(Box::new(Log::appender(dir)?))
}

/// An appender behind a lock.
struct Exclusive {
    appender: Appender,
    _lock: File,
}

impl Append for Exclusive {
    fn append_many(&mut self, topics: &[(&str, &[NewRecord])]) -> Result<Vec<Vec<Placed>>> {
        Ok(self.appender.append_many(topics)?)
    }
}

/// Waits for another retry to end.
pub fn retries(dir: &Path) -> Result<Box<dyn Append>> {
    let path = dir.join("retries.lock");
    let file = File::options().create(true).append(true).open(&path);
    let lock = file.and_then(|file| file.lock().map(|()| file));
    let lock = lock.map_err(|problem| StoreError::Locked { path, problem })?;
    Ok(Box::new(Exclusive { appender: Log::appender(dir)?, _lock: lock }))
}

pub fn tables(state: &Path) -> Result<Box<dyn Tables>> {
    expect_file(state, "tombola.db", "no pipeline has run there: start one with `tombola run`")?;
    Ok(Box::new(Opened { tables: tables_db::Reader::open(state)?, state: state.to_owned() }))
}

pub fn facts_progress(dir: &Path, pipeline: &str) -> Result<Box<dyn FactsProgress>> {
    Ok(Box::new(LogEpochs::open(dir, pipeline)?))
}

fn expect_file(dir: &Path, file: &'static str, remedy: &'static str) -> Result<()> {
    if dir.join(file).exists() {
        return Ok(());
    }
    Err(StoreError::Nothing { dir: dir.to_owned(), file, remedy })
}

struct View {
    log: Log,
    registry: Registry,
}

impl LogView for View {
    fn topics(&mut self) -> Result<Vec<TopicInfo>> {
        Ok(self.log.topics()?)
    }

    fn read(&mut self, topic: &str, partition: u32, from: u64, max: usize) -> Result<Vec<StoredRecord>> {
        Ok(self.log.read(topic, partition, from, max)?)
    }

    fn schema(&mut self, id: u32) -> Result<Option<String>> {
        Ok(self.registry.get(id)?.map(|row| row.schema))
    }
}

impl Append for Appender {
    fn append_many(&mut self, topics: &[(&str, &[NewRecord])]) -> Result<Vec<Vec<Placed>>> {
        Ok(Appender::append_many(self, topics)?)
    }
}

struct Opened {
    tables: tables_db::Reader,
    state: PathBuf,
}

impl Tables for Opened {
    fn progress(&mut self) -> Result<Progress> {
        Ok(self.tables.progress()?)
    }

    fn generations(&mut self) -> Result<Vec<GenerationInfo>> {
        Ok(self.tables.generations()?)
    }

    fn digest(&mut self, table: &TableSpec) -> Result<TableDigest> {
        Ok(self.tables.digest(table)?)
    }

    fn epoch_digests(&mut self, after: Epoch) -> Result<Vec<(Epoch, Digest)>> {
        Ok(self.tables.epoch_digests(after, usize::MAX >> 1)?)
    }

    fn epoch_digest_at(&mut self, epoch: Epoch) -> Result<Digest> {
        Ok(self.tables.epoch_digest_at(epoch)?)
    }

    fn query(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<Found> {
        Ok(self.tables.query(sql, rows_max, timeout_ms)?)
    }

    fn query_at(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<(Epoch, Found)> {
        Ok(self.tables.query_at(sql, rows_max, timeout_ms)?)
    }

    fn compare(&mut self, replayed: &Path, through: Epoch, whole: bool) -> Result<Vec<RowDifference>> {
        Ok(tables_db::compare(replayed, &self.state, through, whole)?)
    }
}

impl FactsProgress for LogEpochs {
    fn digests(&mut self, after: Epoch) -> Result<Vec<(Epoch, Digest)>> {
        Ok(LogEpochs::digests(self, after, usize::MAX >> 1)?)
    }

    fn digest_at(&mut self, epoch: Epoch) -> Result<Digest> {
        Ok(LogEpochs::digest_at(self, epoch)?)
    }
}
