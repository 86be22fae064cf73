//! A user as Entra stores it: every attribute is a public field that a test can change, with a setter for building.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::names;
use crate::tenant::DOMAIN;

/// Reads a text attribute.
pub(crate) type ReadText = fn(&User) -> Option<&str>;
type TextSlot = fn(&mut User) -> &mut Option<String>;

/// Declares the user with its text attributes, and for each a setter and its entry in `TEXTS`.
macro_rules! user {
    ($($field:ident = $name:literal),* $(,)?) => {
        /// One user of the simulated tenant.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct User {
            /// The object id; assigned by `Tenant::add_user`.
            pub id: String,
            $(#[doc = concat!("Graph's `", $name, "`.")] pub $field: Option<String>,)*
            /// Graph's `accountEnabled`.
            pub account_enabled: Option<bool>,
            /// Graph's `onPremisesSyncEnabled`.
            pub on_premises_sync_enabled: Option<bool>,
            /// Graph's `businessPhones`.
            pub business_phones: Vec<String>,
            /// Graph's `otherMails`.
            pub other_mails: Vec<String>,
            /// Graph's `proxyAddresses`.
            pub proxy_addresses: Vec<String>,
            /// Graph's `employeeOrgData`; null when unset.
            pub employee_org_data: Option<EmployeeOrgData>,
            /// `extensionAttribute1` to `15` of Graph's `onPremisesExtensionAttributes`, by number.
            pub extension_attributes: BTreeMap<u8, String>,
            /// Whether the account is an agent's (Graph's type `agentUser`).
            pub agent: bool,
            /// Any other attribute by Graph's name, for instance `extension_<app>_<name>`.
            pub extra: BTreeMap<String, Value>,
        }

        impl User {
            $(#[doc = concat!("Sets `", $name, "`.")]
            pub fn $field(mut self, value: impl Into<String>) -> Self {
                self.$field = Some(value.into());
                self
            })*
        }

        /// The text attributes: Graph's name, a reader and a writer of the field.
        pub(crate) const TEXTS: &[(&str, ReadText, TextSlot)] =
            &[$(($name, |user| user.$field.as_deref(), |user| &mut user.$field)),*];
    };
}

user! {
    user_principal_name = "userPrincipalName",
    display_name = "displayName",
    given_name = "givenName",
    surname = "surname",
    mail = "mail",
    mail_nickname = "mailNickname",
    job_title = "jobTitle",
    department = "department",
    company_name = "companyName",
    country = "country",
    city = "city",
    state = "state",
    street_address = "streetAddress",
    postal_code = "postalCode",
    office_location = "officeLocation",
    mobile_phone = "mobilePhone",
    preferred_language = "preferredLanguage",
    employee_id = "employeeId",
    employee_type = "employeeType",
    employee_hire_date = "employeeHireDate",
    user_type = "userType",
    external_user_state = "externalUserState",
    usage_location = "usageLocation",
    created_date_time = "createdDateTime",
    deleted_date_time = "deletedDateTime",
    on_premises_immutable_id = "onPremisesImmutableId",
    on_premises_sam_account_name = "onPremisesSamAccountName",
    on_premises_user_principal_name = "onPremisesUserPrincipalName",
}

/// Graph's `employeeOrgData`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmployeeOrgData {
    /// Graph's `costCenter`.
    pub cost_center: Option<String>,
    /// Graph's `division`.
    pub division: Option<String>,
}

impl User {
    /// An enabled member; display name, user principal name and mail are derived from the name.
    pub fn named(given_name: &str, surname: &str) -> Self {
        let alias = names::alias(given_name, surname);
        let address = format!("{alias}@{DOMAIN}");
        Self { account_enabled: Some(true), proxy_addresses: vec![format!("SMTP:{address}")], ..Self::default() }
            .given_name(given_name)
            .surname(surname)
            .display_name(format!("{given_name} {surname}"))
            .user_principal_name(&address)
            .mail(&address)
            .mail_nickname(alias)
            .user_type("Member")
    }

    /// Sets `accountEnabled` to false.
    pub fn disabled(mut self) -> Self {
        self.account_enabled = Some(false);
        self
    }

    /// Makes the account an agent's.
    pub fn as_agent(mut self) -> Self {
        self.agent = true;
        self
    }

