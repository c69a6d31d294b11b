-- Plumbline 010: the graph as it stood at a moment.

-- The last batch of a moment. Numbers, times and commits of the graph's batches have one order.
CREATE INDEX graph_batch_recorded ON graph_batch (recorded_at, batch_id);

-- Versions that have ended. Nobody asks for them often, and they enter when they end.
CREATE INDEX entity_name_past ON entity (type, qualified_name) WHERE to_batch IS NOT NULL AND NOT is_deleted;
CREATE INDEX relationship_end1_past ON relationship (end1, type, relationship_id) WHERE to_batch IS NOT NULL;
CREATE INDEX relationship_end2_past ON relationship (end2, type, relationship_id) WHERE to_batch IS NOT NULL;

-- The last batch of the graph that was recorded by the end of this millisecond, 0 when there is none. In a transaction of
-- its own. Where nothing that is later is known a batch of that time may be on its way: it holds the graph lock from before
-- it takes its time until it is committed, so who gets that lock after it sees it, and whoever comes then is later.
CREATE FUNCTION graph_batch_at(in_ms bigint) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
DECLARE
  behind timestamptz := timestamptz 'epoch' + (in_ms + 1) * interval '1 millisecond';
BEGIN
  IF NOT EXISTS (SELECT FROM graph_batch WHERE recorded_at >= behind) THEN
    PERFORM pg_advisory_xact_lock_shared(7236, 4);
  END IF;
  RETURN coalesce((SELECT batch_id FROM graph_batch WHERE recorded_at < behind
                   ORDER BY recorded_at DESC, batch_id DESC LIMIT 1), 0);
END
$$;

-- Before which transactions may have a batch of events of that moment: for ingest_settle. In a transaction of its own, as
-- it may need a number. Time, number and transaction are given together, under this lock. Of a moment to come it is those
-- that have begun.
CREATE FUNCTION ingest_settle_before(in_ms bigint) RETURNS xid8 LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
DECLARE
  behind timestamptz := timestamptz 'epoch' + (in_ms + 1) * interval '1 millisecond';
  later  xid8 := (SELECT xid FROM ingest_batch WHERE batch_id > ingest_batch_at(in_ms) ORDER BY batch_id LIMIT 1);
BEGIN
  IF later IS NOT NULL THEN
    RETURN later;
  END IF;
  IF behind - clock_timestamp() BETWEEN interval '0' AND interval '1 second' THEN
    PERFORM pg_sleep(extract(epoch FROM behind - clock_timestamp()));
  END IF;
  PERFORM pg_advisory_xact_lock_shared(7236, 1);
  RETURN pg_current_xact_id();
END
$$;

-- Waits until they are over; 55P03 when that takes too long. Not in a transaction: each look is a snapshot of its own.
CREATE FUNCTION ingest_settle(in_before xid8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  until_at timestamptz := clock_timestamp() + interval '10 seconds';
BEGIN
  WHILE pg_snapshot_xmin(pg_current_snapshot()) < in_before LOOP
    IF clock_timestamp() > until_at THEN
      RAISE EXCEPTION 'a transaction of that time, or before it, is still under way' USING ERRCODE = 'lock_not_available';
    END IF;
    PERFORM pg_sleep(0.005);
  END LOOP;
END
$$;

-- The last batch of events that was recorded by the end of this millisecond. Their times have the order of their numbers, so that no index of the times is needed.
CREATE FUNCTION ingest_batch_at(in_ms bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
  behind timestamptz := timestamptz 'epoch' + (in_ms + 1) * interval '1 millisecond';
  low    bigint := 0; -- recorded by then, as are all before it
  high   bigint := coalesce((SELECT batch_id FROM ingest_batch ORDER BY batch_id DESC LIMIT 1), 0) + 1; -- not so
  middle bigint;
  next   record;
BEGIN
  WHILE high - low > 1 LOOP
    middle := low + (high - low) / 2;
    SELECT batch_id, recorded_at INTO next FROM ingest_batch
    WHERE batch_id >= middle AND batch_id < high ORDER BY batch_id LIMIT 1;
    IF FOUND AND next.recorded_at < behind THEN
      low := next.batch_id;
    ELSE
      high := middle;
    END IF;
  END LOOP;
  RETURN low;
END
$$;
