//! The bindings store: one row per epoch, durable before anything of it becomes visible.
//!
//! ```text
//!   rows that wait ─ one round trip: BEGIN · lock `bound` · insert all · bound = last epoch ─ another: COMMIT
//! ```
//!
//! Invariants: epochs are consecutive; only the newest generation appends, asked behind the lock of the
//! frontier's row (see `frontier.rs`), so a process that was paused between its check and its write can't slip
//! in. A crash before the commit leaves the epochs unbound: nothing of them was visible, and they will be cut
//! anew. Where the answer to COMMIT is lost, what the store holds is compared with what was sent: the rows
//! are never appended twice, nor reported falsely. A database that has lost what it acknowledged (a standby that
//! lagged and was promoted, a backup) stops the run.

use super::error::Result;
use super::frontier::{self, BOUND, Frontier, epoch};
use super::migrate::{MigrationSet, check_migrated};
use super::session::{Answers, Session};
use super::settings::PostgresSettings;
use runtime::bindings::{Binding, BindingError, BindingStore, GenerationInfo};
use runtime::{Epoch, Generation, Millis, killpoint};
use std::cmp::Ordering;
use tokio_postgres::{Row, Statement};

/// Bindings and generations of one schema.
pub struct PostgresBindings {
    settings: PostgresSettings,
    /// The generation this store began; absent where it only reads.
    ours: Option<Generation>,
    open: Option<Open>,
    /// The last append's COMMIT was sent and not answered.
    in_doubt: bool,
}

/// A connection and its statements.
struct Open {
    session: Session,
    lock: Statement,
    insert: Statement,
    advance: Statement,
    read: Statement,
}

const INSERT: &str = "INSERT INTO bindings (epoch, generation, now_ms, bound_ms, places)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])";
const READ: &str = "SELECT epoch, generation, now_ms, bound_ms, places FROM bindings
    WHERE epoch > $1 ORDER BY epoch LIMIT $2";
const GENERATIONS: &str = "SELECT generation, code_version, settings, workers, started_ms, first_after
    FROM runs ORDER BY generation";

impl PostgresBindings {
    /// Opens the store of a schema.
    ///
    /// # Errors
    /// See [`super::PostgresError`]; its `NotMigrated` where tables are missing.
    pub fn open(settings: &PostgresSettings) -> Result<Self> {
        let open = Some(Open::new(settings)?);
        Ok(PostgresBindings { settings: settings.clone(), ours: None, open, in_doubt: false })
    }

    fn connected(&mut self) -> Result<&Open> {
        if self.open.as_ref().is_none_or(|open| open.session.client.is_closed()) {
            self.open = Some(Open::new(&self.settings)?);
        }
        Ok(self.open.as_ref().expect("it has just been opened"))
    }

    fn try_append(&mut self, rows: &[Binding], ours: Generation) -> std::result::Result<(), BindingError> {
        let in_doubt = self.in_doubt;
        let open = self.connected()?;
        let mut answers = open.insert(rows, ours)?;
        answers.next()?;
        let bound = frontier::locked(&open.session, answers.next()?)?;
        open.check_fence(ours, bound.generation)?;
        if in_doubt && open.holds(rows, &bound)? {
            return Ok(());
        }
        open.check_kept(rows[0].epoch, bound.epoch)?;
        frontier::moved(&open.session, answers.rest()?.last())?;
        killpoint::reach("bindings.before_append");
        let committed = open.session.run("append bindings", "COMMIT");
        self.in_doubt = committed.is_err();
        committed?;
        killpoint::reach("bindings.after_append");
        Ok(())
    }

    /// After a failure nothing of its connection is used again.
    fn giving_up<T, E>(&mut self, outcome: std::result::Result<T, E>) -> std::result::Result<T, E> {
        if outcome.is_err() {
            self.open = None;
        }
        outcome
    }

    fn try_begin(&mut self, mut info: GenerationInfo) -> Result<GenerationInfo> {
        let open = self.connected()?;
        let session = &open.session;
        session.run("begin a generation", "BEGIN")?;
        let all = "SELECT name, epoch FROM frontiers ORDER BY name FOR UPDATE";
        let frontiers = session.rows("lock the frontiers", all, &[])?;
        let bound = frontiers.iter().find(|row| row.get::<_, &str>(0) == BOUND);
        info.first_after =
            epoch(bound.ok_or_else(|| frontier::damaged(session, "a frontier's row is missing"))?, 1);
        let newest = "SELECT coalesce(max(generation), 0) FROM generations";
        let newest = session.row("read the newest generation", newest, &[])?;
        info.generation = Generation(newest.get::<_, i64>(0) as u64 + 1);
        open.add_generation(&info)?;
        session.run("begin a generation", "COMMIT")?;
        Ok(info)
    }
}

