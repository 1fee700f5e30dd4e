-- Everything is append-only; what is current is a view. The runner's own tables (offsets, state, outbox) are not here.

-- What was asked and answered: one row an answer, scrubbed text.
CREATE TABLE answers (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    inference_id UUID NOT NULL,
    choice INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    session VARCHAR NOT NULL,
    subject VARCHAR,
    messages VARCHAR NOT NULL,
    answer VARCHAR NOT NULL,
    finish_reason VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    canary UUID,
    deployment INTEGER NOT NULL,
    words INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    answer_tokens INTEGER NOT NULL,
    first_token_seconds DOUBLE NOT NULL,
    total_seconds DOUBLE NOT NULL
);

-- Lineage of feedback: every statement about an answer, by the id of its event.
CREATE TABLE feedback (
    feedback_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    inference_id UUID NOT NULL,
    choice INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    session VARCHAR NOT NULL,
    subject VARCHAR,
    kind VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value DOUBLE,
    text VARCHAR,
    other_inference_id UUID
);

-- Revisions of an answer's reward.
CREATE TABLE scores (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    inference_id UUID NOT NULL,
    choice INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    session VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    reward DOUBLE,
    rated BOOLEAN NOT NULL,
    joined BOOLEAN NOT NULL
);

CREATE VIEW latest_scores AS
SELECT * FROM scores
QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1;

-- The current state of every answer: the latest revision wins.
CREATE VIEW interactions AS
SELECT a.*, s.revision, s.reward, coalesce(s.rated, false) AS rated
FROM answers a LEFT JOIN latest_scores s USING (inference_id, choice);

-- One row a closed session: what every statistical decision was made from.
CREATE TABLE evidence (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    model VARCHAR NOT NULL,
    session VARCHAR NOT NULL,
    subject VARCHAR,
    arm VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    canary UUID,
    deployment INTEGER NOT NULL,
    reward DOUBLE,
    answers INTEGER NOT NULL,
    rated INTEGER NOT NULL,
    words DOUBLE,
    seconds DOUBLE,
    started TIMESTAMPTZ NOT NULL,
    ended TIMESTAMPTZ NOT NULL
);

-- The detector after each rated session of the champion; evidence in units of the alarm threshold.
CREATE TABLE detector (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    model VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    sessions INTEGER NOT NULL,
    reference DOUBLE NOT NULL,
    drop_evidence DOUBLE NOT NULL,
    rise_evidence DOUBLE NOT NULL
);

-- Control events as they were published: alarms, runs, candidates, versions, deployments, commands. A few a day.
CREATE TABLE records (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    type VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    run UUID,
    value VARCHAR NOT NULL
);

CREATE TABLE replicas (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    replica VARCHAR NOT NULL,
    healthy BOOLEAN NOT NULL,
    value VARCHAR NOT NULL
);

CREATE TABLE dead_letters (
    event_id UUID NOT NULL,
    time TIMESTAMPTZ NOT NULL,
    service VARCHAR NOT NULL,
    topic VARCHAR NOT NULL,
    part INTEGER NOT NULL,
    position BIGINT NOT NULL,
    reason VARCHAR NOT NULL
);
