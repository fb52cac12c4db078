//! The workload "guarded sales": millions of order lines against idempotency, validation, velocity, stock and
//! commission, through the engine and through a straight loop that decides the same.
//!
//! ```text
//!   orders.csv ─ csv ─┬─> folder (LogReader) ─> whole | parts, on the runtime ─> tally (Sink) ─┐
//!                     └─> straight (one loop) ─────────────────────────────────────────────────┴─> Outcome
//! ```
//!
//! Real in both wirings, as the program runs them: the runtime (fetch thread, mint, bindings, epochs, workers,
//! committer), and the operators dedup, table, desk, velocity, the ledger, commission intake, the differential
//! relation and the statements. In memory only: bindings, and what the sink counts; no snapshots are taken.
//!
//! - *whole* is the job `sales` with `fraud` and `commissions`, unchanged: probe, screen and book, too, and every
//!   fact and row reaches the sink.
//! - *parts* wires the operators to no more than the workload asks (see [`parts`]). In the place of probe, screen
//!   and book stands an adapter, [`till`]: it puts an order together with its verdict and books it on the ledger,
//!   without order lives, limits, tickets, and facts or rows of orders. It hands sales to commission summed up by
//!   the hour.
//!
//! Adapted in both, in [`folder`], because the workload says less than our records do:
//! - A line is a `place_order` whose `command_id` is its `order_id`, so that a repeated line is the same command
//!   again; its payload hash is the hash of the line. All belong to one tenant. It is decoded from the CSV into
//!   the message itself, not by way of Avro.
//! - A line's record time is the newest `ts` up to it, and `ts` is its event time: the log's order is the order
//!   of arrival, the velocity rule (customer, count, 60 s, above 6 with the order itself, block) sees event time.
//! - The tenant bills later: an accepted order is a confirmed sale, so stock and commission follow at once. An
//!   order is remembered for a minute after its end: nothing is paid, cancelled or refunded here.
//! - The workload's four kinds are two of ours in two currencies, because tickets and seats would issue signed
//!   tickets. A kind's rate is one tier from 0 of a plan that all of the 500 partners have.
//! - No grace: an order for an unknown offer waits for it no longer than for the next record.
//! - A heartbeat behind the last line lets the last hour end.
//!
//! And in [`tally`]: a decision is read from the order's fact (of several reasons, the workload's first); what a
//! partner earns is rounded down once, from the bases of its statements, where the statements themselves round
//! half to even by month (they are held to that).

pub mod csv;
pub mod engine;
pub mod folder;
pub mod outcome;
pub mod parts;
pub mod straight;
pub mod tally;
pub mod till;
