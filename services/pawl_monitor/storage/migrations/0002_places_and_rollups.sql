-- Where each row came from: partition and offset on pawl.interactions (answers, feedback, scores), on pawl.evidence
-- (evidence, detector), and on its type's own topic (records). Unknown for rows that are older than this migration.

DROP VIEW interactions;
DROP VIEW latest_scores;

ALTER TABLE answers ADD COLUMN part INTEGER;
ALTER TABLE answers ADD COLUMN position BIGINT;
ALTER TABLE feedback ADD COLUMN part INTEGER;
ALTER TABLE feedback ADD COLUMN position BIGINT;
ALTER TABLE scores ADD COLUMN part INTEGER;
ALTER TABLE scores ADD COLUMN position BIGINT;
ALTER TABLE evidence ADD COLUMN part INTEGER;
ALTER TABLE evidence ADD COLUMN position BIGINT;
ALTER TABLE detector ADD COLUMN part INTEGER;
ALTER TABLE detector ADD COLUMN position BIGINT;
ALTER TABLE records ADD COLUMN part INTEGER;
ALTER TABLE records ADD COLUMN position BIGINT;

CREATE VIEW latest_scores AS
SELECT * FROM scores
QUALIFY row_number() OVER (PARTITION BY inference_id, choice ORDER BY revision DESC, time DESC) = 1;

-- The current state of every answer: the latest revision wins.
CREATE VIEW interactions AS
SELECT a.*, s.revision, s.reward, coalesce(s.rated, false) AS rated
FROM answers a LEFT JOIN latest_scores s USING (inference_id, choice);

-- Closed sessions by the hour in which they ended. `reward` sums the rated ones; first and last are when such ended.
CREATE TABLE rollup_sessions (
    hour TIMESTAMPTZ NOT NULL,
    model VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    sessions BIGINT NOT NULL,
    rated BIGINT NOT NULL,
    reward DOUBLE NOT NULL,
    answers BIGINT NOT NULL,
    first TIMESTAMPTZ,
    last TIMESTAMPTZ
);

-- Answers by the hour in which they were given. Latencies are counts by bucket floor(8 log2(seconds)): such histograms
-- add up, and a quantile of them is at most 4.5 % off.
CREATE TABLE rollup_answers (
    hour TIMESTAMPTZ NOT NULL,
    model VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    arm VARCHAR NOT NULL,
    answers BIGINT NOT NULL,
    rated BIGINT NOT NULL,
    reward DOUBLE NOT NULL,
    with_feedback BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    answer_tokens BIGINT NOT NULL,
    total_seconds MAP(INTEGER, UBIGINT) NOT NULL,
    first_token_seconds MAP(INTEGER, UBIGINT) NOT NULL
);

-- The offsets before which everything is in the rollups; rows beyond them are read raw.
CREATE TABLE rollup_marks (topic VARCHAR NOT NULL, part INTEGER NOT NULL, next_offset BIGINT NOT NULL);

-- Rows of a table before this moment are deleted; what the rollups say of those hours is final.
CREATE TABLE kept_since (table_name VARCHAR PRIMARY KEY, moment TIMESTAMPTZ NOT NULL);
