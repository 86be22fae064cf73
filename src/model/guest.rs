//! The user names of guests.

const MARK: &str = "#ext#@";

/// The name in the home tenant of a guest whose stored userPrincipalName is `alias_home.example#EXT#@tenant`:
/// `alias@home.example`. `None` for every other name.
pub fn home_name(stored: &str) -> Option<String> {
    let mut marks = stored.rmatch_indices('#').map(|(index, _)| index);
    let home = &stored[..marks
        .find(|index| stored.get(*index..index + MARK.len()).is_some_and(|mark| mark.eq_ignore_ascii_case(MARK)))?];
    let (alias, domain) = home.rsplit_once('_')?;
    (!alias.is_empty() && !domain.is_empty()).then(|| format!("{alias}@{domain}"))
}

/// The start of the stored name of a guest who is called `home_name` in the home tenant.
pub fn stored_name_prefix(home_name: &str) -> Option<String> {
    let (alias, domain) = home_name.rsplit_once('@')?;
    (!alias.is_empty() && !domain.is_empty()).then(|| format!("{alias}_{domain}#EXT#@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_underscore_before_the_mark_becomes_an_at_sign() {
        for (stored, expected) in [
            ("ada.lovelace_partner.example#EXT#@tenant.example", Some("ada.lovelace@partner.example")),
            ("Ada_King_of_Ockham_partner.example#ext#@tenant.example", Some("Ada_King_of_Ockham@partner.example")),
            ("_ada_partner.example#Ext#@tenant.example", Some("_ada@partner.example")),
            ("a_b.example#EXT#@c_d.example#EXT#@tenant.example", Some("a_b.example#EXT#@c@d.example")),
            ("åsa_ö.example#EXT#@tenant.example", Some("åsa@ö.example")),
            ("ada#EXT#@tenant.example", None),
            ("_partner.example#EXT#@tenant.example", None),
            ("ada_#EXT#@tenant.example", None),
            ("ada_partner.example#EXT#", None),
            ("ada_lovelace@tenant.example", None),
            ("", None),
        ] {
            assert_eq!(home_name(stored).as_deref(), expected, "{stored}");
        }
        assert_eq!(stored_name_prefix("ada_x@partner.example").as_deref(), Some("ada_x_partner.example#EXT#@"));
        assert_eq!(stored_name_prefix("ada"), None);
    }
}
