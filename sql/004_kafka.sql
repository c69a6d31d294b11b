-- Plumbline 004: how far each partition of a Kafka topic has been taken.

-- next_offset is what the next batch begins with. It moves in the transaction that stores the events before it, by
-- compare-and-set, so that a collector that lost the partition to another one writes nothing more from it.
-- incarnation counts the lives of the topic's name: a topic that was deleted and made anew begins with other messages at
-- the same offsets. mark is a hash of the last message taken, which stood at mark_offset: where another one stands
-- there, or none, the topic is a new one.
CREATE TABLE kafka_offset (
  cluster     text   NOT NULL,
  topic       text   NOT NULL,
  partition   int    NOT NULL,
  incarnation bigint NOT NULL DEFAULT 0,
  next_offset bigint NOT NULL,
  mark_offset bigint NOT NULL DEFAULT -1, -- -1: none yet
  mark        bigint NOT NULL DEFAULT 0,
  moved_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (cluster, topic, partition)
) WITH (fillfactor = 50);

-- Moves offsets on. The arrays are sorted by cluster, topic and partition, in which order the rows are locked; a row that
-- another batch is just moving is waited for. Gives the places (from 1) of those that do not stand where they should:
-- nothing may be stored of what came from there.
CREATE FUNCTION kafka_advance(
  in_clusters text[], in_topics text[], in_partitions int[],
  in_incarnations bigint[], in_nexts bigint[],
  in_new_incarnations bigint[], in_new_nexts bigint[], in_mark_offsets bigint[], in_marks bigint[]
) RETURNS SETOF int LANGUAGE plpgsql AS $$
BEGIN
  FOR place IN 1 .. cardinality(in_topics) LOOP
    PERFORM FROM kafka_offset
    WHERE cluster = in_clusters[place] AND topic = in_topics[place] AND partition = in_partitions[place]
    FOR UPDATE;
    UPDATE kafka_offset
    SET incarnation = in_new_incarnations[place], next_offset = in_new_nexts[place],
        mark_offset = in_mark_offsets[place], mark = in_marks[place], moved_at = now()
    WHERE cluster = in_clusters[place] AND topic = in_topics[place] AND partition = in_partitions[place]
      AND incarnation = in_incarnations[place] AND next_offset = in_nexts[place];
    IF NOT FOUND THEN
      RETURN NEXT place;
    END IF;
  END LOOP;
END
$$;
