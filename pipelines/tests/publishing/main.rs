//! Publishing against servers that speak the networks' HTTP interfaces on real sockets: what is posted, how often,
//! and what becomes of it when networks fail, answers are lost and the process dies.

#![allow(clippy::unwrap_used)] // a test helper is a test too

mod channels_command;
mod delivery;
mod end_to_end;
mod fan_out;
mod games;
mod kill;
mod networks;
mod server;
mod world;
