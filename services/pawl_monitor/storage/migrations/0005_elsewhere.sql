-- Of answers that were made elsewhere: who answered, and that provider's name for what did.
ALTER TABLE answers ADD COLUMN provider VARCHAR;
ALTER TABLE answers ADD COLUMN provider_model VARCHAR;
