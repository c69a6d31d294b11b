-- Plumbline 005: a label that waits is shown where it will go.

-- Whether no prediction with the uuid was inserted before this one. In a language of its own, so that a read whose rows
-- have no label that waits does not plan a scan of every partition. in_uuid has to be the label's, or it would be asked
-- of every prediction before a label is looked for.
CREATE FUNCTION prediction_is_first(in_uuid uuid, in_batch bigint, in_ordinal int) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN NOT EXISTS (SELECT FROM prediction
                     WHERE uuid = in_uuid AND (batch_id, ordinal) < (in_batch, in_ordinal));
END
$$;

-- For people with psql: as in 001, but for the labels that wait.
CREATE OR REPLACE VIEW metric AS
  SELECT d.crn AS model_deployment_crn, d.build_crn AS model_build_crn, d.model_crn,
         p.start_at, p.end_at, p.uuid AS prediction_uuid,
         p.metrics::jsonb || coalesce(
           (SELECT jsonb_object_agg(m.key, m.value ORDER BY l.waiting, l.place)
            FROM (SELECT 0 AS waiting, revision::bigint AS place, metrics FROM delayed_metric AS r
                  WHERE r.uuid = p.uuid AND r.deployment = p.deployment AND r.start_at = p.start_at
                  UNION ALL
                  SELECT 1, row_number() OVER (ORDER BY w.batch_id, w.ordinal), w.metrics
                  FROM delayed_metric_waiting AS w
                  WHERE w.uuid = p.uuid AND prediction_is_first(w.uuid, p.batch_id, p.ordinal)) AS l,
                 jsonb_each(l.metrics::jsonb) AS m),
           '{}') AS metrics,
         p.failed, p.replica, p.batch_id, p.ordinal
  FROM prediction AS p JOIN model_deployment AS d USING (deployment)
  UNION ALL
  SELECT d.crn, d.build_crn, d.model_crn, a.start_at, a.end_at, NULL, a.metrics::jsonb, false, a.replica,
         a.batch_id, a.ordinal
  FROM aggregate_metric AS a JOIN model_deployment AS d USING (deployment);
