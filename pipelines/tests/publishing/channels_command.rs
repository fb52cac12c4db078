//! `tombola channels` against a server: what it prints, and with which exit code it ends.

use super::server::{Kind, Server, TOKEN};
use connectors::embedded::Log;
use pipelines::demo::record::Body;
use schemas::debezium::Op;
use schemas::draws::{Channel, ChannelStatus, Network};
use schemas::{Reference, SchemaIds};
use std::path::Path;
use std::process::{Command, Output};

fn channel(dir: &Path, server: &Server, lsn: u64) {
    let row = Reference::Channel(Box::new(Channel {
        tenant: "acme".into(),
        channel_id: "main".into(),
        network: Network::parse(server.network()).unwrap(),
        endpoint: server.url().into(),
        target: "@draws".into(),
        template: "card".into(),
        locale: "vi".into(),
        games: "".into(),
        status: ChannelStatus::Active,
    }));
    let body = Body::Change { op: Op::Create, before: None, after: Box::new(row), lsn };
    let record = body.encode(&SchemaIds::fresh(), 1_000);
    Log::appender(dir).unwrap().append(body.topic(), &[record]).unwrap();
}

fn tombola(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombola"));
    let Output { status, stdout, stderr } =
        command.arg("channels").args(args).arg("--data-dir").arg(dir).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn a_channel_is_tried_and_what_happened_is_said() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(Kind::Telegram));
    channel(dir.path(), &server, 1);
    let (code, said) = tombola(dir.path(), &["test", "acme/main"]);
    assert!(
        code == Some(2) && said.contains("has no secret: add \"acme/main\" to publishing.secrets"),
        "{said}"
    );
    let secret = dir.path().join("secret");
    std::fs::write(&secret, TOKEN).unwrap();
    let settings = format!("[publishing.secrets]\n\"acme/main\" = \"file:{}\"\n", secret.display());
    std::fs::write(dir.path().join("tombola.toml"), settings).unwrap();
    let (code, said) = tombola(dir.path(), &["test", "acme/main"]);
    assert!(code == Some(0) && said.contains("the token is that of @draws_bot"), "{said}");
    assert!(server.posts().is_empty());
    let (code, said) = tombola(dir.path(), &["test", "acme/main", "--post"]);
    assert!(code == Some(0) && said.contains("acme/main: posted as 1"), "{said}");
    assert_eq!(server.shown().len(), 1);
    let (code, said) = tombola(dir.path(), &["list"]);
    assert!(code == Some(0) && said.contains("card/vi  active  secret configured"), "{said}");
    std::fs::write(&secret, "wrong").unwrap();
    let (code, said) = tombola(dir.path(), &["test", "acme/main"]);
    assert!(code == Some(1) && said.contains("401 Unauthorized") && !said.contains("wrong"), "{said}");
    let (code, said) = tombola(dir.path(), &["test", "acme/other"]);
    assert!(
        code == Some(2) && said.contains("there is no channel acme/other; the log knows these: acme/main"),
        "{said}"
    );
}
