//! A simulator of the calls that learner-sync makes to Microsoft Graph v1.0, to Entra's token endpoint and to the
//! metadata service that has tokens for managed identities.
//!
//! It stands in for the real thing over real HTTP, so that nothing in the product has to be mocked. A test
//! makes a [`Tenant`], serves it with [`GraphSim`], changes it while it runs, lets things go wrong with
//! [`Fault`] and reads in the journal what was asked. What is not written here the simulator refuses, and
//! `unexpected_calls` tells.
//!
//! ```
//! # async fn example() {
//! use graph_sim::{Fault, GraphSim, Tenant, User};
//!
//! let mut tenant = Tenant::default();
//! let ada = tenant.hire(User::named("Ada", "Lovelace").department("Research"));
//! tenant.assign_user(&ada);
//! let sim = GraphSim::start(tenant).await;
//! sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").times(2).answer(503));
//! // ... let the product read from sim.url() ...
//! sim.tenant(|tenant| tenant.delete_user(&ada));
//! # }
//! ```
//!
//! The map: `tenant` is the world and knows no HTTP; `graph` answers a request from it; `token` lets callers
//! in; `fault` and `journal` stand between the two and the wire; `server` runs it all on top of `wire`;
//! `control` is for users with curl.

mod batch;
mod certificate;
mod clock;
mod control;
mod encoding;
mod fault;
mod graph;
mod journal;
mod names;
mod property;
mod reply;
mod request;
mod sequence;
mod server;
mod stranger;
mod tenant;
mod tls;
mod token;
mod user;
mod wire;

pub use certificate::SigningCertificate;
pub use fault::{Edit, Fault, Gate};
pub use journal::Call;
pub use server::GraphSim;
pub use stranger::Stranger;
pub use tenant::{
    AppRole, Application, CLIENT_ID, CLIENT_SECRET, DEFAULT_ACCESS, DOMAIN, DirectoryObject, Group, MemberKind,
    RegisteredCertificate, SYSTEM_ASSIGNED_CLIENT_ID, TENANT_ID, Tenant,
};
pub use user::{EmployeeOrgData, User};

#[cfg(test)]
mod tests;