impl Open {
    fn new(settings: &PostgresSettings) -> Result<Open> {
        let session = Session::open(settings, "bindings")?;
        check_migrated(&session, MigrationSet::Serving)?;
        let sql =
            [frontier::lock_sql(BOUND), INSERT.to_owned(), frontier::advance_sql(BOUND), READ.to_owned()];
        let mut prepared = session.prepare_all(&sql)?.into_iter();
        let mut next = || prepared.next().expect("one for each statement");
        let (lock, insert, advance, read) = (next(), next(), next(), next());
        Ok(Open { session, lock, insert, advance, read })
    }

    /// Sends everything but COMMIT.
    fn insert(&self, rows: &[Binding], ours: Generation) -> Result<Answers> {
        let ints = |of: fn(&Binding) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
        let (epochs, nows) = (ints(|row| row.epoch.0 as i64), ints(|row| row.now));
        let generations = ints(|row| row.generation.0 as i64);
        let bounds: Vec<Option<i64>> = rows.iter().map(|row| row.bound).collect();
        let places: Vec<Vec<u8>> = rows.iter().map(Binding::packed_places).collect();
        let (from, ours) = (rows[0].epoch.0 as i64 - 1, ours.0 as i64);
        let (to, now) = (epochs[epochs.len() - 1], nows[nows.len() - 1]);
        let session = &self.session;
        let sendings = vec![
            session.plain("BEGIN"),
            session.ask(&self.lock, vec![]),
            session.change(&self.insert, vec![&epochs, &generations, &nows, &bounds, &places]),
            session.change(&self.advance, vec![&to, &now, &ours, &from]),
        ];
        session.send_all("append bindings", sendings)
    }

    fn check_fence(&self, ours: Generation, theirs: Generation) -> std::result::Result<(), BindingError> {
        match theirs.cmp(&ours) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(BindingError::Fenced { ours, theirs }),
            Ordering::Less => {
                let (problem, remedy) = frontier::fence_went_back(&self.session.place, ours, theirs);
                Err(BindingError::Stop { problem, remedy })
            }
        }
    }

    /// Behind our fence nobody else binds: the last epoch is the one before the next, or the database is not what
    /// it was. Epochs that were bound, and told, would be missing from every replay.
    fn check_kept(&self, next: Epoch, bound: Epoch) -> std::result::Result<(), BindingError> {
        if bound.next() == next {
            return Ok(());
        }
        let (problem, remedy) = frontier::went_back(&self.session.place, "epochs", next.0 - 1, bound);
        Err(BindingError::Stop { problem, remedy })
    }

    /// Whether rows in doubt are in. The frontier is locked: nothing of ours is under way any more.
    fn holds(&self, rows: &[Binding], bound: &Frontier) -> Result<bool> {
        let (first, last) = (rows[0].epoch, rows[rows.len() - 1].epoch);
        if bound.epoch.0 + 1 == first.0 {
            return Ok(false);
        }
        self.session.run("look for bindings in doubt", "ROLLBACK")?;
        if bound.epoch == last && self.read(Epoch(first.0 - 1), rows.len())? == rows {
            return Ok(true);
        }
        Err(frontier::damaged(
            &self.session,
            &format!("epochs {first} to {last} are bound otherwise than was sent"),
        ))
    }

    fn read(&self, after: Epoch, max: usize) -> Result<Vec<Binding>> {
        let (after, max) = (after.0 as i64, i64::try_from(max).unwrap_or(i64::MAX));
        let rows =
            self.session.wait("read bindings", self.session.client.query(&self.read, &[&after, &max]))?;
        let bindings: Vec<Binding> =
            rows.iter().map(|row| unpack(row, &self.session)).collect::<Result<_>>()?;
        for (at, binding) in (after as u64 + 1..).zip(&bindings) {
            if binding.epoch.0 != at {
                return Err(frontier::damaged(
                    &self.session,
                    &format!("the binding of epoch {at} is missing"),
                ));
            }
        }
        Ok(bindings)
    }

    /// The generation's own row, and its number in every fence.
    fn add_generation(&self, info: &GenerationInfo) -> Result<()> {
        let add =
            "INSERT INTO generations (generation, code_version, settings, workers, started_ms, first_after)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let (generation, workers) = (info.generation.0 as i64, info.workers as i64);
        let first_after = info.first_after.0 as i64;
        let GenerationInfo { code_version, settings, started_ms, .. } = info;
        self.session.execute(
            "begin a generation",
            add,
            &[&generation, code_version, settings, &workers, started_ms, &first_after],
        )?;
        let fence = "UPDATE frontiers SET generation = $1";
        self.session.execute("fence off older generations", fence, &[&generation]).map(drop)
    }
}

