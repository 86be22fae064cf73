//! The secrets that a configuration names the files of.
//!
//! The credential is read when a command signs in and not at load, so that `status` works for somebody who may
//! not read it. What is wrong with it is a problem of the configuration all the same.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Config, ConfigError, CredentialConfig, DatabaseConfig};

const SECRET_FILE: &str = "entra.credential.secret_file";
const CERTIFICATE_FILE: &str = "entra.credential.certificate_file";
const PRIVATE_KEY_FILE: &str = "entra.credential.private_key_file";
const TOKEN_FILE: &str = "entra.credential.token_file";
const DATABASE_PASSWORD_FILE: &str = "learners.password_file";

impl Config {
    /// The client secret: from `secret_file`, else the systemd credential `client-secret`, else
    /// `LEARNER_SYNC_CLIENT_SECRET`.
    pub fn read_secret(&self, environment: &BTreeMap<String, String>) -> Result<SecretString, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(SECRET_FILE), message);
        if let CredentialConfig::ClientSecret { secret_file: Some(path) } = &self.entra.credential {
            return read_line(path).map_err(fault);
        }
        if let Some(path) = systemd_credential(environment, "client-secret") {
            return read_line(&path).map_err(fault);
        }
        match environment.get("LEARNER_SYNC_CLIENT_SECRET").map(|secret| without_newline(secret)) {
            Some(secret) if !secret.is_empty() => {
                one_line(secret).map_err(|message| fault(format!("LEARNER_SYNC_CLIENT_SECRET {message}")))?;
                Ok(secret.into())
            }
            _ => Err(fault(
                "there is no client secret: name a file that holds it here, or give the unit the systemd credential \
                 client-secret (LoadCredential=client-secret:/etc/learner-sync/client-secret), or set \
                 LEARNER_SYNC_CLIENT_SECRET"
                    .to_owned(),
            )),
        }
    }

    /// The certificate and its private key, both in PEM: from the two files, else the systemd credentials `certificate`
    /// and `private-key`. One file may hold both.
    pub fn read_certificate(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Vec<u8>, SecretString), ConfigError> {
        let (certificate, key) = self.certificate_paths(environment)?;
        let read = |name, path: &Path| {
            let fault = |message| ConfigError::whole(&self.path, Some(name), message);
            regular(path).map_err(fault)?;
            fs::read(path).map_err(|error| fault(format!("cannot read {}: {error}", path.display())))
        };
        let certificate = read(CERTIFICATE_FILE, &certificate)?;
        let key = read(PRIVATE_KEY_FILE, &key)?;
        Ok((certificate, String::from_utf8_lossy(&key).into_owned().into()))
    }

    /// What is wrong with the file of the certificate, or of its private key.
    pub fn certificate_fault(&self, is_about_the_key: bool, message: impl std::fmt::Display) -> ConfigError {
        let key = if is_about_the_key { PRIVATE_KEY_FILE } else { CERTIFICATE_FILE };
        ConfigError::whole(&self.path, Some(key), format!("the file {message}"))
    }

    fn certificate_paths(&self, environment: &BTreeMap<String, String>) -> Result<(PathBuf, PathBuf), ConfigError> {
        let (certificate_file, private_key_file) = match &self.entra.credential {
            CredentialConfig::Certificate { certificate_file, private_key_file } => {
                (certificate_file, private_key_file)
            }
            _ => (&None, &None),
        };
        let named = |name: &'static str, file: &Option<PathBuf>, credential: &str| {
            file.clone().or_else(|| systemd_credential(environment, credential)).ok_or_else(|| {
                let message = format!(
                    "there is no {credential}: name a PEM file that holds it here, or give the unit the systemd \
                     credential {credential}"
                );
                ConfigError::whole(&self.path, Some(name), message)
            })
        };
        let certificate = named(CERTIFICATE_FILE, certificate_file, "certificate")?;
        let key = match private_key_file {
            None if certificate_file.is_some() && holds_a_key(&certificate) => certificate.clone(),
            file => named(PRIVATE_KEY_FILE, file, "private-key")?,
        };
        Ok((certificate, key))
    }

    /// The file with the token of a workload identity: `token_file`, else `AZURE_FEDERATED_TOKEN_FILE`.
    pub fn token_file(&self, environment: &BTreeMap<String, String>) -> Result<PathBuf, ConfigError> {
        let configured = match &self.entra.credential {
            CredentialConfig::WorkloadIdentity { token_file } => token_file.clone(),
            _ => None,
        };
        let given = || environment.get("AZURE_FEDERATED_TOKEN_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        configured.or_else(given).ok_or_else(|| {
            let message = "there is no token: name the file that holds it here, or set AZURE_FEDERATED_TOKEN_FILE";
            ConfigError::whole(&self.path, Some(TOKEN_FILE), message.to_owned())
        })
    }

    /// The password for the proxy, when one is configured.
    pub fn read_proxy_password(&self) -> Result<Option<SecretString>, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some("entra.proxy_password_file"), message);
        self.entra.proxy_password_file.as_deref().map(read_line).transpose().map_err(fault)
    }

    /// The password of the database server: from `password_file`, else the systemd credential `database-password`, else
    /// `PGPASSWORD`. There may be none: the server may know its own users, or a password file of PostgreSQL has it.
    pub fn read_database_password(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<SecretString>, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(DATABASE_PASSWORD_FILE), message);
        let file = self.learners.password_file.clone();
        if let Some(path) = file.or_else(|| systemd_credential(environment, "database-password")) {
            return read_line(&path).map(Some).map_err(fault);
        }
        let Some(password) = environment.get("PGPASSWORD").filter(|password| !password.is_empty()) else {
            return Ok(None);
        };
        one_line(password).map_err(|message| fault(format!("PGPASSWORD {message}")))?;
        Ok(Some(password.as_str().into()))
    }

    /// The certificates, in PEM, that are trusted beside the system's own, when configured.
    pub fn read_ca_file(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let Some(path) = &self.entra.ca_file else { return Ok(None) };
        let fault = |message| ConfigError::whole(&self.path, Some("entra.ca_file"), message);
        read_certificates(path).map(Some).map_err(fault)
    }

    /// Looks whether there is a certificate in the file that `sslrootcert` names in the URL of the database.
    pub fn check_database_certificate(&self) -> Result<(), ConfigError> {
        let DatabaseConfig::Postgres { url } = &self.learners.database else { return Ok(()) };
        let options = url.split_once('?').map_or("", |(_, options)| options);
        let Some(path) = options.split('&').find_map(|option| option.strip_prefix("sslrootcert=")) else {
            return Ok(());
        };
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        let fault = |message| ConfigError::whole(&self.path, Some("learners.database_url"), message);
        read_certificates(Path::new(&*path)).map(drop).map_err(fault)
    }

    /// What an administrator should know about the files that hold secrets, though everything works.
    pub(super) fn open_secrets(&self) -> Vec<String> {
        let credential = match &self.entra.credential {
            CredentialConfig::ClientSecret { secret_file } => (SECRET_FILE, secret_file),
            CredentialConfig::Certificate { private_key_file, .. } => (PRIVATE_KEY_FILE, private_key_file),
            CredentialConfig::WorkloadIdentity { token_file } => (TOKEN_FILE, token_file),
            CredentialConfig::ManagedIdentity => (SECRET_FILE, &None),
        };
        let files = [
            credential,
            ("entra.proxy_password_file", &self.entra.proxy_password_file),
            (DATABASE_PASSWORD_FILE, &self.learners.password_file),
        ];
        let open = |(key, path): (&str, &Option<PathBuf>)| {
            let path = path.as_ref()?;
            // What is no file is refused when it is read; nobody should be told to change the mode of a device.
            let mode = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.permissions().mode() & 0o777;
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

/// The certificates in a file.
fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    let pem = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    // A PEM reader takes a file without any certificate for an empty list, and then nothing more is trusted.
    let begin = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begin.len()).any(|window| window == begin) {
        return Err(format!("{} holds no certificate in PEM form", path.display()));
    }
    Ok(pem)
}

/// The one secret in a file, without the newline that editors put at its end.
fn read_line(path: &Path) -> Result<SecretString, String> {
    regular(path)?;
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = without_newline(&text);
    if secret.trim().is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    one_line(secret).map_err(|message| format!("{} {message}", path.display()))?;
    Ok(secret.into())
}

/// Reading a pipe would wait for whoever writes into it.
fn regular(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(format!("{} is no regular file", path.display())),
        _ => Ok(()),
    }
}

fn holds_a_key(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.contains("PRIVATE KEY-----"))
}

/// The file of a systemd credential, when the unit has it.
fn systemd_credential(environment: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    let path = environment.get("CREDENTIALS_DIRECTORY").map(|directory| Path::new(directory).join(name));
    // systemd makes the directory as soon as the unit has any credential, perhaps not this one.
    path.filter(|path| path.exists())
}

/// A second line is no part of any secret, and whoever is given both refuses them in words of its own.
fn one_line(secret: &str) -> Result<(), &'static str> {
    if secret.contains(['\r', '\n']) {
        return Err("holds more than one line: leave nothing in it but the secret, on a single line");
    }
    Ok(())
}

fn without_newline(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
