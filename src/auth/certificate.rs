//! Signing in with a certificate: its private key signs a short-lived assertion, which replaces the secret.
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

/// The lifetime of an assertion. Entra uses it at once; the rest allows for clock differences.
const LIFETIME: Duration = Duration::from_secs(600);

/// A certificate with its private key. It holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct Certificate {
    key: EncodingKey,
    /// `x5t#S256`, by which Entra finds the certificate on the app registration.
    thumbprint: String,
    pub(super) not_after: Timestamp,
}

/// The reason why a certificate or its private key is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate in PEM form.
    #[error("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// The key is not RSA.
    #[error("holds a certificate without an RSA key; Entra accepts RSA only")]
    NotRsa,
    /// There is no usable private key.
    #[error("holds no RSA private key in PEM form (-----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----)")]
    NoKey,
    /// The private key has a passphrase.
    #[error(
        "holds a private key with a passphrase, which the service cannot use; run: \
         openssl pkey -in encrypted.pem -out key.pem, then chown root:learner-sync key.pem and chmod 0640 key.pem"
    )]
    Encrypted,
    /// The key belongs to another certificate.
    #[error("holds a private key that does not belong to the certificate")]
    OtherKey,
}

impl CertificateError {
    /// Whether the private key file is at fault, not the certificate file.
    pub fn is_about_the_key(self) -> bool {
        matches!(self, Self::NoKey | Self::Encrypted | Self::OtherKey)
    }
}

/// The PEM block of the private key. The file may hold the certificate as well.
fn private_key_block(text: &str) -> Option<&str> {
    const END: &str = "PRIVATE KEY-----";
    let label = text.find(END)?;
    let start = text[..label].rfind("-----BEGIN ")?;
    let end = label + END.len() + text[label + END.len()..].find(END)? + END.len();
    Some(&text[start..end])
}

/// Removes the leading zero that DER adds to a number with the highest bit set.
fn unsigned_bytes(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0]).unwrap_or(bytes)
}

#[derive(Serialize)]
struct AssertionClaims<'c> {
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
    /// One of the two files is unusable.
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
        let key = private_key_block(text).ok_or(CertificateError::NoKey)?;
        let key = EncodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| CertificateError::NoKey)?;
        // Entra would only report "invalid signature" for the key of another certificate.
        let probe =
            jsonwebtoken::crypto::sign(b"probe", &key, Algorithm::PS256).map_err(|_| CertificateError::NoKey)?;
        let public =
            DecodingKey::from_rsa_raw_components(unsigned_bytes(public.modulus), unsigned_bytes(public.exponent));
        if !jsonwebtoken::crypto::verify(&probe, b"probe", &public, Algorithm::PS256).unwrap_or(false) {
            return Err(CertificateError::OtherKey);
        }
        let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &pem.contents));
        Ok(Self { key, thumbprint, not_after })
    }

    /// A signed assertion with which `client_id` requests one token at `endpoint`.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(self.thumbprint.clone());
        let now = now.as_second();
        let claims = AssertionClaims {
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
