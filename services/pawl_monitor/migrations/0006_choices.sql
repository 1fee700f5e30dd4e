-- Whether the model was asked as a chat or to go on with a text. Nothing: as a chat.
ALTER TABLE answers ADD COLUMN form VARCHAR;

-- Which choice of the other answer a comparison is about. Nothing: its first.
ALTER TABLE feedback ADD COLUMN other_choice INTEGER;
