-- Plumbline 016: which message a part is of, and how long it waits.

-- Of its first part: another message may have the same msgId and the same number of parts.
ALTER TABLE hook_message ADD COLUMN first_hash bigint;

-- When somebody last looked for messages that have waited for too long: one row.
CREATE TABLE hook_round (last timestamptz NOT NULL);
INSERT INTO hook_round VALUES (now());

DROP FUNCTION hook_part_put(text, text, boolean, int, int, text, jsonb, bigint, bigint, bigint, bigint);
DROP FUNCTION hook_expire(bigint, int, bigint);

-- Keeps a part. 'complete': it was the last to come. 'waits': others have not come. 'known': the message was taken or given
-- up before. 'too_large': its parts are larger than in_bytes_max, and it is given up. Where more messages wait than may, or
-- more bytes, those that have waited for longest are given up, and so is one whose msgId another has; given_up says how
-- many. Under the graph lock.
CREATE FUNCTION hook_part_put(
  in_source text, in_id text, in_packed boolean, in_parts int, in_part int, in_text text, in_origin jsonb,
  in_bytes_max bigint, in_waiting_max bigint, in_waiting_bytes_max bigint, in_keep bigint, OUT fate text, OUT given_up bigint
) LANGUAGE plpgsql AS $$
DECLARE
  m       hook_message;
  hash    bigint := CASE in_part WHEN 0 THEN hashtextextended(in_text, 0) END;
  had     bigint;
  oldest  record;
BEGIN
  given_up := 0;
  SELECT * INTO m FROM hook_message WHERE source = in_source AND msg_id = in_id FOR UPDATE;
  IF (m.parts, m.is_packed, coalesce(m.first_hash, hash, 0)) <> (in_parts, in_packed, coalesce(hash, m.first_hash, 0)) THEN
    IF m.state = 'waiting' THEN
      PERFORM hook_give_up(in_source, in_id, 'incomplete',
                           format('%s of its %s parts had come when one came of another message with the same msgId', m.came,
                                  m.parts), in_keep);
      given_up := 1;
    END IF;
    DELETE FROM hook_message WHERE source = in_source AND msg_id = in_id;
  ELSIF m.state <> 'waiting' THEN
    fate := 'known';
    RETURN;
  END IF;
  INSERT INTO hook_message (source, msg_id, is_packed, parts, origin)
  VALUES (in_source, in_id, in_packed, in_parts, in_origin)
  ON CONFLICT DO NOTHING;
  SELECT octet_length(text) INTO had FROM hook_part WHERE source = in_source AND msg_id = in_id AND part = in_part;
  INSERT INTO hook_part AS p (source, msg_id, part, text) VALUES (in_source, in_id, in_part, in_text)
  ON CONFLICT (source, msg_id, part) DO UPDATE SET text = EXCLUDED.text;
  UPDATE hook_message
  SET came = came + (had IS NULL)::int, bytes = bytes + octet_length(in_text) - coalesce(had, 0),
      first_hash = coalesce(hash, first_hash)
  WHERE source = in_source AND msg_id = in_id
  RETURNING * INTO m;
  IF m.bytes > in_bytes_max THEN
    PERFORM hook_give_up(in_source, in_id, 'too_large',
                         format('%s of its %s parts have %s bytes, at most %s are taken', m.came, m.parts, m.bytes,
                                in_bytes_max), in_keep);
    fate := 'too_large';
    RETURN;
  END IF;
  IF m.came = m.parts THEN
    fate := 'complete';
    RETURN;
  END IF;
  FOR oldest IN
    SELECT o.source, o.msg_id, o.came, o.parts
    FROM (SELECT w.*, row_number() OVER newest AS place, sum(w.bytes) OVER newest AS bytes_so_far
          FROM hook_message AS w WHERE w.state = 'waiting'
          WINDOW newest AS (ORDER BY (w.source, w.msg_id) <> (in_source, in_id), w.since DESC, w.source, w.msg_id)) AS o
    WHERE o.place > 1 AND (o.place > in_waiting_max OR o.bytes_so_far > in_waiting_bytes_max)
  LOOP
    PERFORM hook_give_up(oldest.source, oldest.msg_id, 'incomplete',
                         format('%s of its %s parts had come when others needed the room', oldest.came, oldest.parts), in_keep);
    given_up := given_up + 1;
  END LOOP;
  fate := 'waits';
END
$$;

-- Gives up messages that have waited for longer than in_wait_ms, and forgets what was taken or given up before that; in_max
-- at a time. Gives how many it gave up, and with how many it was done. Time in which nobody reads what may be there, neither
-- we (in_reads) nor another daemon, is not waited: behind it all of them begin anew.
CREATE FUNCTION hook_expire(in_wait_ms bigint, in_max int, in_keep bigint, in_reads boolean)
RETURNS TABLE (given_up bigint, done bigint) LANGUAGE plpgsql AS $$
DECLARE
  old hook_message;
BEGIN
  given_up := 0;
  done := 0;
  IF NOT in_reads THEN
    RETURN NEXT;
    RETURN;
  END IF;
  UPDATE hook_message SET since = now() WHERE (SELECT last FROM hook_round) < now() - interval '1 min';
  UPDATE hook_round SET last = now() WHERE last < now() - interval '10 s';
  FOR old IN
    SELECT * FROM hook_message WHERE since < now() - in_wait_ms * interval '1 ms'
    ORDER BY since LIMIT in_max FOR UPDATE SKIP LOCKED
  LOOP
    IF old.state = 'waiting' THEN
      PERFORM hook_give_up(old.source, old.msg_id, 'incomplete',
                           format('%s of its %s parts have come since %s', old.came, old.parts,
                                  to_char(old.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')), in_keep);
      given_up := given_up + 1;
    END IF;
    DELETE FROM hook_message WHERE source = old.source AND msg_id = old.msg_id;
    done := done + 1;
  END LOOP;
  RETURN NEXT;
END
$$;
