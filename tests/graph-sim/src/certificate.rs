//! Certificates and keys made on the spot, so that no test has a private key in a file.

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use time::OffsetDateTime;

/// A self-signed certificate with its RSA key: what an administrator makes for an application to sign in with.
#[derive(Clone)]
pub struct SigningCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for SigningCertificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningCertificate").field("certificate_pem", &self.certificate_pem).finish()
    }
}

impl SigningCertificate {
    /// Makes one that is valid for as good as ever.
    pub fn new(common_name: &str) -> Self {
        Self::valid(common_name, Timestamp::UNIX_EPOCH, Timestamp::constant(4_070_908_800, 0))
    }

    /// Makes one that is valid from one moment to another.
    ///
    /// # Panics
    ///
    /// When no key can be made, which only a machine without random numbers brings about.
    pub fn valid(common_name: &str, from: Timestamp, to: Timestamp) -> Self {
        Self::made(common_name, from, to).unwrap_or_else(|error| panic!("no certificate can be made: {error}"))
    }

    fn made(common_name: &str, from: Timestamp, to: Timestamp) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = instant(from);
        params.not_after = instant(to);
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// A time as the certificates' maker wants it.
fn instant(time: Timestamp) -> OffsetDateTime {
    // Both libraries end with the year 9999.
    OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
