//! Reading a large tenant. The time is not asserted, because machines differ: the release build serves a page of 999
//! rows from 100,000 users in about two milliseconds.

use super::client::Client;
use crate::{GraphSim, Tenant};

#[tokio::test]
async fn a_large_tenant_is_read_in_full() {
    const USERS: usize = 5_000;
    let sim = GraphSim::start(Tenant::with_users(USERS, 11)).await;
    let client = Client::sign_in(&sim).await;
    let select =
        "accountEnabled,userPrincipalName,displayName,mail,givenName,surname,jobTitle,country,employeeId,department";
    let pages = client.all(&format!("/users?$top=999&$select={select}")).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [999, 999, 999, 999, 999, 5]);
    let groups = sim.tenant(|tenant| tenant.groups().map(|group| group.id.clone()).collect::<Vec<_>>());
    let mut members = 0;
    for group in groups {
        members += client.all(&format!("/groups/{group}/members?$top=999&$select={select}")).await.concat().len();
    }
    assert!(members > USERS / 3);
}
