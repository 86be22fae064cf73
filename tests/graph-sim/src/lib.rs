//! Simulates Microsoft Graph v1.0, Entra's token endpoint, and the metadata service that issues tokens to managed
//! identities, as far as learner-sync calls them.
//!
//! The simulator speaks real HTTP, so the product needs no mocks. A test builds a [`Tenant`], serves it with
//! [`GraphSim`], changes it while it runs, injects [`Fault`]s and reads the calls from the journal. The simulator
//! refuses every other call and lists it in `unexpected_calls`.
//!
//! ```
//! # async fn example() {
//! use graph_sim::{Fault, GraphSim, Tenant, User};
//!
//! let mut tenant = Tenant::default();
//! let ada = tenant.add_user(User::named("Ada", "Lovelace").department("Research"));
//! tenant.assign_user(&ada);
//! let sim = GraphSim::start(tenant).await;
//! sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").times(2).answer(503));
//! // ... let the product read from sim.url() ...
//! sim.tenant(|tenant| tenant.delete_user(&ada));
//! # }
//! ```
//!
//! Map: `tenant` holds the state and knows no HTTP; `graph` answers a request from it; `token` signs callers in;
//! `fault` and `journal` see each call before it is answered; `server` runs all of them on top of `wire`; `control`
//! changes the tenant over HTTP, for use with curl; `large` answers from ready-made pages.

mod batch;
mod certificate;
mod clock;
mod control;
mod encoding;
mod fault;
mod foreign_server;
mod graph;
mod journal;
mod large;
mod names;
mod property;
mod reply;
mod request;
mod sequence;
mod server;
mod tenant;
mod tls;
mod token;
mod user;
mod wire;

pub use certificate::SigningCertificate;
pub use clock::DateHeader;
pub use fault::{Edit, Fault, Firings, Gate};
pub use foreign_server::ForeignServer;
pub use journal::Call;
pub use large::LargeTenant;
pub use server::GraphSim;
pub use tenant::{
    AppRole, Application, CLIENT_ID, CLIENT_SECRET, DEFAULT_ACCESS, DOMAIN, DirectoryObject, Group, MemberKind,
    RegisteredCertificate, SYSTEM_ASSIGNED_CLIENT_ID, TENANT_ID, Tenant,
};
pub use user::{EmployeeOrgData, User};

#[cfg(test)]
mod tests;
