//! The API through real sockets, in front of a pipeline that runs: in this process, and killed as a process of its own.

#[path = "api/commands.rs"]
mod commands;
#[path = "api/hostile.rs"]
mod hostile;
#[path = "api/house.rs"]
mod house;
#[path = "api/http.rs"]
mod http;
#[path = "api/images.rs"]
mod images;
#[path = "api/killed.rs"]
mod killed;
#[path = "api/listeners.rs"]
mod listeners;
#[path = "api/live.rs"]
mod live;
#[path = "api/rights.rs"]
mod rights;
mod support;
