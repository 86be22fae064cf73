//! Learners in a table of somebody else's application: created, changed, switched off and on, with everything else in it
//! left as it was.

use graph_sim::Tenant;
use learner_sync::model::Outcome;

use crate::world::World;

