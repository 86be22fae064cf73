//! Source attributes: the names allowed in brackets (the portal's and Graph's), and the Graph property behind each.
//!
//! Unknown names are refused: Graph fails the whole request for a `$select` with an unknown property, so one typing
//! error would end every cycle. Properties that `/users` does not list, or that need more than User.Read.All, are
//! refused too. Graph's names: <https://learn.microsoft.com/graph/api/resources/user#properties>

use std::borrow::Cow;

use crate::model::{APP_ROLE_ASSIGNMENTS, Selection, User, Value};
use crate::nearest::{did_you_mean, nearest};

/// A source attribute: the Graph property to select, and the part of it to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceAttribute {
    /// In Graph's spelling.
    pub(crate) property: Cow<'static, str>,
    pub(crate) part: AttributePart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttributePart {
    Whole,
    /// The whole property, also where `[userPrincipalName]` would be the name of a guest in the home tenant.
    Stored,
    /// The first element of a multi-valued property.
    First,
    /// One member of a complex property.
    Member(&'static str),
    /// Every `User` has an id and an enabled state, whatever is selected.
    Id,
    Enabled,
    /// The provisioning service counts disabled accounts as soft-deleted.
    SoftDeleted,
}

/// Why an attribute has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnavailableValue {
    /// The key is absent from Graph's answer, which is not the same as null.
    Missing,
    /// The attribute is not complex in the directory.
    NotComplex,
}

static NULL: Value = Value::Null;
static TRUE: Value = Value::Boolean(true);
static FALSE: Value = Value::Boolean(false);

pub(crate) fn null() -> Cow<'static, Value> {
    Cow::Borrowed(&NULL)
}

pub(crate) fn boolean(value: bool) -> Cow<'static, Value> {
    Cow::Borrowed(if value { &TRUE } else { &FALSE })
}

/// Whether there is no value: null, an empty text, or a list of nothing else.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::List(elements) => elements.iter().all(is_empty),
        Value::Boolean(_) | Value::Number(_) | Value::Complex(_) => false,
    }
}

impl SourceAttribute {
    /// Adds the property to `selection` and returns its slot. The object id needs no property.
    pub(crate) fn select(&self, selection: &mut Selection) -> usize {
        if self.part == AttributePart::Id { 0 } else { selection.slot(&self.property) }
    }

    /// The attribute of `user`; `slot` is the index of its property in `User::values`.
    pub(crate) fn value_of<'a>(&self, slot: usize, user: &'a User) -> Result<Cow<'a, Value>, UnavailableValue> {
        Ok(match self.part {
            AttributePart::Id => Cow::Owned(Value::Text(user.id.to_string())),
            AttributePart::Enabled => boolean(user.enabled),
            AttributePart::SoftDeleted => boolean(!user.enabled),
            // A user has a value for each selected property. A missing one is a programming error, and reading it as
            // null would clear the attribute of every learner.
            AttributePart::Whole | AttributePart::Stored => Cow::Borrowed(&user.values[slot]),
            AttributePart::First => match &user.values[slot] {
                Value::List(elements) => Cow::Borrowed(elements.first().unwrap_or(&NULL)),
                single => Cow::Borrowed(single),
            },
            AttributePart::Member(member) => match &user.values[slot] {
                Value::Complex(members) => Cow::Borrowed(members.get(member).ok_or(UnavailableValue::Missing)?),
                Value::Null => null(),
                _ => return Err(UnavailableValue::NotComplex),
            },
        })
    }
}

/// Holds `extensionAttribute1` to `extensionAttribute15`, which cannot be selected one by one.
const EXTENSIONS: &str = "onPremisesExtensionAttributes";

/// Properties with the same name in the portal and in Graph.
const PROPERTIES: &[&str] = &[
    "ageGroup",
    "businessPhones",
    "city",
    "companyName",
    "consentProvidedForMinor",
    "country",
    "createdDateTime",
    "creationType",
    "department",
    "displayName",
    "employeeHireDate",
    "employeeId",
    "employeeType",
    "externalUserState",
    "externalUserStateChangeDateTime",
    "faxNumber",
    "givenName",
    "imAddresses",
    "isResourceAccount",
    "jobTitle",
    "lastPasswordChangeDateTime",
    "legalAgeGroupClassification",
    "mail",
    "mailNickname",
    "mobilePhone",
    "officeLocation",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "onPremisesImmutableId",
    "onPremisesLastSyncDateTime",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "onPremisesUserPrincipalName",
    "otherMails",
    "passwordPolicies",
    "postalCode",
    "preferredDataLocation",
    "preferredLanguage",
    "proxyAddresses",
    "securityIdentifier",
    "showInAddressList",
    "signInSessionsValidFromDateTime",
    "state",
    "streetAddress",
    "surname",
    "usageLocation",
    "userPrincipalName",
    "userType",
];

