//! Serving rows: a run of epochs in one transaction, with its progress.
//!
//! ```text
//!   rows of the run ─ last one per key ─ as columns ─┐
//!        one round trip:  BEGIN · lock `decided` · upserts · digests · decided = last epoch
//!        and another:     COMMIT
//! ```
//!
//! Invariants: a reader sees whole epochs only, and the decided frontier that goes with them; a zombie of an
//! older generation changes nothing (see `frontier.rs`). A crash before the commit leaves the run to be
//! committed again; after it, `committed` says so and the runtime drops it.
//!
//! An answer to COMMIT that is lost leaves the run in doubt. Before anything else is written the frontier's
//! row is locked, which waits for the lost transaction; the frontier and its digest then say whether the
//! run is in. Not promised: that a server which fails over to a standby that lags keeps what it
//! acknowledged; that takes a synchronous standby. But it is noticed: a frontier that is not where our last commit
//! left it stops the run.

use super::columns::{ColumnValues, columns, upsert_sql};
use super::error::{PostgresError, Result};
use super::frontier::{self, DECIDED, Frontier};
use super::migrate::{MigrationSet, check_migrated};
use super::session::{Answers, Sending, Session};
use super::settings::PostgresSettings;
use crate::digest::fold_run;
use crate::rows::{assert_new, newest_rows};
use runtime::digest::{Digest, NOTHING_SAID};
use runtime::sink::{EpochItems, Sink, SinkError};
use runtime::{Epoch, Generation, killpoint};
use schemas::rows::Row;
use schemas::tables::ALL_TABLES;
use std::cmp::Ordering;
use std::time::{Duration, Instant};
use tokio_postgres::Statement;

const NAME: &str = "serving";
/// How long a commit in doubt is asked after before the caller is told to try again.
const FIND_OUT: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Upserts rows. `row_of` says which items are rows.
pub struct PostgresServing<I> {
    settings: PostgresSettings,
    generation: Generation,
    row_of: fn(&I) -> Option<&Row>,
    open: Option<Open>,
    /// What the database holds, as of the last commit; absent after a failure.
    known: Option<Known>,
    /// What our last commit left there; nobody else writes behind our fence.
    left_at: Option<Known>,
    in_doubt: Option<InDoubt>,
}

/// A connection and its statements.
struct Open {
    session: Session,
    lock: Statement,
    newest_digest: Statement,
    add_digests: Statement,
    advance: Statement,
    /// In the order of `ALL_TABLES`.
    upserts: Vec<Statement>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    frontier: Frontier,
    digest: Digest,
}

/// A run whose COMMIT was sent and not answered.
#[derive(Clone, Copy)]
struct InDoubt {
    before: Epoch,
    last: Epoch,
    digest: Digest,
}

/// How a run in doubt ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It is in: what follows it may be written.
    Committed,
    /// It left nothing behind: it may be written again.
    Never,
    /// The database holds something else: stop.
    Otherwise,
}

impl InDoubt {
    fn ended(&self, known: &Known) -> Ended {
        if known.frontier.epoch == self.last && known.digest == self.digest {
            Ended::Committed
        } else if known.frontier.epoch == self.before {
            Ended::Never
        } else {
            Ended::Otherwise
        }
    }
}

impl<I> PostgresServing<I> {
    /// Opens the serving tables for one generation of the pipeline.
    ///
    /// # Errors
    /// See [`PostgresError`]; [`PostgresError::NotMigrated`] where tables are missing.
    pub fn open(
        settings: &PostgresSettings,
        generation: Generation,
        row_of: fn(&I) -> Option<&Row>,
    ) -> Result<Self> {
        let open = Some(Open::new(settings)?);
        let settings = settings.clone();
        Ok(PostgresServing { settings, generation, row_of, open, known: None, left_at: None, in_doubt: None })
    }

    /// What the database holds; connects where there is no connection.
    fn know(&mut self) -> Result<Known> {
        if self.open.is_none() {
            self.open = Some(Open::new(&self.settings)?);
        }
        let open = self.open.as_ref().expect("it has just been opened");
        let known = match self.known {
            Some(known) => known,
            None => open.look()?,
        };
        self.known = Some(known);
        Ok(known)
    }

