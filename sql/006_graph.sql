-- Plumbline 006: more kinds of lineage events, and the graph that follows from them.

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
-- To which project deployments say that a build belongs.
CREATE INDEX lineage_event_build ON lineage_event (build_crn, project_crn COLLATE "C") WHERE kind = 'model_deployed';

-- ------------------------------------------------------------------------------------------------ the graph

-- The graph in Apache Atlas's terms, as versions: a row holds from from_batch on, and up to the batch to_batch, or to
-- this day (null). Every writer takes the graph lock before it takes its number, so that the order of numbers is that of
-- commits: what held after batch n is the rows with from_batch <= n and (to_batch IS NULL OR to_batch > n).

-- When the batches that changed the graph were committed, for ever.
CREATE TABLE graph_batch (
  batch_id    bigint PRIMARY KEY,
  recorded_at timestamptz NOT NULL
);

CREATE SEQUENCE entity_number;
CREATE SEQUENCE relationship_number;

-- entity_id and guid stay over all versions. Deleted entities stay; is_incomplete: nobody has described it yet.
CREATE TABLE entity (
  entity_id      bigint  NOT NULL,
  from_batch     bigint  NOT NULL,
  to_batch       bigint  CHECK (to_batch >= from_batch),
  created_batch  bigint  NOT NULL,
  guid           uuid    NOT NULL,
  type           text    NOT NULL,
  qualified_name text    NOT NULL,
  is_deleted     boolean NOT NULL DEFAULT false,
  is_incomplete  boolean NOT NULL,
  created_by     text    NOT NULL,
  updated_by     text    NOT NULL,
  attributes     jsonb   NOT NULL, -- without those that relationships give, and without null
  PRIMARY KEY (entity_id, from_batch)
);

CREATE UNIQUE INDEX entity_name ON entity (type, qualified_name) WHERE to_batch IS NULL AND NOT is_deleted;
CREATE UNIQUE INDEX entity_guid ON entity (guid) WHERE to_batch IS NULL;

-- Edges. A new one makes no new version of the entities at its ends.
CREATE TABLE relationship (
  relationship_id bigint  NOT NULL,
  from_batch      bigint  NOT NULL,
  to_batch        bigint  CHECK (to_batch >= from_batch),
  created_batch   bigint  NOT NULL,
  guid            uuid    NOT NULL,
  type            text    NOT NULL,
  end1            bigint  NOT NULL, -- entity_id
  end2            bigint  NOT NULL,
  is_deleted      boolean NOT NULL DEFAULT false,
  created_by      text    NOT NULL,
  updated_by      text    NOT NULL,
  PRIMARY KEY (relationship_id, from_batch)
);

CREATE UNIQUE INDEX relationship_ends ON relationship (type, end1, end2) WHERE to_batch IS NULL AND NOT is_deleted;
CREATE UNIQUE INDEX relationship_guid ON relationship (guid) WHERE to_batch IS NULL;

-- A step of a walk is one look-up of one of these by many ends; all that it wants is in the index.
CREATE INDEX relationship_end1 ON relationship (end1, type, relationship_id) INCLUDE (end2, guid)
  WHERE to_batch IS NULL;
CREATE INDEX relationship_end2 ON relationship (end2, type, relationship_id) INCLUDE (end1, guid)
  WHERE to_batch IS NULL;

-- Who did what to an entity: what it was afterwards is its version of that batch.
CREATE TABLE entity_audit (
  entity_id bigint NOT NULL,
  batch_id  bigint NOT NULL,
  action    text   NOT NULL,
  user_name text   NOT NULL,
  PRIMARY KEY (entity_id, batch_id, action)
);

-- Deployments up to this one are in the graph. Their numbers are given and committed in one order (catalog_ensure), and
-- so none that comes later has a smaller one.
CREATE TABLE graph_position (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  deployment int NOT NULL
);
INSERT INTO graph_position (deployment) VALUES (0);

-- Begins a batch of the graph's own, which has no events and so no ledger row; under the graph lock.
CREATE FUNCTION graph_begin() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  the_batch bigint;
  now_us    bigint;
BEGIN
  PERFORM pg_advisory_lock(7236, 1);
  the_batch := nextval('batch_number');
  now_us := greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                     (SELECT last_value FROM batch_clock));
  PERFORM setval('batch_clock', now_us);
  PERFORM pg_advisory_unlock(7236, 1);
  INSERT INTO graph_batch (batch_id, recorded_at)
  VALUES (the_batch, timestamptz 'epoch' + now_us * interval '1 microsecond');
  RETURN the_batch;
END
$$;

