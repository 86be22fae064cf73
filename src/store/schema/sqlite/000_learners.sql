CREATE TABLE IF NOT EXISTS learners (
    id                {id},
    external_id       TEXT COLLATE NOCASE,
    user_name         TEXT NOT NULL COLLATE NOCASE,
    email             TEXT COLLATE NOCASE,
    first_name        TEXT,
    last_name         TEXT,
    title             TEXT,
    employee_number   TEXT,
    department        TEXT,
    country           TEXT,
    job_role          TEXT,
    company           TEXT,
    business_unit     TEXT,
    team_name         TEXT,
    security_champion INTEGER CHECK (security_champion IN (0, 1)),
    active            INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1)),
    created_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    updated_at        TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    deactivated_at    TEXT
);
CREATE UNIQUE INDEX learners_external_id ON learners (external_id COLLATE NOCASE);
CREATE UNIQUE INDEX learners_user_name ON learners (user_name COLLATE NOCASE);
CREATE UNIQUE INDEX learners_email ON learners (email COLLATE NOCASE);
