CREATE TABLE IF NOT EXISTS learners (
    id                {id},
    external_id       text,
    user_name         text NOT NULL,
    email             text,
    first_name        text,
    last_name         text,
    title             text,
    employee_number   text,
    department        text,
    country           text,
    job_role          text,
    company           text,
    business_unit     text,
    team_name         text,
    security_champion boolean,
    active            boolean NOT NULL DEFAULT true,
    created_at        timestamptz NOT NULL DEFAULT date_trunc('second', now()),
    updated_at        timestamptz NOT NULL DEFAULT date_trunc('second', now()),
    deactivated_at    timestamptz
);
CREATE UNIQUE INDEX learners_external_id_folded ON learners (lower(external_id COLLATE "C"));
CREATE UNIQUE INDEX learners_user_name_folded ON learners (lower(user_name COLLATE "C"));
CREATE UNIQUE INDEX learners_email_folded ON learners (lower(email COLLATE "C"));
