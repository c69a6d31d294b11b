-- Plumbline 016: API keys, and what administrators do.

-- Of a key only the SHA-256 of its text is kept: it is 256 random bits, which no slow hash makes safer. A key that was
-- revoked stays, so that an audit can tell who it was.
CREATE TABLE api_key (
  key_id         text        PRIMARY KEY CHECK (key_id ~ '^[a-z2-7]{8}$'),
  name           text        NOT NULL CHECK (name <> '' AND name !~ '[\x01-\x1f\x7f]'),
  hash           bytea       NOT NULL CHECK (length(hash) = 32),
  scopes         text[]      NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ '{ingest,read,lineage,admin}'),
  crn_prefixes   text[]      NOT NULL DEFAULT '{}' -- empty: any CRN. A daemon reads them with line feeds between.
                 CHECK (array_position(crn_prefixes, NULL) IS NULL AND array_position(crn_prefixes, '') IS NULL
                        AND array_to_string(crn_prefixes, '') !~ '[\x01-\x1f\x7f]'),
  requests_per_s int         CHECK (requests_per_s >= 0), -- null: as configured; 0: as many as it likes
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at     timestamptz, -- null: never
  revoked_at     timestamptz,
  last_used_at   timestamptz  -- to the minute, or later
);
CREATE UNIQUE INDEX api_key_name ON api_key (name) WHERE revoked_at IS NULL;

-- Daemons ask for this one number every second, and for the keys when it has changed: after a change by hand as well. One
-- change at a time: the row is locked until it is committed.
CREATE TABLE api_key_version (
  version  bigint  NOT NULL,
  only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one)
);
INSERT INTO api_key_version (version) VALUES (1);

CREATE FUNCTION api_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE api_key_version SET version = version + 1;
  RETURN NULL;
END $$;
CREATE TRIGGER api_key_changed AFTER INSERT OR DELETE OR TRUNCATE
  OR UPDATE OF key_id, name, hash, scopes, crn_prefixes, requests_per_s, expires_at, revoked_at ON api_key
  FOR EACH STATEMENT EXECUTE FUNCTION api_key_changed();

-- What an administrator did, in the transaction that did it.
CREATE TABLE admin_audit (
  admin_audit bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor       text        NOT NULL, -- user@host of the command
  action      text        NOT NULL, -- 'key.create', 'key.revoke', 'rejected.remove'
  subject     text        NOT NULL, -- the key's id, the number of the rejected event
  details     jsonb       NOT NULL DEFAULT '{}'
);
