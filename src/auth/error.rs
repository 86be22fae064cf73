//! Sign-in failures, and what an administrator can do about them.

use std::path::PathBuf;

use super::network::unreachable_hint;

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token file of a workload identity is unreadable.
    #[error("cannot read the token file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
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
    #[error("Entra refused the sign-in: {description} ({code})")]
    Refused {
        /// The OAuth error code, such as `invalid_client`.
        code: String,
        /// Entra's message, which starts with the AADSTS number.
        description: String,
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

/// The code and the message, each only where present.
fn details(code: &str, description: &str) -> String {
    let details = [code, description].into_iter().filter(|detail| !detail.is_empty());
    details.map(|detail| format!(": {detail}")).collect()
}

impl AuthError {
    /// Advice for the administrator, by the AADSTS number where there is one. Nothing else depends on these numbers:
    /// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
    pub fn hint(&self) -> Option<&'static str> {
        let description = match self {
            Self::Refused { description, .. } => description,
            Self::Unreachable { source, .. } => return Some(unreachable_hint(source)),
            Self::Unusable { .. } => {
                return Some(
                    "the answer does not come from Entra: check entra.authority_url, entra.proxy, and any firewall or \
                     sign-in page between this machine and Entra",
                );
            }
            Self::NoIdentity { status: 400, .. } => {
                return Some(
                    "assign a managed identity to this virtual machine; set entra.client_id for a user-assigned identity, \
                     and remove it for the system-assigned one",
                );
            }
            Self::NoMetadataService(_) => {
                return Some("entra.credential.kind = \"managed-identity\" works on an Azure virtual machine only");
            }
            Self::TokenFile { .. } => {
                return Some("entra.credential.token_file must be a token file that the service user can read");
            }
            Self::NoIdentity { .. } | Self::Signature(_) => return None,
        };
        let number: String = description.strip_prefix("AADSTS")?.chars().take_while(char::is_ascii_digit).collect();
        Some(match number.as_str() {
            "7000215" => {
                "the client secret is wrong: copy the secret's value, not its ID, from Certificates & secrets of the app \
                 registration"
            }
            "7000222" => "the client secret has expired: add a new one under Certificates & secrets",
            "700016" => {
                "entra.client_id is unknown in this tenant: copy the Application (client) ID from the Overview page of the app \
                 registration, and check entra.tenant_id"
            }
            "90002" | "900023" => {
                "entra.tenant_id is unknown in this cloud: copy the Directory (tenant) ID from the Overview page of the \
                 app registration, and check entra.cloud"
            }
            "700027" => {
                "the certificate is not registered on the app registration: upload the one of entra.credential under \
                 Certificates & secrets > Certificates"
            }
            "700024" => "the clock of this machine is wrong, or the token in entra.credential.token_file has expired",
            "700213" | "700212" | "70021" => {
                "no federated credential of the app registration matches the issuer, subject and audience of the token in \
                 entra.credential.token_file"
            }
            "53003" => {
                "a Conditional Access policy for workload identities blocks this machine: find it under Entra ID > Sign-in \
                 logs > Service principal sign-ins, and allow the address of this machine"
            }
            "70011" | "500011" => "entra.cloud or entra.graph_url does not belong to this tenant's cloud",
            "7000216" | "7000218" => "the sign-in had no secret",
            _ => return None,
        })
    }
}
