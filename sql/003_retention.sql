-- Plumbline 003: retention. Whole partitions are dropped; no row is deleted by itself.
--
--   horizon_move()     from now on nothing is taken that lies before the horizon
--   horizon_passed()   no transaction is left that may have seen the older one
--   partition_drop()   the tables of one partition before the horizon go

-- ------------------------------------------------------------------------------------------------ the horizon

-- What begins before `at` is dropped or will be: 'event' events, 'rollup_...' the windows of that table. No row: everything
-- is kept. `at` is a bound of partitions and never moves back.
CREATE TABLE retention_horizon (
  family text        PRIMARY KEY CHECK (family IN ('event', 'rollup_1m', 'rollup_1h', 'rollup_1d')),
  at     timestamptz NOT NULL,
  xid    xid8        NOT NULL -- of the transaction that moved it
);

-- In a transaction of its own, under the lock of batch_begin(), held until that transaction is over: then a batch whose
-- xid is larger sees the new horizon. False when it is there already, or when by the clock of this server what lies
-- before in_at is younger than in_keep_ms: two clocks have to agree before anything is given up.
CREATE FUNCTION horizon_move(in_family text, in_at timestamptz, in_keep_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF in_at > clock_timestamp() - in_keep_ms * interval '1 ms' THEN
    RETURN false;
  END IF;
  INSERT INTO retention_horizon AS h (family, at, xid) VALUES (in_family, in_at, pg_current_xact_id())
  ON CONFLICT (family) DO UPDATE SET at = excluded.at, xid = excluded.xid WHERE h.at < excluded.at;
  RETURN FOUND;
END
$$;

-- Where the horizon of a family is: -infinity when everything is kept.
CREATE FUNCTION horizon_at(in_family text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT coalesce((SELECT at FROM retention_horizon WHERE family = in_family), '-infinity')
$$;

-- Partitions before their horizon, once every transaction is over that began to write before the horizon moved.
CREATE VIEW partition_expired AS
  SELECT p.family, p.from_at, p.to_at, p.suffix
  FROM time_partition AS p JOIN retention_horizon AS h USING (family)
  WHERE p.to_at <= h.at AND h.xid < pg_snapshot_xmin(pg_current_snapshot());

-- A correction before the horizon changes no rollup: raw rows to count from are gone, or may be in a moment. Nor does
-- one in a database that keeps none.
CREATE OR REPLACE FUNCTION rollup_recount(in_batch bigint, in_deployment int, in_start timestamptz) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO rollup_delta (batch_id, deployment, window_at, recount, delta)
  SELECT in_batch, in_deployment, date_trunc('minute', in_start, 'UTC'), true, ''
  WHERE in_start >= horizon_at('event')
    AND NOT EXISTS (SELECT FROM setting WHERE name = 'rollups' AND value = 'false')
$$;

-- ------------------------------------------------------------------------------------------------ dropping

-- Drops the tables of one partition that has expired. 'dropped'; 'gone': somebody else did; 'waits': something has to
-- be counted from it or added to it first; 'held': a transaction that has been open for longer than in_hold_ms uses its
-- tables. A lock that is asked for stands in front of everybody who comes later, so it is asked for only when those
-- who have the tables will be gone in a moment, and with a short lock_timeout of the caller's.
CREATE FUNCTION partition_drop(in_family text, in_from timestamptz, in_hold_ms bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  parents text[] := partition_parents(in_family);
  expired partition_expired;
  tables  regclass[];
  parent  text;
BEGIN
  PERFORM pg_advisory_xact_lock(7236, 5);
  IF in_family = 'event' AND NOT pg_try_advisory_xact_lock(7236, 7) THEN
    RETURN 'waits'; -- labels_resolve() may be marking minutes, with an older snapshot
  END IF;
  SELECT * INTO expired FROM partition_expired WHERE family = in_family AND from_at = in_from;
  IF NOT FOUND THEN
    RETURN 'gone';
  END IF;
  IF EXISTS (SELECT FROM rollup_delta
             WHERE window_at < expired.to_at AND window_at >= expired.from_at AND (recount OR in_family <> 'event')) THEN
    RETURN 'waits';
  END IF;
  tables := ARRAY(SELECT to_regclass(format('%I', name))
                  FROM unnest(parents) AS p, unnest(ARRAY[p, p || '_' || expired.suffix]) AS name);
  IF EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
             WHERE l.relation = ANY (tables::oid[]) AND a.pid <> pg_backend_pid()
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND a.xact_start < clock_timestamp() - in_hold_ms * interval '1 ms') THEN
    RETURN 'held';
  END IF;
  FOREACH parent IN ARRAY parents LOOP
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent);
  END LOOP;
  FOREACH parent IN ARRAY parents LOOP
    EXECUTE format('DROP TABLE %I', parent || '_' || expired.suffix);
  END LOOP;
  DELETE FROM time_partition WHERE family = in_family AND from_at = in_from;
  RETURN 'dropped';
END
$$;

-- ------------------------------------------------------------------------------------------------ what can't be taken

-- What could not be taken and nobody waits for an answer to. source 'label': a label whose prediction never came.
CREATE TABLE rejected_event (
  rejected_event bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rejected_at    timestamptz NOT NULL DEFAULT now(),
  source         text        NOT NULL CHECK (source IN ('label', 'kafka', 'spool')),
  origin         json        NOT NULL, -- where it came from: what that is depends on the source
  code           text        NOT NULL, -- as in an answer's "rejected"
  message        text        NOT NULL,
  event          bytea       NOT NULL  -- its bytes
);

CREATE INDEX delayed_metric_waiting_age ON delayed_metric_waiting (recorded_at);

-- Gives up labels that have waited since before in_before, in_max at a time, once they were looked for everywhere. In
-- REPEATABLE READ: a prediction that comes at the same moment and takes one makes this fail with 40001.
CREATE FUNCTION labels_give_up(in_before timestamptz, in_max int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  given_up bigint;
BEGIN
  WITH old AS (
    SELECT uuid, batch_id, ordinal FROM delayed_metric_waiting WHERE recorded_at < in_before AND searched
    ORDER BY recorded_at LIMIT in_max
  ), taken AS (
    SELECT w.* FROM delayed_metric_waiting AS w JOIN old USING (uuid, batch_id, ordinal)
    ORDER BY w.uuid, w.batch_id, w.ordinal
    FOR UPDATE OF w SKIP LOCKED
  ), gone AS (
    DELETE FROM delayed_metric_waiting AS w USING taken AS t
    WHERE w.uuid = t.uuid AND w.batch_id = t.batch_id AND w.ordinal = t.ordinal
    RETURNING w.*
  ), noted AS (
    INSERT INTO rejected_event (source, origin, code, message, event)
    SELECT 'label',
           json_build_object('batch', batch_id, 'ordinal', ordinal,
                             'recordedMs', (extract(epoch FROM recorded_at) * 1000)::bigint),
           'no_prediction', 'no prediction with this predictionUuid has come since the label was stored',
           convert_to('{"event":"delayed_metrics","predictionUuid":"' || uuid || '",'
                      || coalesce('"eventId":"' || event_id || '",', '')
                      || coalesce('"startTimestampMs":' || (extract(epoch FROM hint_at) * 1000)::bigint || ',', '')
                      || '"metrics":' || metrics || '}', 'UTF8')
    FROM gone ORDER BY batch_id, ordinal
    RETURNING 1
  )
  SELECT count(*) INTO given_up FROM noted;
  RETURN given_up;
END
$$;
