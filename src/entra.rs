//! What scope and mapping know of the side of Entra ID: how its provisioning names attributes, and the regular
//! expressions that it takes. Pure.

pub(crate) mod attribute;
pub(crate) mod pattern;