    /// Removes the mail address.
    pub fn without_mail(mut self) -> Self {
        self.mail = None;
        self.proxy_addresses.clear();
        self
    }

    /// Makes the user a guest, invited with the given address.
    pub fn invited_as(mut self, address: &str) -> Self {
        let alias = address.replace('@', "_");
        self.user_principal_name = Some(format!("{alias}#EXT#@{DOMAIN}"));
        self.mail = Some(address.to_owned());
        self.mail_nickname = Some(format!("{alias}#EXT#"));
        self.other_mails = vec![address.to_owned()];
        self.proxy_addresses = vec![format!("SMTP:{address}")];
        self.user_type = Some("Guest".to_owned());
        self.external_user_state = Some("Accepted".to_owned());
        self
    }

    /// Adds a business telephone.
    pub fn business_phone(mut self, number: impl Into<String>) -> Self {
        self.business_phones.push(number.into());
        self
    }

    /// Sets `employeeOrgData.costCenter`.
    pub fn cost_center(mut self, value: impl Into<String>) -> Self {
        self.employee_org_data.get_or_insert_default().cost_center = Some(value.into());
        self
    }

    /// Sets `employeeOrgData.division`.
    pub fn division(mut self, value: impl Into<String>) -> Self {
        self.employee_org_data.get_or_insert_default().division = Some(value.into());
        self
    }

    /// Sets `extensionAttribute<number>`, 1 to 15.
    pub fn extension_attribute(mut self, number: u8, value: impl Into<String>) -> Self {
        self.extension_attributes.insert(number, value.into());
        self
    }

    /// Sets an attribute that has no field, by Graph's name.
    pub fn extra(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Sets an attribute by Graph's name from JSON; null clears it.
    ///
    /// # Errors
    ///
    /// A message when the value has the wrong type for the attribute.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        if let Some((_, _, slot)) = TEXTS.iter().find(|(known, _, _)| *known == name) {
            *slot(self) = optional(value, |value| value.as_str().map(str::to_owned), name, "a text")?;
            return Ok(());
        }
        let texts = |value: &Value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        match name {
            "id" => return Err("id is assigned by the tenant and never changes".to_owned()),
            "accountEnabled" => self.account_enabled = optional(value, Value::as_bool, name, "true or false")?,
            "onPremisesSyncEnabled" => {
                self.on_premises_sync_enabled = optional(value, Value::as_bool, name, "true or false")?;
            }
            "businessPhones" => {
                self.business_phones = optional(value, texts, name, "a list of texts")?.unwrap_or_default()
            }
            "otherMails" => self.other_mails = optional(value, texts, name, "a list of texts")?.unwrap_or_default(),
            "proxyAddresses" => {
                self.proxy_addresses = optional(value, texts, name, "a list of texts")?.unwrap_or_default()
            }
            "employeeOrgData" => {
                let object = optional(value, |value| value.as_object().cloned(), name, "an object")?;
                let text =
                    |object: &Map<String, Value>, key| object.get(key).and_then(Value::as_str).map(str::to_owned);
                self.employee_org_data = object.map(|object| EmployeeOrgData {
                    cost_center: text(&object, "costCenter"),
                    division: text(&object, "division"),
                });
            }
            "onPremisesExtensionAttributes" => {
                let object = optional(value, |value| value.as_object().cloned(), name, "an object")?;
                for (key, value) in object.unwrap_or_default() {
                    let number = key.strip_prefix("extensionAttribute").and_then(|number| number.parse().ok());
                    let number = number.filter(|number| (1..=15).contains(number));
                    let number = number.ok_or_else(|| format!("{key} is not one of extensionAttribute1 to 15"))?;
                    match value.as_str() {
                        Some(text) => drop(self.extension_attributes.insert(number, text.to_owned())),
                        None => drop(self.extension_attributes.remove(&number)),
                    }
                }
            }
            _ => drop(self.extra.insert(name.to_owned(), value)),
        }
        Ok(())
    }
}

fn optional<T>(
    value: Value,
    read: impl FnOnce(&Value) -> Option<T>,
    name: &str,
    wanted: &str,
) -> Result<Option<T>, String> {
    if value.is_null() {
        return Ok(None);
    }
    read(&value).map(Some).ok_or_else(|| format!("{name} must be {wanted} or null"))
}
