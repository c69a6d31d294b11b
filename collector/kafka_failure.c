#include "kafka_failure_internal.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KAFKA_HINT_CLIENT                                                                          \
    "the broker asks for a certificate that it trusts, see ssl.certificate.location"

static const char kafka_alert[] = "SSL alert number ";

int kafka_reason_len(const char *reason)
{
    static const char quotes[] = " beginning at: ";
    const char *end = strstr(reason, quotes);

    return end ? (int)(end - reason) : (int)strlen(reason);
}

/* What librdkafka does not say, or not right; the numbers are those of RFC 8446. */
static const char *kafka_hint(const char *reason)
{
    const char *alert = strstr(reason, kafka_alert);

    if (strstr(reason, "certificate verify failed"))
        return ": it is not of the authority in ssl.ca.location, or of another host, or its time "
               "is "
               "over";
    switch (alert ? strtol(alert + strlen(kafka_alert), NULL, 10) : 0) {
    case 40: /* handshake_failure */
        return ": maybe " KAFKA_HINT_CLIENT;
    case 42:  /* bad_certificate */
    case 43:  /* unsupported_certificate */
    case 44:  /* certificate_revoked */
    case 45:  /* certificate_expired */
    case 46:  /* certificate_unknown */
    case 48:  /* unknown_ca */
    case 116: /* certificate_required */
        return ": " KAFKA_HINT_CLIENT;
    default:
        return "";
    }
}

void kafka_failure_add(struct kafka_failure *failure, int code, const char *reason)
{
    const char *hint = kafka_hint(reason);

    (void)snprintf(failure->last, sizeof(failure->last), "%.*s%s", kafka_reason_len(reason), reason,
                   hint);
    if (code == RD_KAFKA_RESP_ERR__SSL || code == RD_KAFKA_RESP_ERR__AUTHENTICATION || *hint ||
        strstr(reason, kafka_alert))
        memcpy(failure->refused, failure->last, sizeof(failure->refused));
}
