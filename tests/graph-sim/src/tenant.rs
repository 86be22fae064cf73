//! The simulated tenant: its users, groups, enterprise applications and assignments, and the application that
//! signs in. Everything a test may turn is a public field or a method; the maps behind are private, because
//! their keys and the order in them are what paging rests on.
//!
//! The tenant keeps its own time and draws its ids from a seed: two tenants that were treated alike are equal.

mod assignments;
mod credentials;
mod generate;
mod members;
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
/// The client id of the identity of the machine itself.
pub const SYSTEM_ASSIGNED_CLIENT_ID: &str = "47f0c2ab-9d15-4e83-b6a4-1c5e8d037f92";

/// A whole tenant.
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
    /// Further secrets that `/applications` shows, by hint and `endDateTime`: old ones that nobody took away.
    pub other_secrets: Vec<(String, Timestamp)>,
    /// The certificates that the application may sign its assertions with, see `register_certificate`.
    pub certificates: Vec<RegisteredCertificate>,
    /// The tokens of another issuer, whatever they look like, that are accepted as the application's assertion:
    /// its federated credentials.
    pub federated_tokens: BTreeSet<String>,
    /// The client ids of the user-assigned identities of the machine that asks the metadata service.
    pub managed_identities: BTreeSet<String>,
    /// The client id of the machine's own identity, if it has one.
    pub system_assigned_identity: Option<String>,
    /// The permissions of all these identities; those of the application unless given.
    pub managed_identity_permissions: Option<BTreeSet<String>>,
    /// How long a token is valid.
    pub token_lifetime_seconds: u32,
    /// The granted application permissions; a token keeps those of the moment it was issued.
    pub permissions: BTreeSet<String>,
    /// The enterprise application that learners are assigned to.
    pub application: Application,
    /// Further enterprise applications, see `add_application`.
    pub other_applications: Vec<Application>,
    /// Leaves unset attributes out of group member rows; Graph is not consistent there.
    pub members_omit_nulls: bool,
    /// Serves at most so many rows a page whatever `$top` says: many pages from few users.
    pub page_cap: Option<usize>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) deleted_users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) objects: BTreeMap<String, DirectoryObject>,
    ids: Sequence,
    now: Timestamp,
}

impl Default for Tenant {
    /// One enterprise application with two roles, the three permissions that the product asks for, nobody in it.
    fn default() -> Self {
        Self::with_seed(1)
    }
}

impl Tenant {
    /// The default tenant with other object ids.
    pub fn with_seed(seed: u64) -> Self {
        let granted = ["Application.Read.All", "User.Read.All", "GroupMember.Read.All"];
        // 2024-01-15T08:00:00Z: every tenant begins at the same moment.
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
            objects: BTreeMap::new(),
            ids: Sequence::new(seed),
            now,
        }
    }

    /// A GUID that nothing in the tenant has: for things that do not exist.
    pub fn new_id(&mut self) -> String {
        self.ids.guid()
    }

    /// The tenant's own time, one second later than at the last change.
    fn tick(&mut self) -> Timestamp {
        // The only way to overflow is to make more changes than there are seconds in 7,000 years.
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
