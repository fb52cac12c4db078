//! Secrets of channels: read when they are needed, never printed.

use std::fmt;

/// A token or key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret that can't be read. Says where it should be, never what it is.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{setting}: {place} can't be read: {problem}; put the secret there")]
    Unreadable { setting: String, place: String, problem: String },
    #[error("{setting}: {place} is empty; put the secret there")]
    Empty { setting: String, place: String },
    #[error("{setting} must be \"file:/path\" or \"env:VARIABLE\"")]
    Form { setting: String },
}

impl Secret {
    /// The secret itself. White space around it is dropped.
    pub fn new(text: &str) -> Self {
        Secret(text.trim().to_owned())
    }

    /// Reads what `source` names: `file:/path` or `env:VARIABLE`. `setting` is what messages call it.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn read(setting: &str, source: &str) -> Result<Self, SecretError> {
        let (read, place) = if let Some(path) = source.strip_prefix("file:") {
            (std::fs::read_to_string(path).map_err(|e| e.to_string()), format!("file {path}"))
        } else if let Some(name) = source.strip_prefix("env:") {
            (std::env::var(name).map_err(|e| e.to_string()), format!("variable {name}"))
        } else {
            return Err(SecretError::Form { setting: setting.to_owned() });
        };
        let setting = setting.to_owned();
        match read {
            Err(problem) => Err(SecretError::Unreadable { setting, place, problem }),
            Ok(text) if text.trim().is_empty() => Err(SecretError::Empty { setting, place }),
            Ok(text) => Ok(Secret::new(&text)),
        }
    }

    /// To be put into a request, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "hush\n").unwrap();
        let secret =
            Secret::read("publishing.secrets.\"acme/main\"", &format!("file:{}", path.display())).unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("hush", "Secret(…)"));
        for (source, wanted) in [
            ("hush", "must be \"file:/path\" or \"env:VARIABLE\""),
            ("file:/nowhere/t", "file /nowhere/t can't be read"),
            ("env:TOMBOLA_NO_SUCH_VARIABLE", "variable TOMBOLA_NO_SUCH_VARIABLE can't be read"),
        ] {
            let error = Secret::read("s", source).unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains("hush"), "{error}");
        }
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(
            Secret::read("s", &format!("file:{}", path.display())),
            Err(SecretError::Empty { .. })
        ));
    }
}
