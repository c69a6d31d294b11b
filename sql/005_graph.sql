-- Plumbline 005: more kinds of lineage events, and the graph that follows from them.

-- ------------------------------------------------------------------------------------------------ kinds of events

-- Kind of event at each place of the ledger's arrays. Batches from before this migration have fewer places.
CREATE OR REPLACE FUNCTION event_kind(place int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['track_metrics', 'delayed_metrics', 'aggregate_metrics', 'model_deployed', 'unknown',
                'project_created', 'model_built'])[place]
$$;

CREATE OR REPLACE VIEW ingest_balance AS
  SELECT kind,
         sum(received)::bigint AS received, sum(accepted)::bigint AS accepted,
         sum(duplicate)::bigint AS duplicate, sum(rejected)::bigint AS rejected
  FROM (SELECT kind, received, accepted, duplicate, rejected FROM ingest_total
        UNION ALL
        SELECT event_kind(place), coalesce(received[place], 0), coalesce(accepted[place], 0),
               coalesce(duplicate[place], 0), coalesce(rejected[place], 0)
        FROM ingest_batch, generate_series(1, 7) AS place
        WHERE batch_id > (SELECT batch_id FROM ledger_position)) AS counts
  GROUP BY kind;

CREATE OR REPLACE FUNCTION ledger_fold() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  settled bigint := settled_batch();
  folded  bigint;
BEGIN
  SELECT batch_id INTO folded FROM ledger_position FOR UPDATE;
  IF settled <= folded THEN
    RETURN 0;
  END IF;
  INSERT INTO ingest_total AS t (day, kind, received, accepted, duplicate, rejected, batches)
  SELECT (recorded_at AT TIME ZONE 'UTC')::date, event_kind(place),
         sum(coalesce(received[place], 0)), sum(coalesce(accepted[place], 0)),
         sum(coalesce(duplicate[place], 0)), sum(coalesce(rejected[place], 0)), count(*)
  FROM ingest_batch, generate_series(1, 7) AS place
  WHERE batch_id > folded AND batch_id <= settled
  GROUP BY 1, 2
  ON CONFLICT (day, kind) DO UPDATE SET
    received = t.received + excluded.received, accepted = t.accepted + excluded.accepted,
    duplicate = t.duplicate + excluded.duplicate, rejected = t.rejected + excluded.rejected,
    batches = t.batches + excluded.batches;
  UPDATE ledger_position SET batch_id = settled;
  RETURN settled - folded;
END
$$;

-- ------------------------------------------------------------------------------------------------ lineage events

-- What an event is about, for finding all that was said of it, and when it came in.
ALTER TABLE lineage_event
  ADD COLUMN project_crn    text,
  ADD COLUMN build_crn      text,
  ADD COLUMN deployment_crn text,
  ADD COLUMN received_at    timestamptz;

UPDATE lineage_event AS e
SET project_crn = event ->> 'projectCrn', build_crn = event ->> 'modelBuildCrn',
    deployment_crn = event ->> 'modelDeploymentCrn',
    received_at = coalesce((SELECT recorded_at FROM ingest_batch AS b WHERE b.batch_id = e.batch_id), now());

ALTER TABLE lineage_event ALTER COLUMN received_at SET NOT NULL;

CREATE INDEX lineage_event_deployment ON lineage_event (deployment_crn) WHERE deployment_crn IS NOT NULL;
