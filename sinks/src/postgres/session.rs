//! A connection with the small runtime that drives it, and statements sent without waiting in between.
//!
//! ```text
//!   send_all:  BEGIN, lock, rows, ... ──> server          one round trip, answers in the same order
//!              answer, answer, answer  <──
//! ```
//!
//! `tokio-postgres` itself and not the blocking `postgres` on top of it, because only the former sends many
//! statements in one round trip. Blocking calls: never on a thread of a tokio runtime.
//!
//! After any failure a session is thrown away, and with it whatever its transaction had begun.

use super::error::{PostgresError, Result, classify};
use super::settings::{PostgresSettings, each_host};
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Socket, Statement};

/// An answer that never comes is no answer: the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Of several hosts, one that doesn't answer within it is passed over.
const HOST_TIMEOUT: Duration = Duration::from_secs(10);

/// What every session of a pipeline begins with.
///
/// A process that is stopped in the middle of a transaction must not keep its successor waiting, so the
/// server ends such a transaction; and a commit that was acknowledged must be durable, whatever the
/// server's default is.
const BEGIN_SESSION: &str = "
SET idle_in_transaction_session_timeout = '10s';
SET lock_timeout = '30s';
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET client_encoding = 'UTF8'; SET bytea_output = 'hex';
SET plan_cache_mode = force_generic_plan;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local');
";

/// One connection.
pub(crate) struct Session {
    // Dropped first: it tells the connection's task to end.
    pub client: Client,
    runtime: Runtime,
    pub place: String,
}

/// A request on its way.
type Pending<'a, T> = Pin<Box<dyn Future<Output = std::result::Result<T, Error>> + 'a>>;
/// A statement on its way.
pub(crate) type Sending<'a> = Pending<'a, Answer>;

/// Rows, or how many were changed.
pub(crate) enum Answer {
    Done,
    Changed(u64),
    Rows(Vec<Row>),
}

impl Answer {
    pub fn rows(self) -> Vec<Row> {
        if let Answer::Rows(rows) = self { rows } else { Vec::new() }
    }

    pub fn changed(&self) -> u64 {
        if let Answer::Changed(count) = self { *count } else { 0 }
    }
}

/// Answers in the order of the statements.
pub(crate) struct Answers {
    answers: std::vec::IntoIter<std::result::Result<Answer, Error>>,
    place: String,
    doing: &'static str,
}

impl Answers {
    /// The next statement's answer.
    pub fn next(&mut self) -> Result<Answer> {
        let answer = self.answers.next().expect("one answer for each statement sent");
        answer.map_err(|e| classify(&self.place, self.doing, e))
    }

    /// All that are left; the first failure is the cause of those after it.
    pub fn rest(mut self) -> Result<Vec<Answer>> {
        (0..self.answers.len()).map(|_| self.next()).collect()
    }
}

