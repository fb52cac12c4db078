//! The bindings store in `tombola.db`: one row per epoch, durable before anything of it becomes visible.
//!
//! Invariants: epochs are consecutive; only the newest generation appends, asked inside the transaction, so
//! a process that was paused between its check and its write can't slip in. A crash before the commit
//! leaves the epochs unbound: nothing of them was visible, and they will be cut anew.

use super::db::{Db, newest_generation};
use super::error::{EmbeddedError, classify};
use runtime::bindings::{Binding, BindingError, BindingStore, GenerationInfo};
use runtime::{Epoch, Generation, Millis, killpoint};
use rusqlite::{Connection, Row, Transaction, params};
use std::path::Path;

/// Bindings and generations of one data directory.
#[derive(Debug)]
pub struct BindingsDb {
    db: Db,
    /// The generation this store began; absent where it only reads.
    ours: Option<Generation>,
}

impl BindingsDb {
    /// Opens the store of a data directory; creates it where there is none.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn open(dir: &Path) -> Result<Self, EmbeddedError> {
        Ok(BindingsDb { db: Db::open(dir)?, ours: None })
    }

    /// Opens an existing store to replay from: nothing is ever written.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub fn open_read_only(dir: &Path) -> Result<Self, EmbeddedError> {
        Ok(BindingsDb { db: Db::open_read_only(dir)?, ours: None })
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> BindingError {
        self.db.failed(doing, source).into()
    }
}

impl BindingStore for BindingsDb {
    fn begin_generation(
        &mut self,
        code_version: &str,
        settings: &str,
        workers: usize,
        started_ms: Millis,
    ) -> Result<GenerationInfo, BindingError> {
        let file = self.db.file.clone();
        let tx = self.db.write()?;
        let begin = || -> rusqlite::Result<GenerationInfo> {
            let info = GenerationInfo {
                generation: Generation(newest_generation(&tx)?.0 + 1),
                code_version: code_version.to_owned(),
                settings: settings.to_owned(),
                workers,
                started_ms,
                first_after: last(&tx)?,
            };
            add_generation(&tx, &info)?;
            Ok(info)
        };
        let begun = begin().and_then(|info| tx.commit().map(|()| info));
        let info = begun.map_err(|e| classify(&file, "begin a generation", e))?;
        self.ours = Some(info.generation);
        Ok(info)
    }

    fn append(&mut self, rows: &[Binding]) -> Result<(), BindingError> {
        let ours = self.ours.expect("a generation is begun before anything is bound");
        let packed: Vec<Vec<u8>> = rows.iter().map(Binding::packed_places).collect();
        let file = self.db.file.clone();
        let failed = |e| BindingError::from(classify(&file, "append bindings", e));
        let tx = self.db.write()?;
        let theirs = newest_generation(&tx).map_err(failed)?;
        if theirs != ours {
            return Err(BindingError::Fenced { ours, theirs });
        }
        assert_consecutive(last(&tx).map_err(failed)?, rows);
        add_rows(&tx, rows, &packed).map_err(failed)?;
        killpoint::reach("bindings.before_append");
        tx.commit().map_err(failed)?;
        killpoint::reach("bindings.after_append");
        Ok(())
    }

    fn last(&mut self) -> Result<Epoch, BindingError> {
        last(&self.db.conn).map_err(|e| self.failed("read the last binding", e))
    }

    fn read(&mut self, after: Epoch, max: usize) -> Result<Vec<Binding>, BindingError> {
        let rows = stored_rows(&self.db.conn, after, max);
        let rows = rows.map_err(|e| self.failed("read bindings", e))?;
        let bindings: Vec<Binding> =
            rows.into_iter().map(|row| row.unpack(&self.db.file)).collect::<Result<_, _>>()?;
        for (at, binding) in (after.0 + 1..).zip(&bindings) {
            if binding.epoch.0 != at {
                let problem = format!("the binding of epoch {at} is missing");
                return Err(EmbeddedError::Damaged { file: self.db.file.clone(), problem }.into());
            }
        }
        Ok(bindings)
    }

