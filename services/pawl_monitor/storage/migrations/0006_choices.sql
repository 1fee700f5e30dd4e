DROP VIEW interactions;

-- Whether the model was asked as a chat or to go on with a text. Nothing: as a chat.
ALTER TABLE answers ADD COLUMN form VARCHAR;

-- Which choice of the other answer a comparison is about. Nothing: its first.
ALTER TABLE feedback ADD COLUMN other_choice INTEGER;

-- A view keeps the columns that its table had when it was made.
CREATE VIEW interactions AS
SELECT a.*, s.revision, s.reward, coalesce(s.rated, false) AS rated
FROM answers a LEFT JOIN latest_scores s USING (inference_id, choice);
