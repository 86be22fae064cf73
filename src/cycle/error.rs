//! Why a cycle ended early, and what an administrator can do about it.

use std::time::Duration;

use crate::auth::AuthError;
use crate::directory::{DirectoryError, GraphError};
use crate::model::{EntraId, Outcome};
use crate::store::StoreError;

/// A cycle ended early. Nothing of its plan was applied, unless the learner database itself went away while it was
/// being applied; then the next cycle carries on.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The directory could not be read as a whole.
    #[error("the directory could not be read completely")]
    Directory(#[from] DirectoryError),
    /// The learner database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The learners belong to another application.
    #[error("this database is kept by {}", kept_by(others))]
    ForeignSource {
        /// The source of this configuration.
        here: String,
        /// Those that have links.
        others: Vec<String>,
    },
    /// A group that says whom to leave alone does not say it any more.
    #[error("the group {0}, which scope.only or scope.ignore names, had members and has none now, or is gone")]
    BoundLost(EntraId),
    /// Reading took too long.
    #[error("reading the directory took longer than entra.cycle_deadline ({} s)", .0.as_secs())]
    Deadline(Duration),
    /// The process was asked to stop.
    #[error("stopped by a signal")]
    Interrupted,
}

fn kept_by(sources: &[String]) -> String {
    let named = sources.iter().map(|source| match source.split_once('/') {
        Some((tenant, application)) => format!("application {application} in tenant {tenant}"),
        None => source.clone(),
    });
    named.collect::<Vec<_>>().join(" and ")
}

/// A tenant can be named by its id and by each of its domains.
fn same_application(left: &str, right: &str) -> bool {
    let application = |source: &str| source.rsplit('/').next().map(str::to_owned);
    application(left) == application(right)
}

impl CycleError {
    /// What the administrator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => error.hint(),
            Self::ForeignSource { here, others } if others.iter().any(|other| same_application(other, here)) => Some(
                "it is the same application under another spelling of entra.tenant_id: use the spelling from before"
                    .to_owned(),
            ),
            Self::ForeignSource { .. } => Some(
                "check entra.tenant_id and app.enterprise_app; `learner-sync approve --source` admits this application \
                 to the database"
                    .to_owned(),
            ),
            Self::BoundLost(_) => Some(
                "nobody is touched until it is clear whom to leave alone: mend the group, or take it out of the configuration"
                    .to_owned(),
            ),
            Self::Deadline(_) => Some("raise entra.cycle_deadline if the tenant is that large".to_owned()),
            Self::Store(error) => error.hint(),
            Self::Interrupted => None,
        }
    }

    /// Whether Entra said no to the credential or the application: asking again soon does not help.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::ApplicationNotFound(_)) => true,
            Self::Directory(DirectoryError::Graph(GraphError::Auth(error))) => {
                matches!(**error, AuthError::Refused { .. } | AuthError::NoIdentity { .. })
            }
            _ => false,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Interrupted => Outcome::Interrupted,
            _ => Outcome::Failed,
        }
    }
}
