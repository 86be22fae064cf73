//! Configured mappings, from the configuration to the learner row.

use graph_sim::{Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::learners::{EMAIL, ada, add_user, change};
use crate::world::{World, add_users, assigned};

/// The required entries of the default mapping, and `more` lines.
pub(crate) fn mapping(more: &str) -> String {
    format!(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n'{EMAIL}' = \"[mail]\"\n\
         active = '''Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")'''\n{more}\n"
    )
}

#[apply(on_both)]
async fn a_changed_mapping_updates_the_affected_learners() {
    let (mut world, ada) = ada().await;
    let grace = add_user(&world, User::named("Grace", "Hopper"));
    world.cycle().await;
    world.configure(&mapping("title = \"[department]\""));
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 2, updated: 1, unchanged: 1, ..Counts::default() });
    // Attributes that are no longer mapped stay unchanged.
    assert_eq!(world.learner(&ada, "title, department, first_name").await, ["Research", "Research", "Ada"]);
    assert_eq!(world.log(&grace).await, ["create success assigned"]);
    world.settled().await;

    change(&world, &ada, |user| user.given_name = Some("Augusta".to_owned()));
    world.settled().await;
}

#[apply(on_both)]
async fn security_champion_is_true_or_false_in_every_spelling() {
    let champion = "\"urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:security_champion\"";
    let mut tenant = Tenant::default();
    let users = add_users(&mut tenant, 6);
    for (user, spelling) in users.iter().zip(["TRUE", "1", "false", "0", "yes"]) {
        tenant.user_mut(user).extension_attributes.insert(1, spelling.to_owned());
    }
    users.iter().for_each(|user| tenant.assign_user(user));
    let mut world = World::start(tenant).await;
    world.configure(&mapping(&format!("{champion} = \"[extensionAttribute1]\"")));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 6, created: 5, failed: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
    for (user, stored) in users.iter().zip(["1", "1", "0", "0"]) {
        assert_eq!(world.learner(user, "security_champion").await, [stored]);
    }
    assert_eq!(world.log(&users[4]).await, ["create failure invalid-value"]);
    assert_eq!(world.learner(&users[5], "security_champion").await, ["NULL"]);
    assert!(world.last_changes(&users[0]).await.to_string().contains("\"new\":true"));
    world.settled().await;

    world.configure(&mapping(&format!("{champion} = '\"false\"'")));
    assert_eq!(
        world.cycle().await.counts,
        Counts { in_scope: 6, created: 1, updated: 3, unchanged: 2, ..Counts::default() }
    );
    assert_eq!(world.query("SELECT DISTINCT security_champion FROM learners").await, [["0"]]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_default_applies_to_new_learners_and_stays_until_it_is_replaced() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 12);
    let mut world = World::start(tenant).await;
    world.configure(&mapping("title = { expression = \"Redact([jobTitle])\", default = \"Learner\" }"));
    assert_eq!(world.cycle().await.counts.created, 12);
    assert_eq!(world.query("SELECT DISTINCT title FROM learners").await, [["Learner"]]);
    world.settled().await;
    world.full_cycle().await;
    world.settled().await;

    change(&world, &users[0], |user| user.job_title = Some("Diver".to_owned()));
    assert_eq!(world.cycle().await.counts.updated, 1);
    change(&world, &users[0], |user| user.job_title = None);
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&users[0], "title").await, ["NULL"]);
    world.settled().await;

    // A change on the platform is repaired: to null, because the default is gone, while the default itself stays.
    let pirate = &users[1];
    world.execute(&format!("UPDATE learners SET title = 'Pirate' WHERE external_id = '{pirate}'")).await;
    world.full_cycle().await;
    assert_eq!(world.learner(pirate, "title").await, ["NULL"]);
    assert_eq!(world.log(pirate).await.last().unwrap(), "update success drift");
    change(&world, &users[2], |user| user.account_enabled = Some(false));
    world.cycle().await;
    change(&world, &users[2], |user| user.account_enabled = Some(true));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    assert_eq!(world.learner(&users[2], "title").await, ["Learner"]);
    world.settled().await;
}

#[apply(on_both)]
async fn an_on_create_value_belongs_to_the_platform_afterwards() {
    let mut tenant = Tenant::default();
    let ada = assigned(&mut tenant, 1).remove(0);
    let mut world = World::start(tenant).await;
    world.configure(&mapping("title = { expression = \"[department]\", apply = \"on-create\" }"));
    assert_eq!(world.cycle().await.counts.created, 1);
    assert_eq!(world.learner(&ada, "title").await, ["Research"]);
    world.execute("UPDATE learners SET title = 'Chosen on the platform'").await;
    change(&world, &ada, |user| user.department = Some("Elsewhere".to_owned()));
    world.settled().await;
    assert_eq!(world.full_cycle().await.counts.unchanged, 1);
    assert_eq!(world.learner(&ada, "title").await, ["Chosen on the platform"]);
    world.settled().await;
}

#[apply(on_both)]
async fn recommended_sources_of_the_platform_attributes() {
    let prefix = "urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User";
    let mut tenant = Tenant::default();
    let ada = tenant
        .add_user(User::named("Ada", "Lovelace").company_name("Harbour Works").cost_center("4711").division("North"));
    let grace = tenant.add_user(User::named("Grace", "Hopper"));
    tenant.assign_user(&ada);
    tenant.assign_user(&grace);
    let mut world = World::start(tenant).await;
    world.configure(&mapping(&format!(
        "\"{prefix}:job_role\" = \"[userType]\"\n\"{prefix}:company\" = \"[companyName]\"\n\
         \"{prefix}:business_unit\" = \"[employeeOrgData.costCenter]\"\n\
         \"{prefix}:team_name\" = \"[employeeOrgData.division]\"\n"
    )));
    assert_eq!(world.cycle().await.counts.created, 2);
    let columns = "job_role, company, business_unit, team_name";
    assert_eq!(world.learner(&ada, columns).await, ["Member", "Harbour Works", "4711", "North"]);
    assert_eq!(world.learner(&grace, columns).await, ["Member", "NULL", "NULL", "NULL"]);
    world.settled().await;
    change(&world, &ada, |user| user.employee_org_data = None);
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, columns).await, ["Member", "Harbour Works", "NULL", "NULL"]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_missing_required_attribute_rejects_the_user() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    tenant.user_mut(&users[0]).department = None;
    let mut world = World::start(tenant).await;
    world.configure(&mapping("title = { expression = \"[department]\", required = true }"));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, created: 1, skipped: 1, ..Counts::default() });
    assert_eq!(world.log(&users[0]).await, ["create skipped missing-required"]);
    world.settled().await;
}
