//! `/servicePrincipals`, `/applications` and assignments.
//!
//! <https://learn.microsoft.com/graph/api/serviceprincipal-list-approleassignedto>

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::filter::Filter;
use super::groups::object;
use super::page::Page;
use super::{Context, GraphResult, require_guid};
use crate::encoding::push_json;
use crate::reply::GraphError;
use crate::tenant::{Application, Assignment, AssignmentKey, MemberKind, RegisteredCertificate, Tenant};

/// Any of these permissions allows reading applications and their assignments.
pub(super) const READ_APPLICATIONS: &[&str] =
    &["Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];

#[derive(Debug, Clone, Copy)]
pub(super) enum ApplicationKey<'a> {
    ObjectId(&'a str),
    AppId(&'a str),
}

/// Parses `serviceprincipals(appid='...')` into entity set and key.
pub(super) fn alternate_key(segment: &str) -> Option<(&str, ApplicationKey<'_>)> {
    let (set, key) = segment.strip_suffix("')")?.split_once("(appid='")?;
    Some((set, ApplicationKey::AppId(key)))
}

/// `GET /servicePrincipals?$filter=...`
pub(super) fn list_principals(context: &Context<'_>) -> GraphResult {
    list(
        context,
        "servicePrincipals",
        |application| !application.deleted,
        |application| principal(context, application),
    )
}

/// `GET /servicePrincipals/{id}` and `/servicePrincipals(appId='...')`
pub(super) fn get_principal(context: &Context<'_>, key: ApplicationKey<'_>) -> GraphResult {
    let other = match key {
        ApplicationKey::ObjectId(id) => context.tenant.objects.get(id),
        ApplicationKey::AppId(_) => None,
    };
    if let Some(other) = other.filter(|other| other.kind == MemberKind::ServicePrincipal) {
        context.require(READ_APPLICATIONS)?;
        let other = json!({"id": other.id, "displayName": other.display_name});
        return Ok(object(context, "servicePrincipals", &other));
    }
    let application = find_principal(context, key)?;
    Ok(object(context, "servicePrincipals", &principal(context, &application)))
}

/// `GET /applications?$filter=...`
pub(super) fn list_registrations(context: &Context<'_>) -> GraphResult {
    list(context, "applications", |_| true, |application| registration(context, application))
}

/// `GET /applications/{id}` and `/applications(appId='...')`
pub(super) fn get_registration(context: &Context<'_>, key: ApplicationKey<'_>) -> GraphResult {
    let application = find(context, key, |application| &application.registration_id)?;
    Ok(object(context, "applications", &registration(context, &application)))
}

/// `GET /servicePrincipals/.../appRoleAssignedTo`
pub(super) fn assigned_to(context: &Context<'_>, key: ApplicationKey<'_>) -> GraphResult {
    let application = find_principal(context, key)?;
    let page = Page::requested(context)?;
    if context.request.option("$filter").is_some() {
        return Err(GraphError::unsupported_query(
            "Unsupported or invalid query filter clause specified for property.",
        ));
    }
    let after = page.after().and_then(|key| key.split_once('/'));
    let after = after.map(|(principal, role)| (principal.to_owned(), role.to_owned()));
    let rows = application.after(after.as_ref()).map(|row| (format!("{}/{}", row.0.0, row.0.1), row));
    let metadata = format!("servicePrincipals('{}')/appRoleAssignedTo", application.object_id);
    Ok(page.write(&metadata, rows, |out, (key, assignment)| write_row(context, &application, key, assignment, out)))
}

fn write_row(
    context: &Context<'_>,
    application: &Application,
    (principal, role): &AssignmentKey,
    assignment: &Assignment,
    out: &mut Vec<u8>,
) {
    let Assignment { id, created, kind, display_name } = assignment;
    let name = context.tenant.display_name_of(principal).unwrap_or(display_name);
    let row = json!({
        "id": id,
        "deletedDateTime": null,
        "appRoleId": role,
        "createdDateTime": created.strftime("%Y-%m-%dT%H:%M:%S%.7fZ").to_string(),
        "principalDisplayName": name,
        "principalId": principal,
        "principalType": kind.principal_type(),
        "resourceDisplayName": application.display_name,
        "resourceId": application.object_id,
    });
    push_json(out, &row);
}

fn principal(context: &Context<'_>, application: &Application) -> Value {
    json!({
        "id": application.object_id,
        "deletedDateTime": null,
        "accountEnabled": true,
        "alternativeNames": [],
        "appDisplayName": application.display_name,
        "appId": application.app_id,
        "appOwnerOrganizationId": context.tenant.tenant_id,
        "appRoleAssignmentRequired": true,
        "appRoles": roles(application),
        "displayName": application.display_name,
        "homepage": null,
        "servicePrincipalNames": [application.app_id],
        "servicePrincipalType": "Application",
        "signInAudience": "AzureADMyOrg",
        "tags": ["WindowsAzureActiveDirectoryIntegratedApp"],
    })
}

/// The registration of an application, which has its credentials.
fn registration(context: &Context<'_>, application: &Application) -> Value {
    let own = application.app_id == context.tenant.client_id;
    let (secrets, certificates) = if own { credentials(context.tenant) } else { (Vec::new(), Vec::new()) };
    json!({
        "id": application.registration_id,
        "deletedDateTime": null,
        "appId": application.app_id,
        "appRoles": roles(application),
        "displayName": application.display_name,
        "keyCredentials": certificates,
        "passwordCredentials": secrets,
        "signInAudience": "AzureADMyOrg",
    })
}

/// The secrets and certificates of the application that signs in.
fn credentials(tenant: &Tenant) -> (Vec<Value>, Vec<Value>) {
    let hint = tenant.client_secret.get(..3).map(str::to_owned);
    let current = hint.map(|hint| (hint, tenant.secret_expires_at));
    let secret = |(number, (hint, ends)): (usize, (String, Timestamp))| {
        json!({
            "customKeyIdentifier": null,
            "displayName": "learner sync",
            "startDateTime": "2024-01-15T08:00:00Z",
            "endDateTime": ends.to_string(),
            "hint": hint,
            "keyId": format!("7d20c9f5-e1b3-4a68-95c4-{number:012x}"),
            "secretText": null,
        })
    };
    let certificate = |certificate: &RegisteredCertificate| {
        json!({
            "customKeyIdentifier": certificate.hexadecimal_thumbprint(),
            "displayName": certificate.display_name,
            "startDateTime": certificate.starts_at.to_string(),
            "endDateTime": certificate.ends_at.to_string(),
            "key": null,
            "keyId": certificate.key_id,
            "type": "AsymmetricX509Cert",
            "usage": "Verify",
        })
    };
    let secrets = tenant.other_secrets.iter().cloned().chain(current).enumerate().map(secret).collect();
    (secrets, tenant.certificates.iter().map(certificate).collect())
}

fn roles(application: &Application) -> Value {
    let role = |role: &crate::tenant::AppRole| {
        json!({
            "allowedMemberTypes": ["User"],
            "description": role.display_name,
            "displayName": role.display_name,
            "id": role.id,
            "isEnabled": true,
            "origin": "Application",
            "value": role.value,
        })
    };
    application.roles.iter().map(role).collect()
}

fn list(
    context: &Context<'_>,
    set: &str,
    shown: impl Fn(&Application) -> bool,
    to_json: impl Fn(&Application) -> Value,
) -> GraphResult {
    context.require(READ_APPLICATIONS)?;
    let page = Page::requested(context)?;
    let filter = context.request.option("$filter").map(Filter::parse).transpose()?;
    let matches = |application: &Application| match &filter {
        None => Ok(true),
        Some(filter) if filter.is_about("appId") => Ok(filter.values.contains(&application.app_id)),
        Some(filter) if filter.is_about("displayName") => Ok(filter.values.contains(&application.display_name)),
        Some(_) => Err(GraphError::unsupported_query("Unsupported or invalid query filter clause.")),
    };
    let client = context.tenant.client_application();
    let mut found = Vec::new();
    for application in context.tenant.applications().chain([&client]).filter(|application| shown(application)) {
        if matches(application)? {
            found.push((application.object_id.clone(), to_json(application)));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let rows = found.into_iter().filter(|(id, _)| page.after().is_none_or(|after| id.as_str() > after));
    Ok(page.write(set, rows, |out, row| push_json(out, &row)))
}

fn find_principal<'a>(context: &Context<'a>, key: ApplicationKey<'_>) -> Result<Cow<'a, Application>, GraphError> {
    let application = find(context, key, |application| &application.object_id)?;
    if application.deleted { Err(GraphError::not_found(&application.object_id)) } else { Ok(application) }
}

fn find<'a>(
    context: &Context<'a>,
    key: ApplicationKey<'_>,
    id_of: impl Fn(&Application) -> &String,
) -> Result<Cow<'a, Application>, GraphError> {
    context.require(READ_APPLICATIONS)?;
    let (ApplicationKey::ObjectId(id) | ApplicationKey::AppId(id)) = key;
    require_guid(id)?;
    let is_meant = |application: &Application| match key {
        ApplicationKey::ObjectId(id) => id_of(application) == id,
        ApplicationKey::AppId(id) => application.app_id == id,
    };
    if let Some(found) = context.tenant.applications().find(|application| is_meant(application)) {
        return Ok(Cow::Borrowed(found));
    }
    let client = context.tenant.client_application();
    if is_meant(&client) { Ok(Cow::Owned(client)) } else { Err(GraphError::not_found(id)) }
}
