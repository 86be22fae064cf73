//! The secrets that a configuration names the files of.
//!
//! The client secret is read when a command signs in and not at load, so that `status` works for somebody who may
//! not read it. What is wrong with it is a problem of the configuration all the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Config, ConfigError};

const SECRET_FILE: &str = "entra.credential.secret_file";

impl Config {
    /// The client secret: from `secret_file`, else the systemd credential `client-secret`, else
    /// `LEARNER_SYNC_CLIENT_SECRET`.
    pub fn read_secret(&self, environment: &BTreeMap<String, String>) -> Result<SecretString, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(SECRET_FILE), message);
        if let Some(path) = &self.entra.credential.secret_file {
            return read_line(path).map_err(fault);
        }
        let given =
            environment.get("CREDENTIALS_DIRECTORY").map(|directory| Path::new(directory).join("client-secret"));
        // systemd makes the directory as soon as the unit has any credential, perhaps not this one.
        if let Some(path) = given.filter(|path| path.exists()) {
            return read_line(&path).map_err(fault);
        }
        match environment.get("LEARNER_SYNC_CLIENT_SECRET").map(|secret| without_newline(secret)) {
            Some(secret) if !secret.is_empty() => Ok(secret.into()),
            _ => Err(fault(
                "there is no client secret: name a file that holds it here, or give the unit the systemd credential \
                 client-secret (LoadCredential=client-secret:/etc/learner-sync/client-secret), or set \
                 LEARNER_SYNC_CLIENT_SECRET"
                    .to_owned(),
            )),
        }
    }

    /// The password for the proxy, when one is configured.
    pub fn read_proxy_password(&self) -> Result<Option<SecretString>, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some("entra.proxy_password_file"), message);
        self.entra.proxy_password_file.as_deref().map(read_line).transpose().map_err(fault)
    }

    /// The certificates, in PEM, that are trusted beside the system's own, when configured.
    pub fn read_ca_file(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let Some(path) = &self.entra.ca_file else { return Ok(None) };
        let fault = |message| ConfigError::whole(&self.path, Some("entra.ca_file"), message);
        let pem = fs::read(path).map_err(|error| fault(format!("cannot read {}: {error}", path.display())))?;
        // A PEM reader takes a file without any certificate for an empty list, and then nothing more is trusted.
        let begin = b"-----BEGIN CERTIFICATE-----";
        if !pem.windows(begin.len()).any(|window| window == begin) {
            return Err(fault(format!("{} holds no certificate in PEM form", path.display())));
        }
        Ok(Some(pem))
    }

    /// What an administrator should know about the files that hold secrets, though everything works.
    pub(super) fn open_secrets(&self) -> Vec<String> {
        let files = [
            (SECRET_FILE, &self.entra.credential.secret_file),
            ("entra.proxy_password_file", &self.entra.proxy_password_file),
            ("learners.password_file", &self.learners.password_file),
        ];
        let open = |(key, path): (&str, &Option<PathBuf>)| {
            let path = path.as_ref()?;
            let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
            let advice = format!("chown root:learner-sync {0} && chmod 0640 {0}", path.display());
            (mode & 0o007 != 0).then(|| {
                format!(
                    "{key}: every user of this machine has access to {} (mode {mode:04o}): {advice}",
                    path.display()
                )
            })
        };
        files.into_iter().filter_map(open).collect()
    }
}

/// The one secret in a file, without the newline that editors put at its end.
fn read_line(path: &Path) -> Result<SecretString, String> {
    // Reading a pipe would wait for whoever writes into it.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{} is no regular file", path.display()));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = without_newline(&text);
    if secret.trim().is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(secret.into())
}

fn without_newline(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
