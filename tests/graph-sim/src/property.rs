//! The attributes of a user by Graph's names, and how each is written as JSON.

use serde_json::{Value, json};

use crate::encoding::push_json;
use crate::user::{EmployeeOrgData, ReadText, TEXTS, User};

/// One attribute, looked up once and then read from many users.
#[derive(Clone)]
pub(crate) struct Property {
    pub(crate) name: String,
    read: Read,
}

#[derive(Clone, Copy)]
enum Read {
    Id,
    Text(ReadText),
    Flag(fn(&User) -> Option<bool>),
    List(fn(&User) -> &[String]),
    OrgData,
    ExtensionAttributes,
    Extra { unset: &'static str },
}

/// Attributes of Graph that the simulator stores only in `extra`.
const OTHER_VALUES: &[&str] = &[
    "ageGroup",
    "consentProvidedForMinor",
    "creationType",
    "employeeLeaveDateTime",
    "externalUserStateChangeDateTime",
    "faxNumber",
    "isResourceAccount",
    "lastPasswordChangeDateTime",
    "legalAgeGroupClassification",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "onPremisesLastSyncDateTime",
    "onPremisesSecurityIdentifier",
    "passwordPolicies",
    "passwordProfile",
    "preferredDataLocation",
    "refreshTokensValidFromDateTime",
    "securityIdentifier",
    "showInAddressList",
    "signInSessionsValidFromDateTime",
];
const OTHER_LISTS: &[&str] =
    &["assignedLicenses", "assignedPlans", "identities", "imAddresses", "licenseAssignmentStates", "provisionedPlans"];

impl Property {
    /// Finds an attribute by name, ignoring case like Graph; `None` when users have no such attribute.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is = |known: &&str| known.eq_ignore_ascii_case(name);
        let made = |name: &str, read| Some(Self { name: name.to_owned(), read });
        if let Some((known, read, _)) = TEXTS.iter().find(|(known, _, _)| is(known)) {
            return made(known, Read::Text(*read));
        }
        let other = [
            ("id", Read::Id),
            ("accountEnabled", Read::Flag(|user| user.account_enabled)),
            ("onPremisesSyncEnabled", Read::Flag(|user| user.on_premises_sync_enabled)),
            ("businessPhones", Read::List(|user| &user.business_phones)),
            ("otherMails", Read::List(|user| &user.other_mails)),
            ("proxyAddresses", Read::List(|user| &user.proxy_addresses)),
            ("employeeOrgData", Read::OrgData),
            ("onPremisesExtensionAttributes", Read::ExtensionAttributes),
        ];
        if let Some((known, read)) = other.into_iter().find(|(known, _)| is(known)) {
            return made(known, read);
        }
        if let Some(known) = OTHER_VALUES.iter().find(|known| is(known)) {
            return made(known, Read::Extra { unset: "null" });
        }
        if let Some(known) = OTHER_LISTS.iter().find(|known| is(known)) {
            return made(known, Read::Extra { unset: "[]" });
        }
        // The name is copied into answers, so it must not need escaping in JSON.
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (plain && name.starts_with("extension_")).then(|| made(name, Read::Extra { unset: "null" }))?
    }

    /// The user's value; `Null` when unset.
    pub(crate) fn value(&self, user: &User) -> Value {
        match self.read {
            Read::Id => user.id.as_str().into(),
            Read::Text(read) => read(user).into(),
            Read::Flag(read) => read(user).into(),
            Read::List(read) => read(user).into(),
            Read::OrgData => user.employee_org_data.as_ref().map_or(Value::Null, |data| {
                let EmployeeOrgData { cost_center, division } = data;
                json!({ "costCenter": cost_center, "division": division })
            }),
            Read::ExtensionAttributes => {
                let all = (1..=15).map(|number| {
                    (format!("extensionAttribute{number}"), user.extension_attributes.get(&number).cloned().into())
                });
                Value::Object(all.collect())
            }
            Read::Extra { unset } => match user.extra.get(&self.name) {
                Some(value) => value.clone(),
                None if unset == "[]" => json!([]),
                None => Value::Null,
            },
        }
    }

    /// Appends the value as JSON, texts without a copy.
    pub(crate) fn write(&self, user: &User, out: &mut Vec<u8>) {
        match self.read {
            Read::Text(read) => push_json(out, &read(user)),
            _ => push_json(out, &self.value(user)),
        }
    }

    /// Every attribute that the simulator stores for a user.
    pub(crate) fn all(user: &User) -> Vec<Self> {
        let others =
            ["id", "accountEnabled", "onPremisesSyncEnabled", "businessPhones", "otherMails", "proxyAddresses"];
        let complex = ["employeeOrgData", "onPremisesExtensionAttributes"];
        let names = others.into_iter().chain(complex).chain(TEXTS.iter().map(|(name, _, _)| *name));
        let extra = user.extra.keys().map(|name| Self { name: name.clone(), read: Read::Extra { unset: "null" } });
        names.filter_map(Self::named).chain(extra).collect()
    }
}
