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

-- Admits the names that are new, as far as in_max names a deployment allow. One row for each name asked for, metric null
-- where it is refused. Of the first 100 deployments that are full also all their names, and a row with metric and name
-- null: no more need be asked of them.
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
  WITH told AS (
    SELECT d.deployment FROM model_deployment AS d
    WHERE d.metric_names_full AND d.deployment = ANY (in_deployments)
    ORDER BY d.deployment LIMIT 100)
  SELECT g.deployment, m.metric, g.kind, g.name
  FROM (SELECT DISTINCT * FROM unnest(in_deployments, in_kinds, in_names)) AS g(deployment, kind, name)
  LEFT JOIN metric_name AS m USING (deployment, kind, name)
  UNION ALL
  SELECT m.deployment, m.metric, m.kind, m.name FROM metric_name AS m JOIN told USING (deployment)
  UNION ALL
  SELECT told.deployment, NULL, NULL, NULL FROM told;
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
-- All that is pending is read whole: it is bounded, and an index would cost each batch more than each reader gains.
CREATE INDEX rollup_delta_recount ON rollup_delta (deployment, window_at) WHERE recount;

-- Has the minute of an event counted anew.
CREATE FUNCTION rollup_recount(in_batch bigint, in_deployment int, in_start timestamptz) RETURNS void LANGUAGE sql AS $$
  INSERT INTO rollup_delta (batch_id, deployment, window_at, recount, delta)
  VALUES (in_batch, in_deployment, date_trunc('minute', in_start, 'UTC'), true, '')
$$;

-- ------------------------------------------------------------------------------------------------ for people with SQL

-- Where the parts of a state begin: include/metrics/rollup.h, rollup_write. histogram_at is null where there
-- are none; all_equal: one number, `count` times.
CREATE FUNCTION rollup_parts(
  state bytea, OUT count bigint, OUT all_equal boolean, OUT histogram_at int, OUT categories_at int
) LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  parts   int := get_byte(state, 0) & 15;
  at      int := 1;
  value   bigint;
  shift   int;
  buckets bigint;
  byte    int;
BEGIN
  all_equal := parts & 2 > 0;
  IF all_equal THEN
    count := 0; shift := 0;
    LOOP
      byte := get_byte(state, at); at := at + 1;
      count := count | ((byte & 127)::bigint << shift); shift := shift + 7;
      EXIT WHEN byte < 128;
    END LOOP;
    at := at + 1 + get_byte(state, at);
  ELSIF parts & 1 > 0 THEN
    byte := get_byte(state, at);
    at := at + 1 + (byte & 15) + (byte >> 4);
    FOR sum_and_squares IN 1..2 LOOP
      value := 0; shift := 0;
      LOOP
        byte := get_byte(state, at); at := at + 1;
        value := value | ((byte & 127)::bigint << shift); shift := shift + 7;
        EXIT WHEN byte < 128;
      END LOOP;
      IF value > 0 THEN
        WHILE get_byte(state, at) > 127 LOOP at := at + 1; END LOOP;
        at := at + 1 + (value >> 1)::int;
      END IF;
    END LOOP;
    histogram_at := at;
    count := 0; buckets := 0; shift := 0;
    LOOP
      byte := get_byte(state, at); at := at + 1;
      buckets := buckets | ((byte & 127)::bigint << shift); shift := shift + 7;
      EXIT WHEN byte < 128;
    END LOOP;
    FOR bucket IN 1..buckets LOOP
      byte := get_byte(state, at); at := at + 1;
      value := byte & 1; -- the count follows
      WHILE byte > 127 LOOP byte := get_byte(state, at); at := at + 1; END LOOP;
      count := count + 1;
      IF value > 0 THEN
        value := 0; shift := 0;
        LOOP
          byte := get_byte(state, at); at := at + 1;
          value := value | ((byte & 127)::bigint << shift); shift := shift + 7;
          EXIT WHEN byte < 128;
        END LOOP;
        count := count + value + 1;
      END IF;
    END LOOP;
  END IF;
  IF parts & 4 > 0 THEN
    WHILE get_byte(state, at) > 127 LOOP at := at + 1; END LOOP;
    at := at + 1;
  END IF;
  IF parts & 8 > 0 THEN
    categories_at := at;
  END IF;
END
$$;

-- A quantile (0 to 1) by nearest rank, never further than 1.1 % from the value of that rank; null where there are no
-- numbers. `lowest` and `highest` are the window's min and max.
CREATE FUNCTION rollup_quantile(state bytea, lowest double precision, highest double precision, q double precision)
RETURNS double precision LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  parts   record := rollup_parts(state);
  rank    bigint := greatest(1, ceil(q * parts.count));
  at      int := parts.histogram_at;
  seen    bigint := 0;
  key     bigint;
  value   bigint;
  shift   int;
  byte    int;
  buckets bigint := 0;
  low     double precision;
  high    double precision;
  middle  double precision;
