//! What a connection is for.

/// How a learner database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To write. A missing file, its directory and the tables are created. Of several hosts, one that accepts writes.
    ReadWrite,
    /// To read. Nothing is created or migrated, and the database itself refuses writes. Of several hosts, one that accepts
    /// writes if there is one, else a standby.
    ReadOnly,
    /// Like `ReadOnly`, but where `target_session_attrs=any` allows it, from the first host that answers: nothing is decided
    /// by what was read, which may lack the last changes.
    ReadAnyHost,
    /// Like `ReadOnly`, for an answer within seconds: neither a lock nor a slow statement is waited for any longer.
    ReadBriefly,
}
