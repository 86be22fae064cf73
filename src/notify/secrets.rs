//! The files of the channels. Each is read again at each message.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use super::error::DeliveryError;
use crate::config::systemd_credential;
use crate::files::{SecretKind, SecretSource};

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
