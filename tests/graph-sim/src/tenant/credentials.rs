//! The certificates registered for the application that signs in.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use jiff::Timestamp;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

use super::Tenant;
use crate::encoding::{base64_decode, base64url};

/// A certificate of an application registration.
#[derive(Debug, Clone)]
pub struct RegisteredCertificate {
    /// Graph's `keyId`.
    pub key_id: String,
    /// Graph's `displayName`: the certificate's subject.
    pub display_name: String,
    /// Graph's `startDateTime`: the certificate's own unless a test changes it. Signatures before it are refused.
    pub starts_at: Timestamp,
    /// Graph's `endDateTime`: the certificate's own unless a test changes it.
    pub ends_at: Timestamp,
    der: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RegisteredCertificate {
    /// SHA-256 of the certificate in base64url, as `x5t#S256` names it.
    pub fn thumbprint(&self) -> String {
        base64url(digest(&SHA256, &self.der).as_ref())
    }

    /// SHA-1 of the certificate in hexadecimal, as in `customKeyIdentifier`.
    pub fn hexadecimal_thumbprint(&self) -> String {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    pub(crate) fn public_key(&self) -> (&[u8], &[u8]) {
        (&self.modulus, &self.exponent)
    }

    fn read(certificate: &[u8], key_id: String) -> Option<Self> {
        let der = match std::str::from_utf8(certificate) {
            Ok(text) if text.contains("-----BEGIN") => pem_content(text)?,
            _ => certificate.to_vec(),
        };
        let (_, parsed) = parse_x509_certificate(&der).ok()?;
        let PublicKey::RSA(key) = parsed.public_key().parsed().ok()? else { return None };
        // DER prefixes a zero to a number that would look negative.
        let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        let (modulus, exponent) = (number(key.modulus), number(key.exponent));
        Some(Self {
            key_id,
            display_name: parsed.subject().to_string(),
            starts_at: Timestamp::from_second(parsed.validity().not_before.timestamp()).ok()?,
            ends_at: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
            modulus,
            exponent,
            der,
        })
    }
}

/// The first certificate of a PEM file, which may contain the key as well.
fn pem_content(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (content, _) = rest.split_once("-----END CERTIFICATE-----")?;
    base64_decode(&content.split_whitespace().collect::<String>())
}

impl Tenant {
    /// Registers a certificate, PEM or DER, for the application that signs in and returns its `keyId`.
    ///
    /// # Panics
    ///
    /// When it is not a certificate with an RSA key, the only kind that Entra accepts.
    pub fn register_certificate(&mut self, certificate: impl AsRef<[u8]>) -> String {
        let key_id = self.ids.guid();
        let read = RegisteredCertificate::read(certificate.as_ref(), key_id.clone());
        self.certificates.push(read.unwrap_or_else(|| panic!("not a certificate with an RSA key")));
        key_id
    }
}
