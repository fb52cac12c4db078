//! Serving in PostgreSQL: bindings, progress and tables in a schema of the pipeline's own.

use super::{Owned, Result, Tables};
use crate::config::Config;
use crate::engine::row_of;
use crate::pipeline::SALES;
use operators::messages::Output;
use runtime::bindings::{BindingStore, GenerationInfo};
use runtime::digest::Digest;
use runtime::sink::Sink;
use runtime::{Epoch, Generation};
use schemas::Row;
use schemas::rows::TableSpec;
use sinks::clickhouse::PlanStore;
use sinks::clickhouse::mirror::MirrorStore;
use sinks::embedded::{Found, Progress, RowDifference, TableDigest};
use sinks::postgres::{
    PostgresBindings, PostgresLedger, PostgresLock, PostgresMirror, PostgresPlanStore, PostgresReader,
    PostgresServing, PostgresSettings,
};
use sinks::publishing::Ledger;
use std::path::Path;

impl Owned for PostgresLock {}

/// The settings of one pipeline's schema.
pub fn settings(config: &Config, pipeline: &str) -> PostgresSettings {
    let base = &config.postgres.schema;
    let schema =
        if pipeline == SALES { base.clone() } else { format!("{base}_{}", pipeline.replace('+', "_")) };
    PostgresSettings {
        url: config.postgres.url.clone(),
        schema,
        password_file: config.postgres.password_file.clone(),
        sslmode: config.postgres.sslmode,
        ca_file: config.postgres.ca_file.clone(),
    }
}

pub fn own(settings: &PostgresSettings) -> Result<PostgresLock> {
    Ok(PostgresLock::take(settings)?)
}

pub fn is_idle(settings: &PostgresSettings) -> bool {
    // One that can't be asked may be at work.
    PostgresLock::holder(settings).is_ok_and(|holder| holder.is_none())
}

pub fn bindings(settings: &PostgresSettings) -> Result<Box<dyn BindingStore>> {
    Ok(Box::new(PostgresBindings::open(settings)?))
}

pub fn plans(settings: &PostgresSettings, generation: Generation) -> Result<Box<dyn PlanStore>> {
    Ok(Box::new(PostgresPlanStore::open(settings, generation)?))
}

pub fn ledger(settings: &PostgresSettings, generation: Generation) -> Result<Box<dyn Ledger>> {
    Ok(Box::new(PostgresLedger::open(settings, generation)?))
}

pub fn mirror(settings: &PostgresSettings, generation: Generation) -> Result<Box<dyn MirrorStore>> {
    Ok(Box::new(PostgresMirror::open(settings, generation)?))
}

pub fn serving(settings: &PostgresSettings, generation: Generation) -> Result<Box<dyn Sink<Output>>> {
    Ok(Box::new(PostgresServing::open(settings, generation, row_of as fn(&Output) -> Option<&Row>)?))
}

pub fn tables(settings: &PostgresSettings) -> Result<Box<dyn Tables>> {
    Ok(Box::new(PostgresReader::open(settings)?))
}

impl Tables for PostgresReader {
    fn progress(&mut self) -> Result<Progress> {
        Ok(PostgresReader::progress(self)?)
    }

    fn generations(&mut self) -> Result<Vec<GenerationInfo>> {
        Ok(PostgresReader::generations(self)?)
    }

    fn digest(&mut self, table: &TableSpec) -> Result<TableDigest> {
        Ok(PostgresReader::digest(self, table)?)
    }

    fn epoch_digests(&mut self, after: Epoch) -> Result<Vec<(Epoch, Digest)>> {
        Ok(PostgresReader::epoch_digests(self, after, usize::MAX >> 1)?)
    }

    fn epoch_digest_at(&mut self, epoch: Epoch) -> Result<Digest> {
        Ok(PostgresReader::epoch_digest_at(self, epoch)?)
    }

    fn query(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<Found> {
        // One row more is asked for: to know that there are more.
        Ok(PostgresReader::query(self, sql, rows_max.min(1 << 40), timeout_ms)?)
    }

    fn query_at(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<(Epoch, Found)> {
        Ok(PostgresReader::query_at(self, sql, rows_max.min(1 << 40), timeout_ms)?)
    }

    fn compare(&mut self, replayed: &Path, through: Epoch, whole: bool) -> Result<Vec<RowDifference>> {
        Ok(PostgresReader::compare(self, replayed, through, whole)?)
    }
}
