//! Signing in with a certificate: a short-lived statement, signed with its key, in place of a secret.
//!
//! <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

/// How long a statement is good for: Entra takes it at once, and clocks differ.
const LIFETIME: Duration = Duration::from_secs(600);

/// A certificate with its private key. It is a secret, so there is no `Debug`.
#[derive(Clone)]
pub struct Certificate {
    key: EncodingKey,
    /// `x5t#S256`: how Entra finds the certificate on the app registration.
    thumbprint: String,
    not_after: Timestamp,
}

/// Why a certificate and a private key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate in PEM form.
    #[error("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// Not an RSA certificate.
    #[error("holds a certificate without an RSA key; Entra takes RSA only")]
    NotRsa,
    /// Not a private key that can be used.
    #[error("holds no RSA private key in PEM form (-----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----)")]
    NoKey,
    /// A private key behind a passphrase.
    #[error(
        "holds an encrypted private key, and nobody is there to type its passphrase: \
         openssl pkey -in encrypted.pem -out key.pem, mode 0640, owner root:learner-sync"
    )]
    Encrypted,
    /// The key of another certificate.
    #[error("holds a private key that does not belong to the certificate")]
    OtherKey,
}

impl CertificateError {
    /// Whether the file with the private key is at fault, not the one with the certificate.
    pub fn is_about_the_key(self) -> bool {
        matches!(self, Self::NoKey | Self::Encrypted | Self::OtherKey)
    }
}

/// The block with the private key: a file may hold the certificate before it.
fn private_key_of(text: &str) -> Option<&str> {
    const END: &str = "PRIVATE KEY-----";
    let label = text.find(END)?;
    let start = text[..label].rfind("-----BEGIN ")?;
    let end = label + END.len() + text[label + END.len()..].find(END)? + END.len();
    Some(&text[start..end])
}

/// DER writes a zero before a number that would look negative.
fn number(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0]).unwrap_or(bytes)
}

#[derive(Serialize)]
struct Claims<'c> {
    aud: &'c str,
    iss: &'c str,
    sub: &'c str,
    jti: String,
    nbf: i64,
    iat: i64,
    exp: i64,
}

impl Certificate {
    /// The first certificate in `certificate`, with its private key: PKCS#8 or PKCS#1, unencrypted.
    ///
    /// # Errors
    /// What is wrong with which of the two files.
    pub fn from_pem(certificate: &[u8], private_key: &SecretString) -> Result<Self, CertificateError> {
        let pem = Pem::iter_from_buffer(certificate).filter_map(Result::ok).find(|pem| pem.label == "CERTIFICATE");
        let pem = pem.ok_or(CertificateError::NoCertificate)?;
        let parsed = pem.parse_x509().map_err(|_| CertificateError::NoCertificate)?;
        let not_after = Timestamp::from_second(parsed.validity().not_after.timestamp())
            .map_err(|_| CertificateError::NoCertificate)?;
        let Ok(PublicKey::RSA(public)) = parsed.public_key().parsed() else { return Err(CertificateError::NotRsa) };

        let text = private_key.expose_secret();
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(CertificateError::Encrypted);
        }
        let key = private_key_of(text).ok_or(CertificateError::NoKey)?;
        let key = EncodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| CertificateError::NoKey)?;
        // A key of another certificate would be found out by Entra only, who says no more than "invalid signature".
        let probe =
            jsonwebtoken::crypto::sign(b"probe", &key, Algorithm::PS256).map_err(|_| CertificateError::NoKey)?;
        let public = DecodingKey::from_rsa_raw_components(number(public.modulus), number(public.exponent));
        if !jsonwebtoken::crypto::verify(&probe, b"probe", &public, Algorithm::PS256).unwrap_or(false) {
            return Err(CertificateError::OtherKey);
        }
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &pem.contents));
        Ok(Self { key, thumbprint, not_after })
    }

    /// When it expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The statement that `client_id` asks for a token at `endpoint`; each is good once.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint.clone());
        let now = now.as_second();
        let claims = Claims {
            aud: endpoint,
            iss: client_id,
            sub: client_id,
            jti: uuid::Uuid::from_u128(rand::random()).to_string(),
            nbf: now,
            iat: now,
            exp: now.saturating_add_unsigned(LIFETIME.as_secs()),
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
    }
}
