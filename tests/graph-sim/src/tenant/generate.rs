//! Generates a tenant of any size, with the irregularities of a real directory in known proportions.

use std::collections::BTreeMap;

use super::{DOMAIN, Tenant};
use crate::names;
use crate::sequence::Sequence;
use crate::user::User;

struct Groups {
    all_staff: String,
    teams: [String; 3],
    nested: String,
}

impl Tenant {
    /// A tenant with `count` users, the same for the same seed. About half of them are assigned directly, a third
    /// through "All staff", and some through three smaller groups. A few are only in a group nested in "All staff",
    /// which does not assign them. 5 % are not assigned, 3 % are guests, 2 % have no mail, 2 % are disabled.
    pub fn with_users(count: usize, seed: u64) -> Self {
        let mut tenant = Self::with_seed(seed);
        let groups = Groups {
            all_staff: tenant.add_group("All staff"),
            teams: ["Apprentices 2026", "Night shift", "Projet Océan"].map(|name| tenant.add_group(name)),
            nested: tenant.add_group("Seconded from partners"),
        };
        tenant.add_group_member(&groups.all_staff, &groups.nested);
        let kiosk = tenant.add_device("Training room kiosk");
        tenant.add_member(&groups.all_staff, &kiosk);
        tenant.assign_group(&groups.all_staff);
        for team in &groups.teams {
            tenant.assign_group(team);
        }
        tenant.assign_service_principal("Course catalogue robot");

        let mut random = Sequence::new(seed ^ 0x7065_6f70_6c65);
        let mut aliases = BTreeMap::new();
        for number in 0..count {
            let user = user(number, &mut random, &mut aliases);
            let id = tenant.insert_user(user);
            tenant.place(&id, &groups, &mut random);
        }
        tenant
    }

    fn place(&mut self, id: &str, groups: &Groups, random: &mut Sequence) {
        match random.below(100) {
            0..50 => {
                self.assign_user(id);
                // Some users are assigned by both routes.
                if random.chance(10) {
                    self.add_member(&groups.all_staff, id);
                }
            }
            50..82 => self.add_member(&groups.all_staff, id),
            82..92 => self.add_member(&groups.teams[random.below(groups.teams.len())], id),
            92..95 => self.add_member(&groups.nested, id),
            _ => {}
        }
    }
}

fn user(number: usize, random: &mut Sequence, aliases: &mut BTreeMap<String, usize>) -> User {
    let (given_name, given_roman) = names::spellings(random.pick(names::GIVEN_NAMES));
    let (surname, surname_roman) = names::spellings(random.pick(names::SURNAMES));
    let alias = names::alias(given_roman, surname_roman);
    let times = aliases.entry(alias.clone()).or_default();
    *times += 1;
    let alias = if *times == 1 { alias } else { format!("{alias}{times}") };
    let address = format!("{alias}@{DOMAIN}");
    let (department, titles) = random.pick(names::DEPARTMENTS);
    let (country, code, city, language) = random.pick(names::COUNTRIES);

    let mut user = User::named(given_name, surname)
        .user_principal_name(&address)
        .mail(&address)
        .mail_nickname(&alias)
        .department(department)
        .job_title(random.pick(titles))
        .company_name(if random.chance(85) { "Harbour Works" } else { "Harbour Works Logistics" })
        .country(country)
        .usage_location(code)
        .city(city)
        .preferred_language(language)
        .office_location(format!("{}/{:03}", random.below(6) + 1, random.below(400)))
        .employee_id(format!("E{:06}", 100_000 + number))
        .employee_type("Employee")
        .cost_center(format!("{}", 4000 + random.below(60) * 10))
        .division(random.pick(&["North", "South", "Overseas"]));
    user.proxy_addresses = vec![format!("SMTP:{address}")];
    if random.chance(40) {
        user = user.mobile_phone(format!("+00 555 {:07}", random.below(10_000_000)));
    }
    if random.chance(60) {
        user = user.business_phone(format!("+00 555 {:07}", random.below(10_000_000)));
    }
    if random.chance(5) {
        user = user.extension_attribute(1, "security-champion");
    }
    if random.chance(30) {
        user.on_premises_sync_enabled = Some(true);
        user = user.on_premises_sam_account_name(&alias).on_premises_user_principal_name(&address);
    }
    clear_some_attributes(&mut user, random);
    if random.chance(3) {
        user.employee_id = None;
        user = user.invited_as(&format!("{alias}@partner.example")).employee_type("Contractor");
    } else if random.chance(2) {
        user = user.without_mail();
    }
    if random.chance(2) { user.disabled() } else { user }
}

fn clear_some_attributes(user: &mut User, random: &mut Sequence) {
    for (field, percent) in [
        (&mut user.job_title, 4),
        (&mut user.department, 3),
        (&mut user.country, 3),
        (&mut user.office_location, 20),
        (&mut user.preferred_language, 30),
        (&mut user.company_name, 2),
        (&mut user.given_name, 1),
    ] {
        if random.chance(percent) {
            *field = None;
        }
    }
    if random.chance(10) {
        user.employee_org_data = None;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_generated_tenant_is_reproducible_and_has_the_documented_proportions() {
        let tenant = Tenant::with_users(2000, 7);
        let again = Tenant::with_users(2000, 7);
        assert!(tenant.users().eq(again.users()));
        let names: BTreeSet<_> = tenant.users().map(|user| user.user_principal_name.as_deref()).collect();
        assert_eq!(names.len(), 2000);
        assert!(names.iter().flatten().all(|name| name.is_ascii() && name.contains('@')));
        let count = |is: fn(&&User) -> bool| tenant.users().filter(is).count();
        let guests = count(|user| user.user_type.as_deref() == Some("Guest"));
        assert!((30..90).contains(&guests), "{guests} guests");
        let disabled = count(|user| user.account_enabled == Some(false));
        assert!((15..70).contains(&disabled), "{disabled} disabled");
        let direct = tenant.application.assignments().filter(|(id, _)| tenant.user(id).is_some()).count();
        assert!((900..1100).contains(&direct), "{direct} assigned directly");
    }
}
