/* A client that reads rows as NDJSON and keeps none of them. */
#ifndef BENCH_READER_H
#define BENCH_READER_H

#include <stdint.h>

struct reader_result {
    int64_t rows;
    int64_t bytes;
    double first_ms; /* until the first whole row was there */
    double ms;       /* until the last byte */
};

/* GET over a new connection. Any answer but a whole one with 200 ends the program. */
void reader_get(const char *url, struct reader_result *result);
/* The same without the numbers, for bench_read_script. */
void reader_drain(void *url);

#endif
