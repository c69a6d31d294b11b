-- Plumbline 007: lineage messages for others that keep a graph.

-- Written in the transaction that changes the graph and numbered under its lock: the order of numbers is that of commits.
CREATE SEQUENCE outbox_number;

CREATE TABLE outbox (
  number       bigint      PRIMARY KEY,
  batch_id     bigint      NOT NULL,
  recorded_at  timestamptz NOT NULL,
  key          text        NOT NULL, -- the project's CRN: messages of a key stay in their order
  bytes        int         NOT NULL, -- of the notification
  notification text        NOT NULL  -- what an Atlas hook would say, without its envelope
);

-- published: a broker has all up to this number. removed: they are no longer here. sender begins the ids of messages that
-- are packed, so that those of two databases are never taken for parts of one. relayed_at: about when a daemon was last
-- the one that publishes, null: none ever was; not every daemon of a database need be told of brokers.
CREATE TABLE outbox_position (
  only_row   boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
  published  bigint      NOT NULL,
  removed    bigint      NOT NULL,
  sender     uuid        NOT NULL,
  relayed_at timestamptz
);
INSERT INTO outbox_position (published, removed, sender) VALUES (0, 0, gen_random_uuid());

-- The next messages behind a number: not more of them than in_rows, nor than in_bytes but for the first.
CREATE FUNCTION outbox_page(in_after bigint, in_rows bigint, in_bytes bigint)
RETURNS TABLE (number bigint, key text, recorded_at timestamptz, notification text) LANGUAGE sql STABLE AS $$
  SELECT m.number, m.key, m.recorded_at, m.notification
  FROM (SELECT o.*, sum(o.bytes) OVER (ORDER BY o.number) AS bytes_so_far, row_number() OVER (ORDER BY o.number) AS place
        FROM (SELECT * FROM outbox AS o WHERE o.number > in_after ORDER BY o.number LIMIT in_rows) AS o) AS m
  WHERE m.place = 1 OR m.bytes_so_far <= in_bytes
  ORDER BY m.number
$$;

-- The last message that may go of the first in_rows: from before in_before and published, or nobody is going to publish it
-- (in_publishes: somebody is), or one of too many. Null: there is none.
CREATE FUNCTION outbox_last_to_remove(in_before timestamptz, in_publishes boolean, in_max bigint, in_rows int)
RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT max(o.number)
  FROM outbox_position AS p, (SELECT max(o.number) AS number FROM outbox AS o) AS newest,
       (SELECT * FROM outbox AS o ORDER BY o.number LIMIT in_rows) AS o
  WHERE o.number <= newest.number - in_max
     OR o.recorded_at < in_before AND (NOT in_publishes OR o.number <= p.published)
$$;

-- Removes what may go. Somebody publishes: the caller does, or some daemon did within the last week. dropped: of what is
-- removed, those that were still to be published, where somebody ever was to do so.
CREATE FUNCTION outbox_remove(in_before timestamptz, in_publishes boolean, in_max bigint, in_rows int,
                              OUT removed bigint, OUT dropped bigint) LANGUAGE plpgsql AS $$
DECLARE
  publishes boolean;
  stands    outbox_position;
  last      bigint;
BEGIN
  removed := 0;
  dropped := 0;
  SELECT in_publishes OR coalesce(p.relayed_at > clock_timestamp() - interval '7 days', false) INTO publishes
  FROM outbox_position AS p;
  IF outbox_last_to_remove(in_before, publishes, in_max, in_rows) IS NULL THEN
    RETURN; -- as nearly always; nobody waited for a lock
  END IF;
  SELECT * INTO stands FROM outbox_position FOR UPDATE;
  last := outbox_last_to_remove(in_before, publishes, in_max, in_rows);
  IF last IS NULL THEN
    RETURN;
  END IF;
  WITH gone AS (DELETE FROM outbox AS o WHERE o.number <= last RETURNING o.number)
  SELECT count(*), count(*) FILTER (WHERE (in_publishes OR stands.relayed_at IS NOT NULL) AND gone.number > stands.published)
  INTO removed, dropped FROM gone;
  UPDATE outbox_position AS p SET removed = last, published = greatest(p.published, CASE WHEN dropped > 0 THEN last ELSE 0 END);
END
$$;

-- What follows looks up one thing at a time, by the whole front of an index: a batch is in a hurry, and what a plan for many
-- entities thinks of tables that have just been filled is wrong. An entity's version that stands is its last one.

