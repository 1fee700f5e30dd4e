-- Which arm of an experiment a session met, and what system prompt the arm put before it (its digest; empty: none).
-- Unknown for rows that are older than this migration.

DROP VIEW interactions;

ALTER TABLE answers ADD COLUMN experiment UUID;
ALTER TABLE answers ADD COLUMN experiment_arm VARCHAR;
ALTER TABLE answers ADD COLUMN prompt_version VARCHAR;
ALTER TABLE evidence ADD COLUMN experiment UUID;
ALTER TABLE evidence ADD COLUMN experiment_arm VARCHAR;

-- The current state of every answer: the latest revision wins.
CREATE VIEW interactions AS
SELECT a.*, s.revision, s.reward, coalesce(s.rated, false) AS rated
FROM answers a LEFT JOIN latest_scores s USING (inference_id, choice);
