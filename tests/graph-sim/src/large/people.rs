//! The users of a large tenant, by number. Everything about a user follows from the number and the revision.

use std::io::Write as _;

use uuid::Uuid;

use crate::names::{COUNTRIES, DEPARTMENTS, GIVEN_NAMES, SURNAMES, alias, spellings};
use crate::sequence::Sequence;
use crate::tenant::DOMAIN;

/// The attributes of a row.
pub(super) const KEYS: [&str; 11] = [
    "id",
    "accountEnabled",
    "userPrincipalName",
    "displayName",
    "mail",
    "givenName",
    "surname",
    "jobTitle",
    "country",
    "employeeId",
    "department",
];

/// An odd number and its inverse: multiplying by both returns the number. Scatters the ids as Entra's are.
const SCATTER: u32 = 0x9e37_79b1;
const GATHER: u32 = inverse(SCATTER);

const fn inverse(odd: u32) -> u32 {
    // Each step of Newton's method doubles the number of correct bits, and `odd` itself has three.
    let mut inverse = odd;
    let mut step = 0;
    while step < 4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

#[derive(Debug)]
pub(super) struct People {
    revisions: Vec<u8>,
    assigned: Vec<bool>,
    /// The rows of all users one after the other, and the end of each: only for users that are read directly.
    rows: Option<(Vec<u8>, Vec<usize>)>,
}

impl People {
    pub(super) fn new(count: usize, read_directly: bool) -> Self {
        let rows = read_directly.then(Default::default);
        Self { revisions: vec![0; count], assigned: vec![true; count], rows }
    }

    pub(super) fn count(&self) -> usize {
        self.revisions.len()
    }

    pub(super) fn is_assigned(&self, number: usize) -> bool {
        self.assigned[number]
    }

    pub(super) fn change(&mut self, step: usize) -> usize {
        let changed = self.revisions.iter_mut().step_by(step);
        changed.map(|revision| *revision = revision.wrapping_add(1)).count()
    }

    pub(super) fn unassign(&mut self, step: usize) -> usize {
        self.assigned.iter_mut().step_by(step).map(|assigned| *assigned = false).count()
    }

    /// Renders the rows of users that are read directly.
    pub(super) fn render(&mut self) {
        if self.rows.is_none() {
            return;
        }
        let (mut rows, mut ends) = (Vec::new(), Vec::with_capacity(self.count()));
        for number in 0..self.count() {
            self.write_row(number, false, &mut rows);
            ends.push(rows.len());
        }
        self.rows = Some((rows, ends));
    }

    /// The number of the user with an id.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let first = u32::from_str_radix(id.get(..8)?, 16).ok()?;
        let number = first.wrapping_mul(GATHER) as usize;
        (number < self.count() && self::id(number).to_string() == id).then_some(number)
    }

    /// Appends a user as in a list of users.
    pub(super) fn push_row(&self, number: usize, out: &mut Vec<u8>) {
        match &self.rows {
            Some((rows, ends)) => {
                let start = number.checked_sub(1).map_or(0, |before| ends[before]);
                out.extend_from_slice(&rows[start..ends[number]]);
            }
            None => self.write_row(number, false, out),
        }
    }

    /// The answer to `GET /users/{id}`.
    pub(super) fn account(&self, id: &str) -> Option<Vec<u8>> {
        let number = self.find(id)?;
        let mut row = br#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users/$entity","#.to_vec();
        let start = row.len();
        self.push_row(number, &mut row);
        row.remove(start);
        Some(row)
    }

    /// Renders a user; the rows of a list of members name the type.
    pub(super) fn write_row(&self, number: usize, is_member: bool, out: &mut Vec<u8>) {
        let mut choice = Sequence::new(number as u64);
        let (given_name, roman_given_name) = spellings(choice.pick(GIVEN_NAMES));
        let (surname, roman_surname) = spellings(choice.pick(SURNAMES));
        let (department, titles) = choice.pick(DEPARTMENTS);
        let title = titles[(choice.below(titles.len()) + usize::from(self.revisions[number])) % titles.len()];
        let (country, _, _, _) = choice.pick(COUNTRIES);
        let country = if choice.chance(10) { "null".to_owned() } else { format!("\"{country}\"") };
        let address = format!("{}.{number}@{DOMAIN}", alias(roman_given_name, roman_surname));
        let kind = if is_member { r##""@odata.type":"#microsoft.graph.user","## } else { "" };
        // No name contains a character that JSON escapes. Writing to memory does not fail.
        let _ = write!(
            out,
            r#"{{{kind}"id":"{}","accountEnabled":true,"userPrincipalName":"{address}","displayName":"{given_name} {surname}","mail":"{address}","givenName":"{given_name}","surname":"{surname}","jobTitle":"{title}","country":{country},"employeeId":"{:07}","department":"{department}"}}"#,
            id(number),
            number + 1,
        );
    }
}

pub(super) fn id(number: usize) -> Uuid {
    // The numbers of users are far below the limit.
    let first = u32::try_from(number).unwrap_or_default().wrapping_mul(SCATTER);
    let mut rest = Sequence::new(!(number as u64));
    let mut bytes: [u8; 16] = rest.bytes();
    bytes[..4].copy_from_slice(&first.to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
