-- Plumbline 001: batches and their books, the catalog, predictions, labels, aggregates, lineage events.
--
-- Everything that is stored carries (batch_id, ordinal): the batch that committed it and its place in it.
-- PostgreSQL 13 or later, UTF-8, no extension.

-- What is fixed when the database is made.
CREATE TABLE setting (
  name  text PRIMARY KEY,
  value text NOT NULL
);

-- Which time ranges have their partitions. 'event': prediction, delayed_metric and aggregate_metric, by start_at;
-- 'ledger': ingest_batch, by formed_at; 'rollup_...': the table of that name, by window_at. A row enters in the transaction that makes the tables.
CREATE TABLE time_partition (
  family  text NOT NULL CHECK (family IN ('event', 'ledger', 'rollup_1m', 'rollup_1h', 'rollup_1d')),
  from_at timestamptz NOT NULL,
  to_at   timestamptz NOT NULL CHECK (to_at > from_at),
  suffix  text NOT NULL,
  PRIMARY KEY (family, from_at)
);

-- The tables that a family's time ranges partition.
CREATE FUNCTION partition_parents(in_family text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE in_family
    WHEN 'event' THEN ARRAY['prediction', 'delayed_metric', 'aggregate_metric']
    WHEN 'ledger' THEN ARRAY['ingest_batch']
    ELSE ARRAY[in_family] END
$$;

-- Makes the partitions of one time range: false when there are in_max already, null when it lies before the horizon of
-- events (003). Rollups may still have to take what was accepted before theirs moved. A table is made apart and then attached, because CREATE TABLE ... PARTITION OF would wait for, and
-- stand in front of, every reader of the parent.
CREATE FUNCTION partition_make(in_family text, in_from timestamptz, in_to timestamptz, in_max int)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  the_suffix text := to_char(in_from AT TIME ZONE 'UTC', '"p"YYYYMMDD');
  parent     text;
BEGIN
  PERFORM pg_advisory_xact_lock(7236, 5);
  IF EXISTS (SELECT FROM time_partition WHERE family = in_family AND from_at = in_from) THEN
    RETURN true;
  END IF;
  IF in_family = 'event' AND in_from < horizon_at('event') THEN
    RETURN NULL;
  END IF;
  IF (SELECT count(*) FROM time_partition WHERE family = in_family) >= in_max THEN
    RETURN false;
  END IF;
  INSERT INTO time_partition (family, from_at, to_at, suffix) VALUES (in_family, in_from, in_to, the_suffix);
  FOREACH parent IN ARRAY partition_parents(in_family) LOOP
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', parent || '_' || the_suffix, parent);
    IF in_family LIKE 'rollup%' THEN -- rows are updated, no index changes: room for the next version beside them
      EXECUTE format('ALTER TABLE %I SET (fillfactor = 60)', parent || '_' || the_suffix);
    END IF;
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, parent || '_' || the_suffix, in_from, in_to);
  END LOOP;
  RETURN true;
END
$$;

-- The time that those partitions of `in_parent` span, in milliseconds since 1970, that hold rows and overlap
-- [in_from, in_to]. A partition without a page has none; those made ahead are like that.
CREATE FUNCTION partition_span(
  in_parent text, in_from timestamptz, in_to timestamptz,
  OUT out_partitions bigint, OUT out_from_ms bigint, OUT out_to_ms bigint
) LANGUAGE sql STABLE AS $$
  SELECT count(*),
         coalesce((extract(epoch FROM min(from_at)) * 1000)::bigint, 0),
         coalesce((extract(epoch FROM max(to_at)) * 1000)::bigint, 0)
  FROM time_partition
  WHERE family = 'event' AND to_at > in_from AND from_at <= in_to
    AND pg_relation_size(to_regclass(format('%I', in_parent || '_' || suffix))) > 0
$$;

-- ------------------------------------------------------------------------------------------------ batches

CREATE SEQUENCE batch_number;             -- batch_id
CREATE SEQUENCE batch_clock MINVALUE 0;   -- the last recorded_at, in microseconds since 1970: it never steps back

