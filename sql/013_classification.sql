-- Plumbline 013: classifications.

-- What people say of entities, as versions like these: a row holds from from_batch on, and up to the batch to_batch, or to
-- this day (null). An entity has one of a type at most. Written under the graph lock. What reaches others over the graph
-- is not here: it is found when it is asked for.
CREATE TABLE classification (
  entity_id            bigint  NOT NULL,
  type                 text    NOT NULL,
  from_batch           bigint  NOT NULL,
  to_batch             bigint  CHECK (to_batch >= from_batch),
  created_batch        bigint  NOT NULL,
  attributes           jsonb   NOT NULL, -- without null
  periods              jsonb,            -- validityPeriods; null: always
  propagates           boolean NOT NULL,
  removes_propagations boolean NOT NULL,
  is_restricted        boolean NOT NULL, -- does not pass over lineage
  created_by           text    NOT NULL,
  updated_by           text    NOT NULL,
  PRIMARY KEY (entity_id, type, from_batch)
);

CREATE UNIQUE INDEX classification_entity ON classification (entity_id, type) INCLUDE (propagates) WHERE to_batch IS NULL;
CREATE INDEX classification_type ON classification (type, entity_id) WHERE to_batch IS NULL;
CREATE INDEX classification_type_past ON classification (type, entity_id) WHERE to_batch IS NOT NULL;

-- Nothing passes over entities that are deleted: which of thousands are is one look at few rows.
CREATE INDEX entity_deleted_id ON entity (entity_id) INCLUDE (from_batch, to_batch) WHERE is_deleted;

-- What of an entity was done something to: its classification of that type. "": the entity.
ALTER TABLE entity_audit ADD COLUMN subject text NOT NULL DEFAULT '';
ALTER TABLE entity_audit DROP CONSTRAINT entity_audit_pkey;
ALTER TABLE entity_audit ADD PRIMARY KEY (entity_id, batch_id, action, subject);

-- Makes and changes classifications, each (entity, type) once a batch.
CREATE FUNCTION classification_put(
  in_batch bigint, in_entities bigint[], in_types text[], in_attributes text[], in_periods text[],
  in_propagates boolean[], in_removes boolean[], in_restricted boolean[], in_user text
) RETURNS void LANGUAGE sql AS $$
  WITH wanted AS (
    SELECT * FROM unnest(in_entities, in_types, in_attributes, in_periods, in_propagates, in_removes, in_restricted)
      AS w(entity_id, type, attributes, periods, propagates, removes_propagations, is_restricted)
  ), ended AS (
    UPDATE classification AS c SET to_batch = in_batch FROM wanted AS w
    WHERE c.entity_id = w.entity_id AND c.type = w.type AND c.to_batch IS NULL
    RETURNING c.entity_id, c.type, c.created_batch, c.created_by
  ), audited AS (
    INSERT INTO entity_audit (entity_id, batch_id, action, subject, user_name)
    SELECT w.entity_id, in_batch, CASE WHEN e.type IS NULL THEN 'CLASSIFICATION_ADD' ELSE 'CLASSIFICATION_UPDATE' END,
           w.type, in_user
    FROM wanted AS w LEFT JOIN ended AS e USING (entity_id, type)
  )
  INSERT INTO classification (entity_id, type, from_batch, created_batch, attributes, periods, propagates,
                              removes_propagations, is_restricted, created_by, updated_by)
  SELECT w.entity_id, w.type, in_batch, coalesce(e.created_batch, in_batch), w.attributes::jsonb, w.periods::jsonb,
         w.propagates, w.removes_propagations, w.is_restricted, coalesce(e.created_by, in_user), in_user
  FROM wanted AS w LEFT JOIN ended AS e USING (entity_id, type)
$$;

CREATE FUNCTION classification_end(in_batch bigint, in_entities bigint[], in_types text[], in_user text)
RETURNS void LANGUAGE sql AS $$
  WITH ended AS (
    UPDATE classification AS c SET to_batch = in_batch FROM unnest(in_entities, in_types) AS w(entity_id, type)
    WHERE c.entity_id = w.entity_id AND c.type = w.type AND c.to_batch IS NULL
    RETURNING c.entity_id, c.type
  )
  INSERT INTO entity_audit (entity_id, batch_id, action, subject, user_name)
  SELECT entity_id, in_batch, 'CLASSIFICATION_DELETE', type, in_user FROM ended
$$;

-- The first of the types that something in the graph is or was of, null: none. What is deleted counts: it can be asked
-- for, and for ever with as_of. What entities are no longer classified by does not count, as in Atlas: whoever cleans up
-- takes the classifications away and then their type; as_of does not show what is of no type. A look-up each, whatever is
-- known of the tables.
CREATE FUNCTION type_in_use(in_names text[]) RETURNS text LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  the_name text;
BEGIN
  FOREACH the_name IN ARRAY in_names LOOP
    IF EXISTS (SELECT FROM entity WHERE type = the_name AND to_batch IS NULL AND NOT is_deleted)
       OR EXISTS (SELECT FROM entity WHERE type = the_name AND to_batch IS NOT NULL AND NOT is_deleted)
       OR EXISTS (SELECT FROM entity WHERE type = the_name AND is_deleted)
       OR EXISTS (SELECT FROM relationship WHERE type = the_name AND to_batch IS NULL AND NOT is_deleted)
       OR EXISTS (SELECT FROM relationship WHERE type = the_name AND (to_batch IS NOT NULL OR is_deleted))
       OR EXISTS (SELECT FROM classification WHERE type = the_name AND to_batch IS NULL) THEN
      RETURN the_name;
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;
