//! A large tenant: ready-made lists, and accounts read directly.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use crate::{GraphSim, LargeTenant};

const SELECT: &str = "id,accountEnabled,userPrincipalName,mail,jobTitle";

/// The rows of a list.
async fn rows(client: &Client<'_>, path: &str) -> Vec<Value> {
    let (mut rows, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(link) = next {
        let mut page = client.get(&link).await.json();
        rows.append(page["value"].as_array_mut().unwrap());
        next = page["@odata.nextLink"].as_str().map(str::to_owned);
    }
    rows
}

fn texts<'a>(rows: &'a [Value], key: &str) -> BTreeSet<&'a str> {
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[tokio::test]
async fn members_are_divided_among_groups_changed_and_unassigned() {
    let sim = GraphSim::start_large(LargeTenant { users: 2500, groups: 2, latency: Duration::ZERO }).unwrap();
    let client = Client::sign_in(&sim).await;
    let application = sim.tenant(|tenant| tenant.application.object_id.clone());
    let groups = rows(&client, &format!("/servicePrincipals/{application}/appRoleAssignedTo?$top=999")).await;
    let lists: Vec<String> = groups
        .iter()
        .map(|group| format!("/groups/{}/members?$select={SELECT}&$top=999", group["principalId"].as_str().unwrap()))
        .collect();
    let pages = client.all(&lists[0]).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [999, 251]);
    let before = [rows(&client, &lists[0]).await, rows(&client, &lists[1]).await].concat();
    for key in ["id", "userPrincipalName", "mail"] {
        assert_eq!(texts(&before, key).len(), 2500, "{key}");
    }

    assert_eq!((sim.change_users(100), sim.unassign_users(500)), (25, 5));
    let after = [rows(&client, &lists[0]).await, rows(&client, &lists[1]).await].concat();
    assert_eq!(after.len(), 2495);
    let differing = after.iter().filter(|row| !before.contains(row)).count();
    // The unassigned users are among the changed ones.
    assert_eq!(differing, 20);
    let ids = lists[0].replace(SELECT, "id");
    assert_eq!(texts(&rows(&client, &ids).await, "id"), texts(&rows(&client, &lists[0]).await, "id"));
    // The sign-in, the assignments, and seven lists of two pages.
    assert_eq!(sim.requests(), 16);
    assert_eq!(client.get(&lists[0].replace("jobTitle", "faxNumber")).await.status, 400);
}

#[tokio::test]
async fn users_without_groups_are_assigned_and_read_directly() {
    let sim = GraphSim::start_large(LargeTenant { users: 1000, groups: 0, latency: Duration::ZERO }).unwrap();
    let client = Client::sign_in(&sim).await;
    let application = sim.tenant(|tenant| tenant.application.object_id.clone());
    let path = format!("/servicePrincipals/{application}/appRoleAssignedTo?$top=999");
    let assigned = rows(&client, &path).await;
    let ids = texts(&assigned, "principalId");
    assert_eq!(ids.len(), 1000);
    let some: Vec<&str> = ids.iter().copied().take(3).collect();
    let [one, two, three] = some[..] else { panic!("{some:?}") };
    let unknown = "00000000-0000-4000-8000-000000000000";
    let urls = [
        format!("/users?$filter=id%20in%20('{one}','{two}','{unknown}')&$select={SELECT}"),
        format!("/users/{three}?$select={SELECT}"),
        format!("/users/{unknown}?$select={SELECT}"),
        format!("/directory/deletedItems/{unknown}?$select=id"),
    ];
    let parts: Vec<Value> =
        urls.iter().enumerate().map(|(id, url)| json!({"id": id.to_string(), "method": "GET", "url": url})).collect();
    let answer = client.batch(&json!({"requests": parts})).await.unwrap().json();
    let answers = answer["responses"].as_array().unwrap();
    assert_eq!(
        answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect::<Vec<_>>(),
        [200, 200, 404, 404]
    );
    let found = answers[0]["body"]["value"].as_array().unwrap();
    assert_eq!(texts(found, "id"), BTreeSet::from([one, two]));
    assert_eq!(answers[1]["body"]["id"], three);
    assert_eq!(client.get(&format!("/users/{three}?$select={SELECT}")).await.json(), answers[1]["body"]);
    assert_eq!(sim.unassign_users(1), 1000);
    assert_eq!(rows(&client, &path).await, Vec::<Value>::new());
}
