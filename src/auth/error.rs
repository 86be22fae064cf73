//! Why there is no token, and what an administrator can do about it.

use std::path::PathBuf;

use super::network::unreachable_hint;

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The token file of a workload identity cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Signing with the private key of the certificate failed.
    #[error("the sign-in cannot be signed with the private key of the certificate")]
    Signature(#[source] jsonwebtoken::errors::Error),
    /// The metadata service has no identity for us.
    #[error("the metadata service of this machine gives no token: it answered {status}{}", in_words(code, description))]
    NoIdentity {
        /// The HTTP status.
        status: u16,
        /// Its error code, such as `invalid_request`.
        code: String,
        /// Its own words.
        description: String,
    },
    /// There is no metadata service.
    #[error("the metadata service of this machine cannot be reached")]
    NoMetadataService(#[source] reqwest::Error),
    /// Entra answered and said no.
    #[error("Entra refused the sign-in: {} ({code})", first_line(description))]
    Refused {
        /// The OAuth error code, such as `invalid_client`.
        code: String,
        /// Entra's own words; starts with the AADSTS number.
        description: String,
    },
    /// The endpoint answered with something that is no token answer.
    #[error("the token endpoint answered {status} with no usable token: {detail}")]
    Unusable {
        /// The HTTP status.
        status: u16,
        /// What was wrong with the body.
        detail: String,
    },
    /// The endpoint could not be reached.
    #[error("the token endpoint {endpoint} cannot be reached")]
    Unreachable {
        /// Its URL.
        endpoint: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// Code and words, as far as there are any.
fn in_words(code: &str, description: &str) -> String {
    let words = [code, first_line(description)].into_iter().filter(|words| !words.is_empty());
    words.map(|words| format!(": {words}")).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl AuthError {
    /// What the administrator can do, where the AADSTS number tells. The numbers are hints only: nothing branches
    /// on them, see <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
    pub fn hint(&self) -> Option<&'static str> {
        let description = match self {
            Self::Refused { description, .. } => description,
            Self::Unreachable { source, .. } => return Some(unreachable_hint(source)),
            Self::Unusable { .. } => {
                return Some(
                    "the answer is not Entra's own: look at what stands between this machine and Entra (entra.proxy, a \
                     firewall, a sign-in page) and at entra.authority_url",
                );
            }
            Self::NoIdentity { status: 400, .. } => {
                return Some(
                    "give this virtual machine a managed identity; set entra.client_id for one assigned by a user, and \
                     leave it out for the machine's own",
                );
            }
            Self::NoMetadataService(_) => {
                return Some("entra.credential.kind = \"managed-identity\" works on an Azure virtual machine only");
            }
            Self::TokenFile { .. } => {
                return Some("entra.credential.token_file must be a file with a token, readable for the service user");
            }
            Self::NoIdentity { .. } | Self::Signature(_) => return None,
        };
        let number: String = description.strip_prefix("AADSTS")?.chars().take_while(char::is_ascii_digit).collect();
        Some(match number.as_str() {
            "7000215" => {
                "the client secret is wrong: use the secret's value, not its id, from Certificates & secrets of the \
                 app registration"
            }
            "7000222" => "the client secret has expired: add a new one under Certificates & secrets",
            "700016" => {
                "entra.client_id is unknown in this tenant: copy the Application (client) ID from the Overview page of the app \
                 registration, and check entra.tenant_id"
            }
            "90002" | "900023" => {
                "entra.tenant_id names no tenant of this cloud: copy the Directory (tenant) ID from the Overview page of the \
                 app registration, and check entra.cloud"
            }
            "700027" => {
                "the certificate is not registered on the app registration: upload the one of entra.credential under \
                 Certificates & secrets > Certificates"
            }
            "700024" => {
                "the clock of this machine is wrong, or the token in entra.credential.token_file is out of date"
            }
            "700213" | "700212" | "70021" => {
                "no federated credential of the app registration matches issuer, subject and audience of the token in \
                 entra.credential.token_file"
            }
            "53003" => {
                "a Conditional Access policy for workload identities blocks this machine: Entra ID > Sign-in logs > Service \
                 principal sign-ins names it; let the address of this machine through there"
            }
            "70011" | "500011" => "entra.cloud or entra.graph_url does not belong to this tenant's cloud",
            "7000216" | "7000218" => "the sign-in carried no secret",
            _ => return None,
        })
    }
}
