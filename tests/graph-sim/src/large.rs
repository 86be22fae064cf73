//! A large tenant for measurements. Its lists are rendered once and served without copying, so that the simulator costs
//! as little as possible beside the program that is measured. Sign-in, applications and groups come from the ordinary
//! tenant. The token of a fast answer is not checked, and faults do not apply to it.

mod batch;
mod lists;
mod people;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Uri};
use axum::response::Response;

use self::lists::Lists;
use self::people::{KEYS, People};
use crate::clock::DateHeader;
use crate::encoding::form_pairs;
use crate::reply::{ODATA_JSON, PLAIN_JSON};
use crate::tenant::Tenant;

/// The number and the assignment of the users of a large tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct LargeTenant {
    /// The number of users; every user has all attributes that the default mapping needs.
    pub users: usize,
    /// The number of assigned groups among which the users are divided; 0 assigns each user directly.
    pub groups: usize,
    /// The time before each answer.
    pub latency: Duration,
}

#[derive(Debug)]
pub(crate) struct Large {
    latency: Duration,
    state: RwLock<State>,
    answered: AtomicU64,
}

#[derive(Debug)]
struct State {
    people: People,
    lists: Lists,
}

impl Large {
    /// Renders the lists, and adds the groups to the ordinary tenant.
    pub(crate) fn new(size: LargeTenant, tenant: &mut Tenant, origin: String) -> Self {
        let LargeTenant { users, groups, latency } = size;
        let groups: Vec<String> = (1..=groups)
            .map(|number| {
                let group = tenant.add_group(&format!("Department {number}"));
                tenant.assign_group(&group);
                group
            })
            .collect();
        let mut people = People::new(users, groups.is_empty());
        let mut lists = Lists::new(origin, &tenant.application, groups);
        people.render();
        lists.render(&people);
        Self { latency, state: RwLock::new(State { people, lists }), answered: AtomicU64::new(0) }
    }

    /// Changes an attribute of every user whose number is a multiple of `step`, and returns how many these are.
    pub(crate) fn change(&self, step: usize) -> usize {
        self.edit(|people| people.change(step))
    }

    /// Unassigns every user whose number is a multiple of `step`, and returns how many these are.
    pub(crate) fn unassign(&self, step: usize) -> usize {
        self.edit(|people| people.unassign(step))
    }

    fn edit(&self, edit: impl FnOnce(&mut People) -> usize) -> usize {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State { people, lists } = &mut *state;
        let count = edit(people);
        people.render();
        lists.render(people);
        count
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) async fn delay(&self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }

    /// Whether `answer` needs the body of a request.
    pub(crate) fn reads_body(method: &Method, uri: &Uri) -> bool {
        method == Method::POST && uri.path() == "/v1.0/$batch"
    }

    /// The answer to a request about users or their assignments; `None` for every other request.
    pub(crate) fn answer(&self, method: &Method, uri: &Uri, body: &[u8], request_id: &str) -> Option<Response> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let (status, content_type, body) = if Self::reads_body(method, uri) {
            (200, PLAIN_JSON, Bytes::from(batch::answer(&state.people, body)?))
        } else if method == Method::GET {
            let query = form_pairs(uri.query().unwrap_or_default());
            let option = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            let select = option("$select");
            let page = state.lists.page(&state.people, uri.path(), select, option("$skiptoken"));
            let body = page.or_else(|| {
                let id = uri.path().strip_prefix("/v1.0/users/")?;
                state.people.account(id).map(Bytes::from)
            })?;
            match unknown_key(select) {
                None => (200, ODATA_JSON, body),
                Some(key) => (400, PLAIN_JSON, Bytes::from(unsupported(key))),
            }
        } else {
            return None;
        };
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::builder()
            .status(status)
            .header("Content-Type", content_type)
            .header("Cache-Control", "no-cache")
            .header("OData-Version", "4.0")
            .header("request-id", request_id);
        for (name, value) in DateHeader::Real.headers() {
            response = response.header(name, value);
        }
        response.body(Body::from(body)).ok()
    }
}

fn unknown_key(select: Option<&str>) -> Option<&str> {
    select?.split(',').find(|key| !KEYS.contains(key))
}

fn unsupported(key: &str) -> String {
    format!(r#"{{"error":{{"code":"Request_BadRequest","message":"The large tenant has no property '{key}'."}}}}"#)
}
