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

-- The same for batches of events. Their times have the order of their numbers, so that no index of the times is needed.
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
