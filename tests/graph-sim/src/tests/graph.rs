//! Reading the directory.

use std::collections::BTreeSet;

use super::client::Client;
use crate::encoding::percent_encode;
use crate::{GraphSim, Tenant, User};

fn tenant_with_users(count: usize) -> (Tenant, Vec<String>) {
    let mut tenant = Tenant::default();
    let hire = |number| tenant.add_user(User::named("Ada", "Lovelace").employee_id(format!("{number}")));
    let ids = (0..count).map(hire).collect();
    (tenant, ids)
}

#[tokio::test]
async fn paging_is_complete_although_users_are_deleted_in_between() {
    let (tenant, ids) = tenant_with_users(25);
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    let first = client.get("/users?$select=displayName,employeeId&$top=10").await;
    let link = first.json()["@odata.nextLink"].as_str().unwrap().to_owned();
    let start = format!("{}/v1.0/users?$select=displayName,employeeId&$top=10&$skiptoken=", sim.url());
    assert!(link.starts_with(&start), "{link}");

    // A user deleted from a page already read must not shift the following pages.
    sim.tenant(|tenant| tenant.delete_user(&first.ids()[3]));
    let second = client.get(&link).await;
    let third = client.get(second.json()["@odata.nextLink"].as_str().unwrap()).await;
    assert_eq!(third.json().get("@odata.nextLink"), None);
    let read: BTreeSet<_> = [first.ids(), second.ids(), third.ids()].concat().into_iter().collect();
    assert_eq!(read, ids.into_iter().collect());

    assert_eq!(client.get("/users?$top=1000").await.status, 400);
    assert_eq!(client.get("/users?$skip=5").await.status, 400);
    let foreign = client.get(&link.replace("/users?", "/directory/deletedItems/microsoft.graph.user?")).await;
    assert_eq!(foreign.code(), "Directory_ExpiredPageToken");
    assert_eq!(client.get("/users?$skiptoken=nonsense").await.code(), "Directory_ExpiredPageToken");
    sim.expire_page_tokens();
    assert_eq!(client.get(&link).await.code(), "Directory_ExpiredPageToken");
    sim.tenant(|tenant| tenant.page_cap = Some(7));
    let sizes: Vec<_> = client.all("/users?$top=999").await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [7, 7, 7, 3]);
}

#[tokio::test]
async fn properties_are_selected_like_in_graph() {
    let mut tenant = Tenant::default();
    let user = User::named("Siobhán", "O'Brien").cost_center("4100").extra("extension_abc_shoeSize", 41);
    let id = tenant.add_user(user);
    let guest = tenant.add_user(User::named("Łucja", "Żak").invited_as("lucja@partner.example"));
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;

    let row = client.get(&format!("/users/{id}")).await.json();
    assert_eq!((&row["displayName"], &row["jobTitle"]), (&"Siobhán O'Brien".into(), &serde_json::Value::Null));
    assert_eq!(row.get("accountEnabled"), None, "not in the default set");
    let select = "department,accountenabled,employeeOrgData,onPremisesExtensionAttributes,extension_abc_shoeSize";
    let row = client.get(&format!("/users/{id}?$select={select}")).await.json();
    assert_eq!(row["accountEnabled"], true);
    assert_eq!(row["employeeOrgData"], serde_json::json!({ "costCenter": "4100", "division": null }));
    assert_eq!(row["onPremisesExtensionAttributes"].as_object().unwrap().len(), 15);
    assert_eq!((&row["extension_abc_shoeSize"], &row["department"]), (&41.into(), &serde_json::Value::Null));
    assert_eq!(row.get("displayName"), None);

    let unknown = client.get("/users?$select=shoeSize").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "Request_BadRequest"));
    assert_eq!(client.get("/users?$select=skills").await.status, 501);

    let encoded = percent_encode("lucja_partner.example#EXT#@harbourworks.example");
    assert_eq!(client.get(&format!("/users/{encoded}")).await.json()["id"], guest.as_str());
    let quoted = client.get("/users?$filter=userPrincipalName eq 'siobhan.obrien@harbourworks.example'").await;
    assert_eq!(quoted.ids(), std::slice::from_ref(&id));
    let unknown = sim.tenant(Tenant::new_id);
    assert_eq!(client.get(&format!("/users?$filter=id in ('{id}','{unknown}')")).await.ids(), [id]);
    let sixteen = vec![format!("'{unknown}'"); 16].join(",");
    assert_eq!(client.get(&format!("/users?$filter=id in ({sixteen})")).await.status, 400);
    assert_eq!(client.get(&format!("/users/{unknown}")).await.code(), "Request_ResourceNotFound");
    assert!(sim.unexpected_calls().is_empty());
    assert_eq!(client.get("/me/drive").await.status, 400);
    assert_eq!(sim.unexpected_calls().len(), 1);
}

