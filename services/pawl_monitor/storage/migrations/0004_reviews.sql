-- What reviewers say: which review they answer, and who they are. Nothing: an app's user said it.
ALTER TABLE feedback ADD COLUMN review UUID;
ALTER TABLE feedback ADD COLUMN who VARCHAR;

-- Evidence of the detectors of prompts and answers after this session, in units of the alarm threshold.
ALTER TABLE evidence ADD COLUMN traffic_evidence DOUBLE;
ALTER TABLE evidence ADD COLUMN output_evidence DOUBLE;
