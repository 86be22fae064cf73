//! Sign-in failures, and what an administrator can do about them.

use std::fmt;

use super::answer::retry_budget;
use super::network::unreachable_hint;

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file of the credential is unusable now.
    #[error("the credential cannot be read")]
    Credential(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Signing with the private key of the certificate failed.
    #[error("cannot sign with the private key of the certificate")]
    Signature(#[source] jsonwebtoken::errors::Error),
    /// The metadata service offers no identity.
    #[error("the metadata service of this machine returned no token: status {status}{}", details(code, description))]
    NoIdentity {
        /// The HTTP status.
        status: u16,
        /// The error code, such as `invalid_request`.
        code: String,
        /// The service's message.
        description: String,
    },
    /// There is no metadata service.
    #[error("the metadata service of this machine is unreachable")]
    NoMetadataService(#[source] reqwest::Error),
    /// Entra refused the sign-in.
    #[error("Entra refused the sign-in: {refusal}")]
    Refused {
        /// Entra's answer.
        refusal: Refusal,
        /// Cause and fix.
        advice: String,
    },
    /// The answer is not a token answer.
    #[error("the token endpoint answered {status} without a usable token: {detail}")]
    Unusable {
        /// The HTTP status.
        status: u16,
        /// The problem of the body.
        detail: String,
    },
    /// There was no answer.
    #[error("the token endpoint {endpoint} is unreachable")]
    Unreachable {
        /// The URL.
        endpoint: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
}

/// Entra's answer to a sign-in that it refuses, without personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The OAuth error code, such as `invalid_client`.
    pub code: String,
    /// The AADSTS numbers.
    pub numbers: Vec<u32>,
    /// The first line of Entra's message.
    pub description: String,
    /// Entra's id of the request, for its sign-in logs and for a support case.
    pub trace_id: Option<String>,
    /// When Entra answered, by its clock.
    pub timestamp: Option<String>,
}

impl fmt::Display for Refusal {
    /// `AADSTS7000215: Invalid client secret provided. (invalid_client, trace id ..., 2026-01-02 03:04:05Z)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status: _, code, numbers, description, trace_id, timestamp } = self;
        for number in numbers {
            let name = format!("AADSTS{number}");
            if !description.contains(&name) {
                write!(f, "{name}: ")?;
            }
        }
        if !description.is_empty() {
            write!(f, "{description} ")?;
        }
        write!(f, "({code}")?;
        if let Some(id) = trace_id {
            write!(f, ", trace id {id}")?;
        }
        if let Some(time) = timestamp {
            write!(f, ", {time}")?;
        }
        f.write_str(")")
    }
}

/// The code and the message, each only where present.
fn details(code: &str, description: &str) -> String {
    let details = [code, description].into_iter().filter(|detail| !detail.is_empty());
    details.map(|detail| format!(": {detail}")).collect()
}

impl AuthError {
    /// Whether asking again soon is pointless until somebody acts.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => retry_budget(refusal.status, Some(refusal)).is_none(),
            Self::NoIdentity { status, .. } => retry_budget(*status, None).is_none(),
            Self::Credential(_)
            | Self::Signature(_)
            | Self::NoMetadataService(_)
            | Self::Unusable { .. }
            | Self::Unreachable { .. } => false,
        }
    }

    /// Whether another credential may end the failure.
    pub fn is_about_the_credential(&self) -> bool {
        self.is_lasting() || matches!(self, Self::Credential(_) | Self::Signature(_))
    }

    /// Advice for the administrator.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { advice, .. } => Some(advice),
            Self::Unreachable { source, .. } => Some(unreachable_hint(source)),
            Self::Unusable { .. } => Some(
                "Entra does not answer like this: check entra.authority_url, entra.proxy, and any firewall or sign-in page \
                 between this machine and Entra",
            ),
            Self::NoIdentity { status: 400, .. } => Some(
                "assign a managed identity to this virtual machine; set entra.client_id for a user-assigned identity, and \
                 remove it for the system-assigned one",
            ),
            Self::NoMetadataService(_) => {
                Some("entra.credential.kind = \"managed-identity\" works on an Azure virtual machine only")
            }
            Self::Credential(_) => Some("the next cycle reads the file again"),
            Self::NoIdentity { .. } | Self::Signature(_) => None,
        }
    }
}
