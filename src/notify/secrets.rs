//! The files of the channels. Each is read again at each message.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::error::DeliveryError;
use crate::config::systemd_credential;
use crate::files::{SecretKind, SecretSource};

/// How long files may take: a disk or a network share may not answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Reads files in a thread of its own, so that a disk that does not answer delays nothing else.
pub(super) async fn read_aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, DeliveryError> + Send + 'static,
) -> Result<T, DeliveryError> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(DeliveryError::new("reading the files of [notify] panicked", "report this as an error")),
        Err(_) => Err(DeliveryError::new(
            format!("the files of [notify] cannot be read within {} s", DEADLINE.as_secs()),
            "check the disk that they are on",
        )),
    }
}

/// A file with a secret, and the key that names it.
#[derive(Clone, Debug)]
pub(super) struct SecretFile {
    key: &'static str,
    source: SecretSource,
}

impl SecretFile {
    /// The configured file, or else the systemd credential.
    pub(super) fn find(
        key: &'static str,
        configured: Option<&PathBuf>,
        credential: &str,
        environment: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let path = configured.cloned().or_else(|| systemd_credential(environment, credential))?;
        Some(Self { key, source: SecretSource::File(path) })
    }

    /// The secret as it is now.
    pub(super) fn read(&self, kind: SecretKind) -> Result<SecretString, DeliveryError> {
        self.source.read(kind).map_err(|problem| {
            DeliveryError::new(format!("{}: {problem}", self.key), "correct the file; it is read again at each message")
        })
    }
}

impl fmt::Display for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            SecretSource::File(path) => path.display().fmt(f),
            SecretSource::Fixed(_) => f.write_str("the environment"),
        }
    }
}