impl Session {
    /// Connects, with the settings' schema as the only one that is searched.
    pub fn open(settings: &PostgresSettings, purpose: &str) -> Result<Session> {
        let (config, place) = (settings.config(purpose)?, settings.place());
        let tls = settings.connector(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| PostgresError::Thread { place: place.clone(), source })?;
        let begin = format!("SET search_path = \"{}\"; {BEGIN_SESSION}", settings.schema);
        let hosts = each_host(&config);
        let limit = if hosts.len() > 1 { HOST_TIMEOUT } else { ANSWER_TIMEOUT };
        let mut refused: Option<PostgresError> = None;
        for host in &hosts {
            let connecting = async {
                let client = match tls.clone() {
                    Some(tls) => connect(host, tls).await?,
                    None => connect(host, NoTls).await?,
                };
                client.batch_execute(&begin).await?;
                Ok(client)
            };
            match wait_at_most(limit, &runtime, &settings.place_of(host), "connect", connecting) {
                Ok(client) => return Ok(Session { client, runtime, place }),
                // What passes at one server may be what the others wait for: it goes before what one refuses for good.
                Err(error) if refused.as_ref().is_none_or(|r| !r.is_passing() && error.is_passing()) => {
                    refused = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(refused.expect("a configuration stands for one host at least"))
    }

    /// Waits for an answer.
    pub fn wait<T>(
        &self,
        doing: &'static str,
        answer: impl Future<Output = std::result::Result<T, Error>>,
    ) -> Result<T> {
        wait(&self.runtime, &self.place, doing, answer)
    }

    /// Waits for an answer for as long as the server's own limits let it take.
    pub fn wait_long<T>(
        &self,
        answer: impl Future<Output = std::result::Result<T, Error>>,
    ) -> std::result::Result<T, Error> {
        self.runtime.block_on(answer)
    }

    /// Runs statements without parameters.
    pub fn run(&self, doing: &'static str, sql: &str) -> Result<()> {
        self.wait(doing, self.client.batch_execute(sql))
    }

    /// Runs one statement that changes rows: how many.
    pub fn execute(&self, doing: &'static str, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        self.wait(doing, self.client.execute(sql, params))
    }

    /// Runs one statement that returns rows.
    pub fn rows(&self, doing: &'static str, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        self.wait(doing, self.client.query(sql, params))
    }

    /// Runs one statement that returns one row.
    pub fn row(&self, doing: &'static str, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        self.wait(doing, self.client.query_one(sql, params))
    }

    /// Prepares statements, all in one round trip.
    pub fn prepare_all(&self, sql: &[String]) -> Result<Vec<Statement>> {
        let sendings = sql.iter().map(|sql| boxed(self.client.prepare(sql))).collect();
        self.wait("prepare its statements", async { in_order(sendings).await.into_iter().collect() })
    }

    /// Sends statements one after the other without waiting in between; answers in the same order, each
    /// for itself: in a transaction whose fence says no, what failed behind it means nothing.
    pub fn send_all(&self, doing: &'static str, sendings: Vec<Sending<'_>>) -> Result<Answers> {
        let answers = self.wait(doing, async { Ok(in_order(sendings).await) })?;
        Ok(Answers { answers: answers.into_iter(), place: self.place.clone(), doing })
    }

    /// A statement without parameters, for [`Session::send_all`].
    pub fn plain<'a>(&'a self, sql: &'a str) -> Sending<'a> {
        boxed(async move { self.client.batch_execute(sql).await.map(|()| Answer::Done) })
    }

    /// A statement that changes rows.
    pub fn change<'a>(&'a self, statement: &'a Statement, params: Params<'a>) -> Sending<'a> {
        boxed(async move { self.client.execute(statement, &params).await.map(Answer::Changed) })
    }

    /// A statement that returns rows.
    pub fn ask<'a>(&'a self, statement: &'a Statement, params: Params<'a>) -> Sending<'a> {
        boxed(async move { self.client.query(statement, &params).await.map(Answer::Rows) })
    }
}

/// Opens a connection and has it driven.
async fn connect<T>(config: &Config, tls: T) -> std::result::Result<Client, Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // How a connection ended is told to whoever waits for an answer on it.
    drop(tokio::spawn(connection));
    Ok(client)
}

fn wait<T>(
    runtime: &Runtime,
    place: &str,
    doing: &'static str,
    answer: impl Future<Output = std::result::Result<T, Error>>,
) -> Result<T> {
    wait_at_most(ANSWER_TIMEOUT, runtime, place, doing, answer)
}

fn wait_at_most<T>(
    limit: Duration,
    runtime: &Runtime,
    place: &str,
    doing: &'static str,
    answer: impl Future<Output = std::result::Result<T, Error>>,
) -> Result<T> {
    match runtime.block_on(async { tokio::time::timeout(limit, answer).await }) {
        Ok(answer) => answer.map_err(|e| classify(place, doing, e)),
        Err(_) => Err(PostgresError::Passing {
            place: place.to_owned(),
            doing,
            problem: format!("no answer within {} s", limit.as_secs()),
            source: None,
        }),
    }
}

/// Parameters of a statement.
pub(crate) type Params<'a> = Vec<&'a (dyn ToSql + Sync)>;

fn boxed<'a, T>(future: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(future)
}

/// Polls in the given order, which is the order of sending: a statement is sent when it is first polled.
async fn in_order<T>(mut sendings: Vec<Pending<'_, T>>) -> Vec<std::result::Result<T, Error>> {
    let mut answers: Vec<Option<std::result::Result<T, Error>>> = sendings.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (sending, answer) in sendings.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = sending.as_mut().poll(context)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}
