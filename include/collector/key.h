/* API keys: how one is made and written, and how a request gives one.
 *
 *     plb_ k3x7mq2a _ 4tXo...43 characters of base64url
 *          the id     256 random bits
 *
 * The id is no secret: it stands in logs, in lists and in audits. Of the whole text only the
 * SHA-256 is kept. A slow hash is for what people think up; 2^256 texts can't be gone through at
 * any speed, and a fast one costs a request a microsecond. */
#ifndef COLLECTOR_KEY_H
#define COLLECTOR_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum {
    KEY_ID_LEN = 8,
    KEY_ID_BYTES = KEY_ID_LEN + 1,
    KEY_SECRET_LEN = 43,
    KEY_TEXT_LEN = 4 + KEY_ID_LEN + 1 + KEY_SECRET_LEN,
    KEY_TEXT_BYTES = KEY_TEXT_LEN + 1,
    KEY_HASH_BYTES = 32,
};

/* What a key may do. None holds another. */
enum key_scope {
    KEY_INGEST = 1,
    KEY_READ = 2,
    KEY_LINEAGE = 4,
    KEY_ADMIN = 8,
    KEY_ANY = KEY_INGEST | KEY_READ | KEY_LINEAGE | KEY_ADMIN,
    KEY_OPEN = 16, /* of a route: no key is asked for */
};
enum { KEY_SCOPES_TEXT_BYTES = 32 };

/* A new one. */
void key_make(char text[static KEY_TEXT_BYTES]);
/* The id in a key's text; also of "plb_ID" and "ID" alone. -1: it has no such form. */
int key_id(struct span text, char id[static KEY_ID_BYTES]) MUST_CHECK;
/* Whether the text is a whole key, as far as its form tells. */
bool key_is_whole(struct span text);
void key_hash(struct span text, unsigned char hash[static KEY_HASH_BYTES]);
/* In the same time wherever they differ. */
bool key_hash_equal(const unsigned char a[static KEY_HASH_BYTES],
                    const unsigned char b[static KEY_HASH_BYTES]);

/* The key in the value of an Authorization header: as it is, or behind "Bearer " or "Basic ".
 * Behind "Basic ", if it decodes to user:password, the password is the key, else the text itself.
 * Appended to `key`, which then is full when it was too long. */
void key_from_header(struct span value, struct buf *key);

/* "ingest,read": of enum key_scope. ERR_INPUT: an unknown one, or none. */
int key_scopes_parse(const char *text, unsigned *scopes, struct err *err) MUST_CHECK;
/* With `separator` between. */
void key_scopes_format(unsigned scopes, const char *separator,
                       char text[static KEY_SCOPES_TEXT_BYTES]);

#endif
