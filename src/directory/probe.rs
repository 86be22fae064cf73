//! Single small calls for `learner-sync check`: does each permission work, and what does the application look like?

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::Reply;
use super::read::{Read, told};
use super::{Application, Directory, DirectoryError, GraphError, malformed, select, wire};
use crate::model::{EntraId, Selection};

/// Who is on the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Users that are assigned themselves.
    pub users: usize,
    /// Assigned groups and their display names.
    pub groups: Vec<(EntraId, String)>,
}

impl Directory {
    /// Reads the assignments: works with Application.Read.All.
    ///
    /// # Errors
    /// What a cycle would run into.
    pub async fn assigned(&self, application: &Application) -> Result<Assigned, DirectoryError> {
        let assignments = self.assignments(application.object_id).await?;
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
            Read::Unreadable { detail, .. } => Some(detail),
            Read::User(_) | Read::NotFound(_) => None,
        }))
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
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads one member of a group: works with GroupMember.Read.All.
    ///
    /// # Errors
    /// What a cycle would run into.
    pub async fn readable_group(&self, group: EntraId, name: &str) -> Result<(), DirectoryError> {
        let what = format!("reading the members of group {group}");
        match self.client.get_bytes(&what, &format!("/groups/{group}/members?$select=id&$top=1")).await {
            Ok(_) => Ok(()),
            Err(source @ GraphError::Answered { status: 403, .. }) => {
                Err(DirectoryError::GroupForbidden { group, name: name.to_owned(), source })
            }
            Err(error) => Err(error.into()),
        }
    }
}
