-- Plumbline 012: entities and relationships that clients of Atlas write.

-- ------------------------------------------------------------------------------------------------ names

-- qualified_name is the key by which an entity is known among the active ones of its type. It is the qualified name; in the
-- place of one that no index takes, its beginning and a digest, longer than any name that stands for itself; where a type
-- has no qualified name, its other unique attribute, and where it has none the guid. What events name is never that long.
CREATE FUNCTION entity_key(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(name) <= 1300 THEN name
              ELSE rpad(left(name, 325) || encode(sha256(convert_to(name, 'UTF8')), 'hex'), 1400, '#') END
$$;

-- The name that an entity has: the key, or what it stands for.
CREATE FUNCTION entity_name(qualified_name text, attributes jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN octet_length(qualified_name) <= 1300 THEN qualified_name
              ELSE coalesce(attributes ->> 'qualifiedName', qualified_name) END
$$;

-- Any deployment may have any name by now.
DROP INDEX entity_deployment_name;
CREATE INDEX entity_deployment_name ON entity (left(attributes ->> 'name', 300))
  WHERE type = 'ml_model_deployment' AND to_batch IS NULL AND NOT is_deleted;
DROP INDEX entity_deployment_environment;
CREATE INDEX entity_deployment_environment ON entity (left(attributes #>> '{metadata,plumbline.environment}', 300))
  WHERE type = 'ml_model_deployment' AND to_batch IS NULL AND NOT is_deleted;

-- ------------------------------------------------------------------------------------------------ columns

-- from_events: events have described it, and what they set is theirs. by_clients: what clients have set since, as names of
-- attributes and "metadata.KEY"; null: nothing.
ALTER TABLE entity ADD COLUMN from_events boolean NOT NULL DEFAULT false, ADD COLUMN by_clients jsonb;
UPDATE entity SET from_events = true WHERE type LIKE 'ml\_%' AND NOT is_incomplete;

-- attributes: without null; null: it has none. by_client: no event has made it.
ALTER TABLE relationship ADD COLUMN attributes jsonb, ADD COLUMN by_client boolean NOT NULL DEFAULT false;

-- What clients have set of an entity when events say that of it: what was theirs, or all that stood before the first event,
-- without what the event sets. null: nothing.
CREATE FUNCTION entity_own(stands entity, said jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_agg(own.name ORDER BY own.name)
  FROM (SELECT jsonb_array_elements_text(stands.by_clients) AS name
        WHERE stands.from_events
        UNION ALL
        SELECT jsonb_object_keys(stands.attributes - 'metadata')
        WHERE NOT stands.from_events
        UNION ALL
        SELECT 'metadata.' || jsonb_object_keys(stands.attributes -> 'metadata')
        WHERE NOT stands.from_events) AS own
  WHERE NOT said ? own.name
    AND NOT (own.name LIKE 'metadata.%' AND coalesce((said -> 'metadata') ? substr(own.name, 10), false))
$$;

-- As in 009, and says what events have described.
CREATE OR REPLACE FUNCTION graph_put(
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
  changed_own      jsonb[];
BEGIN
  SELECT array_agg(coalesce(e.entity_id, nextval('entity_number')) ORDER BY w.place),
         array_agg(e.from_batch ORDER BY w.place)
  INTO ids, since
  FROM unnest(in_types, in_names) WITH ORDINALITY AS w(type, name, place)
  LEFT JOIN LATERAL (SELECT entity_id, from_batch FROM entity
                     WHERE type = w.type AND qualified_name = w.name AND NOT is_deleted AND to_batch IS NULL
                     OFFSET 0) AS e ON true;

  INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                      created_by, updated_by, attributes, from_events)
  SELECT w.id, in_batch, in_batch, gen_random_uuid(), w.type, w.name, NOT w.is_complete, w.by_user, w.by_user,
         w.attributes::jsonb, w.is_complete
  FROM unnest(ids, since, in_types, in_names, in_complete, in_attributes, in_users)
    AS w(id, since, type, name, is_complete, attributes, by_user)
  WHERE w.since IS NULL;
  INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
  SELECT w.id, in_batch, 'ENTITY_CREATE', w.by_user
  FROM unnest(ids, since, in_users) AS w(id, since, by_user)
  WHERE w.since IS NULL;

  SELECT array_agg(m.id), array_agg(m.at), array_agg(m.wanted), array_agg(m.is_complete), array_agg(m.by_user),
         array_agg(m.own)
  INTO changed, changed_at, changed_to, changed_complete, changed_by, changed_own
  FROM (SELECT w.id, x.at, w.is_complete, w.by_user, x.stands,
               CASE WHEN w.is_complete AND ((x.stands).by_clients IS NOT NULL OR NOT (x.stands).from_events)
                 THEN entity_own(x.stands, w.attributes)
                 ELSE (x.stands).by_clients END AS own,
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
  WHERE m.wanted <> (m.stands).attributes
     OR m.is_complete AND ((m.stands).is_incomplete OR NOT (m.stands).from_events)
     OR m.own IS DISTINCT FROM (m.stands).by_clients;

  IF changed IS NOT NULL THEN
    UPDATE entity SET to_batch = in_batch WHERE ctid = ANY (changed_at);
    INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                        created_by, updated_by, attributes, from_events, by_clients)
    SELECT e.entity_id, in_batch, e.created_batch, e.guid, e.type, e.qualified_name,
           e.is_incomplete AND NOT c.is_complete, e.created_by, c.by_user, c.wanted, e.from_events OR c.is_complete,
           c.own
    FROM unnest(changed, changed_to, changed_complete, changed_by, changed_own) AS c(id, wanted, is_complete, by_user, own)
    JOIN LATERAL (SELECT * FROM entity WHERE entity_id = c.id AND to_batch = in_batch OFFSET 0) AS e ON true;
    INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
    SELECT c.id, in_batch, 'ENTITY_UPDATE', c.by_user
    FROM unnest(changed, changed_by) AS c(id, by_user);
  END IF;

  RETURN QUERY SELECT w.id, w.since IS NULL FROM unnest(ids, since) AS w(id, since);
END
$$;

-- As in 009, and what clients made and events tell of is the events' from then on.
CREATE OR REPLACE FUNCTION graph_link(
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
  UPDATE relationship SET by_client = false
  WHERE ctid = ANY (ARRAY(
    SELECT r.at FROM unnest(in_types, in_end1, in_end2, in_new) AS w(type, end1, end2, is_new)
    CROSS JOIN LATERAL (SELECT ctid AS at, by_client FROM relationship
                        WHERE type = w.type AND end1 = w.end1 AND end2 = w.end2 AND NOT is_deleted AND to_batch IS NULL
                        OFFSET 0) AS r
    WHERE NOT w.is_new AND r.by_client));
END
$$;

-- Deployments that were deleted and serve on are few.
CREATE INDEX entity_deployment_deleted ON entity (entity_id)
  WHERE type = 'ml_model_deployment' AND is_deleted AND to_batch IS NULL;

-- ------------------------------------------------------------------------------------------------ writing

-- All of these under the graph lock, in a batch that graph_begin has begun. Each key is a look-up of its own, as in 009. While
-- a table has no statistics its partial indexes look small: the version of an entity that stands is looked up as its last one,
-- of relationships it is asked afterwards whether they are deleted.

-- What has these keys or guids. A key without a type is sought in every type: who asks knows which of them may have it.
CREATE FUNCTION entity_find(in_names text[], in_guids uuid[])
RETURNS TABLE (out_place bigint, entity_id bigint, from_batch bigint, guid uuid, type text, is_deleted boolean,
               from_events boolean, attributes text, by_clients text)
LANGUAGE sql STABLE SET plan_cache_mode = force_custom_plan AS $$
  SELECT w.place, e.entity_id, e.from_batch, e.guid, e.type, e.is_deleted, e.from_events,
         CASE WHEN e.from_events THEN e.attributes::text END, e.by_clients::text
  FROM unnest(in_names) WITH ORDINALITY AS w(name, place)
  CROSS JOIN LATERAL (SELECT * FROM entity
                      WHERE qualified_name COLLATE "C" = entity_key(w.name) AND to_batch IS NULL AND NOT entity.is_deleted
                      OFFSET 0) AS e
  WHERE w.name IS NOT NULL
  UNION ALL
  SELECT w.place, e.entity_id, e.from_batch, e.guid, e.type, e.is_deleted, e.from_events,
         CASE WHEN e.from_events THEN e.attributes::text END, e.by_clients::text
  FROM unnest(in_guids) WITH ORDINALITY AS w(guid, place)
  CROSS JOIN LATERAL (SELECT * FROM entity WHERE entity.guid = w.guid AND to_batch IS NULL OFFSET 0) AS e
  WHERE w.guid IS NOT NULL
$$;

-- Makes entities, each with its guid. A key that is null is the guid.
CREATE FUNCTION entity_make(
  in_batch bigint, in_guids uuid[], in_types text[], in_names text[], in_shell boolean[], in_attributes text[], in_user text
) RETURNS SETOF bigint LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  ids bigint[];
BEGIN
  SELECT array_agg(nextval('entity_number') ORDER BY n) INTO ids FROM generate_series(1, cardinality(in_guids)) AS n;
  INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                      created_by, updated_by, attributes)
  SELECT w.id, in_batch, in_batch, w.guid, w.type, coalesce(entity_key(w.name), w.guid::text), w.is_shell, in_user, in_user,
         jsonb_strip_nulls(w.attributes::jsonb)
  FROM unnest(ids, in_guids, in_types, in_names, in_shell, in_attributes) AS w(id, guid, type, name, is_shell, attributes);
  INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
  SELECT w.id, in_batch, 'ENTITY_CREATE', in_user FROM unnest(ids) AS w(id);
  RETURN QUERY SELECT * FROM unnest(ids);
END
$$;

-- Changes entities: attributes take the place of those that stand, null removes one; maps in in_joined are joined to those
-- that stand. A key that is null stays, as does what clients are known to have set. in_complete: what was a shell is none any
-- more. Gives those that it changed; what changes nothing writes nothing.
CREATE FUNCTION entity_change(
  in_batch bigint, in_ids bigint[], in_names text[], in_attributes text[], in_joined text[], in_by_clients text[],
  in_complete boolean, in_user text
) RETURNS SETOF bigint LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  changed      bigint[];
  changed_at   tid[];
  changed_to   jsonb[];
  changed_name text[];
  changed_own  text[];
BEGIN
  SELECT array_agg(m.id), array_agg(m.at), array_agg(m.wanted), array_agg(m.name), array_agg(m.by_clients)
  INTO changed, changed_at, changed_to, changed_name, changed_own
  FROM (SELECT w.id, w.name, w.by_clients, e.at, e.attributes, e.is_incomplete,
               jsonb_strip_nulls(e.attributes || w.attributes::jsonb || coalesce(
                 (SELECT jsonb_object_agg(j.key, coalesce(e.attributes -> j.key, '{}') || j.value)
                  FROM jsonb_each(w.joined::jsonb) AS j), '{}')) AS wanted
        FROM unnest(in_ids, in_names, in_attributes, in_joined, in_by_clients) AS w(id, name, attributes, joined, by_clients)
        CROSS JOIN LATERAL (SELECT e.ctid AS at, e.attributes, e.is_incomplete FROM entity AS e
                            WHERE e.entity_id = w.id ORDER BY e.from_batch DESC LIMIT 1) AS e
        OFFSET 0) AS m
  WHERE m.wanted <> m.attributes OR in_complete AND m.is_incomplete;
  IF changed IS NULL THEN
    RETURN;
  END IF;
  UPDATE entity SET to_batch = in_batch WHERE ctid = ANY (changed_at);
  INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_incomplete,
                      created_by, updated_by, attributes, from_events, by_clients)
  SELECT e.entity_id, in_batch, e.created_batch, e.guid, e.type, coalesce(entity_key(c.name), e.qualified_name),
         e.is_incomplete AND NOT in_complete, e.created_by, in_user, c.wanted, e.from_events,
         coalesce(c.by_clients::jsonb, e.by_clients)
  FROM unnest(changed, changed_to, changed_name, changed_own) AS c(id, wanted, name, by_clients)
  CROSS JOIN LATERAL (SELECT * FROM entity WHERE entity_id = c.id ORDER BY from_batch DESC LIMIT 1) AS e;
  RETURN QUERY SELECT * FROM unnest(changed);
END
$$;

-- Ends relationships as Atlas does: they stay, as deleted.
CREATE FUNCTION relationship_end(in_batch bigint, in_at tid[], in_user text) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  WITH ended AS (UPDATE relationship SET to_batch = in_batch WHERE ctid = ANY (in_at) RETURNING *)
  INSERT INTO relationship (relationship_id, from_batch, created_batch, guid, type, end1, end2, is_deleted, created_by,
                            updated_by, attributes, by_client)
  SELECT relationship_id, in_batch, created_batch, guid, type, end1, end2, true, created_by, in_user, attributes, by_client
  FROM ended;
END
$$;

-- Makes the relationships that are not there, and gives the others their attributes, if there are some. Before that: of
-- those that an entity is held to (type, its end, its id) it loses all that are not wanted; and where an end can have one
-- only (bit 0: the first, bit 1: the second), it loses the others. Gives the ends of all that
-- changed; of one that events have made and that would be ended, its type as well.
CREATE FUNCTION relationship_put(
  in_batch bigint, in_types text[], in_end1 bigint[], in_end2 bigint[], in_single bigint[],
  in_attributes text[], in_guids uuid[], in_held_types text[], in_held_ends bigint[], in_held_ids bigint[],
  in_user text
) RETURNS TABLE (out_end1 bigint, out_end2 bigint, out_of_events text)
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  ended tid[];
  other tid[];
BEGIN
  SELECT array_agg(r.at) INTO ended
  FROM (SELECT r.* FROM unnest(in_held_types, in_held_ends, in_held_ids) AS h(type, place, id)
        CROSS JOIN LATERAL (SELECT ctid AS at, end1, end2, h.type, is_deleted FROM relationship
                            WHERE h.place = 0 AND end1 = h.id AND type = h.type AND to_batch IS NULL
                            UNION ALL
                            SELECT ctid AS at, end1, end2, h.type, is_deleted FROM relationship
                            WHERE h.place = 1 AND end2 = h.id AND type = h.type AND to_batch IS NULL
                            OFFSET 0) AS r
        WHERE NOT r.is_deleted) AS r
  LEFT JOIN unnest(in_types, in_end1, in_end2) AS w(type, end1, end2) USING (type, end1, end2)
  WHERE w.type IS NULL;

  SELECT array_agg(DISTINCT r.at) INTO other
  FROM unnest(in_types, in_end1, in_end2, in_single) AS w(type, end1, end2, single)
  CROSS JOIN LATERAL (SELECT ctid AS at, is_deleted FROM relationship
                      WHERE w.single & 1 = 1 AND end1 = w.end1 AND type = w.type AND end2 <> w.end2 AND to_batch IS NULL
                      UNION ALL
                      SELECT ctid AS at, is_deleted FROM relationship
                      WHERE w.single & 2 = 2 AND end2 = w.end2 AND type = w.type AND end1 <> w.end1 AND to_batch IS NULL
                      OFFSET 0) AS r
  WHERE w.single > 0 AND NOT r.is_deleted;
  ended := ARRAY(SELECT DISTINCT unnest(ended || other));
  IF cardinality(ended) > 0 THEN
    RETURN QUERY SELECT r.end1, r.end2, CASE WHEN NOT r.by_client THEN r.type END FROM relationship AS r
                 WHERE r.ctid = ANY (ended);
    PERFORM relationship_end(in_batch, ended, in_user);
  END IF;

  IF array_remove(in_attributes, NULL) <> '{}' THEN
    ended := ARRAY(SELECT r.at FROM unnest(in_types, in_end1, in_end2, in_attributes) AS w(type, end1, end2, attributes)
                   CROSS JOIN LATERAL (SELECT ctid AS at, attributes FROM relationship
                                       WHERE type = w.type AND end1 = w.end1 AND end2 = w.end2 AND NOT is_deleted
                                         AND to_batch IS NULL OFFSET 0) AS r
                   WHERE w.attributes IS NOT NULL AND r.attributes IS DISTINCT FROM w.attributes::jsonb);
    RETURN QUERY
      WITH old AS (UPDATE relationship AS r SET to_batch = in_batch WHERE r.ctid = ANY (ended) RETURNING r.*)
      INSERT INTO relationship AS n (relationship_id, from_batch, created_batch, guid, type, end1, end2, created_by,
                                     updated_by, attributes, by_client)
      SELECT old.relationship_id, in_batch, old.created_batch, old.guid, old.type, old.end1, old.end2, old.created_by,
             in_user, w.attributes::jsonb, old.by_client
      FROM old JOIN unnest(in_types, in_end1, in_end2, in_attributes) AS w(type, end1, end2, attributes)
        USING (type, end1, end2)
      RETURNING n.end1, n.end2, NULL::text;
  END IF;

  RETURN QUERY
    INSERT INTO relationship AS n (relationship_id, from_batch, created_batch, guid, type, end1, end2, created_by,
                                   updated_by, attributes, by_client)
    SELECT nextval('relationship_number'), in_batch, in_batch, coalesce(w.guid, gen_random_uuid()), w.type, w.end1, w.end2,
           in_user, in_user, w.attributes::jsonb, true
    FROM unnest(in_types, in_end1, in_end2, in_attributes, in_guids) AS w(type, end1, end2, attributes, guid)
    ON CONFLICT (type, end1, end2) WHERE to_batch IS NULL AND NOT is_deleted DO NOTHING
    RETURNING n.end1, n.end2, NULL::text;
END
$$;

-- Deletes entities, and what they own: in_owners are the compositions and the end of each at which the owner is. Their
-- relationships are ended. Gives what it deleted, the owners first; more than in_max is an error.
CREATE FUNCTION entity_remove(
  in_batch bigint, in_ids bigint[], in_owners text[], in_owner_ends bigint[], in_max int, in_user text
) RETURNS SETOF bigint LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  gone  bigint[] := '{}';
  wave  bigint[] := ARRAY(SELECT w.id FROM (SELECT id, min(place) AS place FROM unnest(in_ids) WITH ORDINALITY AS w(id, place)
                                            GROUP BY id) AS w
                          CROSS JOIN LATERAL (SELECT is_deleted FROM entity WHERE entity_id = w.id
                                              ORDER BY from_batch DESC LIMIT 1) AS e
                          WHERE NOT e.is_deleted
                          ORDER BY w.place);
  ended tid[];
BEGIN
  WHILE cardinality(wave) > 0 LOOP
    gone := gone || wave;
    IF cardinality(gone) > in_max THEN
      RAISE EXCEPTION 'more than % entities would be deleted at once', in_max USING ERRCODE = 'program_limit_exceeded';
    END IF;
    wave := ARRAY(
      SELECT DISTINCT r.other
      FROM unnest(wave) AS w(id) CROSS JOIN unnest(in_owners, in_owner_ends) AS o(type, place)
      CROSS JOIN LATERAL (SELECT end2 AS other, is_deleted FROM relationship
                          WHERE o.place = 0 AND end1 = w.id AND type = o.type AND to_batch IS NULL
                          UNION ALL
                          SELECT end1, is_deleted FROM relationship
                          WHERE o.place = 1 AND end2 = w.id AND type = o.type AND to_batch IS NULL
                          OFFSET 0) AS r
      CROSS JOIN LATERAL (SELECT is_deleted FROM entity WHERE entity_id = r.other ORDER BY from_batch DESC LIMIT 1) AS e
      LEFT JOIN unnest(gone) AS g(id) ON g.id = r.other
      WHERE g.id IS NULL AND NOT r.is_deleted AND NOT e.is_deleted
      ORDER BY 1);
  END LOOP;

  WITH ended AS (
    UPDATE entity SET to_batch = in_batch
    WHERE ctid = ANY (ARRAY(SELECT e.at FROM unnest(gone) AS w(id)
                            CROSS JOIN LATERAL (SELECT ctid AS at FROM entity WHERE entity_id = w.id
                                                ORDER BY from_batch DESC LIMIT 1) AS e))
    RETURNING *)
  INSERT INTO entity (entity_id, from_batch, created_batch, guid, type, qualified_name, is_deleted, is_incomplete,
                      created_by, updated_by, attributes, from_events, by_clients)
  SELECT entity_id, in_batch, created_batch, guid, type, qualified_name, true, is_incomplete, created_by, in_user, attributes,
         from_events, by_clients
  FROM ended;
  INSERT INTO entity_audit (entity_id, batch_id, action, user_name)
  SELECT w.id, in_batch, 'ENTITY_DELETE', in_user FROM unnest(gone) AS w(id);

  ended := ARRAY(SELECT DISTINCT r.at FROM unnest(gone) AS w(id)
                 CROSS JOIN LATERAL (SELECT ctid AS at, is_deleted FROM relationship
                                     WHERE end1 = w.id AND to_batch IS NULL
                                     UNION ALL
                                     SELECT ctid, is_deleted FROM relationship
                                     WHERE end2 = w.id AND to_batch IS NULL OFFSET 0) AS r
                 WHERE NOT r.is_deleted);
  IF cardinality(ended) > 0 THEN
    PERFORM relationship_end(in_batch, ended, in_user);
  END IF;
  RETURN QUERY SELECT * FROM unnest(gone);
END
$$;

-- ------------------------------------------------------------------------------------------------ others

-- As in 007, with the names that entities have.
CREATE OR REPLACE FUNCTION outbox_references(in_ids bigint[])
RETURNS TABLE (holder bigint, relationship_id bigint, relationship text, place int, entity_id bigint, type text,
               qualified_name text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  one  bigint;
  kind text;
BEGIN
  FOREACH one IN ARRAY in_ids LOOP
    FOREACH kind IN ARRAY ARRAY['dataset_process_inputs', 'process_dataset_outputs'] LOOP
      RETURN QUERY
        SELECT one, r.relationship_id, r.type, 0, other.entity_id, other.type,
               entity_name(other.qualified_name, other.attributes)
        FROM relationship AS r
        CROSS JOIN LATERAL (SELECT * FROM entity AS e WHERE e.entity_id = r.end2 ORDER BY e.from_batch DESC LIMIT 1) AS other
        WHERE r.end1 = one AND r.type = kind AND r.to_batch IS NULL AND NOT r.is_deleted AND NOT other.is_deleted;
    END LOOP;
    FOREACH kind IN ARRAY ARRAY['ml_project_model_build', 'ml_build_deployment'] LOOP
      RETURN QUERY
        SELECT one, r.relationship_id, r.type, 1, other.entity_id, other.type,
               entity_name(other.qualified_name, other.attributes)
        FROM relationship AS r
        CROSS JOIN LATERAL (SELECT * FROM entity AS e WHERE e.entity_id = r.end1 ORDER BY e.from_batch DESC LIMIT 1) AS other
        WHERE r.end2 = one AND r.type = kind AND r.to_batch IS NULL AND NOT r.is_deleted AND NOT other.is_deleted;
    END LOOP;
  END LOOP;
END
$$;
