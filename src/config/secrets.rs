//! Reads the files of secrets and certificates.
//!
//! The credential is read at the sign-in and not when the configuration is loaded, so that `status` works for users who
//! must not read it. An unusable file is nevertheless a configuration problem.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::files::{self, PemFile, SecretKind, SecretSource};
use crate::model::shell_word;

use super::{Config, ConfigError, CredentialConfig, DatabaseConfig, secret_file_of};

const SECRET_FILE: &str = "entra.credential.secret_file";
const CERTIFICATE_FILE: &str = "entra.credential.certificate_file";
const PRIVATE_KEY_FILE: &str = "entra.credential.private_key_file";
const TOKEN_FILE: &str = "entra.credential.token_file";
const DATABASE_PASSWORD_FILE: &str = "learners.password_file";
const HTTP_TOKEN_FILE: &str = "http.token_file";
const WEBHOOK_URL_FILE: &str = "notify.webhook_url_file";
const WEBHOOK_SECRET_FILE: &str = "notify.webhook_secret_file";
const SMTP_PASSWORD_FILE: &str = "notify.smtp_password_file";

impl Config {
    /// The client secret from `secret_file`, or else from the systemd credential `client-secret`, or else from
    /// `LEARNER_SYNC_CLIENT_SECRET`.
    pub fn read_secret(&self, environment: &BTreeMap<String, String>) -> Result<SecretString, ConfigError> {
        const VARIABLE: &str = "LEARNER_SYNC_CLIENT_SECRET";
        let fault = |message| ConfigError::whole(&self.path, Some(SECRET_FILE), message);
        let file = match &self.entra.credential {
            CredentialConfig::ClientSecret { secret_file } => secret_file.clone(),
            _ => None,
        };
        if let Some(path) = file.or_else(|| systemd_credential(environment, "client-secret")) {
            return files::read_secret(&path, SecretKind::ClientSecret).map_err(fault);
        }
        match environment.get(VARIABLE).map(|secret| secret.trim_end_matches(['\r', '\n'])) {
            Some(secret) if !secret.is_empty() => {
                files::check_secret(secret, SecretKind::ClientSecret)
                    .map_err(|problem| fault(format!("{VARIABLE} {problem}")))?;
                Ok(secret.into())
            }
            _ => Err(ConfigError::missing_credential(
                &self.path,
                SECRET_FILE,
                "client-secret",
                format!(
                    "there is no client secret: set this key to a file with the secret, or add \
                     LoadCredential=client-secret:{} to the systemd unit, or set LEARNER_SYNC_CLIENT_SECRET",
                    secret_file_of(&self.path, "client-secret")
                ),
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
    ) -> Result<(PemFile, PemFile), ConfigError> {
        let read = |name, file: &Option<PathBuf>, credential: &'static str| {
            let fault = |message| ConfigError::whole(&self.path, Some(name), message);
            let path = file.clone().or_else(|| systemd_credential(environment, credential)).ok_or_else(|| {
                let message = format!(
                    "there is no {credential}: set this key to a PEM file, or add LoadCredential={credential}:FILE to \
                     the systemd unit"
                );
                ConfigError::missing_credential(&self.path, name, credential, message)
            })?;
            let content = files::read(&path, files::MAX_DOCUMENT);
            let content = content.map_err(|error| fault(cannot_read(&path, &error)))?;
            Ok(PemFile { path, content: content.into() })
        };
        let certificate = read(CERTIFICATE_FILE, certificate_file, "certificate")?;
        let key = match private_key_file {
            // A file without a certificate in PEM may hold both in another form.
            None if certificate_file.is_some() && (certificate.has_key() || !certificate.has_certificate()) => {
                certificate.clone()
            }
            file => read(PRIVATE_KEY_FILE, file, "private-key")?,
        };
        Ok((certificate, key))
    }

    /// A problem of the certificate file, or of the private key file.
    pub fn certificate_fault(&self, is_about_the_key: bool, message: impl std::fmt::Display) -> ConfigError {
        let key = if is_about_the_key { PRIVATE_KEY_FILE } else { CERTIFICATE_FILE };
        ConfigError::whole(&self.path, Some(key), message.to_string())
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

    /// The token of a workload identity.
    pub fn read_token(&self, file: &Path) -> Result<SecretString, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(TOKEN_FILE), message);
        files::read_secret(file, SecretKind::Token).map_err(fault)
    }

    /// The file with the token of the HTTP listener, if one is configured. It is read here as well, so that an unusable one
    /// is reported at the start.
    pub fn http_token(&self) -> Result<Option<SecretSource>, ConfigError> {
        let Some(path) = self.http.as_ref().and_then(|http| http.token_file.clone()) else { return Ok(None) };
        let source = SecretSource::File(path);
        let read = source.read(SecretKind::Token);
        read.map_err(|message| ConfigError::whole(&self.path, Some(HTTP_TOKEN_FILE), message))?;
        Ok(Some(source))
    }

    /// The password for the proxy, if one is configured.
    pub fn read_proxy_password(&self) -> Result<Option<SecretString>, ConfigError> {
        const KEY: &str = "entra.proxy_password_file";
        let Some(path) = &self.entra.proxy_password_file else { return Ok(None) };
        self.check_password(KEY, &SecretSource::File(path.clone()), &path.display().to_string()).map(Some)
    }

    /// The password of the database server from `password_file`, or else from the systemd credential `database-password`,
    /// or else from `PGPASSWORD`. It is optional: peer authentication and PostgreSQL's password file need none here.
    pub fn database_password(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<SecretSource>, ConfigError> {
        const VARIABLE: &str = "PGPASSWORD";
        let file = self.learners.password_file.clone();
        let (source, name) = match file.or_else(|| systemd_credential(environment, "database-password")) {
            Some(path) => (SecretSource::File(path.clone()), path.display().to_string()),
            None => match environment.get(VARIABLE).filter(|password| !password.is_empty()) {
                Some(password) => (SecretSource::Fixed(password.as_str().into()), VARIABLE.to_owned()),
                None => return Ok(None),
            },
        };
        self.check_password(DATABASE_PASSWORD_FILE, &source, &name)?;
        Ok(Some(source))
    }

    /// Reads a password, and warns when it is probably not what was meant.
    fn check_password(&self, key: &str, source: &SecretSource, name: &str) -> Result<SecretString, ConfigError> {
        let fault = |message| ConfigError::whole(&self.path, Some(key), message);
        let password = source.read(SecretKind::Password).map_err(fault)?;
        files::check_secret(password.expose_secret(), SecretKind::Password)
            .map_err(|problem| fault(format!("{name} {problem}")))?;
        if let Some(suspicion) = files::suspicious_password(password.expose_secret()) {
            tracing::warn!("{key}: the password in {name} {suspicion}");
        }
        Ok(password)
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

    /// The configuration and the files whose content decides where secrets are sent.
    pub fn trusted_files(&self) -> Vec<PathBuf> {
        let (first, second) = match &self.entra.credential {
            CredentialConfig::ClientSecret { secret_file } => (secret_file, &None),
            CredentialConfig::Certificate { certificate_file, private_key_file } => {
                (certificate_file, private_key_file)
            }
            CredentialConfig::WorkloadIdentity { token_file } => (token_file, &None),
            CredentialConfig::ManagedIdentity => (&None, &None),
        };
        let others = [
            &self.entra.ca_file,
            &self.entra.proxy_password_file,
            &self.learners.password_file,
            &self.notify.webhook_url_file,
            &self.notify.webhook_secret_file,
            self.smtp_password_file(),
        ];
        let files = [first, second].into_iter().chain(others).flatten().cloned();
        [self.path.clone()].into_iter().chain(files).collect()
    }

    fn smtp_password_file(&self) -> &Option<PathBuf> {
        self.notify.smtp.as_ref().map_or(&None, |smtp| &smtp.password_file)
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
            (HTTP_TOKEN_FILE, &self.http.as_ref().and_then(|http| http.token_file.clone())),
            (DATABASE_PASSWORD_FILE, &self.learners.password_file),
            (WEBHOOK_URL_FILE, &self.notify.webhook_url_file),
            (WEBHOOK_SECRET_FILE, &self.notify.webhook_secret_file),
            (SMTP_PASSWORD_FILE, self.smtp_password_file()),
        ];
        let open = |(key, path): (&str, &Option<PathBuf>)| {
            let path = path.as_ref()?;
            // The mode of a device must not change; reading it fails anyway.
            let mode = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.permissions().mode() & 0o777;
            let path = path.display().to_string();
            let word = shell_word(&path);
            let advice = format!("chown root:learner-sync {word} && chmod 0640 {word}");
            let warning =
                format!("{key}: every user of this machine has access to {path} (mode {mode:04o}); run: {advice}");
            (mode & 0o007 != 0).then_some(warning)
        };
        files.into_iter().filter_map(open).collect()
    }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {}", path.display(), files::describe_unreadable(path, error))
}

/// A PEM file with at least one certificate.
fn read_certificates(path: &Path) -> Result<Vec<u8>, String> {
    let content = files::read(path, files::MAX_DOCUMENT);
    let content = content.map_err(|error| cannot_read(path, &error))?;
    let file = PemFile { path: path.to_owned(), content: content.clone().into() };
    // reqwest accepts a file without a certificate as an empty list.
    if file.has_certificate() { Ok(content) } else { Err(format!("{} {}", path.display(), file.no_certificate())) }
}

/// The file of a systemd credential, if the unit has it.
pub(crate) fn systemd_credential(environment: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    let path = Path::new(environment.get("CREDENTIALS_DIRECTORY")?).join(name);
    // The directory exists for any credential of the unit, not only this one.
    path.exists().then_some(path)
}