-- What an entity's attributes become: what is wanted goes before what stands, maps of metadata are joined. A shell takes
-- nothing from an entity that was described; of two names for shells the first in byte order stays, so that the order in
-- which they came means nothing (a name that is the qualified name is none).
CREATE FUNCTION entity_merge(stands entity, is_complete boolean, wanted jsonb)
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN is_complete AND stands.attributes ? 'metadata' AND wanted ? 'metadata'
      THEN stands.attributes || wanted
        || jsonb_build_object('metadata', (stands.attributes -> 'metadata') || (wanted -> 'metadata'))
    WHEN is_complete
      THEN stands.attributes || wanted
    WHEN stands.is_incomplete AND wanted ->> 'name' <> stands.qualified_name
      AND (stands.attributes ->> 'name' = stands.qualified_name
           OR (wanted ->> 'name') COLLATE "C" < stands.attributes ->> 'name')
      THEN stands.attributes || jsonb_build_object('name', wanted -> 'name')
    ELSE stands.attributes END
$$;

-- Makes and changes entities, each (type, name) at most once a batch; what changes nothing writes nothing. Gives the
-- entity_id of each, in the order of the arrays.
CREATE FUNCTION graph_put(
  in_batch bigint, in_types text[], in_names text[], in_complete boolean[], in_attributes text[], in_users text[]
) RETURNS SETOF bigint LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  stands entity;
  wanted jsonb;
BEGIN
  FOR place IN 1 .. cardinality(in_types) LOOP
    SELECT * INTO stands FROM entity
    WHERE type = in_types[place] AND qualified_name = in_names[place] AND NOT is_deleted AND to_batch IS NULL;
    IF NOT FOUND THEN
      INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                          created_by, updated_by, attributes)
      VALUES (nextval('entity_number'), in_batch, in_batch, gen_random_uuid(), in_types[place], in_names[place],
              NOT in_complete[place], in_users[place], in_users[place], in_attributes[place]::jsonb)
      RETURNING * INTO stands;
      INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
      VALUES (stands.entity_id, in_batch, 'ENTITY_CREATE', in_users[place]);
    ELSE
      wanted := entity_merge(stands, in_complete[place], in_attributes[place]::jsonb);
      IF wanted <> stands.attributes OR in_complete[place] AND stands.is_incomplete THEN
        UPDATE entity SET to_batch = in_batch
        WHERE entity_id = stands.entity_id AND from_batch = stands.from_batch;
        INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                            created_by, updated_by, attributes)
        VALUES (stands.entity_id, in_batch, stands.created_batch, stands.guid, stands.type, stands.qualified_name,
                stands.is_incomplete AND NOT in_complete[place], stands.created_by, in_users[place], wanted);
        INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
        VALUES (stands.entity_id, in_batch, 'ENTITY_UPDATE', in_users[place]);
      END IF;
    END IF;
    RETURN NEXT stands.entity_id;
  END LOOP;
END
$$;

-- Makes the relationships that are not there. in_single: the entity at the second end has no other of this type; one that
-- stands was never so, and ends.
CREATE FUNCTION graph_link(
  in_batch bigint, in_types text[], in_end1 bigint[], in_end2 bigint[], in_single boolean[], in_users text[]
) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
  FOR place IN 1 .. cardinality(in_types) LOOP
    IF in_single[place] THEN
      UPDATE relationship SET to_batch = in_batch
      WHERE end2 = in_end2[place] AND type = in_types[place] AND end1 <> in_end1[place]
        AND NOT is_deleted AND to_batch IS NULL;
    END IF;
    INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type, end1, end2, created_by, updated_by)
    SELECT nextval('relationship_number'), in_batch, in_batch, gen_random_uuid(), in_types[place], in_end1[place],
           in_end2[place], in_users[place], in_users[place]
    WHERE NOT EXISTS (SELECT FROM relationship
                      WHERE type = in_types[place] AND end1 = in_end1[place] AND end2 = in_end2[place]
                        AND NOT is_deleted AND to_batch IS NULL);
  END LOOP;
END
$$;

-- Deployments get the model and the project that the model_built of their build says, where no model_deployed says one.
CREATE FUNCTION graph_complete_catalog(
  in_deployments text[], in_builds text[], in_models text[], in_projects text[]
) RETURNS void LANGUAGE sql AS $$
  UPDATE model_deployment AS d
  SET model_crn = CASE WHEN new.says_model THEN d.model_crn ELSE new.model END,
      project_crn = coalesce(d.project_crn, new.project)
  FROM (SELECT known.crn, built.model, built.project,
               EXISTS (SELECT FROM lineage_event AS e
                       WHERE e.deployment_crn = known.crn AND e.event ->> 'modelCrn' IS NOT NULL) AS says_model
        FROM unnest(in_deployments) AS wanted(crn)
        JOIN model_deployment AS known ON known.crn = wanted.crn AND known.declared
        JOIN unnest(in_builds, in_models, in_projects) AS built(crn, model, project)
          ON built.crn = known.build_crn) AS new
  WHERE d.crn = new.crn
    AND (NOT new.says_model AND d.model_crn IS DISTINCT FROM new.model OR d.project_crn IS NULL)
$$;