BEGIN
  IF parts.all_equal OR rank <= 1 THEN
    RETURN lowest;
  ELSIF rank >= parts.count THEN
    RETURN highest;
  END IF;
  shift := 0;
  LOOP
    byte := get_byte(state, at); at := at + 1;
    buckets := buckets | ((byte & 127)::bigint << shift); shift := shift + 7;
    EXIT WHEN byte < 128;
  END LOOP;
  FOR bucket IN 1..buckets LOOP
    value := 0; shift := 0;
    LOOP
      byte := get_byte(state, at); at := at + 1;
      value := value | ((byte & 127)::bigint << shift); shift := shift + 7;
      EXIT WHEN byte < 128;
    END LOOP;
    IF bucket = 1 THEN
      key := 34369 + CASE WHEN (value >> 1) & 1 = 0 THEN value >> 2 ELSE -((value >> 2) + 1) END; -- from that of 1.0
    ELSE
      key := key + (value >> 1) + 1;
    END IF;
    seen := seen + 1;
    IF value & 1 > 0 THEN
      value := 0; shift := 0;
      LOOP
        byte := get_byte(state, at); at := at + 1;
        value := value | ((byte & 127)::bigint << shift); shift := shift + 7;
        EXIT WHEN byte < 128;
      END LOOP;
      seen := seen + value + 1;
    END IF;
    EXIT WHEN seen >= rank;
  END LOOP;
  IF key = 0 THEN
    RETURN 0;
  END IF;
  -- index = |key| - 34370: key 1 holds the smallest double; the bounds of the outermost buckets are no doubles
  low := CASE WHEN abs(key) - 34370 < -34336 THEN 5e-324 ELSE power(2.0::float8, (abs(key) - 34370) / 32.0::float8) END;
  high := CASE WHEN abs(key) - 34369 >= 32768 THEN 1.7976931348623157e308
               ELSE power(2.0::float8, (abs(key) - 34369) / 32.0::float8) END;
  middle := sign(key) * low * (2 / (1 + low / high));
  RETURN least(greatest(middle, lowest), highest);
END
$$;

-- Values by category, and how many have none of these; null where there are no texts.
CREATE FUNCTION rollup_categories(state bytea, OUT categories jsonb, OUT other bigint)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  at      int := (rollup_parts(state)).categories_at;
  entries bigint := 0;
  value   bigint;
  counted bigint;
  shift   int;
  byte    int;
  name    text;
BEGIN
  IF at IS NULL THEN
    RETURN;
  END IF;
  other := 0; shift := 0;
  LOOP
    byte := get_byte(state, at); at := at + 1;
    other := other | ((byte & 127)::bigint << shift); shift := shift + 7;
    EXIT WHEN byte < 128;
  END LOOP;
  shift := 0;
  LOOP
    byte := get_byte(state, at); at := at + 1;
    entries := entries | ((byte & 127)::bigint << shift); shift := shift + 7;
    EXIT WHEN byte < 128;
  END LOOP;
  categories := '{}';
  FOR entry IN 1..entries LOOP
    value := 0; shift := 0;
    LOOP
      byte := get_byte(state, at); at := at + 1;
      value := value | ((byte & 127)::bigint << shift); shift := shift + 7;
      EXIT WHEN byte < 128;
    END LOOP;
    name := convert_from(substr(state, at + 1, (value >> 1)::int), 'UTF8');
    at := at + (value >> 1)::int;
    counted := 1;
    IF value & 1 > 0 THEN
      value := 0; shift := 0;
      LOOP
        byte := get_byte(state, at); at := at + 1;
        value := value | ((byte & 127)::bigint << shift); shift := shift + 7;
        EXIT WHEN byte < 128;
      END LOOP;
      counted := value + 2;
    END IF;
    categories := categories || jsonb_build_object(name, counted);
  END LOOP;
END
$$;

-- One row for each metric of each window, as far as it is folded (seconds behind at most):
--   SELECT window_at, mean, rollup_quantile(state, min, max, 0.95) FROM metric_1h WHERE metric = 'probability' ...
CREATE VIEW metric_series AS
  SELECT deployment, metric AS number, kind, name AS metric, CASE kind WHEN 'prediction' THEN 0 ELSE 1 END AS counted_by
  FROM metric_name
  UNION ALL
  SELECT deployment, 2, 'prediction', '_latency_ms', 0 FROM model_deployment;

CREATE VIEW metric_1m AS
  SELECT d.crn AS model_deployment_crn, d.build_crn AS model_build_crn, d.model_crn, s.kind, s.metric, r.window_at,
         w.count AS predictions, w.sum::bigint AS failed,
         r.count, r.nulls, r.sum, r.mean, r.stddev, r.min, r.max, r.state
  FROM rollup_1m AS r
  JOIN metric_series AS s ON s.deployment = r.deployment AND s.number = r.metric
  JOIN model_deployment AS d ON d.deployment = r.deployment
  LEFT JOIN rollup_1m AS w ON w.deployment = r.deployment AND w.metric = s.counted_by AND w.window_at = r.window_at;

CREATE VIEW metric_1h AS
  SELECT d.crn AS model_deployment_crn, d.build_crn AS model_build_crn, d.model_crn, s.kind, s.metric, r.window_at,
         w.count AS predictions, w.sum::bigint AS failed,
         r.count, r.nulls, r.sum, r.mean, r.stddev, r.min, r.max, r.state
  FROM rollup_1h AS r
  JOIN metric_series AS s ON s.deployment = r.deployment AND s.number = r.metric
  JOIN model_deployment AS d ON d.deployment = r.deployment
  LEFT JOIN rollup_1h AS w ON w.deployment = r.deployment AND w.metric = s.counted_by AND w.window_at = r.window_at;

CREATE VIEW metric_1d AS
  SELECT d.crn AS model_deployment_crn, d.build_crn AS model_build_crn, d.model_crn, s.kind, s.metric, r.window_at,
         w.count AS predictions, w.sum::bigint AS failed,
         r.count, r.nulls, r.sum, r.mean, r.stddev, r.min, r.max, r.state
  FROM rollup_1d AS r
  JOIN metric_series AS s ON s.deployment = r.deployment AND s.number = r.metric
  JOIN model_deployment AS d ON d.deployment = r.deployment
  LEFT JOIN rollup_1d AS w ON w.deployment = r.deployment AND w.metric = s.counted_by AND w.window_at = r.window_at;