-- The ledger. Counts are arrays over the kinds of events, in the order of event_kind().
-- formed_at is when the batch was first formed; like batch_key it stays over every attempt to commit it, so that
-- both together are unique although the table is partitioned.
CREATE TABLE ingest_batch (
  batch_id    bigint      NOT NULL,
  xid         xid8        NOT NULL,
  recorded_at timestamptz NOT NULL,
  formed_at   timestamptz NOT NULL,
  batch_key   uuid        NOT NULL,
  source      text        NOT NULL CHECK (source IN ('http', 'kafka', 'spool')),
  received    int[]       NOT NULL,
  accepted    int[]       NOT NULL,
  duplicate   int[]       NOT NULL,
  rejected    int[]       NOT NULL,
  PRIMARY KEY (batch_key, formed_at)
) PARTITION BY RANGE (formed_at);

CREATE INDEX ingest_batch_number ON ingest_batch (batch_id);

-- Kind of event at each place of the arrays above.
CREATE FUNCTION event_kind(place int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['track_metrics', 'delayed_metrics', 'aggregate_metrics', 'model_deployed', 'unknown'])[place]
$$;

-- Daily totals (UTC day of recorded_at), kept for ever; settled batches up to ledger_position are in them.
CREATE TABLE ingest_total (
  day       date   NOT NULL,
  kind      text   NOT NULL,
  received  bigint NOT NULL,
  accepted  bigint NOT NULL,
  duplicate bigint NOT NULL,
  rejected  bigint NOT NULL,
  batches   bigint NOT NULL,
  PRIMARY KEY (day, kind)
);

CREATE TABLE ledger_position (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  batch_id bigint NOT NULL
);
INSERT INTO ledger_position (batch_id) VALUES (0);

-- Begins a batch: xid, batch_id and recorded_at are taken together under one short lock, so that the three have
-- one order; then batch_key goes in. An earlier attempt that is still committing makes the insert wait; 23505 says
-- that it did commit. labels_wait: there are labels waiting for their predictions. horizon_ms: of events (003), read
-- after the xid was taken; null: there is none.
CREATE FUNCTION batch_begin(
  in_key uuid, in_formed_at timestamptz, in_source text,
  in_received int[], in_accepted int[], in_duplicate int[], in_rejected int[],
  OUT out_batch_id bigint, OUT out_labels_wait boolean, OUT out_horizon_ms bigint
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  the_xid xid8;
  now_us  bigint;
BEGIN
  PERFORM pg_advisory_lock(7236, 1);
  the_xid := pg_current_xact_id();
  out_batch_id := nextval('batch_number');
  now_us := greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                     (SELECT last_value FROM batch_clock));
  PERFORM setval('batch_clock', now_us);
  PERFORM pg_advisory_unlock(7236, 1);
  INSERT INTO ingest_batch (batch_id, xid, recorded_at, formed_at, batch_key, source,
                            received, accepted, duplicate, rejected)
  VALUES (out_batch_id, the_xid, timestamptz 'epoch' + now_us * interval '1 microsecond', in_formed_at, in_key,
          in_source, in_received, in_accepted, in_duplicate, in_rejected);
  out_labels_wait := EXISTS (SELECT FROM delayed_metric_waiting);
  out_horizon_ms := (SELECT (extract(epoch FROM at) * 1000)::bigint FROM retention_horizon WHERE family = 'event');
END
$$;

-- The largest batch whose transaction, and that of every batch before it, is over: what a paged read shows up to.
CREATE FUNCTION settled_batch() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT batch_id FROM ingest_batch
                   WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
                   ORDER BY batch_id DESC LIMIT 1), 0)
$$;

-- The books, by kind: daily totals and what has come since.
CREATE VIEW ingest_balance AS
  SELECT kind,
         sum(received)::bigint AS received, sum(accepted)::bigint AS accepted,
         sum(duplicate)::bigint AS duplicate, sum(rejected)::bigint AS rejected
  FROM (SELECT kind, received, accepted, duplicate, rejected FROM ingest_total
        UNION ALL
        SELECT event_kind(place), received[place], accepted[place], duplicate[place], rejected[place]
        FROM ingest_batch, generate_series(1, 5) AS place
        WHERE batch_id > (SELECT batch_id FROM ledger_position)) AS counts
  GROUP BY kind;

