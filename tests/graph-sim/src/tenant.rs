//! The simulated tenant: users, groups, enterprise applications, assignments, and the application that signs in. The
//! maps are private, because paging depends on their keys and order.
//!
//! The tenant keeps its own time and takes its ids from a seed: the same changes produce the same tenant.

mod assignments;
mod credentials;
mod generate;
mod members;
mod recreate;
mod users;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::sequence::Sequence;
use crate::user::User;

pub use assignments::{AppRole, Application, DEFAULT_ACCESS};
pub(crate) use assignments::{Assignment, AssignmentKey};
pub use credentials::RegisteredCertificate;
pub use members::{DirectoryObject, Group, MemberKind};

/// The tenant's verified domain: user names and addresses end with it.
pub const DOMAIN: &str = "harbourworks.example";
/// The id of every simulated tenant.
pub const TENANT_ID: &str = "6f1c2a52-91d4-4b0e-8a37-d5e0c4b7f913";
/// The client id of the application that signs in.
pub const CLIENT_ID: &str = "b84d6e0f-2c59-47a1-9e63-70f5a1d8c246";
/// Its client secret.
pub const CLIENT_SECRET: &str = "sim8Q~not-a-secret_only-the-simulator-knows-it";
/// The client id of the system-assigned managed identity.
pub const SYSTEM_ASSIGNED_CLIENT_ID: &str = "47f0c2ab-9d15-4e83-b6a4-1c5e8d037f92";

/// The simulated tenant.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The tenant's GUID.
    pub tenant_id: String,
    /// Its verified domain, accepted by the token endpoint in place of the GUID.
    pub domain: String,
    /// Its name.
    pub display_name: String,
    /// The client id of the application that signs in.
    pub client_id: String,
    /// The client secret that the token endpoint accepts; empty when the application has none.
    pub client_secret: String,
    /// Makes the token endpoint answer that the secret has expired.
    pub secret_expired: bool,
    /// The `endDateTime` of the secret that `/applications` shows.
    pub secret_expires_at: Timestamp,
    /// Old secrets that `/applications` shows as well, as hint and `endDateTime`.
    pub other_secrets: Vec<(String, Timestamp)>,
    /// The certificates registered for signed assertions, see `register_certificate`.
    pub certificates: Vec<RegisteredCertificate>,
    /// The federated credentials: tokens of another issuer that are accepted as the application's assertion.
    pub federated_tokens: BTreeSet<String>,
    /// The client ids of the user-assigned managed identities.
    pub managed_identities: BTreeSet<String>,
    /// The client id of the system-assigned managed identity, if there is one.
    pub system_assigned_identity: Option<String>,
    /// The permissions of the managed identities; `None` means those of the application.
    pub managed_identity_permissions: Option<BTreeSet<String>>,
    /// Lifetime of a token.
    pub token_lifetime_seconds: u32,
    /// The granted application permissions; a token keeps those of the time it was issued.
    pub permissions: BTreeSet<String>,
    /// The enterprise application that learners are assigned to.
    pub application: Application,
    /// Further enterprise applications, see `add_application`.
    pub other_applications: Vec<Application>,
    /// Omits unset attributes from group member rows; Graph is not consistent there.
    pub members_omit_nulls: bool,
    /// Maximum rows per page, whatever `$top` says, to get many pages from few users.
    pub page_cap: Option<usize>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) deleted_users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) deleted_groups: BTreeMap<String, Group>,
    pub(crate) objects: BTreeMap<String, DirectoryObject>,
    ids: Sequence,
    now: Timestamp,
}

impl Default for Tenant {
    /// One enterprise application with two roles and the three permissions that the product needs, without users.
    fn default() -> Self {
        Self::with_seed(1)
    }
}

impl Tenant {
    /// The default tenant with other object ids.
    pub fn with_seed(seed: u64) -> Self {
        let granted = ["Application.Read.All", "User.Read.All", "GroupMember.Read.All"];
        // 2024-01-15T08:00:00Z
        let now = Timestamp::constant(1_705_305_600, 0);
        let roles = [
            ("0c3f7b1e-5a94-4d28-b6e0-91d7f2a8c354", "Learner", "learner"),
            ("e27a90d4-6b18-4c3f-a5d2-48f0b9c1e763", "Trainer", "trainer"),
        ];
        let role = |(id, name, value): (&str, &str, &str)| AppRole {
            id: id.to_owned(),
            display_name: name.to_owned(),
            value: value.to_owned(),
        };
        Self {
            tenant_id: TENANT_ID.to_owned(),
            domain: DOMAIN.to_owned(),
            display_name: "Harbour Works".to_owned(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            secret_expired: false,
            secret_expires_at: Timestamp::constant(4_070_908_800, 0),
            other_secrets: Vec::new(),
            certificates: Vec::new(),
            federated_tokens: BTreeSet::new(),
            managed_identities: BTreeSet::new(),
            system_assigned_identity: Some(SYSTEM_ASSIGNED_CLIENT_ID.to_owned()),
            managed_identity_permissions: None,
            token_lifetime_seconds: 3599,
            permissions: granted.into_iter().map(str::to_owned).collect(),
            application: Application {
                object_id: "d1b7e5a3-48c6-4f92-80da-3e9c65b0f721".to_owned(),
                app_id: "5e80c9d2-f314-4a67-b2c5-e6a1094d7b38".to_owned(),
                registration_id: "92a6f4c8-07be-4d53-9c1f-b58d20e7a6f4".to_owned(),
                display_name: "Learner Platform".to_owned(),
                roles: roles.map(role).to_vec(),
                ..Application::default()
            },
            other_applications: Vec::new(),
            members_omit_nulls: false,
            page_cap: None,
            users: BTreeMap::new(),
            deleted_users: BTreeMap::new(),
            groups: BTreeMap::new(),
            deleted_groups: BTreeMap::new(),
            objects: BTreeMap::new(),
            ids: Sequence::new(seed),
            now,
        }
    }

    /// A GUID that no object of the tenant has.
    pub fn new_id(&mut self) -> String {
        self.ids.guid()
    }

    /// The tenant's own time, one second later than at the last change.
    fn tick(&mut self) -> Timestamp {
        // Overflows after 7,000 years of changes.
        self.now = self.now.checked_add(SignedDuration::from_secs(1)).unwrap_or(self.now);
        self.now
    }

    /// The registration and service principal of the application that signs in, as the directory shows them.
    pub fn client_application(&self) -> Application {
        Application {
            object_id: "3b9e0d75-c2a8-4164-8f5b-a7d3e1f06c92".to_owned(),
            app_id: self.client_id.clone(),
            registration_id: "f508b3c1-6d9e-4a72-b047-2c81e6d5a39f".to_owned(),
            display_name: "Learner sync".to_owned(),
            ..Application::default()
        }
    }
}
