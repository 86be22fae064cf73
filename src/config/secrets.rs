//! Reads the files of secrets and certificates.
//!
//! The credential is read at the sign-in and not when the configuration is loaded, so that `status` works for users who
//! must not read it. An unusable file is nevertheless a configuration problem.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::files;

use super::{Config, ConfigError, CredentialConfig, DatabaseConfig};

const SECRET_FILE: &str = "entra.credential.secret_file";
const CERTIFICATE_FILE: &str = "entra.credential.certificate_file";
const PRIVATE_KEY_FILE: &str = "entra.credential.private_key_file";
const TOKEN_FILE: &str = "entra.credential.token_file";
const DATABASE_PASSWORD_FILE: &str = "learners.password_file";

impl Config {
    /// The client secret from `secret_file`, or else from the systemd credential `client-secret`, or else from
    /// `LEARNER_SYNC_CLIENT_SECRET`.
    pub fn read_secret(&self, environment: &BTreeMap<String, String>) -> Result<SecretString, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(SECRET_FILE), message);
        if let CredentialConfig::ClientSecret { secret_file: Some(path) } = &self.entra.credential {
            return read_secret_file(path).map_err(fault);
        }
        if let Some(path) = systemd_credential(environment, "client-secret") {
            return read_secret_file(&path).map_err(fault);
        }
        match environment.get("LEARNER_SYNC_CLIENT_SECRET").map(|secret| without_newline(secret)) {
            Some(secret) if !secret.is_empty() => {
                one_line(secret).map_err(|message| fault(format!("LEARNER_SYNC_CLIENT_SECRET {message}")))?;
                Ok(secret.into())
            }
            _ => Err(fault(
                "there is no client secret: set this key to a file with the secret, or add \
                 LoadCredential=client-secret:/etc/learner-sync/client-secret to the systemd unit, or set \
                 LEARNER_SYNC_CLIENT_SECRET"
                    .to_owned(),
            )),
        }
    }

    /// The certificate and its private key, both in PEM, from the two files or else from the systemd credentials
    /// `certificate` and `private-key`. One file may contain both.
    pub fn read_certificate(
        &self,
        certificate_file: &Option<PathBuf>,
        private_key_file: &Option<PathBuf>,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Vec<u8>, SecretString), ConfigError> {
        let find = |name, file: &Option<PathBuf>, credential| {
            file.clone().or_else(|| systemd_credential(environment, credential)).ok_or_else(|| {
                let message = format!(
                    "there is no {credential}: set this key to a PEM file, or add LoadCredential={credential}:FILE to \
                     the systemd unit"
                );
                ConfigError::whole(&self.path, Some(name), message)
            })
        };
        let certificate = find(CERTIFICATE_FILE, certificate_file, "certificate")?;
        let key = match private_key_file {
            None if certificate_file.is_some() && contains_private_key(&certificate) => certificate.clone(),
            file => find(PRIVATE_KEY_FILE, file, "private-key")?,
        };
        let read = |name, path: &Path| {
            let fault = |message| ConfigError::whole(&self.path, Some(name), message);
            let read = files::read(path, files::MAX_DOCUMENT);
            read.map_err(|error| fault(format!("cannot read {}: {error}", path.display())))
        };
        let certificate = read(CERTIFICATE_FILE, &certificate)?;
        let key = read(PRIVATE_KEY_FILE, &key)?;
        Ok((certificate, String::from_utf8_lossy(&key).into_owned().into()))
    }

    /// A problem of the certificate file, or of the private key file.
    pub fn certificate_fault(&self, is_about_the_key: bool, message: impl std::fmt::Display) -> ConfigError {
        let key = if is_about_the_key { PRIVATE_KEY_FILE } else { CERTIFICATE_FILE };
        ConfigError::whole(&self.path, Some(key), format!("the file {message}"))
    }

    /// The file with the token of a workload identity: `token_file`, or else `AZURE_FEDERATED_TOKEN_FILE`.
    pub fn find_token_file(
        &self,
        token_file: &Option<PathBuf>,
        environment: &BTreeMap<String, String>,
    ) -> Result<PathBuf, ConfigError> {
        let given = || environment.get("AZURE_FEDERATED_TOKEN_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        token_file.clone().or_else(given).ok_or_else(|| {
            let message = "there is no token file: set this key to its path, or set AZURE_FEDERATED_TOKEN_FILE";
            ConfigError::whole(&self.path, Some(TOKEN_FILE), message.to_owned())
        })
    }

    /// The password for the proxy, if one is configured.
    pub fn read_proxy_password(&self) -> Result<Option<SecretString>, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some("entra.proxy_password_file"), message);
        self.entra.proxy_password_file.as_deref().map(read_secret_file).transpose().map_err(fault)
    }

    /// The password of the database server from `password_file`, or else from the systemd credential `database-password`,
    /// or else from `PGPASSWORD`. It is optional: peer authentication and PostgreSQL's password file need none here.
    pub fn read_database_password(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<SecretString>, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(DATABASE_PASSWORD_FILE), message);
        let file = self.learners.password_file.clone();
        if let Some(path) = file.or_else(|| systemd_credential(environment, "database-password")) {
            return read_secret_file(&path).map(Some).map_err(fault);
        }
        let Some(password) = environment.get("PGPASSWORD").filter(|password| !password.is_empty()) else {
            return Ok(None);
        };
        one_line(password).map_err(|message| fault(format!("PGPASSWORD {message}")))?;
        Ok(Some(password.as_str().into()))
    }

    /// The additional trusted certificates in PEM, if configured.
    pub fn read_ca_file(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some("entra.ca_file"), message);
        self.entra.ca_file.as_deref().map(read_certificates).transpose().map_err(fault)
    }

    /// Checks that the file of `sslrootcert` in the database URL contains a certificate.
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

    /// Warnings about secret files that every user of the machine can access.
    pub(super) fn exposed_secrets(&self) -> Vec<String> {
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
            // The mode of a device must not change; reading it fails anyway.
            let mode = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.permissions().mode() & 0o777;
            let path = path.display();
            let advice = format!("chown root:learner-sync {path} && chmod 0640 {path}");
            let warning =
                format!("{key}: every user of this machine has access to {path} (mode {mode:04o}); run: {advice}");
            (mode & 0o007 != 0).then_some(warning)
        };
        files.into_iter().filter_map(open).collect()
    }
}