#[tokio::test]
async fn members_of_all_kinds_are_listed_directly_and_transitively() {
    let (mut tenant, ids) = tenant_with_users(3);
    let (outer, inner) = (tenant.add_group("Outer"), tenant.add_group("Inner"));
    tenant.add_member(&outer, &ids[0]);
    tenant.add_member(&inner, &ids[0]);
    tenant.add_member(&inner, &ids[1]);
    tenant.add_group_member(&outer, &inner);
    tenant.add_group_member(&inner, &outer);
    let kiosk = tenant.add_device("Kiosk");
    tenant.add_member(&outer, &kiosk);
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    let set = |ids: Vec<String>| ids.into_iter().collect::<BTreeSet<_>>();

    let direct = client.get(&format!("/groups/{outer}/members?$select=displayName,department,shoeSize")).await;
    assert_eq!(set(direct.ids()), set(vec![ids[0].clone(), inner.clone(), kiosk.clone()]));
    let rows = direct.json()["value"].as_array().unwrap().clone();
    let row = rows.iter().find(|row| row["id"] == ids[0].as_str()).unwrap();
    assert_eq!(row["@odata.type"], "#microsoft.graph.user");
    assert!(row["department"].is_null() && row.get("department").is_some() && row.get("shoeSize").is_none());
    sim.tenant(|tenant| tenant.members_omit_nulls = true);
    let rows = client.get(&format!("/groups/{outer}/members?$select=department")).await.json()["value"].clone();
    assert!(rows.as_array().unwrap().iter().all(|row| row.get("department").is_none()));

    sim.tenant(|tenant| tenant.page_cap = Some(2));
    let transitive = client.all(&format!("/groups/{outer}/transitiveMembers")).await;
    assert!(transitive.iter().all(|page| page.len() <= 2));
    let transitive = transitive.concat();
    assert_eq!(transitive.len(), 5, "each once");
    assert_eq!(set(transitive), set(vec![ids[0].clone(), ids[1].clone(), inner.clone(), outer.clone(), kiosk]));

    let cast = format!("/groups/{outer}/members/microsoft.graph.user?$count=true");
    assert_eq!(client.get(&cast).await.code(), "Request_UnsupportedQuery");
    let eventual = client.get_with(&cast, &[("ConsistencyLevel", "eventual")]).await;
    assert_eq!(eventual.ids(), [ids[0].clone()]);

    sim.tenant(|tenant| tenant.delete_user(&ids[0]));
    assert!(!client.all(&format!("/groups/{outer}/members")).await.concat().contains(&ids[0]));
    sim.tenant(|tenant| tenant.restore_user(&ids[0]));
    assert!(client.all(&format!("/groups/{outer}/members")).await.concat().contains(&ids[0]));
    sim.tenant(|tenant| tenant.group_mut(&outer).visibility = Some("HiddenMembership".to_owned()));
    assert!(client.get(&format!("/groups/{outer}/members")).await.ids().is_empty());
}

#[tokio::test]
async fn hidden_members_are_listed_only_with_their_permission() {
    let (mut tenant, ids) = tenant_with_users(1);
    let (outer, inner) = (tenant.add_group("Outer"), tenant.add_group("Inner"));
    tenant.add_member(&outer, &ids[0]);
    tenant.add_group_member(&outer, &inner);
    tenant.group_mut(&outer).visibility = Some("HiddenMembership".to_owned());
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    let select = "?$select=id,displayName,visibility,securityEnabled";
    let shown = client.get(&format!("/groups/{outer}{select}")).await.json();
    assert_eq!((&shown["displayName"], &shown["visibility"]), (&"Outer".into(), &"HiddenMembership".into()));
    assert_eq!((shown.as_object().unwrap().len(), &shown["securityEnabled"]), (5, &true.into()), "{shown}");
    assert!(client.get(&format!("/groups/{inner}{select}")).await.json()["visibility"].is_null());

    let members = format!("/groups/{outer}/members");
    assert!(client.get(&members).await.ids().is_empty(), "an empty list and not an error");
    sim.tenant(|tenant| tenant.permissions.insert("Member.Read.Hidden".to_owned()));
    let rows = Client::sign_in(&sim).await.get(&members).await.json()["value"].as_array().unwrap().clone();
    let kind = |id: &str| rows.iter().find(|row| row["id"] == id).map(|row| row["@odata.type"].clone());
    assert_eq!(kind(&ids[0]), Some("#microsoft.graph.user".into()));
    assert_eq!(kind(&inner), Some("#microsoft.graph.group".into()));
}

