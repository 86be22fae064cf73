//! Target attributes: the SCIM paths of the portal.

use crate::model::Attribute;

use crate::nearest::{did_you_mean, nearest};

/// Newer and older applications show the same attribute with different paths.
const ALIASES: &[(&str, Attribute)] = &[("addresses[type eq \"work\"].country", Attribute::Country)];

const CORE: &str = "urn:ietf:params:scim:schemas:core:2.0:user:";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:";

/// The attribute of a SCIM path, ignoring case and white space. The schema of the core and of the enterprise extension
/// may be left out or written.
///
/// # Errors
/// Why the path is refused, with a suggestion.
pub(crate) fn find_target(path: &str) -> Result<Attribute, String> {
    let whole = fold(path);
    let folded = whole.strip_prefix(CORE).unwrap_or(&whole);
    let short = |known: &str| fold(known).strip_prefix(ENTERPRISE).is_some_and(|name| name == whole);
    if let Some((_, attribute)) = paths().find(|(known, _)| fold(known) == folded || short(known)) {
        return Ok(attribute);
    }
    let name = folded.strip_prefix(ENTERPRISE).unwrap_or(folded);
    // The name alone or with a sub-attribute: `manager`, `manager.value`, `members[value eq "x"]`.
    let is = |wanted: &str| name.strip_prefix(wanted).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    if is("manager") {
        return Err("`manager` is not supported: learners have no such column".to_owned());
    }
    if is("members") || is("groups") || name.contains(":core:2.0:group") {
        return Err("group attributes are not supported: groups are not provisioned".to_owned());
    }
    if is("externalid") {
        return Err("`externalId` is always the object id and cannot be mapped".to_owned());
    }
    Err(format!("no learner attribute has this SCIM path{}", did_you_mean(suggestion(path, name))))
}

fn paths() -> impl Iterator<Item = (&'static str, Attribute)> {
    let canonical = Attribute::ALL.iter().map(|attribute| (attribute.path(), *attribute));
    canonical.chain(ALIASES.iter().copied())
}

fn fold(path: &str) -> String {
    path.chars().filter(|character| !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// The path that was probably meant: by its column, its first or last name, or a typing error.
fn suggestion(path: &str, folded: &str) -> Option<&'static str> {
    let by_word = Attribute::ALL.iter().find(|attribute| {
        let known = fold(attribute.path());
        let ends = |separator| known.rsplit(separator).next() == Some(folded);
        attribute.column() == folded || ends(':') || ends('.') || known.split('[').next() == Some(folded)
    });
    by_word.map(|attribute| attribute.path()).or_else(|| nearest(path, paths().map(|(known, _)| known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_case_insensitive() {
        for attribute in Attribute::ALL {
            assert_eq!(find_target(attribute.path()), Ok(*attribute));
            assert_eq!(find_target(&attribute.path().to_uppercase()), Ok(*attribute));
        }
        assert_eq!(find_target(" emails[ type  eq \"work\" ].value"), Ok(Attribute::Email));
        assert_eq!(find_target("addresses[type eq \"work\"].country"), Ok(Attribute::Country));
    }

    #[test]
    fn fully_qualified_and_short_names_are_equal() {
        for attribute in Attribute::ALL.iter().filter(|attribute| !attribute.path().starts_with("urn:")) {
            let qualified = format!("urn:ietf:params:scim:schemas:core:2.0:User:{}", attribute.path());
            assert_eq!(find_target(&qualified), Ok(*attribute));
            assert_eq!(find_target(&qualified.to_uppercase()), Ok(*attribute));
        }
        for (path, attribute) in [
            ("urn:ietf:params:scim:schemas:core:2.0:User:addresses[type eq \"work\"].country", Attribute::Country),
            ("URN:ietf:params:scim:schemas:core:2.0:user:emails[type EQ \"Work\"].VALUE", Attribute::Email),
            ("employeeNumber", Attribute::EmployeeNumber),
            ("DEPARTMENT", Attribute::Department),
        ] {
            assert_eq!(find_target(path), Ok(attribute), "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for (path, words) in [
            ("manager", "`manager` is not supported"),
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager", "`manager` is not supported"),
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value", "`manager` is not supported"),
            ("members", "groups are not provisioned"),
            ("groups", "groups are not provisioned"),
            ("groups[0].display", "groups are not provisioned"),
            ("urn:ietf:params:scim:schemas:core:2.0:Group:displayName", "groups are not provisioned"),
            ("externalId", "always the object id"),
            ("urn:ietf:params:scim:schemas:core:2.0:User:externalId", "always the object id"),
            ("urn:ietf:params:scim:schemas:core:2.0:User:manager", "`manager` is not supported"),
            ("urn:ietf:params:scim:schemas:core:2.0:User:givenName", "did you mean `name.givenName`?"),
            ("urn:ietf:params:scim:schemas:core:2.0:User:department", "User:department`?"),
            ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:userName", "did you mean `userName`?"),
            ("givenName", "did you mean `name.givenName`?"),
            ("first_name", "did you mean `name.givenName`?"),
            ("employee_number", "User:employeeNumber`?"),
            ("country", "did you mean `addresses[0].country`?"),
            ("addresses", "did you mean `addresses[0].country`?"),
            ("emails", "did you mean `emails[type eq \"work\"].value`?"),
            ("emails[type eq \"home\"].value", "did you mean `emails[type eq \"work\"].value`?"),
            ("usrName", "did you mean `userName`?"),
            ("urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:jobrole", "2.0:User:job_role`?"),
            ("nickName", "no learner attribute has this SCIM path"),
        ] {
            let reason = find_target(path).unwrap_err();
            assert!(reason.contains(words), "{path}: {reason}");
        }
        assert_eq!(find_target("managers"), Err("no learner attribute has this SCIM path".to_owned()));
    }
}