/// Name, Graph property, part.
const NAMED: &[(&str, &str, AttributePart)] = &[
    (APP_ROLE_ASSIGNMENTS, APP_ROLE_ASSIGNMENTS, AttributePart::Whole),
    ("id", "id", AttributePart::Id),
    ("objectId", "id", AttributePart::Id),
    ("accountEnabled", "accountEnabled", AttributePart::Enabled),
    ("IsSoftDeleted", "accountEnabled", AttributePart::SoftDeleted),
    ("telephoneNumber", "businessPhones", AttributePart::First),
    ("mobile", "mobilePhone", AttributePart::Whole),
    ("facsimileTelephoneNumber", "faxNumber", AttributePart::Whole),
    ("physicalDeliveryOfficeName", "officeLocation", AttributePart::Whole),
    ("originalUserPrincipalName", "userPrincipalName", AttributePart::Stored),
    ("immutableId", "onPremisesImmutableId", AttributePart::Whole),
    ("dirSyncEnabled", "onPremisesSyncEnabled", AttributePart::Whole),
    ("lastDirSyncTime", "onPremisesLastSyncDateTime", AttributePart::Whole),
    ("refreshTokensValidFromDateTime", "signInSessionsValidFromDateTime", AttributePart::Whole),
    ("sipProxyAddress", "imAddresses", AttributePart::First),
    ("userState", "externalUserState", AttributePart::Whole),
    ("userStateChangedOn", "externalUserStateChangeDateTime", AttributePart::Whole),
    ("employeeOrgData.costCenter", "employeeOrgData", AttributePart::Member("costCenter")),
    ("employeeOrgData.division", "employeeOrgData", AttributePart::Member("division")),
    ("extensionAttribute1", EXTENSIONS, AttributePart::Member("extensionAttribute1")),
    ("extensionAttribute2", EXTENSIONS, AttributePart::Member("extensionAttribute2")),
    ("extensionAttribute3", EXTENSIONS, AttributePart::Member("extensionAttribute3")),
    ("extensionAttribute4", EXTENSIONS, AttributePart::Member("extensionAttribute4")),
    ("extensionAttribute5", EXTENSIONS, AttributePart::Member("extensionAttribute5")),
    ("extensionAttribute6", EXTENSIONS, AttributePart::Member("extensionAttribute6")),
    ("extensionAttribute7", EXTENSIONS, AttributePart::Member("extensionAttribute7")),
    ("extensionAttribute8", EXTENSIONS, AttributePart::Member("extensionAttribute8")),
    ("extensionAttribute9", EXTENSIONS, AttributePart::Member("extensionAttribute9")),
    ("extensionAttribute10", EXTENSIONS, AttributePart::Member("extensionAttribute10")),
    ("extensionAttribute11", EXTENSIONS, AttributePart::Member("extensionAttribute11")),
    ("extensionAttribute12", EXTENSIONS, AttributePart::Member("extensionAttribute12")),
    ("extensionAttribute13", EXTENSIONS, AttributePart::Member("extensionAttribute13")),
    ("extensionAttribute14", EXTENSIONS, AttributePart::Member("extensionAttribute14")),
    ("extensionAttribute15", EXTENSIONS, AttributePart::Member("extensionAttribute15")),
];

/// Attributes of Entra ID that are refused, and the reason.
const REFUSED: &[(&str, &str)] = &[
    ("manager", "`manager` refers to another user and is not supported"),
    (
        "employeeOrgData",
        "`employeeOrgData` has members; write `employeeOrgData.costCenter` or `employeeOrgData.division`",
    ),
    (EXTENSIONS, "`onPremisesExtensionAttributes` has members; write `extensionAttribute1` to `extensionAttribute15`"),
    ("signInActivity", "`signInActivity` needs permissions that learner-sync does not ask for"),
    ("employeeLeaveDateTime", "`employeeLeaveDateTime` needs permissions that learner-sync does not ask for"),
];

