//! Single small calls: does each permission work, what does the application look like, when does the credential end?

use std::collections::BTreeSet;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;

use super::client::Reply;
use super::read::{AccountRead, told};
use super::wire::{Registration, RowType};
use super::{Application, Directory, DirectoryError, GraphError, PAGE, malformed, select, wire};
use crate::auth::Validity;
use crate::model::{Clock, EntraId, Selection};

/// Who is on the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Users that are assigned themselves.
    pub users: usize,
    /// Assigned groups and their display names.
    pub groups: Vec<(EntraId, String)>,
}

/// An assigned group, by its first page of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupShape {
    /// It is assigned, but does not exist.
    pub missing: bool,
    /// Its membership is hidden: without Member.Read.Hidden it looks empty.
    pub hidden: bool,
    /// User members.
    pub users: usize,
    /// Members that are no users: nested groups, devices.
    pub others: usize,
    /// Whether there are more than that.
    pub more: bool,
}

impl Directory {
    /// Reads the assignments: works with Application.Read.All.
    ///
    /// # Errors
    /// What a cycle would run into.
    pub async fn assigned(&self, application: &Application) -> Result<Assigned, DirectoryError> {
        let assignments = self.assignments(application).await?;
        Ok(Assigned { users: assignments.users.len(), groups: assignments.groups.into_iter().collect() })
    }

    /// Reads one user with every mapped attribute: works with User.Read.All. `Some` tells what is hidden.
    ///
    /// # Errors
    /// What a cycle would run into.
    pub async fn readable_user(&self, selection: &Selection) -> Result<Option<String>, DirectoryError> {
        let what = "reading one user";
        let path = format!("/users?$select={}&$top=1", select(selection));
        let Reply { body, request_id } = self.client.get_bytes(what, &path).await?;
        let page = wire::user_page(&body, selection).map_err(|error| malformed(what, &error))?;
        Ok(page.rows.into_iter().map(|row| told(row, selection, &request_id)).find_map(|read| match read {
            AccountRead::Unreadable { detail, .. } => Some(detail),
            AccountRead::User(_) | AccountRead::NotFound(_) => None,
        }))
    }

    /// The permissions that the token carries; `None` when it does not tell.
    ///
    /// # Errors
    /// When signing in fails.
    pub async fn granted(&self) -> Result<Option<BTreeSet<String>>, DirectoryError> {
        Ok(self.client.granted().await?)
    }

    /// When the credential ends: `None` when it does not, or cannot be told. A secret is found on its app registration,
    /// <https://learn.microsoft.com/graph/api/application-get>, by the letters that it begins with; of several that begin
    /// alike, the one counts that ends first and has not ended.
    ///
    /// # Errors
    /// When Graph cannot be asked.
    pub async fn credential_end(&self, now: Timestamp) -> Result<Option<Timestamp>, DirectoryError> {
        let (client_id, hint) = match self.client.validity() {
            Validity::Unlimited => return Ok(None),
            Validity::Until(end) => return Ok(Some(end)),
            Validity::Listed { client_id, hint } => (client_id, hint),
        };
        let what = "reading when the client secret expires";
        let path = format!("/applications(appId='{client_id}')?$select=id,appId,passwordCredentials");
        let registration = match self.client.get::<Registration>(what, &path).await {
            // It may be registered in another tenant, or the permission may not reach so far: nothing to be told, then.
            Err(error) if error.is_forbidden() || error.is_not_found() => return Ok(None),
            registration => registration?,
        };
        let alike = registration
            .password_credentials
            .into_iter()
            .filter(|secret| secret.hint.as_deref() == Some(hint.expose_secret()));
        let ends = alike.filter_map(|secret| secret.end_date_time?.parse::<Timestamp>().ok());
        Ok(ends.filter(|end| *end > now).min())
    }

    /// Whether `id` is the object id of an app registration, which is easily taken for that of the enterprise
    /// application; answers the application (client) id then.
    ///
    /// # Errors
    /// When Graph cannot be asked.
    pub async fn registration(&self, id: EntraId) -> Result<Option<String>, DirectoryError> {
        let path = format!("/applications/{id}?$select=id,appId");
        match self.client.get::<Registration>("looking for an app registration", &path).await {
            Ok(registration) => Ok(Some(registration.app_id)),
            Err(error) if error.is_forbidden() || error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How far the clock of this machine is ahead of Graph's; `None` when Graph does not tell the time.
    ///
    /// # Errors
    /// When Graph cannot be reached: name, network, proxy or certificate.
    pub async fn clock_ahead(&self, clock: Clock) -> Result<Option<SignedDuration>, GraphError> {
        let date = self.client.knock().await.map_err(|source| GraphError::Transport {
            what: "connecting to Graph".to_owned(),
            source: source.without_url(),
        })?;
        let told = date.and_then(|date| DateTimeParser::new().parse_timestamp(&date).ok());
        Ok(told.map(|told| clock().duration_since(told)))
    }

    /// What an assigned group looks like from its first page of members.
    ///
    /// # Errors
    /// What a cycle would run into.
    pub async fn group_shape(&self, group: EntraId, name: &str) -> Result<GroupShape, DirectoryError> {
        let what = format!("looking at group {group}");
        let found = self.client.get::<wire::Group>(&what, &format!("/groups/{group}?$select=id,visibility")).await;
        let hidden = match found {
            Ok(found) => found.hides_members(),
            Err(error) if error.is_not_found() => {
                return Ok(GroupShape { missing: true, ..GroupShape::default() });
            }
            Err(source) if source.is_forbidden() => {
                return Err(DirectoryError::GroupForbidden { group, name: name.to_owned(), source: source.into() });
            }
            Err(error) => return Err(error.into()),
        };
        let path = format!("/groups/{group}/members?$select=id&$top={PAGE}");
        let nothing = Selection::default();
        match self.client.get_bytes(&what, &path).await {
            Ok(reply) => {
                let page = wire::user_page(&reply.body, &nothing).map_err(|error| malformed(&what, &error))?;
                let users = page.rows.iter().filter(|row| row.kind == RowType::User).count();
                let others = page.rows.len() - users;
                Ok(GroupShape { missing: false, hidden, users, others, more: page.next.is_some() })
            }
            Err(source) if source.is_forbidden() => {
                Err(DirectoryError::GroupForbidden { group, name: name.to_owned(), source: source.into() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The user with this userPrincipalName: works with User.Read.All. `None` when there is none.
    /// <https://learn.microsoft.com/graph/api/user-get>
    ///
    /// # Errors
    /// When Graph cannot be read.
    pub async fn user_named(&self, user_principal_name: &str) -> Result<Option<EntraId>, DirectoryError> {
        let what = "looking for the user";
        let name = utf8_percent_encode(user_principal_name, NON_ALPHANUMERIC);
        let selection = Selection::default();
        match self.client.get_bytes(what, &format!("/users/{name}?$select={}", select(&selection))).await {
            Ok(reply) => {
                let row = wire::user(&reply.body, &selection).map_err(|error| malformed(what, &error))?;
                Ok(Some(row.id))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