-- ------------------------------------------------------------------------------------------------ catalog

-- Deployments, made at first sight. declared: the CRNs are what model_deployed said, metrics no longer fill them in.
CREATE TABLE model_deployment (
  deployment          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  crn                 text NOT NULL UNIQUE,
  build_crn           text,
  model_crn           text,
  project_crn         text,
  model_deployment_id bigint,
  declared            boolean NOT NULL DEFAULT false,
  first_seen_at       timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX model_deployment_build ON model_deployment (build_crn);
CREATE INDEX model_deployment_model ON model_deployment (model_crn);
CREATE INDEX model_deployment_number ON model_deployment (model_deployment_id);

-- Adds the deployments that are not there yet, as far as in_max allows, and fills in the CRNs that nobody has said
-- yet (the first event that names one wins). One row for each that is known afterwards.
CREATE FUNCTION catalog_ensure(in_crns text[], in_builds text[], in_models text[], in_max int)
RETURNS TABLE (out_deployment int, out_crn text, out_complete boolean) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7236, 6);
  INSERT INTO model_deployment (crn)
  SELECT DISTINCT given FROM unnest(in_crns) AS given
  WHERE NOT EXISTS (SELECT FROM model_deployment WHERE crn = given)
  ORDER BY given
  LIMIT greatest(0, in_max - (SELECT count(*) FROM model_deployment));

  UPDATE model_deployment AS d
  SET build_crn = coalesce(d.build_crn, given.build), model_crn = coalesce(d.model_crn, given.model)
  FROM (SELECT g.crn, (array_agg(g.build ORDER BY place) FILTER (WHERE g.build IS NOT NULL))[1] AS build,
               (array_agg(g.model ORDER BY place) FILTER (WHERE g.model IS NOT NULL))[1] AS model
        FROM unnest(in_crns, in_builds, in_models) WITH ORDINALITY AS g(crn, build, model, place)
        GROUP BY g.crn) AS given
  WHERE d.crn = given.crn AND NOT d.declared
    AND (d.build_crn IS NULL AND given.build IS NOT NULL OR d.model_crn IS NULL AND given.model IS NOT NULL);

  RETURN QUERY SELECT deployment, crn, declared OR build_crn IS NOT NULL AND model_crn IS NOT NULL
               FROM model_deployment WHERE crn = ANY (in_crns);
END
$$;

-- ------------------------------------------------------------------------------------------------ metrics

-- A prediction is (uuid, deployment, start_at): that is its identity, and it is never updated.
-- metrics is json, not jsonb: every token as it was posted.
CREATE TABLE prediction (
  batch_id   bigint      NOT NULL,
  start_at   timestamptz NOT NULL,
  end_at     timestamptz NOT NULL,
  deployment int         NOT NULL,
  ordinal    int         NOT NULL,
  uuid       uuid        NOT NULL,
  failed     boolean     NOT NULL,
  replica    text,
  metrics    json        NOT NULL,
  CONSTRAINT prediction_identity UNIQUE (uuid, deployment, start_at)
) PARTITION BY RANGE (start_at);

-- Reads follow insertion; start_at is in the index so that a window is found without visiting the rows outside it.
CREATE INDEX prediction_insertion ON prediction (deployment, batch_id, ordinal, start_at);

-- Labels whose prediction is known. revision: how many labels the prediction had before; the highest wins.
CREATE TABLE delayed_metric (
  batch_id   bigint      NOT NULL,
  start_at   timestamptz NOT NULL,
  deployment int         NOT NULL,
  ordinal    int         NOT NULL,
  revision   int         NOT NULL,
  uuid       uuid        NOT NULL,
  event_id   uuid,
  metrics    json        NOT NULL,
  CONSTRAINT delayed_metric_revision UNIQUE (uuid, deployment, start_at, revision)
) PARTITION BY RANGE (start_at);

-- Labels that wait for their prediction, in order of arrival (batch_id, ordinal). searched: no stored prediction
-- has the uuid, so only one that is yet to come can take it, and that one's batch does.
CREATE TABLE delayed_metric_waiting (
  batch_id    bigint      NOT NULL,
  ordinal     int         NOT NULL,
  uuid        uuid        NOT NULL,
  event_id    uuid,
  hint_at     timestamptz,
  searched    boolean     NOT NULL DEFAULT false,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  metrics     json        NOT NULL,
  PRIMARY KEY (uuid, batch_id, ordinal)
);

