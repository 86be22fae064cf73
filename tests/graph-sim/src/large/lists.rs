//! The member and assignment lists of a large tenant, rendered to pages.

use std::collections::BTreeMap;
use std::io::Write as _;

use axum::body::Bytes;

use super::people::{People, id};
use crate::tenant::Application;

/// Graph's largest page.
const PAGE_SIZE: usize = 999;
const METADATA: &str = "https://graph.microsoft.com/v1.0/$metadata";

#[derive(Debug)]
pub(super) struct Lists {
    origin: String,
    application: (String, String, String),
    /// The assigned groups; without any, every user is assigned directly.
    groups: Vec<String>,
    /// The lists, by path.
    lists: BTreeMap<String, List>,
}

#[derive(Debug)]
struct List {
    /// The numbers of the users.
    users: Vec<usize>,
    pages: Vec<Bytes>,
}

impl Lists {
    pub(super) fn new(origin: String, application: &Application, groups: Vec<String>) -> Self {
        let role = application.roles.first().map(|role| role.id.clone()).unwrap_or_default();
        let application = (application.object_id.clone(), application.display_name.clone(), role);
        Self { origin, application, groups, lists: BTreeMap::new() }
    }

    pub(super) fn render(&mut self, people: &People) {
        let render = |(path, users): (String, Vec<usize>)| {
            let pages = (0..page_count(&users)).map(|page| self.write(people, &path, &users, page, false)).collect();
            (path, List { users, pages })
        };
        self.lists = self.users(people).into_iter().map(render).collect();
    }

    /// A page of a list of members or assignments.
    pub(super) fn page(&self, people: &People, path: &str, select: Option<&str>, token: Option<&str>) -> Option<Bytes> {
        let List { users, pages } = self.lists.get(path)?;
        let page = token.map_or(Some(0), |token| token.parse().ok())?;
        if select == Some("id") {
            return Some(self.write(people, path, users, page, true));
        }
        pages.get(page).cloned()
    }

    /// The users in each list, by path.
    fn users(&self, people: &People) -> Vec<(String, Vec<usize>)> {
        let assigned = |number: &usize| people.is_assigned(*number);
        if self.groups.is_empty() {
            let path = format!("/v1.0/servicePrincipals/{}/appRoleAssignedTo", self.application.0);
            return vec![(path, (0..people.count()).filter(assigned).collect())];
        }
        let members = people.count().div_ceil(self.groups.len());
        let lists = self.groups.iter().enumerate().map(|(position, group)| {
            let numbers = position * members..((position + 1) * members).min(people.count());
            (format!("/v1.0/groups/{group}/members"), numbers.filter(assigned).collect())
        });
        lists.collect()
    }

    fn write(&self, people: &People, path: &str, numbers: &[usize], page: usize, only_ids: bool) -> Bytes {
        let (application, name, role) = &self.application;
        let metadata = match self.groups.is_empty() {
            true => format!("servicePrincipals('{application}')/appRoleAssignedTo"),
            false => "directoryObjects".to_owned(),
        };
        let mut body = format!(r#"{{"@odata.context":"{METADATA}#{metadata}","#).into_bytes();
        if page + 1 < page_count(numbers) {
            let select = if only_ids { "$select=id&" } else { "" };
            let link = format!("{}{path}?{select}$top={PAGE_SIZE}&$skiptoken={}", self.origin, page + 1);
            body.extend_from_slice(format!(r#""@odata.nextLink":"{link}","#).as_bytes());
        }
        body.extend_from_slice(b"\"value\":[");
        for (position, number) in numbers.iter().skip(page * PAGE_SIZE).take(PAGE_SIZE).enumerate() {
            if position > 0 {
                body.push(b',');
            }
            let user = id(*number);
            // Writing to memory does not fail.
            let _ = match (self.groups.is_empty(), only_ids) {
                (true, _) => write!(
                    body,
                    r#"{{"id":"{number:043}","deletedDateTime":null,"appRoleId":"{role}","createdDateTime":"2024-01-15T08:00:00.0000000Z","principalDisplayName":"User {number}","principalId":"{user}","principalType":"User","resourceDisplayName":"{name}","resourceId":"{application}"}}"#
                ),
                (false, true) => write!(body, r##"{{"@odata.type":"#microsoft.graph.user","id":"{user}"}}"##),
                (false, false) => {
                    people.write_row(*number, true, &mut body);
                    Ok(())
                }
            };
        }
        body.extend_from_slice(b"]}");
        Bytes::from(body)
    }
}

/// An empty list has one page.
fn page_count(numbers: &[usize]) -> usize {
    numbers.len().div_ceil(PAGE_SIZE).max(1)
}