    fn generations(&mut self) -> Result<Vec<GenerationInfo>, BindingError> {
        generations(&self.db.conn).map_err(|e| self.failed("read generations", e))
    }
}

/// A gap in the epochs, or one bound twice, would make a replay differ from what was.
fn assert_consecutive(last: Epoch, rows: &[Binding]) {
    for (at, row) in (last.0 + 1..).zip(rows) {
        assert_eq!(row.epoch.0, at, "epochs are bound one after the other; the last one is {last}");
    }
}

/// A row as stored, its places still packed.
struct StoredRow {
    binding: Binding,
    places: Vec<u8>,
}

impl StoredRow {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let binding = Binding {
            epoch: Epoch(row.get::<_, i64>(0)? as u64),
            generation: Generation(row.get::<_, i64>(1)? as u64),
            now: row.get(2)?,
            bound: row.get(3)?,
            ends: Vec::new(),
            clamps: Vec::new(),
            unread: None,
        };
        Ok(StoredRow { binding, places: row.get(4)? })
    }

    fn unpack(self, file: &str) -> Result<Binding, EmbeddedError> {
        let epoch = self.binding.epoch;
        self.binding.with_places(&self.places).map_err(|e| EmbeddedError::Damaged {
            file: file.to_owned(),
            problem: format!("the binding of epoch {epoch} can't be decoded ({e})"),
        })
    }
}

fn stored_rows(conn: &Connection, after: Epoch, max: usize) -> rusqlite::Result<Vec<StoredRow>> {
    let mut select = conn.prepare_cached(
        "SELECT epoch, generation, now_ms, bound_ms, places FROM bindings WHERE epoch > ?1 ORDER BY epoch LIMIT ?2",
    )?;
    select.query_map(params![after.0 as i64, max as i64], StoredRow::of)?.collect()
}

fn add_rows(tx: &Transaction<'_>, rows: &[Binding], packed: &[Vec<u8>]) -> rusqlite::Result<()> {
    let mut add = tx.prepare_cached(
        "INSERT INTO bindings (epoch, generation, now_ms, bound_ms, places) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (row, places) in rows.iter().zip(packed) {
        add.execute(params![row.epoch.0 as i64, row.generation.0 as i64, row.now, row.bound, places])?;
    }
    Ok(())
}

fn add_generation(tx: &Transaction<'_>, info: &GenerationInfo) -> rusqlite::Result<()> {
    let sql = "INSERT INTO generations (generation, code_version, settings, workers, started_ms, first_after)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (generation, first_after) = (info.generation.0 as i64, info.first_after.0 as i64);
    let workers = info.workers as i64;
    tx.execute(
        sql,
        params![generation, info.code_version, info.settings, workers, info.started_ms, first_after],
    )?;
    Ok(())
}

/// The last epoch bound; 0 before the first.
pub(crate) fn last(conn: &Connection) -> rusqlite::Result<Epoch> {
    let mut select = conn.prepare_cached("SELECT coalesce(max(epoch), 0) FROM bindings")?;
    select.query_row([], |row| Ok(Epoch(row.get::<_, i64>(0)? as u64)))
}

/// Every generation, oldest first.
pub(crate) fn generations(conn: &Connection) -> rusqlite::Result<Vec<GenerationInfo>> {
    let mut select = conn.prepare_cached(
        "SELECT generation, code_version, settings, workers, started_ms, first_after FROM generations ORDER BY generation",
    )?;
    let rows = select.query_map([], |row| {
        Ok(GenerationInfo {
            generation: Generation(row.get::<_, i64>(0)? as u64),
            code_version: row.get(1)?,
            settings: row.get(2)?,
            workers: row.get::<_, i64>(3)? as usize,
            started_ms: row.get(4)?,
            first_after: Epoch(row.get::<_, i64>(5)? as u64),
        })
    })?;
    rows.collect()
}
