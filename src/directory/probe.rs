//! Small requests for `check`: permissions, assignments, credential expiry, clock.

use std::collections::BTreeSet;

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;

use super::account::{AccountRead, read_account};
use super::client::{Reply, with_request_id};
use super::error::malformed;
use super::wire::{self, InvalidRow, Registration, RowType};
use super::{Application, Directory, DirectoryError, GraphError, PAGE_SIZE, select};
use crate::auth::Validity;
use crate::model::{EntraId, Selection, stored_name_prefix};

/// The assignments of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentSummary {
    /// The number of directly assigned users.
    pub users: usize,
    /// The assigned groups, each with its display name.
    pub groups: Vec<(EntraId, String)>,
    /// The number of assignments without a readable principal.
    pub unclear: usize,
}

/// An assigned group, as far as its first page of members shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupPreview {
    /// The group does not exist.
    pub missing: bool,
    /// The membership is hidden: without Member.Read.Hidden, the group looks empty.
    pub hidden: bool,
    /// The number of users.
    pub users: usize,
    /// The number of other members, such as nested groups and devices.
    pub others: usize,
    /// Whether the group has more members than that.
    pub more: bool,
}

impl Directory {
    /// Reads the assignments, which needs Application.Read.All.
    ///
    /// # Errors
    /// The same as in a cycle.
    pub async fn assignment_summary(&self, application: &Application) -> Result<AssignmentSummary, DirectoryError> {
        let assignments = self.assignments(application).await?;
        let unclear = assignments.unclear.unnamed as usize + assignments.unclear.principals.len();
        Ok(AssignmentSummary {
            users: assignments.users.len(),
            groups: assignments.groups.into_iter().collect(),
            unclear,
        })
    }

    /// Reads one user with every mapped attribute, which needs User.Read.All. Returns what is missing in the answer.
    /// <https://learn.microsoft.com/graph/api/user-list>
    ///
    /// # Errors
    /// The same as in a cycle.
    pub async fn readable_user(&self, selection: &Selection) -> Result<Option<String>, DirectoryError> {
        let what = "reading one user";
        let path = format!("/users?$select={}&$top=1", select(selection));
        let Reply { body, request_id } = self.client.get_text(what, &path).await?;
        let invalid = |why: String| malformed(what, with_request_id(&why, &request_id));
        let page = wire::page(&body).map_err(invalid)?;
        for row in page.rows {
            match wire::user(row.get(), selection, &mut wire::Texts::default()) {
                // A bad value of one user is not a missing permission.
                Ok(row) if row.problem.is_some() => {}
                Ok(row) => {
                    if let AccountRead::Unreadable { detail, .. } = read_account(row, selection, &request_id) {
                        return Ok(Some(detail));
                    }
                }
                Err(InvalidRow::Failed(why) | InvalidRow::Bad(why) | InvalidRow::NoObject(why)) => {
                    return Err(invalid(why).into());
                }
            }
        }
        Ok(None)
    }

    /// The application permissions in the token; `None` when the token is not readable.
    ///
    /// # Errors
    /// The sign-in fails.
    pub async fn granted_permissions(&self) -> Result<Option<BTreeSet<String>>, DirectoryError> {
        Ok(self.client.authenticator.granted_permissions().await.map_err(GraphError::from)?)
    }