#[tokio::test]
async fn missing_permissions_deny_access_or_null_attributes() {
    let (mut tenant, ids) = tenant_with_users(1);
    let group = tenant.add_group("Staff");
    tenant.add_member(&group, &ids[0]);
    let application = tenant.application.object_id.clone();
    tenant.permissions = ["GroupMember.Read.All".to_owned()].into();
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    let row = client.get(&format!("/groups/{group}/members?$select=displayName,mail")).await.json()["value"][0].clone();
    assert_eq!((&row["id"], &row["displayName"]), (&ids[0].as_str().into(), &serde_json::Value::Null));
    assert_eq!(row.as_object().unwrap().len(), 4);
    for path in [format!("/users/{}", ids[0]), format!("/servicePrincipals/{application}/appRoleAssignedTo")] {
        assert_eq!(client.get(&path).await.code(), "Authorization_RequestDenied", "{path}");
    }
    sim.tenant(|tenant| tenant.permissions.insert("User.ReadBasic.All".to_owned()));
    let row = Client::sign_in(&sim).await.get(&format!("/users/{}?$select=mail,employeeId", ids[0])).await.json();
    assert!(row["mail"].is_string() && row["employeeId"].is_null());
}

#[tokio::test]
async fn assignments_have_a_row_for_each_role() {
    let (mut tenant, ids) = tenant_with_users(2);
    let role = tenant.application.roles[0].id.clone();
    tenant.assign_user(&ids[0]);
    tenant.assign_user_with_role(&ids[0], &role);
    let group = tenant.add_group("Staff");
    tenant.assign_group(&group);
    tenant.assign_service_principal("Robot");
    let other = tenant.add_application("Other");
    tenant.assign_user_to(&other, &ids[1]);
    let application = tenant.application.clone();
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;

    let path = format!("/servicePrincipals/{}/appRoleAssignedTo?$top=999", application.object_id);
    let rows = client.get(&path).await.json()["value"].as_array().unwrap().clone();
    let kinds = |kind: &str| rows.iter().filter(|row| row["principalType"] == kind).count();
    assert_eq!((kinds("User"), kinds("Group"), kinds("ServicePrincipal")), (2, 1, 1));
    assert_eq!(rows[0]["id"].as_str().unwrap().len(), 43);
    assert!(rows[0]["createdDateTime"].as_str().unwrap().ends_with(".0000000Z"));
    assert_eq!(rows[0]["resourceId"], application.object_id.as_str());
    sim.tenant(|tenant| tenant.page_cap = Some(1));
    assert_eq!(client.all(&path).await.len(), 4);
    let by_app_id = format!("/servicePrincipals(appId=%27{}%27)/appRoleAssignedTo", application.app_id);
    assert_eq!(client.all(&by_app_id).await.len(), 4);
    let found = client.get(&format!("/servicePrincipals?$filter=appId eq '{}'", application.app_id)).await;
    assert_eq!(found.ids(), [application.object_id]);
    let wrong = format!("/servicePrincipals/{}/appRoleAssignedTo", application.registration_id);
    assert_eq!(client.get(&wrong).await.status, 404, "the id of the registration is not a service principal");
}

