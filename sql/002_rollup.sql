-- Plumbline 002: rollups. What each metric of each deployment looked like, by minute, hour and day of event time.
--
--   batch --> rollup_delta --> rollup_1m, and with it rollup_1h and rollup_1d
--
-- A delta says what one batch added to one minute of one deployment. Folding adds it to the three tables and removes
-- it in one transaction, so that rows and pending deltas together are exact at any moment. An hour is always the sum
-- of its minutes as they stand, a day that of its hours.

-- ------------------------------------------------------------------------------------------------ names

-- Metrics that are rolled up. Admitted by this row before the first batch that counts them, never removed: a metric is
-- counted from its first event on, or never.
CREATE TABLE metric_name (
  deployment  int    NOT NULL,
  metric      int    NOT NULL, -- from 3 within its deployment
  kind        text   NOT NULL CHECK (kind IN ('prediction', 'aggregate')),
  name        text   NOT NULL, -- keys joined by '.'
  first_batch bigint NOT NULL, -- no batch before it has the metric
  PRIMARY KEY (deployment, metric),
  UNIQUE (deployment, kind, name)
);

-- Metrics that every deployment has: 0 stands for its predictions (1 for a failed one, 0 for any other), 1 for its
-- aggregates, 2 for _latency_ms.

-- Once a name was refused for want of room the deployment takes no further names, so that all daemons agree for ever
-- on what is counted.
ALTER TABLE model_deployment ADD COLUMN metric_names_full boolean NOT NULL DEFAULT false;

-- Admits the names that are new, as far as in_max names a deployment allow. One row for each of them that is admitted
-- now; of a deployment that is full all its names, and a row with metric null.
CREATE FUNCTION metric_names_ensure(in_deployments int[], in_kinds text[], in_names text[], in_max int)
RETURNS TABLE (out_deployment int, out_metric int, out_kind text, out_name text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7236, 8);
  CREATE TEMP TABLE IF NOT EXISTS metric_name_new (
    deployment int, kind text, name text, place bigint, taken bigint) ON COMMIT DELETE ROWS;
  INSERT INTO metric_name_new
  SELECT g.deployment, g.kind, g.name, row_number() OVER (PARTITION BY g.deployment ORDER BY min(g.n)),
         (SELECT count(*) FROM metric_name AS m WHERE m.deployment = g.deployment)
  FROM unnest(in_deployments, in_kinds, in_names) WITH ORDINALITY AS g(deployment, kind, name, n)
  WHERE NOT EXISTS (SELECT FROM metric_name AS m
                    WHERE m.deployment = g.deployment AND m.kind = g.kind AND m.name = g.name)
  GROUP BY g.deployment, g.kind, g.name;

  INSERT INTO metric_name (deployment, metric, kind, name, first_batch)
  SELECT n.deployment, 2 + n.taken + n.place, n.kind, n.name, (SELECT last_value + 1 FROM batch_number)
  FROM metric_name_new AS n JOIN model_deployment AS d USING (deployment)
  WHERE n.taken + n.place <= in_max AND NOT d.metric_names_full;

  UPDATE model_deployment AS d SET metric_names_full = true
  WHERE NOT d.metric_names_full
    AND EXISTS (SELECT FROM metric_name_new AS n WHERE n.deployment = d.deployment AND n.taken + n.place > in_max);

  RETURN QUERY
  SELECT m.deployment, m.metric, m.kind, m.name
  FROM (SELECT DISTINCT * FROM unnest(in_deployments, in_kinds, in_names)) AS g(deployment, kind, name)
  JOIN metric_name AS m USING (deployment, kind, name)
  UNION ALL
  SELECT m.deployment, m.metric, m.kind, m.name
  FROM metric_name AS m JOIN model_deployment AS d USING (deployment)
  WHERE d.metric_names_full AND d.deployment = ANY (in_deployments)
  UNION ALL
  SELECT d.deployment, NULL, NULL, NULL FROM model_deployment AS d
  WHERE d.metric_names_full AND d.deployment = ANY (in_deployments);
END
$$;

-- ------------------------------------------------------------------------------------------------ rollups

-- state: include/metrics/rollup.h says what is in it. The other columns are read off it, for people with SQL; null
-- where there are no numbers, or where a sum is larger than a double.
CREATE TABLE rollup_1m (
  deployment int         NOT NULL,
  metric     int         NOT NULL,
  window_at  timestamptz NOT NULL,
  count      bigint      NOT NULL, -- numbers
  nulls      bigint      NOT NULL,
  sum        double precision,
  mean       double precision,
  stddev     double precision, -- of the population
  min        double precision,
  max        double precision,
  state      bytea       NOT NULL,
  PRIMARY KEY (deployment, metric, window_at)
) PARTITION BY RANGE (window_at);

CREATE TABLE rollup_1h (LIKE rollup_1m INCLUDING ALL) PARTITION BY RANGE (window_at);
CREATE TABLE rollup_1d (LIKE rollup_1m INCLUDING ALL) PARTITION BY RANGE (window_at);

-- What batches added to minutes, waiting to be folded. recount: something in the minute was corrected, so it is to be
-- counted anew from raw rows, whatever the deltas say. A row is written once, folded and deleted.
CREATE TABLE rollup_delta (
  batch_id   bigint      NOT NULL,
  deployment int         NOT NULL,
  window_at  timestamptz NOT NULL,
  recount    boolean     NOT NULL,
  delta      bytea       NOT NULL
);

ALTER TABLE rollup_delta ALTER COLUMN delta SET STORAGE EXTERNAL;
CREATE INDEX rollup_delta_window ON rollup_delta (deployment, window_at);

-- Has the minute of an event counted anew.
CREATE FUNCTION rollup_recount(in_batch bigint, in_deployment int, in_start timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO rollup_delta (batch_id, deployment, window_at, recount, delta)
  VALUES (in_batch, in_deployment, date_trunc('minute', in_start, 'UTC'), true, '')
$$;