CREATE UNIQUE INDEX delayed_metric_waiting_identity ON delayed_metric_waiting (uuid, event_id);
CREATE INDEX delayed_metric_waiting_unsearched ON delayed_metric_waiting (batch_id, ordinal) WHERE NOT searched;

CREATE TABLE aggregate_metric (
  batch_id   bigint      NOT NULL,
  start_at   timestamptz NOT NULL,
  end_at     timestamptz NOT NULL,
  deployment int         NOT NULL,
  ordinal    int         NOT NULL,
  event_id   uuid,
  replica    text,
  metrics    json        NOT NULL,
  CONSTRAINT aggregate_metric_identity UNIQUE (deployment, start_at, event_id)
) PARTITION BY RANGE (start_at);

CREATE INDEX aggregate_metric_insertion ON aggregate_metric (deployment, batch_id, ordinal, start_at);

-- For people with psql: jsonb, labels merged in (also those that still wait), an aggregate has no uuid.
CREATE VIEW metric AS
  SELECT d.crn AS model_deployment_crn, d.build_crn AS model_build_crn, d.model_crn,
         p.start_at, p.end_at, p.uuid AS prediction_uuid,
         p.metrics::jsonb || coalesce(
           (SELECT jsonb_object_agg(m.key, m.value ORDER BY l.waiting, l.place)
            FROM (SELECT 0 AS waiting, revision::bigint AS place, metrics FROM delayed_metric AS r
                  WHERE r.uuid = p.uuid AND r.deployment = p.deployment AND r.start_at = p.start_at
                  UNION ALL
                  SELECT 1, row_number() OVER (ORDER BY w.batch_id, w.ordinal), w.metrics
                  FROM delayed_metric_waiting AS w WHERE w.uuid = p.uuid) AS l,
                 jsonb_each(l.metrics::jsonb) AS m),
           '{}') AS metrics,
         p.failed, p.replica, p.batch_id, p.ordinal
  FROM prediction AS p JOIN model_deployment AS d USING (deployment)
  UNION ALL
  SELECT d.crn, d.build_crn, d.model_crn, a.start_at, a.end_at, NULL, a.metrics::jsonb, false, a.replica,
         a.batch_id, a.ordinal
  FROM aggregate_metric AS a JOIN model_deployment AS d USING (deployment);