/// A PEM file with at least one certificate.
fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    let pem =
        files::read(path, files::MAX_DOCUMENT).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    // reqwest accepts a file without a certificate as an empty list.
    let begin = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begin.len()).any(|window| window == begin) {
        return Err(format!("{} holds no certificate in PEM form", path.display()));
    }
    Ok(pem)
}

/// The secret in a file, without trailing newlines.
fn read_secret_file(path: &Path) -> Result<SecretString, String> {
    let text = files::read_text(path, files::MAX_SECRET);
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let secret = without_newline(&text);
    if secret.trim().is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    one_line(secret).map_err(|message| format!("{} {message}", path.display()))?;
    Ok(secret.into())
}

fn contains_private_key(path: &Path) -> bool {
    files::read_text(path, files::MAX_DOCUMENT).is_ok_and(|text| text.contains("PRIVATE KEY-----"))
}

/// The file of a systemd credential, if the unit has it.
fn systemd_credential(environment: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    let path = Path::new(environment.get("CREDENTIALS_DIRECTORY")?).join(name);
    // The directory exists for any credential of the unit, not only this one.
    path.exists().then_some(path)
}

/// A secret has one line. With a second one, the server would only report a wrong secret.
fn one_line(secret: &str) -> Result<(), &'static str> {
    if secret.contains(['\r', '\n']) {
        return Err("has more than one line; it must contain only the secret, on a single line");
    }
    Ok(())
}

fn without_newline(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
