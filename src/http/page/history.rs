//! The charts of `/`: learners over time, and the changes of each cycle.

use maud::{Markup, html};

use crate::runtime::status::StatusSummary;
use crate::store::{Store, StoreError};

/// The section with the charts.
pub(super) async fn section(_store: &Store, _summary: &StatusSummary) -> Result<Markup, StoreError> {
    Ok(html! {})
}
