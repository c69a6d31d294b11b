-- Plumbline 014: messages of Atlas's hooks.

-- source 'hook': a message of a hook that could not be taken, or whose parts did not all come.
ALTER TABLE rejected_event DROP CONSTRAINT rejected_event_source_check;
ALTER TABLE rejected_event ADD CONSTRAINT rejected_event_source_check
  CHECK (source IN ('label', 'kafka', 'spool', 'hook'));

-- A message that comes in parts. They may come by several requests, to several collectors, and what was acknowledged is
-- kept, so they wait here. What was taken or given up stays for as long as parts wait, so that a part that comes once more
-- is known.
CREATE TABLE hook_message (
  source     text        NOT NULL, -- 'http', or which topic of which cluster
  msg_id     text        NOT NULL,
  state      text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'refused')),
  is_packed  boolean     NOT NULL,
  parts      int         NOT NULL,
  came       int         NOT NULL DEFAULT 0, -- so many of them
  bytes      bigint      NOT NULL DEFAULT 0, -- of those
  since      timestamptz NOT NULL DEFAULT now(),
  origin     jsonb       NOT NULL, -- where the first of them came from
  first_hash bigint,               -- of part 0: another message may have the same msgId and the same number of parts
  PRIMARY KEY (source, msg_id)
);
CREATE INDEX hook_message_since ON hook_message (since);

CREATE TABLE hook_part (
  source text NOT NULL,
  msg_id text NOT NULL,
  part   int  NOT NULL, -- from 0
  text   text NOT NULL,
  PRIMARY KEY (source, msg_id, part),
  FOREIGN KEY (source, msg_id) REFERENCES hook_message ON DELETE CASCADE
);
ALTER TABLE hook_part ALTER COLUMN text SET STORAGE EXTERNAL; -- most often it is compressed

-- When somebody last looked for messages that have waited for too long: one row.
CREATE TABLE hook_round (last timestamptz NOT NULL);
INSERT INTO hook_round VALUES (now());

-- The message will not be taken. Of its parts the beginning of the first is kept.
CREATE FUNCTION hook_give_up(in_source text, in_id text, in_code text, in_message text, in_keep bigint)
RETURNS void LANGUAGE sql AS $$
  WITH gone AS (
    DELETE FROM hook_part WHERE source = in_source AND msg_id = in_id RETURNING part, text
  ), given_up AS (
    UPDATE hook_message SET state = 'refused' WHERE source = in_source AND msg_id = in_id RETURNING *
  )
  INSERT INTO rejected_event (source, origin, code, message, event)
  SELECT 'hook',
         (g.origin || jsonb_build_object('msgId', g.msg_id, 'bytes', g.bytes, 'parts', g.parts, 'partsCame', g.came))::json,
         in_code, in_message,
         coalesce((SELECT convert_to(left(text, least(in_keep, 2147483647)::int), 'UTF8') FROM gone ORDER BY part LIMIT 1), '')
  FROM given_up AS g
$$;

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
