-- Plumbline 011: types that people define.

CREATE SEQUENCE type_number;

-- Definitions as versions, like entities: a row holds from from_batch on, and up to the batch to_batch, or to this day
-- (null). type_id stays over all versions and orders them. Written under the graph lock. Types that are built in are not
-- here.
CREATE TABLE type_definition (
  type_id    bigint NOT NULL,
  from_batch bigint NOT NULL,
  to_batch   bigint CHECK (to_batch >= from_batch),
  name       text   NOT NULL,
  category   text   NOT NULL,
  definition json   NOT NULL, -- as atlas/type_json.h writes it, with who made it and when
  PRIMARY KEY (type_id, from_batch)
);

CREATE UNIQUE INDEX type_definition_name ON type_definition (name) WHERE to_batch IS NULL;

-- The batch that changed them last: by it every daemon sees that what it knows is old.
CREATE TABLE type_generation (
  generation bigint NOT NULL
);
INSERT INTO type_generation (generation) VALUES (0);

-- New versions; without a definition the type is gone.
CREATE FUNCTION type_write(in_batch bigint, in_names text[], in_categories text[], in_definitions text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  the_id bigint;
BEGIN
  FOR place IN 1 .. cardinality(in_names) LOOP
    UPDATE type_definition SET to_batch = in_batch WHERE name = in_names[place] AND to_batch IS NULL
    RETURNING type_id INTO the_id;
    IF in_definitions[place] IS NOT NULL THEN
      INSERT INTO type_definition (type_id, from_batch, name, category, definition)
      VALUES (coalesce(the_id, nextval('type_number')), in_batch, in_names[place], in_categories[place],
              in_definitions[place]::json);
    END IF;
  END LOOP;
  UPDATE type_generation SET generation = in_batch;
END
$$;

-- Together with the indexes of what stands, and of the past of entities, they find everything that is or was of a type.
CREATE INDEX entity_deleted ON entity (type) WHERE is_deleted;
CREATE INDEX relationship_past ON relationship (type) WHERE to_batch IS NOT NULL OR is_deleted;