-- Gives predictions that have just been written the labels that waited for them; in the predictions' transaction.
-- A label that was searched for takes the first of them with its uuid. One that was not is left to labels_resolve(), which
-- must then see these predictions: touching the row makes a resolver with an older snapshot start again.
CREATE FUNCTION labels_claim(in_uuids uuid[], in_deployments int[], in_starts_us bigint[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  claimed bigint;
BEGIN
  PERFORM FROM delayed_metric_waiting WHERE uuid = ANY (in_uuids) ORDER BY uuid, batch_id, ordinal FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  UPDATE delayed_metric_waiting SET searched = false WHERE uuid = ANY (in_uuids) AND NOT searched;
  WITH home AS (
    SELECT DISTINCT ON (uuid) uuid, deployment, timestamptz 'epoch' + start_us * interval '1 microsecond' AS start_at
    FROM unnest(in_uuids, in_deployments, in_starts_us) WITH ORDINALITY AS given(uuid, deployment, start_us, place)
    ORDER BY uuid, place
  ), taken AS (
    DELETE FROM delayed_metric_waiting AS w USING home AS h WHERE w.uuid = h.uuid AND w.searched
    RETURNING w.batch_id, w.ordinal, w.uuid, w.event_id, w.metrics, h.deployment, h.start_at
  ), written AS (
    INSERT INTO delayed_metric (batch_id, start_at, deployment, ordinal, revision, uuid, event_id, metrics)
    SELECT t.batch_id, t.start_at, t.deployment, t.ordinal,
           (SELECT count(*) FROM delayed_metric AS d
            WHERE d.uuid = t.uuid AND d.deployment = t.deployment AND d.start_at = t.start_at)
             + row_number() OVER (PARTITION BY t.uuid ORDER BY t.batch_id, t.ordinal) - 1,
           t.uuid, t.event_id, t.metrics
    FROM taken AS t
    ORDER BY t.start_at, t.uuid
    RETURNING batch_id, deployment, start_at
  ), recounted AS (
    SELECT rollup_recount(batch_id, deployment, start_at) FROM written
  )
  SELECT count(*) INTO claimed FROM recounted;
  RETURN claimed;
END
$$;

-- Looks for the predictions of labels that no look-up has found yet, in all partitions, in_max labels at a time, in order
-- of arrival. A label goes to the prediction that was inserted first. In REPEATABLE READ: a prediction that was
-- committed after the snapshot has touched the label, so this fails with 40001 and is done again.
CREATE FUNCTION labels_resolve(in_max int, OUT out_resolved bigint, OUT out_searched bigint) LANGUAGE plpgsql AS $$
DECLARE
  uuids uuid[];
BEGIN
  out_resolved := 0;
  out_searched := 0;
  IF NOT pg_try_advisory_xact_lock(7236, 7) THEN
    RETURN; -- another daemon is at it
  END IF;
  uuids := ARRAY(SELECT DISTINCT uuid
                 FROM (SELECT uuid FROM delayed_metric_waiting WHERE NOT searched
                       ORDER BY batch_id, ordinal LIMIT in_max) AS oldest);
  IF cardinality(uuids) = 0 THEN
    RETURN;
  END IF;
  PERFORM FROM delayed_metric_waiting WHERE uuid = ANY (uuids) ORDER BY uuid, batch_id, ordinal FOR UPDATE;
  WITH home AS (
    SELECT DISTINCT ON (uuid) uuid, deployment, start_at FROM prediction WHERE uuid = ANY (uuids)
    ORDER BY uuid, batch_id, ordinal
  ), taken AS (
    DELETE FROM delayed_metric_waiting AS w USING home AS h WHERE w.uuid = h.uuid
    RETURNING w.batch_id, w.ordinal, w.uuid, w.event_id, w.metrics, h.deployment, h.start_at
  ), written AS (
    INSERT INTO delayed_metric (batch_id, start_at, deployment, ordinal, revision, uuid, event_id, metrics)
    SELECT t.batch_id, t.start_at, t.deployment, t.ordinal,
           (SELECT count(*) FROM delayed_metric AS d
            WHERE d.uuid = t.uuid AND d.deployment = t.deployment AND d.start_at = t.start_at)
             + row_number() OVER (PARTITION BY t.uuid ORDER BY t.batch_id, t.ordinal) - 1,
           t.uuid, t.event_id, t.metrics
    FROM taken AS t
    ORDER BY t.start_at, t.uuid
    RETURNING batch_id, deployment, start_at
  ), recounted AS (
    SELECT rollup_recount(batch_id, deployment, start_at) FROM written
  )
  SELECT count(*) INTO out_resolved FROM recounted;
  UPDATE delayed_metric_waiting SET searched = true WHERE uuid = ANY (uuids) AND NOT searched;
  GET DIAGNOSTICS out_searched = ROW_COUNT;
END
$$;

-- Moves settled batches into the daily totals. In REPEATABLE READ, so that of two daemons one fails with 40001.
CREATE FUNCTION ledger_fold() RETURNS bigint LANGUAGE plpgsql AS $$
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
         sum(received[place]), sum(accepted[place]), sum(duplicate[place]), sum(rejected[place]), count(*)
  FROM ingest_batch, generate_series(1, 5) AS place
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

-- Every lineage event that was accepted, as posted. The same identity may stand here more than once: a later event
-- may supply members that were absent. Written under the graph lock.
CREATE TABLE lineage_event (
  batch_id bigint NOT NULL,
  ordinal  int    NOT NULL,
  kind     text   NOT NULL,
  identity text   NOT NULL,
  hash     bytea  NOT NULL, -- SHA-256 of the bytes posted
  warnings json   NOT NULL,
  event    json   NOT NULL,
  PRIMARY KEY (batch_id, ordinal)
);

CREATE INDEX lineage_event_identity ON lineage_event (kind, identity);