    /// The expiry of the credential; `None` when it has none or the expiry is unknown. The app registration lists secrets by
    /// their first characters; if several match, the earliest future expiry counts. It lists certificates by their
    /// thumbprint; the earlier of its end and the certificate's own counts.
    /// <https://learn.microsoft.com/graph/api/application-get>
    ///
    /// # Errors
    /// A request fails.
    pub async fn credential_end(&self, now: Timestamp) -> Result<Option<Timestamp>, DirectoryError> {
        let validity = self.client.authenticator.validity();
        let (client_id, own) = match &validity {
            Validity::Unknown => return Ok(None),
            Validity::Certificate { client_id, until, .. } => (client_id, Some(*until)),
            Validity::Secret { client_id, .. } => (client_id, None),
        };
        let what = "reading when the credential expires";
        let path = format!("/applications(appId='{client_id}')?$select=id,appId,passwordCredentials,keyCredentials");
        let registration = match self.client.get::<Registration>(what, &path).await {
            // The registration may be in another tenant, or the permission may be missing.
            Err(error) if own.is_some() || error.is_forbidden() || error.is_not_found() => return Ok(own),
            registration => registration?,
        };
        let Registration { app_id: _, password_credentials, key_credentials } = registration;
        let time = |text: Option<String>| text?.parse::<Timestamp>().ok();
        Ok(match &validity {
            Validity::Secret { hint, .. } => password_credentials
                .into_iter()
                .filter(|secret| secret.hint.as_deref() == Some(hint.expose_secret()))
                .filter_map(|secret| time(secret.end_date_time))
                .filter(|end| *end > now)
                .min(),
            Validity::Certificate { thumbprint, .. } => key_credentials
                .into_iter()
                .filter(|key| key.custom_key_identifier.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(thumbprint)))
                .filter_map(|key| time(key.end_date_time))
                .chain(own)
                .min(),
            Validity::Unknown => None,
        })
    }

    /// Why the certificate is not valid at `now`, by its own dates.
    pub fn certificate_problem(&self, now: Timestamp) -> Option<String> {
        self.client.authenticator.certificate_problem(now)
    }

    /// The application (client) id, if `id` is the object id of an app registration, which is easily confused with the
    /// object id of the enterprise application.
    /// <https://learn.microsoft.com/graph/api/application-get>
    ///
    /// # Errors
    /// A request fails.
    pub async fn find_registration(&self, id: EntraId) -> Result<Option<String>, DirectoryError> {
        let path = format!("/applications/{id}?$select=id,appId");
        match self.client.get::<Registration>("looking for an app registration", &path).await {
            Ok(registration) => Ok(Some(registration.app_id)),
            Err(error) if error.is_forbidden() || error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Connects without a token. Returns the `Date` of the answer, which may be that of a proxy.
    ///
    /// # Errors
    /// Graph is unreachable: name resolution, network, proxy or certificate.
    pub async fn connect(&self) -> Result<Option<Timestamp>, GraphError> {
        self.client.server_date().await.map_err(|source| GraphError::Transport {
            what: "connecting to Graph".to_owned(),
            source: source.without_url(),
        })
    }

    /// Reads an assigned group and its first page of members.
    /// <https://learn.microsoft.com/graph/api/group-list-members>
    ///
    /// # Errors
    /// The same as in a cycle.
    pub async fn preview_group(&self, group: EntraId, name: &str) -> Result<GroupPreview, DirectoryError> {
        let what = format!("reading group {group}");
        let Some(hidden) = self.hides_members(group, name).await? else {
            return Ok(GroupPreview { missing: true, ..GroupPreview::default() });
        };
        let path = format!("/groups/{group}/members?$select=id&$top={PAGE_SIZE}");
        let nothing = Selection::default();
        match self.client.get_text(&what, &path).await {
            Ok(reply) => {
                let page = wire::page(&reply.body).map_err(|why| malformed(&what, why))?;
                let mut users = 0;
                for row in &page.rows {
                    match wire::member(row.get(), &nothing, &mut wire::Texts::default()) {
                        Ok(row) => users += usize::from(row.kind == RowType::User),
                        Err(InvalidRow::Failed(why)) => return Err(malformed(&what, why).into()),
                        Err(InvalidRow::Bad(_) | InvalidRow::NoObject(_)) => {}
                    }
                }
                let others = page.rows.len() - users;
                Ok(GroupPreview { missing: false, hidden, users, others, more: page.next.is_some() })
            }
            Err(error) => Err(DirectoryError::for_group(group, name, error)),
        }
    }

    /// The id of the user with this userPrincipalName, or of the guest with this name in the home tenant. Needs
    /// User.Read.All.
    ///
    /// # Errors
    /// A request fails.
    pub async fn find_user(&self, name: &str) -> Result<Option<EntraId>, DirectoryError> {
        match (self.find_stored_name(name).await?, stored_name_prefix(name)) {
            (Some(user), _) => Ok(Some(user)),
            (None, Some(prefix)) => self.find_guest(&prefix).await,
            (None, None) => Ok(None),
        }
    }

    /// The only user whose userPrincipalName starts with `prefix`.
    /// <https://learn.microsoft.com/graph/api/user-list>
    async fn find_guest(&self, prefix: &str) -> Result<Option<EntraId>, DirectoryError> {
        let what = "looking for the guest";
        let selection = Selection::default();
        let filter = format!("startswith(userPrincipalName,'{}')", prefix.replace('\'', "''"));
        let filter = utf8_percent_encode(&filter, NON_ALPHANUMERIC);
        let path = format!("/users?$filter={filter}&$select={}&$top=2", select(&selection));
        let reply = self.client.get_text(what, &path).await?;
        let page = wire::page(&reply.body).map_err(|why| malformed(what, why))?;
        let ([row], None) = (page.rows.as_slice(), &page.next) else { return Ok(None) };
        found_id(what, row.get())
    }

    /// <https://learn.microsoft.com/graph/api/user-get>
    async fn find_stored_name(&self, user_principal_name: &str) -> Result<Option<EntraId>, DirectoryError> {
        let what = "looking for the user";
        let name = utf8_percent_encode(user_principal_name, NON_ALPHANUMERIC);
        let selection = Selection::default();
        match self.client.get_text(what, &format!("/users/{name}?$select={}", select(&selection))).await {
            Ok(reply) => found_id(what, &reply.body),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn found_id(what: &str, json: &str) -> Result<Option<EntraId>, DirectoryError> {
    match wire::user(json, &Selection::default(), &mut wire::Texts::default()) {
        Ok(row) => Ok(Some(row.id)),
        Err(InvalidRow::Failed(why) | InvalidRow::Bad(why) | InvalidRow::NoObject(why)) => {
            Err(malformed(what, why).into())
        }
    }
}
