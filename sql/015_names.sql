-- Plumbline 015: searching by the beginning of a name.

-- The attribute `name`, of which the beginning counts, as entity_prefix has qualified names: found, counted and shown in
-- their order.
CREATE INDEX entity_label ON entity (left(attributes ->> 'name', 300) COLLATE "C", type COLLATE "C", entity_id)
  WHERE to_batch IS NULL;
