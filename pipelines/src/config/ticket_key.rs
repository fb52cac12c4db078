//! The key tickets are signed with: configured, read from a file, or made once and kept.
//!
//! A key that is made is written to a temporary file, synced and linked into place, so that a crash leaves
//! a whole key or none, and two processes starting at once agree on one.

use super::{ConfigError, Tickets};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Fewest bytes of a key.
const KEY_BYTES_MIN: usize = 16;

/// The key that `tickets` asks for.
pub fn load(tickets: &Tickets, data_dir: &Path) -> Result<Vec<u8>, ConfigError> {
    if let Some(key) = &tickets.key {
        return Ok(key.clone().into_bytes());
    }
    if let Some(path) = &tickets.key_file {
        return read(path);
    }
    let path = data_dir.join("ticket.key");
    if !path.exists() {
        make(data_dir, &path).map_err(|e| ConfigError::TicketKey {
            path: path.clone(),
            problem: e.to_string(),
            remedy: "make the folder writable, or set tickets.key_file",
        })?;
    }
    read(&path)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let error = |problem: String| ConfigError::TicketKey {
        path: path.to_owned(),
        problem,
        remedy: "put a key of at least 16 characters there, or set tickets.key_file to where it is",
    };
    let key = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?.trim().to_owned().into_bytes();
    if key.len() < KEY_BYTES_MIN {
        return Err(error(format!("it has {} characters", key.len())));
    }
    Ok(key)
}

fn make(data_dir: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(data_dir)?;
    let staged: PathBuf = data_dir.join(format!("ticket.key.{}", std::process::id()));
    let mut random = [0u8; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    let mut file = std::fs::File::create(&staged)?;
    writeln!(file, "{}", hex(&random))?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&staged, path);
    std::fs::remove_file(&staged)?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => std::fs::File::open(data_dir)?.sync_all(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(&Tickets::default(), dir.path()).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(load(&Tickets::default(), dir.path()).unwrap(), first);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_short_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        std::fs::write(&path, "short\n").unwrap();
        let tickets = Tickets { key: None, key_file: Some(path) };
        let error = load(&tickets, dir.path()).unwrap_err();
        assert!(error.to_string().contains("it has 5 characters; put a key"), "{error}");
    }
}
