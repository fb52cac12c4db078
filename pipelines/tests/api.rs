//! The API through real sockets, in front of a pipeline that runs: in this process, and killed as a process of its own.

#[path = "api/commands.rs"]
mod commands;
#[path = "api/filled.rs"]
mod filled;
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
#[path = "api/ready.rs"]
mod ready;
#[path = "api/reference.rs"]
mod reference;
#[path = "api/retried.rs"]
mod retried;
#[path = "api/rights.rs"]
mod rights;
#[path = "api/secrets.rs"]
mod secrets;
mod support;
#[path = "api/unchanged.rs"]
mod unchanged;