    /// The epochs of the run that are still to be written.
    fn left<'r>(
        &mut self,
        run: &'r [EpochItems<I>],
    ) -> std::result::Result<(&'r [EpochItems<I>], Known), SinkError> {
        let known = self.know().map_err(|e| e.into_sink(NAME))?;
        self.check_fence(&known.frontier)?;
        let ended = self.in_doubt.as_ref().map(|doubt| (doubt.ended(&known), doubt.last));
        let left = match ended {
            None if self.left_at.is_some_and(|left| left != known) => return Err(self.went_back(&known)),
            None | Some((Ended::Never, _)) => run,
            Some((Ended::Committed, last)) => &run[run.partition_point(|epoch| epoch.epoch <= last)..],
            Some((Ended::Otherwise, last)) => return Err(self.strange(last, &known)),
        };
        if self.in_doubt.take().is_some() {
            self.left_at = Some(known);
        }
        assert_new(known.frontier.epoch, left);
        Ok((left, known))
    }

    fn strange(&self, last: Epoch, known: &Known) -> SinkError {
        let (place, decided) = (self.settings.place(), known.frontier.epoch);
        SinkError::Stop {
            sink: NAME,
            problem: format!(
                "{place}: a commit up to epoch {last} was sent, and the frontier is {decided} with other rows"
            ),
            remedy: "the database was changed by someone else, or restored: restore it whole and start again"
                .to_owned(),
        }
    }

    fn went_back(&self, known: &Known) -> SinkError {
        let left = self.left_at.map_or(0, |left| left.frontier.epoch.0);
        let (problem, remedy) =
            frontier::went_back(&self.settings.place(), "rows", left, known.frontier.epoch);
        SinkError::Stop { sink: NAME, problem, remedy }
    }

    fn check_fence(&self, frontier: &Frontier) -> std::result::Result<(), SinkError> {
        let (ours, theirs) = (self.generation, frontier.generation);
        match theirs.cmp(&ours) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(SinkError::Fenced { sink: NAME, ours, theirs }),
            Ordering::Less => {
                let (problem, remedy) = frontier::fence_went_back(&self.settings.place(), ours, theirs);
                Err(SinkError::Stop { sink: NAME, problem, remedy })
            }
        }
    }

    fn try_commit(&mut self, run: &[EpochItems<I>]) -> std::result::Result<(), SinkError> {
        let (run, known) = self.left(run)?;
        let Some(last) = run.last() else { return Ok(()) };
        let digests = fold_run(known.digest, run, self.row_of);
        let digest = digests.last().map_or(known.digest, |(_, digest)| *digest);
        let open = self.open.as_ref().expect("`left` has connected");
        let answers = open.write(run, self.row_of, &known, &digests).map_err(|e| e.into_sink(NAME))?;
        self.check_answers(answers, &known)?;
        killpoint::reach("serving.before_commit");
        let doubt = InDoubt { before: known.frontier.epoch, last: last.epoch, digest };
        if let Err(error) = open.session.run("commit rows", "COMMIT") {
            self.in_doubt = Some(doubt);
            return Err(error.into_sink(NAME));
        }
        self.known = Some(Known { frontier: Frontier { epoch: last.epoch, ..known.frontier }, digest });
        self.left_at = self.known;
        killpoint::reach("serving.after_commit");
        Ok(())
    }

    /// The lock's answer first: behind a fence that says no, nothing else matters.
    fn check_answers(&self, mut answers: Answers, known: &Known) -> std::result::Result<(), SinkError> {
        let session = &self.open.as_ref().expect("it was written to").session;
        let mut next = || answers.next().map_err(|e| e.into_sink(NAME));
        next()?;
        let locked = frontier::locked(session, next()?).map_err(|e| e.into_sink(NAME))?;
        self.check_fence(&locked)?;
        if locked != known.frontier {
            return Err(self.strange(known.frontier.epoch, &Known { frontier: locked, ..*known }));
        }
        let rest = answers.rest().map_err(|e| e.into_sink(NAME))?;
        frontier::moved(session, rest.last()).map_err(|e| e.into_sink(NAME))
    }

    /// Asks until it is known whether the run is in, or patience runs out.
    fn find_out(&mut self, run: &[EpochItems<I>], cause: SinkError) -> std::result::Result<(), SinkError> {
        let start = Instant::now();
        loop {
            match self.left(run) {
                Ok(([], _)) => return Ok(()),
                Ok(_) => return Err(cause),
                Err(SinkError::Retry { .. }) if start.elapsed() < FIND_OUT => {
                    self.forget();
                    std::thread::sleep(ASK_EVERY);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives up the connection, and with it the transaction it may be in.
    fn forget(&mut self) {
        self.open = None;
        self.known = None;
    }
}

impl Open {
    fn new(settings: &PostgresSettings) -> Result<Open> {
        let session = Session::open(settings, NAME)?;
        check_migrated(&session, MigrationSet::Serving)?;
        let mut sql = vec![
            frontier::lock_sql(DECIDED),
            "SELECT digest FROM epoch_digests ORDER BY epoch DESC LIMIT 1".to_owned(),
            "INSERT INTO epoch_digests (epoch, digest) SELECT * FROM unnest($1::bigint[], $2::bytea[])"
                .to_owned(),
            frontier::advance_sql(DECIDED),
        ];
        sql.extend(ALL_TABLES.iter().map(|table| upsert_sql(table)));
        let mut prepared = session.prepare_all(&sql)?.into_iter();
        let mut next = || prepared.next().expect("one for each statement");
        let (lock, newest_digest, add_digests, advance) = (next(), next(), next(), next());
        Ok(Open { session, lock, newest_digest, add_digests, advance, upserts: prepared.collect() })
    }

    /// Reads frontier and digest behind the lock, so that no transaction of ours is still under way.
    fn look(&self) -> Result<Known> {
        let session = &self.session;
        let sendings = vec![
            session.plain("BEGIN"),
            session.ask(&self.lock, vec![]),
            session.ask(&self.newest_digest, vec![]),
            session.plain("ROLLBACK"),
        ];
        let mut answers = session.send_all("read the decided frontier", sendings)?;
        answers.next()?;
        let frontier = frontier::locked(session, answers.next()?)?;
        let found = answers.next()?.rows();
        let digest = match found.first() {
            None => NOTHING_SAID,
            Some(row) => row
                .get::<_, &[u8]>(0)
                .try_into()
                .map_err(|_| frontier::damaged(session, "the newest digest has not 32 bytes"))?,
        };
        Ok(Known { frontier, digest })
    }

    /// Sends everything but COMMIT.
    fn write<I>(
        &self,
        run: &[EpochItems<I>],
        row_of: fn(&I) -> Option<&Row>,
        known: &Known,
        digests: &[(Epoch, Digest)],
    ) -> Result<Answers> {
        let session = &self.session;
        let tables = newest_rows(run, row_of);
        let columns: Vec<(&Statement, Vec<ColumnValues<'_>>)> =
            tables.iter().map(|rows| (self.upsert(rows.table.name), columns(rows))).collect();
        let epochs: Vec<i64> = digests.iter().map(|(epoch, _)| epoch.0 as i64).collect();
        let digests: Vec<&[u8]> = digests.iter().map(|(_, digest)| &digest[..]).collect();
        let last = run.last().expect("a run that is written has an epoch");
        let (to, from) = (last.epoch.0 as i64, known.frontier.epoch.0 as i64);
        let generation = known.frontier.generation.0 as i64;
        let mut sendings: Vec<Sending<'_>> = vec![session.plain("BEGIN"), session.ask(&self.lock, vec![])];
        for (upsert, columns) in &columns {
            sendings.push(session.change(upsert, columns.iter().map(ColumnValues::param).collect()));
        }
        if !epochs.is_empty() {
            sendings.push(session.change(&self.add_digests, vec![&epochs, &digests]));
        }
        sendings.push(session.change(&self.advance, vec![&to, &last.now, &generation, &from]));
        session.send_all("commit rows", sendings)
    }

    fn upsert(&self, table: &str) -> &Statement {
        let at = ALL_TABLES.iter().position(|known| known.name == table);
        &self.upserts[at.expect("a row is of a table there is")]
    }
}

impl<I: Send> Sink<I> for PostgresServing<I> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn committed(&mut self) -> std::result::Result<Epoch, SinkError> {
        self.known = None;
        let known = self.know().map_err(|e| {
            self.open = None;
            PostgresError::into_sink(e, NAME)
        })?;
        Ok(known.frontier.epoch)
    }

    fn commit(&mut self, run: &[EpochItems<I>]) -> std::result::Result<(), SinkError> {
        let Err(error) = self.try_commit(run) else { return Ok(()) };
        self.forget();
        match self.in_doubt {
            Some(_) => self.find_out(run, error),
            None => Err(error),
        }
    }
}