#[tokio::test]
async fn the_registration_lists_the_credentials_of_the_application() {
    let mut tenant = Tenant::default();
    let ends = |seconds| jiff::Timestamp::from_second(seconds).unwrap();
    tenant.secret_expires_at = ends(1_798_761_600);
    tenant.other_secrets.push(("0ld".to_owned(), ends(1_700_000_000)));
    let key_id = tenant.register_certificate(crate::SigningCertificate::new("learner sync").certificate_pem);
    tenant.certificates[0].ends_at = ends(1_790_000_000);
    let identifier = tenant.certificates[0].hexadecimal_thumbprint();
    let own = tenant.client_application();
    let other = tenant.application.registration_id.clone();
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;

    let by_app_id = format!("/applications(appId='{}')", crate::CLIENT_ID);
    let select = "?$select=id,appId,displayName,passwordCredentials,keyCredentials";
    let shown = client.get(&format!("{by_app_id}{select}")).await.json();
    assert_eq!(client.get(&format!("/applications/{}{select}", own.registration_id)).await.json(), shown);
    assert_eq!(shown.as_object().unwrap().len(), 6, "with the context: {shown}");
    assert_eq!((&shown["id"], &shown["appId"]), (&own.registration_id.into(), &crate::CLIENT_ID.into()));
    let secrets = shown["passwordCredentials"].as_array().unwrap();
    let hint_and_end = |secret: &serde_json::Value| (secret["hint"].clone(), secret["endDateTime"].clone());
    let expect = [("0ld", "2023-11-14T22:13:20Z"), ("sim", "2027-01-01T00:00:00Z")];
    assert_eq!(
        secrets.iter().map(hint_and_end).collect::<Vec<_>>(),
        expect.map(|(hint, end)| (hint.into(), end.into()))
    );
    assert_ne!(secrets[0]["keyId"], secrets[1]["keyId"]);
    assert!(secrets.iter().all(|secret| secret["secretText"].is_null()));
    let certificate = &shown["keyCredentials"][0];
    assert_eq!((&certificate["keyId"], &certificate["customKeyIdentifier"]), (&key_id.into(), &identifier.into()));
    assert_eq!((&certificate["type"], &certificate["usage"]), (&"AsymmetricX509Cert".into(), &"Verify".into()));
    assert_eq!(certificate["endDateTime"], "2026-09-21T14:13:20Z");

    let other = client.get(&format!("/applications/{other}{select}")).await.json();
    assert_eq!(other["keyCredentials"], serde_json::json!([]), "another application has no credentials");
    for unknown in [own.object_id, "11111111-2222-4333-8444-555555555555".to_owned()] {
        assert_eq!(client.get(&format!("/applications/{unknown}")).await.status, 404, "{unknown}");
        assert_eq!(client.get(&format!("/applications(appId='{unknown}')")).await.status, 404, "{unknown}");
    }
    sim.tenant(|tenant| {
        tenant.client_secret.clear();
        tenant.other_secrets.clear();
    });
    assert_eq!(client.get(&by_app_id).await.json()["passwordCredentials"], serde_json::json!([]));
    sim.tenant(|tenant| tenant.client_secret = crate::CLIENT_SECRET.to_owned());
    sim.tenant(|tenant| tenant.permissions.remove("Application.Read.All"));
    let denied = Client::sign_in(&sim).await.get(&by_app_id).await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "Authorization_RequestDenied"));
}

#[tokio::test]
async fn deleted_users_are_in_deleted_items_until_purged() {
    let (mut tenant, ids) = tenant_with_users(1);
    tenant.assign_user(&ids[0]);
    tenant.delete_user(&ids[0]);
    let sim = GraphSim::start(tenant).await;
    let client = Client::sign_in(&sim).await;
    assert_eq!(client.get(&format!("/users/{}", ids[0])).await.status, 404);
    let path = format!("/directory/deleteditems/{}?$select=userPrincipalName,deletedDateTime", ids[0]);
    let row = client.get(&path).await.json();
    let name = format!("{}ada.lovelace@harbourworks.example", ids[0].replace('-', ""));
    assert_eq!(row["userPrincipalName"], name);
    assert!(row["deletedDateTime"].is_string());
    assert_eq!(client.get("/directory/deletedItems/microsoft.graph.user").await.ids(), ids);
    assert_eq!(sim.tenant(|tenant| tenant.application.assignments().count()), 1);
    sim.tenant(|tenant| tenant.purge_user(&ids[0]));
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(sim.tenant(|tenant| tenant.application.assignments().count()), 0);
}

#[tokio::test]
async fn answers_have_the_headers_of_graph() {
    let sim = GraphSim::start(Tenant::default()).await;
    let client = Client::sign_in(&sim).await;
    let mine = [("client-request-id", "0f0f0f0f-1111-4222-8333-444444444444")];
    let answer = client.get_with("/users", &mine).await;
    assert_eq!(answer.headers["client-request-id"], mine[0].1);
    assert_eq!(answer.headers["odata-version"], "4.0");
    assert!(answer.headers["content-type"].starts_with("application/json;odata.metadata=minimal"));
    let error = client.get_with("/groups/11111111-2222-4333-8444-555555555555", &mine).await;
    let inner = &error.json()["error"]["innerError"];
    assert_eq!(inner["client-request-id"], mine[0].1);
    assert_eq!(inner["request-id"], error.headers["request-id"].as_str());
    assert_ne!(error.headers["request-id"], answer.headers["request-id"]);
}