/// Finds the attribute called `name`, ignoring case.
///
/// # Errors
/// Why the name is refused.
pub(crate) fn resolve(name: &str) -> Result<SourceAttribute, String> {
    if let Some(property) = PROPERTIES.iter().find(|property| property.eq_ignore_ascii_case(name)) {
        return Ok(SourceAttribute { property: Cow::Borrowed(property), part: AttributePart::Whole });
    }
    // `onPremisesExtensionAttributes.extensionAttribute7` is the long form of `extensionAttribute7`.
    let short = match name.split_once('.') {
        Some((complex, member)) if complex.eq_ignore_ascii_case(EXTENSIONS) => member,
        _ => name,
    };
    let is_member = |part: &AttributePart| matches!(part, AttributePart::Member(_));
    let known = NAMED
        .iter()
        .find(|(known, _, part)| known.eq_ignore_ascii_case(short) && (short.len() == name.len() || is_member(part)));
    if let Some((_, property, part)) = known {
        return Ok(SourceAttribute { property: Cow::Borrowed(property), part: *part });
    }
    if name.eq_ignore_ascii_case("null") {
        return Err(format!("`{name}` is not an attribute; for no value leave the argument empty"));
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| refused.eq_ignore_ascii_case(name)) {
        return Err((*reason).to_owned());
    }
    if name.get(..10).is_some_and(|prefix| prefix.eq_ignore_ascii_case("extension_")) {
        return directory_extension(name);
    }
    let names = PROPERTIES.iter().copied().chain(NAMED.iter().map(|(known, ..)| *known));
    Err(format!("unknown attribute `{name}`{}", did_you_mean(nearest(name, names))))
}

/// Accepts any name, for values that do not come from the directory.
pub(crate) fn any_name(name: &str) -> Result<SourceAttribute, String> {
    Ok(SourceAttribute { property: Cow::Owned(name.to_owned()), part: AttributePart::Whole })
}

/// Directory extensions belong to the tenant, so only their form can be checked. Their names are case-sensitive.
fn directory_extension(name: &str) -> Result<SourceAttribute, String> {
    let well_formed =
        name.strip_prefix("extension_").and_then(|rest| rest.split_once('_')).is_some_and(|(application, property)| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            application.len() == 32
                && application.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !property.is_empty()
                && property.bytes().all(is_name)
        });
    if well_formed {
        Ok(SourceAttribute { property: Cow::Owned(name.to_owned()), part: AttributePart::Whole })
    } else {
        Err(format!(
            "`{name}` is not a directory extension; write `extension_`, the application id in 32 digits without dashes, \
             `_` and the name"
        ))
    }
}

impl std::fmt::Display for SourceAttribute {
    /// One canonical name for all spellings of an attribute.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_this = |property: &str, part| property == self.property && part == self.part;
        let named = NAMED.iter().find(|(_, property, part)| is_this(property, *part));
        match (self.part, named) {
            (AttributePart::Whole, _) | (_, None) => f.write_str(&self.property),
            (_, Some((name, ..))) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_of_the_forecast_exists() {
        use crate::expression::foresee::{BOOLEANS, LISTS, SHARED};
        for name in [BOOLEANS, LISTS, SHARED].concat() {
            let known = PROPERTIES.contains(&name) || NAMED.iter().any(|(_, property, _)| *property == name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn portal_names_resolve_to_graph_properties() {
        for (name, canonical) in [
            ("userprincipalname", "userPrincipalName"),
            ("objectId", "id"),
            ("TelephoneNumber", "telephoneNumber"),
            ("businessPhones", "businessPhones"),
            ("mobile", "mobilePhone"),
            ("physicalDeliveryOfficeName", "officeLocation"),
            ("sipProxyAddress", "sipProxyAddress"),
            ("userState", "externalUserState"),
            ("OriginalUserPrincipalName", "originalUserPrincipalName"),
            ("ExtensionAttribute15", "extensionAttribute15"),
            ("onPremisesExtensionAttributes.extensionAttribute3", "extensionAttribute3"),
            ("EmployeeOrgData.Division", "employeeOrgData.division"),
            ("isSoftDeleted", "IsSoftDeleted"),
            (
                "extension_0123456789abcdef0123456789abcdef_costUnit",
                "extension_0123456789abcdef0123456789abcdef_costUnit",
            ),
        ] {
            assert_eq!(resolve(name).map(|attribute| attribute.to_string()), Ok(canonical.to_owned()));
        }
    }

    #[test]
    fn unsupported_names_are_refused() {
        for (name, words) in [
            ("mial", "unknown attribute `mial`; did you mean `mail`?"),
            ("departement", "did you mean `department`?"),
            ("employeeOrgData.devision", "did you mean `employeeOrgData.division`?"),
            ("extensionAttribute16", "did you mean `extensionAttribute1`?"),
            ("onPremisesExtensionAttributes.mobile", "unknown attribute"),
            ("favouriteColour", "unknown attribute `favouriteColour`"),
            ("manager", "not supported"),
            ("employeeOrgData", "employeeOrgData.costCenter"),
            ("extension_costUnit", "32 digits"),
            ("Extension_0123456789abcdef0123456789abcdef_costUnit", "not a directory extension"),
            ("extension_0123456789abcdef0123456789abcdef_cost&unit", "not a directory extension"),
        ] {
            let reason = resolve(name).unwrap_err();
            assert!(reason.contains(words), "{name}: {reason}");
        }
    }
}
