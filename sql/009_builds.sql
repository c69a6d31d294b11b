-- Plumbline 009: the graph is written a set at a time; warnings of lineage events can be read;
-- a build that only metrics name is in the graph; deployments are found by what the graph says of them.

-- ------------------------------------------------------------------------------------------------ warnings

CREATE INDEX lineage_event_warned ON lineage_event (batch_id, ordinal) WHERE json_array_length(warnings) > 0;

-- ------------------------------------------------------------------------------------------------ deployments

CREATE INDEX entity_deployment_status ON entity ((attributes ->> 'status'))
  WHERE type = 'ml_model_deployment' AND to_batch IS NULL AND NOT is_deleted;
CREATE INDEX entity_deployment_name ON entity ((attributes ->> 'name'))
  WHERE type = 'ml_model_deployment' AND to_batch IS NULL AND NOT is_deleted;
CREATE INDEX entity_deployment_environment ON entity ((attributes #>> '{metadata,plumbline.environment}'))
  WHERE type = 'ml_model_deployment' AND to_batch IS NULL AND NOT is_deleted;

-- ------------------------------------------------------------------------------------------------ the graph

-- Each key is a look-up of its own (LATERAL, OFFSET 0), by a unique index: tables that fill up faster than they are analyzed
-- make the planner read them whole otherwise. Planned anew each time, a batch is worth it.

DROP FUNCTION graph_put(bigint, text[], text[], boolean[], text[], text[]);
DROP FUNCTION graph_link(bigint, text[], bigint[], bigint[], boolean[], text[]);

-- As in 006, all entities of a batch together. out_is_new: the batch made it.
CREATE FUNCTION graph_put(
  in_batch bigint, in_types text[], in_names text[], in_complete boolean[], in_attributes text[], in_users text[]
) RETURNS TABLE (out_entity bigint, out_is_new boolean) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  ids              bigint[];
  since            bigint[]; -- null: it is new
  changed          bigint[];
  changed_at       tid[];
  changed_to       jsonb[];
  changed_complete boolean[];
  changed_by       text[];
BEGIN
  SELECT array_agg(coalesce(e.entity_id, nextval('entity_number')) ORDER BY w.place),
         array_agg(e.from_batch ORDER BY w.place)
  INTO ids, since
  FROM unnest(in_types, in_names) WITH ORDINALITY AS w(type, name, place)
  LEFT JOIN LATERAL (SELECT entity_id, from_batch FROM entity
                     WHERE type = w.type AND qualified_name = w.name AND NOT is_deleted AND to_batch IS NULL
                     OFFSET 0) AS e ON true;

  INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                      created_by, updated_by, attributes)
  SELECT w.id, in_batch, in_batch, gen_random_uuid(), w.type, w.name, NOT w.is_complete, w.by_user, w.by_user,
         w.attributes::jsonb
  FROM unnest(ids, since, in_types, in_names, in_complete, in_attributes, in_users)
    AS w(id, since, type, name, is_complete, attributes, by_user)
  WHERE w.since IS NULL;
  INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
  SELECT w.id, in_batch, 'ENTITY_CREATE', w.by_user
  FROM unnest(ids, since, in_users) AS w(id, since, by_user)
  WHERE w.since IS NULL;

  SELECT array_agg(m.id), array_agg(m.at), array_agg(m.wanted), array_agg(m.is_complete), array_agg(m.by_user)
  INTO changed, changed_at, changed_to, changed_complete, changed_by
  FROM (SELECT w.id, x.at, w.is_complete, w.by_user, x.stands,
               -- a shell that is called as it was, or has been described: what a shared table is most often
               CASE WHEN NOT w.is_complete AND (NOT (x.stands).is_incomplete
                                                OR w.attributes ->> 'name' = (x.stands).attributes ->> 'name')
                 THEN (x.stands).attributes
                 ELSE entity_merge(x.stands, w.is_complete, w.attributes) END AS wanted
        FROM (SELECT g.id, g.since, g.is_complete, g.attributes::jsonb AS attributes, g.by_user
              FROM unnest(ids, since, in_complete, in_attributes, in_users)
                AS g(id, since, is_complete, attributes, by_user)
              WHERE g.since IS NOT NULL OFFSET 0) AS w
        JOIN LATERAL (SELECT e AS stands, e.ctid AS at FROM entity AS e
                      WHERE e.entity_id = w.id AND e.from_batch = w.since OFFSET 0) AS x ON true
        OFFSET 0) AS m
  WHERE m.wanted <> (m.stands).attributes OR m.is_complete AND (m.stands).is_incomplete;

  IF changed IS NOT NULL THEN
    UPDATE entity SET to_batch = in_batch WHERE ctid = ANY (changed_at);
    INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                        created_by, updated_by, attributes)
    SELECT e.entity_id, in_batch, e.created_batch, e.guid, e.type, e.qualified_name,
           e.is_incomplete AND NOT c.is_complete, e.created_by, c.by_user, c.wanted
    FROM unnest(changed, changed_to, changed_complete, changed_by) AS c(id, wanted, is_complete, by_user)
    JOIN LATERAL (SELECT * FROM entity WHERE entity_id = c.id AND to_batch = in_batch OFFSET 0) AS e ON true;
    INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
    SELECT c.id, in_batch, 'ENTITY_UPDATE', c.by_user
    FROM unnest(changed, changed_by) AS c(id, by_user);
  END IF;

  RETURN QUERY SELECT w.id, w.since IS NULL FROM unnest(ids, since) AS w(id, since);
