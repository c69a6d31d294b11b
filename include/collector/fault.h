/* Why a request is not answered 200: the status, and what stands in its JSON error. */
#ifndef COLLECTOR_FAULT_H
#define COLLECTOR_FAULT_H

#include "base/attr.h"
#include "base/buf.h"

enum { FAULT_FIELD_BYTES = 128, FAULT_MESSAGE_BYTES = 640 };

struct fault {
    unsigned status;               /* 0: there is none */
    const char *code;              /* static */
    char field[FAULT_FIELD_BYTES]; /* empty: the error names no field */
    char message[FAULT_MESSAGE_BYTES];
};

/* Sets all of it and returns -1. `field` may be NULL. */
int fault_set(struct fault *fault, unsigned status, const char *code, const char *field,
              const char *fmt, ...) PRINTF_LIKE(5, 6);
/* {"error":{"code":...,"message":...,"field":...}} */
void fault_write(const struct fault *fault, struct buf *out);
/* {"errorCode":...,"errorMessage":...}, as Atlas writes it; a code that is not one of Atlas's
 * becomes the general one of its status. */
void fault_write_atlas(const struct fault *fault, struct buf *out);

/* Texts of clients in messages: at most so many bytes of them, as in printf("%.*s"). */
enum { FAULT_QUOTE_BYTES_MAX = 64 };
int fault_quote_len(size_t len);

#endif
