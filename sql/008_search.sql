-- Plumbline 008: searching the graph.

-- Pages of a type in the order in which its entities were made, and how many it has. Types have a collation of their own
-- in these indexes: while the table has no statistics, nobody who looks for one name takes them for entity_name.
CREATE INDEX entity_type ON entity (type COLLATE "C", entity_id) INCLUDE (is_deleted) WHERE to_batch IS NULL;

-- Names that begin with a text, and pages in the order of names.
CREATE INDEX entity_prefix ON entity (qualified_name COLLATE "C", type COLLATE "C", entity_id) INCLUDE (is_deleted)
  WHERE to_batch IS NULL;

-- What the words of a query are looked for in: a line for each text, of which the beginning counts. Both functions are
-- such that the planner puts them in the place of their calls.
CREATE FUNCTION entity_text(qualified_name text, attributes jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT lower(left(qualified_name, 500) || coalesce(E'\n' || left(attributes ->> 'name', 500), '')
               || coalesce(E'\n' || left(attributes ->> 'displayName', 500), '')
               || coalesce(E'\n' || left(attributes ->> 'description', 500), '')
               || coalesce(E'\n' || left(attributes ->> 'userDescription', 500), '')
               || coalesce(E'\n' || left(attributes ->> 'owner', 500), '')
               || coalesce(E'\n' || left(attributes ->> 'userName', 500), ''))
$$;

-- Its words, as keys of an index: a text search configuration would take names apart in its own way.
CREATE FUNCTION entity_words(entity_text text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_to_tsvector(array_remove(regexp_split_to_array(entity_text, '[^[:alnum:]_]+'), ''))
$$;

-- Without a list of what is not yet in it: whoever fills that list has to wait until all of it is, in its commit.
CREATE INDEX entity_word ON entity USING gin (entity_words(entity_text(qualified_name, attributes)))
  WITH (fastupdate = off) WHERE to_batch IS NULL;