impl BindingStore for PostgresBindings {
    fn begin_generation(
        &mut self,
        code_version: &str,
        settings: &str,
        workers: usize,
        started_ms: Millis,
    ) -> std::result::Result<GenerationInfo, BindingError> {
        let begun = self.try_begin(GenerationInfo {
            generation: Generation(0),
            code_version: code_version.to_owned(),
            settings: settings.to_owned(),
            workers,
            started_ms,
            first_after: Epoch(0),
        });
        // One whose COMMIT was not answered may have begun: it has no process, and the next one fences it.
        let info = self.giving_up(begun)?;
        self.ours = Some(info.generation);
        Ok(info)
    }

    fn append(&mut self, rows: &[Binding]) -> std::result::Result<(), BindingError> {
        let ours = self.ours.expect("a generation is begun before anything is bound");
        let Some(first) = rows.first() else { return Ok(()) };
        assert_consecutive(Epoch(first.epoch.0 - 1), rows);
        assert!(rows.iter().all(|row| row.generation == ours), "a generation binds its own epochs");
        let mut appended = self.try_append(rows, ours);
        if self.in_doubt && matches!(appended, Err(BindingError::Retry(_))) {
            // The answer was lost: once more, at once, finds out what became of it.
            self.open = None;
            appended = self.try_append(rows, ours);
        }
        if appended.is_ok() {
            self.in_doubt = false;
        }
        self.giving_up(appended)
    }

    fn last(&mut self) -> std::result::Result<Epoch, BindingError> {
        let open = self.connected()?;
        let sql = "SELECT epoch FROM frontiers WHERE name = 'bound'";
        let row = open.session.row("read the last binding", sql, &[]);
        Ok(epoch(&self.giving_up(row)?, 0))
    }

    fn read(&mut self, after: Epoch, max: usize) -> std::result::Result<Vec<Binding>, BindingError> {
        let read = self.connected()?.read(after, max);
        Ok(self.giving_up(read)?)
    }

    fn generations(&mut self) -> std::result::Result<Vec<GenerationInfo>, BindingError> {
        let open = self.connected()?;
        let read = generations(&open.session);
        Ok(self.giving_up(read)?)
    }
}

/// A gap in the epochs, or one bound twice, would make a replay differ from what was.
fn assert_consecutive(last: Epoch, rows: &[Binding]) {
    for (at, row) in (last.0 + 1..).zip(rows) {
        assert_eq!(row.epoch.0, at, "epochs are bound one after the other; the last one is {last}");
    }
}

fn unpack(row: &Row, session: &Session) -> Result<Binding> {
    let at = epoch(row, 0);
    let generation = Generation(row.get::<_, i64>(1) as u64);
    let (ends, clamps) = (Vec::new(), Vec::new());
    let binding =
        Binding { epoch: at, generation, now: row.get(2), bound: row.get(3), ends, clamps, unread: None };
    binding
        .with_places(row.get(4))
        .map_err(|e| frontier::damaged(session, &format!("the binding of epoch {at} can't be decoded ({e})")))
}

/// Every generation, oldest first.
pub(crate) fn generations(session: &Session) -> Result<Vec<GenerationInfo>> {
    let rows = session.rows("read generations", GENERATIONS, &[])?;
    let info = |row: &Row| GenerationInfo {
        generation: Generation(row.get::<_, i64>(0) as u64),
        code_version: row.get(1),
        settings: row.get(2),
        workers: row.get::<_, i64>(3) as usize,
        started_ms: row.get(4),
        first_after: epoch(row, 5),
    };
    Ok(rows.iter().map(info).collect())
}
