/* What librdkafka says of brokers that fail, kept for the lines of the log that say what follows
 * from it. The consumer's thread. */
#ifndef COLLECTOR_KAFKA_FAILURE_INTERNAL_H
#define COLLECTOR_KAFKA_FAILURE_INTERNAL_H

enum { KAFKA_WHY_BYTES = 512 };

struct kafka_failure {
    char last[KAFKA_WHY_BYTES];    /* empty: none since the brokers came back */
    char refused[KAFKA_WHY_BYTES]; /* the last one by TLS or SASL; empty: none that is to be said */
};

/* `code` is a rd_kafka_resp_err_t. */
void kafka_failure_add(struct kafka_failure *failure, int code, const char *reason);

/* Of what librdkafka says, without what it quotes of sasl.oauthbearer.config. */
int kafka_reason_len(const char *reason);

#endif