CREATE FUNCTION outbox_is_linked(in_batch bigint, in_id bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM relationship AS r WHERE r.end1 = in_id AND r.type = 'dataset_process_inputs'
                 AND r.to_batch IS NULL AND r.from_batch = in_batch)
      OR EXISTS (SELECT FROM relationship AS r WHERE r.end1 = in_id AND r.type = 'process_dataset_outputs'
                 AND r.to_batch IS NULL AND r.from_batch = in_batch)
      OR EXISTS (SELECT FROM relationship AS r WHERE r.end2 = in_id AND r.type = 'ml_project_model_build'
                 AND r.to_batch IS NULL AND r.from_batch = in_batch)
      OR EXISTS (SELECT FROM relationship AS r WHERE r.end2 = in_id AND r.type = 'ml_build_deployment'
                 AND r.to_batch IS NULL AND r.from_batch = in_batch)
$$;

-- The entities that are there, each with its subject: what a process makes, and anything else itself.
CREATE FUNCTION outbox_subjects(in_batch bigint, in_ids bigint[])
RETURNS TABLE (entity_id bigint, subject bigint, is_changed boolean)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  one    bigint;
  stands entity;
BEGIN
  FOREACH one IN ARRAY in_ids LOOP
    SELECT * INTO stands FROM entity AS e WHERE e.entity_id = one ORDER BY e.from_batch DESC LIMIT 1;
    CONTINUE WHEN stands.is_deleted;
    SELECT r.end2 INTO subject FROM relationship AS r
    WHERE r.end1 = one AND r.type = 'process_dataset_outputs' AND r.to_batch IS NULL AND NOT r.is_deleted
    ORDER BY r.relationship_id LIMIT 1;
    subject := coalesce(subject, one);
    entity_id := one;
    is_changed := stands.from_batch = in_batch OR outbox_is_linked(in_batch, one);
    RETURN NEXT;
  END LOOP;
END
$$;

-- Of the entities those that are to be told: what the batch has changed, or the edges that it is told with, and what has the
-- same subject. key_name is the name of its project, as far as one is known.
CREATE FUNCTION outbox_changed(in_batch bigint, in_ids bigint[])
RETURNS TABLE (entity_id bigint, type text, attributes jsonb, user_name text, is_new boolean, is_changed boolean,
               subject bigint, subject_type text, key_name text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  build   bigint;
  project bigint;
BEGIN
  FOR entity_id, subject, is_changed IN
    SELECT s.entity_id, s.subject, s.is_changed
    FROM (SELECT s.*, bool_or(s.is_changed) OVER (PARTITION BY s.subject) AS is_told
          FROM outbox_subjects(in_batch, in_ids) AS s) AS s
    WHERE s.is_told
  LOOP
    SELECT r.end1 INTO build FROM relationship AS r
    WHERE r.end2 = subject AND r.type = 'ml_build_deployment' AND r.to_batch IS NULL AND NOT r.is_deleted
    ORDER BY r.relationship_id LIMIT 1;
    SELECT r.end1 INTO project FROM relationship AS r
    WHERE r.end2 = coalesce(build, subject) AND r.type = 'ml_project_model_build' AND r.to_batch IS NULL
      AND NOT r.is_deleted
    ORDER BY r.relationship_id LIMIT 1;
    SELECT e.qualified_name INTO key_name FROM entity AS e
    WHERE e.entity_id = coalesce(project, build, subject) ORDER BY e.from_batch DESC LIMIT 1;
    SELECT e.type INTO subject_type FROM entity AS e
    WHERE e.entity_id = outbox_changed.subject ORDER BY e.from_batch DESC LIMIT 1;
    SELECT e.type, e.attributes, e.updated_by, e.created_batch = in_batch INTO type, attributes, user_name, is_new
    FROM entity AS e WHERE e.entity_id = outbox_changed.entity_id ORDER BY e.from_batch DESC LIMIT 1;
    RETURN NEXT;
  END LOOP;
END
$$;

-- What the entities refer to when they are told: a process to what it reads and makes, a build to its project, a deployment
-- to its build. place: the end of the relationship at which the holder is.
CREATE FUNCTION outbox_references(in_ids bigint[])
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
        SELECT one, r.relationship_id, r.type, 0, other.entity_id, other.type, other.qualified_name
        FROM relationship AS r
        CROSS JOIN LATERAL (SELECT * FROM entity AS e WHERE e.entity_id = r.end2 ORDER BY e.from_batch DESC LIMIT 1) AS other
        WHERE r.end1 = one AND r.type = kind AND r.to_batch IS NULL AND NOT r.is_deleted AND NOT other.is_deleted;
    END LOOP;
    FOREACH kind IN ARRAY ARRAY['ml_project_model_build', 'ml_build_deployment'] LOOP
      RETURN QUERY
        SELECT one, r.relationship_id, r.type, 1, other.entity_id, other.type, other.qualified_name
        FROM relationship AS r
        CROSS JOIN LATERAL (SELECT * FROM entity AS e WHERE e.entity_id = r.end1 ORDER BY e.from_batch DESC LIMIT 1) AS other
        WHERE r.end2 = one AND r.type = kind AND r.to_batch IS NULL AND NOT r.is_deleted AND NOT other.is_deleted;
    END LOOP;
  END LOOP;
END
$$;