END
$$;

-- As in 006, all relationships of a batch together. in_new: one of the ends is; then there is none yet. Of the others it is
-- asked of the unique index whether they are there, whatever the planner thinks of tables that many builds share.
CREATE FUNCTION graph_link(
  in_batch bigint, in_types text[], in_end1 bigint[], in_end2 bigint[], in_single boolean[], in_new boolean[],
  in_users text[]
) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  ended tid[];
BEGIN
  SELECT array_agg(r.at) INTO ended
  FROM unnest(in_types, in_end1, in_end2, in_single) AS w(type, end1, end2, is_single)
  JOIN LATERAL (SELECT ctid AS at FROM relationship
                WHERE end2 = w.end2 AND type = w.type AND end1 <> w.end1 AND NOT is_deleted AND to_batch IS NULL
                OFFSET 0) AS r ON true
  WHERE w.is_single;
  IF ended IS NOT NULL THEN
    UPDATE relationship SET to_batch = in_batch WHERE ctid = ANY (ended);
  END IF;
  INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type, end1, end2, created_by, updated_by)
  SELECT nextval('relationship_number'), in_batch, in_batch, gen_random_uuid(), w.type, w.end1, w.end2,
         w.by_user, w.by_user
  FROM unnest(in_types, in_end1, in_end2, in_new, in_users) AS w(type, end1, end2, is_new, by_user)
  WHERE w.is_new;
  INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type, end1, end2, created_by, updated_by)
  SELECT nextval('relationship_number'), in_batch, in_batch, gen_random_uuid(), w.type, w.end1, w.end2,
         w.by_user, w.by_user
  FROM unnest(in_types, in_end1, in_end2, in_new, in_users) AS w(type, end1, end2, is_new, by_user)
  WHERE NOT w.is_new
  ON CONFLICT (type, end1, end2) WHERE to_batch IS NULL AND NOT is_deleted DO NOTHING;
END
$$;

-- ------------------------------------------------------------------------------------------------ said by metrics alone

-- Deployments whose build a prediction has named since they were put into the graph: they are to be related to it.
CREATE TABLE graph_waiting (
  deployment int PRIMARY KEY
);
INSERT INTO graph_waiting (deployment)
SELECT deployment FROM model_deployment WHERE NOT declared AND build_crn IS NOT NULL;

-- As in 001, and has the graph told of builds.
CREATE OR REPLACE FUNCTION catalog_ensure(in_crns text[], in_builds text[], in_models text[], in_max int)
RETURNS TABLE (out_deployment int, out_crn text, out_complete boolean) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7236, 6);
  INSERT INTO model_deployment (crn)
  SELECT DISTINCT given FROM unnest(in_crns) AS given
  WHERE NOT EXISTS (SELECT FROM model_deployment WHERE crn = given)
  ORDER BY given
  LIMIT greatest(0, in_max - (SELECT count(*) FROM model_deployment));

  -- By number, as whoever writes several. The graph is told of a build that was not known, not of one that it may be
  -- relating in this moment: that would wait for it.
  WITH lacking AS (
    SELECT d.deployment, d.build_crn IS NULL AND given.build IS NOT NULL AS is_named, given.build, given.model
    FROM (SELECT g.crn, (array_agg(g.build ORDER BY place) FILTER (WHERE g.build IS NOT NULL))[1] AS build,
                 (array_agg(g.model ORDER BY place) FILTER (WHERE g.model IS NOT NULL))[1] AS model
          FROM unnest(in_crns, in_builds, in_models) WITH ORDINALITY AS g(crn, build, model, place)
          GROUP BY g.crn) AS given
    JOIN model_deployment AS d ON d.crn = given.crn
    WHERE NOT d.declared
      AND (d.build_crn IS NULL AND given.build IS NOT NULL OR d.model_crn IS NULL AND given.model IS NOT NULL)
    ORDER BY d.deployment
    FOR NO KEY UPDATE OF d
  ), filled AS (
    UPDATE model_deployment AS d
    SET build_crn = coalesce(d.build_crn, lacking.build), model_crn = coalesce(d.model_crn, lacking.model)
    FROM lacking WHERE d.deployment = lacking.deployment
    RETURNING d.deployment, lacking.is_named
  )
  INSERT INTO graph_waiting (deployment)
  SELECT filled.deployment FROM filled WHERE filled.is_named
  ON CONFLICT DO NOTHING;

  RETURN QUERY SELECT deployment, crn, declared OR build_crn IS NOT NULL AND model_crn IS NOT NULL
               FROM model_deployment WHERE crn = ANY (in_crns);
END
$$;
